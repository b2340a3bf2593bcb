"""Timers A to M of RFC 3261 §17 and RFC 6026, and Timer C, seen from outside with a clock that only the test moves."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import EndCause, Party
from edge_proxy.transaction.timers import TICK_S, TimerSettings
from tests.kit.messages import CARRIER, Dialog, ack_of, answer, invite, request
from tests.kit.playbook import SPARE, Playbook, make_snapshot

A = [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
E = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
_OVER_S = 1.2
"""From shortly before a transaction is over until it has gone: up to a second late, where nothing else is due."""


def at(times: list[float], expected: list[float]) -> bool:
    """Whether messages came at these times, each up to a tick late."""
    return len(times) == len(expected) and all(
        want - 1e-9 <= got <= want + (n + 1) * TICK_S + 0.006
        for n, (got, want) in enumerate(zip(times, expected, strict=True))
    )


def test_invite_without_any_answer_is_resent_by_timer_a_and_ends_by_timer_b() -> None:
    """§17.1.1.2: T1, doubling, until 64*T1; then 408 to the caller, whose ACK ends it."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.gets("INVITE", after_s=0.0)
    play.waits(33.0)
    assert at(play.carrier.ignores("INVITE"), A)
    refusal = play.customer.gets(408, after_s=32.0)
    play.customer.ignores(408)
    play.customer.sends(ack_of(sent, refusal))
    (ending,) = play.endings
    assert (ending.cause, ending.ended_by, ending.status) == (EndCause.TIMED_OUT, Party.PROXY, 408)
    play.is_over()


def test_provisional_response_stops_timer_a_and_timer_b() -> None:
    """§17.1.1.2: in Proceeding nothing is sent again and 64*T1 has no meaning."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.waits(0.4)
    play.carrier.sends(answer(invited, 100))
    play.waits(100.0)
    play.nothing_is_left()
    play.carrier.sends(answer(invited, 200))
    play.customer.gets(200)


def test_invite_to_us_refused_is_answered_again_by_timer_g_until_timer_h() -> None:
    """§17.2.1: the refusal at T1, doubling up to T2, until 64*T1 without an ACK; then it is forgotten and counted."""
    play = Playbook()
    play.customer.sends(request("INVITE", "sip:+13105550199@192.0.2.1:5060", from_="<sip:bad@acme.example>;tag=1"))
    play.customer.gets(403)
    play.waits(40.0)
    assert at(play.customer.ignores(403), E)
    assert play.pipeline.layer.server_timeouts == 1
    play.is_over()


def test_ack_stops_timer_g_and_timer_i_absorbs_more_acks() -> None:
    """§17.2.1: Confirmed for T4 over UDP; an ACK after that belongs to nothing."""
    play = Playbook()
    sent = request("INVITE", "sip:+13105550199@192.0.2.1:5060", from_="<sip:bad@acme.example>;tag=1")
    ack = ack_of(sent, play.customer.sends(sent).gets(403))
    play.customer.sends(ack)
    play.waits(4.9)
    play.customer.sends(ack)
    assert play.count(Cause.ACK_OF_REFUSAL) == 2
    play.waits(0.2)
    play.customer.sends(ack)
    assert play.count(Cause.UNKNOWN_DIALOG) == 0
    assert play.pipeline.counters.sides[Side.CUSTOMERS].received == 4
    play.is_over()


def test_refusal_from_the_far_end_is_acknowledged_for_timer_d() -> None:
    """§17.1.1.2: Completed lasts 32 s over UDP; later the same refusal matches nothing and is dropped."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 603)).gets("ACK")
    play.customer.ignores()
    play.waits(31.9)
    play.customer.ignores(603)
    play.carrier.sends(answer(invited, 603)).gets("ACK")
    play.waits(0.2)
    play.customer.ignores(603)
    play.carrier.sends(answer(invited, 603)).gets_nothing()
    assert play.count(Cause.STRAY_RESPONSE, Side.CARRIERS) == 1


def test_timer_d_is_32_s_even_when_t1_is_small() -> None:
    """§17.1.1.2: 64*T1, but never less than 32 s over UDP."""
    play = Playbook(timers=TimerSettings(t1_s=0.1))
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 603)).gets("ACK")
    play.customer.ignores()
    play.waits(31.5)
    play.customer.ignores()
    play.carrier.sends(answer(invited, 603)).gets("ACK")


def test_non_invite_is_resent_by_timer_e_and_given_up_in_silence_by_timer_f() -> None:
    """§17.1.2.2, RFC 4320: T1 doubling to T2 until 64*T1; then no 408, since it would only come too late."""
    play = Playbook()
    dialog = play.call()
    start = play.now - play.begun_at
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.gets("BYE")
    play.waits(40.0)
    assert at([t - start for t in play.carrier.ignores("BYE")], E)
    assert len(play.customer.ignores(100)) == 1
    play.is_over()


