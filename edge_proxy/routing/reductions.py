"""What targets asked to be spared (RFC 7339 §5.4 to §5.7): feedback in, "this request not to that address" out.

Which requests are left out is decided by a hash of Call-ID and address: a request that comes again fares the same,
and what one target sheds is as likely to get through at the next as any other. Time is passed in; only addresses that
are asked for feedback are ever remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from typing import Final, NamedTuple

from edge_proxy.addr import NEVER, Address, Monotonic
from edge_proxy.sip.overload import Feedback

MAX_VALIDITY_S: Final = 300.0
"""The longest validity that is honoured: a wrong number in one response must not starve a trunk for a day."""

_SEQUENCE_MEMORY_S: Final = 32.0
"""How long an older oc-seq is taken for a late response; after that, for a clock that was set back (§4.4)."""


class _Asked(NamedTuple):
    percent: int
    until: Monotonic


class TargetReductions:
    """The reductions in force. While `in_force` is empty nothing else need be asked."""

    __slots__ = ("_sequences", "in_force")

    def __init__(self) -> None:
        self.in_force: dict[Address, _Asked] = {}
        self._sequences: dict[Address, tuple[tuple[int, int], Monotonic]] = {}

    def note(self, address: Address, feedback: Feedback, now: Monotonic) -> None:
        """A response from `address` said this; what is older than the newest that was heard says nothing."""
        if feedback.sequence is not None:
            last = self._sequences.get(address)
            if last is not None and feedback.sequence <= last[0] and now < last[1] + _SEQUENCE_MEMORY_S:
                return
            self._sequences[address] = feedback.sequence, now
        if not feedback.percent or not feedback.validity_s:
            self.in_force.pop(address, None)
            return
        until = Monotonic(now + min(feedback.validity_s, MAX_VALIDITY_S))
        self.in_force[address] = _Asked(feedback.percent, until)

    def sheds(self, address: Address, call_id: bytes, now: Monotonic) -> bool:
        """Whether a new request of this Call-ID belongs to the share that `address` does not want."""
        asked = self.in_force.get(address)
        return asked is not None and asked.until > now and falls_into(asked.percent, call_id, str(address).encode())

    def left_s(self, address: Address, now: Monotonic) -> float:
        """How long the reduction for `address` holds from now."""
        asked = self.in_force.get(address)
        return 0.0 if asked is None else max(0.0, asked.until - now)

    def percent(self, address: Address) -> int:
        asked = self.in_force.get(address)
        return 0 if asked is None else asked.percent

    def next_deadline(self) -> Monotonic:
        """When the first of them ends; NEVER without any."""
        return min([asked.until for asked in self.in_force.values()]) if self.in_force else NEVER

    def expire(self, now: Monotonic) -> None:
        """Forget the reductions whose time is over."""
        if not self.in_force:
            return
        for address in [address for address, asked in self.in_force.items() if asked.until <= now]:
            del self.in_force[address]

    def keep(self, addresses: Set[Address], more: Set[Address] = frozenset()) -> None:
        """Only these are asked from now on."""
        for kept in (self.in_force, self._sequences):
            for address in [address for address in kept if address not in addresses and address not in more]:
                del kept[address]


def falls_into(percent: int, call_id: bytes, salt: bytes) -> bool:
    """Whether a Call-ID belongs to `percent` of all; another salt is another draw."""
    digest = hashlib.blake2b(call_id, salt=hashlib.blake2b(salt, digest_size=16).digest(), digest_size=4).digest()
    return int.from_bytes(digest) % 100 < percent
