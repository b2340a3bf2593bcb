"""Bytes to messages: what is read, what is refused with which answer, and that untouched lines stay byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.serializer import build_response, join_message

LIMITS = Limits()
VALID = (
    b"INVITE sip:+13105550199@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-1;rport, SIP/2.0/TCP inner.example;branch=z9hG4bK-0\r\n"
    b'f: "Alice" <sip:+12025550100@acme.example>;tag=9fxced76sl\r\n'
    b"To : <sip:+13105550199@192.0.2.1>\r\n"
    b"i:3848276298220188511@acme.example\r\n"
    b"CSEQ: 0001\r\n  INVITE\r\n"
    b"Max-Forwards: 070\r\n"
    b"Subject: a\r\n\tfolded\r\n one\r\n"
    b"P-Asserted-Identity: <sip:+12025550100@acme.example>\r\n"
    b"l: 4\r\n\r\nbody"
)


def refusal_of(data: bytes, limits: Limits = LIMITS, *, is_stream: bool = False) -> MalformedMessageError:
    with pytest.raises(MalformedMessageError) as raised:
        parse_message(data, limits, is_stream=is_stream)
    return raised.value


def test_message_is_read() -> None:
    """Compact names, any case, blanks before the colon, folds, leading zeros: all within the grammar."""
    message = parse_message(VALID, LIMITS)
    assert (message.method, message.uri, message.status) == (b"INVITE", b"sip:+13105550199@192.0.2.1", 0)
    assert (message.cseq, message.max_forwards, message.body) == (1, 70, b"body")
    assert (message.from_tag, message.to_tag) == (b"9fxced76sl", b"")
    assert message.call_id == b"3848276298220188511@acme.example"
    assert message.via is not None
    assert message.via.branch == b"z9hG4bK-1"
    assert message.is_request
    assert len(message.lines) == len(message.kinds) == 9


def test_response_is_read() -> None:
    """Its method is CSeq's; a reason phrase may be empty or anything."""
    data = VALID.replace(b"INVITE sip:+13105550199@192.0.2.1 SIP/2.0", "SIP/2.0 183 Já vai".encode())
    message = parse_message(data, LIMITS)
    assert (message.status, message.reason, message.method) == (183, "Já vai".encode(), b"INVITE")
    assert not message.is_request
    assert parse_message(data.replace("183 Já vai".encode(), b"100 "), LIMITS).reason == b""


@pytest.mark.parametrize("body", [b"\r\nContent-Length: 0\r\n\r\n", b"x\r\n\r\n", b"\r\n", b"\r\n\r\n\r\n"])
def test_a_body_may_end_as_a_head_does(body: bytes) -> None:
    """The first empty line is the end of the head, whatever follows."""
    message = parse_message(VALID.replace(b"l: 4\r\n\r\nbody", b"l: %d\r\n\r\n%s" % (len(body), body)), LIMITS)
    assert message.body == body
    plain = VALID[VALID.index(b"P-A") :].replace(b"l: 4\r\n\r\nbody", b"Content-Length: 0\r\n\r\n")
    usual = VALID[: VALID.index(b"CSEQ")] + b"CSeq: 1 INVITE\r\n" + plain
    assert parse_message(usual, LIMITS).body == b""
    assert (
        parse_message(usual.replace(b"Length: 0\r\n\r\n", b"Length: %d\r\n\r\n" % len(body)) + body, LIMITS).body
        == body
    )
    assert parse_message(usual + body, LIMITS).body == b""  # §18.3: what is beyond Content-Length is cut off


headers = st.lists(
    st.tuples(
        st.text("ABCdef-!%*_+`'~.0", min_size=1, max_size=12).map(str.encode),
        st.sampled_from([b": ", b":", b" :  ", b"\t:"]),
        st.binary(max_size=30).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b"")),
        st.sampled_from([b"", b"\r\n folded", b"\r\n\tagain\r\n and again"]),
    ).map(b"".join),
    max_size=8,
)


@given(headers, st.binary(max_size=60))
def test_round_trip_keeps_every_line_byte_for_byte(extra: list[bytes], body: bytes) -> None:
    """Whatever stands in lines that a proxy has no business with, it leaves as it came, in the same order."""
    head, _, _ = VALID.partition(b"\r\nl: 4")
    data = b"\r\n".join((head, *extra, b"l: %d" % len(body), b"", body))
    try:
        message = parse_message(data, LIMITS)
    except MalformedMessageError as error:
        if "two " in str(error):  # hypothesis wrote a known name
            return
        raise
    assert join_message(message.start_line, message.lines, message.body) == data


