"""A byte stream becomes messages (RFC 3261 §18.3): whatever the segments, with keep-alives between, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.sip import framing
from edge_proxy.sip.framing import StreamFramer
from edge_proxy.sip.limits import Limits

LIMITS = Limits(max_message_bytes=2048)
PING = b"\r\n\r\n"


def message(body: bytes = b"", length: bytes | None = None, name: bytes = b"Content-Length") -> bytes:
    """One message; `length` is what its Content-Length says (default: the truth)."""
    said = b"%d" % len(body) if length is None else length
    return b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\n" + name + b": " + said + b"\r\n\r\n" + body


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((b"OPTIONS sip:a SIP/2.0", *lines, b"", b""))


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream in pieces of these sizes, again and again."""
    pieces = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        pieces.append(stream[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


def feed_all(framer: StreamFramer, pieces: list[bytes]) -> list[bytes]:
    return [found for piece in pieces for found in framer.feed(piece)]


BODIES = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from([b"\r\n", b"l: 3", b":", PING])).map(b"".join))
SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.integers(0, 5), BODIES), max_size=6), SIZES)
def test_any_split_yields_the_same_messages_and_pings(parts: list[tuple[int, bytes]], sizes: list[int]) -> None:
    """The segment boundaries of TCP mean nothing; bodies are bytes; line ends between messages are no part of them."""
    stream = b"".join(b"\r\n" * line_ends + message(body) for line_ends, body in parts)
    framer = StreamFramer(LIMITS)
    assert feed_all(framer, cut(stream, sizes)) == [message(body) for _, body in parts]
    assert framer.pings == sum(line_ends // 2 for line_ends, _ in parts)
    assert not framer.is_mid_message
    assert not framer.broken


@given(st.binary(max_size=400), SIZES)
def test_any_split_of_garbage_yields_the_same(stream: bytes, sizes: list[int]) -> None:
    """What is no SIP ends alike however it is cut, and raises nothing."""
    stream += PING
    whole, pieces = StreamFramer(LIMITS), StreamFramer(LIMITS)
    assert feed_all(pieces, cut(stream, sizes)) == whole.feed(stream)
    assert (pieces.broken, pieces.pings) == (whole.broken, whole.pings)


def test_several_messages_in_one_segment_come_in_order() -> None:
    """One read may hold whole messages and the beginning of one more."""
    framer = StreamFramer(LIMITS)
    first, second, third = message(b"1"), message(b"22"), message(b"333")
    assert framer.feed(first + second + PING + third[:-2]) == [first, second]
    assert framer.is_mid_message
    assert framer.pings == 1
    assert framer.feed(third[-2:]) == [third]
    assert not framer.is_mid_message


@pytest.mark.parametrize("line_ends", [b"\r\n", b"\r", b"\r\n\r", PING, PING + b"\r\n"])
def test_line_ends_alone_begin_no_message(line_ends: bytes) -> None:
    """A peer that keeps its connection alive with single line ends is not in the middle of a message (§7.5)."""
    framer = StreamFramer(LIMITS)
    assert framer.feed(line_ends) == []
    assert not framer.is_mid_message
    framer.feed(b"O")
    assert framer.is_mid_message


@pytest.mark.parametrize(
    ("name", "length"),
    [
        (b"Content-Length", b"5"),
        (b"l", b"5"),
        (b"L", b"5"),
        (b"CONTENT-length", b"  5  "),
        (b"Content-Length ", b"5"),
        (b"Content-Length", b"\r\n  5"),
        (b"l", b"\r\n\t005"),
    ],
)
def test_content_length_is_read_in_every_spelling(name: bytes, length: bytes) -> None:
    """The compact form, any case, blanks before the colon and folding (§7.3.1, §20.14)."""
    framer = StreamFramer(LIMITS)
    whole = message(b"hello", length, name)
    assert framer.feed(whole + message()) == [whole, message()]


@pytest.mark.parametrize(
    "lines",
    [
        [b"Call-ID: x"],
        [b"Content-Length: 2", b"Content-Length: 2"],
        [b"Content-Length: 2", b"l: 3"],
        [b"Content-Length: -1"],
        [b"Content-Length: +1"],
        [b"Content-Length: 1 2"],
        [b"Content-Length: 0x10"],
        [b"Content-Length:"],
        [b"Content-Length: 99999999999"],
        [b"Content-Length: 99999"],
        [b"X: a", b" Content-Length: 0"],
    ],
)
def test_stream_without_a_usable_length_breaks_and_hands_over_the_head(lines: list[bytes]) -> None:
    """Where the next message begins cannot be known; what was readable is handed over, so that it can be answered."""
    framer = StreamFramer(LIMITS)
    assert framer.feed(message(b"ok") + head(*lines) + b"body") == [message(b"ok"), head(*lines)]
    assert framer.broken
    assert not framer.is_mid_message
    assert framer.feed(message()) == []


def test_line_without_a_colon_does_not_pass_for_a_length() -> None:
    """It is for the parser to refuse; the end of the message is still known, so the connection lives on."""
    framer = StreamFramer(LIMITS)
    odd = head(b"Content-Length5", b"l0", b"Content-Length: 2") + b"ok"
    assert framer.feed(odd + message()) == [odd, message()]
    assert not framer.broken


@given(st.integers(1, 700))
def test_head_without_an_end_breaks_within_the_limit(size: int) -> None:
    """What is kept is bounded by the limit and one segment, and the beginning is handed over."""
    framer = StreamFramer(LIMITS)
    endless = b"OPTIONS sip:a SIP/2.0\r\n" + b"X: aaaaaaaaaaaa\r\n" * 500
    fed = 0
    for piece in cut(endless, [size]):
        fed += len(piece)
        found = framer.feed(piece)
        if framer.broken:
            break
        assert found == []
    assert LIMITS.max_message_bytes < fed <= LIMITS.max_message_bytes + size
    assert found == [endless[:fed]]


def test_message_at_the_limit_passes_and_one_byte_more_breaks() -> None:
    """The limit counts head and body; too long a message is refused as soon as its head has been read."""
    room = LIMITS.max_message_bytes - len(message(length=b"1000"))
    largest = message(b"x" * room)
    framer = StreamFramer(LIMITS)
    assert framer.feed(largest) == [largest]
    only_head = message(length=b"%d" % (room + 1))
    assert framer.feed(only_head) == [only_head]
    assert framer.broken


pieces_of_heads = st.sampled_from(
    [
        b"\r\n",
        b"\r\nContent-Length",
        b"content-length: 5",
        b"\r\nl",
        b"\r\nL: 7",
        b":",
        b" ",
        b"\t",
        b"12",
        b"a",
        b"\n",
        b"\r",
    ]
)


@given(st.lists(pieces_of_heads, max_size=9).map(b"".join))
def test_length_found_at_once_is_the_one_found_line_by_line(lines: bytes) -> None:
    head = b"INVITE sip:a@b SIP/2.0" + lines
    assert framing._content_length(head) == framing._any_content_length(head)
