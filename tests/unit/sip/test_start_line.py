"""A start line that cannot be read, and what is still known of the message that it begins."""

from __future__ import annotations

import pytest

from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import MalformedMessageError, parse_message

HEADERS = (
    b"\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1\r\nFrom: <sip:a@example.com>;tag=1\r\n"
    b"To: <sip:b@example.com>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)
LIMITS = Limits(65_535, 256, 8192, 70)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"INVITE sip:b@example.com SIP/3.0", 505),
        (b"INVITE sip:b @example.com SIP/2.0", 400),
        (b"INVITE  sip:b@example.com SIP/2.0", 400),
    ],
)
def test_request_with_a_bad_start_line_still_shows_where_its_answer_goes(line: bytes, status: int) -> None:
    """The headers are read whatever the start line holds: Via says where the answer goes (RFC 3261 §18.2.2)."""
    with pytest.raises(MalformedMessageError) as raised:
        parse_message(line + HEADERS, LIMITS)
    partial = raised.value.partial
    assert raised.value.sip_status == status
    assert partial is not None
    assert partial.via is not None
    assert (partial.via.host, partial.via.port) == (b"192.0.2.1", 5060)
    assert partial.call_id == b"one"
    assert partial.value(grammar.FROM) == b"<sip:a@example.com>;tag=1"


def test_first_problem_is_the_one_that_is_told() -> None:
    """A bad version stays the news, also when the headers are bad too."""
    data = b"INVITE sip:b@example.com SIP/3.0" + HEADERS.replace(b"To: ", b"no name here")
    with pytest.raises(MalformedMessageError) as raised:
        parse_message(data, LIMITS)
    assert raised.value.sip_status == 505
