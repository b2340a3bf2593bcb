"""Every other method goes through: inside a dialog by its token, outside of one with a Record-Route of ours."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.pipeline.counters import Cause, Disposition
from tests.kit.core_rig import (
    CARRIER,
    FAR_NUMBER,
    PBX,
    Core,
    Dialog,
    answer,
    invite,
    request,
    set_up,
    start_line,
    statuses,
    values,
)

FAR_URI = f"sip:{FAR_NUMBER}@127.0.0.1:5060"


@pytest.mark.parametrize("method", ["INFO", "UPDATE", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE", "OPTIONS", "FOO"])
@pytest.mark.parametrize("is_caller", [True, False], ids=["caller", "callee"])
def test_request_in_a_dialog_and_its_answer_go_through(method: str, is_caller: bool) -> None:
    """Known or not, from either side: the token says whose it is, the R-URI where it goes, one hop is taken off."""
    core = Core()
    dialog = set_up(core)
    near, far = (PBX, CARRIER) if is_caller else (CARRIER, PBX)
    sent = dialog.from_caller(method) if is_caller else dialog.from_callee(method)
    (got,) = core.receive(sent, near)
    assert got.address == far
    assert start_line(got.data) == start_line(sent)
    assert values(got.data, "Max-Forwards") == ["69"]
    assert values(got.data, "Route") == []
    assert len(values(got.data, "Via")) == 2
    (back,) = core.receive(answer(got.data, 202), far)
    assert back.address == near
    assert start_line(back.data) == "SIP/2.0 202 Whatever"
    assert len(values(back.data, "Via")) == 1
    assert core.pipeline.calls.active_of("acme") == 1


def test_prack_goes_through_before_the_answer() -> None:
    """RFC 3262: a reliable 183 is acknowledged inside the early dialog; RSeq, RAck and Require pass as they came."""
    core = Core()
    got = next(send for send in core.receive(invite("Supported: 100rel"), PBX) if send.address == CARRIER)
    (progress,) = core.receive(answer(got.data, 183, "Require: 100rel", "RSeq: 7"), CARRIER)
    assert values(progress.data, "RSeq") == ["7"]
    dialog = Dialog(got.data, progress.data)
    (prack,) = core.receive(dialog.from_caller("PRACK", "RAck: 7 1 INVITE"), PBX)
    assert prack.address == CARRIER
    assert values(prack.data, "RAck") == ["7 1 INVITE"]
    (ok,) = core.receive(answer(prack.data, 200), CARRIER)
    assert (ok.address, start_line(ok.data)) == (PBX, "SIP/2.0 200 Whatever")
    (answered,) = core.receive(answer(got.data, 200), CARRIER)
    assert answered.address == PBX


@pytest.mark.parametrize("method", ["SUBSCRIBE", "REFER"])
def test_request_that_makes_a_dialog_is_record_routed(method: str) -> None:
    """RFC 6665 §4.3: SUBSCRIBE and REFER make dialogs, so both our addresses and the token are put in."""
    core = Core()
    (got,) = core.receive(request(method, FAR_URI, "Event: presence"), PBX)
    routes = values(got.data, "Record-Route")
    assert len(routes) == 2
    assert routes[0].startswith("<sip:127.0.0.1:5070;lr;ep=")
    assert routes[1].startswith("<sip:127.0.0.1:5060;lr;ep=")


@pytest.mark.parametrize("comes_first", [True, False], ids=["before-the-200", "after"])
def test_notify_of_a_subscription_goes_through(comes_first: bool) -> None:
    """RFC 6665 §4.1.2.4: NOTIFY may overtake the 2xx; it is served by its token alone, and by a restarted proxy too."""
    core = Core()
    (got,) = core.receive(request("SUBSCRIBE", FAR_URI, "Event: presence"), PBX)
    ok = answer(got.data, 200, "Expires: 60")
    dialog = Dialog(got.data, ok)
    if not comes_first:
        core.receive(ok, CARRIER)
    (notify,) = core.receive(dialog.from_callee("NOTIFY", "Subscription-State: active"), CARRIER)
    assert notify.address == PBX
    (back,) = core.receive(answer(notify.data, 200), PBX)
    assert back.address == CARRIER
    restarted = Core()
    (notify,) = restarted.receive(dialog.from_callee("NOTIFY", "Subscription-State: terminated"), CARRIER)
    assert notify.address == PBX


def test_message_outside_a_dialog_is_judged_forwarded_and_not_record_routed() -> None:
    """MESSAGE makes no dialog (RFC 3428 §5), and is no call."""
    core = Core()
    (got,) = core.receive(request("MESSAGE", FAR_URI), PBX)
    assert statuses([got]) == [(CARRIER, "MESSAGE")]
    assert values(got.data, "Record-Route") == []
    assert core.pipeline.calls.active_of("acme") == 0
    (back,) = core.receive(answer(got.data, 200), CARRIER)
    assert start_line(back.data) == "SIP/2.0 200 Whatever"
    assert [ending.cause for ending in core.endings] == ["completed"]


def test_options_to_a_number_goes_through() -> None:
    """OPTIONS for somebody behind us is not ours to answer."""
    core = Core()
    (got,) = core.receive(request("OPTIONS", FAR_URI), PBX)
    assert statuses([got]) == [(CARRIER, "OPTIONS")]


def test_options_to_ourselves_by_way_of_others_needs_a_hop_left() -> None:
    """RFC 3261 §16.3 step 3: only what ends here is answered with none left; a number below 0 never leaves."""
    core = Core()
    routes = ("<sip:127.0.0.1:5060;lr>", "<sip:203.0.113.77;lr>")
    asked = request("OPTIONS", "sip:127.0.0.1:5060", routes=routes).replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    (refusal,) = core.receive(asked, PBX)
    assert start_line(refusal.data).startswith("SIP/2.0 483 ")


def test_late_message_gets_100_and_then_silence() -> None:
    """RFC 4320: 100 after 3.5 s over UDP, no 408 ever, and nothing is kept of it."""
    core = Core()
    core.receive(request("MESSAGE", FAR_URI), PBX)
    sent = statuses(core.advance(200.0))
    assert [what for address, what in sent if address == PBX] == ["100"]
    assert len(core.pipeline.calls) == 0
    assert not core.pipeline.layer.servers
    assert [ending.cause for ending in core.endings] == ["timed_out"]


@pytest.mark.parametrize("status", [180, 183, 199])
def test_provisional_answer_to_a_non_invite_is_absorbed(status: int) -> None:
    """RFC 4320 §4.1: nothing but 100 may go back before the final response."""
    core = Core()
    (got,) = core.receive(request("MESSAGE", FAR_URI), PBX)
    assert core.receive(answer(got.data, status), CARRIER) == []


def test_408_to_a_non_invite_is_not_passed_on() -> None:
    """RFC 4320 §4.2: it would come too late; a repetition of the request is absorbed."""
    core = Core()
    sent = request("MESSAGE", FAR_URI)
    (got,) = core.receive(sent, PBX)
    assert core.receive(answer(got.data, 408), CARRIER) == []
    assert core.receive(sent, PBX) == []


def come_back(core: Core) -> bytes:
    """An INVITE of acme's, as an element behind us would send it to us once more."""
    got = next(send for send in core.receive(invite(), PBX) if send.address == CARRIER)
    return got.data.replace(start_line(got.data).encode(), f"INVITE {FAR_URI} SIP/2.0".encode())


