"""Topology hiding over whole calls: the carrier learns nothing, and every request still finds its way.

`World` checks each message to the carrier for what must not be there; the tests here say what must be.
"""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.records import Ending
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from tests.scenarios.topology_world import (
    CARRIER,
    CUSTOMER_PROXY,
    FAR_US,
    OTHER_CARRIER,
    SDP,
    Phone,
    World,
    values,
)

NEAR, FAR = Side.CUSTOMERS, Side.CARRIERS
CALL_ID = b"call-from-inside@10.20.30.41"
VIAS = b"SIP/2.0/UDP proxy.acme.internal:5060\nSIP/2.0/UDP 10.20.30.41:5062;branch=z9hG4bKpbx;received=10.20.30.41"
RECORDED = [b"<sip:10.20.30.40;lr>", b'"inner" <sip:sbc-7.acme.internal:5061;transport=tcp;lr>']
"""As the customers' proxies put them in, nearest to us first."""
PLAIN_CONTACT = b"sip:line12@10.20.30.41:5062;transport=tcp;ob"
EXTRA = b"\r\n".join(
    [
        *(b"Record-Route: " + route for route in RECORDED),
        b'P-Asserted-Identity: "Desk" <sip:+12025550101@pbx.acme.internal>',
        b"Remote-Party-ID: <sip:+12025550101@10.20.30.41>;party=calling",
        b"X-Origin: host=10.20.30.41:5062, via sbc-7.acme.internal",
        b"P-Charging-Vector: icid-value=7;icid-generated-at=10.20.30.41",
        b"Supported: timer, 100rel",
    ]
)


def pbx() -> Phone:
    contact = b'"Desk" <' + PLAIN_CONTACT + b'>;q=0.5;+sip.instance="<urn:uuid:0-1>";reg-host="10.20.30.41"'
    return Phone(NEAR, b'"Desk 1" <sip:+12025550101@pbx.acme.internal:5062>', b"near", contact, VIAS, CALL_ID)


def carrier() -> Phone:
    return Phone(FAR, b"", b"far", b"<sip:gw3@203.0.113.20:5080>", b"SIP/2.0/UDP 203.0.113.10:5060")


def only(messages: list[Message], method: bytes) -> Message:
    found = [message for message in messages if message.method == method and message.status != 100]
    assert len(found) == 1, messages
    return found[0]


def invite(world: World, phone: Phone, extra: bytes = EXTRA) -> Message:
    """The customer's INVITE, and what of it reaches the carrier."""
    phone.cseq += 1
    to = b"<sip:+13035550100@10.20.30.1:5060>"
    data = phone.compose(b"INVITE", b"sip:+13035550100@10.20.30.1:5060", to, phone.cseq, extra, SDP)
    return only([one for one in world.send(NEAR, data) if one.is_request], b"INVITE")


def establish(world: World) -> tuple[Phone, Phone]:
    """A call from the customer, answered and acknowledged."""
    caller, callee = pbx(), carrier()
    request = invite(world, caller)
    callee.learn_from_request(request)
    world.send(FAR, callee.answer(request, b"180 Ringing"))
    answered = only(
        world.send(FAR, callee.answer(request, b"200 OK", recorded=[b"<sip:203.0.113.11;lr>"], body=SDP)), b"INVITE"
    )
    caller.learn_from_response(answered)
    caller.routes = caller.routes[len(RECORDED) :]  # the customer's proxies take their own out
    only(world.send(NEAR, caller.request(b"ACK", cseq=answered.cseq)), b"ACK")
    return caller, callee


