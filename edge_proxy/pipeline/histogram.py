"""Durations counted in buckets: what a Prometheus histogram is made of at scrape."""

from __future__ import annotations

from edge_proxy.pipeline.counters import Count


class Histogram:
    """`buckets[i]` counts what was at most `bounds_s[i]` and more than the bound before; the last one is the rest."""

    __slots__ = ("_counts", "bounds_s", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self._counts = [Count() for _ in range(len(bounds_s) + 1)]
        self.sum_s = 0.0

    def observe(self, duration_s: float, times: int = 1) -> None:
        place = 0
        for bound_s in self.bounds_s:
            if duration_s <= bound_s:
                break
            place += 1
        self._counts[place].count += times
        self.sum_s += duration_s * times

    @property
    def buckets(self) -> list[int]:
        return [counted.count for counted in self._counts]

    @property
    def count(self) -> int:
        return sum(self.buckets)