def test_non_invite_in_proceeding_is_resent_every_t2() -> None:
    """§17.1.2.2: a 100 does not stop Timer E, it only makes it T2."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO"))
    info = play.carrier.gets("INFO")
    play.carrier.sends(answer(info, 100))
    play.waits(13.0)
    assert at(play.carrier.ignores("INFO"), [0.5, 4.5, 8.5, 12.5])
    play.customer.ignores(100)
    play.carrier.sends(answer(info, 200))
    play.customer.gets(200)
    play.is_over()


def test_timer_k_absorbs_late_copies_of_a_final() -> None:
    """§17.1.2.2: T4 over UDP; what comes later is a stray."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO"))
    info = play.carrier.gets("INFO")
    play.carrier.sends(answer(info, 200))
    play.customer.gets(200)
    play.waits(4.9)
    play.carrier.sends(answer(info, 200))
    assert play.count(Cause.RETRANSMISSION, Side.CARRIERS) == 1
    play.waits(_OVER_S)
    play.carrier.sends(answer(info, 200))
    assert play.count(Cause.STRAY_RESPONSE, Side.CARRIERS) == 1
    play.customer.gets_nothing()


def test_timer_j_answers_copies_of_a_request_for_64_t1() -> None:
    """§17.2.2: after 64*T1 a copy is a new request."""
    play = Playbook()
    dialog = play.call()
    sent = dialog.from_caller("INFO", branch="info")
    play.customer.sends(sent)
    play.carrier.sends(answer(play.carrier.gets("INFO"), 200))
    play.customer.gets(200)
    play.waits(31.9)
    play.customer.sends(sent).gets(200)
    play.waits(_OVER_S)
    play.customer.sends(sent).gets_nothing()
    play.carrier.gets("INFO")


def test_timers_l_and_m_keep_accepted_open_for_64_t1() -> None:
    """RFC 6026 §7: further 2xx pass for 64*T1 after the first; later they match nothing and stay here."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    accepted = answer(invited, 200)
    play.carrier.sends(accepted)
    play.customer.gets(200)
    play.waits(31.9)
    play.carrier.sends(accepted)
    play.customer.gets(200)
    play.waits(_OVER_S)
    play.carrier.sends(accepted)
    play.customer.gets_nothing()
    assert play.count(Cause.STRAY_RESPONSE, Side.CARRIERS) == 1


def test_timer_c_cancels_a_call_that_rings_for_ever() -> None:
    """§16.8: after Timer C the branch is cancelled; its 487 goes to the caller."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.waits(186.0)
    cancel = play.carrier.gets("CANCEL", after_s=185.0)
    play.carrier.ignores("CANCEL")
    assert play.pipeline.counters.timer_c_fired == 1
    play.carrier.sends(answer(cancel, 200))
    play.carrier.sends(answer(invited, 487)).gets("ACK")
    play.customer.gets(487)
    play.waits(0.0)


@pytest.mark.parametrize("status", [101, 180, 183, 199])
def test_timer_c_starts_anew_with_each_provisional(status: int) -> None:
    """§16.7 step 2: 101 to 199 reset it, 100 does not."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 100))
    play.waits(100.0)
    play.carrier.sends(answer(invited, status))
    play.customer.gets(status)
    play.waits(184.0)
    play.nothing_is_left()
    play.carrier.sends(answer(invited, 100))
    play.waits(1.1)
    play.carrier.gets("CANCEL", after_s=285.0)
    play.carrier.ignores("CANCEL")


def test_timer_c_without_any_answer_to_its_cancel_ends_in_408() -> None:
    """§9.1: no final within 64*T1 of the CANCEL: the branch is dead and nothing of it is kept."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.waits(185.1)
    play.carrier.gets("CANCEL")
    play.waits(32.5)
    assert at([t - 185.01 for t in play.carrier.ignores("CANCEL")], E)
    refusal = play.customer.gets(408)
    play.customer.ignores(408)
    play.customer.sends(ack_of(sent, refusal))
    play.carrier.sends(answer(invited, 200))
    play.customer.gets_nothing()
    assert [ending.cause for ending in play.endings] == [EndCause.TIMED_OUT]
    play.is_over()


def test_timer_c_counts_for_each_target_anew() -> None:
    """§16.6 step 11: Timer C belongs to a client transaction: a dead target before it takes nothing from the next."""
    play = Playbook(snapshot=make_snapshot(SPARE, CARRIER))
    play.customer.sends(invite()).gets(100)
    play.spare.gets("INVITE")
    play.waits(32.1)
    play.spare.ignores("INVITE")
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 100))
    play.waits(180.0)
    play.nothing_is_left()
    play.carrier.sends(answer(invited, 200))
    play.customer.gets(200)


def test_call_answered_in_time_leaves_no_timer_c() -> None:
    """A timer that has nothing to do any more does nothing."""
    play = Playbook()
    dialog: Dialog = play.call()
    play.waits(300.0)
    play.nothing_is_left()
    assert play.pipeline.counters.timer_c_fired == 0
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.gets("BYE")
