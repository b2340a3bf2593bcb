"""A core between a customer's network and a carrier, and end points that keep a dialog as RFC 3261 §12 says.

Whatever leaves for the carrier is held against the list of what it must not learn: every message of every scenario.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from edge_proxy.addr import Address, Listener, Monotonic, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.pipeline.core import Pipeline, PipelineSettings
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import Record
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_name_addr, split_list
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.transaction.timers import TimerSettings

NEAR_US = Address("10.20.30.1", 5060)
FAR_US = Address("198.51.100.5", 5070)
CUSTOMER_PROXY = Address("10.20.30.40", 5060)
PBX = Address("10.20.30.41", 5062)
CARRIER = Address("203.0.113.10", 5060)
OTHER_CARRIER = Address("203.0.113.99", 5060)

SECRETS = (b"10.20.30.", b"acme.internal", b"sbc-7", b"call-from-inside")
"""What no message to the carrier may hold outside its body."""

SDP = b"v=0\r\no=- 1 1 IN IP4 10.20.30.41\r\ns=-\r\nc=IN IP4 10.20.30.41\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

CONFIG = """
node: edge-1
listeners:
  customers: {{bind: "{near}", transports: [udp]}}
  carriers: {{bind: "{far}", transports: [udp]}}
customers:
  - id: acme
    sources: ["10.20.30.0/24"]
    targets: ["sip:{customer}"]
    country: US
    mode: {mode}
    numbers: ["+12025550100-+12025550199"]
trunks:
  - {{id: hidden, targets: ["sip:{carrier}"], probe: {{interval_s: 0}}, hide_topology: {hides}}}
  - {{id: open, targets: ["sip:{other}"], probe: {{interval_s: 0}}}}
"""


@cache
def snapshot_of(*, hides: bool, mode: str) -> Snapshot:
    text = CONFIG.format(
        near=NEAR_US,
        far=FAR_US,
        customer=CUSTOMER_PROXY,
        carrier=CARRIER,
        other=OTHER_CARRIER,
        hides=str(hides).lower(),
        mode=mode,
    )
    return compile_snapshot(parse_settings(text.encode(), "test"))


def read(data: bytes) -> Message:
    return parse_message(data, Limits())


def values(message: Message, kind: int) -> list[bytes]:
    return [piece for value in message.values(kind) for piece in split_list(value)]


class World:
    """The proxy with its two sides. `restart` forgets all but the node's secret."""

    def __init__(self, *, hides: bool = True, mode: str = "enforce") -> None:
        self.listeners = [
            Listener(0, Side.CUSTOMERS, Transport.UDP, NEAR_US),
            Listener(1, Side.CARRIERS, Transport.UDP, FAR_US),
        ]
        self.now = 1000.0
        self.records: list[Record] = []
        self.to_carrier: list[bytes] = []
        self.hides = hides
        self.mode = mode
        self.restart()

    def restart(self) -> None:
        settings = PipelineSettings("edge-1", 0, self.listeners, TimerSettings(), b"k" * 32)
        self.pipeline = Pipeline(settings, snapshot_of(hides=self.hides, mode=self.mode))

    def send(self, side: Side, data: bytes, source: Address | None = None) -> list[Message]:
        """One datagram in from this side; what leaves because of it, in order, to either side."""
        listener = self.listeners[0 if side is Side.CUSTOMERS else 1]
        source = source or (CUSTOMER_PROXY if side is Side.CUSTOMERS else CARRIER)
        self.pipeline.receive(data, source, listener, Monotonic(self.now))
        return self.collect()

    def wait(self, seconds: float) -> list[Message]:
        self.now += seconds
        self.pipeline.handle_timer(Monotonic(self.now))
        return self.collect()

    def collect(self) -> list[Message]:
        output = self.pipeline.collect()
        self.records += output.records
        for send in output.sends:
            if send.slot == 1 and send.address != OTHER_CARRIER and self.hides:
                self.to_carrier.append(send.data)
                head = send.data.partition(b"\r\n\r\n")[0]
                for secret in SECRETS:
                    assert secret not in head, f"the carrier learns {secret!r} from {head.decode()}"
        return [read(send.data) for send in output.sends]

    def count(self, side: Side, cause: Cause) -> int:
        by_cause = self.pipeline.counters.sides[side].by_cause
        return sum(count for (_, counted), count in by_cause.items() if counted is cause)


