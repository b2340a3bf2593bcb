"""What the transaction layer does with rows: streams against datagrams, keys, ACK and CANCEL made from a request."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge_proxy.addr import NEVER, Address, Monotonic
from edge_proxy.errors import LocalProtocolError
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.transaction.derive import build_ack, build_cancel
from edge_proxy.transaction.keys import server_key, transaction_key
from edge_proxy.transaction.layer import Send, TransactionLayer
from edge_proxy.transaction.timers import TimerSettings
from tests.kit.messages import answer, head_lines, request, start_line, value, values

PEER = Address("203.0.113.10", 5090)
NOW = Monotonic(100.0)
LATE = Monotonic(1000.0)


def parsed(data: bytes) -> Message:
    return parse_message(data, Limits())


def key_of(message: Message) -> bytes:
    return transaction_key(server_key(message), message.method)


class Rig:
    """One layer and what it sent."""

    def __init__(self) -> None:
        self.out: list[Send] = []
        self.layer: TransactionLayer[str] = TransactionLayer(TimerSettings(), self.out)

    def sent(self) -> list[str]:
        lines = [start_line(send.data) for send in self.out]
        self.out.clear()
        return lines


@pytest.mark.parametrize("method", ["INVITE", "INFO"])
def test_nothing_is_sent_again_on_a_stream(method: str) -> None:
    """§17.1.1.2, §17.1.2.2: a stream does it; timers B and F run all the same."""
    rig = Rig()
    data = request(method, "sip:b@h")
    client = rig.layer.open_client(b"z9hG4bKb", method.encode(), data, 0, PEER, NOW, is_reliable=True)
    client.user = "context"
    assert len(rig.sent()) == 1
    assert rig.layer.handle_timer(Monotonic(131.9)) == []
    assert rig.layer.handle_timer(Monotonic(132.1)) == [(client, "context")]
    assert rig.sent() == []
    assert rig.layer.clients == {}
    assert client.user is None


@pytest.mark.parametrize("method", ["INVITE", "INFO"])
def test_timeout_that_is_started_with_the_first_retransmission_is_on_time(method: str) -> None:
    """Timers B and F count from the request (§17.1.1.2, §17.1.2.2), also when nobody looks for a while."""
    rig = Rig()
    client = rig.layer.open_client(b"z9hG4bKb", method.encode(), request(method, "sip:b@h"), 0, PEER, NOW)
    assert rig.layer.handle_timer(Monotonic(104.0)) == []
    assert rig.layer.handle_timer(Monotonic(131.9)) == []
    assert rig.layer.clients
    assert rig.layer.handle_timer(Monotonic(132.02)) == [(client, None)]
    assert rig.layer.clients == {}


@pytest.mark.parametrize(("method", "status"), [("INVITE", 486), ("INFO", 200)])
def test_answered_in_time_needs_no_timeout(method: str, status: int) -> None:
    """What is still due is what keeps the transaction for late responses, and that may come a second late."""
    rig = Rig()
    data = request(method, "sip:b@h")
    client = rig.layer.open_client(b"z9hG4bKb", method.encode(), data, 0, PEER, NOW)
    assert rig.layer.receive_response(client, parsed(answer(data, status)), NOW)
    rig.sent()
    over_at = 132.0 if method == "INVITE" else 105.0
    assert rig.layer.next_deadline() == pytest.approx(over_at + 1.0, abs=0.02)
    assert rig.layer.handle_timer(Monotonic(over_at - 0.01)) == []
    assert rig.layer.clients
    rig.layer.end_some(Monotonic(over_at + 0.02))
    assert rig.layer.clients == {}
    assert rig.layer.next_deadline() == NEVER
    assert rig.sent() == []


def test_timer_of_the_unanswered_is_due_among_the_answered() -> None:
    """Only the one that waits still wakes anybody, and in time (Timer A)."""
    rig = Rig()
    data = request("INVITE", "sip:b@h")
    clients = [
        rig.layer.open_client(b"z9hG4bK%d" % n, b"INVITE", data, 0, PEER, Monotonic(100.0 + n / 20)) for n in range(5)
    ]
    for client in clients:
        if client is not clients[3]:
            assert rig.layer.receive_response(client, parsed(answer(data, 180)), Monotonic(100.3))
    rig.sent()
    assert rig.layer.next_deadline() == pytest.approx(100.65, abs=0.02)
    assert rig.layer.handle_timer(Monotonic(100.66)) == []
    assert len(rig.sent()) == 1
    assert rig.layer.next_deadline() == pytest.approx(101.65, abs=0.03)


def test_many_that_are_over_at_once_end_in_pieces() -> None:
    """A message that comes meanwhile waits for a piece, not for all."""
    rig = Rig()
    data = request("INFO", "sip:b@h")
    for n in range(1000):
        client = rig.layer.open_client(b"z9hG4bK%d" % n, b"INFO", data, 0, PEER, NOW)
        rig.layer.receive_response(client, parsed(answer(data, 200)), NOW)
    late = rig.layer.next_deadline()
    assert late == pytest.approx(106.0, abs=0.02)
    left = [len(rig.layer.clients)]
    while (deadline := rig.layer.next_deadline()) != NEVER:
        assert deadline == late
        rig.layer.handle_timer(late)
        left.append(len(rig.layer.clients))
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 300


@pytest.mark.parametrize(("method", "status"), [("INVITE", 486), ("INFO", 200)])
def test_finished_transaction_is_gone_at_once_on_a_stream(method: str, status: int) -> None:
    """Timers D, I, J and K are zero there (RFC 3261 table 4), and the ACK is sent once."""
    rig = Rig()
    data = request(method, "sip:b@h")
    client = rig.layer.open_client(b"z9hG4bKb", method.encode(), data, 0, PEER, NOW, is_reliable=True)
    assert rig.layer.receive_response(client, parsed(answer(data, status)), NOW)
    assert rig.layer.clients == {}
    message = parsed(data)
    server = rig.layer.open_server(key_of(message), message, 0, PEER, is_reliable=True)
    rig.layer.respond(server, status, answer(data, status), NOW)
    if method == "INVITE":
        assert rig.layer.servers
        assert not rig.layer.receive_again(server, b"ACK", NOW)
    assert rig.layer.servers == {}


def test_refusal_on_a_stream_still_waits_for_its_ack() -> None:
    """Timer H runs on all transports, Timer G on datagrams only."""
    rig = Rig()
    data = request("INVITE", "sip:b@h")
    message = parsed(data)
    server = rig.layer.open_server(key_of(message), message, 0, PEER, is_reliable=True)
    rig.layer.respond(server, 486, answer(data, 486), NOW)
    rig.sent()
    rig.layer.handle_timer(LATE)
    assert rig.sent() == []
    assert rig.layer.server_timeouts == 1
    assert rig.layer.servers == {}


def test_branch_in_use_is_refused() -> None:
    """A branch is one transaction's (§8.1.1.7); using it twice is a bug of ours."""
    rig = Rig()
    rig.layer.open_client(b"z9hG4bKb", b"INFO", request("INFO", "sip:b@h"), 0, PEER, NOW)
    with pytest.raises(LocalProtocolError, match="branch"):
        rig.layer.open_client(b"z9hG4bKb", b"INFO", request("INFO", "sip:b@h"), 0, PEER, NOW)
    rig.layer.open_client(b"z9hG4bKb", b"CANCEL", request("CANCEL", "sip:b@h"), 0, PEER, NOW)


