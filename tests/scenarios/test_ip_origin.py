"""Where calls began, as the signals of their messages say it: what is refused, and what the record tells."""

from __future__ import annotations

import pytest

from edge_proxy.policy.verdict import IpOrigin, Outcome, Reason
from tests.kit.isup_bodies import CALLING, iam, number_parameter, optional
from tests.kit.messages import FAR, OURS_FOR_CUSTOMERS, OWNED, request
from tests.kit.passports import identity
from tests.kit.playbook import MONITORED, Playbook, make_snapshot

NUMBERS = '    numbers: ["+12025550100-+12025550199"]\n'
SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def shaken(level: str) -> str:
    return identity({"ppt": "shaken"}, {"attest": level, "orig": {"tn": OWNED[1:]}})


def call(*extra: str, body: str | bytes = "", from_: str = f"<sip:{OWNED}@x>;tag=1", uri: str = "") -> bytes:
    return request("INVITE", uri or f"sip:{FAR}@{OURS_FOR_CUSTOMERS}", *extra, from_=from_, body=body)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (call("Content-Type: application/ISUP;base=itu-t92+", body=iam(CALLING)), "ISUP all the way"),
        (call("Content-Type: application/isup", body=iam(CALLING).hex()), "originating access ISDN"),
        (
            call(
                "Content-Type: application/ISUP",
                body=iam(optional(0x0A, number_parameter("4155550123", 3)), forward=b"\x00\x00"),
            ),
            "the IAM calls from 4155550123",
        ),
        (call(from_=f"<sip:{OWNED};isup-oli=27@x;user=phone>;tag=1"), "isup-oli=27 (coin line)"),
        (call("P-Asserted-Identity: <tel:+12025550100;cpc=payphone>"), "cpc=payphone"),
        (call(shaken("C"), "User-Agent: Cisco-SIPGateway/IOS-12.x"), "attest C in a PASSporT, not verified"),
    ],
)
def test_call_from_the_switched_network_is_refused(sent: bytes, shown: str) -> None:
    """One strong marker, or weak ones that agree."""
    play = Playbook()
    play.refuses(sent, 403)
    (attempt,) = play.attempts
    assert (attempt.verdict.reason, attempt.verdict.ip_origin) == (Reason.PSTN_ORIGIN, IpOrigin.PSTN)
    assert shown in attempt.verdict.text
    play.is_over()


def test_what_equipment_copies_refuses_nobody() -> None:
    """Each of these is on calls that never left IP, and a call may have all of them."""
    play = Playbook()
    headers = (
        "P-Charge-Info: <sip:+12025550100@x;npi=ISDN;noa=2>",
        "P-Asserted-Identity: <tel:+12025550100;cpc=ordinary;oli=62>",
        "P-Charging-Vector: icid-value=1;orig-ioi=acme.example",
        "P-Early-Media: supported",
        "Reason: Q.850;cause=16",
        "User-Agent: Cisco-SIPGateway/IOS-17.6.5",
    )
    sent = call(*headers, from_=f"<sip:{OWNED}@x;isup-oli=00;pstn-params=808481808882>;tag=1")
    groups = b"Contact: <sip:1;tgrp=tg;trunk-context=x.example;otg=1@"
    play.customer.sends(sent.replace(b"Contact: <sip:", groups, 1)).gets(100)
    play.carrier.gets("INVITE")
    verdict = play.attempts[0].verdict
    assert (verdict.ip_origin, verdict.reason) == (IpOrigin.UNKNOWN, Reason.IDENTITY_OWNED)
    assert len(verdict.signals) == 11


@pytest.mark.parametrize("uri", ["sip:911@192.0.2.1:5060", "urn:service:sos"])
def test_emergency_call_from_the_switched_network_passes(uri: str) -> None:
    """No signal stops it."""
    play = Playbook()
    play.customer.sends(call("Content-Type: application/ISUP", body=iam(CALLING), uri=uri)).gets(100)
    play.carrier.gets("INVITE")
    assert play.attempts[0].verdict.reason is Reason.EMERGENCY


def test_weak_hint_alone_refuses_nobody() -> None:
    """A gateway's name is a hint; the record has it."""
    play = Playbook()
    play.customer.sends(call("User-Agent: Cisco-SIPGateway/IOS-17.6.5")).gets(100)
    play.carrier.gets("INVITE")
    verdict = play.attempts[0].verdict
    assert (verdict.ip_origin, [str(signal) for signal in verdict.signals]) == (
        IpOrigin.UNKNOWN,
        ["gateway_fingerprint+20"],
    )


def test_customer_whose_calls_must_show_their_origin() -> None:
    """Approved equipment with media and claims that agree is enough; the same call with media elsewhere is not."""
    terms = "    unknown_ip_origin: reject\n    equipment: {approved: ['Acme *']}\n"
    play = Playbook(snapshot=make_snapshot(old=NUMBERS, new=NUMBERS + terms))
    good = ("User-Agent: Acme SBC", "P-Access-Network-Info: DOCSIS", "Content-Type: application/sdp")
    play.customer.sends(call(*good, body=SDP.format("198.51.100.10"))).gets(100)
    play.carrier.gets("INVITE")
    play.refuses(call(*good, body=SDP.format("203.0.113.77")), 403)
    first, second = play.attempts
    assert (first.verdict.ip_origin, first.verdict.reason) == (IpOrigin.IP, Reason.IDENTITY_OWNED)
    assert (second.verdict.ip_origin, second.verdict.reason) == (IpOrigin.UNKNOWN, Reason.UNKNOWN_IP_ORIGIN)


def test_monitored_customer_is_only_told_of() -> None:
    """The verdict is written and the call passes."""
    play = Playbook()
    sent = request(
        "INVITE",
        f"sip:{FAR}@{OURS_FOR_CUSTOMERS}",
        source=MONITORED,
        from_="<sip:+4930901820000;isup-oli=34@x>;tag=1",
    )
    play.monitored.sends(sent).gets(100)
    play.carrier.gets("INVITE")
    verdict = play.attempts[0].verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.MONITORED, Reason.PSTN_ORIGIN)
