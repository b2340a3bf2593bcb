"""A page of metrics in Prometheus' text format, written beside the calls without making them wait.

Whoever makes one may rest after each slice of its rows (resting.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, Sample
from prometheus_client.parser import text_string_to_metric_families

from edge_proxy.resting import rest

T = TypeVar("T")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SLICE: Final = 8
"""Rows, of which each takes some microseconds: a customer has five lines."""


class Family(Metric):
    """Counters or gauges of one name. Cheaper than prometheus-client's own, and seen from outside like one.

    A row is text at once: thousands of tuples and lists would have the collector walk all that a worker holds.
    """

    def __init__(  # not the base's, which checks the name anew at each scrape
        self, name: str, documentation: str, kind: str, labels: Sequence[str], value: float | None
    ) -> None:
        self.name = name
        self.documentation = documentation
        self.type = kind
        self.unit = ""
        self.lines: list[str] = []
        self._line = _line_of(f"{name}_total" if kind == "counter" else name, labels)
        if value is not None:
            self.add_metric((), value)

    def add_metric(self, labels: Iterable[str], value: float) -> None:
        """Label values in the order of the names, and the figure."""
        self.lines.append(self._line % (*map(_escaped, labels), value))

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]  # read-only here
        """The rows as prometheus-client has them."""
        text = "".join((_head_of(self), *self.lines))
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def counter(name: str, documentation: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return Family(name, documentation, "counter", labels, value)


def gauge(name: str, documentation: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return Family(name, documentation, "gauge", labels, value)


def in_slices(rows: Iterable[T]) -> Iterator[T]:
    """These, with a rest after every slice of them."""
    for number, row in enumerate(rows, 1):
        yield row
        if not number % _SLICE:
            rest()


def page_of(registry: CollectorRegistry) -> bytes:
    """The page of everything registered, as it is now."""
    return "".join(_texts(registry)).encode()


def _texts(registry: CollectorRegistry) -> Iterator[str]:
    rest()
    for family in registry.collect():
        yield _head_of(family)
        if isinstance(family, Family):
            yield "".join(family.lines)
        else:
            for sample in family.samples:
                yield _line_of(sample.name, sample.labels) % (*map(_escaped, sample.labels.values()), sample.value)
        rest()


def _head_of(family: Metric) -> str:
    name = family.name + "_total" if family.type == "counter" else family.name
    text = family.documentation.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {family.type}\n"


def _line_of(name: str, labels: Iterable[str]) -> str:
    """A line with places for the label values and the figure."""
    pairs = ",".join(f'{label}="%s"' for label in labels)
    return f"{name}{{{pairs}}} %s\n" if pairs else f"{name} %s\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
