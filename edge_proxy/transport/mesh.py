"""The way between the workers of one address: a message that lands with a worker that does not own its call goes on.

Each worker has one Unix datagram socket that the others write to. What is handed over keeps the listener it came by
and the address it came from, so its owner treats it, and counts it, as if it had landed there. What the owner sends
over a connection that another worker holds goes the same way back (see lending.py). A worker that does not read holds
nobody up: what its socket does not take waits in a bounded queue, and what does not fit there is counted as lost, as a
datagram in a full socket buffer would be; whoever sent it will repeat it.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from edge_proxy.addr import Address, Listener
from edge_proxy.pipeline.steering import Steering
from edge_proxy.transport.lending import LentConnections, Saying
from edge_proxy.transport.port import Deliver, Received, Watch
from edge_proxy.transport.stream import StreamPort

_MAX_QUEUED: Final = 4096
_MAX_QUEUED_BYTES: Final = 32 << 20
"""For each other worker; as many messages of the usual size take a sixth of it."""
_MESSAGES_A_TURN: Final = 64
_LARGEST_BYTES: Final = (1 << 20) + (1 << 17)
_SEND_BUFFER_BYTES: Final = 4 << 20
_HEAD: Final = struct.Struct("!BBBHBH")
"""What it says, who says it, the listener's slot, a port, and the lengths of the host and of the note that follow."""


def open_pair() -> tuple[socket.socket, socket.socket]:
    """One worker's inbox, and what the others write to. Neither blocks."""
    inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.setblocking(False)
    outbox.setblocking(False)
    outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)  # the largest message must fit
    return inbox, outbox


class Mesh:
    """One worker's end: `sift` takes out what others own, and what they send arrives like datagrams of one's own."""

    def __init__(
        self,
        number: int,
        inbox: socket.socket,
        outboxes: Sequence[socket.socket],
        steering: Steering,
        most_queued: int = _MAX_QUEUED,
    ) -> None:
        """`outboxes` has a place for each worker; one's own is never written to."""
        self.handed_over = 0
        self.taken_over = 0
        self.carried = 0
        self.lost = 0
        self._number = number
        self._inbox = inbox
        self._outboxes = outboxes
        self._steering = steering
        self._most_queued = most_queued
        self._queues: list[deque[bytes]] = [deque() for _ in outboxes]
        self._queued_bytes = [0] * len(outboxes)
        self._loop: Watch | None = None
        self._deliver: Sequence[Deliver] = ()
        self._lent: dict[int, LentConnections] = {}
        self._buffer = memoryview(bytearray(_LARGEST_BYTES))

    def lend(self, slot: int, port: StreamPort) -> None:
        """Let the other workers send over the connections of this port, and this one over theirs."""
        self._lent[slot] = LentConnections(slot, port, self.post)

    def start(self, loop: Watch, deliver: Sequence[Deliver]) -> None:
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

    def post(
        self, worker: int, saying: Saying, slot: int, address: Address, note: bytes = b"", data: bytes = b""
    ) -> None:
        """Say something to another worker; it waits, or is lost and counted, where that one does not listen."""
        host = address.host.encode()
        packet = _HEAD.pack(saying, self._number, slot, address.port, len(host), len(note)) + host + note + data
        if self._queues[worker] or not self._send(worker, packet):
            self._enqueue(worker, packet)

    def _sift(self, listener: Listener, deliver: Deliver, batch: list[Received]) -> None:
        own, others = self._steering.sort(batch, listener.side, self._number)
        lent = self._lent.get(listener.slot)
        for owner, (data, source) in others:
            note = b"" if lent is None else lent.lend(source, owner)
            self.post(owner, Saying.ARRIVED, listener.slot, source, note, data)
        if own:
            deliver(own)

    def _send(self, owner: int, packet: bytes) -> bool:
        """Whether this is done with: sent, or lost for good."""
        try:
            self._outboxes[owner].send(packet)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.lost += 1
            return True
        if packet[0] == Saying.ARRIVED:
            self.handed_over += 1
        return True

    def _enqueue(self, owner: int, packet: bytes) -> None:
        queue = self._queues[owner]
        if len(queue) >= self._most_queued or self._queued_bytes[owner] >= _MAX_QUEUED_BYTES:
            self.lost += 1
            return
        queue.append(packet)
        self._queued_bytes[owner] += len(packet)
        if self._loop is not None and len(queue) == 1:
            self._loop.add_writer(self._outboxes[owner].fileno(), functools.partial(self._writable, owner))

    def _writable(self, owner: int) -> None:
        queue = self._queues[owner]
        while queue and self._send(owner, queue[0]):
            self._queued_bytes[owner] -= len(queue.popleft())
        if not queue and self._loop is not None:
            self._loop.remove_writer(self._outboxes[owner].fileno())

    def _readable(self) -> None:
        batches: dict[int, list[Received]] = {}
        for _ in range(_MESSAGES_A_TURN):
            try:
                length = self._inbox.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                break
            packet = bytes(self._buffer[:length])
            saying, worker, slot, port, host_bytes, note_bytes = _HEAD.unpack_from(packet)
            note_at = _HEAD.size + host_bytes
            address = Address(packet[_HEAD.size : note_at].decode(), port)
            note, data = packet[note_at : note_at + note_bytes], packet[note_at + note_bytes :]
            lent = self._lent.get(slot)
            if saying == Saying.ARRIVED:
                if lent is not None and lent.borrow(address, worker, note):
                    self._flush(batches)  # what arrived before came from somebody else
                    lent.identify(address, note)
                batches.setdefault(slot, []).append((data, address))
                self.taken_over += 1
            elif lent is not None:
                if saying == Saying.ENDED:
                    self._flush(batches)
                self.carried += lent.hear(saying, worker, address, note, data)
        self._flush(batches)

    def _flush(self, batches: dict[int, list[Received]]) -> None:
        for slot, batch in batches.items():
            self._deliver[slot](batch)
        batches.clear()
