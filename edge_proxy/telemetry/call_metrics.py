"""What Prometheus reads about calls: how many are up, how many were answered, how long they rang and lasted.

ASR is answered / attempted, NER effective / attempted, ACD the sum of the durations / their count. Customers and trunks
get a series from the first scrape on; the customers past a bound, and those no longer configured, are one: `other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily, Metric

from edge_proxy.addr import Side
from edge_proxy.pipeline.calls import CallBook, Tally
from edge_proxy.pipeline.histogram import Histogram
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.telemetry.page import counter, gauge, in_slices

MAX_CUSTOMER_LABELS: Final = 500

_NONE: Final = Tally()


def call_families(calls: CallBook, snapshot: Snapshot) -> Iterator[Metric]:
    """The tallies of the call book."""
    active = gauge("edge_proxy_calls_active", "Calls up now, by the side that called.", labels=["side"])
    for side in Side:
        active.add_metric([side], calls.active(side))
    yield active
    ended = counter("edge_proxy_calls_ended", "Attempts that were let through and are over.", labels=["side", "cause"])
    for (side, cause), count in calls.ended.items():
        ended.add_metric([side, cause], count)
    yield ended
    yield from _counted("calls", "side", [(side.value, calls.sides[side]) for side in Side])
    customers = [customer.id for customer in snapshot.customers[:MAX_CUSTOMER_LABELS]]
    yield from _by_name("customer", customers, dict(calls.customers))
    yield from _by_name("trunk", [trunk.id for trunk in snapshot.trunks], dict(calls.trunks))
    yield _histogram(
        "call_duration_seconds", "From the answer of a call to its end, by the side that called.", calls.durations
    )
    yield _histogram(
        "post_dial_delay_seconds",
        "From an INVITE to the first 18x, or to the answer when none came, by the side that called.",
        calls.post_dial_delays,
    )


def _by_name(label: str, names: Sequence[str], tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    """The tallies of the configured customers or trunks; those of all others as one."""
    rows = [(name, tallies.get(name, _NONE)) for name in names]
    own = set(names)
    rest: Tally | None = None
    for name, tally in in_slices(tallies.items()):
        if name not in own:
            rest = rest or Tally()
            rest.active += tally.active
            rest.attempted += tally.attempted
            rest.answered += tally.answered
            rest.effective += tally.effective
    if rest is not None:
        rows.append(("other", rest))
    active = gauge(f"edge_proxy_{label}_calls_active", f"Calls up now, by {label}.", labels=[label])
    for name, tally in in_slices(rows):
        active.add_metric([name], tally.active)
    yield active
    yield from _counted(f"{label}_calls", label, rows)


def _counted(prefix: str, label: str, rows: Sequence[tuple[str, Tally]]) -> Iterator[Metric]:
    attempted = counter(f"edge_proxy_{prefix}_attempted", f"Calls that were let through, by {label}.", labels=[label])
    answered = counter(f"edge_proxy_{prefix}_answered", f"Calls that were answered, by {label}.", labels=[label])
    effective = counter(
        f"edge_proxy_{prefix}_effective",
        f"Calls that reached the called side: answered, busy, declined or rung in vain, by {label}.",
        labels=[label],
    )
    for name, tally in in_slices(rows):
        attempted.add_metric([name], tally.attempted)
        answered.add_metric([name], tally.answered)
        effective.add_metric([name], tally.effective)
    yield from (attempted, answered, effective)


def _histogram(name: str, text: str, by_side: Mapping[Side, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"edge_proxy_{name}", text, labels=["side"])
    for side, histogram in by_side.items():
        bounds = (*map(str, histogram.bounds_s), "+Inf")
        buckets = list(zip(bounds, accumulate(histogram.buckets), strict=True))
        family.add_metric([side], buckets=buckets, sum_value=histogram.sum_s)
    return family
