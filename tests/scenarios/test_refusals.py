"""How refusals are told, in whole conversations: answered in each form, dropped, tagged, sent to an announcement."""

from __future__ import annotations

import re

import pytest

from edge_proxy.addr import Address, Side
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import show_id
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import (
    CARRIER,
    FAR,
    FOREIGN,
    Dialog,
    ack_of,
    answer,
    invite,
    invite_from_carrier,
    outgoing_uri,
    request,
    start_line,
    value,
    values,
)
from tests.kit.playbook import CONFIG, STRANGER, Playbook, make_snapshot

SPOOFED = f"<sip:{FOREIGN}@acme.example>;tag=x"
ANNOUNCEMENT = Address("192.0.2.50", 5070)


def play_with(refusals: str, more: str = "") -> Playbook:
    new = f"node: edge-test\npolicy: {{refusals: {{{refusals}}}{more}}}"
    return Playbook(snapshot=make_snapshot(old="node: edge-test", new=new))


def evidence_of(play: Playbook) -> str:
    return show_id(play.attempts[-1].evidence_id)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (403, "Forbidden"),
        (404, "Not Found"),
        (433, "Anonymity Disallowed"),
        (480, "Temporarily Unavailable"),
        (484, "Address Incomplete"),
        (503, "Service Unavailable"),
        (603, "Decline"),
        (607, "Unwanted"),
    ],
)
def test_refusal_is_answered_with_the_status_of_ones_choice(status: int, phrase: str) -> None:
    """The reason, and the way to the evidence, stay in every form."""
    play = play_with(f"from_not_owned: {{status: {status}}}")
    refused = play.refuses(invite(from_=SPOOFED), status)
    assert start_line(refused) == f"SIP/2.0 {status} {phrase}"
    assert value(refused, "Reason") == f'SIP;cause={status};text="from_not_owned"'
    assert f"ref {evidence_of(play)}" in value(refused, "Warning")
    verdict = play.attempts[0].verdict
    assert (verdict.outcome, verdict.status, verdict.reason) == (Outcome.REFUSED, status, Reason.FROM_NOT_OWNED)
    play.is_over()


def test_phrase_may_be_ones_own() -> None:
    """Other reasons stay as they are."""
    play = play_with('from_not_owned: {status: 603, phrase: "Not your number"}')
    assert start_line(play.refuses(invite(from_=SPOOFED), 603)) == "SIP/2.0 603 Not your number"
    assert start_line(play.refuses(invite("P-Access-Network-Info: GSTN"), 403)) == "SIP/2.0 403 Forbidden"


def test_608_says_whom_to_complain_to() -> None:
    """RFC 8688 §3.1."""
    play = play_with('pstn_origin: {status: 608, jcard: "https://calls.example.net/blocked.jws"}')
    refused = play.refuses(invite("P-Access-Network-Info: GSTN"), 608)
    assert start_line(refused) == "SIP/2.0 608 Rejected"
    assert value(refused, "Call-Info") == "<https://calls.example.net/blocked.jws>;purpose=jwscard"
    assert f"ref {evidence_of(play)}" in value(refused, "Warning")


@pytest.mark.parametrize(
    ("lines", "is_read"),
    [
        ([], False),
        (["Feature-Caps: *;+sip.607"], False),
        (["Feature-Caps: *;+sip.608x"], False),
        (["X-Feature-Caps: *;+sip.608"], False),
        (["Feature-Caps: *;+sip.608"], True),
        (['feature-caps : *;+g.3gpp.srvcc="a", * ; +SIP.608'], True),
        (["Feature-Caps: *;+g.x", "Feature-Caps: *;+sip.608"], True),
    ],
)
def test_caller_that_cannot_read_a_608_hears_it(lines: list[str], *, is_read: bool) -> None:
    """RFC 8688 §3.3, §3.4: who shows sip.608 is told by Call-Info, anybody else by the announcement if there is one."""
    section = 'pstn_origin: {status: 608, jcard: "https://calls.example.net/blocked.jws"%s}'
    play = play_with(section % f', announcement: "sip:blocked@{CARRIER}"')
    pstn = "P-Access-Network-Info: GSTN"
    if is_read:
        refused = play.refuses(invite(pstn, *lines), 608)
        assert value(refused, "Call-Info") == "<https://calls.example.net/blocked.jws>;purpose=jwscard"
    else:
        play.customer.sends(invite(pstn, *lines)).gets(100)
        assert start_line(play.carrier.gets("INVITE")) == f"INVITE sip:blocked@{CARRIER} SIP/2.0"
    verdict = play.attempts[0].verdict
    assert (verdict.outcome, verdict.reason) == (
        Outcome.REFUSED if is_read else Outcome.DIVERTED,
        Reason.PSTN_ORIGIN,
    )
    play = play_with(section % "")
    play.refuses(invite(pstn, *lines), 608)


