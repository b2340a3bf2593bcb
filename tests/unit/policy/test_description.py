"""Who wrote a session description, and where its media goes: read in one pass over its lines (policy/traces.py)."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.policy.claims import from_claim, read_claim
from edge_proxy.policy.traces import MAX_MEDIA_HOSTS, Traces, forget_descriptions, read_description
from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import line_value
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from tests.kit.messages import invite

_LINES = re.compile(rb"[\r\n]([osc])=([^\r\n]{0,128})")
PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"o=", b"s=", b"c=", b"c=IN IP4 192.0.2.1", b"o=me 1 ",
     b"c=IN IP4 198.51.100.7/127", b"c=IN IP4 0.0.0.0", b"c=IN IP6 2001:db8::1", b"s=talk \t", b"=", b"a=b", b"x" * 130,
     b"c=IN IP4 " + b"1" * 200]
)  # fmt: skip
FROM_PIECES = st.sampled_from(
    [
        b"<",
        b">",
        b";",
        b"sip:",
        b"+12025550100",
        b"@x",
        b" ",
        b"\t",
        b'"',
        b"\\",
        b"tag=1",
        b"Bob",
        b"tel:",
        b",",
        b"\x0b",
    ]
)


def read(body: bytes) -> tuple[str, str, tuple[str, ...]]:
    traces = Traces()
    read_description(body, traces)
    return traces.sdp_origin, traces.sdp_session, traces.media_hosts


def expected(body: bytes) -> tuple[str, str, tuple[str, ...]]:
    """By a pattern, as the lines are defined: a line begins behind a CR or an LF and ends before one.

    The first of each kind, as far as they are read.
    """
    found: dict[bytes, list[bytes]] = {b"o": [], b"s": [], b"c": []}
    for kind, value in _LINES.findall(body):
        found[kind].append(value)
    origins = [value.partition(b" ")[0].decode("utf-8", "replace") for value in found[b"o"][:8]]
    sessions = [value.decode("utf-8", "replace").rstrip() for value in found[b"s"][:8]]
    words = [value.split() for value in found[b"c"][:32]]
    hosts = [three[2].partition(b"/")[0].decode("ascii", "replace") for three in words if len(three) == 3]
    hosts = [host for host in dict.fromkeys(hosts) if host not in ("", "0.0.0.0", "::")]
    return next(filter(None, origins), ""), next(filter(None, sessions), ""), tuple(hosts[:MAX_MEDIA_HOSTS])


@given(st.lists(PIECES | st.binary(max_size=4), max_size=40).map(b"".join))
def test_any_body_is_read_as_its_lines_are_defined(body: bytes) -> None:
    """Lines end with CRLF, CR or LF, and with no other byte that some call a line end."""
    assert read(body) == expected(body)


@given(
    st.lists(PIECES | st.sampled_from([b"\r\nm=audio 1 RTP/AVP 0", b"\r\ns=", b"\r\nc=IN IP4 192.0.2.1", b"\xc3\xa9"]))
)
def test_usual_description_is_read_as_its_lines_are_defined(pieces: list[bytes]) -> None:
    """What stands in front of the media is remembered, and what stands elsewhere still counts."""
    body = b"v=0\r\no=me 1 1 IN IP4 192.0.2.9\r\ns=-\r\nm=audio 1 RTP/AVP 0\r\n"
    for written in (body.replace(b"me 1", b"".join(pieces)), body.replace(b"-\r\n", b"".join(pieces))):
        assert read(written) == read(written) == expected(written)


def test_hosts_are_bounded_and_what_stands_behind_them_is_not_read() -> None:
    body = b"v=0" + b"".join(b"\r\nc=IN IP4 192.0.2.%d" % number for number in range(20)) + b"\r\ns=late"
    assert read(body) == ("", "", tuple(f"192.0.2.{number}" for number in range(MAX_MEDIA_HOSTS)))


def test_only_the_first_lines_of_a_kind_and_the_first_bytes_are_read() -> None:
    held, named = b"\r\nc=IN IP4 0.0.0.0", b"\r\nc=IN IP4 192.0.2.1"
    assert read(b"v=0" + held * 31 + named) == ("", "", ("192.0.2.1",))
    assert read(b"v=0" + held * 32 + named) == ("", "", ())
    assert read(b"v=0" + b"\r\no= \r\ns= " * 7 + b"\r\no=me\r\ns=talk") == ("me", "talk", ())
    assert read(b"v=0" + b"\r\no= \r\ns= " * 8 + b"\r\no=me\r\ns=talk") == ("", "", ())
    assert read(b"a" * (16_384 - len(named)) + named) == ("", "", ("192.0.2.1",))
    assert read(b"a" * 16_384 + named) == ("", "", ())


def test_description_within_a_multipart_is_read() -> None:
    sdp = b"v=0\r\no=me 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\n"
    body = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + sdp + b"--x--"
    assert read(body) == ("me", "-", ("192.0.2.9",))


@given(st.lists(FROM_PIECES, max_size=10).map(b"".join))
def test_from_is_read_to_the_same_claim_in_its_usual_form_and_any_other(value: bytes) -> None:
    """The short way, where nothing but a URI in brackets stands in front of the parameters, is only shorter."""
    line = b"From: " + value
    data = re.sub(rb"From: [^\r]*", lambda _: line, invite(), count=1)
    try:
        message = parse_message(data, Limits())
    except MalformedMessageError:
        return
    claim = from_claim(message, None)
    assert claim == read_claim(line_value(line), "From", None)
    assert message.headers[message.first[grammar.FROM]].raw == line


def test_what_is_remembered_may_be_forgotten() -> None:
    """Between two calls, whenever memory is given back."""
    body = b"v=0\r\no=me 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\n"
    before = read(body)
    forget_descriptions()
    assert read(body) == before == ("me", "-", ("192.0.2.9",))
