"""Which address and transport a URI names, and what DNS is to be asked where it names none (RFC 3263 §4)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.routing.names import NO_NAMES, Endpoint, NameQuery, Names
from edge_proxy.routing.targets import Egress, Target, name_query, numeric_address, transport_of
from edge_proxy.sip.uri import parse_uri

UDP = Listener(0, Side.CUSTOMERS, Transport.UDP, Address("192.0.2.1", 5060))
TCP = Listener(1, Side.CUSTOMERS, Transport.TCP, Address("192.0.2.1", 5060))
FAR = Listener(2, Side.CARRIERS, Transport.UDP, Address("192.0.2.2", 5070))


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        (b"sip:203.0.113.1", Address("203.0.113.1", 5060)),
        (b"sip:x@203.0.113.1:5090", Address("203.0.113.1", 5090)),
        (b"sips:203.0.113.1", Address("203.0.113.1", 5061)),
        (b"sip:203.0.113.1;transport=tls", Address("203.0.113.1", 5061)),
        (b"sip:203.0.113.1;transport=TCP", Address("203.0.113.1", 5060)),
        (b"sip:[2001:DB8:0::1]:5070", Address("2001:db8::1", 5070)),
        (b"sip:far.example;maddr=203.0.113.7", Address("203.0.113.7", 5060)),
        (b"sip:far.example;maddr=[2001:db8::7]", Address("2001:db8::7", 5060)),
    ],
)
def test_numeric_host_is_an_address(uri: bytes, address: Address) -> None:
    """In its canonical form, with the port of its transport where it names none (§4.2)."""
    assert numeric_address(parse_uri(uri)) == address


@pytest.mark.parametrize(
    "uri",
    [
        *(b"sip:[:::1]", b"sip:[1::2::3]", b"sip:[1:2:3:4:5:6:7:8:9]", b"sip:[::1.2.3]", b"sip:256.1.1.1"),
        *(b"sip:01.1.1.1", b"sip:1.1.1", b"sip:1.1.1.1.", b"sip:0.0.0.0", b"sip:224.0.1.75", b"sip:[ff02::1]"),
        *(b"sip:255.255.255.255", b"sip:[::]", b"sip:x.example;maddr=fe80::1%25lo"),
    ],
)
def test_what_is_no_peers_address_is_neither_sent_to_nor_looked_up(uri: bytes) -> None:
    """What only looks like an address, stands for many or for nobody, is no place to send to; DNS is not asked."""
    assert numeric_address(parse_uri(uri)) is None
    assert name_query(parse_uri(uri), Side.CARRIERS) is None


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        (b"sip:far.example", NameQuery("far.example", None, None, Side.CARRIERS)),
        (b"sip:FAR.example.:5090", NameQuery("far.example", 5090, None, Side.CARRIERS)),
        (b"sip:far.example;transport=tcp", NameQuery("far.example", None, Transport.TCP, Side.CARRIERS)),
        (b"sips:far.example", NameQuery("far.example", None, Transport.TLS, Side.CARRIERS)),
        (b"sip:1.2.3.4;maddr=other.example", NameQuery("other.example", None, None, Side.CARRIERS)),
        (b"tel:+12025550100", None),
        (b"sip:203.0.113.1", None),
    ],
)
def test_name_is_looked_up_with_what_its_uri_settles(uri: bytes, query: NameQuery | None) -> None:
    """§4.1, §4.2: a port or a transport in the URI decides what is asked."""
    assert name_query(parse_uri(uri), Side.CARRIERS) == query


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        (b"sip:a", Transport.UDP),
        (b"sip:a;transport=sctp", Transport.UDP),
        (b"sip:a;transport=Tcp", Transport.TCP),
        (b"sips:a;transport=tcp", Transport.TLS),
        (b"sip:a;transport=tls", Transport.TLS),
    ],
)
def test_transport_is_the_one_the_uri_asks_for(uri: bytes, transport: Transport) -> None:
    """§4.1 without NAPTR."""
    assert transport_of(parse_uri(uri)) is transport


def test_egress_prefers_the_transport_and_falls_back_to_the_first() -> None:
    """A side without such a listener sends by the one it has."""
    egress = Egress([UDP, TCP, FAR])
    assert egress.towards(Side.CUSTOMERS, Transport.TCP) is TCP
    assert egress.towards(Side.CUSTOMERS, Transport.TLS) is UDP
    assert egress.towards(Side.CARRIERS, Transport.TCP) is FAR
    assert egress.stream(Side.CUSTOMERS) is TCP
    assert egress.stream(Side.CARRIERS) is None


def test_target_is_where_its_address_or_its_name_says() -> None:
    """A name has no place until it is known."""
    fixed = Target("sip:203.0.113.1", Address("203.0.113.1", 5060))
    assert fixed.endpoints(NO_NAMES) == (Endpoint(Address("203.0.113.1", 5060), Transport.UDP),)
    query = NameQuery("far.example", None, None, Side.CARRIERS)
    named = Target("sip:far.example", None, query=query)
    known = Endpoint(Address("203.0.113.9", 5060), Transport.TCP)
    assert named.endpoints(NO_NAMES) == ()
    assert named.endpoints(Names({query: (known,)})) == (known,)
    assert Target("sip:x", None).endpoints(NO_NAMES) == ()
