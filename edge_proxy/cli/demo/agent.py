"""A small SIP user agent on one UDP socket: it places calls and answers calls, as RFC 3261 §13 to §17 tell both ends.

Messages are repeated until they are answered, within bounds; dialogs follow Record-Route and Contact; every final
answer lands in the tally. It plays no media and is no proxy: it is what the proxy is tested against in the demo.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import zlib
from collections.abc import Callable, Coroutine
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.cli.demo import wire
from edge_proxy.cli.demo.plan import Numbers, PeerPlan, Scenario
from edge_proxy.cli.demo.tally import NO_ANSWER, PeerReport
from edge_proxy.cli.demo.transactions import GIVE_UP_S, T1_S, T2_S, Client, Sent
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import find_param
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.serializer import replace_first_value
from edge_proxy.sip.via import stamp_via
from edge_proxy.transaction.derive import build_ack, build_cancel
from edge_proxy.transaction.keys import server_key

_RING_S: Final = (0.3, 0.9)
_TALK_S: Final = (1.0, 3.5)
_PATIENCE_S: Final = 0.12
"""How long a caller that gives up lets it ring."""
_LONGEST_RING_S: Final = 60.0
_LONGEST_CALL_S: Final = 20.0

_LIMITS: Final = Limits()


class Leg:
    """Our end of an answered call; `ended` is set when the far end has hung up."""

    __slots__ = ("dialog", "ended")

    def __init__(self, dialog: wire.Dialog) -> None:
        self.dialog = dialog
        self.ended = asyncio.Event()


class Incoming:
    """A call that came in: the last answer it got, and what has happened since."""

    __slots__ = ("acknowledged", "answer", "cancelled", "key", "request", "tag")

    def __init__(self, request: Message, key: bytes, tag: bytes) -> None:
        self.request = request
        self.key = key
        self.tag = tag
        self.answer: Sent | None = None
        self.acknowledged = asyncio.Event()
        self.cancelled = asyncio.Event()


class Agent(asyncio.DatagramProtocol):
    """A user agent; `hurry` set means that calls which are up are to end at once."""

    def __init__(self, plan: PeerPlan, tally: PeerReport, rng: random.Random) -> None:
        self.tally = tally
        self.hurry = asyncio.Event()
        self._plan = plan
        self._rng = rng
        self._proxy = Address(*plan.proxy)
        self._local = Address(plan.host, plan.port)
        self._agent_line = b"User-Agent: " + plan.user_agent.encode()
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[tuple[bytes, bytes], Client] = {}
        self._incoming: dict[bytes, Incoming] = {}
        self._answered: dict[tuple[bytes, bytes], Incoming] = {}
        self._legs: dict[tuple[bytes, bytes], Leg] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # The socket

    async def open(self) -> None:
        """Bind. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        address = self._plan.host, self._plan.port
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)
        name = self._transport.get_extra_info("sockname")
        self._local = Address(name[0], name[1])

    def close(self) -> None:
        """Nothing is sent or heard after this."""
        for task in self._tasks:
            task.cancel()
        for client in self._clients.values():
            client.stop()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def send(self, message: Sent) -> None:
        if self._transport is not None:
            self._transport.sendto(message.data, message.to)
            self.tally.sent += 1

    def send_again(self, message: Sent) -> None:
        self.tally.repeated += 1
        self.send(message)

    def send_junk(self) -> None:
        """A datagram that is no SIP, as scanners of other protocols send."""
        self.tally.junk += 1
        self.send(Sent(b"GET / HTTP/1.1\r\nHost: " + self._proxy.host.encode() + b"\r\n\r\n", self._proxy))

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.tally.received += 1
        source = Address(str(addr[0]), int(addr[1]))
        try:
            message = parse_message(data, _LIMITS)
            if message.status:
                self._receive_response(message)
            else:
                self._receive_request(message, source)
        except RemoteProtocolError as error:
            self.tally.note(f"unreadable message from {source}: {error}")

    # Calling

    def place(self, scenario: Scenario) -> None:
        """Begin one call of this kind; it runs by itself from here."""
        self._start(self._place(scenario))

    async def _place(self, scenario: Scenario) -> None:
        count = self.tally.scenario(scenario.name)
        count.placed += 1
        count.running += 1
        self.tally.running += 1
        try:
            client, call_id = self._invite(scenario)
            final = await self._await_answer(client, scenario)
            if final is None:
                count.finals[NO_ANSWER] = count.finals.get(NO_ANSWER, 0) + 1
                return
            count.add_final(final.status, _reason_of(final))
            if final.status >= 300:
                self._acknowledge(client, Sent(build_ack(client.request.data, final), client.request.to))
                self.tally.cancelled += final.status == 487
                return
            self.tally.placed_and_answered += 1
            await self._talk_as_caller(client, final, call_id)
        finally:
            count.running -= 1
            self.tally.running -= 1

    def _invite(self, scenario: Scenario) -> tuple[Client, bytes]:
        local = self._local
        called = scenario.to if isinstance(scenario.to, str) else self._pick(scenario.to)
        proxy = str(self._proxy)
        host = str(local).rpartition(":")[0]
        caller = None if scenario.caller is None else self._pick(scenario.caller)
        shown = "sip:anonymous@anonymous.invalid" if caller is None else f"sip:{caller}@{host}"
        lines = [self._agent_line, *(line.encode() for line in scenario.lines)]
        for identity in scenario.asserted:
            number = caller if identity.numbers is None else self._pick(identity.numbers)
            uri = f"tel:{number}" if identity.scheme == "tel" else f"sip:{number}@{host}"
            lines.append(f"P-Asserted-Identity: <{uri}>".encode())
        call_id = f"{secrets.token_hex(8)}@{host}".encode()
        branch = _new_branch()
        sdp = wire.session(local.host, self._rng.randrange(20_000, 40_000, 2))
        data = wire.build_invite(
            uri=f"sip:{called}@{proxy}".encode(),
            caller=f"<{shown}>;tag={secrets.token_hex(4)}".encode(),
            to=f"<sip:{called}@{proxy}>".encode(),
            call_id=call_id,
            via=wire.via_line(local, branch),
            lines=lines,
            contact=f"<sip:{local}>".encode(),
            content=wire.with_isup(sdp) if scenario.body == "isup" else (wire.SDP_TYPE, sdp),
        )
        return self._open_client(branch, grammar.METHOD_INVITE, Sent(data, self._proxy)), call_id

    async def _await_answer(self, client: Client, scenario: Scenario) -> Message | None:
        """The final answer to an INVITE; a caller that gives up cancels shortly after it began to ring."""
        try:
            async with asyncio.timeout(GIVE_UP_S):
                first = await client.answers.get()
                while first.status == 100:
                    first = await client.answers.get()
        except TimeoutError:
            return None
        if first.status >= 200:
            return first
        if scenario.gives_up:
            final = await client.final(_PATIENCE_S)
            if final is not None:
                return final
            branch = parse_message(client.request.data, _LIMITS).via
            data = build_cancel(client.request.data, [b'Reason: SIP;cause=487;text="caller gave up"'])
            self._open_client(b"" if branch is None else branch.branch, b"CANCEL", Sent(data, client.request.to))
        return await client.final(_LONGEST_RING_S)

    def _acknowledge(self, client: Client, ack: Sent) -> None:
        client.acknowledgement = ack
        self.send(ack)

    async def _talk_as_caller(self, client: Client, answer: Message, call_id: bytes) -> None:
        dialog = wire.Dialog.of_caller(answer)
        hop = dialog.next_hop() or client.request.to
        ack = dialog.request(grammar.METHOD_ACK, answer.cseq, wire.via_line(self._local, _new_branch()))
        leg = self._keep_leg(dialog, answer.from_tag)
        self._acknowledge(client, Sent(ack, hop))
        await self._talk(leg, hangs_up=not callee_hangs_up(call_id))

    async def _talk(self, leg: Leg, *, hangs_up: bool) -> None:
        """Until one of both hangs up. Which one was settled before, so that they do not do it at the same time."""
        if hangs_up:
            await _first_of(self._rng.uniform(*_TALK_S), leg.ended, self.hurry)
        else:
            await _first_of(_LONGEST_CALL_S, leg.ended)
        if leg.ended.is_set():
            return
        if not hangs_up:
            self.tally.note("the far end did not hang up")
        dialog = leg.dialog
        dialog.cseq += 1
        branch = _new_branch()
        bye = dialog.request(grammar.METHOD_BYE, dialog.cseq, wire.via_line(self._local, branch))
        client = self._open_client(branch, grammar.METHOD_BYE, Sent(bye, dialog.next_hop() or self._proxy))
        final = await client.final(GIVE_UP_S)
        if final is not None and final.status == 200:
            self.tally.byes += 1
        else:
            self.tally.note(f"BYE was answered {NO_ANSWER if final is None else final.status}")

    # Being called

    def _receive_request(self, request: Message, source: Address) -> None:
        method = request.method
        if method == grammar.METHOD_ACK:
            call = self._incoming.get(server_key(request)) or self._answered.get((request.call_id, request.to_tag))
            if call is not None:
                call.acknowledged.set()
            return
        key = server_key(request)
        _stamp(request, source)
        if method == grammar.METHOD_INVITE:
            known = self._incoming.get(key)
            if known is None:
                self._ring(request, key, source)
            elif known.answer is not None:
                self.send_again(known.answer)
        elif method == grammar.METHOD_CANCEL:
            call = self._incoming.get(key)
            self._answer(request, source, 481 if call is None else 200)
            if call is not None:
                call.cancelled.set()
        elif method == grammar.METHOD_BYE:
            leg = self._legs.get((request.call_id, request.to_tag))
            self._answer(request, source, 481 if leg is None else 200)
            if leg is not None:
                leg.ended.set()
        else:
            self._answer(request, source, 200 if method == grammar.METHOD_OPTIONS else 405)

    def _answer(self, request: Message, source: Address, status: int) -> None:
        phrase = grammar.REASON_PHRASES.get(status, "Method Not Allowed").encode()
        lines = [wire.ALLOW] if status == 405 else []
        self.send(Sent(wire.build_answer(request, status, phrase, secrets.token_hex(4).encode(), lines), source))

    def _ring(self, request: Message, key: bytes, source: Address) -> None:
        call = Incoming(request, key, secrets.token_hex(4).encode())
        self._incoming[key] = call
        self._forget_later(lambda: self._incoming.pop(key, None))
        self._start(self._take_call(call, source))

    async def _take_call(self, call: Incoming, source: Address) -> None:
        self.tally.running += 1
        request = call.request
        try:
            call.answer = Sent(wire.build_answer(request, 180, b"Ringing", call.tag, [self._contact()]), source)
            self.send(call.answer)
            await _first_of(self._rng.uniform(*_RING_S), call.cancelled)
            if call.cancelled.is_set():
                await self._insist(call, Sent(wire.build_answer(request, 487, b"Request Terminated", call.tag), source))
                return
            dialog = wire.Dialog.of_callee(request, call.tag)
            leg = self._keep_leg(dialog, call.tag)
            self._answered[request.call_id, call.tag] = call
            self._forget_later(lambda: self._answered.pop((request.call_id, call.tag), None))
            sdp = wire.session(self._local.host, self._rng.randrange(20_000, 40_000, 2))
            answer = wire.build_answer(request, 200, b"OK", call.tag, [self._contact(), wire.ALLOW], sdp)
            self.tally.received_and_answered += 1
            if await self._insist(call, Sent(answer, source)):
                await self._talk(leg, hangs_up=callee_hangs_up(request.call_id))
        finally:
            self.tally.running -= 1

    async def _insist(self, call: Incoming, answer: Sent) -> bool:
        """Send a final answer until its ACK comes (§13.3.1.4, §17.2.1); whether it came."""
        call.answer = answer
        self.send(answer)
        delay_s, left_s = T1_S, GIVE_UP_S
        while True:
            await _first_of(delay_s, call.acknowledged)
            if call.acknowledged.is_set():
                return True
            left_s -= delay_s
            if left_s <= 0:
                self.tally.note("an answer was never acknowledged")
                return False
            delay_s = min(2 * delay_s, T2_S)
            self.send_again(answer)

    # What both have in common

    def _receive_response(self, response: Message) -> None:
        branch = b"" if response.via is None else response.via.branch
        client = self._clients.get((branch, response.method))
        if client is None:
            self.tally.note(f"a response to nothing: {response.status} to {response.method.decode()}")
        else:
            client.receive(response)

    def _open_client(self, branch: bytes, method: bytes, request: Sent) -> Client:
        key = branch, method
        is_invite = method == grammar.METHOD_INVITE
        client = self._clients[key] = Client(request, self.send, self.send_again, is_invite=is_invite)
        self._forget_later(lambda: self._clients.pop(key, None))
        client.start()
        return client

    def _keep_leg(self, dialog: wire.Dialog, tag: bytes) -> Leg:
        leg = self._legs[dialog.call_id, tag] = Leg(dialog)
        self._forget_later(lambda: self._legs.pop((dialog.call_id, tag), None))
        return leg

    def _forget_later(self, forget: Callable[[], object]) -> None:
        """Repetitions are recognised for as long as a call can last and its messages be repeated."""
        asyncio.get_running_loop().call_later(_LONGEST_RING_S + _LONGEST_CALL_S + 2 * GIVE_UP_S, forget)

    def _contact(self) -> bytes:
        return f"Contact: <sip:{self._local}>".encode()

    def _pick(self, numbers: Numbers) -> str:
        return f"+{self._rng.randint(*numbers)}"

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.tally.note(f"a call ended in {error!r}")


def callee_hangs_up(call_id: bytes) -> bool:
    """Who ends a call: one in three is ended by the called party. Both ends read it from the Call-ID they share."""
    return zlib.crc32(call_id) % 3 == 0


def _reason_of(response: Message) -> str:
    """The text of a Reason header (RFC 3326), "" when there is none."""
    value = response.value(grammar.REASON) or b""
    text = find_param(value[value.find(b";") :], b"text") if b";" in value else None
    return "" if text is None else text.strip(b'"').decode("ascii", "replace")


def _stamp(request: Message, source: Address) -> None:
    """What a server writes into the top Via of a request that asked for it (RFC 3581 §4)."""
    value = request.value(grammar.VIA)
    if value is not None and request.via is not None:
        top = value.partition(b",")[0]
        stamped = stamp_via(top, request.via, source)
        if stamped is not top:
            replace_first_value(request, grammar.VIA, top, stamped)


def _new_branch() -> bytes:
    return grammar.MAGIC_COOKIE + secrets.token_hex(8).encode()


async def _first_of(longest_s: float, *events: asyncio.Event) -> None:
    """Until one of the events is set, or the time is over."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
