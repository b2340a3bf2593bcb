"""When a target fails, the next one is tried, with a branch of its own; what the first one says later stays here."""

from __future__ import annotations

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import EndCause, Party
from tests.kit.messages import CARRIER, Dialog, ack_of, answer, cancel_of, invite, start_line, value, values
from tests.kit.playbook import FOR_CARRIERS, SPARE, Playbook, make_snapshot

TWO = (CARRIER, SPARE)


def branch_of(data: bytes) -> str:
    return values(data, "Via")[0].partition(";branch=")[2].partition(";")[0]


def test_503_fails_over_to_the_next_target() -> None:
    """§16.7, RFC 3263 §4.3: acknowledged there, tried elsewhere with another branch, invisible to the caller."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    play.customer.sends(invite()).gets(100)
    first = play.carrier.gets("INVITE")
    play.carrier.sends(answer(first, 503)).gets("ACK")
    play.customer.gets_nothing()
    second = play.spare.gets("INVITE")
    assert branch_of(first) != branch_of(second)
    assert value(first, "CSeq") == value(second, "CSeq")
    assert values(second, "Max-Forwards") == ["69"]
    play.spare.sends(answer(second, 200))
    dialog = Dialog(second, play.customer.gets(200), callee=SPARE)
    play.customer.sends(dialog.ack())
    play.spare.gets("ACK")
    assert len(play.attempts) == 1
    play.customer.sends(dialog.from_caller("BYE"))
    play.spare.sends(answer(play.spare.gets("BYE"), 200))
    play.customer.gets(200)
    play.is_over()


def test_silence_fails_over_and_a_late_answer_is_not_passed_on() -> None:
    """Timer B, then the next target; a 200 of the first one finds no transaction (RFC 6026 §8.9)."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    play.customer.sends(invite()).gets(100)
    first = play.carrier.gets("INVITE")
    play.waits(32.1)
    play.carrier.ignores("INVITE")
    second = play.spare.gets("INVITE")
    play.carrier.sends(answer(first, 200))
    play.customer.gets_nothing()
    assert play.count(Cause.STRAY_RESPONSE, Side.CARRIERS) == 1
    play.spare.sends(answer(second, 180))
    play.customer.gets(180)


def test_503_sent_again_after_failover_is_acknowledged_and_absorbed() -> None:
    """The first branch is still in Completed: its transaction acknowledges, nobody else hears of it."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    play.customer.sends(invite()).gets(100)
    first = play.carrier.gets("INVITE")
    play.carrier.sends(answer(first, 503)).gets("ACK")
    play.spare.gets("INVITE")
    play.carrier.sends(answer(first, 503)).gets("ACK")
    play.spare.gets_nothing()
    assert play.count(Cause.FAILED_OVER, Side.CARRIERS) == 1
    assert play.count(Cause.RETRANSMISSION, Side.CARRIERS) == 1


def test_when_all_targets_are_silent_the_caller_gets_408() -> None:
    """§16.7 step 6: nothing at all came: 408, once."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.gets("INVITE")
    play.waits(32.1)
    play.carrier.ignores("INVITE")
    play.spare.gets("INVITE")
    play.waits(32.1)
    play.spare.ignores("INVITE")
    play.customer.sends(ack_of(sent, play.customer.gets(408)))
    assert [(ending.cause, ending.ended_by) for ending in play.endings] == [(EndCause.TIMED_OUT, Party.PROXY)]
    play.is_over()


def test_final_refusal_of_the_callee_does_not_fail_over() -> None:
    """486 and 603 are answers of a person: nobody else is asked."""
    for status in (404, 486, 500, 603):
        play = Playbook(snapshot=make_snapshot(*TWO))
        play.customer.sends(invite()).gets(100)
        play.carrier.sends(answer(play.carrier.gets("INVITE"), status)).gets("ACK")
        play.customer.gets(status)
        play.spare.gets_nothing()


def test_503_after_the_caller_gave_up_does_not_fail_over() -> None:
    """Nobody waits for another try."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    sent = invite()
    play.customer.sends(sent).gets(100)
    first = play.carrier.gets("INVITE")
    play.customer.sends(cancel_of(sent)).gets(200)
    play.carrier.sends(answer(first, 503)).gets("ACK")
    play.spare.gets_nothing()
    play.customer.ignores()
    assert len(play.endings) == 1


def test_cancel_after_failover_goes_to_the_target_in_use() -> None:
    """The branch that is pending is the one to be cancelled."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 503)).gets("ACK")
    second = play.spare.gets("INVITE")
    play.spare.sends(answer(second, 180))
    play.customer.gets(180)
    play.customer.sends(cancel_of(sent)).gets(200)
    cancel = play.spare.gets("CANCEL")
    assert branch_of(cancel) == branch_of(second)
    play.carrier.gets_nothing()


def test_unreachable_target_counts_as_503() -> None:
    """§16.9: no connection: the next target at once; after the last one 500 (§16.7 step 6), and the call is ended."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    play.customer.sends(invite()).gets(100)
    first = play.carrier.gets("INVITE")
    play.lets(lambda now: play.pipeline.unreachable(FOR_CARRIERS.slot, CARRIER, first, now))
    second = play.spare.gets("INVITE")
    play.lets(lambda now: play.pipeline.unreachable(FOR_CARRIERS.slot, SPARE, second, now))
    refusal = play.customer.gets(500)
    assert values(refusal, "Retry-After") == []
    assert [(ending.cause, ending.status) for ending in play.endings] == [(EndCause.REJECTED, 500)]


def test_unreachable_after_the_answer_does_not_end_the_call() -> None:
    """What is told late about a request that was answered meanwhile changes nothing."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200))
    play.customer.gets(200)
    play.lets(lambda now: play.pipeline.unreachable(FOR_CARRIERS.slot, CARRIER, invited, now))
    assert play.endings == []
    play.carrier.sends(answer(invited, 200))
    play.customer.gets(200)


