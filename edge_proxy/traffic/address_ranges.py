"""Turn ranges of IP addresses into an immutable map that answers by one binary search (most specific range wins).

The same map serves the ASN table and the customers' source prefixes: a value is a small number that the owner gives
a meaning. IPv4 and IPv6 are kept apart; an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is its IPv4 address.
This file never resolves names and never reads files.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from functools import lru_cache
from heapq import heappop, heappush
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

NOT_FOUND: Final = -1

_V4_MAX: Final = 2**32 - 1
_V6_MAX: Final = 2**128 - 1
_LOW_64: Final = 2**64 - 1
_PIECES: Final = 256
_VALUE_MAX: Final = 2**31 - 1
_MAPPED_PREFIX: Final = 0xFFFF  # ::ffff:0:0/96, as the address shifted right by 32 bits
_TEXT_SHOWN: Final = 60
_LARGE: Final = 1 << 16
"""Pieces from which on there is a directory, of as many entries, that is kept in a file."""
_SMALL: Final = 32
"""Pieces from which on there is one in memory."""

# Canonical octets only. A dict is faster than int() and refuses what int() lets through: "+1", "1_0", "٣", "010".
_OCTET: Final = {str(value): value for value in range(256)}


Column: TypeAlias = "array[int] | memoryview[int]"
"""Numbers of one width: in memory of our own, or a view of somebody else's."""


