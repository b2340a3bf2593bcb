"""Calls are set up and torn down both ways, and each step is recorded."""

from __future__ import annotations

from edge_proxy.addr import Side
from edge_proxy.pipeline.records import EndCause, Party
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import CARRIER, CUSTOMER, FAR, Dialog, answer, invite, invite_from_carrier, start_line, values
from tests.kit.playbook import Playbook


def test_customer_calls_out_and_hangs_up() -> None:
    """INVITE, 180, 200, ACK, BYE, 200: each goes through, and the call is recorded with its times."""
    play = Playbook()
    sent = invite(body="v=0\r\n")
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    assert start_line(invited) == f"INVITE sip:{FAR}@{CARRIER} SIP/2.0"
    assert invited.endswith(b"\r\n\r\nv=0\r\n")
    assert values(invited, "Max-Forwards") == ["69"]
    play.waits(1.0)
    play.carrier.ignores("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.waits(4.0)
    play.carrier.sends(answer(invited, 200))
    dialog = Dialog(invited, play.customer.gets(200))
    play.customer.sends(dialog.ack())
    ack = play.carrier.gets("ACK")
    assert start_line(ack) == f"ACK sip:{CARRIER} SIP/2.0"
    assert values(ack, "Route") == []
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 1
    play.waits(60.0)
    play.customer.sends(dialog.from_caller("BYE"))
    bye = play.carrier.gets("BYE")
    play.carrier.sends(answer(bye, 200))
    play.customer.gets(200)
    (attempt,) = play.attempts
    (ending,) = play.endings
    assert (attempt.verdict.outcome, attempt.verdict.reason) == (Outcome.ALLOWED, Reason.IDENTITY_OWNED)
    assert attempt.customer == "acme"
    assert ending.evidence_id == attempt.evidence_id
    assert (ending.cause, ending.ended_by, ending.status) == (EndCause.BYE, Party.CALLER, 200)
    assert ending.setup_s is not None
    assert ending.duration_s is not None
    assert round(ending.setup_s, 2) == 5.0
    assert round(ending.duration_s, 2) == 60.0
    play.is_over()
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 0


def test_callee_hangs_up() -> None:
    """A BYE of the called side finds back by the Record-Route it was given, and the record says who ended it."""
    play = Playbook()
    dialog = play.call()
    play.carrier.sends(dialog.from_callee("BYE"))
    bye = play.customer.gets("BYE")
    assert start_line(bye) == f"BYE sip:{CUSTOMER} SIP/2.0"
    play.customer.sends(answer(bye, 200))
    play.carrier.gets(200)
    assert [ending.ended_by for ending in play.endings] == [Party.CALLEE]
    play.is_over()


def test_carrier_calls_in() -> None:
    """A call to a customer's number goes to that customer's target, and the record names the customer."""
    play = Playbook()
    play.carrier.sends(invite_from_carrier()).gets(100)
    invited = play.customer.gets("INVITE")
    assert start_line(invited).split(" ")[1].endswith(f"@{CUSTOMER}")
    play.customer.sends(answer(invited, 200, contact=CUSTOMER))
    dialog = Dialog(invited, play.carrier.gets(200), caller=CARRIER, callee=CUSTOMER)
    play.carrier.sends(dialog.ack())
    play.customer.gets("ACK")
    play.customer.sends(dialog.from_callee("BYE"))
    bye = play.carrier.gets("BYE")
    play.carrier.sends(answer(bye, 200))
    play.customer.gets(200)
    (attempt,) = play.attempts
    assert (attempt.customer, attempt.verdict.reason) == ("acme", Reason.CARRIER_CALL)
    assert [(ending.cause, ending.ended_by) for ending in play.endings] == [(EndCause.BYE, Party.CALLEE)]
    play.is_over()


def test_each_side_sees_only_its_own_address_first() -> None:
    """RFC 5658 §5: two Record-Route values, the egress side on top, both loose."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    routes = values(play.carrier.gets("INVITE"), "Record-Route")
    assert len(routes) == 2
    assert routes[0].startswith("<sip:192.0.2.2:5070;lr;")
    assert routes[1].startswith("<sip:192.0.2.1:5060;lr;")


def test_reinvite_and_other_requests_inside_a_dialog_pass_both_ways() -> None:
    """re-INVITE, UPDATE, INFO and a method nobody knows pass in either direction without being decided again."""
    play = Playbook()
    dialog = play.call()
    for method in ("UPDATE", "INFO", "UNHEARD-OF"):
        play.customer.sends(dialog.from_caller(method))
        play.carrier.sends(answer(play.carrier.gets(method), 200))
        play.customer.gets(200)
        play.carrier.sends(dialog.from_callee(method))
        play.customer.sends(answer(play.customer.gets(method), 488))
        play.carrier.gets(488)
    play.customer.sends(dialog.from_caller("INVITE")).gets(100)
    again = play.carrier.gets("INVITE")
    play.carrier.sends(answer(again, 200))
    play.customer.gets(200)
    play.customer.sends(dialog.from_caller("ACK"))
    play.carrier.gets("ACK")
    assert len(play.attempts) == 1
    assert play.endings == []


def test_hundred_calls_at_once_do_not_mix() -> None:
    """Each response finds its own caller, whatever the order of the answers."""
    play = Playbook()
    sent = [invite(call_id=f"many-{n}") for n in range(100)]
    invited: list[bytes] = []
    for one in sent:
        play.customer.sends(one).gets(100)
        invited.append(play.carrier.gets("INVITE"))
    dialogs: list[Dialog] = []
    for n in (*range(99, -1, -2), *range(0, 100, 2)):
        play.carrier.sends(answer(invited[n], 200, tag=f"bob-{n}"))
        back = play.customer.gets(200)
        assert values(back, "Call-ID") == [f"many-{n}"]
        dialogs.append(Dialog(invited[n], back))
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 100
    for dialog in dialogs:
        play.customer.sends(dialog.ack())
        play.carrier.gets("ACK")
        play.customer.sends(dialog.from_caller("BYE"))
        play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
        play.customer.gets(200)
    assert len({ending.evidence_id for ending in play.endings}) == 100
    play.is_over()
    assert len(play.pipeline.calls) == 0


def test_message_outside_a_dialog_is_decided_and_ends_with_its_answer() -> None:
    """A MESSAGE is an attempt like a call, leaves no Record-Route, and is over when it is answered."""
    play = Playbook()
    sent = invite(body="hi").replace(b"INVITE", b"MESSAGE")
    play.customer.sends(sent)
    passed = play.carrier.gets("MESSAGE")
    assert values(passed, "Record-Route") == []
    play.carrier.sends(answer(passed, 202))
    play.customer.gets(202)
    assert [ending.cause for ending in play.endings] == [EndCause.COMPLETED]
    play.is_over()
