"""Who hung up, when, and why: what the end record of a call says (RFC 3326, RFC 6076)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Monotonic
from edge_proxy.pipeline.records import EndCause, Ending, Party
from edge_proxy.transaction.timers import TimerSettings
from tests.kit.core_rig import (
    ACME_NUMBER,
    CARRIER,
    FAR_NUMBER,
    PBX,
    SPARE,
    WALL_S,
    Core,
    ack,
    answer,
    cancel,
    invite,
    request,
    set_up,
    statuses,
)

BUSY = 'Reason: Q.850;cause=17;text="User busy"'
NORMAL = "Reason: SIP;cause=200, Q.850;cause=16"


def only_ending(core: Core) -> Ending:
    (ending,) = core.endings
    return ending


@pytest.mark.parametrize("party", [Party.CALLER, Party.CALLEE])
def test_bye_ends_the_call_with_its_figures(party: Party) -> None:
    """Rung after 1 s, answered after 3, over after 42 more, by whoever sent BYE, for the reason it gave."""
    core = Core()
    dialog = set_up(core)
    core.advance(42.0)
    if party is Party.CALLER:
        core.receive(dialog.from_caller("BYE", NORMAL), PBX)
    else:
        core.receive(dialog.from_callee("BYE", NORMAL), CARRIER)
    ending = only_ending(core)
    assert (ending.cause, ending.ended_by, ending.status, ending.q850) == (EndCause.BYE, party, 200, 16)
    assert ending.pdd_s == pytest.approx(1.0)
    assert ending.ring_s == pytest.approx(2.0)
    assert ending.setup_s == pytest.approx(3.0)
    assert ending.duration_s == pytest.approx(42.0)


def test_crossing_byes_end_the_call_once() -> None:
    """Both hang up in the same moment: both BYEs go through, the first is the one that ended the call."""
    core = Core()
    dialog = set_up(core)
    core.receive(dialog.from_caller("BYE"), PBX)
    assert len(core.receive(dialog.from_callee("BYE"), CARRIER)) == 1
    assert only_ending(core).ended_by is Party.CALLER
    assert sum(core.pipeline.calls.ended.values()) == 1


def test_refusal_gives_its_cause() -> None:
    """A busy far end: 486 with Q.850 17 goes into the record; there was no 18x and so no delay to it."""
    core = Core()
    sent = invite()
    got = next(send for send in core.receive(sent, PBX) if send.address == CARRIER)
    (back,) = (send for send in core.receive(answer(got.data, 486, BUSY), CARRIER) if send.address == PBX)
    core.receive(ack(sent, back.data), PBX)
    ending = only_ending(core)
    assert (ending.cause, ending.ended_by, ending.status, ending.q850) == ("rejected", "callee", 486, 17)
    assert (ending.pdd_s, ending.ring_s, ending.setup_s, ending.duration_s) == (None, None, None, None)


def test_cancel_gives_the_callers_cause() -> None:
    """The CANCEL's own Reason outranks the one in the 487 that it brings about."""
    core = Core()
    sent = invite()
    got = next(send for send in core.receive(sent, PBX) if send.address == CARRIER)
    core.receive(answer(got.data, 180), CARRIER)
    core.receive(cancel(sent, NORMAL), PBX)
    core.receive(answer(got.data, 487, BUSY), CARRIER)
    ending = only_ending(core)
    assert (ending.cause, ending.ended_by, ending.status, ending.q850) == ("cancelled", "caller", 487, 16)
    assert ending.pdd_s == pytest.approx(0.0)
    tally = core.pipeline.calls.customers["acme"]
    assert (tally.attempted, tally.answered, tally.effective) == (1, 0, 1)  # it rang: the network did its work


def test_answer_without_ringing_ends_the_delay() -> None:
    """RFC 6076 §4.3.1: where no 18x comes, the answer is the first sign."""
    core = Core()
    got = next(send for send in core.receive(invite(), PBX) if send.address == CARRIER)
    core.advance(2.0)
    core.receive(answer(got.data, 200), CARRIER)
    core.receive(answer(got.data, 200), CARRIER)
    (histogram,) = (h for h in core.pipeline.calls.post_dial_delays.values() if h.count)
    assert histogram.count == 1
    assert histogram.sum_s == pytest.approx(2.0)


