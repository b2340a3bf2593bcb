"""TCP and TLS: one listening socket and every connection from and to it (RFC 3261 §18, RFC 5626 §4.4.1).

A message for an address goes over the connection that is up with it, whoever opened it; else one is opened. Nothing
here waits: what a connection does not take at once is buffered up to a bound, and a peer that does not read, writes
too slowly or opens too much is cut off and counted. A stream that cannot be framed ends that connection only.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from edge_proxy.addr import Address
from edge_proxy.sip.framing import StreamFramer
from edge_proxy.sip.limits import Limits
from edge_proxy.transport.peer_certificate import identities_of
from edge_proxy.transport.port import Deliver, Elsewhere, Identify, Unreachable, ignore_identity, ignore_unreachable
from edge_proxy.transport.tls import TlsIdentity

_BACKLOG: Final = 512
_SWEEP_S: Final = 0.5
_MAX_WAITING: Final = 64
_MAX_ALIASES: Final = 4
_PONG: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What one listener grants its connections."""

    max_connections: int = 4096
    max_connections_per_source: int = 256
    idle_s: float = 900.0
    message_s: float = 5.0
    """How long a message that has begun may take to arrive whole."""
    connect_s: float = 4.0
    handshake_s: float = 4.0
    """How long a TLS handshake may take that a peer begins, and how long its farewell."""
    closing_s: float = 4.0
    """How long a connection that we end may take to send what is written."""
    max_write_buffer_bytes: int = 1 << 20


class CloseCause(StrEnum):
    """Why a connection ended. A closed set: these are metric labels."""

    PEER = "peer"
    IDLE = "idle"
    SLOW_SENDER = "slow_sender"
    SLOW_READER = "slow_reader"
    BROKEN_FRAMING = "broken_framing"
    TOO_MANY = "too_many"
    CONNECT_FAILED = "connect_failed"
    STOPPED = "stopped"


