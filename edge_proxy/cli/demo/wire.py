"""The messages that the demo's peers send: requests outside and inside a dialog, responses, bodies (RFC 3261 §8, §12).

Bytes in, bytes out; agent.py decides when. What can be shared with the proxy (parsing, ACK to a refusal, CANCEL) is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.routing.targets import numeric_address
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_name_addr, split_list
from edge_proxy.sip.message import Message
from edge_proxy.sip.serializer import join_message
from edge_proxy.sip.uri import parse_uri

ALLOW: Final = b"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS"
SDP_TYPE: Final = b"Content-Type: application/sdp"

_BOUNDARY: Final = b"part-of-a-circuit"
# An initial address message (ITU-T Q.763) as a gateway would embed it; nobody here reads it.
_ISUP_IAM: Final = bytes.fromhex("0100600003020907039021436587090a0703132143658709")


@dataclass(slots=True)
class Dialog:
    """What both ends of a call keep (RFC 3261 §12): identifiers, the far end's Contact, and the way there."""

    call_id: bytes
    local: bytes
    """Our From or To value, tag included; `remote` is the other one."""
    remote: bytes
    target: bytes
    routes: list[bytes]
    cseq: int = 0

    @classmethod
    def of_caller(cls, response: Message) -> Dialog:
        """From a 2xx: Record-Route is read from the far end back to us (§12.1.2)."""
        return cls(
            call_id=response.call_id,
            local=response.value(grammar.FROM) or b"",
            remote=response.value(grammar.TO) or b"",
            target=_contact(response),
            routes=_record_route(response)[::-1],
            cseq=response.cseq,
        )

    @classmethod
    def of_callee(cls, request: Message, tag: bytes) -> Dialog:
        """From an INVITE: Record-Route is already in our order (§12.1.1)."""
        return cls(
            call_id=request.call_id,
            local=(request.value(grammar.TO) or b"") + b";tag=" + tag,
            remote=request.value(grammar.FROM) or b"",
            target=_contact(request),
            routes=_record_route(request),
        )

    def next_hop(self) -> Address | None:
        """Where a request goes; None when a name stands there."""
        first = parse_name_addr(self.routes[0], "Route").uri if self.routes else self.target
        return numeric_address(parse_uri(first))

    def request(self, method: bytes, cseq: int, via: bytes) -> bytes:
        """A request inside the dialog (§12.2.1.1), without a body."""
        lines = [
            via,
            *(b"Route: " + route for route in self.routes),
            b"Max-Forwards: 70",
            b"From: " + self.local,
            b"To: " + self.remote,
            b"Call-ID: " + self.call_id,
            b"CSeq: %d %s" % (cseq, method),
            b"Content-Length: 0",
        ]
        return join_message(method + b" " + self.target + b" SIP/2.0", lines, b"")


def via_line(local: Address, branch: bytes) -> bytes:
    return f"Via: SIP/2.0/UDP {local};branch=".encode() + branch + b";rport"


def build_invite(
    *,
    uri: bytes,
    caller: bytes,
    to: bytes,
    call_id: bytes,
    via: bytes,
    lines: Sequence[bytes],
    contact: bytes,
    content: tuple[bytes, bytes],
) -> bytes:
    """A first INVITE; `caller` carries its tag, `lines` are whole header lines, `content` is type line and body."""
    type_line, body = content
    head = [
        via,
        b"Max-Forwards: 70",
        b"From: " + caller,
        b"To: " + to,
        b"Call-ID: " + call_id,
        b"CSeq: 1 INVITE",
        b"Contact: " + contact,
        ALLOW,
        *lines,
        type_line,
        b"Content-Length: %d" % len(body),
    ]
    return join_message(b"INVITE " + uri + b" SIP/2.0", head, body)


def build_answer(
    request: Message, status: int, phrase: bytes, tag: bytes, lines: Sequence[bytes] = (), body: bytes = b""
) -> bytes:
    """A called party's response: Record-Route copied, To tagged, a body if there is one (§8.2.6, §12.1.1)."""
    out: list[bytes] = []
    for line in request.headers:
        if line.kind in {grammar.VIA, grammar.RECORD_ROUTE, grammar.FROM, grammar.CALL_ID, grammar.CSEQ}:
            out.append(line.raw)
        elif line.kind == grammar.TO:
            out.append(line.raw if request.to_tag or not tag else line.raw + b";tag=" + tag)
    out.extend(lines)
    if body:
        out.append(SDP_TYPE)
    out.append(b"Content-Length: %d" % len(body))
    return join_message(b"SIP/2.0 %d %s" % (status, phrase), out, body)


def session(host: str, port: int) -> bytes:
    """A session description: one audio stream of G.711 (RFC 4566). No media is ever sent."""
    family = "IP6" if ":" in host else "IP4"
    text = (
        f"v=0\r\no=- {port} 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n"
    )
    return text.encode()


def with_isup(sdp: bytes) -> tuple[bytes, bytes]:
    """The type line and body of an INVITE that a circuit gateway would send: SDP and ISUP in one (RFC 3204 §3.1)."""
    parts = (
        (b"application/sdp", b"", sdp),
        (
            b"application/ISUP;version=itu-t92+;base=itu-t92+",
            b"Content-Disposition: signal;handling=optional\r\n",
            _ISUP_IAM,
        ),
    )
    body = b"".join(
        b"--%s\r\nContent-Type: %s\r\n%s\r\n%s\r\n" % (_BOUNDARY, kind, more, content) for kind, more, content in parts
    )
    return b"Content-Type: multipart/mixed;boundary=" + _BOUNDARY, body + b"--" + _BOUNDARY + b"--\r\n"


def _record_route(message: Message) -> list[bytes]:
    return message.list_values(grammar.RECORD_ROUTE)


def _contact(message: Message) -> bytes:
    """The URI in Contact; raises `RemoteProtocolError` when there is none (§8.1.1.8 demands one)."""
    return parse_name_addr(split_list(message.value(grammar.CONTACT) or b"")[0], "Contact").uri
