"""Each hop finds in our Record-Route the listener that it was reached by (RFC 5658 §5.1), also after another one."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Address, Side
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.pipeline.snapshot import Snapshot
from tests.kit.messages import (
    CARRIER,
    CUSTOMER,
    OURS_FOR_CARRIERS,
    OURS_FOR_CUSTOMERS,
    Dialog,
    ack_of,
    answer,
    invite,
    invite_from_carrier,
    values,
)
from tests.kit.playbook import CONFIG, SPARE, STREAMS, Playbook

OUTER_TCP = STREAMS[1]
INNER_TCP = STREAMS[0]
SECOND_PBX = Address("198.51.100.10", 5062)


def network(targets: str, *, hides: bool = False, pbx: str = "") -> Snapshot:
    """The usual network; the trunk at `targets`, acme also at `pbx`."""
    text = CONFIG.replace("TARGETS", targets)
    if hides:
        text = text.replace("probe:", "hide_topology: true\n    probe:")
    if pbx:
        text = text.replace('targets: ["sip:198.51.100.10:5060"]', f'targets: ["sip:198.51.100.10:5060", "{pbx}"]')
    return compile_snapshot(parse_settings(text.encode(), "test.yaml"))


def named(data: bytes) -> list[str]:
    """The Record-Route URIs, without the token and what is sealed into them."""
    routes = [piece.strip() for line in values(data, "Record-Route") for piece in line.split(",")]
    return [route.strip("<>").partition(";ep=")[0] for route in routes]


def transport_of(data: bytes) -> str:
    return values(data, "Via")[0].split(" ")[0]


UDP_OUTER = f"sip:{OURS_FOR_CARRIERS};lr"
TCP_OUTER = f"sip:{OURS_FOR_CARRIERS};transport=tcp;lr"
UDP_INNER = f"sip:{OURS_FOR_CUSTOMERS};lr"
TCP_INNER = f"sip:{OURS_FOR_CUSTOMERS};transport=tcp;lr"


@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_failover_from_udp_to_tcp_names_the_tcp_listener(hides: bool, restarts: bool) -> None:
    """The second target comes back by TCP, to where it was reached from; both ends' requests pass."""
    targets = f'"sip:{CARRIER}", "sip:{SPARE};transport=tcp"'
    play = Playbook(snapshot=network(targets, hides=hides), has_streams=True)
    play.customer.sends(invite()).gets(100)
    first = play.carrier.gets("INVITE")
    assert named(first)[0] == UDP_OUTER
    play.carrier.sends(answer(first, 503)).gets("ACK")
    second = play.spare.gets("INVITE")
    assert transport_of(second) == "SIP/2.0/TCP"
    assert named(second) == ([TCP_OUTER] if hides else [TCP_OUTER, UDP_INNER])
    accepted = answer(second, 200, f"Contact: <sip:{SPARE};transport=tcp>", contact=None)
    play.deliver(accepted, SPARE, OUTER_TCP)
    back = play.customer.gets(200)
    assert named(back) == [TCP_OUTER, UDP_INNER]
    contact = f"sip:{SPARE};transport=tcp"
    dialog = Dialog(second, back, callee=SPARE)
    if restarts:
        play.restart()
    play.customer.sends(dialog.from_caller("ACK", cseq=1, uri=contact))
    assert transport_of(play.spare.gets("ACK")) == "SIP/2.0/TCP"
    play.customer.sends(dialog.from_caller("INFO", uri=contact))
    info = play.spare.gets("INFO")
    assert transport_of(info) == "SIP/2.0/TCP"
    play.deliver(answer(info, 200), SPARE, OUTER_TCP)
    play.customer.gets(200)
    inside = dialog.from_callee("BYE")
    if hides:  # the callee sends to the Contact that it was shown
        shown = values(second, "Contact")[0].strip("<>")
        inside = inside.replace(f"BYE sip:{CUSTOMER}".encode(), f"BYE {shown}".encode(), 1)
        assert shown.endswith(f"@{OURS_FOR_CARRIERS};transport=tcp")
    play.deliver(inside, SPARE, OUTER_TCP)
    play.customer.sends(answer(play.customer.gets("BYE"), 200))
    play.spare.gets(200)
    play.is_over()


