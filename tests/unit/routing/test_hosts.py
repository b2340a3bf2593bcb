"""Hosts are taken out of what can be read, and what cannot be read is left out or left alone, never guessed at."""

from __future__ import annotations

import pytest

from edge_proxy.routing import hosts


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (b"sip:a@10.0.0.1", b"sip:a@us"),
        (b"sip:a@10.0.0.1:5062;user=phone", b"sip:a@us;user=phone"),
        (b"SIP:+1;npdi=yes:pw@pbx.acme.internal;maddr=10.0.0.1;lr?Subject=x", b"SIP:+1;npdi=yes:pw@us;lr?Subject=x"),
        (b"sips:[2001:db8::1]:5061", b"sips:us"),
        (b"sip:pbx", b"sip:us"),
        (b"tel:+12025550100;phone-context=acme.internal", b"tel:+12025550100;phone-context=acme.internal"),
        (b"sip:anonymous@anonymous.invalid", b"sip:anonymous@anonymous.invalid"),
        (b"sip:a@b c", b"sip:a@b c"),
        (b"urn:service:sos", b"urn:service:sos"),
    ],
)
def test_with_host_changes_the_host_of_a_sip_uri_alone(uri: bytes, expected: bytes) -> None:
    """User, parameters and headers stay; maddr and the port go with the host; other schemes and .invalid stay."""
    assert hosts.with_host(uri, b"us") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'"sip:a@b" <sip:a@b>;tag=1', b'"sip:a@b" <sip:a@us>;tag=1'),
        (b"sip:a@b;tag=1", b"sip:a@us;tag=1"),
        (b"<sip:a@b>, <tel:+1>", b"<sip:a@us>, <tel:+1>"),
        (b'"x, y" <sip:a@b>, <sip:c@d>', b'"x, y" <sip:a@us>, <sip:c@us>'),
        (b"<sip:a@b, <sip:c@d>", b""),
        (b'"open <sip:a@b>;x', b'"open <sip:a@us>;x'),
        (b"a@b <sip:a@b>", b"a@b <sip:a@us>"),
        (b"<sip:a@b", b""),
    ],
)
def test_map_uris_reaches_every_address_of_a_list(value: bytes, expected: bytes) -> None:
    """Also when the display name reads like the URI or is not quoted; what cannot be read is left out."""
    assert hosts.map_uris(value, lambda uri: hosts.with_host(uri, b"us")) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (b";q=0.5;expires=60", b";q=0.5;expires=60"),
        (b' ; isfocus ; audio="TRUE"', b';isfocus;audio="TRUE"'),
        (b';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"', None),
        (b';pub-gruu="sip:a@10.0.0.1";reg-id=1', b";reg-id=1"),
        (b";host=10.0.0.1;name=pbx.acme.internal;v6=[2001:db8::1]", b""),
    ],
)
def test_harmless_params_are_those_that_cannot_be_hosts(params: bytes, expected: bytes | None) -> None:
    """q, expires, flags and an instance's UUID go on; whatever looks like a host or an address does not."""
    assert hosts.harmless_params(params) == (params if expected is None else expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"X: 10.0.0.1", b"X: us"),
        (b"X: <sip:10.0.0.1:5060>;a=10.0.0.1.", b"X: <sip:us:5060>;a=us."),
        (b"X: 110.0.0.1 10.0.0.11 10.0.0.1.5 v10.0.0.1", b"X: 110.0.0.1 10.0.0.11 10.0.0.1.5 v10.0.0.1"),
        (b"X: PBX.Acme.Internal, a.b.pbx.acme.internal", b"X: us, us"),
        (b"X: notpbx.acme.internal.example", b"X: notpbx.acme.internal.example"),
        (b"X: [2001:db8::1]:5060 2001:DB8::1 2001:db8::12", b"X: us:5060 us 2001:db8::12"),
        (b"X: sbc", b"X: sbc"),
    ],
)
def test_without_hosts_takes_whole_hosts_only(line: bytes, expected: bytes) -> None:
    """Any case, with their sub-domains; not a part of another host, and not a bare word."""
    secrets = [b"10.0.0.1", b"pbx.acme.internal", b"2001:db8::1", b"sbc"]
    assert hosts.without_hosts(line, secrets, b"us") == expected


def test_hosts_in_vias_are_all_that_a_via_names() -> None:
    """Sent-by, received and maddr, of every value; one that cannot be read names nothing."""
    vias = [
        b"SIP/2.0/UDP Proxy.acme:5060;branch=z9hG4bK1;received=10.0.0.1, SIP/2.0/TCP [2001:db8::1];maddr=10.0.0.2",
        b"nonsense",
    ]
    assert hosts.hosts_in_vias(vias) == {b"proxy.acme", b"10.0.0.1", b"2001:db8::1", b"10.0.0.2"}


def test_hosts_in_addresses_are_those_of_sip_uris() -> None:
    """In any case and without brackets; a star or a tel URI has none."""
    found = hosts.hosts_in_addresses([b'"a" <sip:a@PBX.acme>, <sips:[2001:db8::1]:5061;lr>', b"*", b"<tel:+1>", b"<x"])
    assert found - {b""} == {b"pbx.acme", b"2001:db8::1"}


def test_warnings_are_given_by_us() -> None:
    """The agent of each warning is replaced, its code and text stay (RFC 3261 §20.43)."""
    line = b'Warning: 399 sbc-7 "a, 5 b", 370 10.0.0.1:5060 "c"'
    assert hosts.with_warn_agent(line, b"198.51.100.5") == (b'Warning: 399 198.51.100.5 "a, 5 b", 370 198.51.100.5 "c"')
