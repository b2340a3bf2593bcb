"""One bound UDP socket: a batch of datagrams in, a batch out. It reads until nothing is left before anything is sent.

A full send buffer does not block and does not lose silently: what the kernel does not take at once waits in a bounded
queue for the socket to be writable again, and what does not fit there is counted.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.transport.port import Deliver, Received, Unreachable, ignore_unreachable

_MAX_DATAGRAM_BYTES: Final = 65_535
_MAX_QUEUED: Final = 4096
_WANTED_BUFFER_BYTES: Final = 4 << 20
_DATAGRAMS_A_TURN: Final = 64


class UdpPort:
    """A bound socket; nothing here blocks."""

    __slots__ = (
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

    def __init__(self, bind: Address) -> None:
        """Bind at once; raises OSError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _WANTED_BUFFER_BYTES)
            self._socket.setblocking(False)
            self._socket.bind((bind.host, bind.port))
        except OSError:
            self._socket.close()
            raise
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.send_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self.send_errors = 0
        self.send_overflows = 0
        self.on_unreachable: Unreachable = ignore_unreachable  # a datagram that is lost is the timers' business
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver | None = None

    async def start(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
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

    def drain(self, most: int) -> list[Received]:
        """Up to `most` datagrams that are waiting now."""
        received: list[Received] = []
        recvfrom = self._socket.recvfrom
        while len(received) < most:
            try:
                data, name = recvfrom(_MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                # An ICMP error for something we sent earlier; it tells nothing about what is waiting to be read.
                self.send_errors += 1
                continue
            received.append((data, Address(name[0], name[1])))
        return received

    def send(self, data: bytes, address: Address) -> None:
        """Send now, or queue behind what is waiting already."""
        if self._queue:
            self._enqueue(data, address)
            return
        try:
            self._socket.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            self._enqueue(data, address)
        except OSError:
            self.send_errors += 1

    def alias(self, peer: Address, address: Address) -> None:
        """Datagrams know no connection."""

    def _flush(self) -> None:
        """Send what was queued, as far as the kernel takes it."""
        while self._queue:
            data, address = self._queue[0]
            try:
                self._socket.sendto(data, address)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.send_errors += 1
            self._queue.popleft()

    def stop(self) -> None:
        """Read no more; send what is queued as far as the kernel takes it."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._loop = None
        self._flush()

    def close(self) -> None:
        self._socket.close()

    def _enqueue(self, data: bytes, address: Address) -> None:
        if len(self._queue) >= _MAX_QUEUED:
            self.send_overflows += 1
            return
        self._queue.append((data, address))
        if self._loop is not None and len(self._queue) == 1:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._flush()
        if not self._queue and self._loop is not None:
            self._loop.remove_writer(self._socket.fileno())
