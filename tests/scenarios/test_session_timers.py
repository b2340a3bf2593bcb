"""Session timers through the whole core (RFC 4028 §8): asked for, answered for a far end, and believed."""

from __future__ import annotations

import pytest

from edge_proxy.pipeline.records import EndCause
from tests.kit.core_rig import (
    CARRIER,
    FAR_NUMBER,
    PBX,
    Core,
    Dialog,
    answer,
    invite,
    request,
    set_up,
    start_line,
    statuses,
    values,
)

GRACE_S = 32.0 + 2 * 10.0


def invite_sent(core: Core, *extra: str) -> bytes:
    """The INVITE as the carrier gets it."""
    return next(send.data for send in core.receive(invite(*extra), PBX) if send.address == CARRIER)


def test_call_is_asked_for_a_session_timer() -> None:
    """An INVITE without Session-Expires leaves with ours, and with no `refresher` (§8.1)."""
    assert values(invite_sent(Core()), "Session-Expires") == ["1800"]
    assert values(invite_sent(Core(session_expires_s=0)), "Session-Expires") == []


def test_retransmission_of_the_2xx_carries_the_same_answer() -> None:
    """The far end knows no timer and the caller does: each 2xx, the first and its repetitions, gets it (§8.2)."""
    core = Core()
    got = invite_sent(core, "Supported: timer")
    ok = answer(got, 200)
    for _ in range(2):
        (send,) = core.receive(ok, CARRIER)
        assert send.address == PBX
        assert values(send.data, "Session-Expires") == ["1800;refresher=uac"]
        assert values(send.data, "Require") == ["timer"]


def test_2xx_to_a_caller_without_timers_goes_back_untouched() -> None:
    """Nobody on either side knows session timers: nothing is put in, and the call does not expire by one."""
    core = Core(max_call_s=4000)
    got = invite_sent(core)
    (send,) = core.receive(answer(got, 200), CARRIER)
    assert values(send.data, "Session-Expires") == []
    core.advance(1800 + GRACE_S)
    assert core.pipeline.calls.active_of("acme") == 1
    core.advance(4000)
    (ending,) = core.endings
    assert ending.cause is EndCause.MAX_DURATION
    assert core.pipeline.calls.ended[ending.caller_side, EndCause.MAX_DURATION] == 1


def test_call_without_refresh_ends_in_our_books_only() -> None:
    """§8.3: when the session expires its call is forgotten, marked so, and nobody is sent a BYE."""
    core = Core()
    set_up(core, answer_extra=("Session-Expires: 600;refresher=uas",))
    core.advance(600.0)
    assert core.endings == []
    assert core.advance(GRACE_S) == []
    (ending,) = core.endings
    assert (ending.cause, ending.ended_by, ending.status) == ("session_expired", "proxy", 200)
    assert core.pipeline.calls.active_of("acme") == 0


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
@pytest.mark.parametrize("is_caller", [True, False])
def test_refresh_keeps_the_call_alive(method: str, is_caller: bool) -> None:
    """§8.2: each 2xx to a refresh, from either side, sets the expiration anew."""
    core = Core()
    dialog = set_up(core, answer_extra=("Session-Expires: 600;refresher=uas",))
    for _ in range(4):
        core.advance(400.0)
        if is_caller:
            sends = core.receive(dialog.from_caller(method, "Session-Expires: 600;refresher=uac"), PBX)
        else:
            sends = core.receive(dialog.from_callee(method, "Session-Expires: 600;refresher=uas"), CARRIER)
        got = sends[-1]
        assert values(got.data, "Session-Expires")[0].startswith("600;refresher=")
        core.receive(answer(got.data, 200, "Session-Expires: 600;refresher=uac"), got.address)
    assert core.endings == []
    core.advance(600.0 + GRACE_S)
    assert [ending.cause for ending in core.endings] == [EndCause.SESSION_EXPIRED]


def test_refused_refresh_changes_nothing() -> None:
    """A 491 to a refresh is no sign that the session was prolonged, and does not end the call either."""
    core = Core()
    dialog = set_up(core, answer_extra=("Session-Expires: 600;refresher=uas",))
    core.advance(400.0)
    got = core.receive(dialog.from_caller("INVITE", "Session-Expires: 600"), PBX)[-1]
    core.receive(answer(got.data, 491), CARRIER)
    assert core.pipeline.calls.active_of("acme") == 1
    core.advance(200.0 + GRACE_S)
    assert [ending.cause for ending in core.endings] == [EndCause.SESSION_EXPIRED]


