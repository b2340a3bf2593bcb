"""What a proxy changes in a request and a response on the way through (RFC 3261 §16.4, §16.6, §16.7)."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.routing.forward import (
    OwnUris,
    RouteRecord,
    forwarded_request,
    forwarded_response,
    preprocess_routes,
    retarget,
    turn_into_500,
    via_line,
)
from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import HeaderLine, Message
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.uri import parse_uri
from edge_proxy.sip.via import parse_via
from tests.kit.hostile_bytes import CALL, mutated
from tests.kit.messages import answer, request, values

CUSTOMERS = Listener(0, Side.CUSTOMERS, Transport.UDP, Address("192.0.2.1", 5060))
CARRIERS = Listener(1, Side.CARRIERS, Transport.TCP, Address("2001:db8::2", 5070))
OWN = OwnUris([CUSTOMERS, CARRIERS])
ANSWERS = [
    answer(CALL[0], 183, "Server: b", "Contact: <sip:b@far>"),
    answer(CALL[0], 200).replace(b"Via: ", b"Via: SIP/2.0/UDP us;branch=z9hG4bKours, "),
]


def parsed(data: bytes) -> Message:
    return parse_message(data, Limits())


def routed(uri: str, *routes: str, has_target: bool = False) -> tuple[str, tuple[str, ...] | None, str, bytes | None]:
    """Request-URI, Route values, next hop's host and token after preprocessing."""
    found = preprocess_routes(parsed(request("INFO", uri, routes=routes)), OWN, has_target=has_target)
    left = None if found.routes is None else tuple(route.decode() for route in found.routes)
    return found.request_uri.decode(), left, found.next_hop.host, found.token


OURS = "<sip:192.0.2.1;lr;ep=T>"
OURS_TOO = "<sip:[2001:db8::2]:5070;transport=tcp;lr;ep=T>"
AS_RECORDED = "<sip:192.0.2.1:5060;lr;ep=T>"


@pytest.mark.parametrize(
    ("uri", "routes", "expected"),
    [
        ("sip:b@far", (), ("sip:b@far", None, "far", None)),
        ("sip:b@far", ("<sip:p;lr>",), ("sip:b@far", None, "p", None)),
        ("sip:b@far", (OURS,), ("sip:b@far", (), "far", b"T")),
        ("sip:b@far", (OURS, OURS_TOO), ("sip:b@far", (), "far", b"T")),
        ("sip:b@far", (f"{OURS}, {OURS_TOO}, <sip:p;lr>",), ("sip:b@far", ("<sip:p;lr>",), "p", b"T")),
        ("sip:b@far", ("<sip:192.0.2.1:5060;lr>",), ("sip:b@far", (), "far", None)),
        ("sip:b@far", ("<sip:192.0.2.1:5061;lr>",), ("sip:b@far", None, "192.0.2.1", None)),
        # through us twice: the second passage has a token of its own
        ("sip:b@far", (OURS, OURS.replace("=T", "=U")), ("sip:b@far", (OURS.replace("=T", "=U"),), "192.0.2.1", b"T")),
        # spelt as our Record-Route is
        ("sip:b@far", (AS_RECORDED, OURS_TOO), ("sip:b@far", (), "far", b"T")),
        ("sip:b@far", (f"{AS_RECORDED}, {OURS_TOO}",), ("sip:b@far", (), "far", b"T")),
        ("sip:b@far", (AS_RECORDED, "<sip:p;lr>", OURS_TOO), ("sip:b@far", ("<sip:p;lr>", OURS_TOO), "p", b"T")),
        (
            "sip:b@far",
            (OURS_TOO, OURS_TOO.replace("=T", "=U")),
            ("sip:b@far", (OURS_TOO[:-2] + "U>",), "2001:db8::2", b"T"),
        ),
        # strict routers, before and after us
        ("sip:192.0.2.1;lr;ep=T", ("<sip:b@far>",), ("sip:b@far", (), "far", b"T")),
        ("sip:192.0.2.1;lr;ep=T", (OURS_TOO, "<sip:b@far>"), ("sip:b@far", (), "far", b"T")),
        ("sip:b@far", (OURS, "<sip:s>"), ("sip:s", ("<sip:b@far>",), "s", b"T")),
        ("sip:b@far", ("<sip:s>", "<sip:p;lr>"), ("sip:s", ("<sip:p;lr>", "<sip:b@far>"), "s", None)),
    ],
)
def test_routes_are_taken_out_and_the_next_hop_found(
    uri: str, routes: tuple[str, ...], expected: tuple[str, tuple[str, ...] | None, str, bytes | None]
) -> None:
    """§16.4, §16.6 steps 6 and 7; None: the Route lines leave as they came."""
    assert routed(uri, *routes) == expected


