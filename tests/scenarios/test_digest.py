"""Customers without fixed addresses: challenged, believed when they answer, and refused when they answer wrongly."""

from __future__ import annotations

import hashlib

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.access import Proof
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.digest import authorization, challenges
from tests.kit.messages import (
    CARRIER,
    Dialog,
    ack_of,
    answer,
    cancel_of,
    invite,
    outgoing_uri,
    request,
    value,
    values,
)
from tests.kit.playbook import STRANGER, Playbook, make_snapshot

USER, PASSWORD = "roamer-1", "correct horse"
NUMBER = "+12025550250"
FROM = f"<sip:{NUMBER}@roamer.example>;tag=r"
OWNED_FROM = '"Alice" <sip:+12025550100@acme.example>;tag=a'


def ha1(username: str, password: str) -> str:
    return hashlib.sha256(f"{username}:edge-test:{password}".encode()).hexdigest()


def snapshot_with(acme: str = "mode: enforce", roamer: str = "mode: enforce", node: str = "") -> Snapshot:
    """The network of the other scenarios and a customer that is known by its password only."""
    new = f"""{node}
customers:
  - id: roamer
    credentials: [{{username: {USER}, ha1_sha256: {ha1(USER, PASSWORD)}}}]
    country: US
    numbers: ["{NUMBER}"]
    {roamer}
  - id: acme
    {acme}
"""
    return make_snapshot(old="customers:\n  - id: acme\n", new=new)


def play_with(acme: str = "mode: enforce", roamer: str = "mode: enforce", node: str = "") -> Playbook:
    return Playbook(snapshot=snapshot_with(acme, roamer, node))


def challenge_of(play: Playbook, **fields: str) -> dict[str, str]:
    """A stranger calls, is challenged, and acknowledges that."""
    sent = invite(source=STRANGER, from_=FROM, **fields)  # type: ignore[arg-type]
    refusal = play.stranger.sends(sent).gets(407)
    play.stranger.sends(ack_of(sent, refusal)).gets_nothing()
    (challenge,) = challenges(refusal)
    return challenge


def authorized(challenge: dict[str, str], **changes: str | int) -> bytes:
    """The roamer's INVITE with the answer to a challenge."""
    fields: dict[str, str | int] = {"username": USER, "word": PASSWORD, **changes}
    return invite(authorization(challenge, **fields), source=STRANGER, from_=FROM)  # type: ignore[arg-type]


def test_stranger_is_challenged_and_nothing_is_recorded() -> None:
    """407 with realm, nonce, SHA-256 and qop=auth; counted, no attempt, and its ACK is absorbed."""
    play = play_with()
    challenge = challenge_of(play)
    assert (challenge["realm"], challenge["algorithm"], challenge["qop"]) == ("edge-test", "SHA-256", "auth")
    assert "stale" not in challenge
    assert play.attempts == []
    assert (play.count(Cause.CHALLENGED), play.count(Cause.ACK_OF_REFUSAL)) == (1, 1)
    play.is_over()


def test_who_answers_rightly_is_the_customer() -> None:
    """The call goes out on its account, proved by digest; what was meant for us does not leave."""
    play = play_with()
    other = 'Proxy-Authorization: Digest username="x", realm="elsewhere", nonce="n", uri="sip:x", response="0"'
    line = authorization(challenge_of(play), username=USER, word=PASSWORD)
    play.stranger.sends(invite(line, other, source=STRANGER, from_=FROM)).gets(100)  # type: ignore[arg-type]
    invited = play.carrier.gets("INVITE")
    assert values(invited, "Proxy-Authorization") == [other.partition(": ")[2]]
    (attempt,) = play.attempts
    assert (attempt.customer, attempt.verdict.proof) == ("roamer", Proof.DIGEST)
    assert attempt.facts.source.origin.identity == USER
    play.carrier.sends(answer(invited, 486))
    play.carrier.gets("ACK")
    play.stranger.ignores(486)
    play.waits(40)
    play.stranger.ignores(486)
    play.is_over()