def test_failed_over_call_counts_for_each_trunk_that_tried() -> None:
    """The first trunk attempted and failed, the second answered; the call is up on the second only."""
    core = Core()
    first = next(send for send in core.receive(invite(), PBX) if send.address in {CARRIER, SPARE})
    second = next(
        send for send in core.receive(answer(first.data, 503), first.address) if send.data.startswith(b"INVITE")
    )
    assert second.address != first.address
    trunk_of = {CARRIER: "carrier-a", SPARE: "carrier-b"}
    core.receive(answer(second.data, 200), second.address)
    failed, used = (core.pipeline.calls.trunks[trunk_of[send.address]] for send in (first, second))
    assert (failed.attempted, failed.answered, failed.active) == (1, 0, 0)
    assert (used.attempted, used.answered, used.active) == (1, 1, 1)
    assert core.pipeline.calls.customers["acme"].attempted == 1


def test_call_from_the_carrier_is_booked_on_customer_and_trunk() -> None:
    """A call to acme's number is acme's as well as the trunk's that it came by."""
    core = Core()
    call = request(
        "INVITE",
        f"sip:{ACME_NUMBER}@127.0.0.1:5070",
        from_=f"<sip:{FAR_NUMBER}@carrier.example>;tag=far",
        source=CARRIER,
    )
    core.receive(call, CARRIER)
    calls = core.pipeline.calls
    assert calls.active_of("acme") == calls.trunks["carrier-a"].active == 1
    assert [(side.value, tally.active) for side, tally in calls.sides.items()] == [("customers", 0), ("carriers", 1)]


def test_call_of_an_earlier_life_ends_once() -> None:
    """After a restart the BYE ends the call from what its token says; a second BYE makes no second record."""
    before = Core()
    dialog = set_up(before)
    after = Core(wall_s=WALL_S + 100.0)
    set_up(after)
    after.receive(dialog.from_caller("BYE", NORMAL), PBX)
    after.receive(dialog.from_callee("BYE"), CARRIER)
    ending = only_ending(after)
    assert (ending.cause, ending.customer, ending.q850, ending.attempt) == (EndCause.BYE, "acme", 16, None)
    assert ending.duration_s == pytest.approx(103.0)
    assert after.pipeline.calls.active_of("acme") == 1


def test_end_that_an_earlier_life_recorded_is_not_recorded_again() -> None:
    """Its answer to the BYE was lost with it, so the BYE comes again: it passes, and makes no second record."""
    before = Core()
    dialog = set_up(before)
    bye = dialog.from_caller("BYE")
    before.receive(bye, PBX)
    recorded = only_ending(before).evidence_id
    after = Core(wall_s=WALL_S + 100.0)
    after.pipeline.calls.ended_before([recorded])
    assert [address for address, what in statuses(after.receive(bye, PBX)) if what == "BYE"] == [CARRIER]
    assert after.endings == []


def test_ends_of_an_earlier_life_are_kept_up_to_a_bound() -> None:
    core = Core()
    core.pipeline.calls.ended_before(range(100_000))
    assert len(core.pipeline.calls._unseen) == 4096


def test_attempt_without_a_target_has_an_end() -> None:
    """Let through by policy, with nowhere to go: answered by us, and recorded to its end."""
    core = Core()
    for address in (CARRIER, SPARE):
        core.pipeline.targets.health.close(address, 60.0, Monotonic(core.now))
    core.receive(invite(), PBX)
    ending = only_ending(core)
    assert (ending.cause, ending.ended_by, ending.status) == (EndCause.REJECTED, Party.PROXY, 503)
    assert core.pipeline.calls.is_reconciled()


def test_timer_c_on_a_hop_that_never_spoke_sends_it_no_cancel() -> None:
    """RFC 3261 §9.1, §16.8: without a provisional response there is nothing to cancel; the caller gets 408."""
    core = Core(timers=TimerSettings(t1_s=4.0))  # timer B would come after 256 s, timer C comes before it
    core.receive(invite(), PBX)
    sent = statuses(core.advance(190.0))
    assert {what for address, what in sent if address != PBX} == {"INVITE"}
    assert (PBX, "408") in sent
    assert only_ending(core).cause is EndCause.TIMED_OUT
    core.advance(1000.0)
    assert not core.pipeline.layer.clients
