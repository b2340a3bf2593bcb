"""Durations counted in buckets, in plain integers: what a Prometheus histogram is made of at scrape."""

from __future__ import annotations

from bisect import bisect_left


class Histogram:
    """`buckets[i]` counts what was at most `bounds_s[i]` and more than the bound before; the last one is the rest."""

    __slots__ = ("bounds_s", "buckets", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.buckets = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        self.buckets[bisect_left(self.bounds_s, duration_s)] += 1
        self.sum_s += duration_s

    @property
    def count(self) -> int:
        return sum(self.buckets)
