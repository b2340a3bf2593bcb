"""A page of metrics in Prometheus' text format, written beside the calls without making them wait.

The thread of the calls needs the interpreter, which one thread has at a time and which a thread that only computes
keeps for as long as it is let. So a page costs little, as its rows are plain label values and numbers until they are
text, and it is made in slices: after each of them the interpreter is let go of for long enough that a thread that
waits for it gets it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, Sample

T = TypeVar("T")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SLICE: Final = 200
"""Rows, of which one takes under a microsecond: a message that comes meanwhile waits no longer than that."""
_LET_GO_S: Final = 0.0005
"""A thread that waits has to be woken up first; with less than this, we would often be quicker."""


class Family(Metric):
    """Counters or gauges of one name. Cheaper than prometheus-client's own, and seen from outside like one."""

    def __init__(  # not the base's, which checks the name anew at each scrape
        self, name: str, documentation: str, kind: str, labels: Sequence[str], value: float | None
    ) -> None:
        self.name = name
        self.documentation = documentation
        self.type = kind
        self.unit = ""
        self.label_names = tuple(labels)
        self.rows: list[tuple[Sequence[str], float]] = []
        """Label values in the order of the names, and the figure."""
        if value is not None:
            self.rows.append(((), value))

    def add_metric(self, labels: Sequence[str], value: float) -> None:
        self.rows.append((labels, value))

    @property
    def sample_name(self) -> str:
        return f"{self.name}_total" if self.type == "counter" else self.name

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]  # read-only here
        """The rows as prometheus-client has them."""
        names = self.label_names
        return [
            Sample(self.sample_name, dict(zip(names, map(str, labels), strict=True)), value)
            for labels, value in self.rows
        ]


def counter(name: str, documentation: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return Family(name, documentation, "counter", labels, value)


def gauge(name: str, documentation: str, labels: Sequence[str] = (), value: float | None = None) -> Family:
    return Family(name, documentation, "gauge", labels, value)


def let_go() -> None:
    """Let whoever waits for the interpreter have it."""
    time.sleep(_LET_GO_S)


def in_slices(rows: Iterable[T]) -> Iterator[T]:
    """These, letting go of the interpreter after every slice of them."""
    for number, row in enumerate(rows, 1):
        yield row
        if not number % _SLICE:
            let_go()


def page_of(registry: CollectorRegistry) -> bytes:
    """The page of everything registered, as it is now."""
    return "".join(in_slices(_lines(registry))).encode()


def _lines(registry: CollectorRegistry) -> Iterator[str]:
    for family in registry.collect():
        name = family.name + "_total" if family.type == "counter" else family.name
        text = family.documentation.replace("\\", "\\\\").replace("\n", "\\n")
        yield f"# HELP {name} {text}\n# TYPE {name} {family.type}\n"
        if isinstance(family, Family):
            line = _line_of(name, family.label_names)
            for labels, value in family.rows:
                yield line % (*map(_escaped, labels), value)
        else:
            for sample in family.samples:
                yield _line_of(sample.name, sample.labels) % (*map(_escaped, sample.labels.values()), sample.value)


def _line_of(name: str, labels: Iterable[str]) -> str:
    """A line with places for the label values and the figure."""
    pairs = ",".join(f'{label}="%s"' for label in labels)
    return f"{name}{{{pairs}}} %s\n" if pairs else f"{name} %s\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
