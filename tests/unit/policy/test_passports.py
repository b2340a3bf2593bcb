"""Identity headers are read as claims of caller, diverter and attestation, whatever they hold (policy/passports.py)."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Asn, Side, Transport
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.policy.facts import CallFacts, extract_facts
from edge_proxy.policy.parties import Origin, Source
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.messages import FAR, FOREIGN, OWNED, invite
from tests.kit.passports import identity

SOURCE = Source(Origin(Side.CUSTOMERS, None, None, Asn(0)), Address("198.51.100.10", 5060), Transport.UDP)
OWN, OTHER = OWNED[1:], FOREIGN[1:]
ROOMY = Limits(max_message_bytes=1_048_576, max_headers=4096, max_header_bytes=65_535)


def facts_of(*extra: str, limits: Limits | None = None) -> CallFacts:
    message = parse_message(invite(*extra), limits or Limits())
    return extract_facts(message, SOURCE, parse_uri(message.uri), dial_plan("US"))


def shaken(level: object, orig: str = OWN) -> str:
    return identity({"ppt": "shaken"}, {"attest": level, "dest": {"tn": [FAR[1:]]}, "orig": {"tn": orig}})


def diverted(by: object, to: str, ppt: str = "div") -> str:
    return identity({"ppt": ppt}, {"dest": {"tn": [to]}, "div": by, "orig": {"tn": OTHER}})


@pytest.mark.parametrize(
    ("lines", "levels"),
    [
        ([shaken("A")], ("A",)),
        ([shaken("C"), shaken("A"), shaken("C")], ("C", "A")),
        ([shaken("a")], ()),
        ([shaken("D")], ()),
        ([shaken(1)], ()),
        ([shaken(["A"])], ()),
        ([identity({}, {"attest": "A", "orig": {"tn": OWN}})], ()),
        ([identity({"ppt": "rph"}, {"attest": "A", "orig": {"tn": OWN}})], ()),
        ([identity({"ppt": ["shaken"]}, {"attest": "A", "orig": {"tn": OWN}})], ()),
        ([identity({"ppt": "shaken"}, '{"attest":"C","attest":"A","orig":{"tn":"12025550100"}}')], ()),
        (["Identity: ..c2ln;info=<https://x>;ppt=shaken"], ()),
    ],
)
def test_attestation_is_that_of_shaken_tokens(lines: list[str], levels: tuple[str, ...]) -> None:
    """RFC 8588 §4: each level once; another kind of token has none, and nothing but A, B and C is one."""
    assert facts_of(*lines).attestations == levels


@pytest.mark.parametrize(
    "payload",
    [
        f'{{"orig":{{"tn":"{OWN}"}},"orig":{{"tn":"{OTHER}"}}}}',
        f'{{"orig":{{"tn":"{OWN}","tn":"{OTHER}"}}}}',
        "[" * 5000,
        f'{{"orig":{{"tn":"{OWN}"}},"x":{"[" * 300}{"]" * 300}}}',
        '{"orig":' * 1000,
        "9" * 6000,
        '"' + "x" * 9000 + '"',
        '{"orig":{"tn":"\\ud800"}}',
    ],
)
def test_token_that_two_readers_could_read_in_two_ways_claims_no_number(payload: str) -> None:
    """A name twice, nesting without end, more than is read: a claim that nobody owns, and so one that is refused."""
    (claim,) = facts_of(identity({"ppt": "shaken"}, payload), limits=ROOMY).passports
    assert claim.number is None


def test_characters_that_base64_does_not_have_are_not_read_over() -> None:
    """Some readers leave them out, others stop: what they read would differ."""
    good = shaken("A")
    head, payload, rest = good.split(".", 2)
    assert facts_of(good).passports[0].number == int(OWN)
    assert facts_of(f"{head}.{payload[:8]}!{payload[8:]}.{rest}").passports[0].number is None


def test_diverter_is_a_forwarder() -> None:
    """RFC 8946 §4: who passed the call on, beside Diversion and History-Info; the caller stays who it was."""
    facts = facts_of(shaken("A", OTHER), diverted({"tn": OWN}, FAR[1:]))
    assert [claim.number for claim in facts.passports] == [int(OTHER), int(OTHER)]
    assert [claim.number for claim in facts.forwarders] == [int(OWN)]
    assert [claim.number for claim in facts.last_forwarders] == [int(OWN)]


@pytest.mark.parametrize("is_turned", [False, True])
def test_last_diverter_is_found_by_whom_the_others_passed_the_call_to(is_turned: bool) -> None:
    """RFC 8946 §4.2: the order of the lines says nothing."""
    lines = [diverted({"tn": OTHER}, OWN), diverted({"tn": "+" + OWN}, FAR[1:], "div-o")]
    facts = facts_of(*(reversed(lines) if is_turned else lines))
    assert [claim.number for claim in facts.last_forwarders] == [int(OWN)]
    assert {claim.number for claim in facts.forwarders} == {int(OWN), int(OTHER)}


def test_diverters_in_a_circle_are_all_last() -> None:
    """Then every one of them must be the customer's own."""
    facts = facts_of(diverted({"tn": OTHER}, OWN), diverted({"tn": OWN}, OTHER))
    assert [claim.number for claim in facts.last_forwarders] == [int(OTHER), int(OWN)]


@pytest.mark.parametrize("by", [None, "x", {"tn": [OWN]}, {"uri": 1}, {}])
def test_diverter_that_cannot_be_read_is_nobody(by: object) -> None:
    """It is a forwarder all the same, whom nobody owns."""
    assert [claim.number for claim in facts_of(diverted(by, FAR[1:])).last_forwarders] == [None]


def test_tokens_are_read_until_there_are_too_many_characters() -> None:
    """What stands behind that is a claim of no number: it must not pass as read."""
    large = identity({"ppt": "shaken"}, {"attest": "A", "orig": {"tn": OWN}, "x": "y" * 3000})
    read = [claim.number for claim in facts_of(large, large, shaken("C")).passports]
    assert read == [int(OWN), None, None]


def test_large_tokens_are_bounded_work() -> None:
    """Fifty kilobytes in each of seventeen lines."""
    begun = process_time()
    facts = facts_of(*[identity({"ppt": "shaken"}, '{"a":' * 8000)] * 17, limits=ROOMY)
    assert process_time() - begun < 0.5
    assert facts.has_excess_claims


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_token_is_read_without_an_error(head: str, claims: str) -> None:
    """In base64 and without it."""
    for line in (identity({"ppt": head}, claims), f"Identity: {head}.{claims}.x"):
        try:
            facts_of(line)
        except MalformedMessageError:
            continue
