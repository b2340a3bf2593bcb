"""A connection that one worker holds is used by the other, for as long as it lasts, with who is at its far end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.pipeline.steering import Steering, owner_of
from edge_proxy.sip.limits import Limits
from edge_proxy.transport import lending
from edge_proxy.transport.lending import LentConnections, Saying
from edge_proxy.transport.mesh import Mesh, open_pair
from edge_proxy.transport.port import Received
from edge_proxy.transport.stream import StreamPort, StreamSettings, open_stream_socket

HERE = "127.0.0.1"
GONE = Address("127.0.0.9", 9)


def message(owner: int) -> bytes:
    call_id = next(word for n in range(100) if owner_of(word := f"call-{n}".encode(), 2) == owner)
    return b"OPTIONS sip:a SIP/2.0\r\nCall-ID: " + call_id + b"\r\nContent-Length: 0\r\n\r\n"


class Worker:
    """One of two workers of a listener: its port, its mesh, what it was given, who it was told is there."""

    def __init__(
        self, number: int, inbox: socket.socket, outboxes: list[socket.socket], listening: socket.socket
    ) -> None:
        listener = Listener(0, Side.CUSTOMERS, Transport.TCP, Address(HERE, 5060))
        self.port = StreamPort(listening, Limits(), StreamSettings())
        self.mesh = Mesh(number, inbox, outboxes, Steering(2, lambda call_id: call_id))
        self.mesh.lend(0, self.port)
        self.got: list[Received] = []
        self.told: list[tuple[Address, tuple[str, ...]]] = []
        self.unreachable: list[bytes] = []
        self.port.on_identity = lambda address, identities: self.told.append((address, identities))
        self.port.on_unreachable = lambda _address, messages: self.unreachable.extend(messages)
        self.deliver = self.mesh.sifted(listener, self.got.extend)

    async def start(self, *, accepts: bool) -> None:
        loop = asyncio.get_running_loop()
        if accepts:
            await self.port.start(loop, self.deliver)
        else:  # it may open connections, as it would be if the other always accepts first
            self.port._loop = loop
            self.port._deliver = self.deliver
        self.mesh.start(loop, [self.got.extend])


class Two:
    """Worker 0 accepts; worker 1 owns what is sent."""

    def __init__(self) -> None:
        self.pairs = [open_pair() for _ in range(2)]
        self.listening = open_stream_socket(Address(HERE, 0))
        outboxes = [outbox for _, outbox in self.pairs]
        self.holder, self.owner = (Worker(n, self.pairs[n][0], outboxes, self.listening.dup()) for n in range(2))
        self.address = Address(*self.listening.getsockname()[:2])

    async def close(self) -> None:
        for worker in (self.holder, self.owner):
            worker.port.stop()
            worker.mesh.stop()
            await asyncio.sleep(0.05)
            worker.port.close()
        self.listening.close()
        for one in (one for pair in self.pairs for one in pair):
            one.close()


@pytest_asyncio.fixture
async def two() -> AsyncIterator[Two]:
    both = Two()
    await both.holder.start(accepts=True)
    await both.owner.start(accepts=False)
    yield both
    await both.close()


async def until(holds: object) -> None:
    async with asyncio.timeout(10):
        while not holds():  # type: ignore[operator]  # noqa: ASYNC110 - it watches what no event tells
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_owner_answers_over_the_connection_that_the_other_holds(two: Two) -> None:
    reader, writer = await asyncio.open_connection(*two.address)
    writer.write(message(1))
    await until(lambda: two.owner.got)
    ((data, source),) = two.owner.got
    assert (data, source) == (message(1), Address(*writer.get_extra_info("sockname")))
    assert two.holder.got == []
    two.owner.port.send(b"SIP/2.0 200 OK\r\n\r\n", source)
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"SIP/2.0 200 OK\r\n\r\n"
    assert (two.holder.mesh.carried, two.owner.mesh.carried, two.owner.port.opened) == (1, 0, 0)
    writer.close()


@pytest.mark.asyncio
async def test_connection_that_has_ended_is_told_and_the_message_goes_by_an_own_one(two: Two) -> None:
    """Nobody listens where the caller's connection came from: that is told as where there is one worker."""
    _, writer = await asyncio.open_connection(*two.address)
    writer.write(message(1))
    await until(lambda: two.owner.got)
    source = two.owner.got[0][1]
    writer.close()
    await until(lambda: len(two.holder.port) == 0)
    await asyncio.sleep(0.05)
    two.owner.port.send(b"late", source)
    await until(lambda: two.owner.unreachable)
    assert two.owner.unreachable == [b"late"]
    assert two.holder.mesh.carried == 0


