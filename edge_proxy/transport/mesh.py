"""The way between the workers of one address: a message that lands with a worker that does not own its call goes on.

Each worker has one Unix datagram socket that the others write to. What is handed over keeps the listener it came by
and the address it came from, so its owner treats it, and counts it, as if it had landed there. A worker that does not
read holds nobody up: what its socket does not take waits in a bounded queue, and what does not fit there is counted as
lost, as a datagram in a full socket buffer would be; whoever sent it will repeat it.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from edge_proxy.addr import Address, Listener
from edge_proxy.pipeline.steering import Steering
from edge_proxy.transport.port import Deliver, Received

_MAX_QUEUED: Final = 4096
_MESSAGES_A_TURN: Final = 64
_LARGEST_BYTES: Final = 66_000
_HEAD: Final = struct.Struct("!BHB")
"""The listener's slot, the sender's port, the length of the sender's host that follows."""


def open_pair() -> tuple[socket.socket, socket.socket]:
    """One worker's inbox, and what the others write to. Neither blocks."""
    inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.setblocking(False)
    outbox.setblocking(False)
    return inbox, outbox


class Mesh:
    """One worker's end: `sift` takes out what others own, and what they send arrives like datagrams of one's own."""

    def __init__(
        self, number: int, inbox: socket.socket, outboxes: Sequence[socket.socket], steering: Steering
    ) -> None:
        """`outboxes` has a place for each worker; one's own is never written to."""
        self.handed_over = 0
        self.taken_over = 0
        self.lost = 0
        self._number = number
        self._inbox = inbox
        self._outboxes = outboxes
        self._owner = steering.owner
        self._queues: list[deque[bytes]] = [deque() for _ in outboxes]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Sequence[Deliver] = ()

    def start(self, loop: asyncio.AbstractEventLoop, deliver: Sequence[Deliver]) -> None:
        """Begin to read what others hand over. `deliver` takes it, by the slot of the listener it came by."""
        self._loop = loop
        self._deliver = deliver
        loop.add_reader(self._inbox.fileno(), self._readable)

    def stop(self) -> None:
        """Read no more; what waits in a queue is lost, and what waits in the inbox is there for the next life."""
        if self._loop is not None:
            self._loop.remove_reader(self._inbox.fileno())
            for outbox in self._outboxes:
                self._loop.remove_writer(outbox.fileno())
            self._loop = None

    def sifted(self, listener: Listener, deliver: Deliver) -> Deliver:
        """`deliver`, for what this worker owns of what arrives by the listener."""
        return functools.partial(self._sift, listener, deliver)

    def _sift(self, listener: Listener, deliver: Deliver, batch: list[Received]) -> None:
        own: list[Received] = []
        for received in batch:
            owner = self._owner(received[0], listener.side)
            if owner is None or owner == self._number:
                own.append(received)
            else:
                self._hand_over(owner, listener.slot, received)
        if own:
            deliver(own)

    def _hand_over(self, owner: int, slot: int, received: Received) -> None:
        data, source = received
        host = source.host.encode()
        packet = _HEAD.pack(slot, source.port, len(host)) + host + data
        if self._queues[owner] or not self._send(owner, packet):
            self._enqueue(owner, packet)

    def _send(self, owner: int, packet: bytes) -> bool:
        """Whether this is done with: sent, or lost for good."""
        try:
            self._outboxes[owner].send(packet)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.lost += 1
            return True
        self.handed_over += 1
        return True

    def _enqueue(self, owner: int, packet: bytes) -> None:
        queue = self._queues[owner]
        if len(queue) >= _MAX_QUEUED:
            self.lost += 1
            return
        queue.append(packet)
        if self._loop is not None and len(queue) == 1:
            self._loop.add_writer(self._outboxes[owner].fileno(), self._writable, owner)

    def _writable(self, owner: int) -> None:
        queue = self._queues[owner]
        while queue and self._send(owner, queue[0]):
            queue.popleft()
        if not queue and self._loop is not None:
            self._loop.remove_writer(self._outboxes[owner].fileno())

    def _readable(self) -> None:
        batches: dict[int, list[Received]] = {}
        for _ in range(_MESSAGES_A_TURN):
            try:
                packet = self._inbox.recv(_LARGEST_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            slot, port, host_bytes = _HEAD.unpack_from(packet)
            data_at = _HEAD.size + host_bytes
            source = Address(packet[_HEAD.size : data_at].decode(), port)
            batches.setdefault(slot, []).append((packet[data_at:], source))
            self.taken_over += 1
        for slot, batch in batches.items():
            self._deliver[slot](batch)