def test_failover_from_tcp_to_udp_names_the_udp_listener() -> None:
    """The other way round, when the connection cannot be had."""
    play = Playbook(snapshot=network(f'"sip:{CARRIER};transport=tcp", "sip:{SPARE}"'), has_streams=True)
    play.customer.sends(invite()).gets(100)
    first = play.carrier.gets("INVITE")
    assert named(first) == [TCP_OUTER, UDP_INNER]
    play.lets(lambda now: play.pipeline.unreachable(OUTER_TCP.slot, CARRIER, first, now))
    second = play.spare.gets("INVITE")
    assert (transport_of(second), named(second)) == ("SIP/2.0/UDP", [UDP_OUTER, UDP_INNER])
    play.spare.sends(answer(second, 200))
    back = play.customer.gets(200)
    assert named(back) == [UDP_OUTER, UDP_INNER]
    dialog = Dialog(second, back, callee=SPARE)
    play.customer.sends(dialog.ack())
    play.spare.gets("ACK")
    play.spare.sends(dialog.from_callee("BYE"))
    play.customer.sends(answer(play.customer.gets("BYE"), 200))
    play.spare.gets(200)
    play.is_over()


def test_large_request_names_tcp_and_udp_when_tcp_cannot_be_had() -> None:
    """§18.1.1: over 1300 bytes by TCP, and by UDP again after that failed; each says how it came."""
    play = Playbook(snapshot=network(f'"sip:{CARRIER}"'), has_streams=True)
    sent = invite("X-Long: " + "x" * 1300)
    play.customer.sends(sent).gets(100)
    large = play.carrier.gets("INVITE")
    assert (transport_of(large), named(large)) == ("SIP/2.0/TCP", [TCP_OUTER, UDP_INNER])
    play.lets(lambda now: play.pipeline.unreachable(OUTER_TCP.slot, CARRIER, large, now))
    again = play.carrier.gets("INVITE")
    assert (transport_of(again), named(again)) == ("SIP/2.0/UDP", [UDP_OUTER, UDP_INNER])
    play.carrier.sends(answer(again, 486)).gets("ACK")
    play.customer.sends(ack_of(sent, play.customer.gets(486)))
    play.is_over()


def test_large_call_that_came_by_tcp_is_served_inside_its_dialog() -> None:
    """Both sides of such a call are TCP towards the carrier; a BYE from there comes by TCP and passes."""
    play = Playbook(snapshot=network(f'"sip:{CARRIER}"'), has_streams=True)
    play.customer.sends(invite("X-Long: " + "x" * 1300)).gets(100)
    large = play.carrier.gets("INVITE")
    play.deliver(answer(large, 200), CARRIER, OUTER_TCP)
    dialog = Dialog(large, play.customer.gets(200))
    play.customer.sends(dialog.ack())
    play.carrier.gets("ACK")
    play.deliver(dialog.from_callee("BYE"), CARRIER, OUTER_TCP)
    play.customer.sends(answer(play.customer.gets("BYE"), 200))
    play.carrier.gets(200)
    play.is_over()


@pytest.mark.parametrize("hides", [False, True])
def test_call_to_a_customer_that_fails_over_to_tcp(hides: bool) -> None:
    """Towards a customer it is the same, and a carrier that must not see him gets what opens again."""
    pbx = f"sip:{SECOND_PBX};transport=tcp"
    play = Playbook(snapshot=network(f'"sip:{CARRIER}"', hides=hides, pbx=pbx), has_streams=True)
    second_pbx = play.peer(SECOND_PBX, Side.CUSTOMERS)
    play.carrier.sends(invite_from_carrier()).gets(100)
    first = play.customer.gets("INVITE")
    assert named(first) == [UDP_INNER, UDP_OUTER]
    play.customer.sends(answer(first, 503)).gets("ACK")
    second = second_pbx.gets("INVITE")
    assert (transport_of(second), named(second)) == ("SIP/2.0/TCP", [TCP_INNER, UDP_OUTER])
    contact = f"sip:{SECOND_PBX};transport=tcp"
    play.deliver(answer(second, 200, f"Contact: <{contact}>", contact=None), SECOND_PBX, INNER_TCP)
    back = play.carrier.gets(200)
    assert named(back) == ([UDP_OUTER] if hides else [TCP_INNER, UDP_OUTER])
    shown = values(back, "Contact")[0].strip("<>")
    assert (shown == contact) is not hides
    dialog = Dialog(second, back, caller=CARRIER, callee=SECOND_PBX)
    play.carrier.sends(dialog.from_caller("ACK", cseq=1, uri=shown))
    assert transport_of(second_pbx.gets("ACK")) == "SIP/2.0/TCP"
    play.carrier.sends(dialog.from_caller("BYE", uri=shown))
    bye = second_pbx.gets("BYE")
    play.deliver(answer(bye, 200), SECOND_PBX, INNER_TCP)
    play.carrier.gets(200)
    play.is_over()