def open_stream_socket(bind: Address) -> socket.socket:
    """A listening socket that does not block."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setblocking(False)
        opened.bind((bind.host, bind.port))
        opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


class StreamPort:
    """A listening socket with its connections, by the address of the peer."""

    def __init__(
        self,
        bind: Address | socket.socket,
        limits: Limits,
        settings: StreamSettings,
        tls: TlsIdentity | None = None,
    ) -> None:
        """Bind at once, or take a socket that listens; raises OSError when the address cannot be had."""
        self._socket = open_stream_socket(bind) if isinstance(bind, Address) else bind
        self.limits = limits
        self.settings = settings
        self.server_names: dict[Address, str] = {}
        """The name that a TLS target must prove, by address; the address itself where there is none."""
        self.closed: dict[CloseCause, int] = dict.fromkeys(CloseCause, 0)
        self.accepted = 0
        self.opened = 0
        self.pongs = 0
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.send_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self.send_errors = 0
        self.send_overflows = 0
        self.on_unreachable: Unreachable = ignore_unreachable
        self.on_identity: Identify = ignore_identity
        self.elsewhere: Elsewhere | None = None
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver = lambda _batch: None
        self._all: set[Connection] = set()
        self._connections: dict[Address, Connection] = {}
        """The connection that a message for an address goes over. Two may be up with one address, each end having
        opened one; the newer is used, and both are watched."""
        self._by_source: dict[str, int] = {}
        self._waiting: dict[Address, deque[bytes]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def bound(self) -> Address:
        name = self._socket.getsockname()
        return Address(name[0], name[1])

    def __len__(self) -> int:
        return len(self._all)

    async def start(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        """Accept connections."""
        self._loop = loop
        self._deliver = deliver
        patience_s = None if self._tls is None else self.settings.handshake_s
        self._server = await loop.create_server(
            lambda: Connection(self, is_outgoing=False),
            sock=self._socket,
            ssl=None if self._tls is None else self._tls.server_context,
            ssl_handshake_timeout=patience_s,
            ssl_shutdown_timeout=patience_s,
        )
        self._sweep()

    def send_all(self, messages: Sequence[tuple[bytes, Address]]) -> None:
        """Send each over the connection with its address."""
        for data, address in messages:
            self.send(data, address)

    def send(self, data: bytes, address: Address) -> None:
        """Send over the connection with `address`; open one when there is none."""
        connection = self._connections.get(address)
        if connection is not None and connection.write(data):
            return
        if self.elsewhere is not None and self.elsewhere.send(data, address):
            return
        waiting = self._waiting.get(address)
        if waiting is None:
            if self._loop is None:
                self.send_errors += 1
                return
            waiting = self._waiting[address] = deque()
            task = self._loop.create_task(self._connect(address))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        if len(waiting) >= _MAX_WAITING:
            self.send_overflows += 1
            return
        waiting.append(data)

    def send_held(self, data: bytes, address: Address) -> bool:
        """Send over the connection with `address`; False when there is none that takes it."""
        connection = self._connections.get(address)
        return connection is not None and connection.write(data)

    def identities_at(self, peer: Address) -> tuple[str, ...]:
        """Who the far end of our connection with `peer` has proved to be; () when that is nobody."""
        connection = self._connections.get(peer)
        return () if connection is None else connection.identities

    def alias(self, peer: Address, address: Address) -> None:
        """Let what is sent to `address` go over the connection that `peer` opened (RFC 5923 §6).

        Over TLS only when that peer has shown a certificate that we checked. A connection of its own goes first.
        """
        connection = self._connections.get(peer)
        if connection is None and self.elsewhere is not None:
            self.elsewhere.alias(peer, address)
        if connection is None or (self._tls is not None and not connection.is_verified):
            return
        if len(connection.aliases) < _MAX_ALIASES and self._connections.setdefault(address, connection) is connection:
            connection.aliases.add(address)

    def stop(self) -> None:
        """Accept no more and close every connection after what is written has left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._all):
            connection.end(CloseCause.STOPPED)
        for task in self._connecting:
            task.cancel()
        self._loop = None  # nothing is opened any more

    def close(self) -> None:
        self._socket.close()

    async def _connect(self, address: Address) -> None:
        loop = self._loop
        assert loop is not None  # noqa: S101 - only called while serving
        context = None if self._tls is None else self._tls.client_context
        name = None if context is None else self.server_names.get(address, address.host)
        try:
            if context is not None:
                # A name that TLS cannot ask for is found out here: later the loop would leave the socket open.
                context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
            await asyncio.wait_for(
                loop.create_connection(
                    lambda: Connection(self, is_outgoing=True, peer=address),
                    address.host,
                    address.port,
                    ssl=context,
                    server_hostname=name,
                    local_addr=(self.bound.host, 0),
                ),
                self.settings.connect_s,
            )
        except (OSError, TimeoutError, ValueError, OverflowError):
            self.closed[CloseCause.CONNECT_FAILED] += 1
            waiting = self._waiting.pop(address, deque())
            self.send_errors += len(waiting)
            self.on_unreachable(address, list(waiting))

    def _sweep(self) -> None:
        """Cut off who is idle or keeps a message unfinished."""
        assert self._loop is not None  # noqa: S101 - only called while serving
        now = self._loop.time()
        for connection in list(self._all):
            connection.check(now)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    # What connections tell their port.

    def joined(self, connection: Connection) -> bool:
        """A connection is up; False when it is one too many."""
        peer = connection.peer
        self._all.add(connection)
        by_source = self._by_source.get(peer.host, 0)
        self._by_source[peer.host] = by_source + 1
        if connection.is_outgoing:
            self.opened += 1
        else:
            self.accepted += 1
            too_many = by_source >= self.settings.max_connections_per_source
            if too_many or len(self._all) > self.settings.max_connections:
                return False
        if self._tls is not None:
            self.on_identity(peer, connection.identities)  # also when it is nobody: there may be an old word on it
        if self.elsewhere is not None:
            self.elsewhere.joined(peer)
        self._connections[peer] = connection
        for data in self._waiting.pop(peer, ()):
            if not connection.write(data):
                self.send_errors += 1
        return True

    def left(self, connection: Connection, cause: CloseCause) -> None:
        self.closed[cause] += 1
        if connection not in self._all:
            return
        self._all.discard(connection)
        peer = connection.peer
        if connection.identities:
            self.on_identity(peer, ())
        remaining = self._by_source.get(peer.host, 1) - 1
        if remaining > 0:
            self._by_source[peer.host] = remaining
        else:
            self._by_source.pop(peer.host, None)
        for address in (peer, *connection.aliases):
            if self._connections.get(address) is connection:
                del self._connections[address]
        if self.elsewhere is not None and peer not in self._connections:
            self.elsewhere.left(peer)

    def arrived(self, connection: Connection, messages: list[bytes]) -> None:
        self._deliver([(message, connection.peer) for message in messages])