def establish_inward(world: World) -> tuple[Phone, Phone]:
    """A call from the carrier, answered by the PBX behind two proxies, and acknowledged."""
    caller, callee = carrier(), pbx()
    caller.local, caller.tag, caller.call_id = b"<sip:+13035550100@carrier.example>", b"far", b"theirs@203.0.113.20"
    caller.cseq = 1
    to = b"<sip:+12025550101@198.51.100.5>"
    data = caller.compose(b"INVITE", b"sip:+12025550101@198.51.100.5:5070", to, 1, b"", SDP)
    request = only([one for one in world.send(FAR, data) if one.is_request], b"INVITE")
    callee.learn_from_request(request)
    recorded = list(reversed(RECORDED))
    world.send(NEAR, callee.answer(request, b"180 Ringing on 10.20.30.41", recorded=recorded))
    answered = only(
        world.send(
            NEAR, callee.answer(request, b"200 OK", recorded=recorded, extra=b'Warning: 399 sbc-7 "hm"', body=SDP)
        ),
        b"INVITE",
    )
    caller.learn_from_response(answered)
    only(world.send(FAR, caller.request(b"ACK", cseq=1)), b"ACK")
    return caller, callee


def test_invite_to_the_carrier_names_only_us() -> None:
    """Via, Record-Route, Contact, Call-ID, From, To and identities: all of them ours, all else as it was."""
    request = invite(World(), pbx())
    assert [via.split(b";")[0] for via in values(request, grammar.VIA)] == [b"SIP/2.0/UDP 198.51.100.5:5070"]
    assert [route.partition(b";")[0] for route in values(request, grammar.RECORD_ROUTE)] == [b"<sip:198.51.100.5:5070"]
    assert request.value(grammar.FROM) == b'"Desk 1" <sip:+12025550101@198.51.100.5>;tag=near'
    assert request.value(grammar.TO) == b"<sip:+13035550100@198.51.100.5>"
    assert request.uri == b"sip:+13035550100@203.0.113.10:5060"
    assert request.value(grammar.P_ASSERTED_IDENTITY) == b'"Desk" <sip:+12025550101@198.51.100.5>'
    contact = request.value(grammar.CONTACT) or b""
    assert contact.endswith(b'@198.51.100.5:5070>;q=0.5;+sip.instance="<urn:uuid:0-1>"')
    assert b"X-Origin: host=198.51.100.5:5062, via 198.51.100.5" in request.lines
    assert b"Supported: timer, 100rel" in request.lines
    assert request.body == SDP


def test_responses_return_as_if_nothing_had_been_hidden() -> None:
    """The customer gets back its own Via, Record-Route, From, To and Call-ID, and ours and the carrier's on top."""
    world, caller, callee = World(), pbx(), carrier()
    request = invite(world, caller)
    for status in (b"183 Session Progress", b"200 OK", b"200 OK"):
        sent = callee.answer(request, status, recorded=[b"<sip:203.0.113.11;lr>"], body=SDP)
        response = only(world.send(FAR, sent), b"INVITE")
        vias = values(response, grammar.VIA)
        assert vias[0].startswith(b"SIP/2.0/UDP proxy.acme.internal:5060;branch=z9hG4bKnear-1")
        assert vias[1:] == [VIAS.split(b"\n")[1]]
        routes = values(response, grammar.RECORD_ROUTE)
        assert routes[0] == b"<sip:203.0.113.11;lr>"
        assert [route[:24] for route in routes[1:3]] == [b"<sip:198.51.100.5:5070;l", b"<sip:10.20.30.1:5060;lr;"]
        assert routes[3:] == RECORDED
        assert response.value(grammar.FROM) == caller.local + b";tag=near"
        assert response.value(grammar.TO) == b"<sip:+13035550100@10.20.30.1:5060>;tag=far"
        assert response.call_id == CALL_ID
        assert response.value(grammar.CONTACT) == callee.contact
        assert response.body == SDP


