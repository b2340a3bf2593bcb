"""What is known of strange source addresses: tables of bounded size, here or shared with other workers."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import NamedTuple, Protocol

from edge_proxy.addr import Monotonic


class SourceEntry(NamedTuple):
    """One source: an address of it, how many of its requests led nowhere, since when, and until when that matters."""

    host: str
    requests: int
    since: Monotonic
    until: float


class SourceTable(Protocol):
    """Sources by name (`source_of`). When it is full, the entry that matters least goes."""

    @property
    def forgotten(self) -> int:
        """Entries that went before their time."""

    def __len__(self) -> int: ...
    def get(self, source: str) -> SourceEntry | None: ...
    def put(self, source: str, entry: SourceEntry, now: Monotonic) -> None: ...
    def remove(self, source: str) -> bool:
        """Whether it was there."""

    def clear(self) -> None: ...
    def entries(self) -> Iterator[SourceEntry]:
        """Those that are there now, one after another: all of a full table at once would take tens of milliseconds.
        The table may change meanwhile."""


class Lock(Protocol):
    """Keeps other workers out of the tables."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


class Sources:
    """A table of this worker alone. The entry that was put longest ago goes first."""

    __slots__ = ("_entries", "_forgotten", "_most")

    def __init__(self, most: int) -> None:
        self._entries: dict[str, SourceEntry] = {}
        self._most = most
        self._forgotten = 0

    @property
    def forgotten(self) -> int:
        return self._forgotten

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, source: str) -> SourceEntry | None:
        return self._entries.get(source)

    def put(self, source: str, entry: SourceEntry, now: Monotonic) -> None:
        entries = self._entries
        entries.pop(source, None)
        while entries:
            oldest = next(iter(entries))
            is_over = entries[oldest].until <= now
            if not is_over and len(entries) < self._most:
                break
            del entries[oldest]
            self._forgotten += not is_over
        entries[source] = entry

    def remove(self, source: str) -> bool:
        return self._entries.pop(source, None) is not None

    def clear(self) -> None:
        self._entries = {}

    def entries(self) -> Iterator[SourceEntry]:
        return iter(list(self._entries.values()))


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64, since whoever has one address there has all of it."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return host if address.ipv4_mapped is not None else f"{int(address) >> 64:x}/64"
