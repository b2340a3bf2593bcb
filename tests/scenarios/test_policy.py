"""What is let through, refused, only noted, and never refused, seen by the peers and in the records."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import show_id
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import (
    CARRIER,
    FAR,
    FOREIGN,
    OURS_FOR_CUSTOMERS,
    OWNED,
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
from tests.kit.playbook import MONITORED, STRANGE_CARRIER, STRANGER, Playbook, make_snapshot

SPOOFED = f"<sip:{FOREIGN}@acme.example>;tag=x"
PSTN = "P-Access-Network-Info: GSTN;operator-specific-GI=1"


@pytest.mark.parametrize(
    ("extra", "from_", "reason", "status"),
    [
        ((), SPOOFED, Reason.FROM_NOT_OWNED, 403),
        ((), "<sip:alice@acme.example>;tag=x", Reason.FROM_NOT_OWNED, 403),
        ((f"P-Asserted-Identity: <sip:{FOREIGN}@x.example>",), None, Reason.PAI_NOT_OWNED, 403),
        ((f"P-Asserted-Identity: <sip:{OWNED}@x.example>, <tel:{FOREIGN}>",), None, Reason.PAI_NOT_OWNED, 403),
        ((f"P-Asserted-Identity: <sip:{OWNED}@x.example> <sip:{FOREIGN}@x>",), None, Reason.PAI_NOT_OWNED, 403),
        ((), "<sip:anonymous@anonymous.invalid>;tag=x", Reason.IDENTITY_MISSING, 403),
        ((PSTN,), None, Reason.PSTN_ORIGIN, 403),
        ((f"P-Asserted-Identity: {', '.join([f'<sip:{OWNED}@x>'] * 17)}",), None, Reason.TOO_MANY_IDENTITIES, 403),
    ],
)
def test_call_that_breaks_a_rule_is_refused(
    extra: tuple[str, ...], from_: str | None, reason: Reason, status: int
) -> None:
    """The status, the reason as a word and as a sentence, the reference of the record; nothing goes on."""
    play = Playbook()
    fields = {} if from_ is None else {"from_": from_}
    refusal = play.refuses(invite(*extra, **fields), status)
    (attempt,) = play.attempts
    assert (attempt.verdict.outcome, attempt.verdict.reason) == (Outcome.REFUSED, reason)
    assert value(refusal, "Reason") == f'SIP;cause={status};text="{reason}"'
    assert f"{attempt.evidence_id:016x}" in value(refusal, "Warning")
    assert play.pipeline.calls.active(Side.CUSTOMERS) == 0
    assert play.endings == []
    play.is_over()


@pytest.mark.parametrize(
    "from_",
    [
        f"<sip:{OWNED}@anything.example>;tag=x",
        "<sip:12025550100@acme.example>;tag=x",
        "<sip:2025550100@acme.example>;tag=x",
        f"<tel:{OWNED}>;tag=x",
        f"{OWNED} <sip:{OWNED};npdi@acme.example;user=phone>;tag=x",
        "<sip:+1%32025550100@acme.example>;tag=x",
    ],
)
def test_owned_number_passes_however_it_is_written(from_: str) -> None:
    """International, national, tel or escaped: the number decides, not its spelling."""
    play = Playbook()
    play.customer.sends(invite(from_=from_)).gets(100)
    play.carrier.gets("INVITE")
    assert play.attempts[0].verdict.reason is Reason.IDENTITY_OWNED


def test_unknown_source_is_refused_on_both_sides() -> None:
    """Who is no customer and no trunk of ours gets nothing through."""
    play = Playbook()
    play.refuses(invite(via=f"SIP/2.0/UDP {STRANGER};branch=z9hG4bKs;rport"), 403, by=play.stranger)
    play.refuses(invite_from_carrier(source=STRANGE_CARRIER), 403, by=play.strange_carrier)
    assert [attempt.verdict.reason for attempt in play.attempts] == [Reason.UNKNOWN_SOURCE] * 2
    play.is_over()


def test_monitored_customer_passes_and_the_record_says_what_would_have_been() -> None:
    """Monitor mode: the call goes through, the verdict is written."""
    play = Playbook()
    sent = invite(from_=SPOOFED, via=f"SIP/2.0/UDP {MONITORED};branch=z9hG4bKm;rport")
    play.monitored.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 486)).gets("ACK")
    play.monitored.sends(ack_of(sent, play.monitored.gets(486)))
    (attempt,) = play.attempts
    assert (attempt.customer, attempt.verdict.outcome) == ("globex", Outcome.MONITORED)
    assert attempt.verdict.reason is Reason.FROM_NOT_OWNED
    play.is_over()


def test_carrier_may_call_our_numbers_only() -> None:
    """404 for a number that is nobody's here."""
    play = Playbook()
    play.refuses(invite_from_carrier(FAR), 404, by=play.carrier)
    assert [attempt.verdict.reason for attempt in play.attempts] == [Reason.CALLED_NOT_OWNED]


