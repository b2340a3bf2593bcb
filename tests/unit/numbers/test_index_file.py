"""The index as a file: it says what the index in memory says, and a damaged one is refused."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import E164
from edge_proxy.numbers.index_file import IndexFileError, MappedOwnershipIndex, PackedIndex, pack_index, read_index
from edge_proxy.numbers.ownership import NO_OWNER, OwnedRange, OwnershipConflict, OwnershipIndex

BASE = 12025550000
LIMIT = 10**15


def file_of(packed: PackedIndex) -> bytes:
    return b"".join(packed.parts)


def index_of(ranges: list[tuple[int, int, int]], version: str = "") -> MappedOwnershipIndex:
    index = read_index(file_of(pack_index(sorted(ranges), version)))
    index.verify_order()
    return index


def owned(first: int, last: int, owner: int) -> tuple[int, int, int]:
    return BASE + first, BASE + last, owner


SMALL = [owned(100, 199, 0), owned(200, 250, 2), owned(300, 300, 1)]


def test_number_belongs_to_the_owner_of_its_range() -> None:
    """Both ends are inside a range, their neighbours are not; counts and version are the file's."""
    index = index_of(SMALL, "3f9a00c1d2e4")
    expected = {99: -1, 100: 0, 199: 0, 200: 2, 250: 2, 251: -1, 299: -1, 300: 1, 301: -1}
    assert {offset: index.owner_of(E164(BASE + offset)) for offset in expected} == expected
    assert (len(index), index.numbers, index.owners, index.version) == (3, 152, 3, "3f9a00c1d2e4")


def test_empty_file_owns_nothing() -> None:
    """Without ranges every number is nobody's."""
    index = index_of([])
    assert (len(index), index.numbers, index.owners) == (0, 0, 0)
    assert index.owner_of(E164(BASE)) == NO_OWNER


def test_ranges_of_one_owner_are_joined() -> None:
    """Overlapping, contained, repeated and adjacent ranges of one owner become one; other owners stay apart."""
    index = index_of([owned(10, 19, 4), owned(0, 9, 4), owned(5, 30, 4), owned(6, 7, 4), owned(31, 31, 5)])
    assert (len(index), index.numbers) == (2, 32)
    assert list(index.entries()) == [OwnedRange(E164(a), E164(b), c) for a, b, c in (owned(0, 30, 4), owned(31, 31, 5))]


def test_two_owners_of_one_number_are_a_conflict() -> None:
    """The file cannot hold what the index in memory refuses."""
    with pytest.raises(OwnershipConflict):
        pack_index([owned(0, 9, 1), owned(9, 9, 0)])


@pytest.mark.parametrize(
    "ranges",
    [
        [owned(5, 9, 0), owned(1, 2, 0)],
        [owned(9, 5, 0)],
        [(0, 5, 0)],
        [(5, LIMIT, 0)],
        [owned(1, 2, -1)],
        [owned(1, 2, 2**32 - 1)],
    ],
)
def test_malformed_ranges_are_refused(ranges: list[tuple[int, int, int]]) -> None:
    """Out of order, upside down, no number, too many digits, no owner: a ValueError, never a wrong file."""
    with pytest.raises(ValueError, match="cannot pack"):
        pack_index(ranges)


def test_range_longer_than_an_entry_is_owned_whole() -> None:
    """A prefix of a country with long numbers: billions of numbers, of which each belongs to its owner."""
    first, last = 493_000_000_000_000, 493_099_999_999_999
    index = index_of([(first - 1, first - 1, 7), (first, last, 3), (last + 1, last + 1, 8)])
    middle = [first + step * 4_294_967_295 + part for step in range(1, 23) for part in (0, 1, step)]
    assert {index.owner_of(E164(number)) for number in (first, *middle, last)} == {3}
    assert [index.owner_of(E164(n)) for n in (first - 2, first - 1, last + 1, last + 2)] == [-1, 7, 8, -1]
    assert (len(index), index.numbers) == (3, 10**11 + 2)


@pytest.mark.parametrize("owners", [1, 256, 257, 65_536, 65_537])
@pytest.mark.parametrize("span", [0, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32])
def test_every_width_holds_its_largest_value(owners: int, span: int) -> None:
    """Columns are as wide as needed, on both sides of each step."""
    ranges = [(BASE, BASE, 0), (BASE + 10, BASE + 10 + span, owners - 1)]
    index = index_of(ranges)
    assert [index.owner_of(E164(BASE + at)) for at in (0, 1, 10, 10 + span, 11 + span)] == [
        *(0, -1, owners - 1, owners - 1, -1)
    ]


def test_ten_thousand_scattered_numbers_take_little_room() -> None:
    """Seven bytes a number and the directory, also when one long range stands among them."""
    scattered = [(BASE + 7 * place, BASE + 7 * place, place) for place in range(10_000)]
    assert pack_index(scattered).size_bytes < 7.4 * 10_000
    assert pack_index([*scattered, (2 * BASE, 2 * BASE + 9_999_999, 3)]).size_bytes < 8.5 * 10_000


