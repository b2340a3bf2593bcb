"""An emergency call walks every rule and limit: where a call is refused, the same call for help passes.

Each case is a reason to refuse, a network that has it, what happens before, and a call that is refused for it. A new
reason without a case fails the first test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason
from edge_proxy.traffic.asn_table import AsnTable
from tests.kit.digest import authorization, challenges
from tests.kit.messages import (
    CUSTOMER,
    FAR,
    FOREIGN,
    OURS_FOR_CARRIERS,
    OURS_FOR_CUSTOMERS,
    OWNED,
    ack_of,
    answer,
    invite,
    invite_from_carrier,
    request,
    start_line,
    values,
)
from tests.kit.playbook import STRANGER, Peer, Playbook, make_snapshot

ACME = 'id: acme\n    sources: ["198.51.100.10/32"]'
EMERGENCIES = [
    f"sip:911@{OURS_FOR_CUSTOMERS}",
    f"sip:112@{OURS_FOR_CUSTOMERS}",
    "urn:service:sos",
    "tel:911",
    f"sip:urn:service:sos@{OURS_FOR_CUSTOMERS}",
]
ASN_TABLE = Path(__file__).parents[2] / "config/asn-sample.tsv"
ASN_LINES = ["198.51.100.0\t198.51.100.255\t64500\tUS\tEXAMPLE"]
ENFORCED = (
    "rules: {unallocated_called: enforce, invalid_called: enforce, invalid_caller: enforce, caller_is_called: enforce}"
)

INTO_OUR_NETWORK = {
    Reason.OWN_NUMBER_FROM_CARRIER,
    Reason.CALLED_NOT_OWNED,
    Reason.INVALID_CALLER,
    Reason.UNALLOCATED_CALLER,
}
"""What only calls from the carrier are refused for: a call for help goes the other way."""

Before = Callable[[Playbook], None]


@dataclass(frozen=True)
class Case:
    """How a call comes to be refused: keys of the customer, sections of the file, what happens before, its headers."""

    customer: str = ""
    sections: str = ""
    before: Before = lambda play: None
    headers: tuple[str, ...] = ()
    caller: str = OWNED
    called: str = FAR
    method: str = "INVITE"
    is_stranger: bool = False

    def play(self) -> Playbook:
        customer = f"\n    {self.customer}" if self.customer else ""
        new = f"{self.sections}\ncustomers:\n  - {ACME}{customer}"
        snapshot = make_snapshot(old=f"customers:\n  - {ACME}", new=new)
        play = Playbook(snapshot=replace(snapshot, asn_table=AsnTable.from_lines(ASN_LINES, "asn.tsv")))
        self.before(play)
        return play

    def peer(self, play: Playbook) -> Peer:
        return play.stranger if self.is_stranger else play.customer

    def sent(self, uri: str, *extra: str) -> bytes:
        source = STRANGER if self.is_stranger else CUSTOMER
        from_ = f"<sip:{self.caller}@acme.example>;tag=x"
        return request(self.method, uri, *self.headers, *extra, source=source, from_=from_)


def calls(play: Playbook) -> None:
    """A call of the customer comes up."""
    play.call()


def spoofs(play: Playbook) -> None:
    play.refuses(invite(from_=f"<sip:{FOREIGN}@acme.example>;tag=x"), 403)


def spoofs_and_calls(play: Playbook) -> None:
    spoofs(play)
    play.call()


def calls_two_in_a_row(play: Playbook) -> None:
    play.customer.sends(invite(number=f"{FAR[:-1]}8")).gets(100)
    play.carrier.gets("INVITE")
    play.call()


def talks_short_and_calls(play: Playbook) -> None:
    dialog = play.call()
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)
    play.call()


def sends_a_message(play: Playbook) -> None:
    play.customer.sends(request("MESSAGE", f"sip:{FAR}@{OURS_FOR_CUSTOMERS}"))
    play.carrier.sends(answer(play.carrier.gets("MESSAGE"), 200))
    play.customer.gets(200)


def loses_evidence(play: Playbook) -> None:
    play.pipeline.has_evidence_room = False


def listed(kind: str, number: str, party: str = "") -> str:
    return f'lists: [{{id: one, kind: {kind}, numbers: ["{number}"]{party}}}]'


CREDENTIALS = f"minimum_proof: digest\n    credentials: [{{username: alice, ha1_sha256: {'a' * 64}}}]"
PAI = f"P-Asserted-Identity: <sip:{FOREIGN}@x>"
TO_PREFIX = 'limits: {destinations: [{prefix: "+1", %s: 1}]}'
PER_ASN = "policy: {limits: {per_asn: {%s: 1}}}"

ONLY_WATCHED = {Reason.AUTHENTICATION_REQUIRED}
"""Refuses nobody: where it is found, nothing is enforced."""

SHED = {Reason.OVERLOADED}
"""Not by a rule: that no emergency call is shed is in test_overload_control.py."""

CASES: dict[Reason, Case] = {
    Reason.UNKNOWN_SOURCE: Case(is_stranger=True),
    Reason.AUTHENTICATION_FAILED: Case(customer=CREDENTIALS),
    Reason.PROOF_TOO_WEAK: Case(customer="minimum_proof: address-tcp"),
    Reason.ASN_NOT_ALLOWED: Case(customer="asns: [64999]", sections=f"asn: {{table: {ASN_TABLE}}}"),
    Reason.FROM_NOT_OWNED: Case(caller=FOREIGN),
    Reason.PAI_NOT_OWNED: Case(headers=(PAI,)),
    Reason.PPI_NOT_OWNED: Case(headers=(PAI.replace("Asserted", "Preferred"),)),
    Reason.RPID_NOT_OWNED: Case(headers=(PAI.replace("P-Asserted-Identity", "Remote-Party-ID"),)),
    Reason.PASSPORT_NOT_OWNED: Case(headers=("Identity: a.broken!.c;info=<https://x>",)),
    Reason.ANONYMITY_NOT_ALLOWED: Case(customer="anonymous: reject", headers=("Privacy: id",)),
    Reason.FORWARDER_NOT_OWNED: Case(
        sections="policy: {rules: {forwarder_not_owned: enforce}}", headers=(f"Diversion: <sip:{FOREIGN}@x>",)
    ),
    Reason.IDENTITY_MISSING: Case(caller="anonymous"),
    Reason.TOO_MANY_IDENTITIES: Case(headers=(f"P-Asserted-Identity: {', '.join([f'<sip:{OWNED}@x>'] * 17)}",)),
    Reason.PSTN_ORIGIN: Case(headers=("P-Access-Network-Info: GSTN;operator-specific-GI=1",)),
    Reason.UNKNOWN_IP_ORIGIN: Case(sections="policy: {unknown_ip_origin: reject}"),
    Reason.EVIDENCE_UNAVAILABLE: Case(sections="evidence: {when_full: refuse}", before=loses_evidence),
    Reason.CALLS_PER_SECOND: Case(customer="limits: {calls_per_second: 1}", before=calls),
    Reason.CONCURRENT_CALLS: Case(customer="limits: {concurrent_calls: 1}", before=calls),
    Reason.NUMBER_RATE: Case(customer="limits: {per_number: {calls_per_second: 1}}", before=calls),
    Reason.NUMBER_CONCURRENT: Case(customer="limits: {per_number: {concurrent_calls: 1}}", before=calls),
    Reason.ASN_RATE: Case(sections=PER_ASN % "calls_per_second", before=calls),
    Reason.ASN_CONCURRENT: Case(sections=PER_ASN % "concurrent_calls", before=calls),
    Reason.DESTINATION_RATE: Case(customer=TO_PREFIX % "calls_per_second", before=calls),
    Reason.DESTINATION_CONCURRENT: Case(customer=TO_PREFIX % "concurrent_calls", before=calls),
    Reason.DESTINATION_HOUR: Case(customer=TO_PREFIX % "calls_per_hour", before=calls),
    Reason.CALLED_NUMBER_RATE: Case(customer="limits: {calls_to_number_per_minute: 1}", before=calls),
    Reason.SEQUENTIAL_CALLS: Case(
        customer="limits: {sequential: {numbers: 2}}",
        before=calls_two_in_a_row,
        called=f"+1{int(FAR[2:]) + 1}",
    ),
    Reason.SHORT_CALLS: Case(customer="limits: {short_calls: {calls: 1}}", before=talks_short_and_calls),
    Reason.SPOOF_BURST: Case(customer="limits: {spoofing: {refusals: 1}}", before=spoofs_and_calls),
    Reason.MESSAGE_RATE: Case(customer="limits: {messages_per_second: 1}", before=sends_a_message, method="MESSAGE"),
    Reason.DO_NOT_ORIGINATE: Case(sections=listed("do_not_originate", OWNED)),
    Reason.NUMBER_DENIED: Case(sections=listed("deny", OWNED)),
    Reason.INVALID_CALLED: Case(sections=f"policy: {{{ENFORCED}}}", called="+12021110100"),
    Reason.UNALLOCATED_CALLED: Case(sections=f"policy: {{{ENFORCED}}}", called="+12335550100"),
    Reason.CALLER_IS_CALLED: Case(sections=f"policy: {{{ENFORCED}}}", called=OWNED),
}


def test_every_reason_to_refuse_has_a_case() -> None:
    """A new rule or limit must be walked by an emergency call before it ships."""
    assert set(CASES) | INTO_OUR_NETWORK | ONLY_WATCHED | SHED == set(STATUS_OF)


def test_emergency_call_of_who_would_be_challenged_is_one() -> None:
    """Where nothing is enforced, what a call owes is told of any other call only."""
    snapshot = make_snapshot(
        old=f"customers:\n  - {ACME}", new=f"policy: {{mode: monitor}}\ncustomers:\n  - {ACME}\n    {CREDENTIALS}"
    )
    play = Playbook(snapshot=snapshot)
    for number, reason in (("911", Reason.EMERGENCY), (FAR, Reason.AUTHENTICATION_REQUIRED)):
        play.stranger.sends(request("INVITE", f"sip:{number}@{OURS_FOR_CUSTOMERS}", source=STRANGER)).gets(100)
        play.carrier.gets("INVITE")
        assert play.attempts[-1].verdict.reason is reason


@pytest.mark.parametrize("credentials", [False, True])
def test_national_emergency_number_passes_from_an_address_of_nobodys(credentials: bool) -> None:
    """Who calls may be a customer in any of their countries whose address has changed, or who has yet to log in."""
    secret = f"credentials: [{{username: alice, ha1_sha256: {'a' * 64}}}]"
    more = f"{ACME}\n    {secret}" if credentials else ACME
    play = Playbook(snapshot=make_snapshot(old=f"customers:\n  - {ACME}", new=f"customers:\n  - {more}"))
    for number in ("110", "+49110", "933"):
        play.stranger.sends(request("INVITE", f"sip:{number}@{OURS_FOR_CUSTOMERS}", source=STRANGER)).gets(100)
        play.carrier.gets("INVITE")
        assert play.attempts[-1].verdict.is_emergency
    play.stranger.sends(request("INVITE", f"sip:999@{OURS_FOR_CUSTOMERS}", source=STRANGER))
    play.stranger.gets(407 if credentials else 403)


def _is_refused(case: Case, play: Playbook, reason: Reason) -> None:
    """A call to an ordinary number is refused for this reason."""
    peer = case.peer(play)
    uri = f"sip:{case.called}@{OURS_FOR_CUSTOMERS}"
    sent = case.sent(uri)
    peer.sends(sent)
    if reason is Reason.AUTHENTICATION_FAILED:
        challenged = peer.gets(407)
        peer.sends(ack_of(sent, challenged))
        sent = case.sent(uri, authorization(challenges(challenged)[0], username="alice", word="wrong"))
        peer.sends(sent)
    refusal = peer.gets(STATUS_OF[reason])
    if case.method == "INVITE":
        peer.sends(ack_of(sent, refusal)).gets_nothing()
    assert (play.attempts[-1].verdict.reason, play.attempts[-1].verdict.outcome) == (reason, Outcome.REFUSED)


def _passes(case: Case, play: Playbook, uri: str) -> None:
    """The same, for help, goes to the carrier."""
    case.peer(play).sends(case.sent(uri))
    if case.method == "INVITE":
        case.peer(play).gets(100)
    assert start_line(play.carrier.gets(case.method)).startswith(case.method)
    verdict = play.attempts[-1].verdict
    assert (verdict.reason, verdict.outcome, verdict.is_emergency) == (Reason.EMERGENCY, Outcome.ALLOWED, True)


@pytest.mark.parametrize("reason", CASES, ids=str)
def test_call_for_help_passes_where_a_call_is_refused(reason: Reason) -> None:
    """Before the refusal and after it, however the number is written, ten times in a row."""
    case = CASES[reason]
    play = case.play()
    _passes(case, play, EMERGENCIES[0])
    _is_refused(case, play, reason)
    for uri in EMERGENCIES * 3:
        _passes(case, play, uri)
    play.customer.gets_nothing()


@pytest.mark.parametrize(
    "reason",
    [reason for reason in CASES if STATUS_OF[reason] == 503 and reason is not Reason.EVIDENCE_UNAVAILABLE],
    ids=str,
)
def test_call_for_help_uses_up_nothing(reason: Reason) -> None:
    """Ten of them, and the first ordinary call after what happened before meets the very same limits."""
    case = CASES[reason]
    play = replace(case, before=lambda play: None).play()
    for _ in range(10):
        _passes(case, play, EMERGENCIES[0])
    case.before(play)
    assert all(attempt.verdict.passes or attempt.verdict.status == 403 for attempt in play.attempts)
    assert play.pipeline.calls.active_of("acme") <= 1 + (reason is Reason.SEQUENTIAL_CALLS)


@pytest.mark.parametrize("is_stranger", [False, True])
def test_call_for_help_passes_while_we_shed(is_stranger: bool) -> None:
    """At the highest share, from a customer and from nobody we know."""
    case = Case(is_stranger=is_stranger)
    play = case.play()
    play.pipeline.overload.is_active = True
    play.pipeline.overload.percent = 95
    _passes(case, play, EMERGENCIES[0])


@pytest.mark.parametrize("behind", [";tag=a,b", ";tag=a;x=1,2", ";tag=a, sip:b@x"])
def test_call_for_help_with_commas_behind_its_from_passes(behind: str) -> None:
    """No address is read of it, so that another call is refused for it; but all see the same tag, and nothing else."""
    from_ = f"<sip:{OWNED}@x>{behind}"
    play = Playbook()
    play.customer.sends(request("INVITE", EMERGENCIES[0], from_=from_)).gets(100)
    assert values(play.carrier.gets("INVITE"), "From") == [from_]
    other = Playbook()
    other.customer.sends(request("INVITE", f"sip:{FAR}@{OURS_FOR_CUSTOMERS}", from_=from_)).gets(403)
    assert other.attempts[0].verdict.reason is Reason.FROM_NOT_OWNED


def test_call_for_help_of_a_scanner_passes() -> None:
    """Who is ignored for scanning can call for help."""
    case = Case(sections="policy: {scanners: {requests: 1}}", is_stranger=True)
    play = case.play()
    _is_refused(case, play, Reason.UNKNOWN_SOURCE)
    play.stranger.sends(case.sent(f"sip:{FAR}@{OURS_FOR_CUSTOMERS}")).gets_nothing()
    assert play.count(Cause.SCANNER_IGNORED, Side.CUSTOMERS) == 1
    for uri in EMERGENCIES:
        _passes(case, play, uri)


LIMITS_OF_THE_CALLED = {
    Reason.CALLS_PER_SECOND: "limits: {calls_per_second: 1}",
    Reason.CONCURRENT_CALLS: "limits: {concurrent_calls: 1}",
    Reason.CALLED_NUMBER_RATE: "limits: {calls_to_number_per_minute: 1}",
}
CALLBACKS = {
    "marked": ("<sip:+12025559110@psap.example>;tag=far", "Priority: PSAP-Callback"),
    "its number": ("<sip:911@psap.example>;tag=far", "Subject: test"),
    "withheld": ("<sip:anonymous@anonymous.invalid>;tag=far", "priority : psap-callback"),
}


def _calls_back(play: Playbook, from_: str, header: str) -> bytes:
    uri = f"sip:{OWNED}@{OURS_FOR_CARRIERS}"
    sent = request("INVITE", uri, header, source=play.carrier.address, from_=from_)
    play.carrier.sends(sent)
    return sent


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("reason", LIMITS_OF_THE_CALLED, ids=str)
def test_emergency_centre_that_calls_back_meets_no_limit(reason: Reason, callback: str) -> None:
    """RFC 7090: while other calls of the carrier are refused, again and again."""
    snapshot = make_snapshot(old=ACME, new=f"{ACME}\n    {LIMITS_OF_THE_CALLED[reason]}")
    play = Playbook(snapshot=snapshot)
    play.carrier.sends(invite_from_carrier()).gets(100)
    play.customer.gets("INVITE")
    play.refuses(invite_from_carrier(), 503, by=play.carrier)
    assert play.attempts[-1].verdict.reason is reason
    for _ in range(3):
        _calls_back(play, *CALLBACKS[callback])
        play.carrier.gets(100)
        play.customer.gets("INVITE")
        assert play.attempts[-1].verdict.reason is Reason.EMERGENCY
        assert play.attempts[-1].verdict.is_emergency


def test_emergency_centre_calls_back_while_we_shed() -> None:
    """And where no evidence can be written."""
    play = Playbook(snapshot=make_snapshot(more="evidence: {when_full: refuse}"))
    play.pipeline.has_evidence_room = False
    play.pipeline.overload.is_active = True
    play.pipeline.overload.percent = 100
    _calls_back(play, *CALLBACKS["marked"])
    play.carrier.gets(100)
    play.customer.gets("INVITE")


@pytest.mark.parametrize(
    ("trusted", "from_", "header"),
    [
        (True, FOREIGN, "Resource-Priority: esnet.1"),
        (True, FOREIGN, "Priority: emergency"),
        (True, FOREIGN, "X-Priority: psap-callback"),
        (False, FOREIGN, "Priority: psap-callback"),
        (False, "911", "Subject: test"),
    ],
)
def test_what_an_untrusted_trunk_or_another_header_says_lifts_no_limit(trusted: bool, from_: str, header: str) -> None:
    """RFC 4412, RFC 7090 §5: a word that anybody can write grants nothing."""
    text = f"{ACME}\n    {LIMITS_OF_THE_CALLED[Reason.CONCURRENT_CALLS]}"
    more = "" if trusted else "    trusted_identity: false\n"
    play = Playbook(snapshot=make_snapshot(old=ACME, new=text, more=more))
    play.carrier.sends(invite_from_carrier()).gets(100)
    play.customer.gets("INVITE")
    sent = _calls_back(play, f"<sip:{from_}@psap.example>;tag=far", header)
    play.carrier.sends(ack_of(sent, play.carrier.gets(503))).gets_nothing()


def test_mark_of_a_callback_lends_nobody_a_number() -> None:
    """No limit holds for it; who may call as whom does."""
    play = Playbook()
    sent = _calls_back(play, "<sip:+12025550101@psap.example>;tag=far", "Priority: psap-callback")
    play.carrier.sends(ack_of(sent, play.carrier.gets(403))).gets_nothing()


@pytest.mark.parametrize("is_stranger", [False, True])
@pytest.mark.parametrize(
    ("called", "leaves"),
    [
        ("sip:911;rn=+19005550100@{0}", "sip:911@{0}"),
        ("sip:911;RN=+19005550100;npdi;cic=+10288@{0};user=phone", "sip:911@{0};user=phone"),
        ("sip:911%3Brn%3D+19005550100@{0}", "sip:911@{0}"),
        ("tel:911;rn=+19005550100;phone-context=+1", "tel:911;phone-context=+1"),
        ("sip:911;rnx=1@{0};rn=1", "sip:911;rnx=1@{0};rn=1"),
        ("tel:112;phone-context=+19005551", "tel:112"),
        ("sip:112;phone-context=+1-900-5551;npdi@{0};user=phone", "sip:112@{0};user=phone"),
        ("sip:112%3BPhone-Context%3D%2B19005551@{0}", "sip:112@{0}"),
        ("tel:112;phone-context=+353", "tel:112;phone-context=+353"),
        ("tel:112;phone-context=acme12345.example", "tel:112;phone-context=acme12345.example"),
    ],
)
def test_call_for_help_is_not_led_to_another_number(called: str, leaves: str, is_stranger: bool) -> None:
    """Anybody may call for help: with a routing number beside it (RFC 4694) anybody could call anything."""
    play = Playbook(snapshot=make_snapshot(old=f"customers:\n  - {ACME}", new=f"customers:\n  - {ACME}"))
    case = Case(is_stranger=is_stranger)
    peer = case.peer(play)
    peer.sends(case.sent(called.format(OURS_FOR_CUSTOMERS))).gets(100)
    there = str(play.carrier.address)
    assert start_line(play.carrier.gets("INVITE")) in {
        f"INVITE {leaves.format(host)} SIP/2.0" for host in (OURS_FOR_CUSTOMERS, there)
    }