def test_own_number_from_the_carrier_is_refused_unless_it_was_forwarded() -> None:
    """A customer's number that arrives from outside is forged, unless somebody is named who passed the call on."""
    play = Playbook()
    play.refuses(invite_from_carrier(caller="+12025550150"), 403, by=play.carrier)
    forwarded = invite_from_carrier(caller="+12025550150").replace(
        b"Content-Length", f"Diversion: <sip:{FOREIGN}@x.example>;reason=no-answer\r\nContent-Length".encode()
    )
    play.carrier.sends(forwarded).gets(100)
    play.customer.gets("INVITE")
    assert [attempt.verdict.reason for attempt in play.attempts] == [
        Reason.OWN_NUMBER_FROM_CARRIER,
        Reason.FORWARDED_CALL,
    ]


EMERGENCIES = ["sip:911@192.0.2.1:5060", "urn:service:sos", "urn:service:sos.fire", "tel:911", "sip:112@192.0.2.1:5060"]


@pytest.mark.parametrize("uri", EMERGENCIES)
@pytest.mark.parametrize("who", ["customer", "monitored", "stranger"])
def test_emergency_call_passes_from_everywhere(uri: str, who: str) -> None:
    """Spoofed, from the switched network, from a stranger, with nowhere to record it: it goes to a trunk."""
    play = Playbook(snapshot=make_snapshot(old="node: edge-test", new="node: edge-test\nevidence: {when_full: refuse}"))
    play.pipeline.has_evidence_room = False
    peer = {"customer": play.customer, "monitored": play.monitored, "stranger": play.stranger}[who]
    peer.sends(invite(PSTN, uri=uri, from_=SPOOFED)).gets(100)
    invited = play.carrier.gets("INVITE")
    assert start_line(invited).split(" ")[1].startswith(uri.partition("@")[0])
    (attempt,) = play.attempts
    assert attempt.verdict.is_emergency
    assert attempt.verdict.reason is Reason.EMERGENCY


@pytest.mark.parametrize(
    "route", ["<sip:192.0.2.1:5060;lr>", "<sip:sbc.example;lr>", f"<sip:{CARRIER};lr>", f"<sip:strict@{CARRIER}>"]
)
def test_emergency_call_with_a_route_is_still_one(route: str) -> None:
    """What is called stands in the Request-URI, whatever Route the phone was given to send it by."""
    play = Playbook()
    sent = request("INVITE", "urn:service:sos", from_=SPOOFED, routes=[route])
    play.customer.sends(sent).gets(100)
    play.carrier.gets("INVITE")
    assert play.attempts[0].verdict.reason is Reason.EMERGENCY


@pytest.mark.parametrize("uri", ["sip:911@192.0.2.1:5060", f"sip:{FAR}@192.0.2.1:5060"])
def test_nobody_behind_us_is_told_to_call_another(uri: str) -> None:
    """Who comes to a Route without lr calls that in place of the Request-URI (§16.6 step 6), and nobody judged it."""
    play = Playbook()
    routes = [f"<sip:{CARRIER};lr>, <sip:+19005550100@{CARRIER}>", "<sip:sbc.example;lr>"]
    play.customer.sends(request("INVITE", uri, routes=routes)).gets(100)
    left = play.carrier.gets("INVITE")
    assert values(left, "Route") == [f"<sip:{CARRIER};lr>, <sip:sbc.example;lr>"]
    assert "+1900" not in left.decode()


def test_route_of_a_caller_does_not_change_who_is_called() -> None:
    """A carrier cannot reach a number that is not ours by writing one of ours into a Route, nor the other way round."""
    play = Playbook()
    from_ = f"<sip:{FOREIGN}@carrier.example>;tag=far"
    route = [f"<sip:{OWNED}@sbc.example;lr>"]
    sent = request("INVITE", f"sip:{FAR}@192.0.2.2:5070", source=CARRIER, from_=from_, routes=route)
    play.refuses(sent, 404, by=play.carrier)
    sent = request(
        "INVITE", f"sip:{OWNED}@192.0.2.2:5070", source=CARRIER, from_=from_, routes=["<sip:sbc.example;lr>"]
    )
    play.carrier.sends(sent).gets(100)
    play.customer.gets("INVITE")
    assert play.attempts[1].facts.request_uri.user == OWNED


