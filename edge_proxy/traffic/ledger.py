"""Count what each autonomous system sends and receives, and show it as a bounded set of ever-growing series.

The ledger is plain integers: hot code takes a row once and adds to it. Bytes are counted at the IP layer, as
committed rates are. `labelled` is what a scrape reads: a few ASNs by name, the rest as `other`, each of them
a counter that never goes back. Signalling only; nothing here looks up addresses, measures media or keeps time.
"""

from __future__ import annotations

from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge_proxy.addr import Asn

OTHER: Final = "other"
_SLICE: Final = 250

_UDP_HEADER_BYTES: Final = 8
_IPV4_UDP_BYTES: Final = 20 + _UDP_HEADER_BYTES
_IPV6_UDP_BYTES: Final = 40 + _UDP_HEADER_BYTES


def header_bytes(*, is_ipv6: bool) -> int:
    """What one UDP datagram is larger at the IP layer than its payload: 8 (UDP) + 20 (IPv4) or 40 (IPv6).

    No options, extension headers, fragments or Ethernet framing: those bytes are not on the committed rate or not
    visible from here.
    """
    return _IPV6_UDP_BYTES if is_ipv6 else _IPV4_UDP_BYTES


class Totals(NamedTuple):
    """What one exported series has counted so far."""

    bytes_in: int = 0
    packets_in: int = 0
    bytes_out: int = 0
    packets_out: int = 0
    calls_from: int = 0
    calls_to: int = 0
    allowed: int = 0
    refused: int = 0
    monitored: int = 0

    def plus(self, more: Totals) -> Totals:
        """The sum, counter by counter."""
        return Totals(*[mine + other for mine, other in zip(self, more, strict=True)])

    def minus(self, less: Totals) -> Totals:
        """The difference, counter by counter."""
        return Totals(*[mine - other for mine, other in zip(self, less, strict=True)])


class LedgerRow:
    """The counters of one ASN. Hot code adds to them directly; nobody ever lowers them.

    In and out are seen from the proxy: `bytes_in` came from the ASN. `calls_from` counts INVITE attempts the ASN
    sent, `calls_to` those sent to it; `allowed`, `refused` and `monitored` are the verdicts on `calls_from`
    (`monitored`: would have been refused, but the customer is in monitor mode).
    """

    __slots__ = (
        "allowed",
        "asn",
        "bytes_in",
        "bytes_out",
        "calls_from",
        "calls_to",
        "monitored",
        "packets_in",
        "packets_out",
        "refused",
    )

    def __init__(self, asn: Asn) -> None:
        self.asn = asn
        self.bytes_in = 0
        self.packets_in = 0
        self.bytes_out = 0
        self.packets_out = 0
        self.calls_from = 0
        self.calls_to = 0
        self.allowed = 0
        self.refused = 0
        self.monitored = 0

    def totals(self) -> Totals:
        """The counters as they stand."""
        return Totals(
            bytes_in=self.bytes_in,
            packets_in=self.packets_in,
            bytes_out=self.bytes_out,
            packets_out=self.packets_out,
            calls_from=self.calls_from,
            calls_to=self.calls_to,
            allowed=self.allowed,
            refused=self.refused,
            monitored=self.monitored,
        )


class TrafficLedger:
    """Every ASN's counters, and the sticky choice of those that have a label of their own.

    Once an ASN has a label it keeps it, and what it counted before stays in `other`: so no series ever falls, and
    Prometheus sees neither a reset nor the same byte twice.
    There is a row per ASN ever seen: about 100,000 at the very most, the number of ASNs announced.
    """

    __slots__ = ("_before_label", "_other_floor", "_rows")

    def __init__(self) -> None:
        self._rows: dict[Asn, LedgerRow] = {}
        # Who has a label, and what each had counted when it got it. Never shrinks.
        self._before_label: dict[Asn, Totals] = {}
        self._other_floor = Totals()  # the sum of those

    def row(self, asn: Asn) -> LedgerRow:
        """The row of an ASN, made when it is new. It is the same object for ever: keep it with the peer."""
        found = self._rows.get(asn)
        if found is None:
            found = self._rows[asn] = LedgerRow(asn)
        return found

    def rows(self) -> Sequence[LedgerRow]:
        """Every row, in the order of first sight."""
        return list(self._rows.values())

    def reserve(self, asns: Iterable[Asn]) -> None:
        """Give these ASNs a label for good, whatever they carry: customers, carriers, and 0 for unknown sources.

        Their series exist from the start, at 0. Reserve before traffic flows: an ASN reserved later leaves what it
        has counted so far in `other`.
        """
        for asn in asns:
            if asn not in self._before_label:
                self._give_label(self.row(asn))

    def labelled(self, max_labels: int, let_go: Callable[[], None] | None = None) -> list[tuple[str, Totals]]:
        """The series to export: (ASN in digits, totals) each, then ("other", totals) of all the rest, always present.

        Free labels go to the ASNs with the most bytes, both directions together, that have none yet. Reserved ASNs
        count against `max_labels` but keep theirs even when they are more; `other` does not count. Their sum is
        the sum of all rows at any time. Costs about 0.3 us per ASN without a label; `let_go` is called after each
        slice of them, so that a thread with more urgent work comes in between.
        """
        waiting = [row for row in self.rows() if row.asn not in self._before_label]
        free = max_labels - len(self._before_label)
        if free > 0 and waiting:
            for row in nlargest(free, waiting, key=_bytes_both_ways):
                if _bytes_both_ways(row):
                    self._give_label(row)
            waiting = [row for row in waiting if row.asn not in self._before_label]
        before_label = list(self._before_label.items())  # a reload may give more labels while this thread counts
        series = [(str(asn), self._rows[asn].totals().minus(before)) for asn, before in before_label]
        rest = self._other_floor
        for start in range(0, len(waiting), _SLICE):
            rest = rest.plus(_sum_of(waiting[start : start + _SLICE]))
            if let_go is not None:
                let_go()
        series.append((OTHER, rest))
        return series

    def _give_label(self, row: LedgerRow) -> None:
        before = row.totals()
        self._before_label[row.asn] = before
        self._other_floor = self._other_floor.plus(before)


def _bytes_both_ways(row: LedgerRow) -> int:
    return row.bytes_in + row.bytes_out


def _sum_of(rows: list[LedgerRow]) -> Totals:
    # Column by column: map() over an attrgetter stays in C, a third of the time of adding row by row.
    return Totals(*[sum(map(attrgetter(field), rows)) for field in Totals._fields])
