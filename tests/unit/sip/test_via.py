"""Via: where an answer goes, however the value is spelt, and that no bytes make its readers stumble."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import via as vias
from edge_proxy.sip.via import parse_via, readable_via, response_address, stamp_via
from tests.kit.header_values import outcome, usual_pieces

SOURCE = Address("198.51.100.10", 5062)


def test_via_is_read_with_everything_a_response_needs() -> None:
    """§20.42, RFC 3581."""
    via = parse_via(b"SIP / 2.0 / udp Host.example : 5070 ;branch=z9hG4bKx;RPORT;maddr=1.2.3.4;received=[::1];x")
    assert (via.transport, via.host, via.port) == (b"UDP", b"Host.example", 5070)
    assert (via.branch, via.rport, via.received, via.maddr) == (b"z9hG4bKx", b"", b"[::1]", b"1.2.3.4")
    assert via.sent_by == b"host.example:5070"
    assert parse_via(b"SIP/2.0/TCP [2001:DB8::1]").sent_by == b"[2001:db8::1]"


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b"SIP/2.0/UDP",
            b"SIP/2.0/UDP  ",
            b"SIP/3.0/UDP a",
            b"SIP/2.0 a",
            b"SIP/2.0/UDP a:b",
            b"SIP/2.0/UDP a:0",
        ),
        *(
            b"SIP/2.0/UDP a:65536",
            b"SIP/2.0/UDP a;;x",
            b"SIP/2.0/UDP a;x y",
            b"SIP/2.0/UDP 2001:db8::1",
            b"SIP/2.0/UDP a b",
        ),
        *(b"SIP/2.0/UDP a;branch=<>", b'SIP/2.0/UDP a;x="', b"SIP/2.0/UDP a:123456"),
    ],
)
def test_malformed_via_is_refused(value: bytes) -> None:
    """Every part of Via is used: nothing of it may be guessed."""
    with pytest.raises(RemoteProtocolError, match=r"^Via "):
        parse_via(value)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"SIP/2.0/UDP 192.0.2.15;;,;,,", b"192.0.2.15", None),
        (b"SIP/7.0/UDP c.example.com:5070;branch=x", b"c.example.com", 5070),
        (b"SIP/2.0/UDP a:123456", b"a", None),
        (b"SIP/2.0/UDP a:0;x y", b"a", None),
    ],
)
def test_refused_via_still_says_where_its_answer_goes(value: bytes, host: bytes, port: int | None) -> None:
    """A request with a bad Via can be told so as long as its sent-by is readable."""
    via = readable_via(value)
    assert via is not None
    assert (via.host, via.port) == (host, port)
    stamped = stamp_via(value, via, SOURCE)
    assert b";received=198.51.100.10" in stamped
    assert stamped.replace(b";received=198.51.100.10", b"") == value


def test_via_with_parameters_without_end_is_neither_read_nor_answered() -> None:
    """Reading them, and bringing them all back, would be the sender's to order."""
    value = b"SIP/2.0/UDP h.example" + b";a=b" * 99 + b";branch=x"
    assert parse_via(value).branch == b"x"
    with pytest.raises(RemoteProtocolError, match="more than 100 parameters"):
        parse_via(value + b";c")
    assert readable_via(value + b";c") is None


def test_via_with_escapes_without_end_is_neither_read_nor_answered() -> None:
    value = b'SIP/2.0/UDP h.example;branch=x;a="' + b"\\a" * 99
    assert parse_via(value + b'\\a"').branch == b"x"
    with pytest.raises(RemoteProtocolError, match="Via has more than 100 escapes"):
        parse_via(value + b'\\a\\a"')
    assert readable_via(value + b'\\a\\a"') is None


@pytest.mark.parametrize("value", [b"", b"x", b"SIP/2.0 host", b"a/b/c", b"SIP/2.0/UDP [x"])
def test_via_without_sent_by_is_unreadable(value: bytes) -> None:
    """Then there is nobody to answer."""
    assert readable_via(value) is None


@pytest.mark.parametrize(
    ("value", "stamped"),
    [
        (b"SIP/2.0/UDP 198.51.100.10:5060;branch=x", b"SIP/2.0/UDP 198.51.100.10:5060;branch=x"),
        (b"SIP/2.0/UDP h.example;branch=x", b"SIP/2.0/UDP h.example;branch=x;received=198.51.100.10"),
        (
            b"SIP/2.0/UDP 198.51.100.10;rport;branch=x",
            b"SIP/2.0/UDP 198.51.100.10;branch=x;received=198.51.100.10;rport=5062",
        ),
        (
            b"SIP/2.0/UDP 10.0.0.1;received=1.2.3.4;rport=99;branch=x",
            b"SIP/2.0/UDP 10.0.0.1;branch=x;received=198.51.100.10;rport=5062",
        ),
        (
            b"SIP/2.0/UDP 198.51.100.10;received=9.9.9.9;branch=x",
            b"SIP/2.0/UDP 198.51.100.10;branch=x;received=198.51.100.10",
        ),
        (
            b'SIP/2.0/UDP h ; a=1; B="x;received=y" ;Received=1.2.3.4;receivedx=2 ;ttl=1;rport ;c;maddr=[::1];d=[::2]',
            b'SIP/2.0/UDP h ; a=1; B="x;received=y";receivedx=2 ;ttl=1 ;c;maddr=[::1];d=[::2]'
            b";received=198.51.100.10;rport=5062",
        ),
    ],
)
def test_via_is_stamped_with_where_it_really_came_from(value: bytes, stamped: bytes) -> None:
    """RFC 3261 §18.2.1, RFC 3581 §4; a sender's own claim does not survive."""
    assert stamp_via(value, parse_via(value), SOURCE) == stamped


