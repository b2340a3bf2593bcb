"""How much is under way in, memory back to the system out: once a burst of calls is over, and off the calls' path.

What a burst needed is free again when its transactions and calls are over, but the allocators keep it: CPython in its
lists of free objects and in mebibytes of which something is still in use, the C library in its heap. `take_over` has
small objects lie in slabs of 16 KiB instead (`_slabs.c`); the rest is asked for. They are asked twice: when nearly all
of the burst is over, and when the rest of it is too. What that rest held lies scattered over all that the burst needed,
and goes to the lists of free objects.
"""

from __future__ import annotations

import _tracemalloc  # without what `tracemalloc` reads its findings with
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

try:
    from edge_proxy.transport import _slabs
except ImportError:
    HAS_SLABS = False
else:
    HAS_SLABS = True

_BURST: Final = 1000
"""What is no more than this is not worth the work."""
_CALM_SHARE: Final = 20
"""A burst is over when a twentieth of it is left: then there is little to look through, and nobody who waits."""
_LAST_LOOKS: Final = 12
"""The rest of a burst is over when nothing is under way, or this many looks later: at one every five seconds, longer
than a transaction lives."""
_SLABS_AT_ONCE: Final = 256
"""4 MiB: the system takes them back in half a millisecond."""


def take_over() -> bool:
    """Let small objects lie in slabs from now on, in this process and its forks; False where that cannot be.

    Who chose an allocator by PYTHONMALLOC keeps it, and so does who has what is allocated checked (-X dev) or traced
    (-X tracemalloc): that puts back what was there before when it ends, and that knows nothing of slabs.
    """
    is_chosen = os.environ.get("PYTHONMALLOC") or sys.flags.dev_mode or _tracemalloc.is_tracing()
    return HAS_SLABS and not is_chosen and _slabs.take_over()


def give_back() -> bool:
    """Give back the pages of some empty slabs; False when all have been looked at. All else stands still for it."""
    return HAS_SLABS and _slabs.give_back(_SLABS_AT_ONCE)


def empty_slab_bytes() -> int:
    """What `give_back` would give back in all."""
    if not HAS_SLABS:
        return 0
    held, in_use = _slabs.held()
    return held - in_use


class MemoryRelief:
    """Knows from what it is told every few seconds whether a burst is over.

    `caches` are emptied with the rest: what they hold is scattered among what the burst left, and one small object
    keeps a slab, or a mebibyte.
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