@pytest.mark.parametrize("restarts", [False, True], ids=["same-process", "after-restart"])
def test_bye_from_the_carrier_finds_the_customer(restarts: bool) -> None:
    """The sealed Contact, routes, names and Call-ID are opened, by a process that never saw the call too."""
    world = World()
    caller, callee = establish(world)
    if restarts:
        world.restart()
    bye = only(world.send(FAR, callee.request(b"BYE")), b"BYE")
    assert bye.uri == PLAIN_CONTACT
    assert values(bye, grammar.ROUTE) == RECORDED
    assert bye.call_id == CALL_ID
    assert bye.value(grammar.TO) == caller.local + b";tag=near"
    assert bye.value(grammar.FROM) == b"<sip:+13035550100@10.20.30.1:5060>;tag=far"
    assert len(values(bye, grammar.VIA)) == 2
    answer = only(world.send(NEAR, caller.answer(bye, b"200 OK", extra=b"Server: pbx at 10.20.30.41")), b"BYE")
    assert answer.call_id == callee.call_id
    assert answer.value(grammar.FROM) == callee.local + b";tag=far"
    assert answer.value(grammar.TO) == callee.remote
    assert [via.split(b";")[0] for via in values(answer, grammar.VIA)] == [b"SIP/2.0/UDP 203.0.113.10:5060"]


@pytest.mark.parametrize("restarts", [False, True], ids=["same-process", "after-restart"])
def test_bye_from_the_customer_is_the_call_that_the_carrier_knows(restarts: bool) -> None:
    """Call-ID, From and To are what they were in the INVITE, and the books keep the customer's own Call-ID."""
    world = World()
    caller, callee = establish(world)
    if restarts:
        world.restart()
    bye = only(world.send(NEAR, caller.request(b"BYE", extra=EXTRA)), b"BYE")
    assert bye.call_id == callee.call_id
    assert bye.value(grammar.FROM) == callee.remote
    assert bye.value(grammar.TO) == callee.local + b";tag=far"
    assert bye.uri == b"sip:gw3@203.0.113.20:5080"
    assert bye.first[grammar.RECORD_ROUTE] < 0
    assert values(bye, grammar.ROUTE) == [b"<sip:203.0.113.11;lr>"]
    answer = only(world.send(FAR, callee.answer(bye, b"200 OK")), b"BYE")
    assert answer.call_id == CALL_ID
    ending = world.records[-1]
    assert isinstance(ending, Ending)
    assert ending.call_id == CALL_ID.decode()


@pytest.mark.parametrize("restarts", [False, True], ids=["same-process", "after-restart"])
def test_reinvite_passes_both_ways(restarts: bool) -> None:
    """A target refresh from either end arrives, is answered and acknowledged, and its Contact is sealed or opened."""
    world = World()
    caller, callee = establish(world)
    if restarts:
        world.restart()
    outward = only([m for m in world.send(NEAR, caller.request(b"INVITE", body=SDP)) if m.is_request], b"INVITE")
    assert outward.call_id == callee.call_id
    answer = only(world.send(FAR, callee.answer(outward, b"200 OK", body=SDP)), b"INVITE")
    assert answer.value(grammar.FROM) == caller.local + b";tag=near"
    assert only(world.send(NEAR, caller.request(b"ACK", cseq=answer.cseq)), b"ACK").call_id == callee.call_id
    inward = only([m for m in world.send(FAR, callee.request(b"INVITE", body=SDP)) if m.is_request], b"INVITE")
    assert inward.uri == PLAIN_CONTACT
    answer = only(world.send(NEAR, caller.answer(inward, b"200 OK", recorded=RECORDED, body=SDP)), b"INVITE")
    assert answer.first[grammar.RECORD_ROUTE] < 0
    assert (answer.value(grammar.CONTACT) or b"").startswith(b"<" + callee.target)
    assert only(world.send(FAR, callee.request(b"ACK", cseq=answer.cseq)), b"ACK").uri == PLAIN_CONTACT


