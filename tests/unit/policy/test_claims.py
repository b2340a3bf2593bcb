"""Every header that says who calls, in every form, is read as what it claims, with bounded work (policy/claims.py)."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Asn, Side, Transport
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.policy.claims import MAX_CLAIMS
from edge_proxy.policy.facts import CallFacts, extract_facts
from edge_proxy.policy.parties import Origin, Source
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.messages import FAR, FOREIGN, OWNED, invite
from tests.kit.playbook import make_snapshot

SOURCE = Source(Origin(Side.CUSTOMERS, None, None, Asn(0)), Address("198.51.100.10", 5060), Transport.UDP)
US = dial_plan("US")
OWN, OTHER = int(OWNED), int(FOREIGN)
ROOMY = Limits(max_message_bytes=1_048_576, max_headers=4096, max_header_bytes=65_535)


def facts_of(*extra: str, limits: Limits | None = None, **fields: str) -> CallFacts:
    message = parse_message(invite(*extra, **fields), limits or Limits())
    return extract_facts(message, SOURCE, parse_uri(message.uri), US)


def passport(payload: object, *, tail: str = ";info=<https://cert.example/x.pem>;alg=ES256;ppt=shaken") -> str:
    """An Identity value whose signature nobody could verify."""
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return f"eyJhIjoxfQ.{urlsafe_b64encode(text.encode()).rstrip(b'=').decode()}.c2ln{tail}"


PAI_FORMS = [
    (f"<sip:{OWNED}@x>", [OWN]),
    (f"sip:{OWNED}@x", [OWN]),
    (f"<tel:{OWNED}>", [OWN]),
    (f"tel:{OWNED}", [OWN]),
    ("<tel:+1-202-555-0100>", [OWN]),
    ("<tel:+1(202)555.0100>", [OWN]),
    ("<tel:2025550100;phone-context=+1>", [OWN]),
    ("<tel:2025550100;phone-context=+1-202>", [OWN]),
    ("<tel:5550100;phone-context=+1-202>", [OWN]),
    ("<tel:5550123;phone-context=+1-415>", [OTHER]),
    ("<tel:2025550100;phone-context=acme.example>", [OWN]),
    ("<tel:2025550100;phone-context=+44>", [442025550100]),
    ("<tel:2025550100;PHONE-Context=+4-4>", [442025550100]),
    ("<sip:2025550100;phone-context=%2B44@x;user=phone>", [442025550100]),
    ("<sip:2025550100;;phone%2Dcontext=+44@x;user=phone>", [442025550100]),
    ("<sip:2025550100;phone-context=+1;phone-context=+44@x;user=phone>", [None]),
    (f"<tel:{OWNED};phone-context=+44>", [OWN]),
    (f"<sips:{OWNED}@x;user=phone>", [OWN]),
    (f"<SIP:{OWNED};npdi;rn=+13105550100@x;user=phone>", [OWN]),
    (f"<sip:{OWNED};verstat=TN-Validation-Passed@x>", [OWN]),
    (f"<sip:{OWNED}:secret@x>", [OWN]),
    ("<sip:%2B12025550100@x>", [OWN]),
    ("<sip:12025550100@x>", [OWN]),
    ("<sip:2025550100@x>", [OWN]),
    ("<sip:01112025550100@x>", [OWN]),
    (f'"{FOREIGN}" <sip:{OWNED}@x>', [OWN]),
    (f'"a, <sip:{FOREIGN}@x>" <sip:{OWNED}@x>', [OWN]),
    (f'"a\\", <sip:{FOREIGN}@x>" <sip:{OWNED}@x>', [OWN]),
    (f"Bob <sip:{OWNED}@x>", [OWN]),
    (f"<sip:{OWNED}@x>, <tel:{FOREIGN}>", [OWN, OTHER]),
    (f"<sip:{OWNED}@x>\r\n , <tel:{FOREIGN}>", [OWN, OTHER]),
    (f"<sip:{OWNED}@x>,\r\n\t<tel:{FOREIGN}>", [OWN, OTHER]),
    (f"<sip:{OWNED}@x> ,<sip:{FOREIGN}@x>", [OWN, OTHER]),
    (f"<sip:{OWNED}@x>\r\nP-Asserted-Identity: <tel:{FOREIGN}>", [OWN, OTHER]),
    (f"<sip:{OWNED}@x>\r\np-asserted-identity : <tel:{FOREIGN}>", [OWN, OTHER]),
    (f"<sip:{OWNED}@x>, <mailto:a@b.example>", [OWN]),
    ("<urn:service:sos>", []),
    ("<sip:alice@x>", [None]),
    ("<sip:anonymous@anonymous.invalid>", [None]),
    (f"<sip:{OWNED}@x", [None]),
    (f"<sip:{OWNED}@x> <tel:{FOREIGN}>", [None]),
    (f'"{OWNED} <sip:{FOREIGN}@x>', [None]),
    (f'<sip:{OWNED}@x>;a="b, <sip:{FOREIGN}@x>', [None]),
    (f'"A" <sip:{OWNED}@x>;a="b, <sip:{FOREIGN}@x>', [None]),
    (f'<sip:{OWNED}@x>;a="b,", <sip:{FOREIGN}@x>', [OWN, OTHER]),
    (f"<sip:{OWNED}@x>;a=>, sip:{FOREIGN}@x", [None]),
    (f'<sip:{OWNED}@x>;a="' + "\\b" * 101 + f'", <sip:{FOREIGN}@x>', [None]),
    (f'<sip:{OWNED}@x>;a="' + "\\b" * 100 + f'", <sip:{FOREIGN}@x>', [OWN, OTHER]),
]


@pytest.mark.parametrize(("value", "numbers"), PAI_FORMS)
def test_asserted_and_preferred_values_are_read_in_every_form(value: str, numbers: list[int | None]) -> None:
    """RFC 3325 §9, RFC 3966 §3: folded, several in a line, several lines, quotes; no value hides another."""
    assert [claim.number for claim in facts_of(f"P-Asserted-Identity: {value}").asserted] == numbers
    again = re.sub("asserted", "Preferred", value, flags=re.IGNORECASE)
    preferred = facts_of(f"P-Preferred-Identity: {again}").preferred
    read = [claim for claim in preferred if claim.uri is None or claim.uri.scheme not in {"urn", "mailto"}]
    assert [claim.number for claim in read] == numbers


@pytest.mark.parametrize("uri", ["tel:2025550100;phone-context=+44", "sip:2025550100;phone-context=+44@x;user=phone"])
def test_number_of_another_country_is_none_of_the_plans(uri: str) -> None:
    """RFC 3966 §5.1.5: digits that say where they count are not read by the country of who sends them."""
    assert facts_of(from_=f"<{uri}>;tag=x").from_claim.number == 442025550100
    message = parse_message(invite(uri=uri), Limits())
    acme = Source(make_snapshot().origin_of(SOURCE.address.host, Side.CUSTOMERS), SOURCE.address, Transport.UDP)
    dialled = extract_facts(message, acme, parse_uri(message.uri), US).dialled
    assert dialled is not None
    assert dialled.number == 442025550100


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (f"<sip:{FOREIGN}@x>", [OTHER]),
        (f'"Bob" <sip:{FOREIGN}@x>;party=calling;screen=yes;privacy=off', [OTHER]),
        (f"<sip:{FOREIGN}@x>;PARTY=Calling", [OTHER]),
        (f"<sip:{FOREIGN}@x>;party=called", []),
        (f'<sip:{FOREIGN}@x>;party="called"', []),
        (f"<sip:{FOREIGN}@x;party=called>", [OTHER]),
        (f"<sip:{FOREIGN}@x>;party=called;party=calling", [OTHER]),
        (f"<sip:{FOREIGN}@x>;party=called;Party = calling", [OTHER]),
        (f'"x;party=called" <sip:{FOREIGN}@x>', [OTHER]),
        (f"<sip:{OWNED}@x>;party=called, <sip:{FOREIGN}@x>;party=calling", [OTHER]),
        (f"<sip:{FOREIGN}@x>;party=whatever", [OTHER]),
        ("nonsense", [None]),
    ],
)
def test_remote_party_is_the_caller_unless_it_says_otherwise(value: str, numbers: list[int | None]) -> None:
    """draft-ietf-sip-privacy-04: `party` defaults to the caller in a request."""
    assert [claim.number for claim in facts_of(f"Remote-Party-ID: {value}").remote_party] == numbers


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (passport({"orig": {"tn": "12025550100"}}), [OWN]),
        (passport({"orig": {"tn": "+12025550100"}, "dest": {"tn": ["1"]}}), [OWN]),
        (passport({"orig": {"uri": f"sip:{FOREIGN}@x"}}), [OTHER]),
        (passport({"orig": {"tn": "12025550100"}}) + ", " + passport({"orig": {"tn": "14155550123"}}), [OWN, OTHER]),
        (passport({"orig": {"tn": "12025550100", "uri": "sip:x@y"}}), [None]),
        (passport({"orig": {"tn": ["12025550100"]}}), [None]),
        (passport({"orig": {"tn": 12025550100}}), [None]),
        (passport({"orig": {"uri": "no uri"}}), [None]),
        (passport({"dest": {}}), [None]),
        (passport("[1, 2]"), [None]),
        (passport("no JSON"), [None]),
        (passport("[" * 4000), [None]),
        ("a.!!!.b;info=<https://x>", [None]),
        ("a.é.b;info=<https://x>", [None]),
        ("a.AAA;info=<https://x>", [None]),
        ("..c2ln;info=<https://x>", []),
        ('"c2lnbmF0dXJl"', []),
        ("c2ln", []),
        ("", []),
    ],
)
def test_orig_of_a_passport_is_a_claim(value: str, numbers: list[int | None]) -> None:
    """RFC 8225 §5.2.1: decoded, not verified. What cannot be read is a claim of no number; compact form is none."""
    for name in ("Identity", "y", "IDENTITY"):
        assert [claim.number for claim in facts_of(f"{name}: {value}").passports] == numbers


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("id", {b"id"}),
        ("ID;Critical", {b"id", b"critical"}),
        (" header ; id ", {b"header", b"id"}),
        ("none", {b"none"}),
        ("user\r\nPrivacy: id", {b"user", b"id"}),
        ("user,id", {b"user", b"id"}),
    ],
)
def test_privacy_is_read_in_every_form(value: str, found: set[bytes]) -> None:
    """RFC 3323 §4.2."""
    assert facts_of(f"Privacy: {value}").privacy == found
    assert not facts_of().privacy


@pytest.mark.parametrize(
    ("uri", "is_anonymous"),
    [
        (f"sip:{FOREIGN}@anonymous.invalid", False),
        ("sip:0014155550123@anonymous.invalid", False),
        ("sip:+014155550123@anonymous.invalid", False),
        ("sip:%2814155550123*@anonymous.invalid", False),
        ("sip:14155550123", False),
        ("sip:14155550123;x=y", False),
        ("sip:anonymous@anonymous.invalid", True),
        ("sip:c8oqz84zk7z@privacy.invalid", True),
        ("sip:1234567890abcdef@privacy.invalid", True),
        ("sip:1001@anonymous.invalid", True),
        ("sip:unknown@14155550123", True),
        ("sip:198.51.100.123", True),
        ("sip:[2001:db8:1234::5678]", True),
        ("sip:pbx.example", True),
    ],
)
def test_number_that_is_shown_is_not_withheld(uri: str, *, is_anonymous: bool) -> None:
    """Whoever shows the user part shows it, whatever the host says and however we read it; and some take a host for the
    user where there is none."""
    assert facts_of(from_=f"<{uri}>;tag=1").from_claim.is_anonymous is is_anonymous


def test_local_number_counts_where_its_context_says() -> None:
    """RFC 3966 §5.1.5: a number of another area, however short, is not read as one of the whole country."""
    message = parse_message(invite(from_="<tel:301234567;phone-context=+49-89>;tag=1"), Limits())
    german = extract_facts(message, SOURCE, parse_uri(message.uri), dial_plan("DE"))
    assert german.from_claim.number == 4989301234567


def test_who_passed_a_call_on_last_is_found_in_both_headers() -> None:
    """Diversion names the most recent first (RFC 5806); a history the called party last (RFC 7044)."""
    facts = facts_of(
        f"Diversion: <sip:{OWNED}@x>;reason=no-answer, <sip:{FOREIGN}@x>;reason=unconditional",
        f"History-Info: <sip:{FAR}@x>;index=1, <sip:{FOREIGN}@x>;index=1.1;mp=1",
        f"History-Info: <sip:{OWNED}@x>;index=1.1.1",
    )
    assert [claim.number for claim in facts.last_forwarders] == [OWN, OTHER]
    assert [claim.number for claim in facts.forwarders] == [OWN, OTHER, int(FAR), OTHER]


@pytest.mark.parametrize(
    "header",
    ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Identity", "Diversion", "History-Info"],
)
@pytest.mark.parametrize("as_lines", [True, False])
def test_ten_thousand_values_are_bounded_work(header: str, as_lines: bool) -> None:
    """Some are read, the rest is known to be there."""
    value = passport({"orig": {"tn": "12025550100"}}) if header == "Identity" else "<tel:+12025550100>"
    if as_lines:
        extra = [f"{header}: {value}"] * 4000
    else:
        extra = [f"{header}: " + ", ".join([value] * (60_000 // (len(value) + 2)))] * 10
    begun = process_time()
    facts = facts_of(*extra, limits=ROOMY)
    spent_s = process_time() - begun
    assert facts.has_excess_claims
    claims = max(map(len, (facts.asserted, facts.preferred, facts.remote_party, facts.passports, facts.forwarders)))
    assert claims <= MAX_CLAIMS
    assert spent_s < 0.5


@given(
    st.sampled_from(["+12025550100", "+14155550123", "2025550100", "911", "anonymous", "+999"]),
    st.sampled_from(["", ";npdi", ";phone-context=+44"]),
    st.sampled_from(
        ["@x", "@y", "@anonymous.invalid", "@x;user=phone", "", "@x,<sip:+1@x>", "@x>,<sip:+1@x", "@x>;a=b"]
    ),
    st.sampled_from(["", ";phone-context=+44"]),
)
def test_usual_asserted_identity_is_read_as_any_other(user: str, params: str, host: str, from_params: str) -> None:
    """The line as nearly everybody writes it is read in a shorter way than one with a blank more."""
    from_line = f"<sip:+12025550100{from_params}@x>;tag=1"
    value = f"<sip:{user}{params}{host}>"
    usual = facts_of(f"P-Asserted-Identity: {value}", from_=from_line)
    other = facts_of(f"P-Asserted-Identity:  {value}", from_=from_line)
    assert usual.asserted == other.asserted
    assert usual.has_excess_claims == other.has_excess_claims
