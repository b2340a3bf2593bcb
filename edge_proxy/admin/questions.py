"""The questions of operators (control.py) and their answers: whom the proxy ignores, and to ignore somebody no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network

import structlog

from edge_proxy.admin.control import Answer, ControlError
from edge_proxy.pipeline.sources import Lock, SourceTable, source_of


class Questions:
    """Answers from the table of ignored sources, which the calls' own thread, or process, goes on writing."""

    def __init__(self, ignored: SourceTable, lock: Lock | None, clock: Callable[[], float]) -> None:
        """`lock` keeps other processes out of the table; None: there are none."""
        self._ignored = ignored
        self._lock = lock
        self._clock = clock
        self._log = structlog.get_logger()

    def answer(self, question: Mapping[str, object]) -> Answer:
        """Raises ControlError for what is no question."""
        match question:
            case {"ask": "scanners", **rest} if not rest:
                return {"scanners": self._list()}
            case {"ask": "unban", "address": str(address), **rest} if not rest:
                return {"was_ignored": self._unban(address)}
            case _:
                raise ControlError("this proxy knows no such question; is it of another version than the command?")

    def _list(self) -> list[dict[str, object]]:
        """Who is ignored, longest first."""
        now = self._clock()
        entries = [entry for entry in self._ignored.entries() if entry.until > now]
        return [
            {"source": _shown(entry.host), "requests": entry.requests, "left_s": round(entry.until - now, 1)}
            for entry in sorted(entries, key=lambda entry: -entry.until)
        ]

    def _unban(self, address: str) -> bool:
        host = _host(address)
        source, now = source_of(host), self._clock()
        entry = self._ignored.get(source)
        if entry is None or entry.until <= now:
            return False
        if self._lock is None:
            self._ignored.remove(source)
        else:
            with self._lock:
                self._ignored.remove(source)
        self._log.info("scanner unbanned", source=_shown(host))
        return True


def _host(text: str) -> str:
    """The address in it, also when it is written as it is listed: an IPv6 /64."""
    try:
        return str(ip_address(text.removesuffix("/64") if ":" in text else text))
    except ValueError:
        raise ControlError(f"{text[:80]!r} is no IP address; write one as `scanners list` shows it") from None


def _shown(host: str) -> str:
    """The source that this address is of."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return host
