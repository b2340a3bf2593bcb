"""Streams cut into messages (RFC 3261 §18.3): whole, byte by byte, many at once, and those that cannot be cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.sip.framing import StreamFramer
from edge_proxy.sip.limits import Limits
from tests.kit.messages import answer, invite, request

MESSAGES = [invite(body="v=0\r\n\r\nx"), request("BYE", "sip:a@b"), answer(invite(), 200), invite(body="x" * 3000)]


@given(st.data())
def test_any_cut_of_the_stream_gives_the_same_messages(data: st.DataObject) -> None:
    """Segment sizes mean nothing."""
    messages = data.draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6))
    stream = b"".join(messages)
    framer = StreamFramer(Limits())
    found: list[bytes] = []
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, 900))
        found += framer.feed(stream[position : position + size])
        position += size
    assert found == messages
    assert not framer.is_mid_message
    assert framer.broken == ""


def test_byte_by_byte_is_the_same() -> None:
    """The smallest segments there are."""
    framer = StreamFramer(Limits())
    found = [message for byte in MESSAGES[0] for message in framer.feed(bytes([byte]))]
    assert found == [MESSAGES[0]]


def test_keepalives_between_messages_are_counted() -> None:
    """RFC 5626 §4.4.1: double CRLF is a ping; line ends before a start line are no part of it (§7.5)."""
    framer = StreamFramer(Limits())
    assert framer.feed(b"\r\n\r\n\r\n\r\n" + MESSAGES[1] + b"\r\n\r\n\r\n" + MESSAGES[1]) == [MESSAGES[1]] * 2
    assert framer.pings == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Content-Length: 0\r\n", b""),
        (b"Content-Length: 0", b"Content-Length: -1"),
        (b"Content-Length: 0", b"Content-Length: 0\r\nl: 0"),
        (b"Content-Length: 0", b"Content-Length: x"),
        (b"Content-Length: 0", b"Content-Length: 99999999999"),
        (b"Content-Length: 0", b"Content-Length: 70000"),
        (b"Content-Length: 0", b"lx"),
    ],
)
def test_stream_that_cannot_be_cut_is_broken_and_its_last_message_can_be_answered(old: bytes, new: bytes) -> None:
    """Nobody knows where the next message begins: what could be read is handed over, and no more is taken."""
    framer = StreamFramer(Limits())
    bad = MESSAGES[1].replace(old, new)
    assert framer.feed(MESSAGES[1] + bad + MESSAGES[1])[:1] == [MESSAGES[1]]
    assert framer.broken
    assert framer.feed(MESSAGES[1]) == []


def test_head_without_an_end_is_broken_at_the_limit() -> None:
    """Bounded memory for one connection."""
    framer = StreamFramer(Limits(max_message_bytes=1000))
    assert framer.feed(b"INVITE sip:a@b SIP/2.0\r\nX: " + b"x" * 900) == []
    assert framer.is_mid_message
    assert len(framer.feed(b"x" * 200)) == 1
    assert "no end of headers" in framer.broken


@given(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([b"\r\n", b"\r\n\r\n", b"l: 3\r\n", *MESSAGES]))))
def test_framer_raises_nothing(chunks: list[bytes]) -> None:
    """Whatever a stream brings."""
    framer = StreamFramer(Limits(max_message_bytes=4000))
    for chunk in chunks:
        framer.feed(chunk)