def test_stamped_via_of_ipv6_has_no_brackets() -> None:
    """RFC 5118 §4.5: received takes the bare address."""
    value = b"SIP/2.0/UDP [2001:db8::9];rport"
    assert stamp_via(value, parse_via(value), Address("2001:db8::7", 5)).endswith(b";received=2001:db8::7;rport=5")


NOBODY = [b"1.2.3.4.5", b"999.1.1.1", b"[::1::2]", b"::1%1", b"a:b.example", b"\xff:1", b"0.0.0.0", b"::", b"224.0.0.1"]
"""What looks like an address, and would be looked up, or is that of nobody or of many."""


@pytest.mark.parametrize(
    ("value", "source", "address"),
    [
        (b"SIP/2.0/UDP h.example:5070;rport", SOURCE, SOURCE),
        (b"SIP/2.0/UDP h.example:5070", SOURCE, Address("198.51.100.10", 5070)),
        (b"SIP/2.0/UDP h.example", SOURCE, Address("198.51.100.10", 5060)),
        (b"SIP/2.0/TLS h.example", SOURCE, Address("198.51.100.10", 5061)),
        (b"SIP/2.0/UDP h.example;received=1.2.3.4;rport=99", None, Address("1.2.3.4", 99)),
        (b"SIP/2.0/UDP 1.2.3.4", None, Address("1.2.3.4", 5060)),
        (b"SIP/2.0/UDP [2001:db8::1]:7", None, Address("2001:db8::1", 7)),
        (b"SIP/2.0/UDP h.example", None, None),
        (b"SIP/2.0/TCP h.example;maddr=[2001:DB8:0::1]", None, Address("2001:db8::1", 5060)),
        *[(b"SIP/2.0/TCP h.example;received=" + host, None, None) for host in NOBODY],
        (b"SIP/2.0/TCP 1.2.3.4;rport=0", None, None),
        (b"SIP/2.0/TCP 1.2.3.4;rport=70000", None, None),
        (b"SIP/2.0/TCP 1.2.3.4:5070;rport=" + b"9" * 5000, None, Address("1.2.3.4", 5070)),
    ],
)
def test_response_goes_where_the_request_came_from(value: bytes, source: Address | None, address: Address) -> None:
    """RFC 3261 §18.2.2, RFC 3581 §4."""
    assert response_address(parse_via(value), source) == address


@given(
    st.sampled_from([b"UDP a.example", b"TCP [::1]:5070", b"TLS 192.0.2.1:0", b"udp  a", b"UDP a:70000"]), usual_pieces
)
def test_usual_via_means_what_it_means_in_any_other_spelling(sender: bytes, params: bytes) -> None:
    """The parameter that is added keeps the value from being read in the quick way, and says nothing."""
    value = (b"SIP/2.0/" + sender + params).strip()
    if params.count(b'"') & 1 or b" " in params:
        return  # there it would be part of something else
    among_others = value + b';x=""'
    assert outcome(lambda: parse_via(value)) == outcome(lambda: parse_via(among_others))
    via = readable_via(value)
    if via is not None:
        stamped = stamp_via(among_others, via, SOURCE)
        assert stamp_via(value, via, SOURCE) == stamped.replace(b';x=""', b"")


def test_few_senders_are_remembered() -> None:
    """Peers that name themselves otherwise in every Via, or at length, do not fill our memory."""
    for number in range(1000):
        parse_via(b"SIP/2.0/UDP h%d;branch=x" % number)
        parse_via(b"SIP/2.0/UDP %s%d;branch=x" % (b"h" * 200, number))
    assert 0 < len(vias._senders) <= 64
    assert sum(map(len, vias._senders)) < 6000
    assert max(sent.length for sent in vias._latest if sent is not None) < 100
    vias.forget_senders()
    assert not vias._senders
    assert vias._latest == [None] * 16


def test_senders_that_share_a_place_are_told_apart() -> None:
    """All of what a Via begins with is compared, and the semicolon behind it."""
    for _ in range(2):
        for host in (b"192.0.2.11:5060", b"192.0.2.11:5061", b"192.0.2.11:506", b"192.0.2.11", b"192.0.2.110"):
            via = parse_via(b"SIP/2.0/UDP %s;branch=z9hG4bK1;rport" % host)
            assert (via.sent_by, via.branch, via.rport) == (host, b"z9hG4bK1", b"")
            assert parse_via(b"SIP/2.0/UDP %s" % host).sent_by == host


def test_via_of_many_parameters_that_begin_like_ours_is_read_and_stamped_like_one_of_few() -> None:
    begin = b"SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa"
    others = b"".join(b";rpor%d=x;recei=%d" % (number, number) for number in range(12))
    value = begin + b";Received=10.9.9.9" + others + b";rport"
    via = parse_via(value)
    assert (via.branch, via.rport, via.received) == (b"z9hG4bKa", b"", b"10.9.9.9")
    stamped = stamp_via(value, via, Address("192.0.2.1", 6000))
    assert stamped == begin + others + b";received=192.0.2.1;rport=6000"
