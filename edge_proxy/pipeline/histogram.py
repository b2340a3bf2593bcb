"""Durations counted in buckets: what a Prometheus histogram is made of at scrape.

The counts lie in an array, so that a count that changes is no new object: the last one of each bucket would outlive the
burst of calls that it was made in, and keep a mebibyte of what that burst needed.
"""

from __future__ import annotations

from array import array
from typing import Final

_NONE: Final = bytes(8)


class Histogram:
    """`buckets[i]` counts what was at most `bounds_s[i]` and more than the bound before; the last one is the rest."""

    __slots__ = ("bounds_s", "buckets", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.buckets = array("q", _NONE * (len(bounds_s) + 1))
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        place = 0
        for bound_s in self.bounds_s:
            if duration_s <= bound_s:
                break
            place += 1
        self.buckets[place] += 1
        self.sum_s += duration_s

    @property
    def count(self) -> int:
        return sum(self.buckets)
