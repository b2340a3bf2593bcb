"""The ownership index as one file: sorted ranges in, bytes out; a buffer of those bytes in, the same look-ups out.

Header, then the base of every block (8 bytes each), a directory of them (4 bytes an entry), then the blocks, all of one
size. A block holds up to 32 ranges in three columns: the offset of the first number from the base (4 bytes), the span,
last - first (1 to 4), and the owner (1 to 4), the widths and the block's size being what makes this file small. Ten
million single numbers without neighbours take 7.4 bytes each with up to 65,536 owners. Ranges of one owner that touch
are one range; one that is longer than a span can say becomes several entries. The directory cuts the span of all
numbers into as many equal parts as there are blocks, about, and says how many blocks begin below each: a look-up
bisects the few bases of one part, then one block of four cache lines. Whatever else it reads stands beside what it has
just read, which matters more than the number of steps.

Everything is read in place, so a mapped file is shared by all processes that map it. `read_index` checks the header,
the sizes, the checksum and the order of the blocks; `verify_order` also looks at every entry, which whoever writes a
file does once. This file opens nothing: it takes any buffer.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice, pairwise, repeat
from operator import add, le, lt, ne, or_, rshift, sub
from typing import Final, Literal, TypeAlias

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import MAX_DIGITS
from edge_proxy.numbers.ownership import NO_OWNER, OwnedRange, OwnershipConflict, OwnershipIndex

MAGIC: Final = b"EPNUMBRS"
LAYOUT: Final = 2

_HEADER: Final = struct.Struct("<8sHBBBBBxQQQQQ16s32s")
_HEADER_BYTES: Final = 128
_LINE_BYTES: Final = 64
"""What a processor reads at once: blocks begin at such a place."""
_MOST_SHIFT: Final = 63
_CHECKSUM_BYTES: Final = 32
_CHECKSUM_AT: Final = _HEADER.size - _CHECKSUM_BYTES
_BYTE_ORDER: Final = 1 if sys.byteorder == "little" else 2
_BLOCKS: Final = (32, 16, 8, 4)
"""Entries in a block, the best first. Multiples of four keep every column of every block aligned to its width."""
_WASTE: Final = 1.25
"""How much larger than its entries a file may be before smaller blocks are tried (numbers that are far apart)."""
_STEP: Final = 8192
"""How many entries are worked on at a stretch, so that other threads get their turn in between."""
_LIMIT: Final = 10**MAX_DIGITS

_Code = Literal["B", "H", "I"]
_CODES: Final[dict[int, _Code]] = {1: "B", 2: "H", 4: "I"}


Batch: TypeAlias = tuple[list[int], list[int], list[int]]
"""Ranges in columns: first numbers, last numbers, owners."""


class IndexFileError(ValueError):
    """A buffer that is no index, or a damaged one. The text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class PackedIndex:
    """An index ready to be written: its parts, in order, are the bytes of the file."""

    parts: tuple[bytes | bytearray, ...]
    numbers: int
    ranges: int

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.parts))


