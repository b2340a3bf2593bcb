"""Loops and spirals told apart by the mark in our own Vias, and Max-Breadth kept in bounds (RFC 5393)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.routing.branches import Branches
from edge_proxy.routing.forward import OwnUris
from edge_proxy.routing.loops import LoopMarks, bound_breadth, has_looped
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message

KEY = b"k" * 32
MARKS = LoopMarks(KEY)
OWN = OwnUris(
    [
        Listener(0, Side.CUSTOMERS, Transport.UDP, Address("192.0.2.1", 5060)),
        Listener(1, Side.CARRIERS, Transport.UDP, Address("2001:db8::1", 5070)),
    ]
)
PEER_VIA = b"SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKpeer"


def request(
    *vias: bytes,
    method: bytes = b"INVITE",
    uri: bytes = b"sip:+12025550100@192.0.2.1",
    routes: tuple[bytes, ...] = (),
    cseq: int = 1,
    extra: tuple[bytes, ...] = (),
) -> Message:
    lines = [method + b" " + uri + b" SIP/2.0"]
    lines += [b"Via: " + via for via in vias or (PEER_VIA,)]
    lines += [b"Route: " + route for route in routes]
    lines += [
        b"From: <sip:+13105550100@example.com>;tag=a",
        b"To: <sip:+12025550100@example.com>",
        b"Call-ID: loop@example.com",
        b"CSeq: %d %s" % (cseq, method),
        *extra,
        b"Content-Length: 0",
    ]
    return parse_message(b"\r\n".join((*lines, b"", b"")), Limits())


def own_via(branch: bytes) -> bytes:
    return b"SIP/2.0/UDP 192.0.2.1:5060;branch=" + branch + b";rport"


def test_mark_is_the_same_for_cancel_and_invite() -> None:
    """RFC 5393 §4.2.1: the second part never varies with the method."""
    assert MARKS.of(request(), b"x") == MARKS.of(request(method=b"CANCEL"), b"x")


@pytest.mark.parametrize(
    "changed",
    [
        request(uri=b"sip:+12025550199@192.0.2.1"),
        request(routes=(b"<sip:203.0.113.9;lr>",)),
        request(cseq=2),
    ],
    ids=["request-uri", "route", "cseq"],
)
def test_mark_changes_with_what_decides_the_way(changed: Message) -> None:
    """RFC 5393 §4.2.1: Request-URI and Routes make another mark; so does the next request of a dialog (§4.2.4)."""
    assert MARKS.of(changed, b"x") != MARKS.of(request(), b"x")


def test_mark_changes_with_the_party_a_request_came_from() -> None:
    """Side and party decide where we send a request, so coming back from another one is a spiral."""
    assert MARKS.of(request(), b"customers acme") != MARKS.of(request(), b"carriers carrier-a")


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("joined", [False, True], ids=["lines", "one-line"])
def test_loop_is_found_in_any_via(position: int, joined: bool) -> None:
    """RFC 5393 §4.2.2: every Via of ours is looked at, wherever it stands and however the lines are folded."""
    mark = MARKS.of(request(), b"x")
    vias = [PEER_VIA, PEER_VIA + b"2"]
    vias.insert(position, own_via(Branches(KEY).of(request(), b"key", 0, mark)))
    message = request(b",\r\n ".join(vias)) if joined else request(*vias)
    assert has_looped(message, mark, OWN)


def test_spiral_goes_on() -> None:
    """RFC 5393 §4.2.2: a Via of ours with another mark is a spiral, not a loop."""
    first = request(uri=b"sip:+12025550199@192.0.2.1")
    via = own_via(Branches(KEY).of(first, b"key", 0, MARKS.of(first, b"x")))
    again = request(PEER_VIA, via)
    assert not has_looped(again, MARKS.of(again, b"x"), OWN)


def test_mark_in_the_via_of_another_element_is_no_loop() -> None:
    """Only Vias with a sent-by of ours count: a node beside us with the same key is another element."""
    message = request()
    mark = MARKS.of(message, b"x")
    via = b"SIP/2.0/UDP 192.0.2.9:5060;branch=" + Branches(KEY).of(request(), b"key", 0, mark)
    assert not has_looped(request(PEER_VIA, via), mark, OWN)


def test_ipv6_via_of_ours_is_recognised() -> None:
    """A sent-by with an IPv6 reference is ours in either case of its digits."""
    message = request()
    mark = MARKS.of(message, b"x")
    via = b"SIP/2.0/UDP [2001:DB8::1]:5070;branch=" + Branches(KEY).of(request(), b"key", 0, mark)
    assert has_looped(request(PEER_VIA, via), mark, OWN)


@given(st.binary(max_size=60).filter(lambda text: not set(text) & set(b"\r\n\0")))
def test_unreadable_vias_of_others_are_passed_over(junk: bytes) -> None:
    """RFC 5393 §4.2.4: what others write into their Vias never makes the search fail."""
    mark = MARKS.of(request(), b"x")
    message = request(PEER_VIA, b"SIP/2.0/UDP host;" + junk + b"." + mark, PEER_VIA)
    assert not has_looped(message, mark, OWN)


@pytest.mark.parametrize(
    ("sent", "leaves"),
    [(None, b"60"), (b"60", b"60"), (b"1", b"1"), (b"61", b"60"), (b"4294967295", b"60")],
)
def test_max_breadth_is_added_kept_or_lowered(sent: bytes | None, leaves: bytes) -> None:
    """RFC 5393 §5.3.3: one without gets our maximum, a larger one is lowered, a smaller one is never touched."""
    message = request(extra=() if sent is None else (b"max-breadth: " + sent,))
    assert bound_breadth(message, 60)
    values = [line.partition(b":")[2].strip() for line in message.lines if line.lower().startswith(b"max-breadth")]
    assert values == [leaves]


def test_max_breadth_of_none_is_insufficient() -> None:
    """RFC 5393 §5.3.3: who may not even be forwarded once gets 440."""
    assert not bound_breadth(request(extra=(b"Max-Breadth: 0",)), 60)


@pytest.mark.parametrize("lines", [(b"Max-Breadth: many",), (b"Max-Breadth: -1",), (b"Max-Breadth: 1",) * 2])
def test_max_breadth_that_is_not_one_number_is_refused(lines: tuple[bytes, ...]) -> None:
    """A value we would have to act on and cannot read is the sender's error, named."""
    with pytest.raises(RemoteProtocolError, match="Max-Breadth"):
        bound_breadth(request(extra=lines), 60)
