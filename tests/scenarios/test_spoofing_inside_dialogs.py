"""A customer whose call is up cannot show another's number by what it sends inside of it, or as if it were inside."""

from __future__ import annotations

import pytest

from edge_proxy.pipeline.counters import Cause
from tests.kit.messages import (
    CARRIER,
    FAR,
    FOREIGN,
    OWNED,
    Dialog,
    ack_of,
    answer,
    invite,
    invite_from_carrier,
    outgoing_uri,
    request,
    value,
    values,
)
from tests.kit.playbook import Playbook, make_snapshot

ACME = 'id: acme\n    sources: ["198.51.100.10/32"]'
NUMBERS = 'numbers: ["+12025550100-+12025550199"]'
RPID = "Remote-Party-ID"
FOREIGN_SHOWN = [f"<sip:{FOREIGN}@x>", f"<sip:{OWNED}@x>, <tel:{FOREIGN}>", "<sip:0014155550123@x>", f"<{FOREIGN}"]
OWN_SHOWN = [f"<sip:{OWNED}@x>;party=calling", '"Bob" <sip:1001@pbx>;party=called', "<sip:anonymous@anonymous.invalid>"]


def as_if_inside(dialog: Dialog, to: str, from_: str = f"<sip:{FOREIGN}@x>;tag=new") -> bytes:
    """An INVITE with the signed Route of a call that is up."""
    return request(
        "INVITE", f"sip:{CARRIER}", from_=from_, to=to, call_id=dialog.call_id, routes=dialog.routes_of_caller
    )


@pytest.mark.parametrize(
    "to",
    ["<sip:a@b>, <sip:c@d>;tag=bob", "sip:a@b, <sip:c@d>;tag=bob", '<sip:a@b>;x="\\">;tag=bob', "<sip:a@b> <>;tag=bob"],
)
def test_request_that_is_new_for_others_is_not_inside_a_dialog_for_us(to: str) -> None:
    """What decides that nobody judges it is a tag in To that all see."""
    play = Playbook()
    dialog = play.call()
    play.reads_what_leaves = False
    play.customer.sends(as_if_inside(dialog, to)).gets(400)
    play.carrier.gets_nothing()
    assert play.count(Cause.MALFORMED) == 1


@pytest.mark.parametrize("to", ["bob", "nobody"])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "MESSAGE", "REFER", "INFO"])
@pytest.mark.parametrize("user", [FOREIGN, "0014155550123", "somebody"])
def test_caller_does_not_become_another_inside_a_call(method: str, to: str, user: str) -> None:
    """RFC 4916: who supports it shows the From of a request inside a dialog; others may take it for a new call."""
    play = Playbook()
    dialog = play.call()
    to_line = f"{dialog.remote.partition(';')[0]};tag={to}"
    from_ = f"<sip:{user}@x>;tag=alice"
    sent = request(
        method, f"sip:{CARRIER}", from_=from_, to=to_line, call_id=dialog.call_id, routes=dialog.routes_of_caller
    )
    refusal = play.customer.sends(sent).gets(403)
    if method == "INVITE":
        play.customer.sends(ack_of(sent, refusal))
    play.carrier.gets_nothing()
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)
    play.is_over()


@pytest.mark.parametrize("from_", [f"<sip:{OWNED[:-1]}1@x>;tag=alice", "<sip:anonymous@anonymous.invalid>;tag=alice"])
def test_caller_may_become_another_of_its_own_numbers_or_nobody(from_: str) -> None:
    play = Playbook()
    dialog = play.call()
    dialog.local = from_
    play.customer.sends(dialog.from_caller("UPDATE"))
    assert value(play.carrier.gets("UPDATE"), "From") == from_


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ACME, f"{ACME}\n    forwarded_calls: allow"),
        (ACME, f"{ACME}\n    mode: monitor"),
        ("node: edge-test", "node: edge-test\npolicy: {rules: {from_not_owned: monitor}}"),
    ],
)
def test_from_that_is_let_through_goes_on_inside_the_call(old: str, new: str) -> None:
    """A forwarded call has its From throughout, also where a restart has forgotten what the call began with."""
    play = Playbook(snapshot=make_snapshot(old=old, new=new))
    from_ = f"<sip:{FOREIGN}@x>;tag=alice"
    sent = invite(f"Diversion: <sip:{OWNED}@x>", from_=from_)
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200))
    dialog = Dialog(invited, play.customer.gets(200))
    play.restart()
    play.customer.sends(dialog.from_caller("UPDATE"))
    assert value(play.carrier.gets("UPDATE"), "From") == from_


def test_call_lives_on_when_its_number_is_taken_away() -> None:
    """A reload ends no call: the From that it began with stays good for it, and for no other."""
    play = Playbook()
    dialog = play.call()
    play.pipeline.use_snapshot(make_snapshot(old=NUMBERS, new='numbers: ["+12025550101"]'))
    play.customer.sends(dialog.from_caller("UPDATE"))
    play.carrier.sends(answer(play.carrier.gets("UPDATE"), 200))
    play.customer.gets(200)
    dialog.local = dialog.local.replace(OWNED, FOREIGN)
    play.customer.sends(dialog.from_caller("UPDATE")).gets(403)


def test_who_is_called_keeps_its_from_and_so_does_a_call_for_help() -> None:
    """The To of a call that was forwarded to the customer names another; what a call for help says is left alone."""
    play = Playbook()
    to = f"<sip:{FAR}@carrier.example>"
    sent = invite_from_carrier().replace(f"To: <sip:{OWNED}@192.0.2.2:5070>".encode(), f"To: {to}".encode())
    play.carrier.sends(sent).gets(100)
    invited = play.customer.gets("INVITE")
    play.customer.sends(answer(invited, 200))
    dialog = Dialog(invited, play.carrier.gets(200), caller=play.carrier.address, callee=play.customer.address)
    play.customer.sends(dialog.from_callee("UPDATE"))
    assert value(play.carrier.gets("UPDATE"), "From").startswith(to)
    play = Playbook()
    help_ = request("INVITE", outgoing_uri("911"), from_=f"<sip:{FOREIGN}@x>;tag=alice")
    play.customer.sends(help_).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 200))
    dialog = Dialog(invited, play.customer.gets(200))
    play.customer.sends(dialog.from_caller("UPDATE"))
    play.carrier.gets("UPDATE")


@pytest.mark.parametrize("shown", [*FOREIGN_SHOWN, *OWN_SHOWN])
def test_remote_party_inside_a_call_and_in_responses_is_the_customers_own(shown: str) -> None:
    """Many switches show it before they look at anything else, and no rule judges it there."""
    expected = [] if shown in FOREIGN_SHOWN else [shown]
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("UPDATE", f"{RPID}: {shown}"))
    assert values(play.carrier.gets("UPDATE"), RPID) == expected
    play = Playbook()
    play.carrier.sends(invite_from_carrier()).gets(100)
    invited = play.customer.gets("INVITE")
    play.customer.sends(answer(invited, 180, f"{RPID}: {shown}"))
    assert values(play.carrier.gets(180), RPID) == expected
