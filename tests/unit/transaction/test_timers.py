"""The wheel: nothing fires early, nothing is lost, nothing fires much too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import NEVER, Monotonic
from edge_proxy.transaction.timers import TICK_S, TimerSettings, TimerWheel, WaitingLine

moments = st.floats(0, 1e7, allow_nan=False)
T = TypeVar("T")


def fire_due(wheel: TimerWheel[T], now: float, fire: Callable[[T], object]) -> None:
    while (owner := wheel.take_due(Monotonic(now))) is not None:
        fire(owner)


@given(st.lists(moments, max_size=50), st.lists(st.floats(0, 1e4), max_size=20))
def test_timer_never_fires_early_and_at_most_a_tick_late(starts: list[float], steps: list[float]) -> None:
    """Whatever is asked for and whenever somebody looks."""
    wheel: TimerWheel[int] = TimerWheel()
    for owner, at in enumerate(starts):
        wheel.start(at, owner, 0)
    fired: set[int] = set()
    now = 0.0
    for step in [*steps, 1e8]:
        now += step
        deadline = wheel.next_deadline()
        due: list[int] = []
        fire_due(wheel, now, due.append)
        assert bool(due) == (deadline <= now)
        for owner in due:
            assert owner not in fired
            assert starts[owner] <= now + 1e-6
        fired.update(due)
        assert all(at > now - TICK_S - 1e-6 for owner, at in enumerate(starts) if owner not in fired)
        assert wheel.pending == len(starts) - len(fired)
    assert fired == set(range(len(starts)))
    assert wheel.next_deadline() == NEVER


@given(moments)
def test_deadline_is_never_before_what_was_asked_for(at: float) -> None:
    """Rounding goes up, by a tick at most."""
    wheel: TimerWheel[int] = TimerWheel()
    wheel.start(at, 1, 0)
    deadline = wheel.next_deadline()
    assert at - 1e-6 <= deadline <= at + TICK_S + 1e-6


def test_timers_fire_in_order_of_their_deadlines() -> None:
    """And in the order in which they were started, within one tick."""
    wheel: TimerWheel[str] = TimerWheel()
    for at, name in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (1.0, "a2")):
        wheel.start(at, name, 0)
    fired: list[str] = []
    fire_due(wheel, 10.0, fired.append)
    assert fired == ["a", "a2", "b", "c"]


def test_timer_started_by_a_timer_that_is_due_at_once_still_fires() -> None:
    """A late wheel catches up in one go."""
    wheel: TimerWheel[int] = TimerWheel()
    wheel.start(1.0, 1, 0)
    fired: list[int] = []

    def fire(owner: int) -> None:
        fired.append(owner)
        if owner < 5:
            wheel.start(owner + 1.0, owner + 1, 0)

    fire_due(wheel, 100.0, fire)
    assert fired == [1, 2, 3, 4, 5]


def test_timers_that_meet_at_one_place_of_the_wheel_all_fire_in_time() -> None:
    """Whole turns of it apart, whichever was started first."""
    turn_s = 4096 * TICK_S
    wheel: TimerWheel[int] = TimerWheel()
    for owner in (1, 0, 2, 1, 2):
        wheel.start(1.0 + owner * turn_s, owner, 0)
    fired: list[int] = []
    for turn, expected in enumerate(([0], [1, 1], [2, 2])):
        assert abs(wheel.next_deadline() - 1.0 - turn * turn_s) <= TICK_S + 1e-6
        fire_due(wheel, 1.0 + turn * turn_s + 2 * TICK_S, fired.append)
        assert fired == expected
        fired.clear()
    assert wheel.next_deadline() == NEVER


def test_timer_that_raises_takes_no_other_with_it() -> None:
    """Those beside it are still due."""
    wheel: TimerWheel[int] = TimerWheel()
    for owner in range(3):
        wheel.start(1.0, owner, 0)
    fired: list[int] = []

    def fire(owner: int) -> None:
        if owner == 1 and 1 not in fired:
            fired.append(1)
            raise RuntimeError("a bug")
        fired.append(owner)

    with pytest.raises(RuntimeError, match="a bug"):
        fire_due(wheel, 2.0, fire)
    fire_due(wheel, 3.0, fire)
    assert fired == [0, 1, 2]
    assert wheel.pending == 0


def test_first_stays_until_it_is_passed_over() -> None:
    """Looking at it changes nothing; passed over, it is never due."""
    wheel: TimerWheel[str] = TimerWheel()
    wheel.start(5.0, "c", 3)
    assert (wheel.first(), wheel.event) == ("c", 3)
    for at, name, event in ((1.0, "a", 1), (1.0, "b", 2)):
        wheel.start(at, name, event)
    assert (wheel.first(), wheel.event) == ("a", 1)
    wheel.pass_over()
    assert (wheel.first(), wheel.event, wheel.pending) == ("b", 2, 2)
    assert wheel.next_deadline() == pytest.approx(1.0, abs=TICK_S + 1e-6)
    fired: list[str] = []
    fire_due(wheel, 10.0, fired.append)
    assert (fired, wheel.first(), wheel.pending) == (["b", "c"], None, 0)


def test_settings_follow_from_t1() -> None:
    """RFC 3261 table 4, RFC 4320 §4.1; Timer D never less than 32 s."""
    assert (TimerSettings().timeout_s, TimerSettings().timer_d_s, TimerSettings().timer_100_s) == (32.0, 32.0, 3.5)
    slow = TimerSettings(t1_s=1.0)
    assert (slow.timeout_s, slow.timer_d_s, slow.timer_100_s) == (64.0, 64.0, 3.0)
    assert TimerSettings(t1_s=0.1).timer_d_s == 32.0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100), st.booleans()), max_size=60), st.floats(0.1, 50))
def test_waiting_line_is_what_sorting_would_give(steps: list[tuple[int, float, bool]], length_s: float) -> None:
    """Started, started again, stopped: the first to be due is always the one in front, and none is forgotten."""
    line: WaitingLine[int] = WaitingLine(length_s)
    expected: dict[int, float] = {}
    now = Monotonic(0.0)
    for owner, pause_s, is_start in steps:
        now = Monotonic(now + pause_s)
        taken: list[int] = []
        while (one := line.take_due(now)) is not None:
            taken.append(one)
        assert sorted(taken) == sorted(owner for owner, at in expected.items() if at <= now)
        due_at = [expected.pop(one) for one in taken]
        assert due_at == sorted(due_at)
        if is_start:
            line.start(owner, now)
            expected[owner] = now + length_s
        else:
            line.stop(owner)
            expected.pop(owner, None)
        earliest = min(expected.values(), default=NEVER)
        assert line.next_deadline() <= earliest
        assert (line.next_deadline() == NEVER) == (not expected)
        assert line.take_due(Monotonic(min(line.next_deadline(), now))) is None
        assert now < line.next_deadline() <= earliest  # whoever asks too early asks once
        assert len(line) == len(expected)
