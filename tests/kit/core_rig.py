"""One core under a fake clock, and two plain user agents, one on either side of it, that speak real messages."""

from __future__ import annotations

import re
from itertools import count
from typing import Final

from edge_proxy.addr import Address, Listener, Monotonic, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.pipeline.core import Pipeline, PipelineSettings
from edge_proxy.pipeline.records import Ending, Record
from edge_proxy.routing.names import NameQuery
from edge_proxy.transaction.layer import Send
from edge_proxy.transaction.timers import TimerSettings

PBX: Final = Address("127.0.0.2", 5080)
CARRIER: Final = Address("127.0.0.1", 5090)
SPARE: Final = Address("127.0.0.1", 5091)
ACME_NUMBER: Final = "+12025550100"
FAR_NUMBER: Final = "+14155550999"
CUSTOMERS: Final = Listener(0, Side.CUSTOMERS, Transport.UDP, Address("127.0.0.1", 5060))
CARRIERS: Final = Listener(1, Side.CARRIERS, Transport.UDP, Address("127.0.0.1", 5070))
WALL_S: Final = 1_700_000_000.0

CONFIG: Final = """
node: edge-test
listeners:
  customers: {bind: "127.0.0.1:5060"}
  carriers: {bind: "127.0.0.1:5070"}
customers:
  - id: acme
    sources: ["127.0.0.2/32"]
    targets: ["sip:127.0.0.2:5080"]
    country: US
    numbers: ["+12025550100-+12025550199"]
trunks:
  - {id: carrier-a, targets: ["sip:127.0.0.1:5090"], probe: {interval_s: 0}}
  - {id: carrier-b, targets: ["sip:127.0.0.1:5091"], sources: ["127.0.0.9/32"], probe: {interval_s: 0}}
"""

_serial = count(1)


