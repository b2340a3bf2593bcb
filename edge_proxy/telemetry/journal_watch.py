"""Is evidence being written? The journal's counters, looked at now and then, to log lines about what has changed.

A disk that fails, is full or stalls holds up no call while the evidence buffer has room, so that nobody would notice;
and what becomes of calls when the buffer is full too is the operator's choice (`evidence.when_full`).
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

_STALLED_S: Final = 2.0
"""How long a disk may take for what waits for it, before that is said. A sync is due every fifth of a second."""


class WatchedStats(Protocol):
    """What is read of the journal's counters."""

    @property
    def records_written(self) -> int: ...
    @property
    def records_lost(self) -> int: ...
    @property
    def write_errors(self) -> int: ...


class JournalWatch:
    """Says once that something is wrong, and once that it is over."""

    def __init__(self, stats: WatchedStats, log: structlog.stdlib.BoundLogger) -> None:
        self._stats = stats
        self._log = log
        self._errors = stats.write_errors
        self._written = stats.records_written
        self._moved_at: float | None = None
        self._failing_since: float | None = None
        self._lost: int | None = None
        """How many were lost when the buffer became full; None: it has room."""

    def look(self, now: float, *, backlog_bytes: int, has_room: bool, last_error: str) -> None:
        """`now` in seconds on a clock that never goes back."""
        stats = self._stats
        has_moved = stats.records_written != self._written or not backlog_bytes
        if has_moved or self._moved_at is None:
            self._moved_at = now
        has_failed = stats.write_errors != self._errors
        self._written, self._errors = stats.records_written, stats.write_errors
        if self._failing_since is None and (has_failed or now - self._moved_at >= _STALLED_S):
            self._failing_since = now
            why = last_error if has_failed else f"the disk has taken nothing for {_STALLED_S:.0f} s"
            self._log.error("evidence is not written", error=why, backlog_bytes=backlog_bytes)
        elif self._failing_since is not None and has_moved and not has_failed:
            self._log.info("evidence is written again", after_s=round(now - self._failing_since, 1))
            self._failing_since = None
        if self._lost is None and not has_room:
            self._lost = stats.records_lost
            self._log.error("evidence buffer is full", backlog_bytes=backlog_bytes)
        elif self._lost is not None and has_room:
            self._log.info("evidence buffer has room again", lost=stats.records_lost - self._lost)
            self._lost = None