def test_strict_routes_are_left_out_when_we_choose_the_next_hop() -> None:
    """§16.6 step 6: our target is a loose router, and who is called changes neither there nor behind it."""
    assert routed("sip:b@far", "<sip:s>", has_target=True)[:2] == ("sip:b@far", ())
    assert routed("sip:b@far", "<sip:p;lr>", "<sip:q;lr>", has_target=True)[:2] == ("sip:b@far", None)
    routes = [OURS, "<sip:p;lr>, <sip:s>", "<sip:q;lr>", "<sip:s@s>;lr", "<nonsense;lr>", "<sip:s;lr", "sip:s;lr"]
    found = preprocess_routes(parsed(request("INFO", "sip:b@far", routes=routes)), OWN, has_target=True)
    assert (found.request_uri, found.routes) == (b"sip:b@far", (b"<sip:p;lr>", b"<sip:q;lr>"))
    assert found.called == parse_uri(b"sip:b@far")


@pytest.mark.parametrize(
    ("uri", "routes"),
    [
        ("no-uri", ()),
        ("sip:b@far?Subject=x", ()),
        ("sip:b@far", ("nonsense",)),
        ("sip:192.0.2.1;lr;ep=T", ("<nonsense>",)),
        ("sip:b@far", (OURS, '"x <sip:p;lr>')),
    ],
)
def test_unreadable_way_is_refused(uri: str, routes: tuple[str, ...]) -> None:
    """§16.3 step 1: these are parts that forwarding uses."""
    with pytest.raises(RemoteProtocolError):
        routed(uri, *routes)


def test_more_routes_than_there_can_be_hops_are_refused_unread() -> None:
    """Max-Forwards begins at 70 (§8.1.1.6)."""
    assert routed("sip:b@far", *["<sip:p;lr>"] * 70)
    with pytest.raises(RemoteProtocolError, match="more than 70 Routes") as refused:
        routed("sip:b@far", *[OURS] * 71)
    assert refused.value.sip_status == 513
    assert routed("sip:b@far", *[AS_RECORDED] * 70)
    with pytest.raises(RemoteProtocolError, match="more than 70 Routes"):
        routed("sip:b@far", *[AS_RECORDED] * 71)


@pytest.mark.parametrize(
    ("uri", "renamed"),
    [
        (b"sip:+1202@192.0.2.1:5060", b"sip:+1202@203.0.113.1:5090"),
        (b"sip:+1202;npdi@192.0.2.1;user=phone", b"sip:+1202;npdi@203.0.113.1:5090;user=phone"),
        (b"sip:a@h;transport=tcp;x=y;maddr=1.2.3.4;lr", b"sip:a@h2;x=y;lr".replace(b"h2", b"203.0.113.1:5090")),
        (b"sip:192.0.2.1", b"sip:203.0.113.1:5090"),
    ],
)
def test_request_uri_is_renamed_to_the_target(uri: bytes, renamed: bytes) -> None:
    """§16.5: the user and its parameters stay; transport and maddr were ours."""
    assert retarget(uri, b"203.0.113.1:5090") == renamed


