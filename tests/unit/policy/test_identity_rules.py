"""Which claims of a customer pass, which refuse its call, and what it may pass on (policy/identity_rules.py)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import CARRIER, CUSTOMER, FAR, FOREIGN, OWNED, invite, invite_from_carrier
from tests.kit.passports import identity
from tests.kit.playbook import make_snapshot
from tests.unit.policy.test_claims import passport
from tests.unit.policy.test_engine import verdict_on

SECOND = "+12025550101"
GLOBEX = "+4930901820000"
ANONYMOUS = "<sip:anonymous@anonymous.invalid>;tag=x"
SPOOFED = f"<sip:{FOREIGN}@x>;tag=x"
MINE, OTHERS = passport({"orig": {"tn": OWNED[1:]}}), passport({"orig": {"tn": FOREIGN[1:]}})

ACME = 'id: acme\n    sources: ["198.51.100.10/32"]'


def reason_for(*extra: str, policy: str = "", from_: str = f"<sip:{OWNED}@x>;tag=x") -> Reason:
    snapshot = make_snapshot(old=ACME, new=f"{ACME}\n    {policy}") if policy else None
    return verdict_on(invite(*extra, from_=from_), CUSTOMER, Side.CUSTOMERS, snapshot=snapshot).reason


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("P-Preferred-Identity", f"<sip:{OWNED}@x>", Reason.IDENTITY_OWNED),
        ("P-Preferred-Identity", f"<sip:{SECOND}@x>, <tel:{OWNED}>", Reason.IDENTITY_OWNED),
        ("P-Preferred-Identity", f"<sip:{OWNED}@x>, <tel:{FOREIGN}>", Reason.PPI_NOT_OWNED),
        ("P-Preferred-Identity", f"<sip:{GLOBEX}@x>", Reason.PPI_NOT_OWNED),
        ("P-Preferred-Identity", "<sip:alice@x>", Reason.PPI_NOT_OWNED),
        ("P-Preferred-Identity", "<sip:anonymous@anonymous.invalid>", Reason.IDENTITY_OWNED),
        ("P-Preferred-Identity", "<nonsense", Reason.PPI_NOT_OWNED),
        ("Remote-Party-ID", f"<sip:{OWNED}@x>;party=calling;privacy=full", Reason.IDENTITY_OWNED),
        ("Remote-Party-ID", f"<sip:{FOREIGN}@x>;screen=yes", Reason.RPID_NOT_OWNED),
        ("Remote-Party-ID", f"<sip:{FOREIGN}@x>;party=called", Reason.RPID_NOT_OWNED),
        ("Remote-Party-ID", "<sip:0014155550123@x>;party=called", Reason.RPID_NOT_OWNED),
        ("Remote-Party-ID", f"<nonsense {FOREIGN};party=called", Reason.RPID_NOT_OWNED),
        ("Remote-Party-ID", f"<sip:{FAR}@x>;party=called", Reason.IDENTITY_OWNED),
        ("Remote-Party-ID", f"<sip:{FAR[2:]}@x>;party=called", Reason.IDENTITY_OWNED),
        ("Remote-Party-ID", "<sip:1001@x>;party=called", Reason.IDENTITY_OWNED),
        ("Remote-Party-ID", "<sip:front-desk@x>;party=called", Reason.IDENTITY_OWNED),
        ("Remote-Party-ID", "<sip:0014155550123@anonymous.invalid>", Reason.RPID_NOT_OWNED),
        ("Remote-Party-ID", "<sip:14155550123>", Reason.RPID_NOT_OWNED),
        ("Remote-Party-ID", '"Anonymous" <sip:anonymous@x>;privacy=full', Reason.IDENTITY_OWNED),
        ("Identity", MINE, Reason.IDENTITY_OWNED),
        ("Identity", OTHERS, Reason.PASSPORT_NOT_OWNED),
        ("y", f"{MINE}, {OTHERS}", Reason.PASSPORT_NOT_OWNED),
        ("Identity", "a.broken!.c;info=<https://x>", Reason.PASSPORT_NOT_OWNED),
        ("Identity", "..c2ln;info=<https://x>", Reason.IDENTITY_OWNED),
        ("P-Asserted-Identity", f"<sip:{OWNED}@x>, <sip:{FOREIGN}@x>", Reason.PAI_NOT_OWNED),
        ("P-Asserted-Identity", f"<sip:{OWNED}@x>, <http://x.example>", Reason.IDENTITY_OWNED),
    ],
)
def test_each_claim_is_checked_beside_a_good_from(header: str, value: str, reason: Reason) -> None:
    """No claim hides another, wherever it stands."""
    assert reason_for(f"{header}: {value}") is reason


def test_rules_speak_in_the_order_of_the_headers_weight() -> None:
    """With everything forged, From is named; with all but From, what is asserted."""
    forged = [
        f"P-Asserted-Identity: <sip:{FOREIGN}@x>",
        f"P-Preferred-Identity: <sip:{FOREIGN}@x>",
        f"Remote-Party-ID: <sip:{FOREIGN}@x>",
        f"Identity: {OTHERS}",
    ]
    order = [Reason.PAI_NOT_OWNED, Reason.PPI_NOT_OWNED, Reason.RPID_NOT_OWNED, Reason.PASSPORT_NOT_OWNED]
    assert reason_for(*forged, from_=SPOOFED) is Reason.FROM_NOT_OWNED
    assert [reason_for(*forged[place:]) for place in range(4)] == order


def test_number_of_ours_in_any_claim_from_the_carrier_is_seen() -> None:
    """One of our numbers that arrives from outside in Remote-Party-ID or a PASSporT is forged like one in From."""
    for line in (f"Remote-Party-ID: <sip:{SECOND}@x>", f"Identity: {passport({'orig': {'tn': SECOND[1:]}})}"):
        data = invite_from_carrier().replace(b"Content-Length", line.encode() + b"\r\nContent-Length")
        assert verdict_on(data, CARRIER, Side.CARRIERS).reason is Reason.OWN_NUMBER_FROM_CARRIER


@pytest.mark.parametrize(
    ("extra", "policy", "reason"),
    [
        ([], "", Reason.IDENTITY_MISSING),
        ([f"P-Asserted-Identity: <sip:{OWNED}@x>"], "", Reason.IDENTITY_OWNED),
        ([f"P-Asserted-Identity: <sip:{FOREIGN}@x>"], "", Reason.PAI_NOT_OWNED),
        ([f"P-Preferred-Identity: <sip:{OWNED}@x>"], "", Reason.IDENTITY_OWNED),
        ([f"P-Preferred-Identity: <sip:{OWNED}@x>, <tel:{SECOND}>"], "", Reason.IDENTITY_OWNED),
        ([f"P-Preferred-Identity: <sip:{FOREIGN}@x>"], "", Reason.PPI_NOT_OWNED),
        ([f"P-Preferred-Identity: <sip:{OWNED}@x>, <tel:{FOREIGN}>"], "", Reason.PPI_NOT_OWNED),
        (["P-Preferred-Identity: <sip:alice@x>"], "", Reason.IDENTITY_MISSING),
        (["P-Preferred-Identity: <sip:anonymous@anonymous.invalid>"], "", Reason.IDENTITY_MISSING),
        (["P-Preferred-Identity: <nonsense"], "", Reason.IDENTITY_MISSING),
        ([f"P-Preferred-Identity: <sip:{OWNED}@x>"], "anonymous: reject", Reason.ANONYMITY_NOT_ALLOWED),
        (
            [f"P-Preferred-Identity: <sip:{OWNED}@x>", f"P-Asserted-Identity: <sip:{FOREIGN}@x>"],
            "",
            Reason.PAI_NOT_OWNED,
        ),
        ([f"P-Asserted-Identity: <sip:{OWNED}@x>"], "anonymous: reject", Reason.ANONYMITY_NOT_ALLOWED),
        ([f"P-Asserted-Identity: <sip:{FOREIGN}@x>"], "anonymous: reject", Reason.ANONYMITY_NOT_ALLOWED),
    ],
)
def test_withheld_number_is_checked_where_it_is_asserted(extra: list[str], policy: str, reason: Reason) -> None:
    """RFC 3323, RFC 3325: anonymous to the called party, never to us."""
    assert reason_for(*extra, policy=policy, from_=ANONYMOUS) is reason


@pytest.mark.parametrize(
    ("privacy", "reason"),
    [
        ("id", Reason.ANONYMITY_NOT_ALLOWED),
        ("header;user", Reason.ANONYMITY_NOT_ALLOWED),
        ("none", Reason.IDENTITY_OWNED),
        ("header;session", Reason.IDENTITY_OWNED),
    ],
)
def test_asking_for_privacy_is_withholding_too(privacy: str, reason: Reason) -> None:
    """Where the customer may not; where it may, nothing changes."""
    assert reason_for(f"Privacy: {privacy}", policy="anonymous: reject") is reason
    assert reason_for(f"Privacy: {privacy}") is Reason.IDENTITY_OWNED


def test_number_under_an_anonymous_host_is_checked() -> None:
    """A foreign number is not excused by a host that says it is withheld."""
    from_ = f"<sip:{FOREIGN}@anonymous.invalid>;tag=x"
    assert reason_for(f"P-Asserted-Identity: <sip:{OWNED}@x>", from_=from_) is Reason.FROM_NOT_OWNED


DIVERTED = f"Diversion: <sip:{OWNED}@x>;reason=unconditional"
DIV = identity({"ppt": "div"}, {"dest": {"tn": [FAR[1:]]}, "div": {"tn": FOREIGN[1:]}, "orig": {"tn": OWNED[1:]}})
HISTORY = f"History-Info: <sip:{OWNED}@x>;index=1, <sip:{FAR}@x>;index=1.1;mp=1"


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ([], Reason.FROM_NOT_OWNED),
        ([DIVERTED], Reason.FORWARDED_BY_OWNER),
        ([HISTORY], Reason.FORWARDED_BY_OWNER),
        ([DIVERTED, HISTORY], Reason.FORWARDED_BY_OWNER),
        ([f"Diversion: <sip:{OWNED}@x>, <sip:{FAR}@x>"], Reason.FORWARDED_BY_OWNER),
        ([f"Diversion: <sip:{FAR}@x>, <sip:{OWNED}@x>"], Reason.FROM_NOT_OWNED),
        ([f"Diversion: <sip:{GLOBEX}@x>"], Reason.FROM_NOT_OWNED),
        ([f"Diversion: <sip:{FAR}@x>", HISTORY], Reason.FROM_NOT_OWNED),
        ([f"History-Info: <sip:{OWNED}@x>;index=1"], Reason.FROM_NOT_OWNED),
        (["Diversion: <nonsense"], Reason.FROM_NOT_OWNED),
        ([DIVERTED, f"P-Asserted-Identity: <sip:{FOREIGN}@x>, <tel:{OWNED}>"], Reason.FORWARDED_BY_OWNER),
        ([DIVERTED, f"P-Asserted-Identity: <sip:{FAR}@x>"], Reason.PAI_NOT_OWNED),
        ([DIVERTED, f"Remote-Party-ID: <sip:{FAR}@x>"], Reason.RPID_NOT_OWNED),
        ([DIVERTED, f"Identity: {OTHERS}"], Reason.FORWARDED_BY_OWNER),
        ([DIVERTED, "P-Access-Network-Info: GSTN"], Reason.PSTN_ORIGIN),
    ],
)
def test_call_passed_on_is_judged_by_who_passed_it_on(extra: list[str], reason: Reason) -> None:
    """Who is named last in each header must be the customer's own; without the policy, From decides."""
    assert reason_for(*extra, policy="forwarded_calls: allow", from_=SPOOFED) is reason
    if reason is Reason.FORWARDED_BY_OWNER:
        assert reason_for(*extra, from_=SPOOFED) is Reason.FROM_NOT_OWNED


