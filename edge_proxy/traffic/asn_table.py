"""Turn a table of announced address ranges into answers to "which autonomous system is this address in?".

Reads the tab separated text of iptoasn.com (`ip2asn-combined.tsv`), one range a line:
`range_start  range_end  AS_number  country_code  AS_description`, both ends inclusive, AS 0 for "not routed".
Where ranges nest, the most specific wins. Also says why an address has no ASN: private, bogon (RFC 6890), unknown.
Takes lines, never a file; the origin AS only, never the path to it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from edge_proxy.addr import UNKNOWN_ASN, Asn
from edge_proxy.errors import ConfigError
from edge_proxy.traffic.address_ranges import NOT_FOUND, Column, RangeMap, parse_address, parse_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME_MAX_CHARS: Final = 64

PRIVATE: Final = "private"
BOGON: Final = "bogon"
UNKNOWN: Final = "unknown"

_ASN_MAX: Final = 2**32 - 1

# In use inside networks: RFC 1918, 6598 (carrier NAT), 1122 (loopback), 3927 and 4291 (link local), 4193.
_PRIVATE_PREFIXES: Final = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)
# Never the source of a packet from another network: RFC 6890 and its successors. ::ffff:0:0/96 is not listed
# because the map reads it as IPv4.
_BOGON_PREFIXES: Final = (
    "0.0.0.0/8",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "ff00::/8",
)
_SPECIAL_LABELS: Final = (PRIVATE, BOGON)
_SPECIAL_RANGES: Final = RangeMap.build(
    (*parse_prefix(prefix), label)
    for label, prefixes in enumerate((_PRIVATE_PREFIXES, _BOGON_PREFIXES))
    for prefix in prefixes
)


class AsnTable:
    """The origin AS of an address, and the name of an AS. Immutable; build it with `from_lines`."""

    __slots__ = ("_asns", "_count", "_map", "_name_ends", "_names", "_ranges", "version")

    version: str
    """What names the file that it is read from, in place; empty: it is in memory of its own."""

    def __init__(
        self,
        ranges: int,
        range_map: RangeMap,
        asns: Column,
        name_ends: Column,
        names: memoryview[int],
        version: str = "",
    ) -> None:
        """`range_map` gives an index into `asns`, which rise, but for the last: that is `UNKNOWN_ASN`, for index -1,
        the map's "not found". The names stand one after another, in UTF-8, and end where `name_ends` says."""
        self._ranges = ranges
        self._map = range_map
        self._asns = asns
        self._count = len(asns) - 1
        self._name_ends = name_ends
        self._names = names
        self.version = version

    @classmethod
    def empty(cls) -> AsnTable:
        """A table that knows no address: for a configuration without one."""
        return cls(0, RangeMap.build(()), array("I", [UNKNOWN_ASN]), array("I"), memoryview(b""))

    @classmethod
    def from_lines(cls, lines: Iterable[str], source: str) -> AsnTable:
        """Read the table; `source` is what an error calls it. Blank lines and lines that start with `#` are skipped.

        ConfigError, with the line: fewer than 3 columns, an end that is no address, ends of different families,
        an end before the start, an AS number that is none. Also when no line gives a routed range.
        """
        reading = _Reading(source)
        range_map = RangeMap.build(reading.entries(lines))
        if not reading.names:
            raise ConfigError("the ASN table is empty: it needs at least one range with an AS number", path=source)
        asns = sorted(reading.indexes)
        places = array("i", bytes(4 * len(asns)))
        name_ends, names = array("I"), bytearray()
        for place, asn in enumerate(asns):
            places[reading.indexes[asn]] = place
            names += reading.names.get(asn, "").encode()
            name_ends.append(len(names))
        return cls(
            reading.ranges,
            range_map.renumbered(places),
            array("I", [*asns, UNKNOWN_ASN]),
            name_ends,
            memoryview(bytes(names)),
        )

    @property
    def columns(self) -> tuple[RangeMap, Column, Column, memoryview[int]]:
        """As the constructor takes them: two columns of 4 bytes an entry, and the names."""
        return self._map, self._asns, self._name_ends, self._names

    @property
    def ranges(self) -> int:
        """How many ranges were read, those marked as not routed included."""
        return self._ranges

    @property
    def size_bytes(self) -> int:
        """What the address columns take in memory; names not counted."""
        return self._map.size_bytes

    def asn_of(self, host: str) -> Asn:
        """The origin AS of an address in canonical text; 0 where the table has none or `host` is no address."""
        return Asn(self._asns[self._map.find(host)])

    def name_of(self, asn: Asn) -> str:
        """The description of an AS, printable and at most 64 characters; "" where the table has none."""
        at = bisect_left(self._asns, asn, 0, self._count)
        if at == self._count or self._asns[at] != asn:
            return ""
        return bytes(self._names[self._name_ends[at - 1] if at else 0 : self._name_ends[at]]).decode()

    def describe(self, host: str) -> tuple[Asn, str]:
        """The ASN and the words for it: "AS64496", or "private", "bogon" or "unknown" beside ASN 0.

        The table goes first: an operator may give an ASN to private ranges of its own.
        """
        asn = self.asn_of(host)
        if asn != UNKNOWN_ASN:
            return asn, f"AS{asn}"
        special = _SPECIAL_RANGES.find(host)
        return asn, UNKNOWN if special == NOT_FOUND else _SPECIAL_LABELS[special]


class _Reading:
    """What is gathered while the lines stream into the map."""

    __slots__ = ("indexes", "names", "ranges", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.ranges = 0
        # An ASN needs 32 bits and the map holds 31: it stores the position here. Insertion order is the position.
        self.indexes: dict[Asn, int] = {}
        self.names: dict[Asn, str] = {}

    def entries(self, lines: Iterable[str]) -> Iterator[tuple[int, int, int, int]]:
        """Yield each range as `RangeMap.build` wants it."""
        for line_number, line in enumerate(lines, start=1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                first, last, version, asn, description = _parse_line(line)
            except ValueError as error:
                raise ConfigError(str(error), path=self.source, line=line_number) from error
            self.ranges += 1
            if asn != UNKNOWN_ASN and not self.names.get(asn):
                self.names[asn] = _printable(description)
            yield first, last, version, self.indexes.setdefault(asn, len(self.indexes))


def _parse_line(line: str) -> tuple[int, int, int, Asn, str]:
    """One range as (first, last, version, asn, description); ValueError says what would be right."""
    columns = line.rstrip("\r\n").split("\t", 4)
    if len(columns) < 3:
        raise ValueError(
            f"too few columns, {len(columns)}: write range_start, range_end and AS_number with a tab between them"
        )
    first, version = parse_address(columns[0])
    last, last_version = parse_address(columns[1])
    if version != last_version:
        raise ValueError(f"the range mixes IPv{version} and IPv{last_version}: both ends must be of one family")
    if last < first:
        raise ValueError(f"the range ends before it starts: {columns[1]} is below {columns[0]}")
    digits = columns[2]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= _ASN_MAX):
        raise ValueError(f"{digits[:20]!r} is no AS number: write digits only, 0 to {_ASN_MAX}")
    return first, last, version, Asn(int(digits)), columns[4] if len(columns) == 5 else ""


def _printable(description: str) -> str:
    """A description that is safe in a terminal, a log line and a label: the table is other people's text."""
    # Longer than shown, so that removed characters do not shorten the result; bounded, so that a line of megabytes
    # costs nothing.
    kept = (character for character in description[: NAME_MAX_CHARS * 4] if character.isprintable())
    return "".join(kept).strip()[:NAME_MAX_CHARS].rstrip()