def test_its_numbers_are_still_checked() -> None:
    """A password gives nobody another's number."""
    play = play_with()
    line = authorization(challenge_of(play), username=USER, word=PASSWORD)
    play.refuses(invite(line, source=STRANGER, from_=OWNED_FROM), 403, by=play.stranger)  # type: ignore[arg-type]
    assert play.attempts[-1].verdict.reason is Reason.FROM_NOT_OWNED
    play.is_over()


def test_call_goes_on_by_its_dialog_token() -> None:
    """ACK with the INVITE's credentials, and BYE without any: neither is challenged, and none of it leaves."""
    play = play_with()
    line = authorization(challenge_of(play), username=USER, word=PASSWORD)
    play.stranger.sends(invite(line, source=STRANGER, from_=FROM)).gets(100)  # type: ignore[arg-type]
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200))
    dialog = Dialog(invited, play.stranger.gets(200), caller=STRANGER)
    play.stranger.sends(dialog.from_caller("ACK", line, cseq=dialog.invite_cseq))
    assert not values(play.carrier.gets("ACK"), "Proxy-Authorization")
    own = f"P-Asserted-Identity: <sip:{NUMBER}@roamer.example>"
    play.stranger.sends(dialog.from_caller("UPDATE", own, "Privacy: none"))
    updated = play.carrier.gets("UPDATE")
    assert value(updated, "P-Asserted-Identity") == own.partition(": ")[2]  # its own number, on its own account
    play.carrier.sends(answer(updated, 200))
    play.stranger.gets(200)
    play.stranger.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.stranger.gets(200)
    play.is_over()


def test_cancel_is_never_challenged() -> None:
    """CANCEL of an authenticated INVITE ends it (§22.1); CANCEL of nothing is 481."""
    play = play_with()
    sent = authorized(challenge_of(play))
    play.stranger.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.stranger.gets(180)
    play.stranger.sends(cancel_of(sent)).gets(200)
    play.carrier.sends(answer(play.carrier.gets("CANCEL"), 200))
    play.carrier.sends(answer(invited, 487))
    play.carrier.gets("ACK")
    refusal = play.stranger.gets(487)
    play.stranger.sends(ack_of(sent, refusal)).gets_nothing()
    play.stranger.sends(cancel_of(invite(source=STRANGER))).gets(481)  # type: ignore[arg-type]
    play.is_over()


@pytest.mark.parametrize(
    "changes",
    [{"word": "wrong"}, {"username": "nobody"}, {"method": "BYE"}, {"qop": "auth-int"}, {"count": 0}],
    ids=lambda changes: next(iter(changes)),
)
def test_wrong_answer_is_refused_and_recorded(changes: dict[str, str | int]) -> None:
    """403 with a reason, one attempt in evidence, and the same words whether user or password is wrong."""
    play = play_with()
    refusal = play.refuses(authorized(challenge_of(play), **changes), 403, by=play.stranger)
    (attempt,) = play.attempts
    assert (attempt.verdict.outcome, attempt.verdict.reason) == (Outcome.REFUSED, Reason.AUTHENTICATION_FAILED)
    assert (attempt.customer, attempt.verdict.proof) == ("", Proof.NONE)
    assert "credentials" in value(refusal, "Warning")
    assert play.count(Cause.REFUSED) == 1
    play.is_over()


def test_two_answers_for_our_realm_are_refused() -> None:
    """Which of them would hold is not ours to guess."""
    play = play_with()
    line = authorization(challenge_of(play), username=USER, word=PASSWORD)
    play.refuses(invite(line, line, source=STRANGER, from_=FROM), 403, by=play.stranger)  # type: ignore[arg-type]
    play.is_over()


def test_replayed_answer_is_challenged_anew() -> None:
    """The same nonce count again, from whoever recorded it: stale=true, counted apart, no call."""
    play = play_with()
    challenge = challenge_of(play)
    sent = authorized(challenge)
    play.stranger.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.stranger.sends(sent).gets(100)  # a retransmission is no replay
    line = authorization(challenge, username=USER, word=PASSWORD)
    refusal = play.stranger.sends(invite(line, source=STRANGER, from_=FROM)).gets(407)  # type: ignore[arg-type]
    assert challenges(refusal)[0]["stale"] == "true"
    assert play.count(Cause.NONCE_REUSED) == 1
    play.stranger.sends(authorized(challenge, count=2)).gets(100)
    second = play.carrier.gets("INVITE")
    for one in (invited, second):
        play.carrier.sends(answer(one, 486))
        play.carrier.gets("ACK")
        play.stranger.ignores(486)
    play.waits(40)
    play.stranger.ignores(486)
    play.is_over()


