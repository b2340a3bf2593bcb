"""What Prometheus reads about targets and names: who is up, what came of requests and probes, how DNS does.

A target's label is its URI as the operator wrote it: the configuration bounds the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client.core import Metric

from edge_proxy.pipeline.core import Pipeline
from edge_proxy.pipeline.probing import ProbeResult
from edge_proxy.pipeline.target_book import HopResult
from edge_proxy.telemetry.page import counter, gauge, in_slices


class NameStats(Protocol):
    """What the resolver counts (see transport/resolver.py)."""

    @property
    def stale(self) -> int: ...
    def query_counts(self) -> Iterable[tuple[str, int]]: ...
    def __len__(self) -> int: ...


def target_families(pipeline: Pipeline) -> Iterator[Metric]:
    """The trunks' targets. One that stands twice in a trunk's list is one series."""
    labels = ("trunk", "target")
    up = gauge(
        "edge_proxy_target_up",
        "Whether calls go to a target: 0 when it is down, or its name has no address.",
        labels=labels,
    )
    draining = gauge("edge_proxy_target_draining", "Whether a target gets no new calls.", labels=labels)
    reduction = gauge(
        "edge_proxy_target_reduction_ratio",
        "The share of new requests that a target asked to be spared (RFC 7339).",
        labels=labels,
    )
    requests = counter(
        "edge_proxy_target_requests",
        "Requests that began something, sent to a target, by what came of them there.",
        labels=(*labels, "result"),
    )
    results = dict(pipeline.targets.results)
    states = {(state.trunk, state.uri): state for state in pipeline.targets.states()}
    for (trunk, uri), state in in_slices(states.items()):
        up.add_metric([trunk, uri], int(state.is_up))
        draining.add_metric([trunk, uri], int(state.is_draining))
        reduction.add_metric([trunk, uri], state.reduction_percent / 100)
        for result in HopResult:
            requests.add_metric([trunk, uri, result], results.get((trunk, uri, result), 0))
    probes = counter("edge_proxy_probes", "OPTIONS probes by what came of them.", labels=["result"])
    counts = dict(pipeline.prober.results)
    for probe_result in ProbeResult:
        probes.add_metric([probe_result], counts.get(probe_result, 0))
    own = gauge(
        "edge_proxy_overload_reduction_ratio",
        "The share of new requests that is shed because we have too much to do.",
        value=pipeline.overload.percent / 100,
    )
    yield from (up, draining, reduction, requests, probes, own)


def name_families(names: NameStats) -> Iterator[Metric]:
    """DNS, as the resolver beside the call path sees it."""
    yield gauge("edge_proxy_names", "Host names that are looked up.", value=len(names))
    yield gauge("edge_proxy_names_stale", "Names whose answer has expired and could not be renewed.", value=names.stale)
    queries = counter("edge_proxy_dns_queries", "DNS queries by what came of them.", labels=["result"])
    for result, count in names.query_counts():
        queries.add_metric([result], count)
    yield queries