def test_large_request_that_was_unreachable_is_still_recognised() -> None:
    """A request near the limit grew by our own lines: it is ours all the same."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    sent = invite(body="x" * 65_000)
    play.customer.sends(sent).gets(100)
    first = play.carrier.gets("INVITE")
    assert len(sent) < play.snapshot.limits.max_message_bytes < len(first)
    play.lets(lambda now: play.pipeline.unreachable(FOR_CARRIERS.slot, CARRIER, first, now))
    play.spare.gets("INVITE")


def test_several_2xx_all_reach_the_caller() -> None:
    """§16.7 step 5, RFC 6026: the far end forked; each 2xx passes, the call is answered once."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200, tag="one"))
    one = Dialog(invited, play.customer.gets(200))
    play.waits(2.0)
    play.carrier.sends(answer(invited, 200, tag="two"))
    two = Dialog(invited, play.customer.gets(200))
    assert one.remote != two.remote
    for dialog in (one, two):
        play.customer.sends(dialog.ack())
        play.carrier.gets("ACK")
    play.customer.sends(two.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 0
    play.is_over()


def test_408_to_a_non_invite_is_not_passed_on() -> None:
    """RFC 4320 §4.2: such a 408 can only come too late."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO"))
    play.carrier.sends(answer(play.carrier.gets("INFO"), 408))
    play.customer.gets_nothing()
    assert play.count(Cause.HOP_BY_HOP_RESPONSE, Side.CARRIERS) == 1


def test_provisional_to_a_non_invite_is_not_passed_on() -> None:
    """RFC 4320 §4.1: nothing but 100 before the final, and that is hop by hop."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO"))
    info = play.carrier.gets("INFO")
    for status in (100, 180, 183):
        play.carrier.sends(answer(info, status))
    play.customer.gets_nothing()
    play.carrier.sends(answer(info, 200))
    play.customer.gets(200)


def test_target_under_another_customer_is_not_tried() -> None:
    """Fail-over stays with the party called: a customer's number is offered to that customer's targets only."""
    play = Playbook()
    sent = invite(from_="<sip:+14155550123@x.example>;tag=1", uri="sip:+12025550100@192.0.2.2:5070")
    play.carrier.sends(sent.replace(b"198.51.100.10:5060;branch", b"203.0.113.10:5090;branch"))
    play.carrier.gets(100)
    play.customer.sends(answer(play.customer.gets("INVITE"), 503)).gets("ACK")
    play.carrier.gets(500)
    play.monitored.gets_nothing()


def test_503_of_the_last_target_is_500_for_the_caller() -> None:
    """§16.7 step 6: a 503 would say that we serve nobody; what is about the target alone stays here."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 503, "Retry-After: 120")).gets("ACK")
    busy = (
        'Warning: 399 trunk "no circuits"',
        "Retry-After: 30 (maintenance)",
        "Reason: Q.850;cause=34",
        "retry-after : 40",
    )
    play.spare.sends(answer(play.spare.gets("INVITE"), 503, *busy, tag="spare", body="down")).gets("ACK")
    refusal = play.customer.gets(500)
    assert start_line(refusal) == "SIP/2.0 500 Server Internal Error"
    assert values(refusal, "Retry-After") == []
    assert (values(refusal, "Warning"), values(refusal, "Reason")) == (
        ['399 trunk "no circuits"'],
        ["Q.850;cause=34"],
    )
    assert [via.partition(";received")[0] for via in values(refusal, "Via")] == [
        values(sent, "Via")[0].removesuffix(";rport")
    ]
    assert value(refusal, "To").endswith(";tag=spare")
    assert refusal.endswith(b"\r\n\r\ndown")
    play.customer.sends(ack_of(sent, refusal))
    (ending,) = play.endings
    assert (ending.cause, ending.ended_by, ending.status, ending.q850) == (
        EndCause.REJECTED,
        Party.CALLEE,
        503,
        34,
    )
    play.is_over()


def test_500_in_place_of_a_503_is_repeated_until_it_is_acknowledged() -> None:
    """It is the server transaction's final response like any other (timer G)."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 503)).gets("ACK")
    first = play.customer.gets(500)
    play.waits(0.6)
    assert play.customer.gets(500) == first
    play.customer.sends(ack_of(sent, first))
    play.is_over()


def test_503_inside_a_dialog_is_500_too() -> None:
    """The rule is about a response context, whatever its request: nothing else is known to be closed."""
    play = Playbook()
    dialog = play.call()
    for method in ("INFO", "BYE"):
        play.customer.sends(dialog.from_caller(method))
        play.carrier.sends(answer(play.carrier.gets(method), 503, "Retry-After: 5"))
        assert values(play.customer.gets(500), "Retry-After") == []
    play.is_over()


def test_other_5xx_pass_as_they_came() -> None:
    """Their Retry-After is about the request, and the caller's to know (§20.33)."""
    play = Playbook(snapshot=make_snapshot(*TWO))
    for status in (500, 504, 580):
        sent = invite()
        play.customer.sends(sent).gets(100)
        play.carrier.sends(answer(play.carrier.gets("INVITE"), status, "Retry-After: 7")).gets("ACK")
        refusal = play.customer.gets(status)
        assert values(refusal, "Retry-After") == ["7"]
        play.customer.sends(ack_of(sent, refusal))
