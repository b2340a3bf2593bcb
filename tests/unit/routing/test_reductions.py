"""What targets asked to be spared, and for how long (RFC 7339 §5.4 to §5.7)."""

from __future__ import annotations

from edge_proxy.addr import NEVER, Address, Monotonic
from edge_proxy.routing.reductions import MAX_VALIDITY_S, TargetReductions, falls_into
from edge_proxy.sip.overload import Feedback

A = Address("203.0.113.1", 5060)
B = Address("203.0.113.2", 5060)
CALLS = [b"call-%d" % number for number in range(2000)]


def shed(reductions: TargetReductions, address: Address, now: float) -> set[bytes]:
    return {call for call in CALLS if reductions.sheds(address, call, Monotonic(now))}


def test_share_is_shed_by_call_id_and_by_each_target_for_itself() -> None:
    """About the share that was asked for; the same ones again; what one sheds is not what the other sheds."""
    reductions = TargetReductions()
    for address in (A, B):
        reductions.note(address, Feedback(50, 10.0, (1, 0)), Monotonic(0.0))
    at_a, at_b = shed(reductions, A, 1.0), shed(reductions, B, 1.0)
    assert shed(reductions, A, 9.0) == at_a
    assert 0.45 < len(at_a) / len(CALLS) < 0.55
    assert 0.20 < len(at_a & at_b) / len(CALLS) < 0.30


def test_growing_share_sheds_the_same_calls_and_more() -> None:
    """100 % are all, 0 % nobody."""
    parts = [{call for call in CALLS if falls_into(percent, call, b"s")} for percent in (0, 10, 40, 100)]
    assert parts[0] == set()
    assert parts[1] < parts[2] < parts[3] == set(CALLS)


def test_reduction_ends_with_its_validity() -> None:
    """Without another word from the target; a validity beyond reason is cut."""
    reductions = TargetReductions()
    reductions.note(A, Feedback(100, 0.5, None), Monotonic(10.0))
    assert reductions.next_deadline() == 10.5
    assert len(shed(reductions, A, 10.4)) == len(CALLS)
    assert shed(reductions, A, 10.5) == set()
    reductions.expire(Monotonic(10.5))
    assert reductions.next_deadline() == NEVER
    assert not reductions.in_force
    reductions.note(A, Feedback(100, 1e6, None), Monotonic(20.0))
    assert reductions.next_deadline() == 20.0 + MAX_VALIDITY_S


def test_older_and_equal_sequence_numbers_change_nothing() -> None:
    """A late response is no news (§5.4); after half a minute a smaller number is a clock that was set back."""
    reductions = TargetReductions()
    reductions.note(A, Feedback(20, 10.0, (5, 10000)), Monotonic(0.0))
    reductions.note(A, Feedback(90, 10.0, (5, 9999)), Monotonic(1.0))
    reductions.note(A, Feedback(90, 99.0, (5, 10000)), Monotonic(1.0))
    assert (reductions.percent(A), reductions.left_s(A, Monotonic(1.0))) == (20, 9.0)
    reductions.note(A, Feedback(30, 10.0, (6, 0)), Monotonic(2.0))
    assert reductions.percent(A) == 30
    reductions.note(A, Feedback(40, 10.0, (1, 0)), Monotonic(40.0))
    assert reductions.percent(A) == 40


def test_zero_ends_it_and_an_older_word_does_not_bring_it_back() -> None:
    """oc=0 and oc-validity=0 alike (§5.7)."""
    for end in (Feedback(0, 0.5, (2, 0)), Feedback(70, 0.0, (2, 0))):
        reductions = TargetReductions()
        reductions.note(A, Feedback(20, 10.0, (1, 0)), Monotonic(0.0))
        reductions.note(A, end, Monotonic(1.0))
        reductions.note(A, Feedback(20, 10.0, (1, 0)), Monotonic(1.1))
        assert not reductions.in_force


def test_targets_that_are_gone_are_forgotten() -> None:
    """A reload keeps only those that are still asked."""
    reductions = TargetReductions()
    for address in (A, B):
        reductions.note(address, Feedback(20, 10.0, (1, 0)), Monotonic(0.0))
    reductions.keep(frozenset({B}))
    assert set(reductions.in_force) == {B}