def test_request_that_comes_back_on_the_other_side_is_no_loop() -> None:
    """From the carrier's side the same request is another one, with other rules: here they refuse it."""
    core = Core()
    assert [what for _, what in statuses(core.receive(come_back(core), CARRIER))] == ["404"]


def test_loop_is_answered_482() -> None:
    """RFC 5393 §4.2.2: an INVITE that comes back to the side it came from, unchanged, would go round for ever."""
    core = Core()
    (refusal,) = core.receive(come_back(core), PBX)
    assert start_line(refusal.data) == "SIP/2.0 482 Loop Detected (Via)"
    by_cause = core.pipeline.counters.sides[Side.CUSTOMERS].by_cause
    assert by_cause[Disposition.ANSWERED, Cause.LOOP] == 1


def test_loop_is_found_by_any_worker() -> None:
    """The mark hangs on the node's secret alone: what one worker sent, another one knows again, and a later one too."""
    (refusal,) = Core().receive(come_back(Core()), PBX)
    assert start_line(refusal.data) == "SIP/2.0 482 Loop Detected (Via)"
    assert "482" not in [what for _, what in statuses(Core(worker_secret=b"x" * 32).receive(come_back(Core()), PBX))]


def test_mark_that_a_peer_copies_stops_no_other_call() -> None:
    """Who writes the Via of somebody's request into one of his own is refused nothing, and nobody else is."""
    core = Core()
    got = next(send for send in core.receive(invite(), PBX) if send.address == CARRIER)
    copied = f"Via: {values(got.data, 'Via')[0]}"
    assert (CARRIER, "INVITE") in statuses(core.receive(invite(copied), PBX))
    assert (CARRIER, "INVITE") in statuses(core.receive(invite(), PBX))


