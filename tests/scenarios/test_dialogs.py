"""Requests inside a dialog: whose token they carry and which way they go, over restarts and new data (§16.4)."""

from __future__ import annotations

import base64

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.pipeline.records import EndCause, Party
from tests.kit.messages import CARRIER, CUSTOMER, OWNED, ack_of, answer, invite, request, start_line, value, values
from tests.kit.playbook import Playbook, make_snapshot


def token_of(route: str) -> str:
    return route.partition(";ep=")[2].partition(">")[0].partition(";")[0]


def test_request_with_a_valid_token_goes_to_its_request_uri() -> None:
    """Both our Routes are taken out, the Request-URI is where the other side really is."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO"))
    info = play.carrier.gets("INFO")
    assert values(info, "Route") == []
    assert start_line(info) == f"INFO sip:{CARRIER} SIP/2.0"


def test_routes_in_one_line_are_read_like_routes_in_two() -> None:
    """§7.3.1: several values in one line, or one each: the same."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO", routes=[", ".join(dialog.routes_of_caller)]))
    assert values(play.carrier.gets("INFO"), "Route") == []


def test_routes_behind_ours_stay_in_order() -> None:
    """Other proxies' Route values are theirs to take out; the request goes to the first of them."""
    play = Playbook()
    dialog = play.call()
    routes = [f"{dialog.routes_of_caller[0]}, {dialog.routes_of_caller[1]}, <sip:{CARRIER};lr>", "<sip:far.example;lr>"]
    play.customer.sends(dialog.from_caller("INFO", routes=routes, uri="sip:bob@10.9.8.7"))
    info = play.carrier.gets("INFO")
    assert values(info, "Route") == [f"<sip:{CARRIER};lr>, <sip:far.example;lr>"]
    assert start_line(info) == "INFO sip:bob@10.9.8.7 SIP/2.0"


def test_one_route_of_ours_is_enough() -> None:
    """A peer may have kept one of the two Record-Route values only."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO", routes=dialog.routes_of_caller[:1]))
    play.carrier.gets("INFO")


def test_strict_router_before_us_is_understood() -> None:
    """§16.4: our Record-Route URI came in the Request-URI and the real one as the last Route value."""
    play = Playbook()
    dialog = play.call()
    ours = dialog.routes_of_caller[0].strip("<>")
    play.customer.sends(dialog.from_caller("INFO", uri=ours, routes=[dialog.routes_of_caller[1], f"<sip:{CARRIER}>"]))
    info = play.carrier.gets("INFO")
    assert start_line(info) == f"INFO sip:{CARRIER} SIP/2.0"
    assert values(info, "Route") == []


def test_strict_router_after_us_finds_itself_in_the_request_uri() -> None:
    """§16.6 step 6: no lr: it goes into the Request-URI, and the real one to the end of the Route."""
    play = Playbook()
    dialog = play.call()
    routes = [*dialog.routes_of_caller, f"<sip:strict@{CARRIER}>", "<sip:far.example;lr>"]
    play.customer.sends(dialog.from_caller("INFO", routes=routes, uri="sip:bob@10.9.8.7"))
    info = play.carrier.gets("INFO")
    assert start_line(info) == f"INFO sip:strict@{CARRIER} SIP/2.0"
    assert values(info, "Route") == ["<sip:far.example;lr>, <sip:bob@10.9.8.7>"]


@pytest.mark.parametrize("method", ["BYE", "INVITE", "ACK"])
def test_forged_token_is_refused(method: str) -> None:
    """One altered character: 403, nothing goes on, no call ends; an ACK is dropped."""
    play = Playbook()
    dialog = play.call()
    token = token_of(dialog.routes_of_caller[0])
    forged = ("B" if token[5] != "B" else "C").join((token[:5], token[6:]))
    routes = [route.replace(token, forged) for route in dialog.routes_of_caller]
    play.customer.sends(dialog.from_caller(method, routes=routes))
    if method != "ACK":
        play.customer.gets(403)
    play.carrier.gets_nothing()
    assert play.endings == []
    counts = play.pipeline.counters.sides[Side.CUSTOMERS].by_cause
    assert counts[Disposition.DROPPED if method == "ACK" else Disposition.ANSWERED, Cause.FORGED_TOKEN] == 1


def test_token_of_another_call_is_refused() -> None:
    """The signature covers the Call-ID: what one call was given opens no other."""
    play = Playbook()
    one, other = play.call(), play.call()
    play.customer.sends(one.from_caller("BYE", routes=other.routes_of_caller)).gets(403)
    play.customer.sends(one.from_caller("BYE", call_id="mine")).gets(403)
    play.carrier.gets_nothing()
    assert play.endings == []


def test_token_cannot_be_cut_at_another_place() -> None:
    """Customer and Call-ID are signed apart: letters moved from one to the other are an alteration."""
    play = Playbook()
    sent = invite(call_id="corp-1")
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    token = token_of(values(invited, "Record-Route")[0])
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert raw.endswith(b"acme")
    longer = base64.urlsafe_b64encode(raw + b"corp").decode().rstrip("=")
    routes = [f"<sip:192.0.2.1:5060;lr;ep={longer}>"]
    play.customer.sends(
        request("BYE", f"sip:{CARRIER}", to="<sip:x@y>;tag=bob", call_id="-1", routes=routes, cseq=2)
    ).gets(403)


def test_token_has_one_spelling() -> None:
    """Characters that a lenient decoder skips are an alteration."""
    play = Playbook()
    dialog = play.call()
    token = token_of(dialog.routes_of_caller[0])
    routes = [route.replace(token, f"{token[:4]}!!!!{token[4:]}") for route in dialog.routes_of_caller]
    play.customer.sends(dialog.from_caller("BYE", routes=routes)).gets(403)


def test_request_inside_a_dialog_without_our_route_is_481() -> None:
    """It never came through us, or its sender ignores Record-Route: nothing to go by."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("BYE", routes=[])).gets(481)
    play.customer.sends(dialog.from_caller("ACK", routes=[])).gets_nothing()
    assert play.endings == []


