"""Rights: what a cell of a file may say, and what holds when two rights meet."""

from __future__ import annotations

import pytest

from edge_proxy.inventory.rights import (
    FOREVER,
    MAX_PERIODS,
    Holding,
    Refusal,
    Right,
    RightKind,
    format_end,
    format_when,
    lay_over,
    parse_end,
    parse_right,
    parse_when,
    ported_out,
    stand_beside,
    without,
)

DAY = 86_400
ACME = Right("acme")
ACME_EARLY = Right("acme", valid_to=100 * DAY)
GLOBEX_LATE = Right("globex", valid_from=100 * DAY)


def test_right_begins_with_its_first_day_and_ends_with_its_last() -> None:
    """Dates are whole days in UTC, the last one included."""
    right = parse_right(customer="acme", valid_from="1970-01-02", valid_to="1970-01-03")
    assert (right.valid_from, right.valid_to) == (DAY, 3 * DAY)
    assert [right.holds_at(moment) for moment in (DAY - 1, DAY, 3 * DAY - 1, 3 * DAY)] == [False, True, True, False]


def test_moment_with_an_offset_is_taken_exactly() -> None:
    """Where a day is not exact enough, a time with its offset is."""
    right = parse_right(customer="acme", valid_from="1970-01-02T01:00:00+01:00", valid_to="1970-01-02T12:00Z")
    assert (right.valid_from, right.valid_to) == (DAY, DAY + DAY // 2)


def test_ported_out_number_keeps_its_grace() -> None:
    """The customer may go on calling as it for the days of grace, no longer, and never past the end of the right."""
    right = parse_right(customer="acme", ported_out_at="1970-01-11", grace_days="5")
    assert right.end == 15 * DAY
    assert right.holds_at(15 * DAY - 1)
    assert not right.holds_at(15 * DAY)
    assert right._replace(valid_to=12 * DAY).end == 12 * DAY


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"customer": ""}, "no id"),
        ({"customer": "a b"}, "no id"),
        ({"customer": "acme", "valid_from": "01.02.2026"}, "valid_from '01.02.2026' is no date"),
        ({"customer": "acme", "valid_from": "2026-02-30"}, "no date of the calendar"),
        ({"customer": "acme", "valid_to": "2026-02-01T10:00:00"}, "is no date"),
        ({"customer": "acme", "valid_from": "1969-12-31"}, "not between 1970 and 9999"),
        ({"customer": "acme", "valid_to": "9999-12-31"}, "not between 1970 and 9999"),
        ({"customer": "acme", "valid_from": "٢٠٢٦-01-01"}, "is no date"),
        ({"customer": "acme", "valid_from": "2026-01-02", "valid_to": "2026-01-01"}, "ends before it begins"),
        ({"customer": "acme", "kind": "stolen"}, "neither owned nor delegated"),
        ({"customer": "acme", "kind": "delegated"}, "needs a reference"),
        ({"customer": "acme", "reference": "a\x00b"}, "no plain text"),
        ({"customer": "acme", "reference": "x" * 201}, "no plain text"),
        ({"customer": "acme", "grace_days": "5"}, "give ported_out_at too"),
        ({"customer": "acme", "ported_out_at": "2026-01-01", "grace_days": "-1"}, "no number of days"),
        ({"customer": "acme", "ported_out_at": "2026-01-01", "grace_days": "99999"}, "no number of days"),
    ],
)
def test_wrong_cell_is_told_with_what_would_be_right(cells: dict[str, str], text: str) -> None:
    """Nothing is guessed: a cell that cannot be read is an error."""
    with pytest.raises(ValueError, match=text):
        parse_right(**cells)


@pytest.mark.parametrize("text", ["2026-03-01", "2026-03-01T09:30:00Z"])
def test_dates_survive_being_written_and_read(text: str) -> None:
    """What export writes, import reads to the same moment."""
    assert format_when(parse_when(text, "x")) == text
    assert format_end(parse_end(text, "x")) == text


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ((), (ACME,), (ACME,)),
        ((ACME,), (ACME,), (ACME,)),
        ((ACME_EARLY,), (ACME,), (ACME,)),
        ((ACME,), (ACME_EARLY,), (ACME_EARLY,)),
        ((ACME_EARLY,), (GLOBEX_LATE,), (ACME_EARLY, GLOBEX_LATE)),
        ((GLOBEX_LATE,), (ACME_EARLY,), (ACME_EARLY, GLOBEX_LATE)),
        ((ACME_EARLY, GLOBEX_LATE), (), (ACME_EARLY, GLOBEX_LATE)),
    ],
)
def test_right_replaces_the_customers_own_and_follows_anothers(old: Holding, new: Holding, result: Holding) -> None:
    """A customer's overlapping right gives way; another customer's stays when its time is another."""
    assert lay_over(old, new) == result


@pytest.mark.parametrize(("old", "new"), [((ACME,), (GLOBEX_LATE,)), ((ACME_EARLY, GLOBEX_LATE), (ACME,))])
def test_right_never_replaces_another_customers(old: Holding, new: Holding) -> None:
    """Overlap in time between customers is refused, however the rest would fit."""
    assert isinstance(lay_over(old, new), Refusal)


def test_number_is_free_again_after_its_grace() -> None:
    """Who takes over a ported-out number may not begin before the grace has ended."""
    left = (Right("acme", ported_out_at=90 * DAY, grace_s=20 * DAY),)
    assert isinstance(lay_over(left, (GLOBEX_LATE,)), Refusal)
    assert lay_over(left, (Right("globex", valid_from=110 * DAY),)) == (*left, Right("globex", valid_from=110 * DAY))


def test_rows_of_one_file_may_repeat_but_not_contradict_each_other() -> None:
    """The same twice is once, other times are both, and other terms for the same time are refused."""
    assert stand_beside((ACME,), (ACME,)) == (ACME,)
    assert stand_beside((GLOBEX_LATE,), (ACME_EARLY,)) == (ACME_EARLY, GLOBEX_LATE)
    delegated = Right("acme", kind=RightKind.DELEGATED, reference="LOA")
    assert isinstance(stand_beside((ACME,), (delegated,)), Refusal)
    assert isinstance(stand_beside((ACME,), (Right("globex"),)), Refusal)


def test_number_of_periods_is_bounded() -> None:
    """A file of a hundred thousand periods for one number is refused instead of compared pair by pair."""
    full: Holding = tuple(Right("acme", day * DAY, (day + 1) * DAY) for day in range(MAX_PERIODS))
    more = (Right("acme", MAX_PERIODS * DAY, FOREVER),)
    assert isinstance(lay_over(full, more), Refusal)
    assert isinstance(stand_beside(full, more), Refusal)


def test_rights_go_by_customer_or_all_together() -> None:
    """Removing names a customer, or means everybody."""
    assert without((ACME_EARLY, GLOBEX_LATE), "acme") == (GLOBEX_LATE,)
    assert without((ACME_EARLY, GLOBEX_LATE), "") == ()


def test_only_the_right_that_holds_is_ported_out() -> None:
    """A right that is over, or not there yet, is nobody's to take to another carrier."""
    ported = ported_out((ACME_EARLY, GLOBEX_LATE), "", 200 * DAY, DAY)
    assert ported == (ACME_EARLY, GLOBEX_LATE._replace(ported_out_at=200 * DAY, grace_s=DAY))
    assert ported_out((ACME_EARLY, GLOBEX_LATE), "acme", 200 * DAY, DAY) == (ACME_EARLY, GLOBEX_LATE)
