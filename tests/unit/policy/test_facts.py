"""What a request claims, read once: every identity, none hiding another, and bounded (policy/facts.py, signals.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Asn, Side, Transport
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.policy.access import Proof
from edge_proxy.policy.claims import MAX_CLAIMS
from edge_proxy.policy.facts import CallFacts, extract_facts
from edge_proxy.policy.parties import Origin, Source
from edge_proxy.policy.signals import weigh_ip_origin
from edge_proxy.policy.verdict import IpOrigin
from edge_proxy.policy.weights import IpOriginPolicy
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.messages import FOREIGN, OWNED, invite

SOURCE = Source(Origin(Side.CUSTOMERS, None, None, Asn(0)), Address("198.51.100.10", 5060), Transport.UDP)
US = dial_plan("US")


def facts_of(*extra: str, body: str = "", **fields: str) -> CallFacts:
    message = parse_message(invite(*extra, body=body, **fields), Limits())
    return extract_facts(message, SOURCE, parse_uri(message.uri), US)


def test_every_asserted_value_is_read() -> None:
    """RFC 3325 §9.1: in one line or in several, sip and tel."""
    facts = facts_of(
        f"P-Asserted-Identity: <sip:{OWNED}@x>, <tel:{FOREIGN}>", "P-Asserted-Identity: sip:12025550101@x;user=phone"
    )
    assert [claim.number for claim in facts.asserted] == [12025550100, 14155550123, 12025550101]
    assert not facts.has_excess_claims


@pytest.mark.parametrize(
    "value",
    [
        f'"{OWNED} <sip:{FOREIGN}@x>',
        f"<sip:{OWNED}@x> <sip:{FOREIGN}@x>",
        f"<sip:{OWNED}@x>, <sip:{FOREIGN}@x",
        "<nonsense>",
        "<",
        "",
        ",",
    ],
)
def test_claim_that_cannot_be_read_is_still_a_claim(value: str) -> None:
    """What no reader understands for sure has no number: no rule takes it for somebody's own."""
    facts = facts_of(f"P-Asserted-Identity: {value}")
    assert any(claim.number is None for claim in facts.asserted)


def test_claims_beyond_the_bound_are_said_to_be_there() -> None:
    """What is not read must not pass as checked."""
    few = ", ".join([f"<sip:{OWNED}@x>"] * MAX_CLAIMS)
    assert not facts_of(f"P-Asserted-Identity: {few}").has_excess_claims
    for header in ("P-Asserted-Identity", "Diversion", "History-Info"):
        facts = facts_of(f"{header}: {few}", f"{header}: <sip:{FOREIGN}@x>")
        assert facts.has_excess_claims
        assert max(len(facts.asserted), len(facts.forwarders)) <= 2 * MAX_CLAIMS


def test_forwarders_are_all_but_the_last_of_a_history() -> None:
    """RFC 7044 §5, RFC 5806."""
    history = f"History-Info: <sip:{FOREIGN}@x?Reason=SIP%3Bcause%3D302>;index=1, <sip:{OWNED}@x>;index=1.1"
    assert [claim.number for claim in facts_of(history).forwarders] == [14155550123]
    assert facts_of(f"History-Info: <sip:{OWNED}@x>;index=1").forwarders == ()
    assert [claim.number for claim in facts_of(f"Diversion: <tel:{FOREIGN}>;reason=deflection").forwarders] == [
        14155550123
    ]


@pytest.mark.parametrize(
    ("from_", "is_anonymous"),
    [
        ("<sip:anonymous@anonymous.invalid>;tag=1", True),
        ("<sip:Anonymous@acme.example>;tag=1", True),
        ("<sip:x@y.invalid>;tag=1", True),
        ("<sip:acme.example>;tag=1", True),
        (f"<sip:{OWNED}@acme.example>;tag=1", False),
        ("<sip:anonymously@acme.example>;tag=1", False),
    ],
)
def test_withheld_caller_is_recognised(from_: str, is_anonymous: bool) -> None:
    """RFC 3323 §4.1.1.3."""
    assert facts_of(from_=from_).from_claim.is_anonymous is is_anonymous


