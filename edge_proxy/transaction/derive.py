"""ACK and CANCEL made from the request they belong to (RFC 3261 §17.1.1.3, §9.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.serializer import join_message

OWN_LIMITS: Final = Limits(1 << 20, max_headers=1024, max_header_bytes=1 << 20, max_vias=1024, max_body_bytes=1 << 20)
"""For a message of ours, read back: it was within the limits when it came and grew by our own lines, and its Route
values may have been put into one line."""


def build_ack(request: bytes, response: Message) -> bytes:
    """The ACK that the client transaction itself sends for a 3xx-6xx: same branch, the response's To."""
    return _derive(request, grammar.METHOD_ACK, response)


def build_cancel(request: bytes, extra: Sequence[bytes] = ()) -> bytes:
    """CANCEL for a pending INVITE: same Request-URI, branch, To, From, Call-ID, CSeq number and Route.

    `extra` are whole header lines, such as the Reason of the CANCEL that came to us (RFC 3326 §2).
    """
    return _derive(request, grammar.METHOD_CANCEL, None, extra)


def _derive(request: bytes, method: bytes, response: Message | None, extra: Sequence[bytes] = ()) -> bytes:
    original = parse_message(request, OWN_LIMITS)
    lines: list[bytes] = []
    has_via = False
    for line in original.headers:
        kind = line.kind
        if kind == grammar.VIA:
            if not has_via:
                lines.append(line.raw)
            has_via = True
        elif kind in {grammar.FROM, grammar.CALL_ID, grammar.ROUTE, grammar.MAX_FORWARDS}:
            lines.append(line.raw)
        elif kind == grammar.TO:
            answered = None if response is None else response.line(grammar.TO)
            lines.append((answered or line).raw)
        elif kind == grammar.CSEQ:
            lines.append(b"CSeq: %d %s" % (original.cseq, method))
    lines.extend(extra)
    lines.append(b"Content-Length: 0")
    return join_message(method + b" " + original.uri + b" SIP/2.0", lines, b"")
