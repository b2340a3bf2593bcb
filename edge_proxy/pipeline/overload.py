"""How far behind we are, and by what share new requests are to be fewer: turns of the driver in, a percentage out.

The measure is how long a datagram stays: the length of a turn, and while turn after turn of a socket finds as much as
it can take, the time since the first of these. An interval whose worst delay is above the threshold is a bad one; one
alone (a pause of the collector) changes nothing. From the second on the share grows, with every good one it shrinks.
It never reaches all: without new requests there would be nothing left to measure. No clock is read here.
"""

from __future__ import annotations

from typing import Final

from edge_proxy.addr import NEVER, Monotonic
from edge_proxy.sip.overload import feedback_params, with_feedback
from edge_proxy.transaction.layer import Send

FULL_TURN: Final = 64
"""As many datagrams as one turn takes from a UDP socket: after so many, more are likely to wait."""

INTERVAL_S: Final = 0.25
VALIDITY_S: Final = 1.0
"""What peers are told: several intervals, so that the feedback does not lapse between two responses."""

RETRY_AFTER_S: Final = 1

_MOST_PERCENT: Final = 95
_LARGEST_STEP: Final = 20
_SMALLEST_STEP: Final = 2
_STEP_AT_TWICE: Final = 10
_STEP_BACK: Final = 5


class Overload:
    """One worker's load. `percent` is the reduction in force; `is_active` is the one thing the hot path asks."""

    __slots__ = ("_behind_since", "_limit_s", "_settles_at", "_was_bad", "_worst_s", "is_active", "params", "percent")

    def __init__(self, limit_s: float) -> None:
        self.is_active = False
        self.percent = 0
        self.params = b""
        """Our feedback for the top Via of peers that ask for it."""
        self._limit_s = limit_s
        self._behind_since: dict[int, Monotonic] = {}
        self._worst_s = 0.0
        self._was_bad = False
        self._settles_at = Monotonic(0.0)

    def observe(self, slot: int, count: int, started: Monotonic, ended: Monotonic, wall_offset_s: float) -> None:
        """A turn of the listener `slot` is over: it took in `count` datagrams."""
        if not self._limit_s:
            return
        since = started
        if count >= FULL_TURN:
            since = self._behind_since.setdefault(slot, started)
        elif self._behind_since:
            self._behind_since.pop(slot, None)
        self._worst_s = max(self._worst_s, ended - since)
        if ended >= self._settles_at:
            self.settle(ended, wall_offset_s)

    def next_deadline(self) -> Monotonic:
        """When the share must be looked at again even if no turn comes."""
        return self._settles_at if self.is_active else NEVER

    def settle(self, now: Monotonic, wall_offset_s: float) -> None:
        """An interval is over, if it is time: set the share anew."""
        if now < self._settles_at:
            return
        if now >= self._settles_at + INTERVAL_S:
            self._was_bad = False  # nothing came for an interval: whatever was before was no overload
        self._settles_at = Monotonic(now + INTERVAL_S)
        excess = self._worst_s / self._limit_s - 1.0 if self._limit_s else 0.0
        self._worst_s = 0.0
        was_bad, self._was_bad = self._was_bad, excess > 0
        if excess <= 0:
            self.percent = max(0, self.percent - _STEP_BACK)
        elif was_bad:
            step = min(_LARGEST_STEP, max(_SMALLEST_STEP, round(_STEP_AT_TWICE * excess)))
            self.percent = min(_MOST_PERCENT, self.percent + step)
        self.is_active = self.percent > 0
        self.params = feedback_params(self.percent, VALIDITY_S, now + wall_offset_s) if self.is_active else b""

    def tell(self, sends: list[Send]) -> None:
        """Write our feedback into the responses for peers that ask for it (RFC 7339 §5.2), repeated ones included."""
        for index, send in enumerate(sends):
            if send.data.startswith(b"SIP/2.0 "):
                sends[index] = Send(send.slot, send.address, with_feedback(send.data, self.params))