@given(st.data())
def test_mutated_message_raises_nothing_but_malformed(data: st.DataObject) -> None:
    """Bytes changed, cut out, put in or doubled anywhere: a message, or a refusal that can be answered."""
    raw = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), at + data.draw(st.integers(0, 12)))
        kind = data.draw(st.sampled_from(["cut", "put", "double", "move"]))
        if kind == "cut":
            del raw[at:end]
        elif kind == "put":
            raw[at:at] = data.draw(
                st.one_of(st.binary(max_size=6), st.sampled_from([b"\r\n", b"\r", b'"', b"<", b":"]))
            )
        elif kind == "double":
            raw[at:at] = raw[at:end]
        else:
            piece = bytes(raw[at:end])
            del raw[at:end]
            to = data.draw(st.integers(0, len(raw)))
            raw[to:to] = piece
    for is_stream in (False, True):
        try:
            message = parse_message(bytes(raw), LIMITS, is_stream=is_stream)
        except MalformedMessageError as error:
            if error.sip_status not in {400, 414, 505, 513}:
                raise
            if error.partial is not None:
                build_response(error.partial, error.sip_status, to_tag=b"x")
        else:
            check_invariants(message)


def check_invariants(message: Message) -> None:
    """What the rest of the core relies on."""
    assert message.via is not None
    assert message.call_id
    assert len(message.lines) == len(message.kinds)
    for kind, index in enumerate(message.first):
        assert index < 0 or message.kinds[index] == kind or kind == 0
    assert all(b":" in line for line in message.lines)


@pytest.mark.parametrize(
    ("old", "new", "status", "text"),
    [
        (b"l: 4", b"l: 5", 400, "Content-Length is more than the datagram holds"),
        (b"l: 4", b"l: -1", 400, "Content-Length is not a number"),
        (b"l: 4", b"l: 4\r\nContent-Length: 4", 400, "two Content-Length headers"),
        (b"CSEQ: 0001\r\n  INVITE", b"CSeq: 4294967296 INVITE", 400, "CSeq is 2**31 or more"),
        (b"CSEQ: 0001\r\n  INVITE", b"CSeq: 1 BYE", 400, "CSeq names another method than the request line"),
        (b"CSEQ: 0001\r\n  INVITE\r\n", b"", 400, "CSeq is missing"),
        (b"i:3848276298220188511@acme.example", b"i: ", 400, "Call-ID is missing or empty"),
        (b"i:3848276298220188511@acme.example", b"i: a b", 400, "Call-ID is not one word"),
        (b"Max-Forwards: 070", b"Max-Forwards: 256", 400, "Max-Forwards is not a number from 0 to 255"),
        (b"Max-Forwards: 070", b"Max-Forwards: -1", 400, "Max-Forwards is not a number from 0 to 255"),
        (b"To : <sip:+13105550199@192.0.2.1>\r\n", b"", 400, "To is missing"),
        (b"f: ", b"Subject: ", 400, "From is missing"),
        (b"f: ", b"From: <sip:a@b>\r\nf: ", 400, "two From headers"),
        (b"Via: ", b"Date: ", 400, "Via is missing"),
        (b"Subject: a", b"Subject a", 400, "header line 7 has no name"),
        (b"Subject: a", b": a", 400, "header line 7 has no name"),
        (b"Subject: a", b"Sub ject: a", 400, "header line 7 has no name"),
        (b"Subject: a", b"Subject: a\nX: b", 400, "bare CR or LF among the headers"),
        (b"Subject: a", b"Subject: a\rX: b", 400, "bare CR or LF among the headers"),
        (b"SIP/2.0\r\nVia", b"SIP/2.1\r\nVia", 505, "SIP version is not 2.0"),
        (b"INVITE sip:+", b"INVITE  sip:+", 400, "request line is malformed"),
        (b"\r\n\r\nbody", b"\r\n", 400, "header block has no end"),
    ],
)
def test_broken_message_is_refused_with_its_reason(old: bytes, new: bytes, status: int, text: str) -> None:
    """The status that it deserves, the rule that it broke, and enough of it read to be answered."""
    assert VALID.count(old) == 1
    error = refusal_of(VALID.replace(old, new))
    assert (error.sip_status, str(error)) == (status, text)
    assert error.rfc
    assert error.partial is not None


@pytest.mark.parametrize("name", [b"From", b"To", b"v", b"f", b"i", b"CSeq", b"Subject", b"Content-Length", b"Route"])
def test_line_without_a_colon_is_no_header(name: bytes) -> None:
    """Not even when its letters but the last are a name: others would not read it as one."""
    error = refusal_of(VALID.replace(b"Subject: a", name + b"x"))
    assert str(error) == "header line 7 has no name"


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"hello world, this is text", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x00\x01" * 20]
)
def test_what_is_not_sip_has_nobody_to_be_answered(data: bytes) -> None:
    """Scanners and stray packets are dropped without a word."""
    assert refusal_of(data).partial is None


