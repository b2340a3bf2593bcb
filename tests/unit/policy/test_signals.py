"""Each signal of where a call began: what gives it, what does not, and what they come to (policy/signals.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Asn, Side, Transport
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.numbers.emergency import emergency_plan
from edge_proxy.policy.facts import CallFacts, extract_facts
from edge_proxy.policy.fingerprints import Fingerprint, Fingerprints, Meaning, Place
from edge_proxy.policy.identity_policy import IdentityPolicy
from edge_proxy.policy.parties import Customer, Origin, Source, Trunk
from edge_proxy.policy.signals import weigh_ip_origin
from edge_proxy.policy.verdict import IpOrigin
from edge_proxy.policy.weights import DEFAULT_WEIGHTS, PSTN_AT, IpOriginPolicy, IpOriginTerms
from edge_proxy.policy.wildcard import Wildcard
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.isup_bodies import CALLING, iam, number_parameter, optional
from tests.kit.messages import FAR, OWNED, assemble, head_lines, invite
from tests.kit.passports import identity

KNOWN = Fingerprints(
    [
        Fingerprint(Place.AGENT, Wildcard("Cisco-SIPGateway/*"), Meaning.GATEWAY, "Cisco gateway"),
        Fingerprint(Place.AGENT, Wildcard("Quiet *"), Meaning.IGNORE, "quiet"),
        Fingerprint(Place.SDP_ORIGIN, Wildcard("Gateway_UAC"), Meaning.GATEWAY, "a gateway"),
        Fingerprint(Place.SDP_SESSION, Wildcard("SBC-Call"), Meaning.IP, "an SBC"),
    ]
)
POLICY = IpOriginPolicy(fingerprints=KNOWN)


def customer(terms: IpOriginTerms) -> Customer:
    return Customer(0, "acme", dial_plan("US"), emergency_plan("US"), ip_origin=terms)


def facts_of(data: bytes, terms: IpOriginTerms | None = None, asn: int = 0) -> CallFacts:
    message = parse_message(data, Limits())
    owner = None if terms is None else customer(terms)
    source = Source(Origin(Side.CUSTOMERS, owner, None, Asn(asn)), Address("198.51.100.10", 5060), Transport.UDP)
    return extract_facts(message, source, parse_uri(message.uri), dial_plan("US"))


def signals_of(data: bytes, terms: IpOriginTerms | None = None) -> list[str]:
    return [signal.name for signal in weigh_ip_origin(facts_of(data, terms), POLICY)[1]]


def shaken(level: str) -> str:
    return identity({"ppt": "shaken"}, {"attest": level, "orig": {"tn": OWNED[1:]}})


def with_body(content_type: str, body: bytes, from_: str = f"<sip:{OWNED}@x>;tag=1") -> bytes:
    head = [line for line in head_lines(invite(from_=from_)) if line and not line.startswith("Content-Length")]
    return assemble(head[0], [*head[1:], f"Content-Type: {content_type}"], body)


def sdp(connection: str = "198.51.100.10", origin: str = "-", session: str = "-") -> bytes:
    return (
        f"v=0\r\no={origin} 1 1 IN IP4 {connection}\r\ns={session}\r\nc=IN IP4 {connection}\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 0\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("P-Charge-Info: <sip:+12025550100@x>", ["charge_info"]),
        ("P-Charge-Info: <sip:+12025550100@x;npi=ISDN;noa=2>", ["charge_info_noa"]),
        ("p-charge-info: <sip:+12025550100@x>; NOA = 3", ["charge_info_noa"]),
        ("P-Early-Media: supported", ["early_media"]),
        ("Reason: Q.850;cause=16", ["q850_reason"]),
        ('Reason: SIP;cause=302, q.850;cause=1;text="x"', []),
        ("Reason: SIP;cause=200", []),
        ("P-Charging-Vector: icid-value=1;orig-ioi=home1.net", ["charging_vector"]),
        ("P-Charging-Vector: icid-value=1", []),
        ("User-Agent: Cisco-SIPGateway/IOS-12.x", ["gateway_fingerprint"]),
        ("Server: cisco-sipgateway/IOS-17.6.5", ["gateway_fingerprint"]),
        ("User-Agent: Quiet one", []),
        ("User-Agent: Yealink SIP-T46S 66.85.0.5", []),
        ("X-Nothing: tgrp=a;isup-oli=0", []),
    ],
)
def test_header_gives_its_signal(header: str, names: list[str]) -> None:
    """RFC 8496, RFC 5009, RFC 3326, RFC 7315 §5.6, and the names of equipment."""
    assert signals_of(invite(header)) == names


@pytest.mark.parametrize(
    ("from_", "names"),
    [
        (f"<sip:{OWNED}@x;isup-oli=00>;tag=1", ["isup_oli"]),
        (f"<sip:{OWNED};isup-oli=62@x;user=phone>;tag=1", ["isup_oli"]),
        (f"<sip:{OWNED};pstn-params=808481808882@x>;tag=1", ["pstn_params"]),
        (f"<tel:{OWNED};cpc=ordinary;oli=0>;tag=1", ["cpc", "oli"]),
        (f"<tel:{OWNED};cpc=payphone;oli=27>;tag=1", ["circuit_line", "cpc", "circuit_line", "oli"]),
        (f"<tel:{OWNED};cpc=Operator>;tag=1", ["circuit_line", "cpc"]),
        (f"<sip:{OWNED}@x;isup-oli=70>;tag=1", ["circuit_line", "isup_oli"]),
        (f"<sip:{OWNED}@x;pstn-params=27;cpc=27;isup-oli=270>;tag=1", ["pstn_params", "cpc", "isup_oli"]),
        (f"<sip:{OWNED}@x;user=phone>;tag=1", []),
        (f"<sip:{OWNED}@x;xcpc=1;isup-oli>;tag=1", []),
    ],
)
def test_parameter_of_the_caller_gives_its_signal(from_: str, names: list[str]) -> None:
    """Wherever in the URI it stands; and in P-Asserted-Identity as in From."""
    assert signals_of(invite(from_=from_)) == names
    asserted = f"P-Asserted-Identity: {from_.partition('>')[0]}>"
    assert signals_of(invite(asserted)) == names


def test_parameters_of_the_caller_beyond_any_use_are_no_signals() -> None:
    assert signals_of(invite(from_=f"<sip:{OWNED}@x{';oli=0' * 20}>;tag=1")) == ["oli"] * 16


@pytest.mark.parametrize(
    ("contact", "names"),
    [
        ("<sip:+12025550100;tgrp=local1;trunk-context=x.example@198.51.100.10>", ["trunk_group"]),
        ("<sip:+12025550100;TGRP=local1;Trunk-Context=+1-202@198.51.100.10>", ["trunk_group"]),
        ("<sip:+12025550100;tgrp=local1@198.51.100.10>", ["trunk_group_vendor"]),
        ("<sip:198.51.100.10;otg=T1;dtg=T2>", ["trunk_group_vendor"]),
        ("<sip:tg@198.51.100.10>", []),
    ],
)
def test_trunk_group_in_contact_gives_its_signal(contact: str, names: list[str]) -> None:
    """RFC 4904 §4: without its context a trunk group is not one of that RFC."""
    data = invite().replace(b"Contact: <sip:198.51.100.10:5060>", b"Contact: " + contact.encode())
    assert signals_of(data) == names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (iam(CALLING, forward=b"\x00\x00"), ["iam_network_number"]),
        (iam(CALLING, forward=b"\x20\x01"), ["iam_switched_throughout", "iam_isdn_access", "iam_network_number"]),
        (iam(forward=b"\x08\x00", category=0x0F), ["iam_interworking", "iam_category"]),
        (iam(optional(0xEA, b"\x3e"), forward=b"\x00\x00", is_ansi=True), ["iam_originating_line"]),
        (
            iam(optional(0x0A, number_parameter("4155550123", 3, 0x10)), forward=b"\x00\x00"),
            ["iam_number_differs"],
        ),
        (iam(optional(0x0A, number_parameter("4155550123", 3, 0x14)), forward=b"\x00\x00"), []),
        (
            iam(
                optional(0x0A, number_parameter("4155550123", 3, 0x11)),
                optional(0xC0, b"\x06" + number_parameter("2025550100", 3, 0x10)),
                forward=b"\x00\x00",
            ),
            ["iam_network_number"],
        ),
        (b"\x06\x00\x00", ["iam_unreadable"]),
    ],
)
def test_iam_gives_its_signals(content: bytes, names: list[str]) -> None:
    """Q.763; the number is compared with From by its nature, the one the caller gave itself counts too."""
    for base in ("", ";base=itu-t92+") if content[5:6] != b"\x03" or content[6:7] == b"\x02" else ("",):
        assert signals_of(with_body(f"application/ISUP{base}", content)) == ["body_isup", *names]


def test_session_description_gives_fingerprints_also_as_one_part_of_several() -> None:
    """RFC 8866 §5.2, §5.3: one signal for each place that is known."""
    described = sdp(origin="Gateway_UAC", session="SBC-Call")
    assert signals_of(with_body("application/sdp", described)) == ["gateway_fingerprint", "ip_fingerprint"]
    parts = b"--b\r\nContent-Type: application/sdp\r\n\r\n" + described + b"--b--\r\n"
    assert signals_of(with_body("multipart/mixed;boundary=b", parts)) == ["gateway_fingerprint", "ip_fingerprint"]


def test_equipment_is_approved_or_not_only_where_there_is_a_list() -> None:
    """customers[].equipment.approved; who says nothing is not on it."""
    terms = IpOriginTerms(approved_equipment=(Wildcard("Yealink *"), Wildcard("Acme SBC")))
    for agent, name in (
        ("Yealink SIP-T46S", "equipment_approved"),
        ("acme sbc", "equipment_approved"),
        ("Acme SBC 2", "equipment_unapproved"),
    ):
        assert signals_of(invite(f"User-Agent: {agent}"), terms) == [name]
        assert signals_of(invite(f"User-Agent: {agent}"), IpOriginTerms()) == []
    assert signals_of(invite(), terms) == ["equipment_unapproved"]


@pytest.mark.parametrize(
    ("owners", "asns", "names"),
    [
        ((True,), (64500,), ["media_in_network", "media_asn_agrees"]),
        ((True,), (64501,), ["media_in_network"]),
        ((False,), (64500,), ["media_asn_agrees"]),
        ((True, False), (64500, 0), []),
        ((), (), []),
    ],
)
def test_media_that_goes_where_the_customer_is(owners: tuple[bool], asns: tuple[int], names: list[str]) -> None:
    """All of it: one stream that goes elsewhere takes the hint away."""
    facts = facts_of(invite(), IpOriginTerms(), asn=64500)
    ours = facts.source.origin.customer
    facts.traces.media_origins = tuple(
        Origin(Side.CUSTOMERS, ours if is_ours else None, None, Asn(asn))
        for is_ours, asn in zip(owners, asns, strict=True)
    )
    assert [signal.name for signal in weigh_ip_origin(facts, POLICY)[1]] == names


def test_media_addresses_are_read_from_every_connection_line() -> None:
    """Each once; media on hold goes nowhere."""
    body = sdp() + b"c=IN IP4 203.0.113.5/127\r\nm=video 0 RTP/AVP 99\r\nc=IN IP4 0.0.0.0\r\nc=IN IP4 198.51.100.10\r\n"
    assert facts_of(with_body("application/sdp", body)).traces.media_hosts == ("198.51.100.10", "203.0.113.5")


@pytest.mark.parametrize(
    ("headers", "weights", "origin"),
    [
        ((), {}, IpOrigin.UNKNOWN),
        (("Reason: Q.850;cause=1", "P-Early-Media: gated"), {}, IpOrigin.UNKNOWN),
        (("Reason: Q.850;cause=1", "P-Early-Media: gated"), {"q850_reason": 49}, IpOrigin.PSTN),
        (("Reason: Q.850;cause=1", "Reason: Q.850;cause=2"), {"q850_reason": 49}, IpOrigin.UNKNOWN),
        (("Reason: Q.850;cause=1",), {"q850_reason": -50}, IpOrigin.IP),
        (("Reason: Q.850;cause=1",), {"q850_reason": 0}, IpOrigin.UNKNOWN),
        (("P-Access-Network-Info: GSTN, DOCSIS",), {"pani_ip_access": -50}, IpOrigin.PSTN),
        (("P-Access-Network-Info: GSTN, DOCSIS",), {"pani_ip_access": -51}, IpOrigin.UNKNOWN),
    ],
)
def test_weights_decide(headers: tuple[str, ...], weights: dict[str, int], origin: IpOrigin) -> None:
    """All of one side less the strongest of the other; a name counts once; weight 0 is not told."""
    policy = IpOriginPolicy(weights={**DEFAULT_WEIGHTS, **weights})
    found, signals = weigh_ip_origin(facts_of(invite(*headers)), policy)
    assert found is origin
    assert all(signal.weight == policy.weights[signal.name] != 0 for signal in signals)


def test_call_of_good_equipment_in_its_network_began_on_ip() -> None:
    """What can be expected of a phone system that is known: no proof, and yet enough."""
    terms = IpOriginTerms(approved_equipment=(Wildcard("Acme *"),))
    facts = facts_of(invite("User-Agent: Acme SBC"), terms, asn=64500)
    facts.traces.media_origins = (facts.source.origin,)
    assert weigh_ip_origin(facts, POLICY)[0] is IpOrigin.IP
    facts = facts_of(invite("User-Agent: Acme SBC", from_=f"<sip:{OWNED};isup-oli=27@x>;tag=1"), terms, asn=64500)
    facts.traces.media_origins = (facts.source.origin,)
    assert weigh_ip_origin(facts, POLICY)[0] is IpOrigin.UNKNOWN


def test_all_that_is_copied_from_leg_to_leg_together_refuses_nobody() -> None:
    """And with the name of a gateway, which CUBE writes too; one mark of a circuit does."""
    copied = (
        *("isup_oli", "oli", "cpc", "pstn_params", "charge_info_noa", "trunk_group", "trunk_group_vendor"),
        *("early_media", "q850_reason", "charging_vector", "gateway_fingerprint"),
    )
    assert sum(DEFAULT_WEIGHTS[name] for name in copied) < PSTN_AT
    for mark in ("pani_gstn", "circuit_line", "body_isup", "body_qsig", "body_gtd", "body_x_q931"):
        assert DEFAULT_WEIGHTS[mark] >= PSTN_AT


@pytest.mark.parametrize(
    "digits", ["00", "0", "06", "20", "23", "24", "29", "60", "61", "62", "63", "66", "67", "93", "99"]
)
def test_originating_line_that_ip_equipment_copies_says_nearly_nothing(digits: str) -> None:
    """The digits of ordinary, mobile and translated lines are on calls of IP equipment too."""
    for value in (f"<sip:{OWNED}@x;isup-oli={digits}>;tag=1", f"<tel:{OWNED};oli={digits}>;tag=1"):
        origin, signals = weigh_ip_origin(facts_of(invite(from_=value)), POLICY)
        assert origin is IpOrigin.UNKNOWN
        assert sum(signal.weight for signal in signals) <= 5


def in_domain(data: bytes, *, is_trusted: bool, side: Side) -> list[tuple[str, int]]:
    """What is weighed when the side that sends is trusted with identities, or is not."""
    if side is Side.CARRIERS:
        origin = Origin(side, None, Trunk(0, "carrier-a", trusted_identity=is_trusted), Asn(0))
    else:
        acme = replace(customer(IpOriginTerms()), identity=IdentityPolicy(is_trusted=is_trusted))
        origin = Origin(side, acme, None, Asn(0))
    message = parse_message(data, Limits())
    source = Source(origin, Address("198.51.100.10", 5060), Transport.UDP)
    facts = extract_facts(message, source, parse_uri(message.uri), dial_plan("US"))
    return [(signal.name, signal.weight) for signal in weigh_ip_origin(facts, POLICY)[1]]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("level", "trusted", "untrusted"),
    [
        ("A", ("attest_a_claimed", -20), ("attest_untrusted", 0)),
        ("B", ("attest_b_claimed", -10), ("attest_untrusted", 0)),
        ("C", ("attest_c_claimed", 30), ("attest_c_claimed", 30)),
    ],
)
def test_attestation_weighs_as_much_as_its_sender_is_trusted(
    side: Side, level: str, trusted: tuple[str, int], untrusted: tuple[str, int]
) -> None:
    """RFC 8588 §4, unverified: who says for itself that it is only a gateway is believed, any other needs trust."""
    data = invite(shaken(level))
    assert in_domain(data, is_trusted=True, side=side) == [trusted]
    assert in_domain(data, is_trusted=False, side=side) == [untrusted]


def test_attestation_of_a_customer_never_makes_a_call_one_of_ip() -> None:
    """A hundred tokens of level A from a side that is not trusted weigh what none does; signals tell of them once."""
    facts = facts_of(invite(*[shaken("A")] * 10), IpOriginTerms())
    found, signals = weigh_ip_origin(facts, POLICY)
    assert (found, [str(signal) for signal in signals]) == (IpOrigin.UNKNOWN, ["attest_untrusted+0"])
    assert "not verified" in signals[0].detail


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("TN-Validation-Passed", "verstat_passed"),
        ("tn-validation-passed-A", "verstat_passed"),
        ("TN-Validation-Passed-C", "attest_c_claimed"),
        ("TN-Validation-Passed-C-Diverted", "attest_c_claimed"),
        ("TN-Validation-Failed", "verstat_failed"),
        ("No-TN-Validation", "verstat_absent"),
        ("whatever", ""),
    ],
)
def test_verstat_is_read_from_trusted_sides_only(side: Side, value: str, name: str) -> None:
    """3GPP TS 24.229 §7.2A.20: anybody can type it."""
    for data in (
        invite(from_=f"<sip:{OWNED};verstat={value}@x;user=phone>;tag=1"),
        invite(f"P-Asserted-Identity: <tel:{OWNED};verstat={value}>"),
    ):
        assert [found for found, _ in in_domain(data, is_trusted=True, side=side)] == [name] * bool(name)
        assert in_domain(data, is_trusted=False, side=side) == []


@given(st.lists(st.text(';=,"<>@:tgrpnoaisup-licq.850 \\', max_size=60), max_size=6), st.binary(max_size=200))
def test_any_headers_and_bodies_are_weighed_without_an_error(values: list[str], body: bytes) -> None:
    """Whatever stands there, every signal has a weight and its detail an end."""
    names = ["Contact", "P-Charge-Info", "P-Charging-Vector", "Reason", "User-Agent", "P-Access-Network-Info"]
    head = head_lines(invite(number=FAR))
    lines = [line for line in head[1:] if line and not line.startswith("Content-Length")]
    lines += [f"{name}: {value}" for name, value in zip(names, values, strict=False)]
    for content_type in ("application/isup", "multipart/mixed;boundary=b", "application/sdp"):
        try:
            facts = facts_of(assemble(head[0], [*lines, f"Content-Type: {content_type}"], body), IpOriginTerms())
        except MalformedMessageError:
            return
        for signal in weigh_ip_origin(facts, POLICY)[1]:
            assert signal.name in DEFAULT_WEIGHTS
            assert len(signal.detail) <= 200