@pytest.mark.asyncio
async def test_holder_that_has_no_such_connection_gives_the_message_back(two: Two) -> None:
    """As after its death: the next life holds none of its connections, and was not there to say that they ended."""
    two.holder.mesh.post(1, Saying.ARRIVED, 0, GONE, b"", message(1))
    await until(lambda: two.owner.got)
    two.owner.port.send(b"for nobody", GONE)
    await until(lambda: two.owner.unreachable)
    assert two.owner.unreachable == [b"for nobody"]


@pytest.mark.asyncio
async def test_alias_is_made_where_the_connection_is(two: Two) -> None:
    """RFC 5923: requests to the port that the peer's Via names go over the connection it opened."""
    reader, writer = await asyncio.open_connection(*two.address)
    writer.write(message(1))
    await until(lambda: two.owner.got)
    source = two.owner.got[0][1]
    named = Address(source.host, 5060)
    two.owner.port.alias(source, named)
    two.owner.port.send(b"BYE over the alias", named)
    assert await asyncio.wait_for(reader.readexactly(18), 10) == b"BYE over the alias"
    writer.close()


@pytest.mark.asyncio
async def test_identity_is_told_once_and_taken_back_with_the_connection(two: Two) -> None:
    note = json.dumps(["dns:sbc.example"]).encode()
    say = two.holder.mesh.post
    for _ in range(3):
        say(1, Saying.ARRIVED, 0, GONE, note, message(1))
    await until(lambda: len(two.owner.got) == 3)
    assert two.owner.told == [(GONE, ("dns:sbc.example",))]
    say(1, Saying.ENDED, 0, GONE)
    await until(lambda: len(two.owner.told) == 2)
    assert two.owner.told[-1] == (GONE, ())


@pytest.mark.asyncio
async def test_new_connection_from_the_same_place_inherits_no_identity(two: Two) -> None:
    """The end of the first was never told, as when its worker was killed: whoever comes next proves himself."""
    note = json.dumps(["dns:sbc.example"]).encode()
    two.holder.mesh.post(1, Saying.ARRIVED, 0, GONE, note, message(1))
    two.holder.mesh.post(1, Saying.ARRIVED, 0, GONE, b"", message(1))
    await until(lambda: len(two.owner.got) == 2)
    assert two.owner.told == [(GONE, ("dns:sbc.example",)), (GONE, ())]


def test_what_is_remembered_of_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "_MAX_BORROWED", 10)
    port = StreamPort(Address(HERE, 0), Limits(), StreamSettings())
    try:
        known = LentConnections(0, port, lambda *_said: None)
        for number in range(100):
            known.borrow(Address(HERE, 1000 + number), 1, b"")
        assert not known.send(b"", Address(HERE, 1000))
        assert known.send(b"", Address(HERE, 1099))
        assert len(known._borrowed) == 10
    finally:
        port.close()


def test_note_that_is_too_long_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    port = StreamPort(Address(HERE, 0), Limits(), StreamSettings())
    try:
        known = LentConnections(0, port, lambda *_said: None)
        monkeypatch.setattr(port, "identities_at", lambda _peer: ("dns:" + "x" * 70_000,))
        assert known.lend(GONE, 1) == b""
    finally:
        port.close()
