"""When memory is given back: after a burst, once, and never while it lasts."""

from __future__ import annotations

from edge_proxy.transport.memory import MemoryRelief


def test_due_once_after_each_burst() -> None:
    """Each burst has one end, however long the calm behind it is."""
    relief = MemoryRelief()
    assert [relief.is_due(n) for n in (0, 5000, 20_000, 9000, 1001, 1000, 0, 0)] == [False] * 5 + [True, False, False]
    assert [relief.is_due(n) for n in (3000, 151, 150, 150)] == [False, False, True, False]


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
