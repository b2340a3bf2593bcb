"""When memory is given back: after a burst, once, and never while it lasts."""

from __future__ import annotations

from edge_proxy.transport.memory import MemoryRelief


def test_due_once_when_a_burst_is_nearly_over_and_once_when_its_rest_is() -> None:
    """What the rest held goes to CPython's lists of free objects, where it would stay until the next burst."""
    relief = MemoryRelief()
    assert [relief.is_due(n) for n in (0, 5000, 20_000, 9000, 1001)] == [False] * 5
    assert [relief.is_due(n) for n in (1000, 700, 3, 0, 0, 0)] == [True, False, False, True, False, False]
    assert [relief.is_due(n) for n in (3000, 151, 0, 0)] == [False, False, True, False]


def test_rest_of_a_burst_is_over_a_minute_later_where_calls_never_cease() -> None:
    """Calls that go on all night keep nobody waiting for a moment without any."""
    relief = MemoryRelief()
    assert [relief.is_due(n) for n in (20_000, 900)] == [False, True]
    assert [relief.is_due(800) for _ in range(15)] == [False] * 11 + [True] + [False] * 3


def test_next_burst_begins_anew() -> None:
    """One that begins in the rest of another has its own two ends."""
    relief = MemoryRelief()
    assert [relief.is_due(n) for n in (20_000, 900, 8000, 8000)] == [False, True, False, False]
    assert [relief.is_due(n) for n in (300, 0)] == [True, True]


def test_small_traffic_is_not_worth_it() -> None:
    """A thousand under way and none: nothing to be had."""
    relief = MemoryRelief()
    assert not any(relief.is_due(n) for n in (0, 1000, 0, 999, 0))


def test_giving_back_works_on_this_system() -> None:
    """Nothing is lost by it; where there is no malloc_trim it is left out."""
    emptied: list[str] = []
    relief = MemoryRelief([lambda: emptied.append("one"), lambda: emptied.append("two")])
    relief.collect()
    relief.trim()
    assert emptied == ["one", "two"]
