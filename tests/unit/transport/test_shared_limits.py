"""Limits over several workers: exact, whoever asks, bounded, and free again when a worker has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.addr import E164, Monotonic
from edge_proxy.policy.behaviour import HOUR_S, CalledSpans, Hours, Sequences, ShortCalls, SpoofBursts
from edge_proxy.policy.call_limits import SequenceLimits, ShortCallLimits, SpoofLimits
from edge_proxy.policy.token_buckets import Key, TokenBuckets
from edge_proxy.transport.shared_limits import PARTS, LimitTables, WorkerLimits

ACME: Key = ("customer", "acme", 0)
GLOBEX: Key = ("customer", "globex", 0)
NUMBER: Key = ("number", "acme", 12025550100)
NOW = Monotonic(1000.0)


def tables(workers: int = 2, **rows: int) -> LimitTables:
    return LimitTables(workers, **({"customers": 16, "rates": 64, "runs": 16, "windows": 16, "held": 16} | rows))


def hands(shared: LimitTables, workers: int) -> list[WorkerLimits]:
    return [WorkerLimits(shared, worker) for worker in range(workers)]


def test_workers_see_each_others_calls_but_not_their_own() -> None:
    one, two, three = hands(tables(3), 3)
    for hand, active in ((one, 2), (two, 3), (three, 4)):
        with hand:
            hand.hold(ACME, active)
    assert [hand.others(ACME) for hand in (one, two, three)] == [7, 6, 5]
    assert one.others(GLOBEX) == one.others(NUMBER) == 0
    two.settle(ACME, 1)
    assert one.others(ACME) == 5


def test_what_is_not_held_takes_no_row() -> None:
    one, two = hands(tables(), 2)
    one.settle(ACME, 5)
    assert two.others(ACME) == 0


def test_row_of_what_has_no_calls_up_is_free_again() -> None:
    """Ever new numbers, each with a call that ends: there is always room, for whichever worker."""
    one, two = hands(tables(), 2)
    for n in range(1000):
        hand, other = (one, two) if n % 2 else (two, one)
        key: Key = ("number", "acme", n)
        hand.hold(key, 1)
        assert other.others(key) == 1
        hand.settle(key, 0)
        assert other.others(key) == 0
    assert one.forgotten == two.forgotten == 0


def test_row_with_calls_up_is_never_taken_away() -> None:
    """When there is no room, what comes is counted by each worker for itself; nothing held is lost."""
    one, two = hands(tables(), 2)
    for n in range(20):
        one.hold(("number", "acme", n), 1)
    assert [two.others(("number", "acme", n)) for n in range(20)] == [1] * 16 + [0] * 4
    assert one.forgotten == 4
    one.settle(("number", "acme", 0), 0)
    two.hold(("number", "acme", 19), 2)
    assert one.others(("number", "acme", 19)) == 2


def test_calls_of_a_worker_that_ended_hold_nothing() -> None:
    shared = tables()
    one, two = hands(shared, 2)
    one.hold(ACME, 1)
    two.hold(ACME, 9)
    assert one.others(ACME) == 9
    shared.forget_calls(1)
    assert (one.others(ACME), two.others(ACME)) == (0, 1)
    again = WorkerLimits(shared, 1)
    again.settle(ACME, 3)  # of a life before: not held by this one
    assert one.others(ACME) == 0
    again.hold(ACME, 1)
    assert one.others(ACME) == 1


@pytest.mark.parametrize("key", [ACME, ("messages", "acme", 0), NUMBER, ("asn", "", 64500), ("called", "acme", 1)])
def test_one_bucket_for_all_workers(key: Key) -> None:
    """What one takes, the others lack; time gives it back to all."""
    one, two = (hand.buckets for hand in hands(tables(), 2))
    for bucket in (one, two, one):
        assert bucket.wait_s(key, 3.0, 3.0, NOW) == 0.0
        bucket.charge(key, 3.0, 3.0, NOW)
    assert one.wait_s(key, 3.0, 3.0, NOW) == two.wait_s(key, 3.0, 3.0, NOW) == 1 / 3
    assert two.wait_s(key, 3.0, 3.0, Monotonic(NOW + 0.34)) == 0.0


def test_who_calls_ever_new_numbers_pushes_no_customer_out() -> None:
    (hand,) = hands(tables(1), 1)
    hand.buckets.charge(ACME, 0.1, 1.0, NOW)
    for n in range(10_000):
        hand.buckets.charge(("called", "globex", n), 1 / 60, 1.0, NOW)
    assert hand.buckets.wait_s(ACME, 0.1, 1.0, NOW) == 10.0
    assert len(hand.buckets) <= 64 + 16
    assert hand.forgotten >= 10_000 - 64


steps = st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.integers(0, 2)), max_size=80)


@settings(deadline=None)  # the first tables take their time on a busy machine
@given(steps)
def test_buckets_are_those_of_one_worker(told: list[tuple[float, bool, int]]) -> None:
    """The same questions and charges, by whichever worker, have the same answers."""
    alone, together, now = TokenBuckets(), [hand.buckets for hand in hands(tables(), 2)], NOW
    for gap, by, number in told:
        now = Monotonic(now + gap)
        key: Key = ("number", "acme", number)
        wait_s = alone.wait_s(key, 0.7, 2.0, now)
        assert together[by].wait_s(key, 0.7, 2.0, now) == wait_s
        if not wait_s:
            alone.charge(key, 0.7, 2.0, now)
            together[by].charge(key, 0.7, 2.0, now)


@settings(deadline=None)  # the first tables take their time on a busy machine
@given(steps)
def test_runs_are_those_of_one_worker(told: list[tuple[float, bool, int]]) -> None:
    alone, together, now = Sequences(), [hand.runs for hand in hands(tables(), 2)], NOW
    limits, called = SequenceLimits(3, 2.0), 13105550100
    for gap, by, step in told:
        now = Monotonic(now + gap)
        called += step - 1
        assert together[by].observe(NUMBER, E164(called), limits, now) == alone.observe(
            NUMBER, E164(called), limits, now
        )


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1.5), st.booleans(), st.integers(0, 20)), max_size=60))
def test_spans_are_those_of_one_worker(told: list[tuple[float, bool, int]]) -> None:
    alone, together, now = CalledSpans(), [hand.spans for hand in hands(tables(), 2)], NOW
    for gap, by, number in told:
        now = Monotonic(now + gap)
        called = E164(13105550100 + number)
        assert together[by].observe("acme", called, 4.0, now) == alone.observe("acme", called, 4.0, now)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 900), st.booleans()), max_size=60))
def test_hour_is_never_passed_and_room_comes_a_little_late_at_most(told: list[tuple[float, bool]]) -> None:
    """Never more than the limit within 60 minutes, and after `wait_s` there is room."""
    alone, together, now = Hours(), [hand.hours for hand in hands(tables(), 2)], NOW
    for gap, by in told:
        now = Monotonic(now + gap)
        if together[by].count(NUMBER, now) >= 5:
            wait_s = together[by].wait_s(NUMBER, 5, now)
            exactly_s = alone.wait_s(NUMBER, 5, now) if alone.count(NUMBER, now) >= 5 else 0.0
            assert exactly_s <= wait_s <= exactly_s + HOUR_S / PARTS
            now = Monotonic(now + wait_s + 1e-6)
        assert together[not by].count(NUMBER, now) < 5
        assert alone.count(NUMBER, now) < 5
        alone.charge(NUMBER, now)
        together[by].charge(NUMBER, now)


def test_burst_is_seen_by_all_and_ends_with_its_window() -> None:
    alone, limits = SpoofBursts(), SpoofLimits(3, 10.0, 1.0)
    one, two = (hand.bursts for hand in hands(tables(), 2))
    for at, by in ((0.0, one), (4.0, two), (9.0, one)):
        by.observe(NUMBER, limits, Monotonic(NOW + at))
        alone.observe(NUMBER, limits, Monotonic(NOW + at))
    assert two.is_on(NUMBER, limits, Monotonic(NOW + 9.0))
    assert one.is_on(NUMBER, limits, Monotonic(NOW + 9.9))
    assert not one.is_on(NUMBER, limits, Monotonic(NOW + 10.0 + 2 * 10.0 / PARTS))
    assert not one.is_on(NUMBER, SpoofLimits(3, 20.0, 1.0), NOW)


def test_short_calls_of_all_workers_count_together() -> None:
    limits = ShortCallLimits(6, 3, 50, 600, 1)
    alone = ShortCalls(limits)
    one, two = (hand.short_calls("acme", limits) for hand in hands(tables(), 2))
    for duration_s, by in ((60.0, one), (2.0, two), (60.0, two), (5.0, one), (60.0, one)):
        by.observe(duration_s, NOW)
        alone.observe(duration_s, NOW)
        assert one.excess(NOW) == two.excess(NOW) == alone.excess(NOW) == ""
    two.observe(0.0, NOW)
    assert one.excess(NOW) == "3 of 6 answered calls took less than 6 s"
    assert not one.excess(Monotonic(NOW + 610))


def race(shared: LimitTables, ask: Callable[[WorkerLimits, int], bool]) -> int:
    """Four processes ask as fast as they can until they are refused, and die with the lock held; how often one got
    in."""
    pids = []
    told, tell = os.pipe()
    for worker in range(4):
        pid = os.fork()
        if not pid:
            hand, mine = WorkerLimits(shared, worker), 0
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with hand:
                    if not ask(hand, mine):
                        break
                    mine += 1
            os.write(tell, mine.to_bytes(4))
            hand.__enter__()
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        data = pipe.read()
    return sum(int.from_bytes(data[at : at + 4]) for at in range(0, len(data), 4))


def has_up_to_a_thousand(hand: WorkerLimits, mine: int) -> bool:
    if mine + hand.others(NUMBER) >= 1000:
        return False
    hand.hold(NUMBER, mine + 1)
    return True


def is_charged(hand: WorkerLimits, _mine: int) -> bool:
    if hand.buckets.wait_s(NUMBER, 0.0001, 1000.0, NOW):
        return False
    hand.buckets.charge(NUMBER, 0.0001, 1000.0, NOW)
    return True


def is_within_the_hour(hand: WorkerLimits, _mine: int) -> bool:
    if hand.hours.count(NUMBER, NOW) >= 1000:
        return False
    hand.hours.charge(NUMBER, NOW)
    return True


@pytest.mark.parametrize("ask", [has_up_to_a_thousand, is_charged, is_within_the_hour])
def test_limit_is_exact_between_processes(ask: Callable[[WorkerLimits, int], bool]) -> None:
    assert race(tables(4), ask) == 1000