def test_refused_via_leaves_the_rest_of_it_for_the_answer() -> None:
    """RFC 4475 badinv01: the sent-by can be read although the Via as a whole cannot."""
    error = refusal_of(VALID.replace(b";branch=z9hG4bK-1;rport", b";;branch=z9hG4bK-1"))
    assert error.partial is not None
    assert error.partial.via is not None
    assert (error.partial.via.host, error.partial.via.port) == (b"198.51.100.10", 5060)


def test_stream_message_needs_content_length() -> None:
    """§18.3: only that header says where it ends."""
    assert str(refusal_of(VALID.replace(b"l: 4\r\n", b""), is_stream=True)) == "Content-Length is missing"
    assert parse_message(VALID.replace(b"l: 4\r\n", b""), LIMITS).body == b"body"


def test_body_beyond_content_length_is_cut_off() -> None:
    """§18.3: what follows in the datagram is no part of the message."""
    assert parse_message(VALID + b"INVITE sip:x SIP/2.0\r\n", LIMITS).body == b"body"


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(max_message_bytes=200), 513),
        (Limits(max_headers=5), 513),
        (Limits(max_header_bytes=60), 513),
        (Limits(max_vias=0), 513),
        (Limits(max_body_bytes=3), 413),
    ],
)
def test_message_past_a_limit_is_refused(limits: Limits, status: int) -> None:
    """Bounded work is a setting."""
    assert refusal_of(VALID, limits).sip_status == status


def test_continuation_lines_are_bounded_as_headers_are() -> None:
    """As many as there may be headers, and not one more, however they are spread."""
    as_many = b"X-1: a" + b"\r\n b" * 100 + b"\r\nX-2: a" + b"\r\n\tb" * 153  # VALID has three
    parse_message(VALID.replace(b"\r\n", b"\r\n" + as_many + b"\r\n", 1), LIMITS)
    error = refusal_of(VALID.replace(b"\r\n", b"\r\n" + as_many + b"\r\n c\r\n", 1))
    assert error.sip_status == 513
    assert str(error) == "more than 256 continuation lines"


def test_long_request_uri_is_refused_with_414() -> None:
    """§21.4.15: the start line has the limit of a header."""
    error = refusal_of(VALID.replace(b"sip:+13105550199@", b"sip:" + b"1" * 9000 + b"@", 1))
    assert error.sip_status == 414
    assert str(error) == "start line is longer than 8192 bytes"


@pytest.mark.parametrize(
    "line", [b"SIP/2.0 99 x", b"SIP/2.0 700 x", b"SIP/2.0 4294967301 x", b"SIP/2.0 200", b"SIP/2.0 20 0"]
)
def test_response_with_a_bad_status_is_known_as_a_response(line: bytes) -> None:
    """RFC 4475 bigcode: it cannot be answered, and must not be taken for a request."""
    partial = refusal_of(VALID.replace(b"INVITE sip:+13105550199@192.0.2.1 SIP/2.0", line)).partial
    assert partial is not None
    assert not partial.is_request


@pytest.mark.parametrize("filler", [b" ", b",", b'"', b"<", b"\r\n ", b";", b"a:b\r\n", b"\x00", b"SIP/2.0 "])
@pytest.mark.timeout(10)
def test_worst_messages_are_read_in_bounded_time(filler: bytes) -> None:
    """64 kB of anything, in front, in a header or behind."""
    long = filler * (60_000 // len(filler))
    for data in (long, b"INVITE " + long, VALID.replace(b"a\r\n\tfolded", long), VALID.replace(b"i:", b"i:" + long)):
        try:
            parse_message(data, LIMITS)
        except MalformedMessageError:
            continue


def test_message_values_are_unfolded_and_found_by_kind() -> None:
    """`value` is the first line's, `values` every line's, `text` never raises."""
    data = VALID.replace(
        b"Subject: a\r\n\tfolded\r\n one", b"Route: <sip:a;lr>\r\nROUTE:\r\n\t<sip:b;lr>\r\nServer: \xff"
    )
    message = parse_message(data, LIMITS)
    assert list(message.values(grammar.ROUTE)) == [b"<sip:a;lr>", b"<sip:b;lr>"]
    assert message.value(grammar.ROUTE) == b"<sip:a;lr>"
    assert message.value(grammar.CSEQ) == b"0001 INVITE"
    assert message.text(grammar.SERVER) == "\ufffd"
    assert message.value(grammar.PRIVACY) is None
    assert message.text(grammar.PRIVACY) == ""
    assert list(message.values(grammar.PRIVACY)) == []
    assert "INVITE" in repr(message)
