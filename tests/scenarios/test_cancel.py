"""CANCEL in every race (RFC 3261 §9, §16.10)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import EndCause, Party
from tests.kit.messages import (
    CARRIER,
    FOREIGN,
    Dialog,
    ack_of,
    answer,
    cancel_of,
    invite,
    invite_from_carrier,
    start_line,
    value,
    values,
)
from tests.kit.playbook import SPARE, Playbook, make_snapshot


def test_ringing_call_is_cancelled() -> None:
    """200 to the CANCEL at once, CANCEL to the far end with our branch, its 487 to the caller, ended by the caller."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.customer.sends(cancel_of(sent, 'Reason: SIP;cause=200;text="Call completed elsewhere"')).gets(200)
    cancel = play.carrier.gets("CANCEL")
    assert start_line(cancel).split(" ")[1] == start_line(invited).split(" ")[1]
    assert values(cancel, "Via") == values(invited, "Via")[:1]
    assert value(cancel, "CSeq") == "1 CANCEL"
    assert value(cancel, "Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    assert ";tag=" not in value(cancel, "To")
    play.carrier.sends(answer(cancel, 200))
    play.customer.gets_nothing()
    play.carrier.sends(answer(invited, 487)).gets("ACK")
    play.customer.sends(ack_of(sent, play.customer.gets(487)))
    (ending,) = play.endings
    assert (ending.cause, ending.ended_by, ending.status) == (EndCause.CANCELLED, Party.CALLER, 487)
    play.is_over()


@pytest.mark.parametrize("status", [100, 180])
def test_cancel_before_the_first_provisional_waits_for_it(status: int) -> None:
    """§9.1: no CANCEL to somebody who has not said a word; with the first provisional it goes out."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.customer.sends(cancel_of(sent)).gets(200)
    play.carrier.gets_nothing()
    play.waits(0.6)
    play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, status)).gets("CANCEL")
    play.customer.ignores(180)
    play.carrier.sends(answer(invited, 487)).gets("ACK")
    play.customer.gets(487)
    assert [ending.cause for ending in play.endings] == [EndCause.CANCELLED]


def test_cancel_after_100_only_goes_on_at_once() -> None:
    """A 100 is a provisional response too."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 100))
    play.customer.sends(cancel_of(sent)).gets(200)
    play.carrier.gets("CANCEL")


def test_cancel_to_one_who_never_answers_ends_by_timer_b() -> None:
    """Neither a CANCEL nor another target: the caller gets 408, and no target is tried for one who gave up."""
    play = Playbook(snapshot=make_snapshot(CARRIER, SPARE))
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.gets("INVITE")
    play.customer.sends(cancel_of(sent)).gets(200)
    play.waits(32.1)
    play.carrier.ignores("INVITE")
    play.customer.sends(ack_of(sent, play.customer.gets(408)))
    play.spare.gets_nothing()
    play.is_over()


def test_cancel_crossing_a_200_leaves_the_call_up() -> None:
    """The callee picked up first: the 2xx goes through and only a BYE ends the call."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.customer.sends(cancel_of(sent)).gets(200)
    cancel = play.carrier.gets("CANCEL")
    play.carrier.sends(answer(invited, 200))
    dialog = Dialog(invited, play.customer.gets(200))
    play.carrier.sends(answer(cancel, 481))
    play.customer.gets_nothing()
    assert play.endings == []
    play.customer.sends(dialog.ack())
    play.carrier.gets("ACK")
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)
    assert [ending.cause for ending in play.endings] == [EndCause.BYE]
    play.is_over()


@pytest.mark.parametrize("status", [200, 486])
def test_cancel_after_the_final_response_has_no_effect(status: int) -> None:
    """§9.2: 200 to the CANCEL, and nothing else happens."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, status))
    play.carrier.ignores("ACK")
    play.customer.gets(status)
    play.customer.sends(cancel_of(sent)).gets(200)
    play.carrier.gets_nothing()


def test_cancel_of_a_refused_invite_has_no_effect() -> None:
    """The same for a call that we refused ourselves."""
    play = Playbook()
    sent = invite(from_=f"<sip:{FOREIGN}@acme.example>;tag=x")
    refusal = play.customer.sends(sent).gets(403)
    play.customer.sends(cancel_of(sent)).gets(200)
    play.customer.sends(ack_of(sent, refusal))
    play.is_over()


def test_cancel_twice_is_one_cancel() -> None:
    """A copy gets its 200 again; another CANCEL for the same INVITE gets its own; the far end hears of it once."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 180))
    play.customer.gets(180)
    cancel = cancel_of(sent)
    first = play.customer.sends(cancel).gets(200)
    play.carrier.gets("CANCEL")
    assert play.customer.sends(cancel).gets(200) == first
    play.carrier.gets_nothing()


def test_cancel_without_match_is_answered_481_and_goes_nowhere() -> None:
    """An edge that forwards no INVITE without state knows that there is nothing to cancel."""
    play = Playbook()
    play.customer.sends(cancel_of(invite())).gets(481)
    play.carrier.gets_nothing()
    assert play.count(Cause.UNKNOWN_DIALOG) == 1
    play.is_over()


@pytest.mark.parametrize("header", ["Max-Forwards: 0", "Proxy-Require: gold"])
def test_cancel_is_taken_whatever_a_request_would_be_refused_for(header: str) -> None:
    """§9.2, RFC 3261 §16.10: a CANCEL is handled here, so neither hops nor extensions matter to it."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 180))
    play.customer.gets(180)
    cancel = cancel_of(sent, header)
    if header.startswith("Max-Forwards"):
        cancel = cancel.replace(b"Max-Forwards: 70\r\n", b"", 1)
    play.customer.sends(cancel).gets(200)
    play.carrier.gets("CANCEL")


def test_unanswered_cancel_is_resent_and_the_call_still_ends() -> None:
    """§9.1: the CANCEL is a transaction of its own; 64*T1 after it the branch is given up."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 180))
    play.customer.gets(180)
    play.customer.sends(cancel_of(sent)).gets(200)
    play.carrier.gets("CANCEL")
    play.waits(40.0)
    assert len(play.carrier.ignores("CANCEL")) > 5
    refusal = play.customer.gets(408)
    play.customer.ignores(408)
    play.customer.sends(ack_of(sent, refusal))
    assert len(play.endings) == 1
    play.is_over()


def test_cancel_of_a_reinvite_leaves_the_call_up() -> None:
    """Only the re-INVITE is taken back."""
    play = Playbook()
    dialog = play.call()
    again = dialog.from_caller("INVITE")
    play.customer.sends(again).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.customer.sends(cancel_of(again)).gets(200)
    cancel = play.carrier.gets("CANCEL")
    play.carrier.sends(answer(cancel, 200))
    play.carrier.sends(answer(invited, 487)).gets("ACK")
    play.customer.sends(ack_of(again, play.customer.gets(487)))
    assert play.endings == []
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 1


def test_cancel_from_the_carrier_reaches_the_customer() -> None:
    """The same the other way round."""
    play = Playbook()
    sent = invite_from_carrier()
    play.carrier.sends(sent).gets(100)
    invited = play.customer.gets("INVITE")
    play.customer.sends(answer(invited, 183))
    play.carrier.gets(183)
    play.carrier.sends(cancel_of(sent)).gets(200)
    play.customer.gets("CANCEL")