def test_request_uri_renamed_to_ipv6_has_brackets() -> None:
    """RFC 3261 §19.1.1."""
    assert retarget(b"sip:a@h", b"[2001:db8::1]:5060") == b"sip:a@[2001:db8::1]:5060"


def test_own_via_is_read_back_as_ours() -> None:
    """§18.1.2."""
    for listener in (CUSTOMERS, CARRIERS):
        via = parse_via(via_line(listener, b"z9hG4bKx").partition(b": ")[2])
        assert OWN.has_sent(via)
        assert via.transport == listener.transport.value.upper().encode()
        assert via.rport == b""
    assert not OWN.has_sent(parse_via(b"SIP/2.0/UDP 192.0.2.1:5061;branch=x"))


def test_record_route_shows_each_side_its_own_address() -> None:
    """RFC 5658 §5.1: the egress side on top, with its transport where it is not UDP."""
    assert RouteRecord(CUSTOMERS, b"T").lines(CARRIERS) == [
        b"Record-Route: <sip:[2001:db8::2]:5070;transport=tcp;lr;ep=T>",
        b"Record-Route: <sip:192.0.2.1:5060;lr;ep=T>",
    ]


def test_nothing_but_what_must_change_changes() -> None:
    """§16.6: Via and Record-Route in front, one hop less, our Routes out; odd lines and the body as they came."""
    data = request("INVITE", "sip:b@far", "X-Odd:\r\n\tfolded", "date: whenever", routes=[OURS], body="v=0")
    message = parsed(data)
    found = preprocess_routes(message, OWN)
    sent = forwarded_request(message, found, b"Via: SIP/2.0/UDP us;branch=x", [b"Record-Route: <sip:us;lr>"])
    expected = data.replace(f"Route: {OURS}\r\n".encode(), b"").replace(b"Max-Forwards: 70", b"Max-Forwards: 69")
    start, _, rest = expected.partition(b"\r\n")
    assert sent == start + b"\r\nVia: SIP/2.0/UDP us;branch=x\r\nRecord-Route: <sip:us;lr>\r\n" + rest
    assert parsed(data).lines == message.lines


def test_response_loses_our_via_and_nothing_else() -> None:
    """§16.7 step 3, in a line of its own or in a list."""
    for joined in (False, True):
        data = request("INVITE", "sip:b@far", via="SIP/2.0/UDP us;branch=z9hG4bKours")
        response = answer(data, 200, "X-Odd: ;;,,")
        more = b", SIP/2.0/UDP a;branch=1" if joined else b"\r\nVia: SIP/2.0/UDP a;branch=1"
        response = response.replace(b"branch=z9hG4bKours", b"branch=z9hG4bKours" + more)
        passed = forwarded_response(parsed(response))
        assert values(passed, "Via") == ["SIP/2.0/UDP a;branch=1"]
        assert values(passed, "X-Odd") == [";;,,"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated(ANSWERS))
def test_response_cut_from_what_came_is_the_one_joined_from_its_lines(data: bytes) -> None:
    try:
        response = parsed(data)
    except MalformedMessageError:
        return
    if response.first[grammar.VIA] < 0:
        return
    passed = forwarded_response(response)
    response.received = b""
    assert forwarded_response(response) == passed


def test_response_that_was_changed_leaves_as_it_was_changed() -> None:
    """Whatever changes a line or the body, what came is no longer what leaves."""
    data = answer(request("INVITE", "sip:b@far"), 503, "Retry-After: 3", "Contact: <sip:b@far>")
    joined = b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(b"Via:"))
    assert forwarded_response(parsed(data)) == joined
    response = parsed(data)
    response.add_line(HeaderLine(grammar.OTHER, b"X: y"))
    assert b"\r\nX: y\r\n" in forwarded_response(response)
    response = parsed(data)
    response.replace_line(response.first[grammar.CONTACT], b"Contact: <sip:c@far>")
    assert forwarded_response(response) == joined.replace(b"sip:b@far>\r\nContent", b"sip:c@far>\r\nContent")
    response = parsed(data)
    response.remove_lines([response.first[grammar.CONTACT]])
    assert b"Contact" not in forwarded_response(response)
    response = parsed(data)
    turn_into_500(response)
    passed = forwarded_response(response)
    assert passed.startswith(b"SIP/2.0 500 ")
    assert b"Retry-After" not in passed
    assert forwarded_response(parsed(data + b"behind Content-Length")) == joined


