"""The demo's user agent: dialogs, repetitions and counts, fed by hand without a socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from edge_proxy.addr import Address
from edge_proxy.cli.demo import wire
from edge_proxy.cli.demo.agent import Agent, callee_hangs_up
from edge_proxy.cli.demo.plan import PeerPlan, Scenario
from edge_proxy.cli.demo.tally import PeerReport
from edge_proxy.cli.demo.transactions import GIVE_UP_S, Client, Sent
from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message

PROXY = Address("127.0.0.1", 5060)
FAR_END = b"<sip:127.0.0.1:5090>"
ROUTES = (b"<sip:127.0.0.1:5070;lr;ep=abc>", b"<sip:127.0.0.1:5060;lr;ep=abc>")
"""Record-Route as a request or response carries it: the side of the callee on top."""


class Wire:
    """In place of a socket: what was sent, read again."""

    def __init__(self) -> None:
        self.sent: list[tuple[Message, Address]] = []

    def sendto(self, data: bytes, to: Address) -> None:
        self.sent.append((parse_message(data, Limits()), to))

    def close(self) -> None:
        """Nothing to close."""

    @property
    def last(self) -> Message:
        return self.sent[-1][0]

    @property
    def starts(self) -> list[bytes]:
        return [message.start_line.partition(b" SIP/")[0].split(b" ")[0] for message, _ in self.sent]


def make_agent(scenario: Scenario) -> tuple[Agent, PeerReport, Wire]:
    plan = PeerPlan(
        name="acme",
        side="customers",
        host="127.0.0.2",
        port=5080,
        proxy=PROXY,
        user_agent="test/1",
        scenarios=[scenario],
    )
    report = PeerReport("acme")
    agent = Agent(plan, report, random.Random(1))
    sent = Wire()
    agent._transport = cast(asyncio.DatagramTransport, sent)
    agent.hurry.set()
    return agent, report, sent


SCENARIO = Scenario(name="own", every_s=1, to="+16465550100", caller=(12025550100, 12025550100))


async def until(holds: Callable[[], bool]) -> None:
    """Let other tasks run until `holds`: a bounded number of turns, no time."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


def answer(request: Message, status: int, lines: tuple[bytes, ...] = ()) -> bytes:
    return wire.build_answer(request, status, b"x", b"far", list(lines))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_refused_call_is_acknowledged_and_counted_by_its_reason() -> None:
    """The ACK to a refusal has the INVITE's branch (§17.1.1.3), is sent again when the refusal is; it counts once."""

    async def test() -> None:
        agent, report, sent = make_agent(SCENARIO)
        agent.place(SCENARIO)
        await until(lambda: sent.starts == [b"INVITE"])
        invite = sent.last
        refusal = answer(invite, 403, (b'Reason: SIP;cause=403;text="from_not_owned"',))
        agent.datagram_received(refusal, PROXY)
        await until(lambda: sent.starts == [b"INVITE", b"ACK"])
        agent.datagram_received(refusal, PROXY)
        assert sent.starts == [b"INVITE", b"ACK", b"ACK"]
        assert invite.via is not None
        assert sent.last.via is not None
        assert sent.last.via.branch == invite.via.branch
        assert sent.last.uri == invite.uri
        count = report.scenario("own")
        await until(lambda: not count.running)
        assert count.finals == {"403 from_not_owned": 1}
        assert (count.placed, report.placed_and_answered, report.running, report.repeated) == (1, 0, 0, 1)
        agent.close()

    run(test)


def test_answered_call_is_acknowledged_and_hung_up_along_the_route() -> None:
    """ACK and BYE go to the Contact through Record-Route read backwards (§12.1.2), each with a branch of its own."""

    async def test() -> None:
        agent, report, sent = make_agent(SCENARIO)
        hung_up_by_us: Message | None = None
        while hung_up_by_us is None:
            agent.place(SCENARIO)
            await until(lambda: sent.starts[-1:] == [b"INVITE"])
            invite = sent.last
            agent.datagram_received(
                answer(invite, 200, (b"Contact: " + FAR_END, *(b"Record-Route: " + route for route in ROUTES))), PROXY
            )
            await until(lambda: b"ACK" in sent.starts[-2:])
            if callee_hangs_up(invite.call_id):
                continue
            await until(lambda: sent.starts[-1] == b"BYE")
            hung_up_by_us = sent.last
        (ack, ack_to), (bye, bye_to) = sent.sent[-2:]
        for request, to in ((ack, ack_to), (bye, bye_to)):
            assert to == PROXY
            assert request.uri == b"sip:127.0.0.1:5090"
            assert list(request.values(grammar.ROUTE)) == [ROUTES[1], ROUTES[0]]
            assert request.to_tag == b"far"
        assert (ack.cseq, bye.cseq) == (1, 2)
        assert ack.via is not None
        assert bye.via is not None
        assert ack.via.branch != bye.via.branch
        agent.datagram_received(answer(bye, 200), PROXY)
        await until(lambda: report.byes == 1)
        agent.close()

    run(test)


