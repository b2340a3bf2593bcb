"""What is seen of callers over time, exact to the call, and in bounded tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import E164, Monotonic
from edge_proxy.policy.behaviour import CalledSpans, Sequences, ShortCalls, SpoofBursts
from edge_proxy.policy.call_limits import SequenceLimits, ShortCallLimits, SpoofLimits
from edge_proxy.policy.token_buckets import Key

ALICE: Key = ("number", "acme", 12025550100)
FAR = 13105550100


def run(*called: int, limits: SequenceLimits | None = None, gap_s: float = 1.0) -> list[int]:
    """How long the run is that each of these attempts of one caller belongs to."""
    seen = Sequences()
    rules = limits or SequenceLimits(3, 60)
    return [
        seen.observe(ALICE, E164(FAR + number), rules, Monotonic(at * gap_s)).numbers
        for at, number in enumerate(called)
    ]


@pytest.mark.parametrize(
    ("called", "runs"),
    [
        ((0, 1, 2, 3), [1, 2, 3, 4]),
        ((9, 8, 7), [1, 2, 3]),
        ((0, 1, 1, 1, 2), [1, 2, 2, 2, 3]),
        ((0, 1, 5, 6, 7), [1, 2, 1, 2, 3]),
        ((0, 1, 0, 1, 0), [1, 2, 2, 2, 2]),
        ((0, 2, 4), [1, 1, 1]),
    ],
)
def test_run_is_of_numbers_that_follow_one_another(called: tuple[int, ...], runs: list[int]) -> None:
    """Up or down, not to and fro; a number called again changes nothing, a gap breaks the run."""
    assert run(*called) == runs


def test_run_ends_with_time() -> None:
    """Exactly `within_s` still belongs to it, more does not."""
    assert run(0, 1, 2, gap_s=60.0) == [1, 2, 3]
    assert run(0, 1, 2, gap_s=60.1) == [1, 1, 1]


def test_runs_are_kept_for_so_many_callers_only() -> None:
    """At the bound the caller that was touched longest ago is forgotten."""
    seen = Sequences(most=10)
    for caller in range(1000):
        seen.observe(("number", "acme", caller), E164(FAR), SequenceLimits(3, 60), Monotonic(0))
    assert len(seen) == 10
    assert seen.observe(("number", "acme", 999), E164(FAR + 1), SequenceLimits(3, 60), Monotonic(0)).numbers == 2
    assert seen.observe(("number", "acme", 0), E164(FAR + 1), SequenceLimits(3, 60), Monotonic(0)).numbers == 1


@pytest.mark.parametrize(
    ("called", "spans"),
    [
        ((0, 1, 2, 3), [1, 2, 3, 4]),
        ((3, 2, 1, 0), [1, 2, 3, 4]),
        ((0, 2, 4, 1, 3), [1, 1, 1, 3, 5]),
        ((0, 50, 1, 60, 2), [1, 1, 2, 1, 3]),
        ((0, 1, 1, 0, 2), [1, 2, 2, 2, 3]),
        ((0, 2, 4, 6), [1, 1, 1, 1]),
    ],
)
def test_span_is_of_numbers_without_a_gap_in_any_order(called: tuple[int, ...], spans: list[int]) -> None:
    """Whatever is called between them."""
    seen = CalledSpans()
    assert [seen.observe("acme", E164(FAR + number), 60.0, Monotonic(0)) for number in called] == spans
    assert seen.observe("globex", E164(FAR + 1), 60.0, Monotonic(0)) == 1


def test_span_ends_with_time_and_is_kept_for_so_many_numbers_only() -> None:
    """Exactly `within_s` still belongs to it; at the bound what was called longest ago is forgotten."""
    for gap_s, expected in ((60.0, [1, 2, 3]), (60.1, [1, 1, 1])):
        seen = CalledSpans()
        found = [seen.observe("acme", E164(FAR + n), 60.0, Monotonic(n * gap_s)) for n in range(3)]
        assert found == expected
    seen = CalledSpans(most=10)
    for number in range(0, 1000, 5):
        seen.observe("acme", E164(FAR + number), 60.0, Monotonic(0))
    assert len(seen) == 10
    assert seen.observe("acme", E164(FAR + 996), 60.0, Monotonic(0)) == 2
    assert seen.observe("acme", E164(FAR + 1), 60.0, Monotonic(0)) == 1


@given(st.permutations(range(12)))
def test_span_of_a_whole_block_is_found_in_any_order(order: list[int]) -> None:
    seen = CalledSpans()
    assert [seen.observe("acme", E164(FAR + number), 60.0, Monotonic(0)) for number in order][-1] == 12


def test_short_calls_by_number_and_by_share() -> None:
    """Three short ones of six, when three and a half of all are too many; one long call more and it is no excess."""
    seen = ShortCalls(ShortCallLimits(6, 3, 50, 600, 1))
    for _ in range(3):
        seen.observe(60.0, Monotonic(0))
    for _ in range(2):
        seen.observe(5.999, Monotonic(0))
    assert seen.excess(Monotonic(0)) == ""
    seen.observe(0.0, Monotonic(0))
    assert seen.excess(Monotonic(0)) == "3 of 6 answered calls took less than 6 s"
    seen.observe(6.0, Monotonic(0))
    assert seen.excess(Monotonic(0)) == ""


def test_short_calls_are_forgotten_after_the_window() -> None:
    """At its end, to a sixtieth; what is kept does not grow with the calls."""
    seen = ShortCalls(ShortCallLimits(6, 3, 0, 600, 1))
    for n in range(10_000):
        seen.observe(1.0, Monotonic(n / 10))
    assert len(seen._slots) <= 61
    assert seen.excess(Monotonic(999.9 + 580)) == "200 of 200 answered calls took less than 6 s"
    assert seen.excess(Monotonic(999.9 + 611)) == ""
    assert (seen._answered, seen._short) == (0, 0)


def test_burst_is_so_many_refusals_within_the_window() -> None:
    """The third within ten seconds begins it; it ends when the third last is ten seconds old."""
    seen, rules = SpoofBursts(), SpoofLimits(3, 10, 1)
    for now in (0.0, 4.0, 10.0):
        seen.observe(ALICE, rules, Monotonic(now))
    assert not seen.is_on(ALICE, rules, Monotonic(10.0))
    seen.observe(ALICE, rules, Monotonic(11.0))
    assert seen.is_on(ALICE, rules, Monotonic(11.0))
    assert seen.is_on(ALICE, rules, Monotonic(13.9))
    assert not seen.is_on(ALICE, rules, Monotonic(14.0))


def test_bursts_are_kept_for_so_many_sources_only() -> None:
    """And of each, as many times as are asked for."""
    seen, rules = SpoofBursts(most=10), SpoofLimits(3, 10, 1)
    for source in range(100):
        for _ in range(50):
            seen.observe(("source", f"host-{source}", 0), rules, Monotonic(0))
    assert len(seen) == 10
    assert all(len(times) == 3 for times in seen._times.values())
    assert seen.is_on(("source", "host-99", 0), rules, Monotonic(0))
    assert not seen.is_on(("source", "host-0", 0), rules, Monotonic(0))


def test_burst_survives_another_limit() -> None:
    """A reload with another number keeps what was seen, as far as it was kept."""
    seen = SpoofBursts()
    for _ in range(5):
        seen.observe(ALICE, SpoofLimits(3, 10, 1), Monotonic(0))
    assert not seen.is_on(ALICE, SpoofLimits(4, 10, 1), Monotonic(0))
    seen.observe(ALICE, SpoofLimits(4, 10, 1), Monotonic(0))
    assert seen.is_on(ALICE, SpoofLimits(4, 10, 1), Monotonic(0))
