"""Limits in conversations: what is slowed down and told when to come back, what is not, and what a hang-up frees."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import OWNED, answer, cancel_of, invite, outgoing_uri, value
from tests.kit.playbook import CONFIG, Playbook, make_snapshot

NUMBERS = 'numbers: ["+12025550100-+12025550199"]'
COSTLY = "+88216000001"
SECOND = "<sip:+12025550101@acme.example>;tag=x"


def limited(limits: str, more: str = "") -> Snapshot:
    """The network of these tests, with limits for acme."""
    assert NUMBERS in CONFIG
    return make_snapshot(old=NUMBERS, new=f"{NUMBERS}\n    limits: {limits}{more}")


def test_number_has_as_many_calls_up_as_it_may() -> None:
    """The third call of a number gets 503, another number's passes, and after a BYE there is room again."""
    play = Playbook(snapshot=limited("{per_number: {concurrent_calls: 2}}"))
    first = play.call()
    play.call()
    refusal = play.refuses(invite(), 503)
    assert value(refusal, "Reason") == 'SIP;cause=503;text="number_concurrent"'
    assert value(refusal, "Retry-After") == "5"
    play.customer.sends(invite(from_=SECOND)).gets(100)
    play.carrier.gets("INVITE")
    play.customer.sends(first.from_caller("BYE"))
    bye = play.carrier.gets("BYE")
    play.carrier.sends(answer(bye, 200))
    play.customer.gets(200)
    play.call()
    play.refuses(invite(), 503)
    play.carrier.ignores("INVITE")


def test_destination_by_the_hour_counts_calls_however_they_are_dialled() -> None:
    """+882..., 011882... are one destination; a cancelled call counts too; Retry-After leads to the end of the hour."""
    play = Playbook(snapshot=limited('{destinations: [{prefix: "+882", calls_per_hour: 2}]}'))
    for number in (COSTLY, COSTLY.replace("+", "011")):
        sent = invite(number=number)
        play.customer.sends(sent).gets(100)
        invited = play.carrier.gets("INVITE")
        play.carrier.sends(answer(invited, 180))
        play.customer.gets(180)
        play.customer.sends(cancel_of(sent)).gets(200)
        play.carrier.sends(answer(play.carrier.gets("CANCEL"), 200))
        play.carrier.sends(answer(invited, 487))
        play.carrier.gets("ACK")
        play.customer.gets(487)
        play.customer.ignores("487")
    refusal = play.refuses(invite(number=COSTLY), 503)
    assert value(refusal, "Reason") == 'SIP;cause=503;text="destination_hour"'
    assert value(refusal, "Retry-After") == "3600"
    play.call()
    assert play.pipeline.calls.held == {}


def test_limits_survive_a_reload() -> None:
    """What was used up before new data came stays used up, and calls that are up still count."""
    snapshot = limited('{per_number: {concurrent_calls: 1}, destinations: [{prefix: "+882", calls_per_hour: 1}]}')
    play = Playbook(snapshot=snapshot)
    play.customer.sends(invite(number=COSTLY, from_=SECOND)).gets(100)
    play.carrier.gets("INVITE")
    play.call()
    play.pipeline.use_snapshot(snapshot)
    play.refuses(invite(), 503)
    play.refuses(invite(number=COSTLY, from_="<sip:+12025550102@acme.example>;tag=x"), 503)
    assert [one.verdict.reason for one in play.attempts[2:]] == [Reason.NUMBER_CONCURRENT, Reason.DESTINATION_HOUR]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("{calls_per_second: 1}", Reason.CALLS_PER_SECOND),
        ("{concurrent_calls: 1}", Reason.CONCURRENT_CALLS),
        ("{per_number: {calls_per_second: 1}}", Reason.NUMBER_RATE),
        ("{per_number: {concurrent_calls: 1}}", Reason.NUMBER_CONCURRENT),
        ('{destinations: [{prefix: "+1", calls_per_second: 1}]}', Reason.DESTINATION_RATE),
        ('{destinations: [{prefix: "+1", concurrent_calls: 1}]}', Reason.DESTINATION_CONCURRENT),
        ('{destinations: [{prefix: "+1", calls_per_hour: 1}]}', Reason.DESTINATION_HOUR),
    ],
)
def test_monitor_mode_says_so_and_lets_it_pass(limits: str, reason: Reason) -> None:
    """The call passes, the record says what would have been, and the calls that are up are counted all the same."""
    play = Playbook(snapshot=limited(limits, "\n    mode: monitor"))
    play.call()
    play.call()
    assert [(one.verdict.outcome, one.verdict.reason) for one in play.attempts] == [
        (Outcome.ALLOWED, Reason.IDENTITY_OWNED),
        (Outcome.MONITORED, reason),
    ]
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 2


def test_emergency_calls_use_up_nothing() -> None:
    """They pass over every limit, and afterwards there is as much room as before."""
    limits = "{calls_per_second: 1, concurrent_calls: 1, per_number: {calls_per_second: 1, concurrent_calls: 1}}"
    play = Playbook(snapshot=limited(limits))
    for _ in range(3):
        play.customer.sends(invite(uri=outgoing_uri("911"))).gets(100)
        play.carrier.gets("INVITE")
    play.call()
    play.refuses(invite(from_=f"<sip:{OWNED}@acme.example>;tag=x"), 503)
    play.customer.sends(invite(uri=outgoing_uri("911"))).gets(100)
    play.carrier.gets("INVITE")
    assert [one.verdict.outcome for one in play.attempts] == [*[Outcome.ALLOWED] * 4, Outcome.REFUSED, Outcome.ALLOWED]
