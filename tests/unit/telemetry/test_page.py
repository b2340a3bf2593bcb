"""A page in Prometheus' text format, and that who writes one lets go of the interpreter (telemetry/page.py)."""

from __future__ import annotations

import gc
import gzip
from collections.abc import Iterable, Iterator
from urllib.request import Request, urlopen

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from edge_proxy.addr import Address
from edge_proxy.resting import resting
from edge_proxy.telemetry.http import TelemetryServer
from edge_proxy.telemetry.page import counter, gauge, in_slices, page_of

HARD = 'a "quoted"\\ value\nof two lines, ü'


class Some(Collector):
    """Families that a test gives."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def registry_of(*families: Metric) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Some(*families))
    return registry


def all_kinds() -> CollectorRegistry:
    calls = counter("edge_proxy_calls", "Calls,\nand a \\.", labels=["side", "cause"])
    calls.add_metric(["customers", HARD], 3)
    calls.add_metric(["carriers", ""], 2.5)
    delay = HistogramMetricFamily("edge_proxy_delay_seconds", "Delay.", labels=["side"])
    delay.add_metric(["customers"], buckets=[("0.1", 1), ("+Inf", 2)], sum_value=7.5)
    return registry_of(calls, gauge("edge_proxy_ready", "Ready.", value=1), gauge("edge_proxy_none", "Nothing."), delay)


def read(text: str) -> list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]:
    return [
        (family.name, family.type, family.documentation, [(one.name, one.labels, one.value) for one in family.samples])
        for family in text_string_to_metric_families(text)
    ]


def test_page_says_what_prometheus_clients_own_would() -> None:
    registry = all_kinds()
    assert read(page_of(registry).decode()) == read(generate_latest(registry).decode())
    assert registry.get_sample_value("edge_proxy_calls_total", {"side": "customers", "cause": HARD}) == 3


def test_whoever_makes_a_page_may_rest_after_every_slice_of_rows() -> None:
    """A thread that waits meanwhile never waits for a whole page."""
    rests: list[int] = []
    many = gauge("edge_proxy_many", "Many.", labels=["customer"])
    with resting(lambda: rests.append(1)):
        for number in in_slices(range(10_000)):
            many.add_metric([f"customer-{number}"], number)
        assert page_of(registry_of(many)).count(b"\n") == 10_002
    assert len(rests) == 1250 + 2


def test_rows_are_nothing_that_the_collector_would_walk() -> None:
    """It walks whatever a worker holds, and calls wait for it, once so many containers were made."""
    many = gauge("edge_proxy_many", "Many.", labels=["customer"])
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        for number in range(1000):
            many.add_metric([f"customer-{number}"], number)
        assert gc.get_count()[0] - before < 100
    finally:
        gc.enable()


def test_server_gives_the_page_packed_to_whoever_takes_it_so() -> None:
    registry = all_kinds()
    server = TelemetryServer(Address("127.0.0.1", 0), registry, lambda: True)
    url = f"http://127.0.0.1:{server.start().port}/metrics"
    try:
        with urlopen(url) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            plain = answer.read()
        with urlopen(Request(url, headers={"Accept-Encoding": "gzip"})) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(answer.read()) == plain == page_of(registry)
    finally:
        server.stop()
