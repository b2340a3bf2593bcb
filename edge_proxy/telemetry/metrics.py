"""Every metric, declared once and read from the worker's plain integers when Prometheus asks.

Labels come from closed sets (reasons, causes, sides), from the configuration (customers, trunks and their targets) or
are bounded (ASNs: see traffic/ledger.py). Never an address, a number, a Call-ID or a URI that a peer wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_proxy import __version__
from edge_proxy.addr import Asn, Side, Transport
from edge_proxy.pipeline.core import Pipeline
from edge_proxy.pipeline.counters import DISPOSITION_OF
from edge_proxy.policy.verdict import STATUS_OF, IpOrigin, Outcome, Reason
from edge_proxy.resting import rest
from edge_proxy.telemetry.call_metrics import MAX_CUSTOMER_LABELS, call_families
from edge_proxy.telemetry.equipment_metrics import equipment_families
from edge_proxy.telemetry.limit_metrics import limit_families
from edge_proxy.telemetry.log_sink import sink
from edge_proxy.telemetry.page import Family, counter, gauge, in_slices
from edge_proxy.telemetry.target_metrics import NameStats, name_families, target_families

# Series that exist from the first scrape, at zero: a rate over a series that begins with its first event misses it.
_NO_CAUSES: Final = {(disposition, cause): 0 for cause, disposition in DISPOSITION_OF.items()}
_NO_VERDICTS: Final = {
    (side, Outcome.REFUSED if reason in STATUS_OF else Outcome.ALLOWED, reason, IpOrigin.UNKNOWN): 0
    for side in Side
    for reason in Reason
}


class JournalStats(Protocol):
    """What the evidence journal counts (see evidence/journal.py)."""

    @property
    def records_put(self) -> int: ...
    @property
    def records_written(self) -> int: ...
    @property
    def records_lost(self) -> int: ...
    @property
    def write_errors(self) -> int: ...
    @property
    def recovered(self) -> int: ...


class DelayCounts(Protocol):
    """Counts per bucket (not cumulative) and the sum of all delays."""

    sum_s: float

    @property
    def buckets(self) -> Sequence[int]: ...


@dataclass(slots=True)
class PortStats:
    """One socket's figures at the moment of a scrape."""

    side: Side
    transport: Transport
    receive_buffer_bytes: int
    send_buffer_bytes: int
    send_errors: int
    send_overflows: int
    kernel_drops: int | None = None
    """None: not a socket of datagrams."""
    connections: int | None = None
    """None: not a stream."""
    closed: Mapping[str, int] = field(default_factory=dict)
    """Ended connections by cause."""


@dataclass(slots=True)
class WorkerState:
    """What a worker counts outside its pipeline."""

    is_ready: bool = False
    snapshot_loaded_at: float = 0.0
    reloads: dict[str, int] = field(default_factory=lambda: {"ok": 0, "failed": 0})
    internal_errors: int = 0
    warnings_suppressed: int = 0


class ScrapeSource(Protocol):
    """What the collector reads; the worker provides it."""

    @property
    def pipeline(self) -> Pipeline: ...
    @property
    def state(self) -> WorkerState: ...
    @property
    def journal_stats(self) -> JournalStats: ...
    @property
    def backlog_bytes(self) -> int: ...
    @property
    def delays(self) -> DelayCounts: ...
    @property
    def delay_bounds_s(self) -> tuple[float, ...]: ...
    @property
    def names(self) -> NameStats: ...
    @property
    def max_asn_labels(self) -> int: ...
    @property
    def engine(self) -> str: ...
    def ports(self) -> Iterable[PortStats]: ...


