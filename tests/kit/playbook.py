"""A conversation with the core: peers send and get, time passes when the test says so, and nothing goes unnoticed.

    play = Playbook()
    play.customer.sends(invite())
    play.customer.gets("100")
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 486))
    ...
    play.is_over()

Whatever the core sends must be asked for by `gets` (or waved through by `ignores`) before the next thing happens. After
every step the books must balance, and every message that left must be one that the core itself would accept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from edge_proxy.addr import Address, Listener, Monotonic, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.pipeline.core import Pipeline, PipelineSettings
from edge_proxy.pipeline.counters import DISPOSITION_OF, Cause, Disposition
from edge_proxy.pipeline.records import Attempt, Ending, Record
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.transaction.derive import OWN_LIMITS
from edge_proxy.transaction.layer import Send
from edge_proxy.transaction.timers import TICK_S, TimerSettings
from tests.kit.messages import (
    CARRIER,
    CUSTOMER,
    OURS_FOR_CARRIERS,
    OURS_FOR_CUSTOMERS,
    Dialog,
    ack_of,
    answer,
    invite,
    start_line,
)

SECRET: Final = bytes(range(32))
SPARE: Final = Address("203.0.113.11", 5090)
MONITORED: Final = Address("198.51.100.20", 5060)
STRANGER: Final = Address("198.51.100.99", 5060)
STRANGE_CARRIER: Final = Address("203.0.113.99", 5060)
WALL_S: Final = 1_700_000_000.0

FOR_CUSTOMERS: Final = Listener(0, Side.CUSTOMERS, Transport.UDP, OURS_FOR_CUSTOMERS)
FOR_CARRIERS: Final = Listener(1, Side.CARRIERS, Transport.UDP, OURS_FOR_CARRIERS)
STREAMS: Final = (
    Listener(2, Side.CUSTOMERS, Transport.TCP, OURS_FOR_CUSTOMERS),
    Listener(3, Side.CARRIERS, Transport.TCP, OURS_FOR_CARRIERS),
)

CONFIG: Final = """
node: edge-test
listeners:
  customers: {bind: "192.0.2.1:5060", transports: [udp, tcp]}
  carriers: {bind: "192.0.2.2:5070", transports: [udp, tcp]}
customers:
  - id: acme
    sources: ["198.51.100.10/32"]
    targets: ["sip:198.51.100.10:5060"]
    country: US
    numbers: ["+12025550100-+12025550199"]
  - id: globex
    sources: ["198.51.100.20/32"]
    targets: ["sip:198.51.100.20:5060"]
    country: DE
    numbers: ["+4930901820000-+4930901820099"]
    mode: monitor
trunks:
  - id: carrier-a
    sources: ["203.0.113.10/32", "203.0.113.11/32"]
    targets: [TARGETS]
    probe: {interval_s: 0}