def test_texts_of_peers_are_cut() -> None:
    """Nothing of unbounded length is kept with a call."""
    facts = facts_of(
        "User-Agent: " + "x" * 5000,
        "P-Access-Network-Info: " + "y" * 5000,
        "Content-Type: text/" + "z" * 5000,
        f"P-Asserted-Identity: <sip:{'1' * 5000}@x>",
    )
    texts = [
        facts.user_agent,
        *facts.access_network,
        facts.content_type,
        facts.asserted[0].text,
        facts.request_uri_text,
    ]
    assert max(len(text) for text in texts) == 512
    assert len(facts.asserted[0].user) == 64


@given(st.lists(st.text('"<>,;:@sipte+0123\\ ?=', max_size=40), max_size=4))
def test_any_identity_headers_are_read_without_an_error(values: list[str]) -> None:
    """Whatever stands there."""
    names = ["P-Asserted-Identity", "Diversion", "History-Info", "P-Access-Network-Info"]
    try:
        facts_of(*(f"{name}: {value}" for name, value in zip(names, values, strict=False)))
    except MalformedMessageError:
        return


MULTIPART = (
    "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
    "--b\r\nc : application/ISUP;version=itu-t92+\r\n\r\n\x01\r\n--b--"
)


@pytest.mark.parametrize(
    ("extra", "body", "origin", "names"),
    [
        ((), "", IpOrigin.UNKNOWN, []),
        (("P-Access-Network-Info: GSTN",), "", IpOrigin.PSTN, ["pani_gstn"]),
        (("p-access-network-info: gstn ; gstn-location=x",), "", IpOrigin.PSTN, ["pani_gstn"]),
        (("P-Access-Network-Info: IEEE-802.11;network-provided",), "", IpOrigin.UNKNOWN, ["pani_ip_access"]),
        (("P-Access-Network-Info: IEEE-802.11",), "", IpOrigin.UNKNOWN, ["pani_ip_access"]),
        (
            ("P-Access-Network-Info: DOCSIS;np, GSTN",),
            "",
            IpOrigin.PSTN,
            ["pani_ip_access", "pani_gstn"],
        ),
        (
            ("P-Access-Network-Info: DOCSIS;np, DOCSIS;np, GSTN",),
            "",
            IpOrigin.PSTN,
            ["pani_ip_access"] * 2 + ["pani_gstn"],
        ),
        (("P-Access-Network-Info: DOCSIS, GPON, ADSL",), "", IpOrigin.UNKNOWN, ["pani_ip_access"] * 3),
        (("Content-Type: application/ISUP;version=x",), "x", IpOrigin.PSTN, ["body_isup", "iam_unreadable"]),
        (("c: Application/QSIG",), "x", IpOrigin.PSTN, ["body_qsig"]),
        (("Content-Type: multipart/mixed;boundary=b",), MULTIPART, IpOrigin.PSTN, ["body_isup", "iam_unreadable"]),
        (("Content-Type: application/sdp",), MULTIPART, IpOrigin.UNKNOWN, []),
        (("Content-Type: application/isupx",), "x", IpOrigin.UNKNOWN, []),
    ],
)
def test_signals_are_weighed(extra: tuple[str, ...], body: str, origin: IpOrigin, names: list[str]) -> None:
    """RFC 7315 §5.4, RFC 3204, RFC 3372: a marker of the switched network counts in full, whoever wrote
    it and whatever is claimed beside it; a claim that is repeated is one claim."""
    found, signals = weigh_ip_origin(facts_of(*extra, body=body), IpOriginPolicy())
    assert found is origin
    assert [signal.name for signal in signals] == names


def test_proof_is_as_strong_as_the_transport() -> None:
    """A UDP source address can be forged, and an unknown source proves nothing."""
    assert SOURCE.origin.proof(Transport.TCP) is Proof.NONE
