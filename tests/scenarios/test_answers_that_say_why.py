"""A request that cannot be used, and the status line it gets: what is wrong, and which header says so."""

from __future__ import annotations

import pytest

from edge_proxy.pipeline.counters import Disposition
from tests.kit.messages import invite, outgoing_uri, start_line
from tests.kit.playbook import Playbook, make_snapshot

LIMITS = "sip: {max_body_bytes: 2048, max_header_bytes: 512}\n"


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (
            invite().replace(b"CSeq: 1 INVITE", b"CSeq: one INVITE"),
            "400 Bad Request (CSeq is not a number and a method)",
        ),
        (invite().replace(b"CSeq", b"X-CSeq"), "400 Bad Request (CSeq is missing)"),
        (invite("Content-Length: 9"), "400 Bad Request (Content-Length is more than the datagram holds)"),
        (invite("Route: sip:"), "400 Bad Request (Route: sip URI is malformed)"),
        (invite(body="v=0\r\n" * 500), "413 Request Entity Too Large (body is longer than 2048 bytes)"),
        (
            invite().replace(outgoing_uri().encode(), b"sip:+" + b"1" * 600 + b"@edge.example"),
            "414 Request-URI Too Long (start line is longer than 512 bytes)",
        ),
        (invite(uri="http://edge.example/"), "416 Unsupported URI Scheme (Request-URI)"),
        (invite("Proxy-Require: gold"), "420 Bad Extension (Proxy-Require)"),
        (invite(max_forwards="0"), "483 Too Many Hops (Max-Forwards)"),
        (invite().replace(b" SIP/2.0\r\n", b" SIP/3.0\r\n", 1), "505 Version Not Supported (SIP version is not 2.0)"),
        (invite("Subject: " + "x" * 600), "513 Message Too Large (Subject is longer than 512 bytes)"),
    ],
    ids=lambda value: value[:3] if isinstance(value, str) else "",
)
def test_status_line_says_what_is_wrong(sent: bytes, line: str) -> None:
    """RFC 3261 §21.4.1: the phrase should identify the problem. Nobody is charged for such a request."""
    play = Playbook(snapshot=make_snapshot(more=LIMITS))
    play.reads_what_leaves = False
    refusal = play.customer.sends(sent).gets(line[:3])
    assert start_line(refusal) == f"SIP/2.0 {line}"
    assert play.disposed(Disposition.ANSWERED) == 1
    assert play.attempts == []
    play.is_over()


def test_body_of_the_greatest_length_passes() -> None:
    """The limit itself is allowed."""
    play = Playbook(snapshot=make_snapshot(more=LIMITS))
    play.customer.sends(invite(body="v" * 2048)).gets(100)
    assert play.carrier.gets("INVITE").endswith(b"\r\n\r\n" + b"v" * 2048)
