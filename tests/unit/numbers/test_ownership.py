"""Ranges of numbers and who owns them."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import E164
from edge_proxy.numbers.ownership import NO_OWNER, OwnedRange, OwnershipConflict, OwnershipIndex, parse_range

BASE = 12025550000


def owned(first: int, last: int, owner: int) -> OwnedRange:
    return OwnedRange(E164(BASE + first), E164(BASE + last), owner)


def test_number_belongs_to_the_owner_of_its_range() -> None:
    """Both ends are inside a range, their neighbours are not."""
    index = OwnershipIndex.build([owned(100, 199, 0), owned(300, 300, 1), owned(200, 250, 2)])
    expected = {99: -1, 100: 0, 199: 0, 200: 2, 250: 2, 251: -1, 299: -1, 300: 1, 301: -1}
    assert {offset: index.owner_of(E164(BASE + offset)) for offset in expected} == expected
    assert (len(index), index.numbers) == (3, 152)


def test_empty_index_owns_nothing() -> None:
    """Without ranges every number is nobody's."""
    index = OwnershipIndex.build([])
    assert (len(index), index.numbers) == (0, 0)
    assert index.owner_of(E164(BASE)) == NO_OWNER


def test_ranges_of_one_owner_are_joined() -> None:
    """Overlapping, contained, repeated and adjacent ranges of one owner become one; other owners stay apart."""
    index = OwnershipIndex.build(
        [owned(10, 19, 4), owned(0, 9, 4), owned(5, 30, 4), owned(6, 7, 4), owned(6, 7, 4), owned(31, 31, 5)]
    )
    assert (len(index), index.numbers) == (2, 32)
    assert [index.owner_of(E164(BASE + offset)) for offset in (0, 30, 31, 32)] == [4, 4, 5, -1]


def test_conflict_names_both_ranges_and_owners() -> None:
    """Two owners of one number are an error that shows the ranges as given, not as joined."""
    with pytest.raises(OwnershipConflict) as caught:
        OwnershipIndex.build([owned(0, 50, 7), owned(40, 120, 7), owned(110, 130, 9)])
    assert (caught.value.one, caught.value.other) == (owned(40, 120, 7), owned(110, 130, 9))
    text = str(caught.value)
    assert "+12025550040-+12025550120 of owner 7 overlaps +12025550110-+12025550130 of owner 9" in text
    assert isinstance(caught.value, ValueError)


def test_same_range_of_two_owners_is_a_conflict() -> None:
    """Equal ranges are the plainest overlap."""
    with pytest.raises(OwnershipConflict):
        OwnershipIndex.build([owned(0, 9, 1), owned(0, 9, 0)])


def test_single_number_inside_another_s_range_is_a_conflict() -> None:
    """There is no most-specific-wins: ownership is one answer."""
    with pytest.raises(OwnershipConflict):
        OwnershipIndex.build([owned(0, 9, 1), owned(5, 5, 0)])


def test_range_above_four_billion_numbers_counts_as_one() -> None:
    """A span wider than its column is stored in pieces; nobody can tell from outside."""
    whole = OwnedRange(E164(10_000_000_000), E164(19_999_999_999), 3)
    index = OwnershipIndex.build([whole])
    assert (len(index), index.numbers) == (1, 10**10)
    for number in (10**10, 10**10 + 2**32 - 1, 10**10 + 2**32, 10**10 + 2**33 + 1, 2 * 10**10 - 1):
        assert index.owner_of(E164(number)) == 3
    assert index.owner_of(E164(10**10 - 1)) == index.owner_of(E164(2 * 10**10)) == NO_OWNER


@pytest.mark.parametrize(
    ("first", "last", "owner", "text"),
    [
        (2, 1, 0, "goes up from its first to its last"),
        (0, 1, 0, "goes up from its first to its last"),
        (1, 10**15, 0, "at most 15 digits"),
        (1, 2, -1, "ordinal is -1"),
        (1, 2, 2**32, "ordinal is 4294967296"),
    ],
)
def test_malformed_range_is_refused(first: int, last: int, owner: int, text: str) -> None:
    """A caller's mistake ends the build; it never makes an index that answers wrongly."""
    with pytest.raises(ValueError, match=text):
        OwnershipIndex.build([OwnedRange(E164(first), E164(last), owner)])