class RangeMap:
    """An immutable map from ranges of addresses to numbers of 0 and up; -1 (`NOT_FOUND`) is the answer elsewhere.

    Inside, the address space of each family is cut into disjoint pieces in ascending order, the first one starting
    at address 0 and the gaps holding -1, so that a search needs no test for "before the first" or "past the end".
    An IPv6 start is two 64-bit columns: exact for any /128, and no Python object per range.
    """

    __slots__ = (
        "_base4",
        "_high6",
        "_low6",
        "_near4",
        "_parts4",
        "_shift4",
        "_starts4",
        "_tops4",
        "_values4",
        "_values6",
    )

    def __init__(
        self,
        starts4: Column,
        values4: Column,
        high6: Column,
        low6: Column,
        values6: Column,
        tops4: Column,
    ) -> None:
        """Use `RangeMap.build`: the columns must already be sorted, disjoint and start at 0.

        `tops4` says for each upper half of an IPv4 address how many pieces begin below it, and how many there are:
        a search among a million looks at a few. It may be empty.
        """
        self._starts4 = starts4
        self._values4 = values4
        self._high6 = high6
        self._low6 = low6
        self._values6 = values6
        self._tops4 = tops4
        # Of each part of the addresses from `base4` on, how many pieces begin below it.
        self._near4 = tops4
        self._base4 = 0
        self._shift4 = 16
        self._parts4 = len(tops4) - 1 if tops4 else 0

    @classmethod
    def build(cls, entries: Iterable[tuple[int, int, int, int]], between: Callable[[], None] | None = None) -> RangeMap:
        """Flatten (first, last, version, value) entries, in any order, both ends inclusive, into disjoint pieces.

        Where ranges nest, the inner one wins. Where they overlap without nesting, the narrower one wins on the
        addresses they share. Of two ranges equally wide, the later entry wins. A range inside ::ffff:0:0/96 is
        stored as IPv4; a wider IPv6 range (such as ::/0) never covers IPv4 addresses.
        `between` is called every few pieces: where this runs beside calls, they have their turn there.
        ValueError: version not 4 or 6, an end outside the family, last below first, value outside 0..2**31-1.
        """
        # The sorted table of a million ranges is the usual input: columns, not tuples, keep the peak small.
        firsts4, lasts4, numbers4 = array("I"), array("I"), array("i")
        firsts6: list[int] = []
        lasts6: list[int] = []
        numbers6 = array("i")
        for first, last, version, value in entries:
            if not 0 <= value <= _VALUE_MAX:
                raise ValueError(f"value {value} does not fit: write 0 to {_VALUE_MAX}")
            if version == 6 and first >> 32 == last >> 32 == _MAPPED_PREFIX:
                first, last, version = first & _V4_MAX, last & _V4_MAX, 4
            if version not in {4, 6}:
                raise ValueError(f"IP version {version} is unknown: write 4 or 6")
            if not 0 <= first <= last <= (_V4_MAX if version == 4 else _V6_MAX):
                raise ValueError(f"range {first}-{last} is no IPv{version} range: first must not pass last")
            if version == 4:
                firsts4.append(first)
                lasts4.append(last)
                numbers4.append(value)
            else:
                firsts6.append(first)
                lasts6.append(last)
                numbers6.append(value)

        starts4, values4 = array("I"), array("i")
        for start, value in _disjoint_pieces(firsts4, lasts4, numbers4, _V4_MAX):
            starts4.append(start)
            values4.append(value)
            if between is not None and not len(starts4) % _PIECES:
                between()
        high6, low6, values6 = array("Q"), array("Q"), array("i")
        for start, value in _disjoint_pieces(firsts6, lasts6, numbers6, _V6_MAX):
            high6.append(start >> 64)
            low6.append(start & _LOW_64)
            values6.append(value)
        # A slice copy gives back what append() reserved ahead.
        made = cls(starts4[:], values4[:], high6[:], low6[:], values6[:], _tops(starts4))
        if _SMALL <= len(starts4) < _LARGE:
            made._know_near(between)
        return made

    def _know_near(self, between: Callable[[], None] | None) -> None:
        """Cut what lies between the first piece and the last into about as many parts as there are pieces."""
        starts4 = self._starts4
        count, base = len(starts4), starts4[1]
        span = starts4[count - 1] - base
        shift = 0
        while span >> shift >= count:
            shift += 1
        near = array("I")
        place = 1
        for part in range((span >> shift) + 1):
            begins = base + (part << shift)
            while starts4[place] < begins:
                place += 1
            near.append(place)
            if between is not None and not part % _PIECES:
                between()
        self._parts4 = len(near)
        near.append(count)
        self._near4, self._base4, self._shift4 = near[:], base, shift

    def find(self, host: str) -> int:
        """The value for an address in canonical text, -1 where there is none or where `host` is no address.

        A zone id ("fe80::1%eth0") is ignored.
        """
        if ":" in host:
            number = _ipv6_number(host)
            if number >> 32 == _MAPPED_PREFIX:
                return self.find_v4(number & _V4_MAX)
            return self.find_v6(number) if number >= 0 else NOT_FOUND
        try:
            a, b, c, d = host.split(".")
            number = _OCTET[a] << 24 | _OCTET[b] << 16 | _OCTET[c] << 8 | _OCTET[d]
        except (ValueError, KeyError):
            return NOT_FOUND
        return self.find_v4(number)

    def find_v4(self, number: int) -> int:
        """The value for an IPv4 address given as a number, 0 to 2**32-1 (not checked)."""
        parts = self._parts4
        if not parts:
            return self._values4[bisect_right(self._starts4, number) - 1]
        part = (number - self._base4) >> self._shift4
        if part < 0:
            return self._values4[0]
        if part >= parts:
            part = parts - 1
        near = self._near4
        return self._values4[bisect_right(self._starts4, number, near[part], near[part + 1]) - 1]

    def find_v6(self, number: int) -> int:
        """The value for an IPv6 address given as a number, 0 to 2**128-1 (not checked)."""
        high = number >> 64
        end = bisect_right(self._high6, high)
        if self._high6[end - 1] != high:
            return self._values6[end - 1]
        # Only pieces that start in the very same /64 need the lower column.
        begin = bisect_left(self._high6, high, 0, end)
        return self._values6[bisect_right(self._low6, number & _LOW_64, begin, end) - 1]

    @property
    def columns(self) -> tuple[Column, Column, Column, Column, Column, Column]:
        """As the constructor takes them: of 4, 4, 8, 8, 4 and 4 bytes an entry, the values signed."""
        return self._starts4, self._values4, self._high6, self._low6, self._values6, self._tops4

    def renumbered(self, values: Sequence[int]) -> RangeMap:
        """The same ranges with `values[v]` in the place of every value v; no two may become the same."""
        to = [*values, NOT_FOUND]  # the last is found at -1
        values4, values6 = (array("i", map(to.__getitem__, column)) for column in (self._values4, self._values6))
        other = RangeMap(self._starts4, values4, self._high6, self._low6, values6, self._tops4)
        other._near4, other._base4, other._shift4 = self._near4, self._base4, self._shift4
        other._parts4 = self._parts4
        return other

    @property
    def size_bytes(self) -> int:
        """What the columns take in memory."""
        return 8 * len(self._starts4) + 20 * len(self._high6) + 4 * len(self._near4)


def parse_address(text: str) -> tuple[int, int]:
    """Read one address as (number, version). ValueError says what would be right. No zone ids here."""
    if ":" not in text:
        try:
            a, b, c, d = text.split(".")
            return _OCTET[a] << 24 | _OCTET[b] << 16 | _OCTET[c] << 8 | _OCTET[d], 4
        except (ValueError, KeyError):
            pass  # said below, in the same words for both families
    elif "%" not in text:
        try:
            return int(IPv6Address(text)), 6
        except ValueError:
            pass
    raise ValueError(f"{_shown(text)} is no IP address: write one such as 192.0.2.1 or 2001:db8::1")