class Connection(asyncio.Protocol):
    """One connection; `peer` is its far end."""

    __slots__ = (
        "_closing_since",
        "_framer",
        "_last_read_at",
        "_message_since",
        "_port",
        "_transport",
        "_why",
        "aliases",
        "identities",
        "is_outgoing",
        "peer",
    )

    def __init__(self, port: StreamPort, *, is_outgoing: bool, peer: Address | None = None) -> None:
        self.is_outgoing = is_outgoing
        self.peer = peer or Address("", 0)
        self._port = port
        self._framer = StreamFramer(port.limits)
        self._transport: asyncio.Transport | None = None
        self._last_read_at = 0.0
        self._message_since: float | None = None
        self._closing_since: float | None = None
        self._why = CloseCause.PEER
        self.aliases: set[Address] = set()
        """Other addresses that this connection serves; as many as the peer's Vias named ports."""
        self.identities: tuple[str, ...] = ()
        """Who the peer has proved to be (see peer_certificate.py)."""

    @property
    def is_verified(self) -> bool:
        """Whether the peer has shown a certificate that was checked."""
        transport = self._transport
        return transport is not None and bool(transport.get_extra_info("peercert"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do all that asyncio.Transport does without being one.
        self._transport = stream = cast("asyncio.Transport", transport)
        if not self.is_outgoing:
            name = stream.get_extra_info("peername")
            if name is None:  # it went away again before it was accepted
                stream.abort()
                return
            self.peer = Address(name[0], name[1])
        self.identities = identities_of(stream.get_extra_info("ssl_object"))
        stream.set_write_buffer_limits(high=self._port.settings.max_write_buffer_bytes)
        self._last_read_at = asyncio.get_running_loop().time()
        if not self._port.joined(self):
            self.end(CloseCause.TOO_MANY)

    def data_received(self, data: bytes) -> None:
        if self._closing_since is not None:
            return  # what TLS had read before we ended it
        now = asyncio.get_running_loop().time()
        self._last_read_at = now
        framer = self._framer
        pings = framer.pings
        messages = framer.feed(data)
        if framer.pings != pings and self._transport is not None:
            self._port.pongs += framer.pings - pings
            self._transport.write(_PONG * min(framer.pings - pings, 16))
        if messages:
            self._message_since = None
            self._port.arrived(self, messages)
        if framer.broken:
            self.end(CloseCause.BROKEN_FRAMING)
        elif not framer.is_mid_message:
            self._message_since = None
        elif self._message_since is None:
            self._message_since = now

    def pause_writing(self) -> None:
        """More is buffered than we grant: this peer does not read."""
        self.end(CloseCause.SLOW_READER, abort=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._port.left(self, self._why)

    def write(self, data: bytes) -> bool:
        """Hand over one message; False when this connection is on its way out."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True

    def check(self, now: float) -> None:
        """End the connection when it has been silent, or in the middle of a message, for too long."""
        settings = self._port.settings
        if self._closing_since is not None:
            if now - self._closing_since > settings.closing_s and self._transport is not None:
                self._transport.abort()  # it does not take what is written
        elif self._message_since is not None and now - self._message_since > settings.message_s:
            self.end(CloseCause.SLOW_SENDER)
        elif now - self._last_read_at > settings.idle_s:
            self.end(CloseCause.IDLE)

    def end(self, cause: CloseCause, *, abort: bool = False) -> None:
        """Close after what is written has left; at once with `abort`."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._why = cause
        self._closing_since = asyncio.get_running_loop().time()
        if abort:
            transport.abort()
        else:
            transport.close()