def test_columns_cost_sixteen_bytes_a_range_and_may_be_views() -> None:
    """The layout that lets 10 million single numbers fit in 160 MB, and the columns be views of a mapped file."""
    firsts, spans, owners = array("Q", [BASE, BASE + 5]), array("I", [0, 3]), array("I", [1, 0])
    assert firsts.itemsize + spans.itemsize + owners.itemsize == 16
    columns = b"".join(column.tobytes() for column in (firsts, spans, owners))
    view = memoryview(columns)
    index = OwnershipIndex(view[:16].cast("Q"), view[16:24].cast("I"), view[24:].cast("I"), 2, 5)
    assert [index.owner_of(E164(BASE + offset)) for offset in (-1, 0, 1, 5, 8, 9)] == [-1, 1, -1, 0, 0, -1]


@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 8), st.integers(0, 3)).map(
            lambda p: owned(p[0], p[0] + p[1], p[2])
        ),
        max_size=12,
    )
)
def test_index_agrees_with_brute_force(pieces: list[OwnedRange]) -> None:
    """For any ranges: a conflict exactly when two owners share a number, else the same owner for every number."""
    owners: dict[int, set[int]] = {}
    for piece in pieces:
        for number in range(piece.first, piece.last + 1):
            owners.setdefault(number, set()).add(piece.owner)
    if any(len(claims) > 1 for claims in owners.values()):
        with pytest.raises(OwnershipConflict) as caught:
            OwnershipIndex.build(iter(pieces))
        one, other = caught.value.one, caught.value.other
        assert one in pieces
        assert other in pieces
        assert one.owner != other.owner
        assert max(one.first, other.first) <= min(one.last, other.last)
        return
    index = OwnershipIndex.build(iter(pieces))
    assert index.numbers == len(owners)
    runs = sum(owners[number] != owners.get(number - 1) for number in owners)
    assert len(index) == runs
    for number in range(BASE - 2, BASE + 80):
        assert index.owner_of(E164(number)) == min(owners.get(number, {NO_OWNER}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+12025550100-+12025550199", (12025550100, 12025550199)),
        ("+12025550100", (12025550100, 12025550100)),
        ("  +12025550100 - +12025550100 ", (12025550100, 12025550100)),
        ("+493012345600-+493012345699", (493012345600, 493012345699)),
        ("+999999999999999", None),
        ("+882999999999999", (882999999999999, 882999999999999)),
    ],
)
def test_range_text_is_read(text: str, expected: tuple[int, int] | None) -> None:
    """A first and a last number, or a single one; both ends are included."""
    if expected is None:
        with pytest.raises(ValueError, match="country code"):
            parse_range(text)
    else:
        assert parse_range(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write \\+ and digits only"),
        ("12025550100", "write \\+ and digits only"),
        ("+1202555010x", "write \\+ and digits only"),
        ("+1 202 555 0100", "write \\+ and digits only"),
        ("+１２０２５５５０１００", "write \\+ and digits only"),
        ("+4930*", "write \\+ and digits only"),
        ("+12025550100-", "write \\+ and digits only"),
        ("+12025550100-+12025550110-+12025550120", "write \\+ and digits only"),
        ("+12025550100-199", "write the last number in full"),
        ("+12025550100-12025550199", "write the last number in full"),
        ("+12025550199-+12025550100", "first number is above the last"),
        ("+4930123456-+49301234599", "differ in length"),
        ("+4912345678901234", "too many digits"),
        ("+120255501000", "too many digits"),
        ("+1202555010", "too few digits"),
        ("+49301", "too few digits"),
        ("+0012025550", "country code"),
        ("+2101234567", "country code"),
    ],
)
def test_unreadable_range_says_what_would_be_right(text: str, reason: str) -> None:
    """An operator learns from the error what to write; a range that no call could ever match is an error too."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_range(text)
    assert "cannot read" in str(caught.value)


@given(text=st.text(alphabet="+-0123456789 ", max_size=40) | st.text(max_size=2000))
def test_range_text_raises_nothing_but_value_error(text: str) -> None:
    """Whatever stands in a configuration file, the answer is a range or a ValueError of readable length."""
    problem = ""
    first, last = E164(0), E164(0)
    try:
        first, last = parse_range(text)
    except ValueError as error:
        problem = str(error)
    assert problem or 0 < first <= last
    assert len(problem) < 1400  # it shows at most 120 characters of the text, and one may take ten
