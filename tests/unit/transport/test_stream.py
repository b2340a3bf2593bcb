"""TCP over real sockets on loopback: framing, reuse, the bounds on number, time and memory, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import uvloop

from edge_proxy.addr import Address
from edge_proxy.sip.limits import Limits
from edge_proxy.transport.port import Received
from edge_proxy.transport.stream import CloseCause, StreamPort, StreamSettings

HERE = "127.0.0.1"
PATIENT = StreamSettings()


def message(text: str = "", body: bytes = b"") -> bytes:
    return f"OPTIONS sip:a SIP/2.0\r\nSubject: {text}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop run until this holds."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - it watches counters, which tell nobody
            await asyncio.sleep(0.005)


class Served:
    """A port that is serving, and what it delivered."""

    def __init__(self, port: StreamPort) -> None:
        self.port = port
        self.received: list[Received] = []
        self.lost: list[tuple[Address, list[bytes]]] = []
        port.on_unreachable = lambda address, messages: self.lost.append((address, messages))

    @property
    def messages(self) -> list[bytes]:
        return [data for data, _ in self.received]

    async def until_closed(self, cause: CloseCause, count: int = 1) -> None:
        await until(lambda: self.port.closed[cause] == count)


@contextlib.asynccontextmanager
async def serving(settings: StreamSettings = PATIENT, limits: Limits | None = None) -> AsyncIterator[Served]:
    """A served port; afterwards nothing of it may be left."""
    before = asyncio.all_tasks()
    served = Served(StreamPort(Address(HERE, 0), limits or Limits(), settings))
    await served.port.start(asyncio.get_running_loop(), served.received.extend)
    try:
        yield served
    finally:
        served.port.stop()
        await until(lambda: len(served.port) == 0)
        served.port.close()
        await until(lambda: asyncio.all_tasks() <= before)


class Far:
    """The far end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def address(self) -> Address:
        name = self.writer.get_extra_info("sockname")
        return Address(name[0], name[1])

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(20):
            return await self.reader.readexactly(count)

    async def read_to_end(self) -> bytes:
        """All until the other end has closed; a reset is an end, too."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(served: Served, host: str = HERE) -> AsyncIterator[Far]:
    far = Far(*await asyncio.open_connection(*served.port.bound, local_addr=(host, 0)))
    try:
        yield far
    finally:
        await far.close()


class Listening:
    """A peer that accepts connections."""

    def __init__(self) -> None:
        self.far: list[Far] = []
        self.address = Address(HERE, 0)

    async def until_accepted(self, count: int) -> Far:
        await until(lambda: len(self.far) == count)
        return self.far[-1]


@contextlib.asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[Listening]:
    peer = Listening()
    server = await asyncio.start_server(lambda r, w: peer.far.append(Far(r, w)), HERE, port)
    name = server.sockets[0].getsockname()
    peer.address = Address(name[0], name[1])
    try:
        yield peer
    finally:
        server.close()
        for far in peer.far:
            await far.close()


def unused_address() -> Address:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return Address(*probe.getsockname())


@pytest.mark.asyncio
async def test_message_written_byte_by_byte_is_delivered_once() -> None:
    """Content-Length alone says where a message ends; its source is the far end of the connection."""
    async with serving() as served, connected(served) as far:
        far.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in message("slow", b"hello"):
            await far.write(bytes([byte]))
            await asyncio.sleep(0)
        await far.write(message("next"))
        await until(lambda: len(served.received) == 2)
        assert served.received == [(message("slow", b"hello"), far.address), (message("next"), far.address)]


@pytest.mark.asyncio
async def test_messages_of_one_segment_are_one_turn() -> None:
    """What came together is handed over together, in order."""
    turns: list[list[Received]] = []
    port = StreamPort(Address(HERE, 0), Limits(), PATIENT)
    await port.start(asyncio.get_running_loop(), turns.append)
    served = Served(port)
    async with connected(served) as far:
        await far.write(message("1") + message("2") + message("3"))
        await until(lambda: bool(turns))
        assert [data for data, _ in turns[0]] == [message("1"), message("2"), message("3")]
    port.stop()
    await until(lambda: len(port) == 0)
    port.close()


@pytest.mark.asyncio
async def test_ping_is_answered_by_pong() -> None:
    """A double CRLF wants a single one back (RFC 5626 §4.4.1); it is no message."""
    async with serving() as served, connected(served) as far:
        await far.write(b"\r\n\r\n")
        assert await far.read(2) == b"\r\n"
        await far.write(message() + b"\r\n\r\n" + message())
        assert await far.read(2) == b"\r\n"
        await until(lambda: len(served.received) == 2)
        assert served.port.pongs == 2


@pytest.mark.asyncio
async def test_connection_too_many_from_one_source_is_refused_and_counted() -> None:
    """One source cannot take all; others still get in, and a place that is free again can be taken."""
    async with serving(replace(PATIENT, max_connections_per_source=2)) as served:
        async with connected(served) as first, connected(served), connected(served) as third:
            await third.write(message("refused"))
            assert await third.read_to_end() == b""
            await served.until_closed(CloseCause.TOO_MANY)
            async with connected(served, "127.0.0.2") as other:
                await other.write(message("let in"))
                await until(lambda: served.messages == [message("let in")])
            await first.close()
            await served.until_closed(CloseCause.PEER, 2)
            async with connected(served) as again:
                await again.write(message("again"))
                await until(lambda: served.messages[-1] == message("again"))
        assert served.port.closed[CloseCause.TOO_MANY] == 1


@pytest.mark.asyncio
async def test_connection_too_many_in_total_is_refused_and_counted() -> None:
    """The bound on all connections together."""
    async with (
        serving(replace(PATIENT, max_connections=2)) as served,
        connected(served),
        connected(served, "127.0.0.2"),
        connected(served, "127.0.0.3") as third,
    ):
        assert await third.read_to_end() == b""
        await served.until_closed(CloseCause.TOO_MANY)
        await until(lambda: len(served.port) == 2)


def test_peer_that_is_gone_is_let_go_by_either_loop() -> None:
    """The loop that serves does not always know who it was; the standard one does."""
    asyncio.run(let_a_scanner_go())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(let_a_scanner_go())


async def let_a_scanner_go() -> None:
    """A scanner that resets at once leaves an accepted socket without a peer; it must not raise or stay."""
    port = StreamPort(Address(HERE, 0), Limits(), PATIENT)
    with socket.create_connection(port.bound) as scanner:
        scanner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context))
    await port.start(asyncio.get_running_loop(), lambda _batch: None)
    await until(lambda: port.closed[CloseCause.PEER] == 1)
    assert raised == []
    assert len(port) == 0
    port.stop()
    port.close()


@pytest.mark.asyncio
async def test_slow_sender_is_cut_off() -> None:
    """A message that has begun must be whole in time, however the bytes trickle in."""
    async with serving(replace(PATIENT, message_s=0.05)) as served, connected(served) as far:
        await far.write(message()[:-1])
        await served.until_closed(CloseCause.SLOW_SENDER)
        assert await far.read_to_end() == b""
        assert served.received == []


@pytest.mark.asyncio
async def test_single_line_ends_do_not_make_a_slow_sender() -> None:
    """They keep a connection alive, and no message has begun with them (RFC 3261 §7.5)."""
    async with serving(replace(PATIENT, message_s=0.0)) as served, connected(served) as alive:
        await alive.write(b"\r\n")
        async with connected(served) as far:
            await far.write(b"O")
            await served.until_closed(CloseCause.SLOW_SENDER)  # a sweep has seen both
        await alive.write(message())
        await until(lambda: served.messages == [message()])


@pytest.mark.asyncio
async def test_idle_connection_is_closed() -> None:
    """A connection that brings nothing is given up."""
    async with serving(replace(PATIENT, idle_s=0.05)) as served, connected(served) as far:
        await served.until_closed(CloseCause.IDLE)
        assert await far.read_to_end() == b""


@pytest.mark.asyncio
async def test_slow_reader_is_aborted() -> None:
    """What a peer does not read is buffered up to a bound, then the connection ends; the service does not wait."""
    async with serving(replace(PATIENT, max_write_buffer_bytes=65_536)) as served, connected(served) as far:
        await far.write(message())
        await until(lambda: len(served.received) == 1)
        large = message(body=b"x" * 60_000)
        for _ in range(1000):
            served.port.send(large, far.address)
            if served.port.closed[CloseCause.SLOW_READER]:
                break
            await asyncio.sleep(0)
        await served.until_closed(CloseCause.SLOW_READER)


@pytest.mark.asyncio
async def test_ended_connection_that_does_not_take_what_is_written_is_aborted() -> None:
    """Closing waits for what is written, but not for ever: else a peer could keep connections by never reading."""
    async with serving(replace(PATIENT, idle_s=0.05, closing_s=0.05)) as served, connected(served) as far:
        await far.write(message())
        await until(lambda: len(served.received) == 1)
        far.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(100):  # more than the kernel takes, less than our own bound on top of it
            served.port.send(message(body=b"x" * 60_000), far.address)
            connection = served.port._connections[far.address]
            if connection._transport is not None and connection._transport.get_write_buffer_size():
                break
        await served.until_closed(CloseCause.IDLE)


@pytest.mark.asyncio
async def test_broken_message_ends_that_connection_only() -> None:
    """What was readable is delivered, so that it can be answered, and the answer leaves before the end."""
    async with serving() as served, connected(served) as other, connected(served) as far:
        answer = b"SIP/2.0 400 Bad Request\r\n\r\n"

        def answer_all(batch: list[Received]) -> None:
            served.received.extend(batch)
            for _, source in batch:
                served.port.send(answer, source)

        served.port._deliver = answer_all
        broken = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: x\r\n\r\n"
        await far.write(broken + message("never"))
        assert await far.read_to_end() == answer
        await served.until_closed(CloseCause.BROKEN_FRAMING)
        await other.write(message("other"))
        assert await other.read(len(answer)) == answer
        assert served.messages == [broken, message("other")]


@pytest.mark.asyncio
async def test_send_reuses_the_connection_that_the_peer_opened() -> None:
    """An answer goes back the way the request came (RFC 3261 §18.2.2)."""
    async with serving() as served, connected(served) as far:
        await far.write(message("request"))
        await until(lambda: len(served.received) == 1)
        served.port.send(message("answer"), far.address)
        assert await far.read(len(message("answer"))) == message("answer")
        assert served.port.opened == 0


@pytest.mark.asyncio
async def test_send_opens_one_connection_for_all_and_delivers_what_comes_back() -> None:
    """Messages wait for the connection in order; what the peer sends on it is taken in."""
    async with serving() as served, listening() as peer:
        for n in range(3):
            served.port.send(message(str(n)), peer.address)
        far = await peer.until_accepted(1)
        expected = b"".join(message(str(n)) for n in range(3))
        assert await far.read(len(expected)) == expected
        await far.write(message("back"))
        await until(lambda: served.received == [(message("back"), peer.address)])
        assert served.port.opened == 1


@pytest.mark.asyncio
async def test_send_opens_again_when_the_connection_was_closed() -> None:
    """A closed connection is no reason to lose what comes after it."""
    async with serving() as served, listening() as peer:
        served.port.send(message("1"), peer.address)
        await (await peer.until_accepted(1)).close()
        await served.until_closed(CloseCause.PEER)
        served.port.send(message("2"), peer.address)
        far = await peer.until_accepted(2)
        assert await far.read(len(message("2"))) == message("2")


@pytest.mark.asyncio
async def test_unreachable_address_is_reported_with_its_messages() -> None:
    """Whoever sent is told what did not leave, and a later send tries again."""
    async with serving() as served:
        nowhere = unused_address()
        served.port.send(message("1"), nowhere)
        served.port.send(message("2"), nowhere)
        await until(lambda: served.lost == [(nowhere, [message("1"), message("2")])])
        assert served.port.closed[CloseCause.CONNECT_FAILED] == 1
        assert served.port.send_errors == 2
        async with listening(nowhere.port) as peer:
            served.port.send(message("3"), nowhere)
            far = await peer.until_accepted(1)
            assert await far.read(len(message("3"))) == message("3")


@pytest.mark.asyncio
@pytest.mark.parametrize("nowhere", [("127.0.0.1", 70_000), ("127.0.0.1", 1 << 70), ("\0", 5060)])
async def test_what_is_no_address_is_reported_like_one_that_nobody_has(nowhere: tuple[str, int]) -> None:
    """The loop raises as it likes; nothing is kept for a connection that cannot be."""
    async with serving() as served:
        address = Address(*nowhere)
        served.port.send(message("1"), address)
        await until(lambda: served.lost == [(address, [message("1")])])


@pytest.mark.asyncio
async def test_messages_that_wait_for_a_connection_are_bounded() -> None:
    """What a dead target is sent meanwhile does not pile up; what does not fit is counted."""
    async with serving() as served:
        nowhere = unused_address()
        for n in range(100):
            served.port.send(message(str(n)), nowhere)
        assert served.port.send_overflows == 36
        await until(lambda: len(served.lost) == 1)
        assert len(served.lost[0][1]) == 64


@pytest.mark.asyncio
async def test_both_connections_with_one_address_are_watched() -> None:
    """When both ends connect from their listening ports at once, the older connection still counts, idles and ends."""
    async with serving() as served, connected(served) as far:
        await far.write(message())
        await until(lambda: len(served.received) == 1)
        async with listening() as peer:
            served.port.send(message("out"), peer.address)
            await peer.until_accepted(1)
            await until(lambda: len(served.port) == 2)
            # The newer takes the address of the older, as it would when both ends had used the same ports.
            incoming = served.port._connections.pop(far.address)
            outgoing = served.port._connections[peer.address]
            assert incoming is not outgoing
            served.port._connections[far.address] = outgoing
            served.port.stop()
            await served.until_closed(CloseCause.STOPPED, 2)
            assert await far.read_to_end() == b""


@pytest.mark.asyncio
async def test_stop_ends_everything_and_opens_nothing_more() -> None:
    """After stop no connection, task or timer is left, and a message that comes too late is a counted error."""
    before = asyncio.all_tasks()
    async with listening() as peer:
        async with serving() as served, connected(served) as far:
            await far.write(message())
            await until(lambda: len(served.received) == 1)
            served.port.send(message("up"), peer.address)
            await peer.until_accepted(1)
            bound = served.port.bound
            served.port.send(message("under way"), Address("127.0.0.9", peer.address.port))
            served.port.stop()
            served.port.send(message("late"), unused_address())
            assert served.port.send_errors == 1
            assert await far.read_to_end() == b""
            assert served.port._sweeper is None or served.port._sweeper.cancelled()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*bound)
    assert asyncio.all_tasks() <= before


def test_address_in_use_is_an_os_error_and_leaks_nothing() -> None:
    """Two ports cannot have one address; the second says so at once."""
    first = StreamPort(Address(HERE, 0), Limits(), PATIENT)
    with pytest.raises(OSError, match="in use"):
        StreamPort(first.bound, Limits(), PATIENT)
    first.close()


@pytest.mark.asyncio
async def test_alias_serves_another_address_over_the_same_connection_until_it_ends() -> None:
    """RFC 5923 §6: what is sent to the aliased address takes the connection that the peer opened, while it is up."""
    async with serving() as served, connected(served) as far:
        await far.write(message())
        await until(lambda: len(served.received) == 1)
        alias = unused_address()
        served.port.alias(far.address, alias)
        served.port.send(b"over the alias", alias)
        assert await far.read(len(b"over the alias")) == b"over the alias"
        await far.close()
        await served.until_closed(CloseCause.PEER)
        served.port.send(b"too late", alias)
        await until(lambda: bool(served.lost))
        assert served.lost == [(alias, [b"too late"])]


@pytest.mark.asyncio
async def test_aliases_of_one_connection_are_bounded() -> None:
    """A peer that names ever new ports gets no more than a few."""
    async with serving() as served, connected(served) as far:
        await far.write(message())
        await until(lambda: len(served.received) == 1)
        for port in range(20_000, 20_100):
            served.port.alias(far.address, Address(HERE, port))
        (connection,) = served.port._all
        assert len(connection.aliases) == 4