def test_scheme_is_judged_by_the_request_uri() -> None:
    """§16.3 step 2: a Route that we understand makes no Request-URI of an unknown scheme understood."""
    play = Playbook()
    play.customer.sends(request("INVITE", "xmpp:a@b", routes=["<sip:sbc.example;lr>"])).gets(416)
    assert play.attempts == []


@pytest.mark.parametrize("refuses", [True, False])
def test_full_evidence_is_the_declared_policy(refuses: bool) -> None:
    """when_full decides: 503 and no call, or the call unrecorded and counted; a refusal stays what it is."""
    text = "node: edge-test\nevidence: {when_full: " + ("refuse}" if refuses else "pass}")
    play = Playbook(snapshot=make_snapshot(old="node: edge-test", new=text))
    play.pipeline.has_evidence_room = False
    if refuses:
        play.refuses(invite(), 503)
        assert play.attempts[0].verdict.reason is Reason.EVIDENCE_UNAVAILABLE
    else:
        play.customer.sends(invite()).gets(100)
        play.carrier.gets("INVITE")
    assert play.pipeline.counters.evidence_unavailable == 1
    play.refuses(invite(from_=SPOOFED), 403)
    assert play.pipeline.counters.evidence_unavailable == 1


def test_verdicts_are_counted_by_side_and_customer() -> None:
    """Each attempt once, whatever became of it."""
    play = Playbook()
    play.refuses(invite(from_=SPOOFED), 403)
    play.customer.sends(invite()).gets(100)
    play.carrier.gets("INVITE")
    counters = play.pipeline.counters
    assert sum(counters.verdicts.values()) == 2
    assert counters.customers["acme", Outcome.ALLOWED] == 1
    assert counters.customers["acme", Outcome.REFUSED] == 1


@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "SUBSCRIBE", "REGISTER", "UNHEARD-OF"])
def test_other_methods_that_begin_something_are_judged_too(method: str) -> None:
    """Identity is checked on whatever begins something, not on INVITE alone."""
    play = Playbook()
    sent = request(method, outgoing_uri(), from_=SPOOFED)
    play.customer.sends(sent).gets(403)
    assert [attempt.verdict.reason for attempt in play.attempts] == [Reason.FROM_NOT_OWNED]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (f"<sip:{OWNED}@carrier.example>", Reason.IDENTITY_OWNED),
        (f"<sip:{FOREIGN}@carrier.example>", Reason.PAI_NOT_OWNED),
        ("<sip:globex@carrier.example>", Reason.PAI_NOT_OWNED),
    ],
)
def test_nobody_registers_the_number_of_another(to: str, reason: Reason) -> None:
    """RFC 3261 §10.2: To is whose calls come there, and From only who says so."""
    play = Playbook()
    play.customer.sends(request("REGISTER", f"sip:{OURS_FOR_CUSTOMERS}", to=to))
    assert [attempt.verdict.reason for attempt in play.attempts] == [reason]
    if reason is Reason.IDENTITY_OWNED:
        play.carrier.gets("REGISTER")
    else:
        assert play.attempts[0].verdict.text.startswith("To ")
        play.customer.gets(403)


def test_options_to_us_is_answered_for_those_we_know() -> None:
    """§11.2: a keep-alive of a peer costs no attempt and no record; strangers learn nothing."""
    play = Playbook()
    ping = request("OPTIONS", f"sip:{OURS_FOR_CUSTOMERS}", max_forwards=0)
    back = play.customer.sends(ping).gets(200)
    assert values(back, "Allow")
    assert values(back, "Accept") == ["application/sdp"]
    play.stranger.sends(ping).gets(403)
    play.customer.sends(request("OPTIONS", outgoing_uri(), max_forwards=0)).gets(483)
    assert play.records == []
    assert play.count(Cause.OPTIONS) == 1


@pytest.mark.parametrize(
    ("header", "status", "cause"),
    [
        ("Proxy-Require: gold, silver", 420, Cause.UNSUPPORTED_EXTENSION),
        ("CSeq: 1 INVITE", 400, Cause.MALFORMED),
        ("no header", 400, Cause.MALFORMED),
    ],
)
def test_request_that_cannot_go_on_is_answered(header: str, status: int, cause: Cause) -> None:
    """§16.3: told what is wrong, charged to nobody."""
    play = Playbook()
    refusal = play.customer.sends(invite(header)).gets(status)
    if status == 420:
        assert values(refusal, "Unsupported") == ["gold, silver"]
    else:
        assert "edge-test" in value(refusal, "Warning")
    assert play.count(cause) == 1
    assert play.attempts == []
    assert not play.pipeline.layer.servers


