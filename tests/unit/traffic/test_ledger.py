"""Rules of the ledger: no exported series ever falls, and nothing counted is lost or counted twice."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from edge_proxy.addr import Asn
from edge_proxy.traffic.ledger import OTHER, LedgerRow, Totals, TrafficLedger, header_bytes

ASNS = st.integers(0, 12).map(Asn)
CUSTOMER, CARRIER, SMALL, BIG, BIGGER = Asn(64496), Asn(64510), Asn(64501), Asn(64502), Asn(64503)


def add(row: LedgerRow, added: Totals) -> None:
    for field in Totals._fields:
        setattr(row, field, getattr(row, field) + getattr(added, field))


def sum_of(parts: list[Totals]) -> Totals:
    return Totals(*[sum(column) for column in zip(*parts, strict=True)]) if parts else Totals()


class ScrapedLedger(RuleBasedStateMachine):
    """Any mix of traffic, reservations and scrapes, with a limit that an operator may also change."""

    @initialize(reserved=st.lists(ASNS, max_size=4))
    def start(self, reserved: list[Asn]) -> None:
        self.ledger = TrafficLedger()
        self.ledger.reserve(reserved)
        self.kept = set(reserved)
        self.counted: dict[Asn, Totals] = {}
        self.last: dict[str, Totals] = {}
        self.highest_limit = 0

    @rule(asn=ASNS, amounts=st.lists(st.integers(0, 1000), min_size=9, max_size=9))
    def count(self, asn: Asn, amounts: list[int]) -> None:
        add(self.ledger.row(asn), Totals(*amounts))
        self.counted[asn] = self.counted.get(asn, Totals()).plus(Totals(*amounts))

    @rule(asn=ASNS)
    def reserve_later(self, asn: Asn) -> None:
        self.ledger.reserve([asn])
        self.kept.add(asn)

    @rule(limit=st.integers(0, 8))
    def scrape(self, limit: int) -> None:
        self.highest_limit = max(self.highest_limit, limit)
        series = self.ledger.labelled(limit)
        labels = [label for label, _ in series]
        assert len(labels) == len(set(labels))
        assert labels[-1] == OTHER
        assert {str(asn) for asn in self.kept} <= set(labels)
        assert len(labels) - 1 <= self.highest_limit + len(self.kept)
        # A label, once given, stays; a new one starts at 0; none ever falls.
        assert set(self.last) <= set(labels)
        for label, totals in series:
            for before, now in zip(self.last.get(label, Totals()), totals, strict=True):
                assert 0 <= before <= now
        assert sum_of([totals for _, totals in series]) == sum_of(list(self.counted.values()))
        # Scraping is no traffic: a second look at once shows the same.
        assert self.ledger.labelled(limit) == series
        self.last = dict(series)

    @invariant()
    def rows_hold_what_was_counted(self) -> None:
        assert sum_of([row.totals() for row in self.ledger.rows()]) == sum_of(list(self.counted.values()))


def test_scraped_series_are_monotonic_and_sum_up_to_the_rows() -> None:
    """Whatever the order of traffic, reservations and scrapes (the rules are in `ScrapedLedger.scrape`)."""
    run_state_machine_as_test(ScrapedLedger, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


@given(st.lists(st.tuples(ASNS, st.integers(1, 10**6)), max_size=60), st.integers(0, 6))
def test_other_never_falls_when_asns_get_labels(traffic: list[tuple[Asn, int]], limit: int) -> None:
    """Promotion takes nothing out of `other`: a scrape after every packet sees it only grow."""
    ledger = TrafficLedger()
    seen = []
    for asn, size in traffic:
        ledger.row(asn).bytes_in += size
        seen.append(dict(ledger.labelled(limit))[OTHER].bytes_in)

    assert all(before <= now for before, now in pairwise(seen))


def test_row_is_the_same_object_for_ever() -> None:
    """Hot code may keep the row: it stays the one that is scraped."""
    ledger = TrafficLedger()
    row = ledger.row(CUSTOMER)
    row.bytes_in += 7

    assert ledger.row(CUSTOMER) is row
    assert ledger.row(CUSTOMER).asn == CUSTOMER
    assert [row.asn for row in ledger.rows()] == [CUSTOMER]


def test_reserved_asns_are_exported_at_zero_from_the_start() -> None:
    """A customer's series exists before its first packet, so that its first bytes are an increase."""
    ledger = TrafficLedger()
    ledger.reserve([CUSTOMER, CARRIER, CUSTOMER])

    assert ledger.labelled(0) == [("64496", Totals()), ("64510", Totals()), (OTHER, Totals())]

    ledger.row(CUSTOMER).calls_from += 1
    assert dict(ledger.labelled(0))["64496"] == Totals(calls_from=1)


def test_free_labels_go_to_the_asns_with_most_bytes() -> None:
    """The slots left by the reserved go by bytes of both directions; without bytes there is no label."""
    ledger = TrafficLedger()
    ledger.reserve([CUSTOMER])
    ledger.row(SMALL).bytes_in += 10
    ledger.row(BIG).bytes_in += 600
    ledger.row(BIGGER).bytes_in += 500
    ledger.row(BIGGER).bytes_out += 500
    ledger.row(CARRIER).calls_to += 9

    assert [label for label, _ in ledger.labelled(2)] == ["64496", str(BIGGER), OTHER]
    assert [label for label, _ in ledger.labelled(9)] == ["64496", str(BIGGER), str(BIG), str(SMALL), OTHER]


def test_label_is_kept_when_a_bigger_asn_comes() -> None:
    """Membership is sticky: the bigger newcomer stays in `other`, and no series disappears."""
    ledger = TrafficLedger()
    ledger.row(SMALL).bytes_in += 1
    ledger.labelled(1)
    ledger.row(BIG).bytes_in += 1_000_000

    assert dict(ledger.labelled(1)) == {str(SMALL): Totals(), OTHER: Totals(bytes_in=1_000_001)}
    assert str(SMALL) in dict(ledger.labelled(0))


def test_promoted_asn_starts_at_zero_and_leaves_its_past_in_other() -> None:
    """What `other` has shown once it shows for ever; the new series counts from there."""
    ledger = TrafficLedger()
    ledger.row(BIG).bytes_in += 100
    assert ledger.labelled(0) == [(OTHER, Totals(bytes_in=100))]
    assert ledger.labelled(1) == [(str(BIG), Totals()), (OTHER, Totals(bytes_in=100))]

    ledger.row(BIG).bytes_in += 30
    assert ledger.labelled(1) == [(str(BIG), Totals(bytes_in=30)), (OTHER, Totals(bytes_in=100))]


def test_header_bytes_are_those_of_udp_and_ip() -> None:
    """G.711 at 20 ms: 160 + 12 bytes of RTP are 200 at the IPv4 layer (80 kbit/s) and 220 at IPv6 (88 kbit/s)."""
    assert (172 + header_bytes(is_ipv6=False)) * 50 * 8 == 80_000
    assert (172 + header_bytes(is_ipv6=True)) * 50 * 8 == 88_000