def test_withheld_caller_of_a_call_passed_on_is_the_one_asserted() -> None:
    """One caller, and only one, may be named beside the customer's own numbers."""
    one, two = f"P-Asserted-Identity: <sip:{FOREIGN}@x>", f"P-Asserted-Identity: <sip:{FAR}@x>"
    policy = "forwarded_calls: allow"
    assert reason_for(DIVERTED, one, policy=policy, from_=ANONYMOUS) is Reason.FORWARDED_BY_OWNER
    assert reason_for(DIVERTED, one, two, policy=policy, from_=ANONYMOUS) is Reason.PAI_NOT_OWNED
    assert reason_for(DIVERTED, policy=policy) is Reason.IDENTITY_OWNED


def test_own_call_that_names_a_forwarder_is_an_own_call() -> None:
    """A Diversion of the customer's own beside such a From changes nothing."""
    assert reason_for(DIVERTED, policy="forwarded_calls: allow") is Reason.IDENTITY_OWNED
    assert reason_for(DIVERTED) is Reason.IDENTITY_OWNED


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ([f"Diversion: <sip:{FOREIGN}@x>"], Reason.FORWARDER_NOT_OWNED),
        ([f"Diversion: <sip:{GLOBEX}@x>"], Reason.FORWARDER_NOT_OWNED),
        ([f"Diversion: <sip:{FOREIGN}@x>, <sip:{OWNED}@x>"], Reason.FORWARDER_NOT_OWNED),
        ([f"Diversion: <sip:{OWNED}@x>, <sip:{FOREIGN}@x>"], Reason.IDENTITY_OWNED),
        ([DIVERTED, f"History-Info: <sip:{FOREIGN}@x>;index=1, <sip:{FAR}@x>;index=1.1"], Reason.FORWARDER_NOT_OWNED),
        (["Diversion: <sip:0014155550123@x>"], Reason.FORWARDER_NOT_OWNED),
        (["Diversion: <sip:14155550123>"], Reason.FORWARDER_NOT_OWNED),
        ([f"Diversion: <sip:{FOREIGN}@x"], Reason.FORWARDER_NOT_OWNED),
        (["Diversion: <sip:1001@x>"], Reason.IDENTITY_OWNED),
        (["Diversion: <sip:front-desk@x>"], Reason.IDENTITY_OWNED),
        ([DIV], Reason.FORWARDER_NOT_OWNED),
        ([f"P-Asserted-Identity: <sip:{OWNED}@x>", f"Diversion: <sip:{FOREIGN}@x>"], Reason.FORWARDER_NOT_OWNED),
        ([f"P-Asserted-Identity: <sip:{FOREIGN}@x>", f"Diversion: <sip:{FOREIGN}@x>"], Reason.PAI_NOT_OWNED),
        ([f"Diversion: <sip:{FOREIGN}@x>", "P-Access-Network-Info: GSTN"], Reason.FORWARDER_NOT_OWNED),
        # An extension, a name, and nobody: no number that would be somebody else's.
        (["Diversion: <sip:201@pbx>"], Reason.IDENTITY_OWNED),
        (["Diversion: <sip:reception@pbx>"], Reason.IDENTITY_OWNED),
        (["Diversion: <sip:anonymous@anonymous.invalid>"], Reason.IDENTITY_OWNED),
        ([f"History-Info: <sip:{FOREIGN}@x>;index=1"], Reason.IDENTITY_OWNED),
        # The called number under two hosts (RFC 7044 §5): nobody forwarded it.
        ([f"History-Info: <sip:{FAR}@pbx>;index=1, <sip:{FAR}@edge>;index=1.1;np=1"], Reason.IDENTITY_OWNED),
        (["History-Info: <sip:9011442071838750@x>;index=1, <sip:1@x>;index=1.1"], Reason.FORWARDER_NOT_OWNED),
    ],
)
def test_forwarder_beside_an_own_caller_must_be_the_customers(extra: list[str], reason: Reason) -> None:
    """Nobody else's call comes by way of the customer with a From of the customer's own."""
    for more in ("", "forwarded_calls: allow"):
        acme = f"{ACME}\n    {more}" if more else ACME
        new = f"policy: {{rules: {{forwarder_not_owned: enforce}}}}\ncustomers:\n  - {acme}"
        snapshot = make_snapshot(old=f"customers:\n  - {ACME}", new=new)
        verdict = verdict_on(invite(*extra), CUSTOMER, Side.CUSTOMERS, snapshot=snapshot)
        assert verdict.reason is reason
        assert verdict.passes is (reason is Reason.IDENTITY_OWNED)