def test_network_blocked_has_its_exact_form() -> None:
    """ATIS-1000099: status, phrase, and one Reason whose text is pairs, the version first."""
    form = '{url: "https://calls.example.net/redress", tel: "+12025550100", email: "redress@example.net"}'
    play = play_with(f"pstn_origin: {{network_blocked: {form}}}")
    refused = play.refuses(invite("P-Access-Network-Info: GSTN"), 603)
    assert start_line(refused) == "SIP/2.0 603 Network Blocked"
    assert values(refused, "Reason") == [
        'SIP;cause=603;text="v=analytics1;url=https://calls.example.net/redress;tel=+12025550100;'
        f'email=redress@example.net;id={evidence_of(play)}";location=RPN'
    ]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", evidence_of(play))
    assert f"ref {evidence_of(play)}" in value(refused, "Warning")
    play = play_with('pstn_origin: {network_blocked: {tel: "+12025550100", location: TN}}')
    reason = value(play.refuses(invite("P-Access-Network-Info: GSTN"), 603), "Reason")
    assert reason.startswith('SIP;cause=603;text="v=analytics1;tel=+12025550100;id=')
    assert reason.endswith(";location=TN")


def test_evidence_id_is_never_cut_off() -> None:
    """However long what a person reads is."""
    play = Playbook()
    refused = play.refuses(invite(from_=f"<sip:{'x' * 4000}@{'y' * 200}>;tag=x"), 403)
    assert f"ref {evidence_of(play)}" in value(refused, "Warning")


def test_unknown_source_may_be_met_with_silence() -> None:
    """Counted and recorded, answered to nobody; known sources are answered."""
    play = play_with("unknown_source: {action: drop}")
    sent = invite(via=f"SIP/2.0/UDP {STRANGER};branch=z9hG4bKs;rport")
    play.stranger.sends(sent).gets_nothing()
    play.stranger.sends(request("MESSAGE", outgoing_uri())).gets_nothing()
    assert [(one.verdict.outcome, one.verdict.status) for one in play.attempts] == [(Outcome.REFUSED, 0)] * 2
    assert play.attempts[0].verdict.reason is Reason.UNKNOWN_SOURCE
    assert play.count(Cause.REFUSED_SILENTLY) == 2
    play.refuses(invite(from_=SPOOFED), 403)
    play.is_over()


TAGS = "from_not_owned: {action: tag, header: X-Verdict}, pstn_origin: {action: tag, header: X-Other}"


def test_call_passes_with_a_tag_instead() -> None:
    """The carrier reads why, the record says so, and the call goes on as any other."""
    play = play_with(TAGS)
    sent = invite("x-verdict : none", from_=SPOOFED)
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    assert values(invited, "X-Verdict") == [f"from_not_owned;ref={evidence_of(play)}"]
    assert b"x-verdict" not in invited
    play.carrier.sends(answer(invited, 486)).gets("ACK")
    play.customer.sends(ack_of(sent, play.customer.gets(486)))
    (attempt,) = play.attempts
    assert (attempt.verdict.outcome, attempt.verdict.status) == (Outcome.TAGGED, 0)
    assert attempt.verdict.reason is Reason.FROM_NOT_OWNED
    play.is_over()


def test_tag_from_outside_is_forged() -> None:
    """On either side and under any of the names; what looks like one stays."""
    play = play_with(TAGS)
    play.customer.sends(invite("X-Verdict: ok", "X-OTHER: ok", "X-Verdicts: mine")).gets(100)
    left = play.carrier.gets("INVITE")
    assert values(left, "X-Verdict") == values(left, "X-Other") == []
    assert values(left, "X-Verdicts") == ["mine"]
    forged = invite_from_carrier().replace(b"Content-Length", b"X-Verdict: ok\r\nContent-Length")
    play.carrier.sends(forged).gets(100)
    assert values(play.customer.gets("INVITE"), "X-Verdict") == []
    assert [one.verdict.outcome for one in play.attempts] == [Outcome.ALLOWED] * 2