def parse_prefix(text: str) -> tuple[int, int, int]:
    """Read "192.0.2.0/24", "2001:db8::/32" or a bare address as (first, last, version), both ends inclusive.

    A prefix of IPv4-mapped addresses ("::ffff:192.0.2.0/120") is returned as IPv4.
    ValueError says what would be right; host bits set is an error because it is unclear what was meant.
    """
    address, slash, length = text.partition("/")
    if "%" in address:
        raise ValueError(f"{_shown(text)} has a zone id, which names an interface of one machine: leave it out")
    number, version = parse_address(address)
    bits = 32 if version == 4 else 128
    if not slash:
        length = str(bits)
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= bits):
        raise ValueError(f"{_shown(text)} has no valid prefix length: write /0 to /{bits} after the address")
    host_mask = (1 << (bits - int(length))) - 1
    if number & host_mask:
        kind = IPv4Network if version == 4 else IPv6Network
        network, single = kind((number & ~host_mask, int(length))), kind((number, bits))
        raise ValueError(f"{_shown(text)} has host bits set: write {network} (the network) or {single} (one address)")
    first, last = number, number | host_mask
    if version == 6 and first >> 32 == last >> 32 == _MAPPED_PREFIX:
        return first & _V4_MAX, last & _V4_MAX, 4
    return first, last, version


# Reading IPv6 text costs 3 to 5 us, more than the search, and peers repeat. A pure function; bounded.
@lru_cache(maxsize=4096)
def _ipv6_number(host: str) -> int:
    try:
        return int(IPv6Address(host.partition("%")[0]))
    except ValueError:
        return -1


def _tops(starts4: array[int]) -> array[int]:
    """Of a large map; a small one is searched faster without."""
    if len(starts4) < _LARGE:
        return array("I")
    return array("I", [bisect_left(starts4, top << 16) for top in range(1 << 16)] + [len(starts4)])


def _disjoint_pieces(
    firsts: Sequence[int], lasts: Sequence[int], values: Sequence[int], space_end: int
) -> Iterator[tuple[int, int]]:
    """Yield (start, value) of every piece of 0..space_end, ascending; a piece lasts until the next one starts.

    One sweep from low to high: a heap holds the ranges open at `position`, narrowest first. Neighbours with the
    same value become one piece.
    """
    previous = None
    for start, value in _sweep(firsts, lasts, values):
        if value != previous and start <= space_end:
            yield start, value
            previous = value


def _sweep(firsts: Sequence[int], lasts: Sequence[int], values: Sequence[int]) -> Iterator[tuple[int, int]]:
    position = 0  # every address below is settled
    open_ranges: list[tuple[int, int, int, int]] = []  # width, -entry (the later wins a tie), last, value
    for entry in sorted(range(len(firsts)), key=firsts.__getitem__):
        first, last, value = firsts[entry], lasts[entry], values[entry]
        while open_ranges and position < first:
            _, _, open_last, open_value = open_ranges[0]
            if open_last >= position:
                yield position, open_value
                position = min(open_last + 1, first)
            if open_last < position:
                heappop(open_ranges)
        if position < first:
            yield position, NOT_FOUND
            position = first
        heappush(open_ranges, (last - first, -entry, last, value))
    while open_ranges:
        _, _, open_last, open_value = heappop(open_ranges)
        if open_last >= position:
            yield position, open_value
            position = open_last + 1
    yield position, NOT_FOUND


def _shown(text: str) -> str:
    """Foreign text for an error message: cut and escaped."""
    return repr(text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "...")


def group_overlaps(
    entries: Sequence[tuple[int, int, int, int]],
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, ...]]]:
    """(first, last, version, value) entries that may overlap, as disjoint ones whose value is the place of a group.

    A group is the values of all entries that hold an address, in ascending order.
    """
    numbers: dict[tuple[int, ...], int] = {}
    pieces: list[tuple[int, int, int, int]] = []
    for version in (4, 6):
        changes: dict[int, list[int]] = {}
        for first, last, its_version, ordinal in entries:
            if its_version == version:
                changes.setdefault(first, []).append(ordinal)
                changes.setdefault(last + 1, []).append(~ordinal)
        active: dict[int, int] = {}
        begun = 0
        for point in sorted(changes):
            if active:
                group = tuple(sorted(active))
                pieces.append((begun, point - 1, version, numbers.setdefault(group, len(numbers))))
            begun = point
            for change in changes[point]:
                ordinal, step = (change, 1) if change >= 0 else (~change, -1)
                active[ordinal] = active.get(ordinal, 0) + step
                if not active[ordinal]:
                    del active[ordinal]
    return pieces, list(numbers)