@pytest.mark.parametrize("restarts", [False, True], ids=["same-process", "after-restart"])
def test_call_from_the_carrier_hides_who_answers(restarts: bool) -> None:
    """The carrier's own Via, Call-ID and names stay; requests inside the dialog pass both ways."""
    world = World()
    caller, callee = establish_inward(world)
    assert caller.target.startswith(b"sip:")
    assert b"198.51.100.5:5070" in caller.target
    assert len(caller.routes) == 1
    if restarts:
        world.restart()
    info = only(world.send(FAR, caller.request(b"INFO")), b"INFO")
    assert info.uri == PLAIN_CONTACT
    assert values(info, grammar.ROUTE) == RECORDED
    assert info.call_id == b"theirs@203.0.113.20"
    only(world.send(NEAR, callee.answer(info, b"200 OK")), b"INFO")
    bye = only(world.send(NEAR, callee.request(b"BYE")), b"BYE")
    assert bye.call_id == b"theirs@203.0.113.20"
    assert bye.value(grammar.FROM) == b"<sip:+12025550101@198.51.100.5>;tag=near"
    assert bye.value(grammar.TO) == b"<sip:+13035550100@carrier.example>;tag=far"
    only(world.send(FAR, caller.answer(bye, b"200 OK")), b"BYE")


def test_cancel_and_the_refusal_it_brings_stay_hidden() -> None:
    """CANCEL and the ACK of the 487 are made from the INVITE as it was sent; the customer sees its own call."""
    world, caller, callee = World(), pbx(), carrier()
    request = invite(world, caller)
    world.send(FAR, callee.answer(request, b"180 Ringing"))
    to = b"<sip:+13035550100@10.20.30.1:5060>"
    data = caller.compose(b"CANCEL", b"sip:+13035550100@10.20.30.1:5060", to, 1, b"", b"", branch=b"near-1")
    data = data.replace(b"Contact: ", b'Reason: SIP;cause=200;text="taken at 10.20.30.41"\r\nX-Contact: ')
    cancel = only([m for m in world.send(NEAR, data) if m.is_request], b"CANCEL")
    assert cancel.call_id == request.call_id
    assert cancel.value(grammar.REASON) == b'SIP;cause=200;text="taken at 198.51.100.5"'
    assert cancel.value(grammar.FROM) == request.value(grammar.FROM)
    world.send(FAR, callee.answer(cancel, b"200 OK"))
    ended = world.send(FAR, callee.answer(request, b"487 Request Terminated"))
    ack = only([m for m in ended if m.is_request], b"ACK")
    assert ack.call_id == request.call_id
    refusal = only([m for m in ended if m.status], b"INVITE")
    assert (refusal.status, refusal.call_id) == (487, CALL_ID)
    assert refusal.value(grammar.FROM) == caller.local + b";tag=near"


def test_acks_sent_again_are_the_same_bytes() -> None:
    """Sealing has no chance in it: what a customer repeats reaches the carrier as a repetition."""
    world = World()
    caller, _ = establish(world)
    ack = caller.request(b"ACK", cseq=1)
    world.to_carrier.clear()
    world.send(NEAR, ack)
    world.send(NEAR, ack)
    assert world.to_carrier[0] == world.to_carrier[1]


def _altered(text: bytes) -> bytes:
    return text.replace(b"sip:", b"sip:A", 1)