def test_forwarder_of_somebody_else_is_watched_unless_it_is_enforced() -> None:
    """PBXs write what they like there, so it is told first; what else is wrong refuses all the same."""
    verdict = verdict_on(invite(f"Diversion: <sip:{FOREIGN}@x>"), CUSTOMER, Side.CUSTOMERS)
    assert (verdict.outcome, verdict.reason) == (Outcome.MONITORED, Reason.FORWARDER_NOT_OWNED)
    assert (verdict.rule, verdict.status) == ("forwarder_is_owned", 0)
    assert FOREIGN in verdict.text
    assert reason_for(f"Diversion: <sip:{FOREIGN}@x>", "P-Access-Network-Info: GSTN") is Reason.PSTN_ORIGIN


def test_disagreement_of_claims_is_a_fact_of_the_verdict() -> None:
    """It weighs nothing and is recorded, refused or not."""

    def found(*extra: str) -> list[str]:
        verdict = verdict_on(invite(*extra), CUSTOMER, Side.CUSTOMERS)
        return [signal.detail for signal in verdict.signals if signal.name == "identities_disagree"]

    assert found() == []
    assert found(f"P-Asserted-Identity: <tel:{OWNED}>") == []
    assert found(f"P-Asserted-Identity: <tel:{SECOND}>") == [f"From {OWNED}, P-Asserted-Identity {SECOND}"]
    assert found(f"Remote-Party-ID: <sip:{FOREIGN}@x>") == [f"From {OWNED}, Remote-Party-ID {FOREIGN}"]


def test_emergency_passes_whatever_is_claimed() -> None:
    """No rule of identity is asked before it."""
    snapshot = make_snapshot(old=ACME, new=f"{ACME}\n    anonymous: reject")
    forged = [f"P-Preferred-Identity: <sip:{FOREIGN}@x>", f"Remote-Party-ID: <sip:{FOREIGN}@x>", f"Identity: {OTHERS}"]
    data = invite(*forged, "Privacy: id", uri="urn:service:sos", from_=ANONYMOUS)
    verdict = verdict_on(data, CUSTOMER, Side.CUSTOMERS, snapshot=snapshot)
    assert verdict.outcome is Outcome.ALLOWED


@pytest.mark.parametrize("header", ["Remote-Party-ID: <sip:{}@x>;party=called", "History-Info: <sip:{}@x>, <sip:1@x>"])
def test_who_is_called_is_who_is_called_however_dialled(header: str) -> None:
    """With a digit for an outside line in front, of which no number is read: that is all there is to say of it."""
    dialled = "9011442071838750"
    message = invite(header.format(dialled), number=dialled)
    assert verdict_on(message, CUSTOMER, Side.CUSTOMERS).reason is Reason.INVALID_CALLED
