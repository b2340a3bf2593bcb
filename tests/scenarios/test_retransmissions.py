"""What is sent again is absorbed where it was seen before, answered again where that helps, and charged once."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.policy.verdict import Reason
from tests.kit.messages import FOREIGN, OWNED, ack_of, answer, invite, request
from tests.kit.playbook import Playbook

REFUSED_FROM = f"<sip:{FOREIGN}@acme.example>;tag=x"


def test_invite_retransmission_is_not_charged_twice() -> None:
    """Before any answer from the far end: the 100 again, nothing downstream, one attempt."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    play.carrier.gets("INVITE")
    for _ in range(3):
        play.customer.sends(sent).gets(100)
    assert len(play.attempts) == 1
    assert play.count(Cause.RETRANSMISSION) == 3
    assert play.pipeline.counters.customers["acme", play.attempts[0].verdict.outcome] == 1


def test_invite_retransmission_while_it_rings_gets_the_last_provisional() -> None:
    """RFC 3261 §17.2.1: in Proceeding the last provisional response is sent again."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    first = play.customer.gets(180)
    assert play.customer.sends(sent).gets(180) == first


def test_invite_retransmission_after_its_2xx_is_swallowed() -> None:
    """RFC 6026 §7.1: in Accepted an INVITE retransmission is neither answered nor passed on."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200))
    play.customer.gets(200)
    play.customer.sends(sent)
    play.customer.gets_nothing()
    play.carrier.gets_nothing()
    play.waits(31.9)
    play.customer.sends(sent)
    play.customer.gets_nothing()
    assert len(play.attempts) == 1


def test_invite_retransmission_after_a_refusal_gets_the_refusal_again() -> None:
    """RFC 3261 §17.2.1: in Completed the final response is sent again; in Confirmed nothing is."""
    play = Playbook()
    sent = request("INVITE", "sip:+13105550199@192.0.2.1:5060", from_=REFUSED_FROM)
    refusal = play.customer.sends(sent).gets(403)
    assert play.customer.sends(sent).gets(403) == refusal
    play.customer.sends(ack_of(sent, refusal)).gets_nothing()
    play.customer.sends(sent).gets_nothing()
    play.customer.sends(ack_of(sent, refusal)).gets_nothing()
    assert [attempt.verdict.reason for attempt in play.attempts] == [Reason.FROM_NOT_OWNED]
    assert play.count(Cause.ACK_OF_REFUSAL) == 2
    play.is_over()


def test_hundred_copies_at_once_are_one_attempt() -> None:
    """However fast and often it comes, a request is decided once, forwarded once and charged once."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent, times=100)
    assert len(play.customer.ignores(100)) == 100
    play.carrier.gets("INVITE")
    play.carrier.gets_nothing()
    assert len(play.attempts) == 1
    assert play.count(Cause.RETRANSMISSION) == 99
    assert play.disposed(Disposition.FORWARDED) == 1
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 1


@pytest.mark.parametrize("status", [200, 486], ids=["answered", "refused"])
def test_non_invite_retransmission_gets_the_final_again(status: int) -> None:
    """RFC 3261 §17.2.2: absorbed in Trying, answered again in Completed, for 64*T1."""
    play = Playbook()
    dialog = play.call()
    sent = dialog.from_caller("BYE", branch="bye")
    play.customer.sends(sent)
    bye = play.carrier.gets("BYE")
    play.customer.sends(sent).gets_nothing()
    play.carrier.gets_nothing()
    play.carrier.sends(answer(bye, status))
    final = play.customer.gets(status)
    assert play.customer.sends(sent).gets(status) == final
    play.waits(31.0)
    play.customer.sends(sent).gets(status)
    play.is_over()


def test_retransmitted_responses_of_the_far_end_are_absorbed() -> None:
    """A final response to a non-INVITE comes once to the caller (§17.1.2); a refusal of an INVITE is acknowledged
    each time and passed on once (§17.1.1.2)."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO"))
    info = play.carrier.gets("INFO")
    play.carrier.sends(answer(info, 200))
    play.customer.gets(200)
    play.carrier.sends(answer(info, 200))
    play.customer.gets_nothing()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 486))
    play.carrier.gets("ACK")
    refusal = play.customer.gets(486)
    play.carrier.sends(answer(invited, 486)).gets("ACK")
    play.customer.gets_nothing()
    play.customer.sends(ack_of(sent, refusal))
    play.carrier.gets_nothing()
    assert play.count(Cause.RETRANSMISSION, Side.CARRIERS) == 2


def test_bye_sent_again_does_not_end_the_call_twice() -> None:
    """One ending per call, whatever arrives how often."""
    play = Playbook()
    dialog = play.call()
    sent = dialog.from_caller("BYE", branch="once")
    play.customer.sends(sent, times=5)
    play.carrier.gets("BYE")
    play.carrier.sends(dialog.from_callee("BYE"))
    play.customer.gets("BYE")
    assert len(play.endings) == 1
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 0


def test_same_branch_from_another_host_is_another_transaction() -> None:
    """RFC 3261 §17.2.3: branch and sent-by together; two peers may by chance use the same branch."""
    play = Playbook()
    one = invite(via="SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKsame;rport")
    other = invite(via="SIP/2.0/UDP 198.51.100.10:5062;branch=z9hG4bKsame;rport")
    play.customer.sends(one).gets(100)
    play.carrier.gets("INVITE")
    play.customer.sends(other).gets(100)
    play.carrier.gets("INVITE")
    assert len(play.attempts) == 2


@pytest.mark.parametrize("branch", ["", ";branch=1", ";branch=z9hG4bK"], ids=["none", "old", "cookie-only"])
def test_request_without_the_magic_cookie_is_matched_by_the_old_rules(branch: str) -> None:
    """RFC 3261 §17.2.3: Request-URI, tags, Call-ID, CSeq and top Via tell retransmission, ACK and next call apart."""
    play = Playbook()
    via = f"SIP/2.0/UDP 198.51.100.10:5060{branch}"
    sent = request("INVITE", "sip:+13105550199@192.0.2.1:5060", via=via, from_=REFUSED_FROM, call_id="old")
    refusal = play.customer.sends(sent).gets(403)
    play.customer.sends(sent).gets(403)
    play.customer.sends(ack_of(sent, refusal)).gets_nothing()
    play.customer.sends(sent).gets_nothing()
    assert len(play.attempts) == 1
    good = f"<sip:{OWNED}@acme.example>;tag=x"
    play.customer.sends(request("INVITE", "sip:+13105550199@192.0.2.1:5060", via=via, from_=good, call_id="new"))
    play.customer.gets(100)
    play.carrier.gets("INVITE")
    assert len(play.attempts) == 2
