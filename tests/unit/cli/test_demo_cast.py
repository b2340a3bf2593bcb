"""The cast: who plays what, taken from the configuration, and what is refused to be played."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.cli.demo.cast import assemble_cast
from edge_proxy.cli.demo.plan import PeerPlan, Scenario
from edge_proxy.config import ConfigErrors, Settings, parse_settings
from edge_proxy.policy.verdict import Outcome, Reason

SHIPPED = Path(__file__).parents[3] / "config" / "edge-proxy.yaml"


def settings(*changes: tuple[str, str]) -> Settings:
    text = SHIPPED.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_settings(text.encode(), "demo.yaml")


def scenario(cast: list[PeerPlan], peer: str, reason: Reason) -> Scenario:
    plan = next(plan for plan in cast if plan.name == peer)
    return next(scenario for scenario in plan.scenarios if scenario.reason == reason)


def refusal(*changes: tuple[str, str]) -> str:
    with pytest.raises(ConfigErrors) as caught:
        assemble_cast(settings(*changes))
    return str(caught.value)


def test_shipped_configuration_seats_every_peer_where_it_says() -> None:
    """Addresses and ports come from the customers' targets and sources, and from the trunk's first target."""
    seats = {plan.name: (plan.host, plan.port, plan.proxy) for plan in assemble_cast(settings())}
    assert seats == {
        "carrier-a": ("127.0.0.1", 5090, ("127.0.0.1", 5070)),
        "acme": ("127.0.0.2", 5080, ("127.0.0.1", 5060)),
        "globex": ("127.0.0.3", 5080, ("127.0.0.1", 5060)),
        "initech": ("127.0.0.4", 5080, ("127.0.0.1", 5060)),
        "scanner": ("127.0.0.9", 0, ("127.0.0.1", 5060)),
    }


def test_every_refusal_that_needs_no_special_policy_is_played() -> None:
    """A newcomer sees each kind of refusal: identities not owned, switched origin, strangers, forged, stray calls."""
    played = {scenario.reason for plan in assemble_cast(settings()) for scenario in plan.scenarios}
    assert played == {
        Reason.IDENTITY_OWNED,
        Reason.CARRIER_CALL,
        Reason.FORWARDED_CALL,
        Reason.EMERGENCY,
        Reason.FROM_NOT_OWNED,
        Reason.PAI_NOT_OWNED,
        Reason.PSTN_ORIGIN,
        Reason.UNKNOWN_SOURCE,
        Reason.OWN_NUMBER_FROM_CARRIER,
        Reason.CALLED_NOT_OWNED,
    }


def test_emergency_call_is_expected_to_pass_with_a_foreign_number() -> None:
    """Emergency calls pass whatever they claim."""
    call = scenario(assemble_cast(settings()), "globex", Reason.EMERGENCY)
    assert call.outcome is Outcome.ALLOWED
    assert call.caller == (12025550100, 12025550199)


def test_customer_in_monitor_mode_is_expected_to_be_let_through() -> None:
    """In monitor mode a spoofed call passes and is counted as monitored; the peers must not expect a refusal."""
    monitored = settings(('numbers: ["+13105550100-+13105550199"]', 'numbers: ["+13105550100"]\n    mode: monitor'))
    call = scenario(assemble_cast(monitored), "globex", Reason.FROM_NOT_OWNED)
    assert call.outcome is Outcome.MONITORED
    assert call.passes


def test_policy_against_unknown_origin_changes_what_a_bare_call_expects() -> None:
    """Where the origin must be shown, a good call that shows nothing is refused, and one that shows it is not."""
    cast = assemble_cast(settings(("unknown_ip_origin: allow", "unknown_ip_origin: reject")))
    bare = scenario(cast, "globex", Reason.UNKNOWN_IP_ORIGIN)
    assert bare.outcome is Outcome.REFUSED
    assert scenario(cast, "acme", Reason.IDENTITY_OWNED).passes


def test_callers_from_outside_never_use_a_number_that_a_customer_owns() -> None:
    """When a customer owns the first range kept for fiction, the next one plays the outside world."""
    taken = settings(('numbers: ["+442079460000-+442079460999"]', 'numbers: ["+12125550142"]'))
    outside = scenario(assemble_cast(taken), "carrier-a", Reason.CARRIER_CALL).caller
    assert outside == (16465550100, 16465550199)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("sip:127.0.0.1:5090", "sip:192.0.2.9:5090", "trunks[0].targets[0]: 192.0.2.9 is no loopback address"),
        ("sip:127.0.0.4:5080", "sip:192.0.2.9:5080", "customers[2].targets[0]: 192.0.2.9 is no loopback address"),
        ('bind: "127.0.0.1:5060"', 'bind: "192.0.2.1:5060"', "listeners.customers.bind: 192.0.2.1 is no loopback"),
        ('bind: "127.0.0.1:5060"', 'bind: "127.0.0.1:0"', "listeners.customers.bind: port 0 lets the system choose"),
        ("sip:127.0.0.2:5080", "sip:127.0.0.77:5080", "customers[0].targets: the demo calls acme where it calls from"),
        ('targets: ["sip:127.0.0.2:5080"]', "targets: []", "customers[0].targets: the demo calls acme"),
        ('numbers: ["+13105550100-+13105550199"]', "numbers: []", "customers[1].numbers: globex has no number"),
    ],
)
def test_configuration_that_cannot_be_played_is_refused_at_its_key(old: str, new: str, told: str) -> None:
    """A demo stays on this machine: no peer, proxy or target elsewhere, and the text names the key and its line."""
    text = refusal((old, new))
    assert told in text
    assert text.startswith("demo.yaml:")


def test_too_few_customers_are_told_with_what_would_be_right() -> None:
    """The cast needs three customers."""
    text = SHIPPED.read_text("utf-8")
    kept = text[: text.index("  - id: initech")] + text[text.index("\ntrunks:\n") :]
    with pytest.raises(ConfigErrors, match="plays 3 customers and finds 2"):
        assemble_cast(parse_settings(kept.encode(), "demo.yaml"))