@pytest.mark.parametrize("method", [b"BYE", b"ACK"])
@pytest.mark.parametrize(
    "forgery", ["contact", "contact-of-another-call", "plain-uri", "call-id", "routes", "no-routes"]
)
def test_forged_seal_is_refused_and_counted(forgery: str, method: bytes) -> None:
    """What we did not seal for this call goes nowhere: 403, or for an ACK silence, and a count of forged tokens."""
    world = World()
    _, callee = establish(world)
    _, other = establish_inward(world)
    del other
    another = World()
    caller2 = pbx()
    caller2.call_id = b"call-from-inside-2@10.20.30.41"
    contact2 = invite(another, caller2).value(grammar.CONTACT) or b""
    if forgery == "contact":
        callee.target = _altered(callee.target)
    elif forgery == "contact-of-another-call":
        callee.target = contact2[1 : contact2.index(b">")]
    elif forgery == "plain-uri":
        callee.target = PLAIN_CONTACT
    elif forgery == "call-id":
        callee.call_id = b"A" + callee.call_id
    elif forgery == "routes":
        callee.routes = [route.replace(b";er=", b";er=A") for route in callee.routes]
    else:
        callee.routes = [route[: route.index(b";er=")] + b">" for route in callee.routes]
    before = world.count(FAR, Cause.FORGED_TOKEN)
    sent = world.send(FAR, callee.request(method))
    assert [message.status for message in sent] == ([403] if method == b"BYE" else [])
    assert world.count(FAR, Cause.FORGED_TOKEN) == before + 1


def test_fail_over_to_a_trunk_without_the_option_starts_from_the_original() -> None:
    """The second trunk sees the request as the customer sent it, and its answer goes back unchanged."""
    world, caller, callee = World(), pbx(), carrier()
    request = invite(world, caller)
    tried = world.send(FAR, callee.answer(request, b"503 Service Unavailable"))
    second = only([m for m in tried if m.is_request and m.method == b"INVITE"], b"INVITE")
    assert second.call_id == CALL_ID
    assert (second.value(grammar.CONTACT) or b"").startswith(b'"Desk" <' + PLAIN_CONTACT)
    assert b";er" not in b"".join(second.values(grammar.RECORD_ROUTE))
    response = only(world.send(FAR, callee.answer(second, b"200 OK", body=SDP), OTHER_CARRIER), b"INVITE")
    assert response.call_id == CALL_ID
    assert values(response, grammar.RECORD_ROUTE)[2:] == RECORDED


def test_trunk_without_the_option_sees_what_the_customer_sent() -> None:
    """Off is off: only what every proxy adds is added."""
    world = World(hides=False)
    request = invite(world, pbx())
    assert request.call_id == CALL_ID
    assert values(request, grammar.RECORD_ROUTE)[2:] == RECORDED
    assert len(values(request, grammar.VIA)) == 3
    assert b";er" not in b"".join(request.lines)


def test_option_taken_back_keeps_calls_that_are_up() -> None:
    """A call lives by what its seals say, not by what the configuration says now."""
    world = World()
    caller, callee = establish(world)
    world.hides = False
    world.restart()
    world.hides = True  # what reaches the carrier is still held against the list
    assert only(world.send(FAR, callee.request(b"INFO")), b"INFO").uri == PLAIN_CONTACT
    assert only(world.send(NEAR, caller.request(b"BYE")), b"BYE").call_id == callee.call_id


def test_redirection_keeps_its_numbers_and_names_us() -> None:
    """A customer that redirects tells the carrier whom to call, and the carrier calls through us."""
    world, caller, callee = World(), carrier(), pbx()
    caller.local, caller.call_id = b"<sip:+13035550100@carrier.example>", b"theirs@203.0.113.20"
    data = caller.compose(
        b"INVITE", b"sip:+12025550101@198.51.100.5:5070", b"<sip:+12025550101@198.51.100.5>", 1, b"", SDP
    )
    request = only([one for one in world.send(FAR, data) if one.is_request], b"INVITE")
    callee.contact = b"<sip:+12025550102@pbx.acme.internal>;q=1, <tel:+12025550103>"
    sent = world.send(NEAR, callee.answer(request, b"302 Moved Temporarily"))
    redirection = only([one for one in sent if one.status], b"INVITE")
    assert redirection.value(grammar.CONTACT) == b"<sip:+12025550102@198.51.100.5:5070>;q=1, <tel:+12025550103>"


