"""The figures of calls as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from edge_proxy.telemetry.call_metrics import call_families
from tests.kit.core_rig import CARRIER, PBX, Core, answer, invite, request, set_up


class _Calls(Collector):
    def __init__(self, core: Core) -> None:
        self._core = core

    def collect(self) -> list[Metric]:
        pipeline = self._core.pipeline
        return list(call_families(pipeline.calls, pipeline.snapshot))


def read(core: Core) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Calls(core))
    return registry


def value(core: Core, name: str, **labels: str) -> float | None:
    return read(core).get_sample_value(f"edge_proxy_{name}", labels)


def test_every_customer_and_trunk_is_a_series_before_the_first_call() -> None:
    """A rate over a series that begins with its first event misses that event."""
    core = Core()
    assert value(core, "customer_calls_active", customer="acme") == 0
    assert value(core, "trunk_calls_attempted_total", trunk="carrier-b") == 0
    assert value(core, "calls_answered_total", side="carriers") == 0
    assert value(core, "call_duration_seconds_count", side="customers") == 0


def test_answered_call_is_counted_for_its_side_customer_and_trunk() -> None:
    """One call: rung after 1 s, answered after 3, over after 60 more."""
    core = Core()
    dialog = set_up(core)
    assert value(core, "calls_active", side="customers") == 1
    assert value(core, "customer_calls_active", customer="acme") == 1
    assert value(core, "trunk_calls_active", trunk="carrier-a") == 1
    core.advance(60.0)
    core.receive(dialog.from_caller("BYE"), PBX)
    assert value(core, "calls_active", side="customers") == 0
    assert value(core, "customer_calls_active", customer="acme") == 0
    assert value(core, "trunk_calls_active", trunk="carrier-a") == 0
    for name in ("attempted", "answered", "effective"):
        assert value(core, f"calls_{name}_total", side="customers") == 1
        assert value(core, f"customer_calls_{name}_total", customer="acme") == 1
        assert value(core, f"trunk_calls_{name}_total", trunk="carrier-a") == 1
    assert value(core, "call_duration_seconds_bucket", side="customers", le="30.0") == 0
    assert value(core, "call_duration_seconds_bucket", side="customers", le="60.0") == 1
    assert value(core, "call_duration_seconds_bucket", side="customers", le="+Inf") == 1
    assert value(core, "post_dial_delay_seconds_bucket", side="customers", le="1.0") == 1
    assert value(core, "post_dial_delay_seconds_count", side="customers") == 1


def test_refused_call_is_attempted_and_busy_is_effective() -> None:
    """NER counts a busy called party as the network's success, a 404 as its failure."""
    core = Core()
    for status in (486, 404):
        got = next(send for send in core.receive(invite(), PBX) if send.address == CARRIER)
        core.receive(answer(got.data, status), CARRIER)
    assert value(core, "calls_attempted_total", side="customers") == 2
    assert value(core, "calls_effective_total", side="customers") == 1
    assert value(core, "calls_answered_total", side="customers") == 0
    assert value(core, "post_dial_delay_seconds_count", side="customers") == 0


def test_customers_that_are_configured_no_more_are_one_series() -> None:
    """A label never comes from anything but the configuration in use."""
    core = Core()
    core.pipeline.calls.customers["gone"].attempted = 3
    core.pipeline.calls.customers["gone-too"].attempted = 4
    assert value(core, "customer_calls_attempted_total", customer="other") == 7
    assert value(core, "customer_calls_attempted_total", customer="gone") is None


def test_message_is_no_call() -> None:
    """A MESSAGE on its way is no call that is up."""
    core = Core()
    core.receive(request("MESSAGE", "sip:+14155550999@127.0.0.1:5060"), PBX)
    assert value(core, "calls_active", side="customers") == 0
    assert value(core, "calls_attempted_total", side="customers") == 0
