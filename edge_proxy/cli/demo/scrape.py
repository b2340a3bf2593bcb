"""One look at /metrics: the text exposition format to sums over labels, as the board and the check ask for them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_DEADLINE_S: Final = 2.0
_PREFIX: Final = "edge_proxy_"


class Readings:
    """The samples of one scrape. Names are given without `edge_proxy_`."""

    def __init__(self, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        self._samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for name, labels, value in samples:
            self._samples.setdefault(name, []).append((labels, value))

    def total(self, name: str, **labels: str) -> float:
        """The sum of every sample of that name that carries these labels; 0 when there is none."""
        return sum(value for found, value in self._samples.get(name, ()) if found.items() >= labels.items())

    def count(self, name: str, **labels: str) -> int:
        return round(self.total(name, **labels))

    def by(self, name: str, *keys: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The same, apart for each combination of the labels in `keys`."""
        sums: dict[tuple[str, ...], float] = {}
        for found, value in self._samples.get(name, ()):
            if found.items() >= labels.items():
                key = tuple(found.get(label, "") for label in keys)
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def quantile(self, name: str, share: float) -> float | None:
        """The upper bound of the histogram bucket that `share` of the observations stay under; None without any."""
        wanted = share * self.total(f"{name}_count")
        if not wanted:
            return None
        bounds = sorted((float(key[0]), count) for key, count in self.by(f"{name}_bucket", "le").items())
        return next((bound for bound, count in bounds if count >= wanted), None)


def parse_readings(text: str) -> Readings:
    """Raises ValueError for what is no exposition format."""
    return Readings(
        (sample.name.removeprefix(_PREFIX), sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def scrape(url: str) -> Readings:
    """Ask once. Raises OSError when nobody answers, ValueError when the answer is none."""
    with urllib.request.urlopen(url, timeout=_DEADLINE_S) as response:  # noqa: S310 - the proxy's own address, http
        return parse_readings(response.read().decode())