def test_answers_of_our_own_are_about_the_request_as_it_came() -> None:
    """A request from the carrier that the customer leaves unanswered is answered in the carrier's own terms."""
    world = World()
    _, callee = establish(world)
    sent = world.send(FAR, callee.request(b"INVITE", body=SDP))
    trying = next(message for message in sent if message.status == 100)
    assert trying.call_id == callee.call_id
    timed_out = next(message for message in world.wait(33.0) if message.status)
    assert (timed_out.status, timed_out.call_id) == (408, callee.call_id)
    assert timed_out.value(grammar.FROM) == callee.local + b";tag=far"


def test_anonymous_caller_stays_anonymous() -> None:
    """anonymous.invalid names nobody, and stays (RFC 3323 §4.1.1.3)."""
    caller = pbx()
    caller.local = b'"Anonymous" <sip:anonymous@anonymous.invalid>'
    extra = b"P-Asserted-Identity: <sip:+12025550101@pbx.acme.internal>\r\nPrivacy: id"
    request = invite(World(), caller, extra)
    assert request.value(grammar.FROM) == caller.local + b";tag=near"


def test_refusal_that_names_its_sender_is_hidden() -> None:
    """A response without Contact names hosts too: in its reason phrase, in Server, in a Warning."""
    world, caller, callee = World(), carrier(), pbx()
    caller.local, caller.call_id = b"<sip:+13035550100@carrier.example>", b"theirs@203.0.113.20"
    uri = b"sip:+12025550101@198.51.100.5:5070"
    data = caller.compose(b"INVITE", uri, b"<" + uri + b">", 1, b"", SDP)
    request = only([one for one in world.send(FAR, data) if one.is_request], b"INVITE")
    answer = callee.answer(request, b"486 Busy at 10.20.30.40", extra=b"Server: sbc/1 (10.20.30.40)")
    answer = b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"Contact:"))
    refusal = only([one for one in world.send(NEAR, answer) if one.status], b"INVITE")
    assert refusal.reason == b"Busy at 198.51.100.5"
    assert b"Server: sbc/1 (198.51.100.5)" in refusal.lines


def test_request_uri_that_names_an_inner_host_names_the_target() -> None:
    """What the customer calls its way out is no business of the carrier's."""
    world, caller = World(), pbx()
    uri = b"sip:+13035550100@way-out.acme.internal;user=phone"
    data = caller.compose(b"INVITE", uri, b"<" + uri + b">", 1, EXTRA, SDP)
    request = only([one for one in world.send(NEAR, data) if one.is_request], b"INVITE")
    assert request.uri == b"sip:+13035550100@203.0.113.10:5060;user=phone"
    assert request.value(grammar.TO) == b"<sip:+13035550100@198.51.100.5;user=phone>"


def test_display_names_that_should_be_quoted_stop_nothing() -> None:
    """A peer that writes its display names without quotes is hidden like any other, and called back like any other."""
    world, caller, callee = World(mode="monitor"), pbx(), carrier()
    caller.local = "José @ 10.20.30.41 <sip:+12025550101@pbx.acme.internal>".encode()
    caller.contact = "José <".encode() + PLAIN_CONTACT + b">"
    request = invite(world, caller)
    assert request.value(grammar.FROM) == "José @ 198.51.100.5 <sip:+12025550101@198.51.100.5>;tag=near".encode()
    callee.learn_from_request(request)
    response = only(world.send(FAR, callee.answer(request, b"200 OK", body=SDP)), b"INVITE")
    assert response.value(grammar.FROM) == caller.local + b";tag=near"
    assert only(world.send(FAR, callee.request(b"BYE")), b"BYE").uri == PLAIN_CONTACT


def test_carrier_that_routes_strictly_finds_back() -> None:
    """Our Record-Route in its Request-URI and the sealed Contact as its last Route (RFC 3261 §16.4)."""
    world = World()
    _, callee = establish(world)
    contact, ours = callee.target, callee.routes[-1]
    callee.target, callee.routes = ours[1:-1], [b"<" + contact + b">"]
    bye = only(world.send(FAR, callee.request(b"BYE")), b"BYE")
    assert bye.uri == PLAIN_CONTACT
    assert values(bye, grammar.ROUTE) == RECORDED