def test_old_nonce_is_stale() -> None:
    """Right password, nonce of yesterday: a new challenge that says so, and the answer to that one passes."""
    play = play_with()
    old = challenge_of(play)
    play.waits(301)
    (fresh,) = challenges(play.stranger.sends(authorized(old)).gets(407))
    assert (fresh["stale"], play.count(Cause.NONCE_STALE)) == ("true", 1)
    play.refuses(authorized(old, word="wrong"), 403, by=play.stranger)
    play.stranger.sends(authorized(fresh)).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 486))
    play.carrier.gets("ACK")
    play.stranger.ignores(486)
    play.waits(40)
    play.stranger.ignores(486)
    play.is_over()


def test_nonce_does_not_outlive_the_worker() -> None:
    """What was used before a restart is not known after it, so no older nonce is taken."""
    play = play_with()
    challenge = challenge_of(play)
    play.restart()
    play.pipeline.wall_offset_s += 1
    play.stranger.sends(authorized(challenge)).gets(407)
    assert play.count(Cause.NONCE_STALE) == 1


def test_emergency_call_is_never_challenged() -> None:
    """With no credentials, and with wrong ones."""
    play = play_with()
    challenge = challenge_of(play)
    wrong = authorization(challenge, username=USER, word="wrong")
    for extra in ((), (wrong,)):
        sent = request("INVITE", outgoing_uri("911"), *extra, source=STRANGER, from_=FROM)
        play.stranger.sends(sent).gets(100)
        play.carrier.sends(answer(play.carrier.gets("INVITE"), 486))
        play.carrier.gets("ACK")
        play.stranger.sends(ack_of(sent, play.stranger.gets(486)))
    assert [attempt.verdict.reason for attempt in play.attempts] == [Reason.EMERGENCY] * 2
    play.is_over()


def test_customer_known_by_its_address_is_not_challenged() -> None:
    """Its address is enough; a header for our realm that it sends all the same is not asked about."""
    play = play_with()
    play.call()
    assert [attempt.verdict.proof for attempt in play.attempts] == [Proof.ADDRESS_UDP]


def test_minimum_proof_challenges_who_can_answer() -> None:
    """An address alone is too weak for this customer: it is challenged, and known when it answers."""
    own = f"credentials: [{{username: acme-1, ha1_sha256: {ha1('acme-1', 'pw')}}}]\n    minimum_proof: digest"
    play = play_with(acme=own)
    sent = invite()
    refusal = play.refuses(sent, 407)
    line = authorization(challenges(refusal)[0], username="acme-1", word="pw")
    play.call(line)
    assert [(one.customer, one.verdict.proof) for one in play.attempts] == [("acme", Proof.DIGEST)]


def test_anothers_credentials_do_not_hold_at_a_customers_address() -> None:
    """Address and password name two customers: neither is believed."""
    own = f"credentials: [{{username: acme-1, ha1_sha256: {ha1('acme-1', 'pw')}}}]\n    minimum_proof: digest"
    play = play_with(acme=own)
    refusal = play.refuses(invite(), 407)
    line = authorization(challenges(refusal)[0], username=USER, word=PASSWORD)
    play.refuses(invite(line, from_=FROM), 403)
    assert play.attempts[-1].verdict.reason is Reason.AUTHENTICATION_FAILED


def test_proof_that_cannot_be_had_is_refused() -> None:
    """Over UDP, from an address that may be forged: 403 `proof_too_weak`; an emergency call passes."""
    play = play_with(acme="minimum_proof: address-tcp")
    play.refuses(invite(), 403)
    play.customer.sends(invite(number="911")).gets(100)
    assert [one.verdict.reason for one in play.attempts] == [Reason.PROOF_TOO_WEAK, Reason.EMERGENCY]


def test_whole_node_in_monitor_mode_challenges_nobody() -> None:
    """A challenge would turn away who has no password; the verdict says that there would have been one."""
    play = play_with(node="policy: {mode: monitor}\n")
    play.stranger.sends(invite(source=STRANGER, from_=FROM)).gets(100)  # type: ignore[arg-type]
    verdict = play.attempts[-1].verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.MONITORED, Reason.AUTHENTICATION_REQUIRED)
    assert play.count(Cause.CHALLENGED) == 0