@dataclass
class Phone:
    """One end of a dialog: what it calls itself and where it is, and what it has learned of the other end."""

    side: Side
    local: bytes
    """Its From or To value, without tag."""
    tag: bytes
    contact: bytes
    via: bytes
    """Its Via lines, top first, without branch on the first."""
    call_id: bytes = b""
    remote: bytes = b""
    target: bytes = b""
    routes: list[bytes] = field(default_factory=list)
    cseq: int = 0
    branches: int = 0

    def request(self, method: bytes, *, cseq: int = 0, extra: bytes = b"", body: bytes = b"") -> bytes:
        """A request inside the dialog."""
        if not cseq:
            self.cseq += 1
        return self.compose(method, self.target, self.remote, cseq or self.cseq, extra, body)

    def compose(
        self, method: bytes, uri: bytes, remote: bytes, cseq: int, extra: bytes, body: bytes, branch: bytes = b""
    ) -> bytes:
        self.branches += 1
        top, _, rest = self.via.partition(b"\n")
        branch = branch or b"%s-%d" % (self.tag, self.branches)
        lines = [
            method + b" " + uri + b" SIP/2.0",
            b"Via: " + top + b";branch=z9hG4bK" + branch,
            *(b"Via: " + via for via in rest.split(b"\n") if via),
            *(b"Route: " + route for route in self.routes),
            b"Max-Forwards: 70",
            b"From: " + self.local + b";tag=" + self.tag,
            b"To: " + remote,
            b"Call-ID: " + self.call_id,
            b"CSeq: %d %s" % (cseq, method),
            b"Contact: " + self.contact,
        ]
        if extra:
            lines.append(extra)
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])

    def learn_from_response(self, response: Message) -> None:
        """The caller's dialog (§12.1.2)."""
        self.remote = response.value(grammar.TO) or b""
        self.routes = list(reversed(values(response, grammar.RECORD_ROUTE)))
        self.target = parse_name_addr(response.value(grammar.CONTACT) or b"", "Contact").uri

    def learn_from_request(self, request: Message) -> None:
        """The callee's dialog (§12.1.1)."""
        self.call_id = request.call_id
        self.local = request.value(grammar.TO) or b""
        self.remote = request.value(grammar.FROM) or b""
        self.routes = values(request, grammar.RECORD_ROUTE)
        self.target = parse_name_addr(request.value(grammar.CONTACT) or b"", "Contact").uri

    def answer(
        self,
        request: Message,
        status: bytes,
        *,
        recorded: list[bytes] | None = None,
        extra: bytes = b"",
        body: bytes = b"",
    ) -> bytes:
        """A response; `recorded` is what the proxies on this side put into Record-Route, the nearest to us last."""
        to = request.value(grammar.TO) or b""
        if not request.to_tag:
            to += b";tag=" + self.tag
        routes = [*(recorded or []), *values(request, grammar.RECORD_ROUTE)]
        lines = [
            b"SIP/2.0 " + status,
            *(b"Via: " + via for via in values(request, grammar.VIA)),
            *(b"Record-Route: " + route for route in routes),
            b"From: " + (request.value(grammar.FROM) or b""),
            b"To: " + to,
            b"Call-ID: " + request.call_id,
            b"CSeq: %d %s" % (request.cseq, request.method),
            b"Contact: " + self.contact,
        ]
        if extra:
            lines.append(extra)
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])