def test_customer_proxy_that_routes_strictly_finds_itself_in_the_request_uri() -> None:
    """The sealed routes are followed like any others (§16.6 step 6)."""
    world, caller, callee = World(), pbx(), carrier()
    extra = EXTRA.replace(RECORDED[0], b"<sip:10.20.30.40>")
    request = invite(world, caller, extra)
    callee.learn_from_request(request)
    world.send(FAR, callee.answer(request, b"200 OK", body=SDP))
    bye = only(world.send(FAR, callee.request(b"BYE")), b"BYE")
    assert bye.uri == b"sip:10.20.30.40"
    assert values(bye, grammar.ROUTE) == [RECORDED[1], b"<" + PLAIN_CONTACT + b">"]


def test_call_between_customers_through_the_carrier_passes_twice() -> None:
    """A carrier that sends the call straight back: the second passage knows nothing of the first, and all arrives."""
    world, caller, callee = World(mode="monitor"), pbx(), carrier()
    caller.cseq = 1
    uri = b"sip:+12025550102@10.20.30.1:5060"
    data = caller.compose(b"INVITE", uri, b"<" + uri + b">", 1, EXTRA, SDP)
    outward = only([one for one in world.send(NEAR, data) if one.is_request], b"INVITE")
    via = b"Via: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKback\r\n"
    lines = [outward.start_line.replace(b"203.0.113.10:5060", b"198.51.100.5:5070"), via[:-2], *outward.lines]
    back = b"\r\n".join([*lines, b"", outward.body])
    inward = only([one for one in world.send(FAR, back) if one.is_request], b"INVITE")
    callee = pbx()
    callee.tag = b"other"
    callee.learn_from_request(inward)
    answered = only(world.send(NEAR, callee.answer(inward, b"200 OK", body=SDP)), b"INVITE")
    passed = b"\r\n".join([answered.start_line, *answered.lines[1:], b"", answered.body])
    response = only(world.send(FAR, passed), b"INVITE")
    assert response.call_id == CALL_ID
    caller.learn_from_response(response)
    caller.routes = caller.routes[len(RECORDED) :]
    # Out to the carrier's side, which is us again, and in.
    ack = only(world.send(NEAR, caller.request(b"ACK", cseq=1)), b"ACK")
    assert ack.call_id == callee.call_id
    again = b"\r\n".join([ack.start_line, *ack.lines, b"", ack.body])
    assert only(world.send(FAR, again, FAR_US), b"ACK").uri == PLAIN_CONTACT


def test_message_without_a_dialog_is_hidden_too() -> None:
    """A MESSAGE has no dialog to come back to, but a sender to hide."""
    world, caller = World(), pbx()
    to = b"<sip:+13035550100@10.20.30.1>"
    data = caller.compose(b"MESSAGE", b"sip:+13035550100@10.20.30.1:5060", to, 1, EXTRA, b"hello")
    request = only(world.send(NEAR, data), b"MESSAGE")
    assert request.first[grammar.RECORD_ROUTE] < 0
    response = only(world.send(FAR, carrier().answer(request, b"200 OK")), b"MESSAGE")
    assert response.call_id == CALL_ID
    assert len(values(response, grammar.VIA)) == 2


def test_books_balance_and_addresses_are_as_configured() -> None:
    """Hiding adds no message and loses none."""
    world = World()
    caller, callee = establish(world)
    only(world.send(NEAR, caller.request(b"BYE")), b"BYE")
    assert all(counts.is_balanced() for counts in world.pipeline.counters.sides.values())
    assert callee.routes[-1].startswith(b"<sip:%s;" % str(FAR_US).encode())
    assert CARRIER != CUSTOMER_PROXY
