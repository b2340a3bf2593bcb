"""What may be said to a non-INVITE before its final response, and what is done when there will be none (RFC 4320)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Address, Monotonic
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from edge_proxy.transaction.keys import server_key, transaction_key
from edge_proxy.transaction.layer import Send, ServerTransaction, TransactionLayer
from edge_proxy.transaction.timers import TICK_S, TimerSettings

PEER = Address("198.51.100.7", 5060)
MESSAGE = parse_message(
    b"MESSAGE sip:b@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKone\r\n"
    b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\n"
    b"Call-ID: late@example.com\r\nCSeq: 1 MESSAGE\r\nTimestamp: 54\r\nContent-Length: 0\r\n\r\n",
    Limits(),
)


class Rig:
    """One layer, one MESSAGE that waits for the answer of somebody else, and a clock."""

    def __init__(self, timers: TimerSettings = TimerSettings(), *, is_reliable: bool = False) -> None:  # noqa: B008
        self.out: list[Send] = []
        self.layer: TransactionLayer[None] = TransactionLayer(timers, self.out)
        self.key = transaction_key(server_key(MESSAGE), b"MESSAGE")
        self.server: ServerTransaction[None] = self.layer.open_server(
            self.key, MESSAGE, 0, PEER, is_reliable=is_reliable
        )
        self.layer.wait_for_answer(self.server, Monotonic(0.0))

    def at(self, now_s: float) -> list[bytes]:
        """Let time pass until `now_s`; the start lines of what was sent."""
        self.layer.handle_timer(Monotonic(now_s))
        return self.taken()

    def taken(self) -> list[bytes]:
        lines = [send.data.partition(b"\r\n")[0] for send in self.out]
        self.out.clear()
        return lines

    def repeat(self, now_s: float) -> list[bytes]:
        """The request comes again."""
        found = self.layer.find_server(self.key)
        assert found is not None
        assert not self.layer.receive_again(found, b"MESSAGE", Monotonic(now_s))
        return self.taken()


@pytest.mark.parametrize("is_reliable", [False, True], ids=["udp", "stream"])
def test_late_non_invite_gets_100_when_timer_e_would_have_reached_t2(is_reliable: bool) -> None:
    """RFC 4320 §4.1: not before 3.5 s over UDP, and then on every transport; Timestamp is copied (§8.2.6.1)."""
    rig = Rig(is_reliable=is_reliable)
    assert rig.repeat(3.0) == []
    assert rig.at(3.5) == []
    rig.layer.handle_timer(Monotonic(3.5 + 2 * TICK_S))
    (send,) = rig.out
    assert send.data.startswith(b"SIP/2.0 100 Trying\r\n")
    assert b"\r\nTimestamp: 54\r\n" in send.data
    assert b"\r\nTo: <sip:b@example.com>\r\n" in send.data
    rig.out.clear()
    assert rig.repeat(4.5) == [b"SIP/2.0 100 Trying"]


def test_answered_non_invite_gets_no_100() -> None:
    """A final response within 3.5 s is all that is said."""
    rig = Rig()
    rig.layer.respond(rig.server, 200, b"SIP/2.0 200 OK\r\n\r\n", Monotonic(3.0))
    assert rig.taken() == [b"SIP/2.0 200 OK"]
    assert rig.at(20.0) == []


def test_100_comes_once() -> None:
    """Time alone never makes a second 100."""
    rig = Rig()
    assert rig.at(3.6) == [b"SIP/2.0 100 Trying"]
    assert rig.at(31.0) == []


@pytest.mark.parametrize(
    ("t1_s", "t2_s", "after_s"), [(0.5, 4.0, 3.5), (0.5, 3.0, 3.5), (1.0, 4.0, 3.0), (4.0, 4.0, 0.0), (0.1, 0.5, 0.7)]
)
def test_timer_100_follows_t1_and_t2(t1_s: float, t2_s: float, after_s: float) -> None:
    """The pauses of Timer E, added up until the next one is T2 (RFC 3261 §17.1.2.2)."""
    assert TimerSettings(t1_s=t1_s, t2_s=t2_s).timer_100_s == pytest.approx(after_s)


@pytest.mark.parametrize("had_100", [False, True])
def test_silence_absorbs_repetitions_and_ends(had_100: bool) -> None:
    """RFC 4320 §4.2: no 408 is sent; the request, sent again, is absorbed, and nothing stays in memory."""
    rig = Rig()
    if had_100:
        assert rig.at(3.6) == [b"SIP/2.0 100 Trying"]
    rig.layer.stay_silent(rig.server, Monotonic(32.0))
    assert rig.repeat(33.0) == []
    assert rig.at(32.0 + 32.0 + 2 * TICK_S) == []
    assert not rig.layer.servers


def test_silence_ends_at_once_on_a_stream() -> None:
    """Nothing is repeated on a stream, so there is nothing to absorb (timer J is 0)."""
    rig = Rig(is_reliable=True)
    rig.layer.stay_silent(rig.server, Monotonic(32.0))
    assert not rig.layer.servers
    assert rig.at(100.0) == []


def test_final_response_after_silence_is_not_sent() -> None:
    """What comes too late for its sender is not passed on (RFC 4320 §4.2)."""
    rig = Rig()
    rig.layer.stay_silent(rig.server, Monotonic(32.0))
    rig.layer.respond(rig.server, 200, b"SIP/2.0 200 OK\r\n\r\n", Monotonic(33.0))
    assert rig.taken() == []