class Core:
    """The pipeline, the time, and all it has recorded and sent."""

    def __init__(
        self,
        *,
        worker_secret: bytes = b"s" * 32,
        wall_s: float = WALL_S,
        config: str = CONFIG,
        timers: TimerSettings = TimerSettings(),  # noqa: B008 - frozen
        **settings: int,
    ) -> None:
        self.now = 1000.0
        self.wanted: set[NameQuery] = set()
        self.records: list[Record] = []
        self.pipeline = Pipeline(
            PipelineSettings("edge-test", 0, [CUSTOMERS, CARRIERS], timers, worker_secret, **settings),
            compile_snapshot(parse_settings(config.encode(), "test")),
        )
        self.pipeline.wall_offset_s = wall_s - self.now

    def receive(self, data: bytes, source: Address) -> list[Send]:
        """A datagram comes in on the side its source belongs to."""
        listener = CUSTOMERS if source.host == PBX.host else CARRIERS
        self.pipeline.receive(data, source, listener, Monotonic(self.now))
        return self._collect()

    def unreachable(self, send: Send) -> list[Send]:
        """What was sent could not be delivered."""
        self.pipeline.unreachable(send.slot, send.address, send.data, Monotonic(self.now))
        return self._collect()

    def advance(self, seconds: float) -> list[Send]:
        """Let time pass, from deadline to deadline."""
        end = self.now + seconds
        sent: list[Send] = []
        while (deadline := self.pipeline.next_timer()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.pipeline.handle_timer(Monotonic(self.now))
            sent += self._collect()
        self.now = end
        return sent

    @property
    def endings(self) -> list[Ending]:
        return [record for record in self.records if isinstance(record, Ending)]

    def _collect(self) -> list[Send]:
        output = self.pipeline.collect()
        self.records += output.records
        self.wanted |= set(output.wanted_names)
        return output.sends


def values(data: bytes, name: str) -> list[str]:
    """The values of all header lines of this name, in order."""
    head = data.partition(b"\r\n\r\n")[0].decode()
    return [
        line.partition(":")[2].strip() for line in head.split("\r\n")[1:] if line.lower().startswith(f"{name.lower()}:")
    ]


def start_line(data: bytes) -> str:
    return data.partition(b"\r\n")[0].decode()


def statuses(sends: list[Send]) -> list[tuple[Address, str]]:
    """What was sent, as (to whom, "200" or "INVITE")."""
    found: list[tuple[Address, str]] = []
    for send in sends:
        words = start_line(send.data).split(" ")
        found.append((send.address, words[1] if words[0].startswith("SIP/") else words[0]))
    return found


def request(
    method: str,
    uri: str,
    *extra: str,
    call_id: str = "",
    cseq: int = 1,
    from_: str = f"<sip:{ACME_NUMBER}@pbx.example>;tag=caller",
    to: str = f"<sip:{FAR_NUMBER}@pbx.example>",
    source: Address = PBX,
    branch: str = "",
    routes: tuple[str, ...] = (),
) -> bytes:
    """One request as a user agent at `source` sends it."""
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {source};branch=z9hG4bK{branch or next(_serial)};rport",
        *(f"Route: {route}" for route in routes),
        "Max-Forwards: 70",
        f"From: {from_}",
        f"To: {to}",
        f"Call-ID: {call_id or f'call-{next(_serial)}@pbx.example'}",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:{source}>",
        *extra,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def invite(*extra: str, call_id: str = "", branch: str = "") -> bytes:
    """acme calls a number of the outside world."""
    return request("INVITE", f"sip:{FAR_NUMBER}@127.0.0.1:5060", *extra, call_id=call_id, branch=branch)


def answer(data: bytes, status: int, *extra: str, tag: str = "callee", contact: Address = CARRIER) -> bytes:
    """The response of a user agent to a request that it got."""
    to = values(data, "To")[0]
    lines = [
        f"SIP/2.0 {status} Whatever",
        *(f"Via: {via}" for via in values(data, "Via")),
        *(f"Record-Route: {route}" for route in values(data, "Record-Route")),
        f"From: {values(data, 'From')[0]}",
        f"To: {to if ';tag=' in to or status == 100 else f'{to};tag={tag}'}",
        f"Call-ID: {values(data, 'Call-ID')[0]}",
        f"CSeq: {values(data, 'CSeq')[0]}",
        f"Contact: <sip:{contact}>",
        *extra,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ack(invite_got: bytes, refusal: bytes) -> bytes:
    """The ACK of a user agent's transaction to a refusal of what it sent."""
    text = invite_got.partition(b"\r\n\r\n")[0].decode().replace("INVITE", "ACK")
    text = re.sub(r"\r\nTo: [^\r]*", lambda _: f"\r\nTo: {values(refusal, 'To')[0]}", text)
    return f"{text}\r\n\r\n".encode()


def cancel(invite_sent: bytes, *extra: str) -> bytes:
    """The CANCEL of a request that this user agent sent."""
    text = invite_sent.partition(b"\r\n\r\n")[0].decode().replace("INVITE", "CANCEL")
    return "\r\n".join((text, *extra, "", "")).encode()


class Dialog:
    """Both ends' view of a dialog: what each writes into the next request."""

    def __init__(
        self, request_got: bytes, response_got: bytes, caller: Address = PBX, callee: Address = CARRIER
    ) -> None:
        self.call_id = values(response_got, "Call-ID")[0]
        self.local, self.remote = values(response_got, "From")[0], values(response_got, "To")[0]
        self.caller_routes = tuple(reversed(values(response_got, "Record-Route")))
        self.callee_routes = tuple(values(request_got, "Record-Route"))
        self.caller, self.callee = caller, callee
        self.cseq = 10

    def from_caller(self, method: str, *extra: str, cseq: int = 0, branch: str = "") -> bytes:
        self.cseq += 1
        return request(
            method,
            f"sip:{self.callee}",
            *extra,
            call_id=self.call_id,
            cseq=cseq or self.cseq,
            from_=self.local,
            to=self.remote,
            source=self.caller,
            routes=self.caller_routes,
            branch=branch,
        )

    def from_callee(self, method: str, *extra: str, cseq: int = 0, branch: str = "") -> bytes:
        self.cseq += 1
        return request(
            method,
            f"sip:{self.caller}",
            *extra,
            call_id=self.call_id,
            cseq=cseq or self.cseq,
            from_=self.remote,
            to=self.local,
            source=self.callee,
            routes=self.callee_routes,
            branch=branch,
        )


def set_up(core: Core, *extra: str, answer_extra: tuple[str, ...] = ()) -> Dialog:
    """A call from acme that rings after 1 s and is answered after 3."""
    sent = invite(*extra)
    got = next(send for send in core.receive(sent, PBX) if send.address == CARRIER).data
    core.advance(1.0)
    core.receive(answer(got, 180), CARRIER)
    core.advance(2.0)
    back = core.receive(answer(got, 200, *answer_extra), CARRIER)
    dialog = Dialog(got, back[-1].data)
    core.receive(dialog.from_caller("ACK", cseq=1), PBX)
    return dialog