@pytest.mark.parametrize(
    ("others", "left"),
    [
        (b",\r\n SIP/2.0/UDP a;branch=1", b"SIP/2.0/UDP a;branch=1"),
        (b" ,SIP/2.0/UDP a;branch=1 , SIP/2.0/UDP b", b"SIP/2.0/UDP a;branch=1 , SIP/2.0/UDP b"),
        (b', SIP/2.0/UDP a;x="b, c"', b'SIP/2.0/UDP a;x="b, c"'),
        (b';x="b, c", SIP/2.0/UDP a', b"SIP/2.0/UDP a"),
        (b';x="b, c"', None),
    ],
)
def test_vias_behind_ours_stay_as_they_are_written(others: bytes, left: bytes | None) -> None:
    """§16.7 step 3: what stands behind the first comma that is none of a quoted string."""
    data = answer(request("INVITE", "sip:b@h", via="SIP/2.0/UDP us;branch=z9hG4bKours"), 200)
    passed = forwarded_response(parsed(data.replace(b"branch=z9hG4bKours", b"branch=z9hG4bKours" + others)))
    vias = [line for line in passed.split(b"\r\n") if line.startswith(b"Via:")]
    assert vias == ([] if left is None else [b"Via: " + left])


@pytest.mark.parametrize(
    ("route", "token"),
    [
        (b"<sip:192.0.2.1:5060;lr;ep=T-_9>", b"T-_9"),
        (b"<sip:[2001:db8::2]:5070;transport=tcp;lr;ep=T>", b"T"),
        (b"<sip:[2001:db8::2]:5070;lr;ep=T>", b""),
        (b"<sip:192.0.2.1;lr;ep=T>", b""),
        (b"<sip:192.0.2.9:5060;lr;ep=T>", b""),
        (b"<sip:192.0.2.1:5060;lr;ep=T;er=U>", b""),
        (b"<sip:192.0.2.1:5060;lr;ep=T>;x", b""),
        (b"<sip:192.0.2.1:5060;lr;ep=>", b""),
        (b"<sip:192.0.2.1:5060;lr;ep=T", b""),
    ],
)
def test_route_as_we_write_it_is_known_without_being_read(route: bytes, token: bytes) -> None:
    """Any other spelling of our own address is read as a URI."""
    assert OWN.token_in(route) == token


def test_routes_are_taken_out_wherever_they_stand() -> None:
    """Together or apart, before or behind Max-Forwards."""
    lines = ["Route: <sip:192.0.2.1;lr;ep=T>", "Max-Forwards: 9", "Subject: s", "Route: <sip:p;lr>"]
    for order in permutations(lines):
        data = request("INFO", "sip:b@far", *order, max_forwards=None)
        message = parsed(data)
        found = preprocess_routes(message, OWN)
        out = parsed(forwarded_request(message, found, via_line(CARRIERS, b"z9hG4bKx")))
        assert out.values(grammar.MAX_FORWARDS) == [b"8"]
        ours_first = order.index(lines[0]) < order.index(lines[3])
        assert (
            out.values(grammar.ROUTE) == [b"<sip:p;lr>"] if ours_first else [b"<sip:p;lr>", b"<sip:192.0.2.1;lr;ep=T>"]
        )
        assert b"Subject: s" in out.lines
        assert len(out.lines) == len(message.lines) + (0 if ours_first else 1)
