"""The order of the rules, the trace of a decision, and whose mode a verdict follows (policy/engine.py, rules.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.pipeline.judgement import judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.access import Proof
from edge_proxy.policy.engine import FROM_CARRIERS, FROM_CUSTOMERS, Step
from edge_proxy.policy.parties import Source
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason, Verdict
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.messages import CARRIER, CUSTOMER, FOREIGN, OWNED, invite, invite_from_carrier
from tests.kit.playbook import MONITORED, STRANGER, make_snapshot

SPOOFED = f"<sip:{FOREIGN}@acme.example>;tag=x"


def verdict_on(
    data: bytes,
    source: Address,
    side: Side,
    trace: list[Step] | None = None,
    snapshot: Snapshot | None = None,
    transport: Transport = Transport.UDP,
) -> Verdict:
    snapshot = snapshot or make_snapshot()
    message = parse_message(data, Limits())
    origin = snapshot.origin_of(source.host, side)
    return judge(snapshot, message, parse_uri(message.uri), Source(origin, source, transport), trace).verdict


def test_trace_names_every_rule_that_was_asked_in_order() -> None:
    """The last line is the rule that decided; rules behind it were not asked."""
    trace: list[Step] = []
    verdict = verdict_on(invite(from_=SPOOFED), CUSTOMER, Side.CUSTOMERS, trace)
    assert [step.rule for step in trace] == [rule.__name__ for rule in FROM_CUSTOMERS[:7]]
    assert [bool(step.said) for step in trace] == [*[False] * 6, True]
    assert (verdict.rule, verdict.text) == (trace[-1].rule, trace[-1].said)
    assert FOREIGN in verdict.text


def test_call_no_rule_speaks_against_passes_by_default() -> None:
    """All rules were asked, none decided."""
    trace: list[Step] = []
    verdict = verdict_on(invite(), CUSTOMER, Side.CUSTOMERS, trace)
    assert len(trace) == len(FROM_CUSTOMERS)
    assert (verdict.rule, verdict.reason, verdict.status) == ("default", Reason.IDENTITY_OWNED, 0)
    trace = []
    verdict = verdict_on(invite_from_carrier(), CARRIER, Side.CARRIERS, trace)
    assert len(trace) == len(FROM_CARRIERS)
    assert (verdict.rule, verdict.reason) == ("default", Reason.CARRIER_CALL)


def test_emergency_is_the_first_rule() -> None:
    """Nothing is asked before it (RFC 5031)."""
    assert FROM_CUSTOMERS[0].__name__ == "emergency"
    trace: list[Step] = []
    verdict = verdict_on(invite(uri="urn:service:sos", from_=SPOOFED), STRANGER, Side.CUSTOMERS, trace)
    assert verdict.is_emergency
    assert verdict.passes
    assert len(trace) == 1


def test_mode_is_that_of_the_customer_concerned() -> None:
    """The caller's for a call out, the callee's for a call in; a stranger has none and is refused."""
    assert verdict_on(invite(from_=SPOOFED), MONITORED, Side.CUSTOMERS).outcome is Outcome.MONITORED
    assert verdict_on(invite(from_=SPOOFED), CUSTOMER, Side.CUSTOMERS).outcome is Outcome.REFUSED
    own = "+4930901820001"
    to_monitored = invite_from_carrier("+4930901820000", caller=own)
    assert verdict_on(to_monitored, CARRIER, Side.CARRIERS).outcome is Outcome.MONITORED
    assert verdict_on(invite_from_carrier(caller=own), CARRIER, Side.CARRIERS).outcome is Outcome.REFUSED
    assert verdict_on(invite(), STRANGER, Side.CUSTOMERS).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("source", "transport", "proof"),
    [
        (CUSTOMER, Transport.UDP, Proof.ADDRESS_UDP),
        (CUSTOMER, Transport.TCP, Proof.ADDRESS_TCP),
        (STRANGER, Transport.TCP, Proof.NONE),
    ],
)
def test_verdict_states_how_strongly_the_origin_is_known(source: Address, transport: Transport, proof: Proof) -> None:
    """A UDP address can be forged."""
    assert verdict_on(invite(), source, Side.CUSTOMERS, transport=transport).proof is proof


def test_unknown_ip_origin_is_refused_where_the_operator_says_so() -> None:
    """policy.unknown_ip_origin: reject."""
    snapshot = make_snapshot(old="node: edge-test", new="node: edge-test\npolicy: {unknown_ip_origin: reject}")
    assert verdict_on(invite(), CUSTOMER, Side.CUSTOMERS, snapshot=snapshot).reason is Reason.UNKNOWN_IP_ORIGIN
    claimed = invite("P-Access-Network-Info: DOCSIS;network-provided")
    assert verdict_on(claimed, CUSTOMER, Side.CUSTOMERS, snapshot=snapshot).reason is Reason.UNKNOWN_IP_ORIGIN


def test_unknown_ip_origin_is_refused_for_the_customer_that_says_so_and_its_network_may_be_believed() -> None:
    """customers[].unknown_ip_origin goes before the node's; trust_access_network."""
    numbers = '    numbers: ["+12025550100-+12025550199"]\n'
    terms = "    unknown_ip_origin: reject\n    trust_access_network: true\n"
    snapshot = make_snapshot(old=numbers, new=numbers + terms)
    assert verdict_on(invite(), CUSTOMER, Side.CUSTOMERS, snapshot=snapshot).reason is Reason.UNKNOWN_IP_ORIGIN
    for info, reason in (("DOCSIS;network-provided", Reason.IDENTITY_OWNED), ("DOCSIS", Reason.UNKNOWN_IP_ORIGIN)):
        told = invite(f"P-Access-Network-Info: {info}")
        assert verdict_on(told, CUSTOMER, Side.CUSTOMERS, snapshot=snapshot).reason is reason


