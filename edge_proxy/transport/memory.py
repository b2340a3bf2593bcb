"""How much is under way in, memory back to the system out: once a burst of calls is over, and off the calls' path.

What a burst needed is free again when its transactions and calls are over, but the allocators keep it: CPython in its
lists of free objects, the C library in its heap. Both let go of it when asked. They are asked twice: when nearly all of
the burst is over, and when the rest of it is too. What that rest held lies scattered over all that the burst needed,
and goes to the lists of free objects, where one small tuple keeps a mebibyte of CPython's.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Sequence
from typing import Final

_BURST: Final = 1000
"""What is no more than this is not worth the work."""
_CALM_SHARE: Final = 20
"""A burst is over when a twentieth of it is left: then there is little to look through, and nobody who waits."""
_LAST_LOOKS: Final = 12
"""The rest of a burst is over when nothing is under way, or this many looks later: at one every five seconds, longer
than a transaction lives."""


class MemoryRelief:
    """Knows from what it is told every few seconds whether a burst is over.

    `caches` are emptied with the rest: what they hold is scattered among what the burst left, and one small object
    keeps a mebibyte.
    """

    __slots__ = ("_busiest", "_caches", "_looks_left", "_trim")

    def __init__(self, caches: Sequence[Callable[[], None]] = ()) -> None:
        self._busiest = 0
        self._looks_left = 0
        self._caches = caches
        self._trim: Callable[[int], object] | None = None
        with contextlib.suppress(AttributeError, OSError):  # no GNU C library: the other half is done all the same
            self._trim = ctypes.CDLL(None).malloc_trim

    def is_due(self, under_way: int) -> bool:
        """Whether a burst, or the rest of it, is just over; `under_way` is how many transactions and calls there are
        now. True once for each."""
        self._busiest = max(self._busiest, under_way)
        if self._busiest > _BURST and under_way * _CALM_SHARE <= self._busiest:
            self._busiest = under_way
            self._looks_left = _LAST_LOOKS if under_way else 0
            return True
        if not self._looks_left:
            return False
        self._looks_left = self._looks_left - 1 if under_way else 0
        return not self._looks_left

    def collect(self) -> None:
        """Empty the caches and CPython's lists of free objects. All else stands still for it, some milliseconds."""
        for empty in self._caches:
            empty()
        gc.collect()

    def trim(self) -> None:
        """Give back the C library's free pages. To be called on a thread of its own: it lets go of the interpreter."""
        if self._trim is not None:
            self._trim(0)
