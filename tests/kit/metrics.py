"""A scrape of /metrics as a table that can be asked, and subtracted from a later one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

Key = tuple[str, frozenset[tuple[str, str]]]


class Samples(Mapping[Key, float]):
    """Every sample of one scrape by its name and labels."""

    def __init__(self, values: Mapping[Key, float]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: Key) -> float:
        return self._values[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def total(self, name: str, **labels: str) -> int:
        """The sum of all samples `edge_proxy_<name>` that carry these labels; 0 when there is none."""
        wanted = set(labels.items())
        return round(sum(v for (n, have), v in self._values.items() if n == f"edge_proxy_{name}" and wanted <= have))

    def by(self, name: str, label: str, **labels: str) -> dict[str, int]:
        """`total` for each value of one label that counted anything."""
        wanted = set(labels.items())
        found: dict[str, int] = {}
        for (sample, have), value in self._values.items():
            if sample == f"edge_proxy_{name}" and wanted <= have and value:
                group = dict(have)[label]
                found[group] = found.get(group, 0) + round(value)
        return found

    def since(self, before: Samples) -> Samples:
        """What was added after `before`; meant for counters."""
        return Samples({key: value - before.get(key, 0.0) for key, value in self._values.items()})


def scrape(address: str) -> Samples:
    """Read http://ADDRESS/metrics."""
    with urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return Samples(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )
