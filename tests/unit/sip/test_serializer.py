"""Answers of our own, and lines changed in place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address
from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.serializer import (
    HAS_JOINED,
    build_response,
    join_plainly,
    quote,
    replace_first_value,
    stamp_top_via,
)
from tests.kit.failing_memory import HAS_FAILING_MEMORY, fail_each_allocation

REQUEST = (
    b"INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b\r\nv: SIP/2.0/UDP c\r\n"
    b"From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nTimestamp: 54\r\nSubject: no\r\n\r\n"
)


def lines_of(data: bytes) -> list[bytes]:
    return data.split(b"\r\n")


def test_response_copies_what_it_must_and_nothing_else() -> None:
    """§8.2.6.2: every Via in order, From, To, Call-ID, CSeq; To gets a tag."""
    data = build_response(parse_message(REQUEST, Limits()), 404, to_tag=b"t", extra=[b"X: y"])
    assert lines_of(data) == [
        *(b"SIP/2.0 404 Not Found", b"Via: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b", b"v: SIP/2.0/UDP c"),
        *(b"From: <sip:a@h>;tag=1", b"To: <sip:b@h>;tag=t", b"Call-ID: x", b"CSeq: 1 INVITE"),
        *(b"X: y", b"Content-Length: 0", b"", b""),
    ]


def test_100_has_no_tag_and_copies_timestamp() -> None:
    """§8.2.6.1, §17.2.1."""
    lines = lines_of(build_response(parse_message(REQUEST, Limits()), 100))
    assert b"To: <sip:b@h>" in lines
    assert b"Timestamp: 54" in lines


def test_tag_that_is_there_stays_the_only_one() -> None:
    """§8.2.6.2: a request inside a dialog has its tag."""
    request = parse_message(REQUEST.replace(b"To: <sip:b@h>", b"To: <sip:b@h>;tag=own"), Limits())
    assert b"To: <sip:b@h>;tag=own" in lines_of(build_response(request, 481, to_tag=b"t"))


@pytest.mark.parametrize("to", [b"To: <sip:b@h>;tag=own", b"To: <sip:b@h> ; Tag = own"])
def test_answer_to_a_malformed_request_keeps_the_tag_that_was_not_read(to: bytes) -> None:
    """It was refused before To was read."""
    partial = refused(REQUEST.replace(b"To: <sip:b@h>", to).replace(b"CSeq: 1", b"CSeq: x"))
    assert to in lines_of(build_response(partial, 400, to_tag=b"t"))


def test_answer_to_a_request_with_two_of_a_kind_has_one() -> None:
    """Otherwise nobody could read the answer either."""
    doubled = REQUEST.replace(
        b"CSeq: 1 INVITE", b"CSeq: 1 INVITE\r\nCSeq: 2 INVITE\r\nTo: <sip:c@h>\r\nFrom: <sip:d@h>"
    )
    answer = parse_message(build_response(refused(doubled), 400, to_tag=b"t"), Limits())
    assert (answer.status, answer.cseq, answer.to_tag) == (400, 1, b"t")


def refused(data: bytes) -> Message:
    with pytest.raises(MalformedMessageError) as raised:
        parse_message(data, Limits())
    assert raised.value.partial is not None
    return raised.value.partial


def test_unknown_status_has_a_phrase() -> None:
    """The phrase is for people; it is never missing."""
    assert build_response(parse_message(REQUEST, Limits()), 699).startswith(b"SIP/2.0 699 Unknown\r\n")
    assert build_response(parse_message(REQUEST, Limits()), 400, phrase="Because").startswith(
        b"SIP/2.0 400 Because\r\n"
    )


def test_first_value_of_a_list_is_replaced_and_the_rest_stays() -> None:
    """Only the top Via is ours to stamp."""
    message = parse_message(REQUEST, Limits())
    replace_first_value(message, grammar.VIA, b"SIP/2.0/UDP a;branch=z9hG4bK1", b"SIP/2.0/UDP new")
    assert message.lines[:2] == [b"Via: SIP/2.0/UDP new, SIP/2.0/UDP b", b"v: SIP/2.0/UDP c"]


@pytest.mark.parametrize(
    ("line", "stamped"),
    [
        (b"Via: SIP/2.0/UDP h:5080;branch=b;rport", b"Via: SIP/2.0/UDP h:5080;branch=b;received=192.0.2.7;rport=9"),
        (b"Via: SIP/2.0/UDP h;rport;branch=b", b"Via: SIP/2.0/UDP h;branch=b;received=192.0.2.7;rport=9"),
        (b"v:SIP/2.0/UDP h;rport;branch=b", b"v: SIP/2.0/UDP h;branch=b;received=192.0.2.7;rport=9"),
        (b"Via: SIP/2.0/UDP h;rport;rport;a;branch=", b"Via: SIP/2.0/UDP h;a;branch=;received=192.0.2.7;rport=9"),
        (b"v:SIP/2.0/UDP h;branch=b;rport", b"v: SIP/2.0/UDP h;branch=b;received=192.0.2.7;rport=9"),
        (b"Via: SIP/2.0/UDP h;branch=b;x;rport", b"Via: SIP/2.0/UDP h;branch=b;x;received=192.0.2.7;rport=9"),
        (b"Via: SIP/2.0/UDP h;rport;branch=b;rport", b"Via: SIP/2.0/UDP h;branch=b;received=192.0.2.7;rport=9"),
        (b"Via: SIP/2.0/UDP h;branch=b;rport, SIP/2.0/UDP i;branch=c;rport", None),
        (b"Via: SIP/2.0/UDP h;branch=b;rport;received=1.1.1.1", None),
        (b"Via: SIP/2.0/UDP h;branch=b", b"Via: SIP/2.0/UDP h;branch=b;received=192.0.2.7"),
        (b"Via: SIP/2.0/UDP 192.0.2.7;branch=b", b"Via: SIP/2.0/UDP 192.0.2.7;branch=b"),
    ],
)
def test_via_says_where_the_request_came_from(line: bytes, stamped: bytes | None) -> None:
    """RFC 3581 §4, in the usual spelling and in others; what follows the first value stays."""
    data = REQUEST.replace(b"Via: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b", line)
    message = parse_message(data, Limits())
    stamp_top_via(message, Address("192.0.2.7", 9))
    usual = b"Via: SIP/2.0/UDP h;branch=b;received=192.0.2.7;rport=9"
    assert message.lines[0] == (
        usual + line.partition(b"rport")[2].removeprefix(b";received=1.1.1.1") if stamped is None else stamped
    )
    assert message.lines[1:] == parse_message(REQUEST, Limits()).lines[1:]


@given(st.text(max_size=40))
def test_quoted_text_is_one_quoted_string_in_one_line(text: str) -> None:
    """§25.1: whatever a peer wrote, it can end neither the string nor the line."""
    quoted = quote(text)
    assert quoted[0] == quoted[-1] == '"'
    inner = quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in inner
    assert "\\" not in inner
    assert quoted.isprintable()


if HAS_JOINED:
    from edge_proxy.sip._joined import joined
needs_joined = pytest.mark.needs(HAS_JOINED, "_joined is not built here (no compiler): make engine")
line_lists = st.lists(st.binary(max_size=40), max_size=12)


@needs_joined
@given(st.binary(max_size=60), line_lists, line_lists | line_lists.map(tuple), st.binary(max_size=200))
def test_message_is_joined_the_same_with_and_without_the_module(
    start_line: bytes, begin: list[bytes], lines: list[bytes] | tuple[bytes, ...], body: bytes
) -> None:
    """Every line ends in CRLF, the head in an empty line."""
    assert joined(start_line, begin, lines, body) == join_plainly(start_line, begin, lines, body)


@needs_joined
@pytest.mark.needs(HAS_FAILING_MEMORY, "this Python has no _testcapi")
def test_without_memory_nothing_is_joined() -> None:
    whole = join_plainly(b"a", (b"b" * 300,) * 3, [b"c" * 300], b"")
    assert fail_each_allocation(lambda: joined(b"a", (b"b" * 300,) * 3, [b"c" * 300], b""), whole, 20) > 0


@needs_joined
def test_what_is_no_bytes_is_not_joined() -> None:
    """In C nobody else would look."""
    with pytest.raises(TypeError):
        joined(b"", [], [1], b"")  # type: ignore[list-item]
    with pytest.raises(TypeError):
        joined(b"", [], iter([]), b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        joined("", [], [], b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        joined(b"", [], [])  # type: ignore[call-arg]
