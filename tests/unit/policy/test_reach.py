"""Numbers that a called number may lead to although the dial plan reads none, or another (policy/reach.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Side
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.policy.claims import read_user
from edge_proxy.policy.reach import may_reach
from edge_proxy.policy.verdict import Outcome, Reason
from edge_proxy.sip.uri import parse_uri
from tests.kit.messages import CUSTOMER, invite
from tests.kit.playbook import Playbook, make_snapshot
from tests.unit.policy.test_engine import verdict_on

COSTLY = 88213123456


def reached(user: str, region: str) -> tuple[int | None, set[int]]:
    plan = dial_plan(region)
    uri = parse_uri(f"sip:{user}@x".encode())
    reading = read_user(uri, plan)
    return reading.number, set(may_reach(uri, reading, plan))


EVASIONS = [
    ("DE", "+0088213123456"),
    ("US", "+01188213123456"),
    ("US", "0088213123456"),
    ("US", "88213123456"),
    ("US", "0110088213123456"),
    ("DE", "000088213123456"),
    ("AU", "+001188213123456"),
    ("JP", "+01088213123456"),
    ("DE", "%2B0088213123456"),
    ("DE", "00+88213123456"),
    ("DE", "++88213123456"),
    ("DE", "00/88213/123456"),
    ("DE", "0088213123456%23"),
    ("DE", "0088213123456,,1"),
    ("DE", "+88213123456w1"),
    ("DE", "0088213123456x1"),
    ("DE", "*31%230088213123456"),
    ("DE", "%2331%230088213123456"),
    ("US", "*6701188213123456"),
    ("DE", "+88213-" + "-" * 40 + "123456"),
    ("DE", "0088213123456;phone-context=+1;phone-context=+44"),
    ("US", "0088213123456;phone-context=+49"),
    ("US", "+12025550123;npdi;rn=+88213123456"),
    ("US", "+12025550123;RN = +882-13-123456".replace(" ", "%20")),
    ("DE", "+12025550123;rn=0088213123456"),
    ("DE", "+12025550123;rn=+0088213123456"),
    ("US", "+12025550123;rn=+12025550000;rn=+88213123456"),
]


@pytest.mark.parametrize(("region", "user"), EVASIONS)
def test_number_that_is_dialled_all_the_same_is_seen(region: str, user: str) -> None:
    """Written so that the plan reads no number, or another one."""
    number, others = reached(user, region)
    assert number != COSTLY
    assert COSTLY in others


@pytest.mark.parametrize(
    ("region", "user", "number"),
    [
        ("DE", "+882131234567890123", 882131234567890),
        ("DE", "0088213123456789012", 882131234567890),
        ("US", "+190055501239999", 19005550123),
        ("US", "9005550123999", 19005550123),
        ("FR", "089912345699", 33899123456),
    ],
)
def test_digits_beyond_the_end_hide_no_number(region: str, user: str, number: int) -> None:
    """Exchanges dial as many as they need."""
    read, others = reached(user, region)
    assert read is None
    assert number in others


@pytest.mark.parametrize(
    ("region", "user"),
    [
        ("US", "+12025550123"), ("US", "2025550123"), ("US", "5550123"), ("US", "5550123,,1"), ("US", "201"),
        ("US", "*67"), ("US", "*98#".replace("#", "%23")), ("US", "alice"),
        ("US", "alice.88213123456"), ("US", "88213123456.alice"), ("DE", "0088213m123456"),
        ("US", "+1202555"), ("DE", "0088213123456"),
        ("DE", "030901820012"), ("GB", "01188213123"), ("IN", "01123000012"), ("US", "+12025550123;npdi"),
        ("US", "2025550123;phone-context=+1"), ("US", "2025550123;phone-context=edge.example"),
        ("US", "+12025550123;rn=+12025550123"), ("US", "%D9%A0%D9%A0882131234"),
    ],
)  # fmt: skip
def test_what_the_plan_reads_is_not_guessed_at(region: str, user: str) -> None:
    """Nor are extensions, local numbers and names: a good call is not refused on suspicion."""
    assert reached(user, region)[1] == set()


@given(st.text(st.characters(codec="utf-8"), max_size=80), st.sampled_from(["US", "DE", "JP", "BR"]))
def test_nothing_raises(text: str, region: str) -> None:
    plan = dial_plan(region)
    uri = parse_uri(b"sip:x@y")
    uri.user = text
    uri.user_params = b";rn=" + text.encode("utf-8", "replace")
    assert len(may_reach(uri, read_user(uri, plan), plan)) <= 64


ACME = 'id: acme\n    sources: ["198.51.100.10/32"]'
BEGINS = f"customers:\n  - {ACME}"


@pytest.mark.parametrize("user", [user for region, user in EVASIONS if region == "US"])
def test_list_and_limit_hold_however_the_number_is_written(user: str) -> None:
    """A deny list refuses each; a limit on the destination counts each, whatever the one before looked like."""
    denied = make_snapshot(
        old=BEGINS, new=f'lists: [{{id: far, kind: deny, applies_to: called, numbers: ["+882*"]}}]\n{BEGINS}'
    )
    uri = f"sip:{user}@192.0.2.1:5060"
    verdict = verdict_on(invite(uri=uri), CUSTOMER, Side.CUSTOMERS, snapshot=denied)
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Reason.NUMBER_DENIED)
    limits = 'limits: {destinations: [{prefix: "+882", calls_per_hour: 1}]}'
    play = Playbook(snapshot=make_snapshot(old=ACME, new=f"{ACME}\n    {limits}"))
    play.customer.sends(invite(number="+88213999999")).gets(100)
    play.carrier.gets("INVITE")
    play.refuses(invite(uri=uri), 503)
    assert play.attempts[-1].verdict.reason is Reason.DESTINATION_HOUR


def test_each_destination_that_may_be_reached_has_to_have_room() -> None:
    """A routing number to a cheap one does not hide a costly one, nor the other way round."""
    limits = 'limits: {destinations: [{prefix: "+882", calls_per_hour: 1}, {prefix: "+1", calls_per_hour: 3}]}'
    play = Playbook(snapshot=make_snapshot(old=ACME, new=f"{ACME}\n    {limits}"))
    both = "sip:+12025550123;rn=+88213123456@192.0.2.1:5060"
    turned = "sip:+88213123456;rn=+12025550123@192.0.2.1:5060"
    play.customer.sends(invite(uri=both)).gets(100)
    play.carrier.gets("INVITE")
    for uri in (both, turned, "sip:+88213123456@192.0.2.1:5060"):
        play.refuses(invite(uri=uri), 503)
    for _ in range(2):
        play.customer.sends(invite()).gets(100)
        play.carrier.gets("INVITE")
    play.refuses(invite(), 503)


def test_limit_on_the_called_number_sees_what_is_dialled() -> None:
    limits = "limits: {calls_to_number_per_minute: 1}"
    play = Playbook(snapshot=make_snapshot(old=ACME, new=f"{ACME}\n    {limits}"))
    play.customer.sends(invite(number="+88213123456")).gets(100)
    play.carrier.gets("INVITE")
    play.refuses(invite(uri="sip:0088213123456@192.0.2.1:5060"), 503)
    assert play.attempts[-1].verdict.reason is Reason.CALLED_NUMBER_RATE


def test_emergency_call_is_one_beside_any_routing_number() -> None:
    denied = make_snapshot(
        old=BEGINS, new=f'lists: [{{id: far, kind: deny, applies_to: called, numbers: ["+882*"]}}]\n{BEGINS}'
    )
    uri = "sip:911;rn=+88213123456@192.0.2.1:5060"
    verdict = verdict_on(invite(uri=uri), CUSTOMER, Side.CUSTOMERS, snapshot=denied)
    assert (verdict.outcome, verdict.reason) == (Outcome.ALLOWED, Reason.EMERGENCY)
