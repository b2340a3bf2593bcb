"""What Prometheus reads about limits and strangers: how full their tables are, and what these had to forget."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from edge_proxy.pipeline.core import Pipeline
from edge_proxy.telemetry.page import counter, gauge


def limit_families(pipeline: Pipeline) -> Iterator[Metric]:
    """Refusals by limit are among the verdicts, dropped datagrams of strangers among the messages by cause."""
    limiter, scanners = pipeline.decider.limiter, pipeline.scanners
    yield gauge(
        "edge_proxy_limit_entries", "Rates in use: customers, numbers, AS, destinations.", value=limiter.entries
    )
    yield counter(
        "edge_proxy_limit_entries_forgotten",
        "Rates in use that were given up, since there is room for so many only.",
        value=limiter.forgotten,
    )
    shared = limiter.shared
    yield counter(
        "edge_proxy_limits_alone",
        "Times that limits were asked without the other workers, since one of them did not let go of what they share.",
        value=0 if shared is None else shared.missed,
    )
    yield gauge(
        "edge_proxy_scanners_ignored",
        "Unknown sources that are ignored; those whose time is over leave when they or another scanner come.",
        value=len(scanners),
    )
    yield counter(
        "edge_proxy_scanners_found", "Times that an unknown source began to be ignored.", value=scanners.found
    )
    yield counter(
        "edge_proxy_scanners_forgotten",
        "Unknown sources given up before their time, since there is room for so many only.",
        value=scanners.forgotten,
    )