def test_node_in_monitor_mode_looks_at_credentials_that_come_unasked() -> None:
    """Wrong ones are told of as they would be refused; right ones under a nonce of no day would be asked for again."""
    play = play_with(node="policy: {mode: monitor}\n")
    challenge = {"realm": "edge-test", "nonce": "x" * 40, "algorithm": "SHA-256", "qop": "auth"}
    for word, reason in (("wrong", Reason.AUTHENTICATION_FAILED), (PASSWORD, Reason.AUTHENTICATION_REQUIRED)):
        play.stranger.sends(authorized(challenge, word=word)).gets(100)
        play.carrier.gets("INVITE")
        assert play.attempts[-1].verdict.reason is reason


def test_customer_in_monitor_mode_is_told_of_as_it_would_be_challenged() -> None:
    """Known by its address, which is not enough; a customer that is enforced is challenged on the same node."""
    credentials = f"credentials: [{{username: acme-1, ha1_sha256: {ha1('acme-1', 'x')}}}]"
    play = play_with(acme=f"mode: monitor\n    minimum_proof: digest\n    {credentials}")
    play.customer.sends(invite()).gets(100)
    play.carrier.gets("INVITE")
    verdict = play.attempts[-1].verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.MONITORED, Reason.AUTHENTICATION_REQUIRED)
    assert "acme would have been challenged" in verdict.text
    challenge_of(play)


SCANNERS = "policy: {scanners: {requests: 3, window_s: 60, ignore_s: 600}}\n"


def test_customer_that_calls_in_a_burst_before_its_first_login_gets_through() -> None:
    """As a PBX after a restart does: so many challenges that its address counts as a scanner's, then the answers."""
    play = play_with(node=SCANNERS)
    asked = [challenge_of(play) for _ in range(3)]
    assert len(play.pipeline.scanners) == 1
    play.stranger.sends(invite(source=STRANGER, from_=FROM)).gets_nothing()  # type: ignore[arg-type]
    for challenge in asked:
        play.stranger.sends(authorized(challenge)).gets(100)
        play.carrier.gets("INVITE")
    assert [attempt.customer for attempt in play.attempts] == ["roamer"] * 3
    assert len(play.pipeline.scanners) == 0
    challenge_of(play)


def test_credentials_that_are_not_right_lift_nothing() -> None:
    """Nor do a hundred of them, nor such as are meant for another realm."""
    play = play_with(node=SCANNERS)
    challenge, *_ = (challenge_of(play) for _ in range(3))
    for changes in ({"word": "wrong"}, {"username": "nobody"}):
        play.stranger.sends(authorized(challenge, **changes)).gets_nothing()
    play.stranger.sends(authorized({**challenge, "realm": "elsewhere"})).gets_nothing()
    many = [f"Proxy-Authorization: Digest realm=r{n}, username=u" for n in range(100)]
    play.stranger.sends(invite(*many, source=STRANGER, from_=FROM)).gets_nothing()  # type: ignore[arg-type]
    assert play.count(Cause.SCANNER_IGNORED) == 4


def test_carriers_are_not_challenged() -> None:
    """Credentials are the customers' side's."""
    play = play_with()
    sent = request("INVITE", f"sip:{NUMBER}@192.0.2.2:5070", source=CARRIER, from_="<sip:+14155550123@c.example>;tag=c")
    play.carrier.sends(sent).ignores()
    assert play.count(Cause.CHALLENGED, Side.CARRIERS) == 0


def test_options_of_a_stranger_is_challenged_and_answered() -> None:
    """A customer behind changing addresses can see that we are alive."""
    play = play_with()
    uri = "sip:192.0.2.1:5060"
    refusal = play.stranger.sends(request("OPTIONS", uri, source=STRANGER)).gets(407)
    line = authorization(challenges(refusal)[0], username=USER, word=PASSWORD, method="OPTIONS")
    play.stranger.sends(request("OPTIONS", uri, line, source=STRANGER)).gets(200)
    assert play.attempts == []