def test_caller_that_gives_up_cancels_only_after_it_rang(monkeypatch: pytest.MonkeyPatch) -> None:
    """CANCEL may not be sent before a provisional answer (§9.1) and has the branch of its INVITE."""
    monkeypatch.setattr("edge_proxy.cli.demo.agent._PATIENCE_S", 0.0)

    async def test() -> None:
        impatient = Scenario(name="own", every_s=1, to="1", caller=None, gives_up=True)
        agent, report, sent = make_agent(impatient)
        agent.place(impatient)
        await until(lambda: sent.starts == [b"INVITE"])
        invite = sent.last
        agent.datagram_received(answer(invite, 100), PROXY)
        await asyncio.sleep(0)
        assert sent.starts == [b"INVITE"]
        agent.datagram_received(answer(invite, 180), PROXY)
        await until(lambda: sent.starts == [b"INVITE", b"CANCEL"])
        assert sent.last.value(grammar.VIA) == invite.value(grammar.VIA)
        agent.datagram_received(answer(sent.last, 200), PROXY)
        agent.datagram_received(answer(invite, 487), PROXY)
        await until(lambda: report.cancelled == 1)
        assert report.scenario("own").finals == {"487": 1}
        agent.close()

    run(test)


def incoming(method: bytes = b"INVITE", cseq: int = 1, to_tag: bytes = b"", branch: bytes = b"z9hG4bKin") -> bytes:
    lines = [
        b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=" + branch + b";rport",
        *(b"Record-Route: " + route for route in reversed(ROUTES)),
        b"Max-Forwards: 69",
        b"From: <sip:+16465550100@127.0.0.1>;tag=caller",
        b"To: <sip:+12025550100@127.0.0.1>" + (b";tag=" + to_tag if to_tag else b""),
        b"Call-ID: call-3",
        b"CSeq: %d %s" % (cseq, method),
        b"Contact: " + FAR_END,
        b"Content-Length: 0",
    ]
    return b"\r\n".join([method + b" sip:+12025550100@127.0.0.2:5080 SIP/2.0", *lines, b"", b""])


def test_repeated_invite_is_answered_again_and_rings_once() -> None:
    """An INVITE that comes a second time gets the same answer and is no second call (§17.2.1)."""

    async def test() -> None:
        agent, report, sent = make_agent(SCENARIO)
        agent.datagram_received(incoming(), PROXY)
        await until(lambda: sent.starts == [b"SIP/2.0"])
        agent.datagram_received(incoming(), PROXY)
        first, second = (message for message, _ in sent.sent)
        assert first.start_line == second.start_line == b"SIP/2.0 180 Ringing"
        assert first.to_tag == second.to_tag != b""
        assert list(first.values(grammar.RECORD_ROUTE)) == [ROUTES[1], ROUTES[0]]
        assert (first.value(grammar.VIA) or b"").endswith(b";received=127.0.0.1;rport=5060")
        assert (report.running, report.repeated) == (1, 1)
        agent.close()

    run(test)


def test_cancelled_ringing_ends_in_487_until_it_is_acknowledged() -> None:
    """CANCEL gets 200, its INVITE 487 (§9.2), and the ACK to that ends the call."""

    async def test() -> None:
        agent, report, sent = make_agent(SCENARIO)
        agent.datagram_received(incoming(), PROXY)
        await until(lambda: sent.starts == [b"SIP/2.0"])
        agent.datagram_received(incoming(b"CANCEL"), PROXY)
        await until(lambda: len(sent.sent) == 3)
        assert [message.status for message, _ in sent.sent] == [180, 200, 487]
        assert report.running == 1
        agent.datagram_received(incoming(b"ACK", to_tag=sent.last.to_tag), PROXY)
        await until(lambda: report.running == 0)
        assert report.received_and_answered == 0
        agent.close()

    run(test)


def test_hang_up_of_a_call_nobody_has_is_answered_481() -> None:
    """A BYE outside every dialog is answered 481 (§15.1.2), and it is no hang-up."""

    async def test() -> None:
        agent, report, sent = make_agent(SCENARIO)
        agent.datagram_received(incoming(b"BYE", 2, b"nobody", b"z9hG4bKbye"), PROXY)
        assert sent.last.status == 481
        assert report.byes == 0
        agent.close()

    run(test)


@pytest.mark.parametrize(("is_invite", "repetitions"), [(True, 6), (False, 10)])
def test_unanswered_request_is_repeated_for_64_t1_and_no_longer(is_invite: bool, repetitions: int) -> None:
    """Timers A and B send an INVITE 7 times in all, E and F anything else 11 times (§17.1.1.2, §17.1.2.2)."""

    async def test() -> None:
        again: list[Sent] = []
        client = Client(Sent(b"", PROXY), lambda _: None, again.append, is_invite=is_invite)
        client.start()
        for _ in range(100):
            client._repeat()
        client.stop()
        assert len(again) == repetitions
        assert client._left_s <= 0 < GIVE_UP_S

    run(test)


def test_circuit_gateway_body_holds_sdp_and_isup_parts() -> None:
    """The multipart names its boundary, and each part its type (RFC 3204 §3.1)."""
    type_line, body = wire.with_isup(wire.session("127.0.0.4", 4000))
    boundary = type_line.partition(b"boundary=")[2]
    parts = body.split(b"--" + boundary)
    assert parts[0] == b""
    assert parts[1].startswith(b"\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n")
    assert b"Content-Type: application/ISUP" in parts[2]
    assert parts[3] == b"--\r\n"


def test_one_call_in_three_is_hung_up_by_the_callee_and_both_know_it() -> None:
    """Who hangs up is read from the Call-ID, so that both never do it at the same time."""
    ours = sum(callee_hangs_up(b"%d@host" % number) for number in range(3000))
    assert 900 < ours < 1100
