"""One bound UDP socket: a batch of datagrams in, a batch out. What waits is read before anything is sent.

A full send buffer does not block and does not lose silently: what the kernel does not take at once waits in a bounded
queue for the socket to be writable again, and what does not fit there is counted.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.transport.datagrams import HAS_BATCH, Datagram, Datagrams, PlainDatagrams, datagrams_of
from edge_proxy.transport.port import Deliver, Received, Unreachable, Watch, ignore_unreachable

_MAX_QUEUED: Final = 4096
_WANTED_BUFFER_BYTES: Final = 4 << 20
_DATAGRAMS_A_TURN: Final = 64


def open_udp_socket(bind: Address, *, is_shared: bool = False) -> socket.socket:
    """A bound socket that does not block; `is_shared`: others of this user may bind the same address."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened.setsockopt(socket.SOL_SOCKET, option, _WANTED_BUFFER_BYTES)
        opened.setblocking(False)
        opened.bind((bind.host, bind.port))
    except OSError:
        opened.close()
        raise
    return opened


class UdpPort:
    """A bound socket; nothing here blocks."""

    __slots__ = (
        "_datagrams",
        "_deliver",
        "_loop",
        "_queue",
        "_socket",
        "on_unreachable",
        "receive_buffer_bytes",
        "send_buffer_bytes",
        "send_errors",
        "send_overflows",
    )

    def __init__(self, bind: Address | socket.socket, *, is_batched: bool = HAS_BATCH) -> None:
        """Bind at once, or take a socket that is bound; raises OSError when the address cannot be had."""
        self._socket = open_udp_socket(bind) if isinstance(bind, Address) else bind
        try:
            self._datagrams: Datagrams = datagrams_of(self._socket, is_batched=is_batched)
        except OSError:
            self._socket.close()
            raise
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.send_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self.send_errors = 0
        self.send_overflows = 0
        self.on_unreachable: Unreachable = ignore_unreachable  # a datagram that is lost is the timers' business
        self._queue: list[Datagram] = []
        self._loop: Watch | None = None
        self._deliver: Deliver | None = None

    async def start(self, loop: Watch, deliver: Deliver) -> None:
        """Begin to read: whenever something is waiting, all of it (up to a bound) is one turn."""
        self._loop = loop
        self._deliver = deliver
        loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        if self._deliver is not None:
            self._deliver(self.drain(_DATAGRAMS_A_TURN))

    @property
    def bound(self) -> Address:
        name = self._socket.getsockname()
        return Address(name[0], name[1])

    @property
    def kernel_drops(self) -> int:
        """Datagrams that came while the receive buffer was full."""
        return self._datagrams.drops

    def drain(self, most: int) -> list[Received]:
        """Up to `most` datagrams that are waiting now."""
        for _ in range(most):
            try:
                return self._datagrams.receive(most)
            except OSError:
                # An ICMP error for something we sent earlier; it tells nothing about what is waiting to be read.
                self.send_errors += 1
        return []

    def send_all(self, messages: Sequence[Datagram]) -> None:
        """Send now, or queue behind what is waiting already."""
        if not self._queue:
            unsent = messages if isinstance(messages, list) else list(messages)
            taken, error = self._datagrams.send(unsent, 0)
            if not error:
                return
            messages = unsent[self._send(unsent, taken, error) :]
        room = _MAX_QUEUED - len(self._queue)
        self.send_overflows += max(len(messages) - room, 0)
        if messages and self._loop is not None and not self._queue:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._queue.extend(messages[:room])

    def alias(self, peer: Address, address: Address) -> None:
        """Datagrams know no connection."""

    def _send(self, messages: list[Datagram], done: int = 0, error: int = 0) -> int:
        """How many of these are done with: sent, or impossible to send and counted. The rest has to wait.

        `done` of them are sent, and the next was not taken because of `error`.
        """
        while error != errno.EAGAIN:
            if error:
                self.send_errors += 1
                done += 1
            if done >= len(messages):
                break
            taken, error = self._datagrams.send(messages, done)
            done += taken
        return done

    def _flush(self) -> None:
        """Send what was queued, as far as the kernel takes it."""
        del self._queue[: self._send(self._queue)]

    def stop(self) -> None:
        """Read no more; send what is queued as far as the kernel takes it."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._loop = None
        self._flush()

    def close(self) -> None:
        """What is sent later is an error: a batch would go on with the descriptor, which may be another's by then."""
        closed = PlainDatagrams(self._socket)
        closed.drops = self._datagrams.drops
        self._datagrams = closed
        self._socket.close()

    def _writable(self) -> None:
        self._flush()
        if not self._queue and self._loop is not None:
            self._loop.remove_writer(self._socket.fileno())