def test_timer_switched_off_in_mid_call_leaves_the_maximum() -> None:
    """§7.2: a 2xx to a refresh without Session-Expires ends the session timer, not the call."""
    core = Core(session_expires_s=0, max_call_s=3000)
    dialog = set_up(core, answer_extra=("Session-Expires: 600;refresher=uas",))
    got = core.receive(dialog.from_caller("UPDATE"), PBX)[-1]
    core.receive(answer(got.data, 200), CARRIER)
    core.advance(2900.0)
    assert core.pipeline.calls.active_of("acme") == 1
    core.advance(100.0 + GRACE_S)
    assert [ending.cause for ending in core.endings] == [EndCause.MAX_DURATION]


def test_bye_after_the_session_expired_is_passed_on_and_ends_nothing_twice() -> None:
    """We gave the call up too early for one side: its BYE still goes through, and there is one end record."""
    core = Core()
    dialog = set_up(core, answer_extra=("Session-Expires: 90;refresher=uas",))
    core.advance(90.0 + GRACE_S)
    assert len(core.endings) == 1
    assert statuses(core.receive(dialog.from_caller("BYE"), PBX)) == [(CARRIER, "BYE")]
    assert len(core.endings) == 1
    assert core.pipeline.calls.is_reconciled()


def test_too_short_interval_is_refused_with_what_would_do() -> None:
    """§8.1: 422 with our Min-SE, to a caller that knows session timers; the attempt is recorded to its end."""
    core = Core()
    (send,) = core.receive(invite("Supported: timer", "Session-Expires: 60"), PBX)
    assert start_line(send.data) == "SIP/2.0 422 Session Interval Too Small"
    assert values(send.data, "Min-SE") == ["90"]
    assert ";tag=" in values(send.data, "To")[0]
    (ending,) = core.endings
    assert (ending.cause, ending.ended_by, ending.status) == ("rejected", "proxy", 422)


def test_too_short_interval_of_a_caller_without_timers_is_raised() -> None:
    """§8.1: a 422 would only end that call, so Min-SE is put in and the interval follows."""
    got = invite_sent(Core(), "Session-Expires: 60")
    assert values(got, "Session-Expires") == values(got, "Min-SE") == ["90"]


def test_emergency_call_is_never_refused_for_its_interval() -> None:
    """Whatever its timers say, an emergency call goes on."""
    core = Core()
    call = request(
        "INVITE", "sip:911@127.0.0.1:5060", "Supported: timer", "Session-Expires: 60", to="<sip:911@pbx.example>"
    )
    assert (CARRIER, "INVITE") in statuses(core.receive(call, PBX))


def test_too_short_interval_of_a_reinvite_is_raised() -> None:
    """Inside a dialog nobody is refused for a timer, whoever the call is for: the interval is raised to Min-SE."""
    core = Core()
    dialog = set_up(core)
    (got,) = core.receive(dialog.from_callee("INVITE", "k: timer", "x: 30;refresher=uac"), CARRIER)[1:]
    assert got.address == PBX
    assert values(got.data, "x") == ["90;refresher=uac"]
    assert values(got.data, "Min-SE") == []


def test_early_update_is_not_asked_for_a_timer() -> None:
    """Before the answer there is no session: an UPDATE then (RFC 3311) leaves as it came."""
    core = Core()
    got = invite_sent(core)
    (ringing,) = core.receive(answer(got, 183, "Require: 100rel", "RSeq: 1"), CARRIER)
    dialog = Dialog(got, ringing.data)
    (update,) = core.receive(dialog.from_caller("UPDATE"), PBX)
    assert values(update.data, "Session-Expires") == []


def test_failover_asks_the_next_target_for_the_same() -> None:
    """The second target gets the request as the first did, with one Session-Expires."""
    core = Core()
    first = next(send for send in core.receive(invite(), PBX) if start_line(send.data).startswith("INVITE"))
    second = next(
        send for send in core.receive(answer(first.data, 503), first.address) if send.data.startswith(b"INVITE")
    )
    assert second.address != first.address
    assert values(second.data, "Session-Expires") == ["1800"]
    assert values(second.data, "Max-Breadth") == ["60"]


def test_carrier_call_is_asked_too() -> None:
    """Both directions are the same to session timers."""
    core = Core()
    call = request(
        "INVITE",
        "sip:+12025550100@127.0.0.1:5070",
        from_=f"<sip:{FAR_NUMBER}@carrier.example>;tag=far",
        source=CARRIER,
    )
    got = next(send for send in core.receive(call, CARRIER) if send.data.startswith(b"INVITE"))
    assert got.address == PBX
    assert values(got.data, "Session-Expires") == ["1800"]
