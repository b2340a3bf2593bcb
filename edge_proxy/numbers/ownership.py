"""Answer which customer owns a number: ranges of E.164 numbers in, the owner's ordinal out, by binary search.

Three columns, sorted by the first number: `first` (8 bytes), `span` = last - first (4), `owner` (4). 16 bytes a range
is the layout to keep: 10 million single numbers without neighbours are 160 MB, runs of neighbours of one owner are one
range, and the columns can as well be views of a memory-mapped file, since a look-up needs no more than indexing. The
index knows ordinals, not names: what an ordinal means is the business of whoever built it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import MAX_DIGITS, MIN_DIGITS, ReadingRule, format_e164, read_number

NO_OWNER: Final = -1

_MAX_SPAN = 2**32 - 1
_MAX_OWNER = 2**32 - 1
_PLUS_DIGITS = re.compile(r"\+[0-9]+")


class OwnedRange(NamedTuple):
    """The numbers `first` to `last`, both included, belong to the customer with the ordinal `owner` (from 0)."""

    first: E164
    last: E164
    owner: int

    def __str__(self) -> str:
        return f"{format_e164(self.first)}-{format_e164(self.last)}"


class OwnershipConflict(ValueError):  # noqa: N818 - a conflict is what it is, and what its readers call it
    """Two owners claim the same numbers. `one` and `other` are the ranges as they were given."""

    def __init__(self, one: OwnedRange, other: OwnedRange) -> None:
        super().__init__(
            f"numbers claimed twice: {one} of owner {one.owner} overlaps {other} of owner {other.owner}; "
            "give every number to one owner"
        )
        self.one = one
        self.other = other


class OwnershipIndex:
    """Who owns which number. Immutable; safe to share and to swap for a newer one as a whole."""

    __slots__ = ("_firsts", "_length", "_owners", "_spans", "numbers")

    numbers: int
    """How many numbers are owned."""

    def __init__(
        self, firsts: Sequence[int], spans: Sequence[int], owners: Sequence[int], length: int, numbers: int
    ) -> None:
        """Take finished columns over; `OwnershipIndex.build` is the way to make them."""
        self._firsts = firsts
        self._spans = spans
        self._owners = owners
        self._length = length
        self.numbers = numbers

    @classmethod
    def build(cls, ranges: Iterable[OwnedRange]) -> OwnershipIndex:
        """Sort, check and join the ranges. Raises OwnershipConflict when two owners overlap, ValueError when a
        range is malformed. Overlapping and adjacent ranges of one owner become one."""
        return cls.build_sorted(sorted(ranges))

    @classmethod
    def build_sorted(cls, ranges: Iterable[OwnedRange]) -> OwnershipIndex:
        """As `build`, of ranges that come in order; each is taken when the one before is done with."""
        firsts, spans, owners = array("Q"), array("I"), array("I")
        length = numbers = 0
        for first, last, owner in _merged(ranges):
            length += 1
            numbers += last - first + 1
            for piece in range(first, last + 1, _MAX_SPAN + 1):  # more than one only above 4 billion numbers
                firsts.append(piece)
                spans.append(min(last - piece, _MAX_SPAN))
                owners.append(owner)
        return cls(firsts, spans, owners, length, numbers)

    def owner_of(self, number: E164) -> int:
        """The ordinal of the owner, or -1 when nobody owns the number."""
        firsts = self._firsts
        at = bisect_right(firsts, number) - 1
        if at >= 0 and number - firsts[at] <= self._spans[at]:
            return self._owners[at]
        return NO_OWNER

    def __len__(self) -> int:
        """How many ranges there are after joining."""
        return self._length


def _merged(ranges: Iterable[OwnedRange]) -> Iterator[OwnedRange]:
    """Join sorted ranges, one pass and one range in hand, so that a sorted import of any size can stream through."""
    joined: OwnedRange | None = None
    reaching: OwnedRange | None = None  # the given range that ends where `joined` ends: the one a conflict is with
    for given in ranges:
        _check(given)
        if joined is None or reaching is None:
            joined = reaching = given
        elif given.first <= joined.last and given.owner != joined.owner:
            raise OwnershipConflict(reaching, given)
        elif given.owner == joined.owner and given.first <= joined.last + 1:
            if given.last > joined.last:
                joined = OwnedRange(joined.first, given.last, joined.owner)
                reaching = given
        else:
            yield joined
            joined = reaching = given
    if joined is not None:
        yield joined


def _check(given: OwnedRange) -> None:
    first, last, owner = given
    if not 0 < first <= last < 10**MAX_DIGITS:
        raise ValueError(
            f"cannot own {given}: a range goes up from its first to its last number, "
            f"each of at most {MAX_DIGITS} digits"
        )
    if not 0 <= owner <= _MAX_OWNER:
        raise ValueError(f"cannot own {given}: the owner's ordinal is {owner}, not 0 to {_MAX_OWNER}")


_REASONS = {
    ReadingRule.TOO_LONG: f"has too many digits: at most {MAX_DIGITS} with the country code, exactly 11 with +1",
    ReadingRule.TOO_SHORT: f"has too few digits: at least {MIN_DIGITS} with the country code, exactly 11 with +1",
    ReadingRule.UNKNOWN_COUNTRY: "begins with a country code that is not in use",
}


def parse_range(text: str) -> tuple[E164, E164]:
    """First and last number of `+12025550100-+12025550199`, or of `+12025550100` alone.

    Raises ValueError with what is wrong and what would be right; a number that no call can carry is wrong.
    """
    written_first, dash, written_last = (part.strip() for part in text.strip().partition("-"))
    first = _parse_number(text, written_first)
    if not dash:
        return first, first
    if written_last.isascii() and written_last.isdigit():
        hint = "in full, with + in front, such as +12025550100-+12025550199"
        raise ValueError(f"cannot read the range {text[:80]!r}: write the last number {hint}")
    last = _parse_number(text, written_last)
    if len(written_first) != len(written_last):
        raise ValueError(f"cannot read the range {text[:80]!r}: its first and last number differ in length")
    if first > last:
        raise ValueError(f"cannot read the range {text[:80]!r}: the first number is above the last; swap them")
    return first, last


def _parse_number(text: str, written: str) -> E164:
    if not _PLUS_DIGITS.fullmatch(written):
        raise ValueError(
            f"cannot read the number {written[:40]!r} in {text[:80]!r}: write + and digits only, such as +12025550100"
        )
    reading = read_number(written, None)
    if reading.number is None:
        reason = _REASONS.get(reading.rule, "is not a full international number")
        raise ValueError(f"cannot read the number {written[:40]!r} in {text[:80]!r}: it {reason}")
    return reading.number