def test_given_up_transaction_is_found_no_more() -> None:
    """What comes late finds nothing, and its timers do nothing."""
    rig = Rig()
    client = rig.layer.open_client(b"z9hG4bKb", b"INVITE", request("INVITE", "sip:b@h"), 0, PEER, NOW)
    rig.layer.give_up(client)
    assert rig.layer.find_client(b"z9hG4bKb", b"INVITE") is None
    rig.sent()
    assert rig.layer.handle_timer(LATE) == []
    assert rig.sent() == []


def test_answered_call_keeps_no_message() -> None:
    """RFC 6026: in Accepted neither side needs its request or response again; memory is held for 32 s."""
    rig = Rig()
    data = request("INVITE", "sip:b@h", body="x" * 1000)
    client = rig.layer.open_client(b"z9hG4bKb", b"INVITE", data, 0, PEER, NOW)
    rig.layer.receive_response(client, parsed(answer(data, 200)), NOW)
    assert client.request == b""
    message = parsed(data)
    server = rig.layer.open_server(key_of(message), message, 0, PEER)
    rig.layer.respond(server, 200, answer(data, 200), NOW)
    assert (server.request, server.response) == (None, None)


def test_ack_of_a_refusal_is_made_of_the_invite_and_its_response() -> None:
    """§17.1.1.3: Request-URI, Call-ID, From, Route and the one Via as sent; To as answered; no body."""
    sent = request(
        "INVITE",
        "sip:b@h",
        "Via: SIP/2.0/UDP behind;branch=z9hG4bKbehind",
        "Subject: no",
        routes=["<sip:p1;lr>, <sip:p2;lr>", "<sip:p3;lr>"],
        cseq=7,
        body="v=0",
    )
    ack = build_ack(sent, parsed(answer(sent, 486, tag="theirs")))
    assert start_line(ack) == "ACK sip:b@h SIP/2.0"
    assert values(ack, "Via") == values(sent, "Via")[:1]
    assert values(ack, "Route") == values(sent, "Route")
    assert (value(ack, "From"), value(ack, "Call-ID")) == (value(sent, "From"), value(sent, "Call-ID"))
    assert value(ack, "To").endswith(";tag=theirs")
    assert value(ack, "CSeq") == "7 ACK"
    assert value(ack, "Content-Length") == "0"
    assert values(ack, "Subject") == []
    assert ack.endswith(b"\r\n\r\n")


