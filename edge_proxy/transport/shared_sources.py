"""Strange source addresses as several workers see them together: whom one ignores, all ignore.

A table of pipeline/sources.py in memory that all share (shared_table.py). It is written under the lock; a datagram is
looked up without it, and at worst one is dropped, or read, that should not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edge_proxy.addr import Monotonic
from edge_proxy.pipeline.sources import SourceEntry
from edge_proxy.transport.shared_table import SharedLock, SharedTable, name_of, shared_floats, shared_integers

SOURCES: Final = 16_384
_HOST_BYTES: Final = 64
"""The longest is IPv6 with a zone."""
_SWEEP_S: Final = 1.0


class SharedSources:
    """One table (pipeline.sources.SourceTable). Of a full set of rows, the one that is over first goes."""

    def __init__(self, rows: int = SOURCES) -> None:
        self._table = SharedTable(rows)
        self._hosts = shared_integers("B", rows * _HOST_BYTES)
        self._requests = shared_integers("Q", rows)
        self._since = shared_floats(rows)
        self._swept_at = shared_floats(1)

    @property
    def forgotten(self) -> int:
        return self._table.forgotten

    def __len__(self) -> int:
        return len(self._table)

    def get(self, source: str) -> SourceEntry | None:
        row = self._table.find(name_of(source))
        return None if row < 0 else self._entry(row)

    def put(self, source: str, entry: SourceEntry, now: Monotonic) -> None:
        if now >= self._swept_at[0] + _SWEEP_S:
            self._swept_at[0] = now
            self._sweep(now)
        row, _ = self._table.claim(name_of(source), now)
        host = entry.host.encode()[:_HOST_BYTES]
        self._hosts[row * _HOST_BYTES : (row + 1) * _HOST_BYTES] = memoryview(host.ljust(_HOST_BYTES, b"\0"))
        self._requests[row], self._since[row], self._table.untils[row] = entry.requests, entry.since, entry.until

    def remove(self, source: str) -> bool:
        row = self._table.find(name_of(source))
        if row < 0:
            return False
        self._table.release(row)
        return True

    def clear(self) -> None:
        self._table.clear()

    def entries(self) -> Iterator[SourceEntry]:
        if len(self._table):
            for row, name in enumerate(self._table.names.tolist()):
                if name and name == self._table.names[row]:
                    yield self._entry(row)

    def _entry(self, row: int) -> SourceEntry:
        host = bytes(self._hosts[row * _HOST_BYTES : (row + 1) * _HOST_BYTES]).rstrip(b"\0").decode("ascii", "replace")
        return SourceEntry(host, self._requests[row], Monotonic(self._since[row]), self._table.untils[row])

    def _sweep(self, now: Monotonic) -> None:
        """Free the rows whose time is over, so that the table says how many matter."""
        if not len(self._table):
            return
        for row, until in enumerate(self._table.untils.tolist()):
            if 0.0 < until <= now:
                self._table.release(row)


class SourceTables:
    """All that workers share of strangers, made by the supervisor before there are workers."""

    def __init__(self, lock: SharedLock, rows: int = SOURCES) -> None:
        self.lock = lock
        self.seen = SharedSources(rows)
        self.ignored = SharedSources(rows)
        self.vouched = SharedSources(rows)
