"""Tables that several workers see: names to rows in memory that all share, and the lock of who writes there.

A table is made by the supervisor before there are workers, has a fixed size and never grows. What it is asked for is
named by a hash that is keyed anew in each run, so that nobody can choose names that fall together; workers are forks
and hash alike. A name may lie in one of `WAYS` rows, so looking for it costs the same
however full the table is. When all of them are taken, the one whose time is over first gives way: first what says
nothing any more, then what says it for the shortest time.

The lock is the kernel's (fcntl): it is free again when its holder dies. It is held for microseconds, and a worker that
cannot have it within `LONGEST_WAIT_S`, since its holder was stopped, goes on without it and does not wait again until
it has been free once. What is read or written then is at worst one call more or less.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from typing import Final, Literal

WAYS: Final = 16
LONGEST_WAIT_S: Final = 0.25
"""Longer than a holder that is only not scheduled takes, and less than a retransmission (RFC 3261 T1)."""
_YIELDS: Final = 20
_PAUSE_S: Final = 0.0005
_NAME_BITS: Final = 0xFFFFFFFFFFFFFFFF
_SALT: Final = os.urandom(16).hex()
"""Python's own hash of text is keyed too, but for an operator that has set PYTHONHASHSEED."""


def name_of(text: str) -> int:
    """Never 0, which is nobody's."""
    return hash(_SALT + text) & _NAME_BITS or 1


def shared_integers(kind: Literal["B", "b", "I", "Q", "q"], count: int) -> memoryview[int]:
    """So many integers, all 0, that this process and those forked from it see and write together."""
    return memoryview(mmap.mmap(-1, struct.calcsize(kind) * count)).cast(kind)


def shared_floats(count: int) -> memoryview[float]:
    """As above, of floating-point numbers."""
    return memoryview(mmap.mmap(-1, struct.calcsize("d") * count)).cast("d")


class SharedLock:
    """Keeps other processes waiting while it is held."""

    def __init__(self) -> None:
        self.missed = 0
        """How often this process went on without it."""
        self._fd = os.memfd_create("edge-proxy-lock")
        self._is_held = False
        self._waits = True

    def __enter__(self) -> None:
        if self._try() or not self._waits:
            self._waits = self._is_held
        else:
            self._wait()
        self.missed += not self._is_held

    def __exit__(self, *_: object) -> None:
        if self._is_held:
            self._is_held = False
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _wait(self) -> None:
        until = time.monotonic() + LONGEST_WAIT_S
        tries = 0
        while not self._try():
            if time.monotonic() > until:
                self._waits = False
                return
            tries += 1
            if tries <= _YIELDS:
                os.sched_yield()
            else:
                time.sleep(_PAUSE_S)  # the holder is not on a processor: leave it one

    def _try(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        self._is_held = True
        return True


class SharedTable:
    """Which row is whose, and until when it says something. What it says is in columns beside it, of its owner."""

    def __init__(self, rows: int) -> None:
        """`rows` is a multiple of WAYS."""
        self.rows = rows
        self.names = shared_integers("Q", rows)
        self.untils = shared_floats(rows)
        self.forgotten = 0
        """Rows that this process took while they still said something."""
        self._taken = shared_integers("Q", 1)
        self._sets = rows // WAYS
        self._found: dict[int, int] = {}
        """Where this process last found a name, which may have gone since."""

    def __len__(self) -> int:
        """Rows that are taken, those whose time is over included."""
        return int(self._taken[0])

    def find(self, name: int) -> int:
        """The row of this name; -1: there is none."""
        row = self._found.get(name, -1)
        if row >= 0 and self.names[row] == name:
            return row
        first = name % self._sets * WAYS
        names = self.names[first : first + WAYS].tolist()
        if name not in names:
            return -1
        if len(self._found) >= self.rows:
            self._found.clear()
        row = self._found[name] = first + names.index(name)
        return row

    def claim(self, name: int, now: float) -> tuple[int, bool]:
        """The row of this name, and whether it was given to it just now, with what was there before still in it."""
        row = self.find(name)
        if row >= 0:
            return row, False
        first = name % self._sets * WAYS
        untils = self.untils[first : first + WAYS].tolist()
        row = first + untils.index(min(untils))
        if not self.names[row]:
            self._taken[0] += 1
        elif self.untils[row] > now:
            self.forgotten += 1
        self.names[row] = name
        return row, True

    def release(self, row: int) -> None:
        """It is nobody's any more."""
        if self.names[row]:
            self.names[row] = 0
            self.untils[row] = 0.0
            self._taken[0] -= 1

    def clear(self) -> None:
        """Every row is nobody's any more."""
        self.names[:] = memoryview(bytes(8 * self.rows)).cast("Q")
        self.untils[:] = memoryview(bytes(8 * self.rows)).cast("d")
        self._taken[0] = 0