def test_cancel_is_made_of_the_invite() -> None:
    """§9.1: as above, with the INVITE's own To; no Require and no Proxy-Require."""
    sent = request("INVITE", "sip:b@h", "Require: 100rel", "Proxy-Require: x", routes=["<sip:p1;lr>"], cseq=7)
    cancel = build_cancel(sent, [b"Reason: SIP;cause=200"])
    assert start_line(cancel) == "CANCEL sip:b@h SIP/2.0"
    assert value(cancel, "To") == value(sent, "To")
    assert value(cancel, "CSeq") == "7 CANCEL"
    assert value(cancel, "Reason") == "SIP;cause=200"
    assert not [line for line in head_lines(cancel) if "Require" in line]


def test_keys_tell_transactions_apart() -> None:
    """§17.2.3: branch and sent-by, host in any case; INVITE, CANCEL and the rest by method, ACK with INVITE."""
    one = parsed(request("INVITE", "sip:b@h", via="SIP/2.0/UDP Host:5060;branch=z9hG4bKx"))
    same = parsed(request("ACK", "sip:c@h", via="SIP/2.0/UDP hOST:5060;rport;branch=z9hG4bKx"))
    other = parsed(request("INVITE", "sip:b@h", via="SIP/2.0/UDP host:5061;branch=z9hG4bKx"))
    assert server_key(one) == server_key(same) != server_key(other)
    assert transaction_key(b"k", b"ACK") == transaction_key(b"k", b"INVITE") != transaction_key(b"k", b"CANCEL")


@pytest.mark.parametrize("branch", ["", ";branch=old", ";branch=z9hG4bK"])
def test_old_keys_leave_the_to_tag_out(branch: str) -> None:
    """The ACK of a refusal carries the tag of our response; the next request of the dialog has another number."""
    via = f"SIP/2.0/UDP host{branch}"
    one = parsed(request("INVITE", "sip:b@h", via=via, call_id="x"))
    ack = parsed(request("ACK", "sip:b@h", via=via, call_id="x", to="<sip:b@h>;tag=ours"))
    after = parsed(request("INVITE", "sip:b@h", via=via, call_id="x", cseq=2))
    assert server_key(one) == server_key(ack) != server_key(after)


def test_key_of_a_message_without_via_is_a_bug() -> None:
    """The parser lets none through."""
    with pytest.raises(LocalProtocolError, match="no Via"):
        server_key(Message(b"INVITE sip:a SIP/2.0", 0, [], []))