def test_withheld_caller_needs_an_asserted_number_of_its_own() -> None:
    """RFC 3323, RFC 3325: anonymous to the callee, known to us."""
    anonymous = "<sip:anonymous@anonymous.invalid>;tag=1"
    owned, foreign = ("P-Asserted-Identity: <sip:+12025550100@x>", f"P-Asserted-Identity: <sip:{FOREIGN}@x>")
    assert verdict_on(invite(from_=anonymous), CUSTOMER, Side.CUSTOMERS).reason is Reason.IDENTITY_MISSING
    assert verdict_on(invite(owned, from_=anonymous), CUSTOMER, Side.CUSTOMERS).passes
    assert verdict_on(invite(foreign, from_=anonymous), CUSTOMER, Side.CUSTOMERS).reason is Reason.PAI_NOT_OWNED


def test_number_of_another_customer_is_not_ones_own() -> None:
    """Owned by us is not owned by the caller."""
    verdict = verdict_on(invite(from_="<sip:+4930901820000@x>;tag=1"), CUSTOMER, Side.CUSTOMERS)
    assert verdict.reason is Reason.FROM_NOT_OWNED


def test_every_refusal_has_a_final_status() -> None:
    """A closed set: 4xx or 503, and nothing that a peer would try again elsewhere but for want of room."""
    assert all(400 <= status < 500 or status == 503 for status in STATUS_OF.values())


PLAIN = make_snapshot()
STRICT = make_snapshot(
    old='    numbers: ["+12025550100-+12025550199"]\n',
    new='    numbers: ["+12025550100-+12025550199"]\n    forwarded_calls: allow\n    anonymous: reject\n',
)
HEADERS = [
    f"P-Asserted-Identity: <sip:{OWNED}@x>",
    f"P-Asserted-Identity: <sip:{FOREIGN}@x>",
    f"P-Asserted-Identity: <sip:{OWNED};isup-oli=27@x>, <tel:{FOREIGN}>",
    f"P-Preferred-Identity: <sip:{FOREIGN}@x>",
    f"Remote-Party-ID: <sip:{FOREIGN}@x>;party=calling",
    f"Diversion: <sip:{OWNED}@x>",
    f"History-Info: <sip:{OWNED}@x>;index=1, <sip:{FOREIGN}@x>;index=1.1",
    "Privacy: id",
    "P-Access-Network-Info: GSTN",
    "Reason: Q.850;cause=16",
    "Content-Type: application/isup",
    "Identity: a.b.c;info=<x>",
    ", ".join([f"P-Preferred-Identity: <sip:{OWNED}@x>"] + [f"<sip:{OWNED}@x>"] * 20),
]
FROMS = [OWNED, FOREIGN, "anonymous", "+4930901820000", "911", "+19995550100"]


@given(
    st.lists(st.sampled_from(HEADERS), max_size=4, unique=True),
    st.sampled_from(FROMS),
    st.sampled_from([*FROMS, "+12025550101", "urn"]),
    st.sampled_from([CUSTOMER, MONITORED, STRANGER, CARRIER]),
    st.booleans(),
)
def test_rules_that_are_not_asked_would_have_said_nothing(
    headers: list[str], caller: str, called: str, source: Address, is_strict: bool
) -> None:
    """With a trace every rule is asked: the verdict is the same, field by field."""
    uri = "urn:service:sos" if called == "urn" else f"sip:{called}@edge.example"
    data = invite(*headers, from_=f'"A" <sip:{caller}@x>;tag=1', uri=uri)
    side = Side.CARRIERS if source is CARRIER else Side.CUSTOMERS
    snapshot = STRICT if is_strict else PLAIN
    assert verdict_on(data, source, side, None, snapshot) == verdict_on(data, source, side, [], snapshot)