def test_numbers_that_are_far_apart_take_little_room_too() -> None:
    """Blocks shrink where an offset of four bytes cannot reach far."""
    spread = [(place * 10**11 + 1, place * 10**11 + 1, 0) for place in range(1, 5_000)]
    packed = pack_index(spread)
    assert packed.size_bytes < 36 * 5_000
    index = read_index(file_of(packed))
    assert all(index.owner_of(E164(first)) == 0 and index.owner_of(E164(first + 1)) == -1 for first, _, _ in spread)


@pytest.mark.parametrize("gap", [1, 40, 10**6, 10**10])
def test_directory_leads_to_every_block(gap: int) -> None:
    """Crowds of numbers with much or nothing between them: each is found, and its neighbours are not, nor is what lies
    before all and behind all."""
    firsts = [crowd + place * 3 for crowd in (BASE, BASE + 40_000 + gap, 10**14) for place in range(2_000)]
    index = index_of([(first, first, place % 7) for place, first in enumerate(firsts)])
    assert [index.owner_of(E164(first)) for first in firsts] == [place % 7 for place in range(len(firsts))]
    assert {index.owner_of(E164(first + step)) for first in firsts for step in (-1, 1)} == {NO_OWNER}
    assert [index.owner_of(E164(n)) for n in (1, BASE - 10**9, 10**14 + 10**9, LIMIT - 1)] == [NO_OWNER] * 4


def test_directory_that_leads_elsewhere_is_found() -> None:
    """Written so, with the right checksum: whoever looks at every entry sees it."""
    whole = bytearray(file_of(pack_index([(BASE + 7 * place, BASE + 7 * place, 0) for place in range(1_000)])))
    blocks = int.from_bytes(whole[16:24], "little")
    whole[128 + 8 * blocks + 4] += 1
    whole[72:104] = bytes(32)
    whole[72:104] = hashlib.sha256(whole).digest()
    with pytest.raises(IndexFileError, match="directory"):
        read_index(bytes(whole)).verify_order()


@st.composite
def disjoint_ranges(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Sorted ranges with gaps and spans from nothing to beyond every width, of few owners."""
    wide = st.one_of(st.integers(0, 3), st.integers(0, 300), st.integers(0, 70_000), st.integers(0, 10**10))
    ranges, at = [], 0
    for _ in range(draw(st.integers(0, 40))):
        first = at + 1 + draw(wide)
        at = first + draw(wide)
        ranges.append((first, at, draw(st.integers(0, 3)) * draw(st.sampled_from([1, 100, 30_000]))))
    return ranges


@given(disjoint_ranges(), st.lists(st.integers(0, 10**12), max_size=20))
def test_file_agrees_with_the_index_and_with_plain_search(
    ranges: list[tuple[int, int, int]], numbers: list[int]
) -> None:
    """By brute force, at every edge and at random numbers: file, index in memory and the ranges say the same."""
    packed = pack_index(ranges)
    mapped = read_index(file_of(packed))
    mapped.verify_order()
    plain = OwnershipIndex.build(OwnedRange(E164(first), E164(last), owner) for first, last, owner in ranges)
    asked = {edge + step for first, last, _ in ranges for edge in (first, last) for step in (-1, 0, 1)} | set(numbers)
    for number in asked:
        expected = next((owner for first, last, owner in ranges if first <= number <= last), NO_OWNER)
        assert mapped.owner_of(E164(number)) == plain.owner_of(E164(number)) == expected
    assert (len(mapped), mapped.numbers) == (len(plain), plain.numbers)


@given(st.data())
def test_damaged_file_is_refused(data: st.DataObject) -> None:
    """Any byte changed, any byte missing, anything appended: an IndexFileError, never another owner."""
    whole = file_of(pack_index(SMALL, "v1"))
    match data.draw(st.sampled_from(["changed", "cut", "longer"])):
        case "changed":
            broken = bytearray(whole)
            broken[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            broken = bytearray(whole[: data.draw(st.integers(0, len(whole) - 1))])
        case _:
            broken = bytearray(whole + data.draw(st.binary(min_size=1, max_size=9)))
    with pytest.raises(IndexFileError):
        read_index(broken)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no index of numbers"),
        (b"first,last,customer\n" * 20, "no index of numbers"),
        (file_of(pack_index(SMALL))[:-8], "cut short"),
        (file_of(pack_index(SMALL))[:-1] + b"\xff", "checksum"),
        (b"EPNUMBRS\x09" + file_of(pack_index(SMALL))[9:], "layout is 9"),
    ],
)
def test_refusal_says_what_is_wrong(data: bytes, text: str) -> None:
    """A person who reads the error knows whether to look for another file or for a bad disk."""
    with pytest.raises(IndexFileError, match=text):
        read_index(data)


def test_order_is_verified_entry_by_entry() -> None:
    """A file that was written wrong has a right checksum: looking at every entry finds it."""
    index = index_of(SMALL)
    for attribute, value in (("numbers", 153), ("owners", 4)):
        before = getattr(index, attribute)
        setattr(index, attribute, value)
        with pytest.raises(IndexFileError, match="counts"):
            index.verify_order()
        setattr(index, attribute, before)
    index._offsets = memoryview(bytearray(index._offsets.tobytes())).cast("I")
    index._offsets[1] = 99
    with pytest.raises(IndexFileError, match="out of order"):
        index.verify_order()
