"""What Prometheus reads about customers' equipment: how many kinds were seen, how many calls came from others.

What the equipment calls itself never becomes a label.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from edge_proxy.pipeline.equipment import EquipmentBook
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.telemetry.call_metrics import MAX_CUSTOMER_LABELS
from edge_proxy.telemetry.page import counter, gauge, in_slices


def equipment_families(book: EquipmentBook, snapshot: Snapshot) -> Iterator[Metric]:
    """Customers past the bound, and those no longer configured, are one: `other`."""
    names = [customer.id for customer in snapshot.customers[:MAX_CUSTOMER_LABELS]]
    counts = dict(book.unapproved)
    unapproved = counter(
        "edge_proxy_customer_calls_unapproved_equipment",
        "Calls from equipment that is not on the customer's list.",
        labels=["customer"],
    )
    for name in in_slices(names):
        unapproved.add_metric([name], counts.pop(name, 0))
    if counts:
        unapproved.add_metric(["other"], sum(counts.values()))
    yield unapproved
    seen = gauge(
        "edge_proxy_customer_equipment_seen",
        "Different names of equipment in the customer's calls, at most 64.",
        labels=["customer"],
    )
    for name in in_slices(names):
        seen.add_metric([name], len(book.of(name)))
    yield seen
    yield counter(
        "edge_proxy_equipment_forgotten",
        "Names of equipment that made room for newer ones.",
        value=book.forgotten,
    )