def test_call_is_sent_to_an_announcement_instead() -> None:
    """It rings there, is answered and hung up like any other call, and none of it reaches the trunk."""
    play = play_with('from_not_owned: {action: announce, announcement: "sip:blocked@192.0.2.50:5070;play=1"}')
    machine = play.peer(ANNOUNCEMENT, Side.CARRIERS)
    sent = request("INVITE", outgoing_uri(), from_=SPOOFED, routes=["<sip:sbc.example;lr>"])
    play.customer.sends(sent).gets(100)
    invited = machine.gets("INVITE")
    assert start_line(invited) == "INVITE sip:blocked@192.0.2.50:5070;play=1 SIP/2.0"
    assert values(invited, "Route") == []
    machine.sends(answer(invited, 200, contact=ANNOUNCEMENT))
    dialog = Dialog(invited, play.customer.gets(200), callee=ANNOUNCEMENT)
    play.customer.sends(dialog.ack())
    machine.gets("ACK")
    bye = dialog.from_callee("BYE")
    machine.sends(bye)
    play.customer.sends(answer(play.customer.gets("BYE"), 200))
    machine.gets(200)
    (attempt,) = play.attempts
    assert (attempt.verdict.outcome, attempt.verdict.reason) == (Outcome.DIVERTED, Reason.FROM_NOT_OWNED)
    play.is_over()


def test_number_of_nobody_may_be_announced_to_the_carrier_too() -> None:
    """On the customers' side, which such a call would have gone to; what is no call is answered."""
    play = play_with('called_not_owned: {action: announce, announcement: "sip:gone@192.0.2.50:5070"}')
    machine = play.peer(ANNOUNCEMENT, Side.CUSTOMERS)
    play.carrier.sends(invite_from_carrier(FAR)).gets(100)
    machine.gets("INVITE")
    message = invite_from_carrier(FAR).replace(b"INVITE", b"MESSAGE")
    play.carrier.sends(message).gets(404)


def test_announcement_without_an_address_is_480() -> None:
    """Its name is not known yet."""
    play = play_with('from_not_owned: {action: announce, announcement: "sip:blocked@media.example"}')
    refusal = play.refuses(invite(from_=SPOOFED), 480)
    assert value(refusal, "Warning").endswith(f'ref {show_id(play.attempts[-1].evidence_id)}"')
    (ending,) = play.endings
    assert ending.status == 480
    play.is_over()


EVERYTHING = (
    'unknown_source: {action: drop}, from_not_owned: {action: announce, announcement: "sip:b@192.0.2.50:5070"}, '
    "pstn_origin: {action: tag, header: X-Verdict}, pai_not_owned: {status: 603}"
)


@pytest.mark.parametrize("who", ["customer", "monitored", "stranger"])
def test_emergency_call_meets_none_of_it(who: str) -> None:
    """From everywhere, with everything wrong; not even the header under a tag's name is taken out."""
    play = play_with(EVERYTHING)
    peer = {"customer": play.customer, "monitored": play.monitored, "stranger": play.stranger}[who]
    forged = ["P-Access-Network-Info: GSTN", f"P-Asserted-Identity: <sip:{FOREIGN}@x>", "X-Verdict: mine"]
    peer.sends(invite(*forged, uri="urn:service:sos", from_=SPOOFED)).gets(100)
    assert values(play.carrier.gets("INVITE"), "X-Verdict") == ["mine"]
    assert play.attempts[0].verdict.outcome is Outcome.ALLOWED


def test_monitor_mode_only_says_what_would_have_been() -> None:
    """No action is taken there."""
    play = play_with(EVERYTHING, ", mode: monitor")
    play.customer.sends(invite(from_=SPOOFED)).gets(100)
    play.carrier.gets("INVITE")
    play.stranger.sends(invite(from_=SPOOFED)).gets(100)
    play.carrier.gets("INVITE")
    assert [one.verdict.outcome for one in play.attempts] == [Outcome.MONITORED] * 2


def test_limit_that_is_passed_outranks_a_tag() -> None:
    """A call that would have been tagged is refused for want of room like any other, and told so."""
    text = CONFIG.replace("TARGETS", f'"sip:{CARRIER}"')
    text = text.replace("    country: US", "    country: US\n    limits: {concurrent_calls: 1}")
    text = f'policy: {{refusals: {{{TAGS}, concurrent_calls: {{phrase: "Too many"}}}}}}\n{text}'
    play = Playbook(snapshot=compile_snapshot(parse_settings(text.encode(), "test.yaml")))
    play.customer.sends(invite(from_=SPOOFED)).gets(100)
    assert values(play.carrier.gets("INVITE"), "X-Verdict")
    refused = play.refuses(invite(from_=SPOOFED), 503)
    assert start_line(refused) == "SIP/2.0 503 Too many"
    assert value(refused, "Reason") == 'SIP;cause=503;text="concurrent_calls"'
    assert values(refused, "Retry-After")