@dataclass(frozen=True, slots=True)
class _Columns:
    """One entry each: its first number, its span and its owner."""

    firsts: array[int]
    spans: array[int]
    owners: array[int]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How entries are laid out: entries in a block, bytes of a span and of an owner."""

    block: int
    span_width: int
    owner_width: int

    @property
    def block_bytes(self) -> int:
        return self.block * (4 + self.span_width + self.owner_width)


class MappedOwnershipIndex(OwnershipIndex):
    """Who owns which number, read in place from a buffer. Made by `read_index`; safe to share and to swap."""

    __slots__ = (
        "_bases",
        "_block",
        "_first",
        "_offset_stride",
        "_offsets",
        "_owner_at",
        "_owner_stride",
        "_parts",
        "_shift",
        "_span_at",
        "_span_stride",
        "_tops",
        "owners",
        "version",
    )

    owners: int
    """One more than the highest ordinal in the file: how many customers it needs."""
    version: str
    """What the file was compiled from, as given to `pack_index`."""

    def __init__(
        self,
        bases: memoryview[int],
        tops: memoryview[int],
        blocks: memoryview[int],
        shape: _Shape,
        *,
        shift: int,
        ranges: int,
        numbers: int,
        owners: int,
        version: str,
    ) -> None:
        span_width, owner_width = shape.span_width, shape.owner_width
        super().__init__((), blocks.cast(_CODES[span_width]), blocks.cast(_CODES[owner_width]), ranges, numbers)
        self._bases = bases
        self._tops = tops
        self._shift = shift
        self._parts = len(tops) - 1
        self._first = bases[0] if len(bases) else _LIMIT
        self._offsets = blocks.cast("I")
        self._block = shape.block
        # Where a block's columns begin, each counted in entries of its own width.
        self._offset_stride = shape.block_bytes // 4
        self._span_stride = shape.block_bytes // span_width
        self._span_at = 4 * shape.block // span_width
        self._owner_stride = shape.block_bytes // owner_width
        self._owner_at = (4 + span_width) * shape.block // owner_width
        self.owners = owners
        self.version = version

    def owner_of(self, number: E164) -> int:
        """The ordinal of the owner, or -1 when nobody owns the number."""
        part = (number - self._first) >> self._shift
        if part < 0:
            return NO_OWNER
        if part >= self._parts:
            part = self._parts - 1
        bases, tops = self._bases, self._tops
        block = bisect_right(bases, number, tops[part], tops[part + 1]) - 1
        offset = number - bases[block]
        offsets = self._offsets
        low = block * self._offset_stride
        at = bisect_right(offsets, offset, low, low + self._block) - 1
        if offset - offsets[at] <= self._spans[block * self._span_stride + self._span_at + at - low]:
            return self._owners[block * self._owner_stride + self._owner_at + at - low]
        return NO_OWNER

    def entries(self) -> Iterator[OwnedRange]:
        """Every entry in order; a long range may take several."""
        for block, base in enumerate(self._bases):
            offsets, spans, owners = self._columns(block)
            for place, offset in enumerate(offsets):
                if place == 0 or offset > offsets[place - 1]:  # what fills up a block repeats its last entry
                    yield OwnedRange(E164(base + offset), E164(base + offset + spans[place]), owners[place])

    def _columns(self, block: int) -> tuple[memoryview[int], Sequence[int], Sequence[int]]:
        low = block * self._offset_stride
        span_at = block * self._span_stride + self._span_at
        owner_at = block * self._owner_stride + self._owner_at
        size = self._block
        return (
            self._offsets[low : low + size],
            self._spans[span_at : span_at + size],
            self._owners[owner_at : owner_at + size],
        )

    def verify_order(self) -> None:
        """Look at every entry: sorted, apart from each other, owners and counts as the header says.

        Raises IndexFileError. A few seconds for ten million entries; `read_index` leaves it out.
        """
        if self._tops.tolist() != _tops(self._bases, self._shift):
            raise IndexFileError("its directory does not say where its blocks begin")
        owners = numbers = 0
        end = -1
        for block, base in enumerate(self._bases):
            offsets, spans, holders = self._columns(block)
            size = bisect_left(offsets, offsets[-1]) + 1
            lasts = list(map(add, offsets[:size], spans))
            if offsets[0] != 0 or base <= end or not all(map(lt, lasts, offsets[1:size])):
                raise IndexFileError(f"block {block} is out of order")
            end = base + lasts[-1]
            numbers += size + sum(spans[:size])
            owners = max(owners, *holders)
            if any(len(set(column[size - 1 :])) > 1 for column in (spans, holders)):
                raise IndexFileError(f"block {block} is filled up with something else than its last entry")
        if end >= _LIMIT:
            raise IndexFileError(f"its last number has more than {MAX_DIGITS} digits")
        if numbers != self.numbers or owners + bool(numbers) != self.owners:
            raise IndexFileError("its counts of numbers and owners are not those of its entries")


def pack_index(ranges: Iterable[tuple[int, int, int]], version: str = "") -> PackedIndex:
    """Pack ranges (first, last, owner), both ends included, sorted by their first number.

    Raises OwnershipConflict when two owners overlap, ValueError when a range is malformed or out of order. Ranges of
    one owner that overlap or touch are joined. `version` is at most 16 ASCII characters.
    """
    return pack_columns(_columns_of(ranges), version)


def pack_columns(batches: Iterable[Batch], version: str = "") -> PackedIndex:
    """As `pack_index`, from ranges that come many at a time and in columns: that is ten times as fast."""
    columns = _Columns(array("Q"), array("I"), array("I"))
    count = numbers = 0
    in_hand: Batch = ([], [], [])  # the last range of all so far: what follows may go on with it
    for batch in batches:
        firsts, lasts, owners = (one + more for one, more in zip(in_hand, batch, strict=True))
        if not firsts:
            continue
        if not _are_disjoint(firsts, lasts, owners):
            firsts, lasts, owners = map(list, zip(*_joined(zip(firsts, lasts, owners, strict=True)), strict=True))
        ends_here = list(
            map(or_, map(ne, firsts[1:], map(add, lasts, repeat(1))), map(ne, islice(owners, 1, None), owners))
        )
        if not all(ends_here):
            firsts, owners = (
                [firsts[0], *compress(firsts[1:], ends_here)],
                [owners[0], *compress(owners[1:], ends_here)],
            )
            lasts = [*compress(lasts, ends_here), lasts[-1]]
        in_hand = ([firsts.pop()], [lasts.pop()], [owners.pop()])
        count += len(firsts)
        numbers += _extend(columns, firsts, lasts, owners)
    count += len(in_hand[0])
    numbers += _extend(columns, *in_hand)
    return _pack(columns, count, numbers, version)


def _pack(columns: _Columns, count: int, numbers: int, version: str) -> PackedIndex:
    owners = max(columns.owners, default=-1) + 1
    owner_width = 1 if owners <= 1 << 8 else 2 if owners <= 1 << 16 else 4
    span_width = _span_width(columns.spans, owner_width)
    if span_width < 4:
        columns = _split(columns, 1 << 8 * span_width)
    shape, starts = _shape(columns.firsts, span_width, owner_width)
    bases = array("Q", [columns.firsts[start] for start in starts[:-1]])
    shift = _shift(bases)
    tops = array("I", _tops(bases, shift))
    blocks = _fill_blocks(columns, starts, shape)
    header = bytearray(_HEADER_BYTES)
    _HEADER.pack_into(
        header,
        0,
        *(MAGIC, LAYOUT, _BYTE_ORDER, shape.block, span_width, owner_width, shift),
        *(len(bases), len(columns.firsts), count, numbers, owners),
        *(version.encode("ascii"), bytes(_CHECKSUM_BYTES)),
    )
    gap = bytes(_blocks_at(len(bases), len(tops)) - _HEADER_BYTES - 8 * len(bases) - 4 * len(tops))
    parts = (bases.tobytes(), tops.tobytes() + gap, blocks)
    digest = hashlib.sha256(header)
    for part in parts:
        digest.update(part)
    header[_CHECKSUM_AT : _CHECKSUM_AT + _CHECKSUM_BYTES] = digest.digest()
    return PackedIndex((bytes(header), *parts), numbers, count)


def read_index(buffer: bytes | bytearray | memoryview) -> MappedOwnershipIndex:
    """Use a buffer (such as a mapped file) as an index, without copying it. Raises IndexFileError when it is none.

    Checks sizes, checksum and the order of blocks: a tenth of a second for ten million numbers, other threads go on.
    The buffer must stay as it is for as long as the index is in use.
    """
    view = memoryview(buffer).toreadonly().cast("B")
    if len(view) < _HEADER_BYTES or bytes(view[: len(MAGIC)]) != MAGIC:
        raise IndexFileError("it is no index of numbers")
    _, layout, order, block, span_width, owner_width, shift, *counts, version, checksum = _HEADER.unpack_from(view)
    blocks, entries, ranges, numbers, owners = counts
    if layout != LAYOUT or order != _BYTE_ORDER:
        raise IndexFileError(f"its layout is {layout}.{order}, and this version reads {LAYOUT}.{_BYTE_ORDER}")
    if block not in _BLOCKS or span_width not in _CODES or owner_width not in _CODES or shift > _MOST_SHIFT:
        raise IndexFileError("its header is damaged")
    shape = _Shape(block, span_width, owner_width)
    tops_at = _HEADER_BYTES + 8 * blocks
    bases = view[_HEADER_BYTES:tops_at].cast("Q") if tops_at <= len(view) else view[:0].cast("Q")
    tops_count = _parts(bases, shift) + 1
    blocks_at = _blocks_at(blocks, tops_count)
    size = blocks_at + shape.block_bytes * blocks
    if size != len(view):
        raise IndexFileError(f"it has {len(view)} bytes where its header says {size}: it was cut short or added to")
    digest = hashlib.sha256(view[:_CHECKSUM_AT])
    digest.update(bytes(_CHECKSUM_BYTES))
    digest.update(view[_HEADER.size : _HEADER_BYTES])
    rises = True
    for at in range(0, blocks, _STEP):  # hashing lets other threads go on, which comparing does not
        digest.update(bases[at : at + _STEP])
        rises = rises and all(map(lt, bases[at : at + _STEP], bases[at + 1 : at + _STEP + 1]))
    digest.update(view[tops_at:])
    if digest.digest() != checksum:
        raise IndexFileError("its checksum does not match: it is damaged")
    if not rises or not blocks <= entries <= blocks * block or ranges > entries or owners > 2**32:
        raise IndexFileError("its blocks are out of order")
    text = version.rstrip(b"\0").decode("ascii", "replace")
    tops = view[tops_at : tops_at + 4 * tops_count].cast("I")
    return MappedOwnershipIndex(
        bases, tops, view[blocks_at:], shape, shift=shift, ranges=ranges, numbers=numbers, owners=owners, version=text
    )


def _joined(ranges: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """One pass, one range in hand: check the order, refuse two owners of one number, join what touches."""
    start, end, holder = 0, -1, -1
    for first, last, owner in ranges:
        if not (start <= first <= last < _LIMIT and first > 0 and 0 <= owner < 2**32 - 1):
            raise ValueError(
                f"cannot pack {first}-{last} of owner {owner} after {start}-{end}: ranges come sorted, go up, "
                f"have numbers of at most {MAX_DIGITS} digits and an owner from 0"
            )
        if owner == holder and first <= end + 1:
            end = max(end, last)
            continue
        if first <= end:
            one, other = ((start, end, holder), (first, last, owner))
            raise OwnershipConflict(*(OwnedRange(E164(a), E164(b), who) for a, b, who in (one, other)))
        if holder >= 0:
            yield start, end, holder
        start, end, holder = first, last, owner
    if holder >= 0:
        yield start, end, holder


def _columns_of(ranges: Iterable[tuple[int, int, int]]) -> Iterator[Batch]:
    coming = iter(ranges)
    while batch := list(islice(coming, _STEP)):
        yield [one[0] for one in batch], [one[1] for one in batch], [one[2] for one in batch]


def _are_disjoint(firsts: list[int], lasts: list[int], owners: list[int]) -> bool:
    """Whether these ranges are well formed and sorted, and no number is in two of them."""
    return (
        firsts[0] > 0
        and lasts[-1] < _LIMIT
        and min(owners) >= 0
        and max(owners) < 2**32 - 1
        and all(map(le, firsts, lasts))
        and all(map(lt, lasts, islice(firsts, 1, None)))
    )


def _extend(columns: _Columns, firsts: list[int], lasts: list[int], owners: list[int]) -> int:
    """Put ranges behind the others; returns how many numbers they hold."""
    spans: list[int] = list(map(sub, lasts, firsts))
    if max(spans, default=0) < 2**32:
        columns.firsts.extend(firsts)
        columns.spans.extend(spans)
        columns.owners.extend(owners)
    else:
        for first, last, owner in zip(firsts, lasts, owners, strict=True):
            _append(columns, first, last, owner, 2**32)
    return sum(spans) + len(spans)


def _append(columns: _Columns, first: int, last: int, owner: int, most: int) -> None:
    """One range as as many entries as it takes when an entry holds `most` numbers."""
    while True:
        columns.firsts.append(first)
        columns.owners.append(owner)
        if last - first < most:
            columns.spans.append(last - first)
            return
        columns.spans.append(most - 1)
        first += most


def _span_width(spans: array[int], owner_width: int) -> int:
    """The bytes for a span that make the file smallest, counting the entries that long ranges are split into."""
    if max(spans, default=0) < 1 << 8:
        return 1
    sizes = {4: (8 + owner_width) * len(spans)}
    for width in (1, 2):
        sizes[width] = (4 + width + owner_width) * (len(spans) + sum(map(rshift, spans, repeat(8 * width))))
    return min(sizes, key=sizes.__getitem__)


def _split(columns: _Columns, most: int) -> _Columns:
    if max(columns.spans, default=0) < most:
        return columns
    split = _Columns(array("Q"), array("I"), array("I"))
    for first, span, owner in zip(columns.firsts, columns.spans, columns.owners, strict=True):
        _append(split, first, first + span, owner, most)
    return split


def _shape(firsts: array[int], span_width: int, owner_width: int) -> tuple[_Shape, list[int]]:
    """The largest blocks that are filled well enough, and where each begins (and the last one ends)."""
    best: tuple[_Shape, list[int]] | None = None
    best_bytes = 0
    for size in _BLOCKS:
        shape = _Shape(size, span_width, owner_width)
        starts = [0]
        while starts[-1] < len(firsts):
            at = starts[-1]
            starts.append(bisect_left(firsts, firsts[at] + 2**32, at, min(at + size, len(firsts))))
        file_bytes = (len(starts) - 1) * (8 + shape.block_bytes)
        if best is None or file_bytes < best_bytes:
            best, best_bytes = (shape, starts), file_bytes
        if best_bytes <= _WASTE * len(firsts) * (4 + span_width + owner_width):
            break
    assert best is not None  # noqa: S101 - there is a size to try
    return best


def _shift(bases: array[int]) -> int:
    """How many bits of a number a part of the directory spans: as few as make no more parts than blocks."""
    shift = 0
    while _parts(bases, shift) > max(len(bases), 1):
        shift += 1
    return shift


def _parts(bases: Sequence[int], shift: int) -> int:
    return max(bases[-1] - bases[0] >> shift, 0) + 1 if len(bases) else 1


def _tops(bases: Sequence[int], shift: int) -> list[int]:
    """How many blocks begin below each part of the directory, and how many there are."""
    first = bases[0] if len(bases) else 0
    return [bisect_left(bases, first + (part << shift)) for part in range(_parts(bases, shift))] + [len(bases)]


def _blocks_at(bases: int, tops: int) -> int:
    """Where in the file the blocks begin."""
    end = _HEADER_BYTES + 8 * bases + 4 * tops
    return end + -end % _LINE_BYTES


def _fill_blocks(columns: _Columns, starts: list[int], shape: _Shape) -> bytearray:
    blocks = bytearray()
    span_code, owner_code = _CODES[shape.span_width], _CODES[shape.owner_width]
    for at, end in pairwise(starts):
        base = columns.firsts[at]
        offsets = array("I", [first - base for first in columns.firsts[at:end]])
        spans, owners = array(span_code, columns.spans[at:end]), array(owner_code, columns.owners[at:end])
        for column in (offsets, spans, owners):
            column.extend(column[-1:] * (shape.block - len(column)))
            blocks += column.tobytes()
    return blocks