def test_request_without_hops_left_is_483() -> None:
    """§16.3 step 3; an ACK cannot be answered and is dropped with the same reason."""
    play = Playbook()
    sent = invite().replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    play.customer.sends(sent).gets(483)
    play.customer.sends(sent.replace(b"INVITE", b"ACK")).gets_nothing()
    assert play.count(Cause.TOO_MANY_HOPS) == 1
    assert play.carrier.inbox == []


def test_request_without_max_forwards_leaves_with_70() -> None:
    """§16.6 step 3."""
    play = Playbook()
    play.customer.sends(invite().replace(b"Max-Forwards: 70\r\n", b"")).gets(100)
    assert values(play.carrier.gets("INVITE"), "Max-Forwards") == ["70"]


def test_two_vias_in_one_line_and_a_header_of_their_own_are_kept() -> None:
    """Ours goes in front, the top one is stamped, the response takes ours off and nothing else."""
    play = Playbook()
    via = "SIP/2.0/UDP pbx.example:5060;branch=z9hG4bKtop, SIP/2.0/TCP phone.example;branch=z9hG4bKphone"
    play.customer.sends(invite("Via: SIP/2.0/UDP first.example;branch=z9hG4bKfirst", via=via)).gets(100)
    invited = play.carrier.gets("INVITE")
    stamped = "SIP/2.0/UDP pbx.example:5060;branch=z9hG4bKtop;received=198.51.100.10, " + via.partition(", ")[2]
    assert values(invited, "Via")[1:] == [stamped, "SIP/2.0/UDP first.example;branch=z9hG4bKfirst"]
    folded = answer(invited, 180).replace(b"\r\nVia: SIP/2.0/UDP pbx", b",\r\n SIP/2.0/UDP pbx", 1)
    play.carrier.sends(folded)
    assert values(play.customer.gets(180), "Via") == values(invited, "Via")[1:]


def test_answer_goes_to_where_the_request_came_from() -> None:
    """RFC 3581: with rport to the very port; without, to the port of sent-by."""
    play = Playbook()
    nat = play.peer(play.customer.address._replace(port=40_000), Side.CUSTOMERS)
    nat.sends(invite(via="SIP/2.0/UDP 10.0.0.5:5066;branch=z9hG4bKn1;rport")).gets(100)
    invited = play.carrier.gets("INVITE")
    assert values(invited, "Via")[1] == (
        "SIP/2.0/UDP 10.0.0.5:5066;branch=z9hG4bKn1;received=198.51.100.10;rport=40000"
    )
    nat.sends(invite(via="SIP/2.0/UDP 10.0.0.5:5066;branch=z9hG4bKn2"))
    play.carrier.gets("INVITE")
    play.peer(play.customer.address._replace(port=5066), Side.CUSTOMERS).gets(100)


def test_no_target_is_480_and_recorded_as_ended() -> None:
    """An attempt that goes nowhere has an end like any other."""
    play = Playbook(
        snapshot=make_snapshot(old='targets: ["sip:198.51.100.20:5060"]', new='targets: ["sip:gone.example"]')
    )
    refusal = play.refuses(invite_from_carrier("+4930901820000"), 480, by=play.carrier)
    assert value(refusal, "Warning").endswith(f'ref {show_id(play.attempts[-1].evidence_id)}"')
    (ending,) = play.endings
    assert (ending.status, ending.customer) == (480, "globex")
    play.is_over()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\r\n\r\n", Cause.KEEPALIVE),
        (b"\x00" * 8, Cause.KEEPALIVE),
        (b"hello", Cause.TOO_SHORT),
        (b"", Cause.KEEPALIVE),
        (b"x" * 1000, Cause.NOT_SIP),
        (b"SIP/2.0 200 OK\r\n\r\n", Cause.MALFORMED_RESPONSE),
        (b"INVITE sip:a@b SIP/2.0\r\n\r\n", Cause.UNANSWERABLE),
    ],
)
def test_noise_is_counted_and_dropped(data: bytes, cause: Cause) -> None:
    """Every drop has its reason."""
    play = Playbook()
    play.stranger.sends(data).gets_nothing()
    assert play.count(cause) == 1


def test_response_that_is_not_ours_is_dropped() -> None:
    """§18.1.2: its top Via is somebody else's, or ours for a transaction that never was."""
    play = Playbook()
    play.carrier.sends(answer(invite(), 200))
    assert play.count(Cause.RESPONSE_NOT_OURS, Side.CARRIERS) == 1
    play.carrier.sends(answer(invite(via="SIP/2.0/UDP 192.0.2.2:5070;branch=z9hG4bKguess"), 200))
    assert play.count(Cause.STRAY_RESPONSE, Side.CARRIERS) == 1
    play.customer.gets_nothing()