"""


@lru_cache(maxsize=64)
def make_snapshot(*targets: Address, old: str = "", new: str = "", more: str = "") -> Snapshot:
    """The network of these tests, its trunk at `targets`; in the operator's text `old` is replaced by `new`, and
    `more` follows."""
    text = CONFIG.replace("TARGETS", ", ".join(f'"sip:{target}"' for target in targets or (CARRIER,)))
    if old:
        assert old in text
        text = text.replace(old, new)
    return compile_snapshot(parse_settings((text + more).encode(), "test.yaml"))


class Got(NamedTuple):
    """One message that a peer got, and when."""

    at_s: float
    data: bytes

    @property
    def name(self) -> str:
        """Its method or its status."""
        words = start_line(self.data).split(" ")
        return words[1] if words[0].startswith("SIP/") else words[0]


class Peer:
    """One address outside, on one side."""

    def __init__(self, play: Playbook, address: Address, listener: Listener) -> None:
        self._play = play
        self.address = address
        self.listener = listener
        self.inbox: list[Got] = []

    def sends(self, data: bytes, *, times: int = 1) -> Peer:
        """It sends a datagram, `times` times in a row."""
        self._play.nothing_is_left()
        for _ in range(times):
            self._play.deliver(data, self.address, self.listener)
        return self

    def gets(self, name: str | int, *, after_s: float | None = None) -> bytes:
        """The next message that it got: a method or a status; `after_s`: how long after the play began."""
        assert self.inbox, f"{self.address} got nothing, {name} was expected"
        got = self.inbox.pop(0)
        assert got.name == str(name), f"{self.address} got {start_line(got.data)}, {name} was expected"
        if after_s is not None:
            late_s = got.at_s - after_s
            assert -1e-9 <= late_s <= TICK_S + 1e-6, f"{name} came at {got.at_s}, {after_s} was expected"
        return got.data

    def gets_nothing(self) -> None:
        assert not self.inbox, f"{self.address} got {[start_line(got.data) for got in self.inbox]}"

    def ignores(self, name: str | int = "") -> list[float]:
        """Take all that it got (which must all be `name`); when each came."""
        taken, self.inbox = self.inbox, []
        if name:
            assert {got.name for got in taken} <= {str(name)}, taken
        return [round(got.at_s, 2) for got in taken]


class Playbook:
    """The core, its peers and the clock."""

    def __init__(
        self,
        *,
        snapshot: Snapshot | None = None,
        timers: TimerSettings | None = None,
        has_streams: bool = False,
        secret: bytes = SECRET,
        max_breadth: int = 0,
    ) -> None:
        self.begun_at = 1000.0
        self.now = self.begun_at
        self.listeners = [FOR_CUSTOMERS, FOR_CARRIERS, *(STREAMS if has_streams else ())]
        self.settings = PipelineSettings(
            "edge-test", 0, self.listeners, timers or TimerSettings(), secret, max_breadth, session_expires_s=0
        )
        self.snapshot = snapshot or make_snapshot()
        self.records: list[Record] = []
        self.reads_what_leaves = True
        """False: answers to what was no message cannot be read either."""
        self.peers: dict[tuple[Address, Side], Peer] = {}
        self.customer = self.peer(CUSTOMER, Side.CUSTOMERS)
        self.monitored = self.peer(MONITORED, Side.CUSTOMERS)
        self.stranger = self.peer(STRANGER, Side.CUSTOMERS)
        self.carrier = self.peer(CARRIER, Side.CARRIERS)
        self.spare = self.peer(SPARE, Side.CARRIERS)
        self.strange_carrier = self.peer(STRANGE_CARRIER, Side.CARRIERS)
        self.pipeline = self._start()

    def _start(self) -> Pipeline:
        pipeline = Pipeline(self.settings, self.snapshot)
        pipeline.wall_offset_s = WALL_S - self.now
        return pipeline

    def restart(self) -> None:
        """The process dies and another takes its place: same configuration and secret, nothing else kept."""
        self.nothing_is_left()
        self.pipeline = self._start()

    def peer(self, address: Address, side: Side, transport: Transport = Transport.UDP) -> Peer:
        """Who is at this address, seen from our listener of that side and transport."""
        listener = next(one for one in self.listeners if one.side is side and one.transport is transport)
        return self.peers.setdefault((address, side), Peer(self, address, listener))

    def deliver(self, data: bytes, source: Address, listener: Listener) -> None:
        self.pipeline.receive(data, source, listener, Monotonic(self.now))
        self._collect()

    def lets(self, step: Callable[[Monotonic], object]) -> None:
        """Do something else to the core, such as telling it that a peer cannot be reached."""
        self.nothing_is_left()
        step(Monotonic(self.now))
        self._collect()

    def waits(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        self.nothing_is_left()
        end = self.now + seconds
        while (deadline := self.pipeline.next_timer()) is not None and deadline <= end:
            assert deadline > self.now - 1e-6 or deadline == 0.0, "a deadline that is past was never served"
            self.now = max(self.now, deadline)
            self.pipeline.handle_timer(Monotonic(self.now))
            self._collect()
        self.now = end

    def _collect(self) -> None:
        output = self.pipeline.collect()
        self.records.extend(output.records)
        for send in output.sends:
            self._post(send)
        self.books_balance()

    def _post(self, send: Send) -> None:
        listener = self.listeners[send.slot]
        assert str(ip_address(send.address.host)) == send.address.host, send.address
        if not self.reads_what_leaves:
            self._put(send, listener)
            return
        message = parse_message(send.data, OWN_LIMITS, is_stream=listener.transport is not Transport.UDP)
        if message.is_request:
            assert message.via is not None
            assert Address(message.via.host.decode(), message.via.port or 0) == listener.advertised
        if message.first[grammar.CONTENT_LENGTH] >= 0:
            assert int(message.text(grammar.CONTENT_LENGTH)) == len(message.body)
        self._put(send, listener)

    def _put(self, send: Send, listener: Listener) -> None:
        peer = self.peer(send.address, listener.side)
        peer.inbox.append(Got(self.now - self.begun_at, send.data))

    def books_balance(self) -> None:
        """Every datagram counted once, every count with its reason, every call up counted where it belongs."""
        for side, counts in self.pipeline.counters.sides.items():
            assert counts.is_balanced(), (side, counts.received, counts.dispositions)
            for disposition in (Disposition.ABSORBED, Disposition.ANSWERED, Disposition.DROPPED):
                reasons = {cause: n for (what, cause), n in counts.by_cause.items() if what is disposition}
                assert counts.dispositions[disposition] == sum(reasons.values()), (side, disposition, reasons)
                for cause in reasons:
                    usual = DISPOSITION_OF[cause]
                    assert disposition is usual or disposition is Disposition.DROPPED, (disposition, cause)
        assert self.pipeline.calls.is_reconciled()

    def nothing_is_left(self) -> None:
        """No peer got anything that the test has not asked for."""
        left = {str(peer.address): [start_line(got.data) for got in peer.inbox] for peer in self.peers.values()}
        assert not any(left.values()), {where: what for where, what in left.items() if what}

    def is_over(self, *, seconds: float = 400.0) -> None:
        """Nothing is left now, nothing more comes, and the core remembers nothing of it afterwards."""
        self.waits(seconds)
        self.nothing_is_left()
        assert not self.pipeline.layer.under_way
        assert not self.pipeline.has_pending_requests

    def count(self, cause: Cause, side: Side = Side.CUSTOMERS) -> int:
        """How many datagrams of this side had this cause."""
        return self.pipeline.counters.sides[side].by_cause[DISPOSITION_OF[cause], cause]

    def disposed(self, disposition: Disposition, side: Side = Side.CUSTOMERS) -> int:
        return self.pipeline.counters.sides[side].dispositions[disposition]

    @property
    def attempts(self) -> list[Attempt]:
        return [record for record in self.records if isinstance(record, Attempt)]

    @property
    def endings(self) -> list[Ending]:
        return [record for record in self.records if isinstance(record, Ending)]

    def call(self, *extra: str) -> Dialog:
        """acme calls out, it rings, it is answered and acknowledged; the dialog from there on."""
        sent = invite(*extra)
        self.customer.sends(sent).gets(100)
        invited = self.carrier.gets("INVITE")
        self.carrier.sends(answer(invited, 180))
        self.customer.gets(180)
        self.carrier.sends(answer(invited, 200))
        dialog = Dialog(invited, self.customer.gets(200))
        self.customer.sends(dialog.ack())
        self.carrier.gets("ACK")
        return dialog

    def refuses(self, sent: bytes, status: int, *, by: Peer | None = None) -> bytes:
        """The peer (the customer, if not said) sends an INVITE, is refused and acknowledges; the refusal."""
        peer = by or self.customer
        refusal = peer.sends(sent).gets(status)
        peer.sends(ack_of(sent, refusal)).gets_nothing()
        return refusal


def read(data: bytes) -> Message:
    """A message that left, parsed."""
    return parse_message(data, OWN_LIMITS)
