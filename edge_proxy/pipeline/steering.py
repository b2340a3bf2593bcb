"""From a message to the worker that owns its call: the Call-ID as it stands in the bytes, and a hash of it.

Every message of a call carries one Call-ID (RFC 3261 §8.1.1.4), so its hash says the owner whoever sent the message
and from whichever port. The same hash runs in the kernel (transport/reuseport.py), where it spares a hand-over; what
is said here is what holds. The hash is small, 32 bits wide and of a bounded length, since the kernel's filter is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from edge_proxy.addr import Side

HASHED_BYTES: Final = 31
"""How much of a Call-ID is hashed."""
FACTOR: Final = 31
FIRST_SHIFT: Final = 15
MIX_FACTOR: Final = 0x2C1B3C6D
SECOND_SHIFT: Final = 13

_U32: Final = 0xFFFFFFFF
_REMEMBERED: Final = 8192
_CALL_ID: Final = re.compile(rb"\n(?:call-id|i)[ \t]*:(?:[ \t]|\r\n[ \t])*+([^\s]*)", re.IGNORECASE)


def call_id_in(data: bytes) -> bytes | None:
    """The Call-ID of a message as it came, full or compact form, folded or not; None when its head has none."""
    match = _CALL_ID.search(data)
    if match is None:
        return None
    head_end = data.find(b"\r\n\r\n")
    return match[1] if head_end < 0 or match.start() < head_end else None


def steering_hash(call_id: bytes) -> int:
    """A polynomial of the first bytes, then mixed, so that its remainders are even for any number of workers."""
    value = 0
    for byte in call_id[:HASHED_BYTES]:
        value = (value * FACTOR + byte) & _U32
    value = (value ^ value >> FIRST_SHIFT) * MIX_FACTOR & _U32
    return value ^ value >> SECOND_SHIFT


def owner_of(call_id: bytes, workers: int) -> int:
    """Which of so many workers, numbered from 0, owns the call."""
    return steering_hash(call_id) % workers


class Steering:
    """Says the owner of messages as they come. `unveil` tells the Call-ID behind one that a carrier knows sealed."""

    __slots__ = ("_owner",)

    def __init__(self, workers: int, unveil: Callable[[bytes], bytes]) -> None:
        @lru_cache(maxsize=_REMEMBERED)
        def owner(call_id: bytes, side: Side) -> int:
            return owner_of(unveil(call_id) if side is Side.CARRIERS else call_id, workers)

        self._owner = owner

    def owner(self, data: bytes, side: Side) -> int | None:
        """The number of the worker that this message is for; None when it names no call: whoever has it keeps it."""
        call_id = call_id_in(data)
        return None if call_id is None else self._owner(call_id, side)
