"""The ASN table as one file: a table in, bytes out; a buffer of those bytes in, the same table out, read in place.

Header, then the columns of the map and of the table, those of 8 bytes an entry first, so that each is aligned, and the
names at the end. What a million lines take seconds to be made into is mapped in milliseconds, and is in memory once for
all workers. The checksum finds what a disk broke; the order was right when it was written. Opens nothing.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from typing import Final, Literal

from edge_proxy.traffic.address_ranges import RangeMap
from edge_proxy.traffic.asn_table import AsnTable

MAGIC: Final = b"EPASNTAB"
LAYOUT: Final = 1

_HEADER: Final = struct.Struct("<8sHBxxxxxQQQQQQQQ32s")
_HEADER_BYTES: Final = 128
_CHECKSUM_BYTES: Final = 32
_CHECKSUM_AT: Final = _HEADER.size - _CHECKSUM_BYTES
_BYTE_ORDER: Final = 1 if sys.byteorder == "little" else 2
_COLUMNS: Final[tuple[Literal["Q", "I", "i"], ...]] = ("Q", "Q", "I", "i", "i", "I", "I", "I")
"""High and low halves of IPv6 starts, IPv4 starts, IPv4 and IPv6 values, the directory, ASNs, ends of names."""


class AsnFileError(ValueError):
    """A buffer that is no table, or a damaged one. The text says what is wrong with it."""


def pack_asn_table(table: AsnTable) -> tuple[bytes, ...]:
    """The parts of the file, in order."""
    range_map, asns, name_ends, names = table.columns
    starts4, values4, high6, low6, values6, tops4 = range_map.columns
    columns = (high6, low6, starts4, values4, values6, tops4, asns, name_ends)
    parts = (*(column.tobytes() for column in columns), names.tobytes())
    sizes = (table.ranges, len(high6), len(starts4), len(tops4), len(asns), len(name_ends), len(names), 0)
    header = bytearray(_HEADER_BYTES)
    _HEADER.pack_into(header, 0, MAGIC, LAYOUT, _BYTE_ORDER, *sizes, bytes(_CHECKSUM_BYTES))
    digest = hashlib.sha256(header)
    for part in parts:
        digest.update(part)
    header[_CHECKSUM_AT : _HEADER.size] = digest.digest()
    return bytes(header), *parts


def read_asn_table(buffer: bytes | memoryview, version: str = "") -> AsnTable:
    """Use a buffer (such as a mapped file) as a table, without copying it. Raises AsnFileError when it is none.

    The buffer must stay as it is for as long as the table is in use.
    """
    view = memoryview(buffer).toreadonly().cast("B")
    if len(view) < _HEADER_BYTES or bytes(view[: len(MAGIC)]) != MAGIC:
        raise AsnFileError("it is no compiled ASN table")
    fields = _HEADER.unpack_from(view)
    if fields[1] != LAYOUT or fields[2] != _BYTE_ORDER:
        raise AsnFileError(f"its layout is {fields[1]}.{fields[2]}, and this version reads {LAYOUT}.{_BYTE_ORDER}")
    ranges, six, four, tops, asns, ends, names, _ = fields[3:11]
    columns: list[memoryview[int]] = []
    at = _HEADER_BYTES
    counts = (six, six, four, four, six, tops, asns, ends)
    for code, count in zip(_COLUMNS, counts, strict=True):
        size = count * (8 if code == "Q" else 4)
        if at + size <= len(view):
            columns.append(view[at : at + size].cast(code))
        at += size
    if at + names != len(view):
        raise AsnFileError(f"it has {len(view)} bytes where its header says {at + names}: it was cut short or added to")
    digest = hashlib.sha256(view[:_CHECKSUM_AT])
    digest.update(bytes(_CHECKSUM_BYTES))
    digest.update(view[_HEADER.size :])
    if digest.digest() != fields[11]:
        raise AsnFileError("its checksum does not match: it is damaged")
    high6, low6, starts4, values4, values6, tops4, numbers, name_ends = columns
    return AsnTable(
        ranges,
        RangeMap(starts4, values4, high6, low6, values6, tops4),
        numbers,
        name_ends,
        view[at : at + names],
        version,
    )