def build_registry(source: ScrapeSource) -> CollectorRegistry:
    """A registry with the product's metrics and prometheus-client's own about the process."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(source))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class WorkerCollector(Collector):
    """Turns one worker's integers into metric families."""

    def __init__(self, source: ScrapeSource) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Nothing to say before a scrape: the registry need not run one to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._health()
        yield from self._messages()
        yield from self._calls()
        yield from self._asns()
        yield from self._delay()
        yield from self._evidence()
        yield from self._data()
        yield from self._sockets()
        yield from limit_families(self._source.pipeline)
        yield from target_families(self._source.pipeline)
        yield from name_families(self._source.names)

    def _health(self) -> Iterator[Metric]:
        source = self._source
        info = gauge("edge_proxy_build_info", "Version and engine that run.", labels=["version", "engine"])
        info.add_metric([__version__, source.engine], 1)
        yield info
        yield gauge("edge_proxy_ready", "1 when every listener is up.", value=int(source.state.is_ready))
        yield counter(
            "edge_proxy_internal_errors",
            "Bugs met while handling a message or a timer; the message is dropped, the service goes on.",
            value=source.state.internal_errors,
        )
        yield counter(
            "edge_proxy_log_warnings_suppressed",
            "Warnings that were not written because too many of their kind came at once.",
            value=source.state.warnings_suppressed,
        )
        yield counter(
            "edge_proxy_log_lines_lost",
            "Log lines that nobody took: stderr is a pipe that is not read, or a disk that stalls or is full.",
            value=sink.lost,
        )

    def _messages(self) -> Iterator[Metric]:
        sides = self._source.pipeline.counters.sides
        received = _counter("messages_received", "Messages received.", "side")
        sent = _counter("messages_sent", "Messages sent.", "side")
        received_bytes = _counter("received_bytes", "SIP bytes received, without IP and UDP headers.", "side")
        sent_bytes = _counter("sent_bytes", "SIP bytes sent, without IP and UDP headers.", "side")
        disposed = _counter("messages", "Received messages by what became of them.", "side", "disposition")
        by_cause = _counter(
            "messages_by_cause", "Messages not simply forwarded, with the cause.", "side", "disposition", "cause"
        )
        requests = _counter("requests", "Requests received by method.", "side", "method")
        responses = _counter("responses", "Responses received by class.", "side", "class")
        for side, counts in sides.items():
            # Received is read last: a scrape in the middle of a turn may show fewer out than in, never more.
            for disposition, count in counts.dispositions.items():
                disposed.add_metric([side, disposition], count)
            received.add_metric([side], counts.received)
            received_bytes.add_metric([side], counts.received_bytes)
            sent.add_metric([side], counts.sent)
            sent_bytes.add_metric([side], counts.sent_bytes)
            for (disposition, cause), count in (_NO_CAUSES | counts.by_cause).items():
                by_cause.add_metric([side, disposition, cause], count)
            for method, count in counts.requests.items():
                requests.add_metric([side, method], count)
            for status_class, count in counts.responses.items():
                responses.add_metric([side, status_class], count)
        yield from (received, sent, received_bytes, sent_bytes, disposed, by_cause, requests, responses)

    def _calls(self) -> Iterator[Metric]:
        pipeline = self._source.pipeline
        verdicts = _counter("verdicts", "Attempts by verdict.", "side", "outcome", "reason", "ip_origin")
        for labels, count in (_NO_VERDICTS | pipeline.counters.verdicts).items():
            verdicts.add_metric(list(labels), count)
        yield verdicts
        yield self._customers(pipeline.counters.customers)
        yield from call_families(pipeline.calls, pipeline.snapshot)
        yield from equipment_families(pipeline.counters.equipment, pipeline.snapshot)
        layer = pipeline.layer
        transactions = _gauge("transactions_active", "Transactions in memory.", "kind")
        transactions.add_metric(["server"], len(layer.servers))
        transactions.add_metric(["client"], len(layer.clients) + len(layer.cancels))
        yield transactions
        resent = _counter("retransmissions_sent", "Messages sent again because no answer came.", "kind")
        resent.add_metric(["request"], layer.requests_resent)
        resent.add_metric(["response"], layer.responses_resent)
        yield resent

    def _customers(self, counts: dict[tuple[str, Outcome], int]) -> Metric:
        family = _counter("customer_verdicts", "Attempts from or to a customer by outcome.", "customer", "outcome")
        labelled = [customer.id for customer in self._source.pipeline.snapshot.customers[:MAX_CUSTOMER_LABELS]]
        for customer in in_slices(labelled):
            for outcome in Outcome:
                family.add_metric([customer, outcome], counts.get((customer, outcome), 0))
        rest: dict[Outcome, int] = {}
        own = set(labelled)
        for (customer, outcome), count in in_slices(counts.items()):
            if customer not in own:
                rest[outcome] = rest.get(outcome, 0) + count
        for outcome, count in rest.items():
            family.add_metric(["other", outcome], count)
        return family

    def _asns(self) -> Iterator[Metric]:
        pipeline = self._source.pipeline
        carried = _counter(
            "asn_bytes", "Bytes from (in) and to (out) an AS, IP and UDP headers included.", "asn", "direction", "kind"
        )
        packets = _counter("asn_packets", "Packets from (in) and to (out) an AS.", "asn", "direction", "kind")
        calls = _counter("asn_calls", "Attempts from an AS by outcome.", "asn", "outcome")
        names = _gauge("asn_info", "The name of each labelled AS.", "asn", "name")
        table = pipeline.snapshot.asn_table
        for label, totals in in_slices(pipeline.ledger.labelled(self._source.max_asn_labels, rest)):
            carried.add_metric([label, "in", "signalling"], totals.bytes_in)
            carried.add_metric([label, "out", "signalling"], totals.bytes_out)
            packets.add_metric([label, "in", "signalling"], totals.packets_in)
            packets.add_metric([label, "out", "signalling"], totals.packets_out)
            calls.add_metric([label, "allowed"], totals.allowed)
            calls.add_metric([label, "refused"], totals.refused)
            calls.add_metric([label, "monitored"], totals.monitored)
            if label.isdigit():
                names.add_metric([label, table.name_of(Asn(int(label)))], 1)
        yield from (carried, packets, calls, names)
        rates = _gauge(
            "trunk_committed_rate_bytes_per_second", "The committed rate of a trunk, from the configuration.", "trunk"
        )
        for trunk in in_slices(pipeline.snapshot.trunks):
            if trunk.committed_rate_bps:
                rates.add_metric([trunk.id], trunk.committed_rate_bps / 8)
        yield rates

    def _delay(self) -> Iterator[Metric]:
        source = self._source
        family = HistogramMetricFamily(
            "edge_proxy_delay_seconds", "How long a datagram stayed inside: from its read to the last send of its turn."
        )
        total = 0
        buckets: list[tuple[str, float]] = []
        counts = list(source.delays.buckets)
        for bound, count in zip((*map(str, source.delay_bounds_s), "+Inf"), counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([], buckets=buckets, sum_value=source.delays.sum_s)
        yield family

    def _evidence(self) -> Iterator[Metric]:
        stats = self._source.journal_stats
        yield _plain("evidence_accepted", "Records taken over by the journal.", stats.records_put)
        yield _plain("evidence_written", "Records in the journal's file.", stats.records_written)
        yield _plain("evidence_lost", "Records there was no room for.", stats.records_lost)
        yield _plain(
            "evidence_write_errors", "Writes to the journal that failed and were tried again.", stats.write_errors
        )
        yield _plain("evidence_recovered", "Records saved from the buffer of a life that ended badly.", stats.recovered)
        backlog = self._source.backlog_bytes
        yield gauge("edge_proxy_evidence_backlog_bytes", "Bytes not yet in the file.", value=backlog)

    def _data(self) -> Iterator[Metric]:
        source = self._source
        snapshot = source.pipeline.snapshot
        info = _gauge("snapshot_info", "The version of the data that decides.", "version")
        info.add_metric([snapshot.version], 1)
        yield info
        yield gauge(
            "edge_proxy_snapshot_loaded_timestamp_seconds",
            "When the data that decides was loaded.",
            value=source.state.snapshot_loaded_at,
        )
        reloads = _counter("reloads", "Reloads of the configuration.", "result")
        for result, count in source.state.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield gauge("edge_proxy_asn_table_ranges", "Address ranges in the ASN table.", value=snapshot.asn_table.ranges)
        yield gauge(
            "edge_proxy_owned_numbers", "Numbers assigned to customers.", value=snapshot.rulebook.ownership.numbers
        )

    def _sockets(self) -> Iterator[Metric]:
        labels = ("side", "transport")
        errors = _counter("send_errors", "Messages the system would not send.", *labels)
        overflows = _counter("send_overflows", "Messages lost because the send queue was full.", *labels)
        buffers = _gauge("socket_buffer_bytes", "Socket buffer sizes that the system granted.", *labels, "direction")
        drops = _counter("kernel_drops", "Datagrams that came while the receive buffer was full.", *labels)
        connections = _gauge("connections_active", "TCP and TLS connections that are up.", *labels)
        closed = _counter("connections_closed", "TCP and TLS connections that ended, by cause.", *labels, "cause")
        for port in self._source.ports():
            place = [port.side, port.transport]
            errors.add_metric(place, port.send_errors)
            overflows.add_metric(place, port.send_overflows)
            buffers.add_metric([*place, "receive"], port.receive_buffer_bytes)
            buffers.add_metric([*place, "send"], port.send_buffer_bytes)
            if port.kernel_drops is not None:
                drops.add_metric(place, port.kernel_drops)
            if port.connections is not None:
                connections.add_metric(place, port.connections)
            for cause, count in port.closed.items():
                closed.add_metric([*place, cause], count)
        yield from (errors, overflows, buffers, drops, connections, closed)


def _counter(name: str, text: str, *labels: str) -> Family:
    return counter(f"edge_proxy_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return gauge(f"edge_proxy_{name}", text, labels=labels)


def _plain(name: str, text: str, value: float) -> Family:
    return counter(f"edge_proxy_{name}", text, value=value)
