"""Connections that one worker holds and the others send over, so that a call's owner answers where its caller waits.

A connection is accepted by whichever worker the system woke, and the calls on it belong to all of them. What arrives
for another's call is handed over with who has proved to be at the far end; from then on that worker knows who holds the
connection, and what it sends to that address goes back to the holder. A connection that has ended is told to those who
had anything of it. Whoever is asked to send over one that he no longer has says so, and the message goes the way it
would have gone without: over a connection of the owner's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.transport.stream import StreamPort

_MAX_BORROWED: Final = 65_536
"""More are not remembered: whoever held the first of these has been gone for long, or it comes again."""
_LONGEST_NOTE_BYTES: Final = 60_000


class Saying(IntEnum):
    """What one worker says to another, with the slot of a listener and an address."""

    ARRIVED = 0
    """This message came from there, and its call is yours; the note says who is there, as JSON, or nothing."""
    SEND = 1
    """Send this message over your connection with it."""
    UNSENT = 2
    """I have no such connection (any more): this message of yours has not left."""
    ENDED = 3
    """My connection with it has ended."""
    ALIAS = 4
    """Your connection with it also serves the address in the note (RFC 5923 §6)."""


Post = Callable[[int, Saying, int, Address, bytes, bytes], None]
"""Says something to the worker with this number: what, slot, address, note, message."""


class LentConnections:
    """One listener's connections with all workers, as one of them sees them."""

    __slots__ = ("_borrowed", "_lent", "_port", "_post", "_slot")

    def __init__(self, slot: int, port: StreamPort, post: Post) -> None:
        self._slot = slot
        self._port = port
        self._post = post
        self._borrowed: dict[Address, tuple[int, bytes]] = {}
        """Of others: who holds the connection with an address, and who is said to be there."""
        self._lent: dict[Address, int] = {}
        """Of one's own: a bit for each worker that has been handed something of it."""
        port.elsewhere = self

    # What the mesh asks.

    def lend(self, peer: Address, worker: int) -> bytes:
        """A message of this connection goes to that worker; the note to go with it."""
        self._lent[peer] = self._lent.get(peer, 0) | 1 << worker
        identities = self._port.identities_at(peer)
        note = json.dumps(identities).encode() if identities else b""
        return note if len(note) <= _LONGEST_NOTE_BYTES else b""  # nobody's certificate: then it proves nothing

    def borrow(self, peer: Address, worker: int, note: bytes) -> bool:
        """A message of that worker's connection came here; True when somebody else is there than was known."""
        before = self._borrowed.get(peer)
        if before == (worker, note):
            return False
        if before is None and len(self._borrowed) >= _MAX_BORROWED:
            self._forget(next(iter(self._borrowed)))
        self._borrowed[peer] = (worker, note)
        return note != (b"" if before is None else before[1])

    def identify(self, peer: Address, note: bytes) -> None:
        """Tell whoever decides who has proved to be there."""
        self._port.on_identity(peer, tuple(json.loads(note)) if note else ())

    def hear(self, saying: int, worker: int, address: Address, note: bytes, data: bytes) -> bool:
        """Take what another worker says about a connection; True when a message of its has left over one of ours."""
        if saying == Saying.SEND:
            if self._port.send_held(data, address):
                return True
            self._post(worker, Saying.UNSENT, self._slot, address, b"", data)
        elif saying == Saying.UNSENT:
            self._forget(address)
            self._port.send(data, address)
        elif saying == Saying.ENDED and self._borrowed.get(address, (-1, b""))[0] == worker:
            self._forget(address)
        elif saying == Saying.ALIAS:
            self._port.alias(address, Address(*json.loads(note)))
        return False

    # What the port asks (stream.Elsewhere).

    def send(self, data: bytes, address: Address) -> bool:
        """Have this sent by whoever holds the connection with `address`; False when nobody is known to."""
        holder = self._borrowed.get(address)
        if holder is None:
            return False
        self._post(holder[0], Saying.SEND, self._slot, address, b"", data)
        return True

    def alias(self, peer: Address, address: Address) -> None:
        holder = self._borrowed.get(peer)
        if holder is not None:
            self._borrowed.setdefault(address, (holder[0], b""))
            self._post(holder[0], Saying.ALIAS, self._slot, peer, json.dumps(address).encode(), b"")

    def joined(self, peer: Address) -> None:
        """There is a connection of our own with this peer: another's is history."""
        self._borrowed.pop(peer, None)

    def left(self, peer: Address) -> None:
        """A connection of our own has ended."""
        workers = self._lent.pop(peer, 0)
        for worker in range(workers.bit_length()):
            if workers >> worker & 1:
                self._post(worker, Saying.ENDED, self._slot, peer, b"", b"")

    def _forget(self, peer: Address) -> None:
        _, note = self._borrowed.pop(peer, (-1, b""))
        if note:
            self._port.on_identity(peer, ())