def test_request_inside_a_dialog_is_not_searched_for_loops() -> None:
    """Its Routes bring it here as often as they say, and no further: here a proxy behind us sends it back once."""
    core = Core()
    dialog = set_up(core)
    bye = dialog.from_caller("BYE")
    (got,) = core.receive(bye, PBX)
    again = bye.replace(b"Via: ", f"Via: SIP/2.0/UDP {PBX};branch=z9hG4bKagain\r\nVia: ".encode(), 1)
    again = again.replace(b"Max-Forwards", f"Via: {values(got.data, 'Via')[0]}\r\nMax-Forwards".encode())
    assert [what for _, what in statuses(core.receive(again, PBX))] == ["BYE"]


def test_spiral_with_another_request_uri_goes_on() -> None:
    """A PBX that forwards the call to another number sends it through us again: that is no loop."""
    core = Core()
    got = next(send for send in core.receive(invite(), PBX) if send.address == CARRIER)
    forwarded = got.data.replace(start_line(got.data).encode(), b"INVITE sip:+14155550777@127.0.0.1:5060 SIP/2.0")
    assert (CARRIER, "INVITE") in statuses(core.receive(forwarded, PBX))


def test_exhausted_max_breadth_is_answered_440() -> None:
    """RFC 5393 §5.3.3: none left, so it may not go on; with the header switched off nobody looks."""
    (refusal,) = Core().receive(invite("Max-Breadth: 0"), PBX)
    assert start_line(refusal.data) == "SIP/2.0 440 Max-Breadth Exceeded"
    sent = Core(max_breadth=0).receive(invite("Max-Breadth: 0"), PBX)
    assert (CARRIER, "INVITE") in statuses(sent)


def test_max_breadth_leaves_with_requests_but_not_with_cancel_and_ack() -> None:
    """RFC 5393 §5.3.3, §5.4.1: every forwarded request has one; it has no meaning in CANCEL, and ACK is not forked."""
    core = Core()
    sent = invite()
    got = next(send for send in core.receive(sent, PBX) if send.address == CARRIER)
    assert values(got.data, "Max-Breadth") == ["60"]
    core.receive(answer(got.data, 180), CARRIER)
    (ok,) = core.receive(answer(got.data, 200), CARRIER)
    dialog = Dialog(got.data, ok.data)
    (passed_on,) = core.receive(dialog.from_caller("ACK", cseq=1), PBX)
    assert values(passed_on.data, "Max-Breadth") == []


def test_dialog_that_comes_through_twice_keeps_both_passages() -> None:
    """A call that leaves us and comes back is two calls of ours: each passage takes out its own two Routes only."""
    core = Core()
    first = next(send for send in core.receive(invite(), PBX) if send.address == CARRIER)
    other = next(send for send in Core().receive(invite(), PBX) if send.address == CARRIER)
    routes = tuple(reversed(values(first.data, "Record-Route"))) + tuple(values(other.data, "Record-Route"))
    call_id = values(first.data, "Call-ID")[0]
    bye = request("BYE", "sip:127.0.0.9:5099", call_id=call_id, to="<sip:x@y>;tag=far", routes=routes)
    (got,) = core.receive(bye, PBX)
    assert got.address == ("127.0.0.1", 5070)
    assert len(values(got.data, "Route")[0].split(", ")) == 2
