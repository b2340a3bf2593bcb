"""Whatever arrives, in whatever order: nothing is raised, the books balance, and nothing stays for ever."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.messages import CARRIER, Dialog, ack_of, answer, cancel_of, invite, invite_from_carrier, request
from tests.kit.playbook import SPARE, Peer, Playbook, make_snapshot
from tests.torture.load import torture_cases

SEEDS = [
    invite(body="v=0\r\n"),
    invite("Route: <sip:192.0.2.1:5060;lr>", "P-Asserted-Identity: <sip:+12025550100@x>, <tel:+12025550100>"),
    invite("History-Info: <sip:a@b?Reason=SIP%3Bcause%3D302>;index=1, <sip:c@d>;index=1.1", "Max-Breadth: 5"),
    invite("Session-Expires: 1800;refresher=uac", "Min-SE: 90", "Supported: timer", "Proxy-Require: x"),
    invite_from_carrier(),
    request("OPTIONS", "sip:192.0.2.1:5060"),
    request("MESSAGE", "tel:+13105550199"),
    request("BYE", "sip:203.0.113.10:5090", to="<sip:x@y>;tag=1", routes=["<sip:192.0.2.1:5060;lr;ep=AAAA>"]),
    *(case.data for case in torture_cases()),
]
TOKENS = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b'"',
        b"<",
        b">",
        b",",
        b";",
        b":",
        b"@",
        b"%",
        b"?",
        b"=",
        b" ",
        b"\x00",
        b"\xff",
        b"[",
        b"]",
    ),
    *(b";lr", b";ep=", b";er=", b";maddr=::", b";tag=", b"z9hG4bK", b"sip:", b"tel:", b"urn:service:sos", b"911", b"0"),
    *(
        b"Via: SIP/2.0/UDP 192.0.2.2:5070;branch=x\r\n",
        b"Route: <sip:192.0.2.1:5060;lr>\r\n",
        b"SIP/2.0",
        b"99999999999",
    ),
    *(
        b"Max-Forwards: 0\r\n",
        b"Max-Breadth: 0\r\n",
        b"Session-Expires: 1\r\n",
        b"Content-Length: 3\r\n",
        b"Reason: Q.850;cause=x\r\n",
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message with bytes cut out, put in, doubled or swapped for others."""
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(raw)))
        end = min(len(raw), at + draw(st.integers(0, 20)))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(bytes(raw[at:end]) * 2)))
        raw[at : draw(st.sampled_from([at, end]))] = piece
    return bytes(raw)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(mutated(), st.integers(0, 3)), min_size=1, max_size=4), st.booleans())
def test_receive_raises_nothing(datagrams: list[tuple[bytes, int]], hides: bool) -> None:
    """Datagrams from customers, strangers and carriers: each is counted once, whatever it holds."""
    snapshot = make_snapshot(old="- id: carrier-a", new="- id: carrier-a\n    hide_topology: true") if hides else None
    play = Playbook(snapshot=snapshot, max_breadth=60)
    play.reads_what_leaves = False
    peers = [play.customer, play.stranger, play.carrier, play.strange_carrier]
    for data, who in datagrams:
        play.deliver(data, peers[who].address, peers[who].listener)
    ignore_all(play)
    play.waits(4.0)
    ignore_all(play)


def ignore_all(play: Playbook) -> None:
    for peer in play.peers.values():
        peer.ignores()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_order_of_a_calls_messages_ends_with_nothing_left(data: st.DataObject) -> None:
    """Both ends say whatever they may say, in any order, with any pauses, often twice: when all is quiet for long
    enough, no transaction is left, every call that began has one ending at most, and calls up are counted right."""
    play = Playbook(snapshot=make_snapshot(CARRIER, SPARE))
    sent = invite()
    play.deliver(sent, play.customer.address, play.customer.listener)
    seen: list[tuple[Peer, bytes]] = []
    dialogs: list[Dialog] = []
    for _ in range(data.draw(st.integers(1, 12))):
        for peer in (play.carrier, play.spare):
            seen.extend((peer, got.data) for got in peer.inbox if not got.data.startswith(b"SIP/2.0"))
        invites = [one for one in seen if one[1].startswith(b"INVITE")]
        accepted = [
            got.data for got in play.customer.inbox if got.data.startswith(b"SIP/2.0 200") and b"INVITE" in got.data
        ]
        refused = [got.data for got in play.customer.inbox if got.name >= "300"]
        if accepted and invites:
            dialogs.append(Dialog(invites[-1][1], accepted[0]))
        ignore_all(play)
        step = data.draw(st.sampled_from(["answer", "answer", "again", "cancel", "wait", "bye", "ack", "callee-bye"]))
        if step == "answer" and seen:
            peer, got = data.draw(st.sampled_from(seen))
            if not got.startswith(b"ACK"):
                status = data.draw(st.sampled_from([100, 180, 183, 200, 200, 302, 408, 486, 487, 503, 603]))
                play.deliver(answer(got, status), peer.address, peer.listener)
        elif step == "again":
            play.deliver(sent, play.customer.address, play.customer.listener)
        elif step == "cancel":
            play.deliver(cancel_of(sent), play.customer.address, play.customer.listener)
        elif step == "wait":
            play.waits(data.draw(st.sampled_from([0.1, 0.6, 5.0, 31.0, 33.0, 190.0])))
        elif step == "ack" and refused:
            play.deliver(ack_of(sent, refused[0]), play.customer.address, play.customer.listener)
        elif dialogs:
            dialog = data.draw(st.sampled_from(dialogs))
            if step == "callee-bye":
                play.deliver(dialog.from_callee("BYE"), play.carrier.address, play.carrier.listener)
            else:
                message = dialog.from_caller("BYE") if step == "bye" else dialog.ack()
                play.deliver(message, play.customer.address, play.customer.listener)
    for _ in range(60):
        ignore_all(play)
        play.waits(20.0)
    ignore_all(play)
    assert not play.pipeline.layer.servers
    assert not play.pipeline.layer.clients
    ids = [ending.evidence_id for ending in play.endings]
    assert len(ids) == len(set(ids))
    assert len(play.attempts) == len(ids) + len(play.pipeline.calls)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1300, 65_507])
def test_datagram_of_any_length_is_counted(length: int) -> None:
    """From nothing to the largest that UDP carries."""
    play = Playbook()
    play.customer.sends(b"I" * length)
    counts = play.pipeline.counters.sides[play.customer.listener.side]
    assert (counts.received, counts.received_bytes) == (1, length)