def test_ack_of_a_stateless_refusal_is_absorbed() -> None:
    """It is known by the tag that we put into the refusal."""
    play = Playbook()
    for sent, status in ((invite("Proxy-Require: gold"), 420), (invite(uri="xmpp:someone@acme.example"), 416)):
        refusal = play.customer.sends(sent).gets(status)
        play.customer.sends(ack_of(sent, refusal)).gets_nothing()
    sent = invite().replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    refusal = play.customer.sends(sent).gets(483)
    play.customer.sends(ack_of(sent, refusal).replace(b"Max-Forwards: 70", b"Max-Forwards: 0")).gets_nothing()
    assert play.count(Cause.ACK_OF_REFUSAL) == 3
    assert play.disposed(Disposition.DROPPED) == 0


def test_ack_for_a_refusal_of_the_far_end_stays_here() -> None:
    """§17.1.1.3: the client transaction acknowledges; the caller's own ACK is absorbed by the server transaction."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    ack = play.carrier.sends(answer(invited, 486)).gets("ACK")
    assert start_line(ack).split(" ")[1] == start_line(invited).split(" ")[1]
    assert values(ack, "Via") == values(invited, "Via")[:1]
    assert value(ack, "To").endswith(";tag=bob")
    assert value(ack, "CSeq") == "1 ACK"
    play.customer.sends(ack_of(sent, play.customer.gets(486)))
    play.carrier.gets_nothing()
    assert play.count(Cause.ACK_OF_REFUSAL) == 1


def test_ack_for_a_2xx_is_forwarded_each_time() -> None:
    """It is end to end: the far end repeats its 2xx, the caller its ACK, and each goes through."""
    play = Playbook()
    dialog = play.call()
    again = dialog.ack(branch="again")
    play.customer.sends(again, times=2)
    first, second = play.carrier.gets("ACK"), play.carrier.gets("ACK")
    assert first == second


def test_stray_ack_is_dropped() -> None:
    """An ACK that belongs to nothing gets no answer and goes nowhere."""
    play = Playbook()
    play.customer.sends(invite().replace(b"INVITE", b"ACK")).gets_nothing()
    assert play.count(Cause.STRAY_ACK) == 1


def test_restart_in_the_middle_of_a_call_loses_nothing() -> None:
    """Dialogs are not kept: a fresh process with the same secret serves re-INVITE and BYE, and records the end."""
    play = Playbook()
    dialog = play.call()
    evidence_id = play.attempts[0].evidence_id
    play.now += 30.0
    play.restart()
    play.customer.sends(dialog.from_caller("INVITE")).gets(100)
    play.carrier.sends(answer(play.carrier.gets("INVITE"), 200))
    play.customer.gets(200)
    play.customer.sends(dialog.from_caller("ACK"))
    play.carrier.gets("ACK")
    play.carrier.sends(dialog.from_callee("BYE"))
    play.customer.sends(answer(play.customer.gets("BYE"), 200))
    play.carrier.gets(200)
    (ending,) = play.endings
    assert (ending.evidence_id, ending.customer, ending.attempt) == (evidence_id, "acme", None)
    assert (ending.cause, ending.ended_by, ending.caller_side) == (EndCause.BYE, Party.CALLEE, Side.CUSTOMERS)
    assert ending.duration_s is not None
    play.is_over()


def test_restart_with_another_secret_refuses_the_old_tokens() -> None:
    """What another key signed is a forgery like any other."""
    play = Playbook()
    dialog = play.call()
    play.settings = play.settings._replace(secret=b"x" * 32)
    play.restart()
    play.customer.sends(dialog.from_caller("BYE")).gets(403)


def test_retransmission_after_a_restart_leaves_with_the_same_branch() -> None:
    """§16.11: the far end recognises the copy, so the callee's phone does not ring twice."""
    play = Playbook()
    sent = invite()
    play.customer.sends(sent).gets(100)
    before = play.carrier.gets("INVITE")
    play.restart()
    play.customer.sends(sent).gets(100)
    after = play.carrier.gets("INVITE")
    assert values(before, "Via")[0] == values(after, "Via")[0]


