"""From a message to the worker that owns its call: the Call-ID as it stands in the bytes, and a hash of it.

Every message of a call carries one Call-ID (RFC 3261 §8.1.1.4), so its hash says the owner whoever sent the message
and from whichever port. The same hash runs in the kernel (transport/reuseport.py), where it spares a hand-over; what
is said here is what holds. The hash is small, 32 bits wide and of a bounded length, since the kernel's filter is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from edge_proxy.addr import Address, Side

HASHED_BYTES: Final = 31
"""How much of a Call-ID is hashed."""
FACTOR: Final = 31
FIRST_SHIFT: Final = 15
MIX_FACTOR: Final = 0x2C1B3C6D
SECOND_SHIFT: Final = 13

_U32: Final = 0xFFFFFFFF
_REMEMBERED: Final = 8192
_LONGEST_REMEMBERED: Final = 256
"""Bytes of a Call-ID: nothing has looked at a message yet, and what it says may be as long as a datagram."""
_CARRIERS: Final = Side.CARRIERS
_USUAL: Final = b"\nCall-ID: "
_CALL_ID: Final = re.compile(rb"\n(?:call-id|i)[ \t]*:(?:[ \t]|\r\n[ \t])*+([^\s]*)", re.IGNORECASE)


def plain_usual_call_id(data: bytes, /) -> bytes | None:
    """The Call-ID in a line that begins with `Call-ID: ` and holds nothing else; None when the head may have another.

    Such a line in a body is none, nor is one that is folded.
    """
    usual = data.find(_USUAL)
    if usual < 0 or data.find(b"\r\n\r\n", 0, usual + 1) >= 0:
        return None
    start = usual + len(_USUAL)
    end = data.find(b"\r\n", start)
    if end < 0:
        return None
    value = data[start:end]
    words = value.split()
    return value if len(words) == 1 and len(words[0]) == len(value) else None


def plain_steering_hash(call_id: bytes, /) -> int:
    """A polynomial of the first bytes, then mixed, so that its remainders are even for any number of workers."""
    value = 0
    for byte in call_id[:HASHED_BYTES]:
        value = (value * FACTOR + byte) & _U32
    value = (value ^ value >> FIRST_SHIFT) * MIX_FACTOR & _U32
    return value ^ value >> SECOND_SHIFT


try:
    from edge_proxy.pipeline._steering import steering_hash, usual_call_id
except ImportError:
    HAS_STEERING = False
    steering_hash, usual_call_id = plain_steering_hash, plain_usual_call_id
else:
    HAS_STEERING = True


def call_id_in(data: bytes) -> bytes | None:
    """The Call-ID of a message as it came, full or compact form, folded or not; None when its head has none."""
    usual = usual_call_id(data)
    if usual is not None:
        return usual
    match = _CALL_ID.search(data)
    if match is None:
        return None
    head_end = data.find(b"\r\n\r\n")
    return match[1] if head_end < 0 or match.start() < head_end else None


def owner_of(call_id: bytes, workers: int) -> int:
    """Which of so many workers, numbered from 0, owns the call."""
    return steering_hash(call_id) % workers


class Steering:
    """Says the owner of messages as they come. `unveil` tells the Call-ID behind one that a carrier knows sealed."""

    __slots__ = ("_of_carriers", "_of_customers", "_unveil", "_workers")

    def __init__(self, workers: int, unveil: Callable[[bytes], bytes]) -> None:
        self._workers = workers
        self._unveil = unveil
        # By the Call-ID as it came.
        self._of_carriers: dict[bytes, int] = {}
        self._of_customers: dict[bytes, int] = {}

    def owner(self, data: bytes, side: Side) -> int | None:
        """The number of the worker that this message is for; None when it names no call: whoever has it keeps it."""
        call_id = call_id_in(data)
        if call_id is None:
            return None
        known = self._of_carriers if side is _CARRIERS else self._of_customers
        owner = known.get(call_id)
        if owner is None:
            owner = owner_of(self._unveil(call_id) if side is _CARRIERS else call_id, self._workers)
            if len(call_id) <= _LONGEST_REMEMBERED:
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[call_id] = owner
        return owner

    def sort(
        self, batch: list[tuple[bytes, Address]], side: Side, number: int
    ) -> tuple[list[tuple[bytes, Address]], list[tuple[int, tuple[bytes, Address]]]]:
        """Of messages as they came, with their sources: what this worker is to keep, and what is for which other."""
        own: list[tuple[bytes, Address]] = []
        others: list[tuple[int, tuple[bytes, Address]]] = []
        for received in batch:
            owner = self.owner(received[0], side)
            if owner is None or owner == number:
                own.append(received)
            else:
                others.append((owner, received))
        return own, others