def test_ack_sent_again_leaves_with_the_same_branch() -> None:
    """§16.11: an ACK to a 2xx has no transaction here; a restart makes no difference."""
    play = Playbook()
    dialog = play.call()
    sent = dialog.from_caller("ACK")
    left = []
    for _ in range(2):
        play.customer.sends(sent)
        left.append(play.carrier.gets("ACK"))
    play.restart()
    play.customer.sends(sent)
    left.append(play.carrier.gets("ACK"))
    assert left[0] == left[1] == left[2]
    play.customer.sends(dialog.from_caller("ACK"))
    assert values(play.carrier.gets("ACK"), "Via")[0] != values(left[0], "Via")[0]


def test_new_data_in_the_middle_of_a_call_changes_nothing_for_it() -> None:
    """The number moves to somebody else and the trunk to another place: this call goes on as it was let through."""
    play = Playbook()
    dialog = play.call()
    moved = make_snapshot(old='numbers: ["+12025550100-+12025550199"]', new='numbers: ["+12025550300"]')
    play.pipeline.use_snapshot(moved)
    play.customer.sends(dialog.from_caller("UPDATE"))
    play.carrier.sends(answer(play.carrier.gets("UPDATE"), 200))
    play.customer.gets(200)
    play.refuses(invite(), 403)
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)
    assert [attempt.snapshot for attempt in play.attempts] == [play.snapshot.version, moved.version]
    assert [ending.customer for ending in play.endings] == ["acme"]


def test_new_data_while_it_rings_changes_nothing_for_it() -> None:
    """The response finds its transaction whatever the data says now."""
    play = Playbook()
    play.customer.sends(invite()).gets(100)
    invited = play.carrier.gets("INVITE")
    play.pipeline.use_snapshot(make_snapshot(old="id: acme", new="id: other"))
    play.carrier.sends(answer(invited, 200))
    play.customer.gets(200)


def test_both_sides_hang_up_at_once() -> None:
    """Two BYEs cross: both go through, one ending."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("BYE"))
    ours = play.carrier.gets("BYE")
    play.carrier.sends(dialog.from_callee("BYE"))
    theirs = play.customer.gets("BYE")
    play.carrier.sends(answer(ours, 200))
    play.customer.gets(200)
    play.customer.sends(answer(theirs, 200))
    play.carrier.gets(200)
    assert len(play.endings) == 1
    play.is_over()


@pytest.mark.parametrize(
    "uri",
    [
        *("tel:+13105550199", "sip:[:::1]", "sip:[::1::2]:5060", "sip:256.1.1.1", "sip:01.1.1.1", "sip:1.1.1.0001"),
        *(
            "sip:255.255.255.255",
            "sip:0.0.0.0",
            "sip:224.0.1.75",
            "sip:[ff02::1]",
            "sip:x.example;maddr=fe80::1%25eth0",
        ),
    ],
)
def test_what_is_no_address_is_never_sent_to(uri: str) -> None:
    """A Request-URI of a peer is an address only when it is one; where the call knows its peer, it goes there."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("INFO", uri=uri))
    play.carrier.gets("INFO")
    play.restart()
    play.customer.sends(dialog.from_caller("INFO", uri=uri))
    play.customer.ignores(503)


def test_spoofed_identity_inside_a_dialog_needs_a_token() -> None:
    """A To tag alone makes no dialog: an INVITE with one and a foreign From is not let through."""
    play = Playbook()
    sent = invite(to=f"<sip:{OWNED}@x.example>;tag=made-up", from_="<sip:+14155550123@x.example>;tag=1")
    play.customer.sends(sent).gets(481)
    play.carrier.gets_nothing()
    assert play.attempts == []


def test_customer_of_the_dialog_is_where_the_call_came_from() -> None:
    """The callee's requests go to where the caller's Contact says."""
    play = Playbook()
    dialog = play.call()
    play.carrier.sends(dialog.from_callee("INFO"))
    info = play.customer.gets("INFO")
    assert start_line(info) == f"INFO sip:{CUSTOMER} SIP/2.0"
