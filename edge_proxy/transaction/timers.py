"""Every timer of RFC 3261 §17 and RFC 6026 in one wheel: deadlines in, what is due out. It never reads a clock.

Starting a timer is a list append and nothing is ever cancelled: a timer that its owner has no use for any more can be
passed over when it is the next one. Timer C (§16.8), which is minutes long and hardly ever fires, would keep all that
its owner holds for so long: it waits in a queue that it can leave.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

from edge_proxy.addr import NEVER, Monotonic

T = TypeVar("T")

TICK_S: Final = 0.01
"""How fine the wheel is: a timer fires up to one tick late and never early."""

_PLACES: Final = 4096
"""The wheel goes round in 41 s, which is more than any timer of §17 waits with the usual T1."""
_PLACE_MASK: Final = _PLACES - 1


def fires_at(due_at: float) -> Monotonic:
    """When a wheel fires what is due then: at the end of that tick."""
    return Monotonic((int(due_at / TICK_S) + 1) * TICK_S)


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """The base values of RFC 3261 table 4, in seconds."""

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    timer_c_s: float = 185.0

    @property
    def timeout_s(self) -> float:
        """64*T1: timers B, F, H, J, L and M."""
        return 64 * self.t1_s

    @property
    def soonest_s(self) -> float:
        """No timer that a message starts is due sooner than this."""
        return min(self.t1_s, self.t2_s, self.t4_s)

    @property
    def timer_100_s(self) -> float:
        """When a non-INVITE without an answer gets 100: T1 + 2*T1 + ..., until the next pause is T2 (RFC 4320 §4.1)."""
        total_s, pause_s = 0.0, self.t1_s
        while pause_s < self.t2_s:
            total_s += pause_s
            pause_s = min(2 * pause_s, self.t2_s)
        return total_s

    @property
    def timer_d_s(self) -> float:
        """At least 32 s over UDP (§17.1.1.2)."""
        return max(32.0, 64 * self.t1_s)


class _Slot(Generic[T]):
    """What is due at one tick, in two lists of one order: a pair for each timer would be one more object to keep."""

    __slots__ = ("events", "owners", "taken", "tick")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.owners: list[T] = []
        self.events: list[int] = []
        self.taken = 0
        """How many of them, from the first, wait no longer."""


class TimerWheel(Generic[T]):
    """Owners and what they wait for, kept in slots of one tick; only slots that hold something exist."""

    __slots__ = ("_elsewhere", "_first", "_slots", "_ticks", "event", "pending")

    def __init__(self) -> None:
        self._slots: list[_Slot[T] | None] = [None] * _PLACES
        self._elsewhere: dict[int, _Slot[T]] = {}
        """Slots whose place another one has, more than a whole turn of the wheel away."""
        self._ticks: list[int] = []
        self._first: _Slot[T] | None = None
        """The slot of the first of these ticks, once it was asked for."""
        self.event = 0
        """What the owner that `first` or `take_due` returned last waits for."""
        self.pending = 0

    def start(self, at: float, owner: T, event: int) -> None:
        """Let `event` be due for `owner` at `at` (rounded up to the next tick)."""
        tick = int(at / TICK_S) + 1
        slot = self._slots[tick & _PLACE_MASK]
        if slot is None or slot.tick != tick:
            slot = self._slot_beside(tick, slot)
        slot.owners.append(owner)
        slot.events.append(event)
        self.pending += 1

    def _slot_beside(self, tick: int, other: _Slot[T] | None) -> _Slot[T]:
        """The slot of a tick that is not at its place, since `other` is there or none is."""
        slot = self._elsewhere.get(tick) if self._elsewhere else None
        if slot is None:
            slot = _Slot(tick)
            heappush(self._ticks, tick)
            self._first = None  # it may be this one now
            if other is None:
                self._slots[tick & _PLACE_MASK] = slot
            else:
                self._elsewhere[tick] = slot
        return slot

    def next_deadline(self) -> Monotonic:
        """When the first owner is due; NEVER when nobody waits."""
        slot = self._first_slot()
        return NEVER if slot is None else Monotonic(slot.tick * TICK_S)

    def first(self) -> T | None:
        """The owner that is due first, however long that is, and which goes on waiting; `event` is for what."""
        slot = self._first_slot()
        if slot is None:
            return None
        self.event = slot.events[slot.taken]
        return slot.owners[slot.taken]

    def pass_over(self) -> None:
        """The first owner waits no longer."""
        slot = self._first_slot()
        if slot is not None:
            slot.taken += 1
            self.pending -= 1

    def take_due(self, now: Monotonic) -> T | None:
        """The owner that is due first, which waits no longer; `event` is for what. None when nothing is due.

        Should its work raise, those behind it are still due.
        """
        slot = self._first_slot()
        if slot is None or slot.tick * TICK_S > now:
            return None
        index = slot.taken
        slot.taken = index + 1
        self.pending -= 1
        self.event = slot.events[index]
        return slot.owners[index]

    def _first_slot(self) -> _Slot[T] | None:
        """The earliest slot that somebody waits in; those before it are let go of."""
        slot = self._first
        while slot is None or slot.taken >= len(slot.owners):
            ticks = self._ticks
            if slot is not None:
                self._drop(heappop(ticks))
            if not ticks:
                self._first = None
                return None
            slot = self._first = self._slot_of(ticks[0])
        return slot

    def _slot_of(self, tick: int) -> _Slot[T]:
        slot = self._slots[tick & _PLACE_MASK]
        return self._elsewhere[tick] if slot is None or slot.tick != tick else slot

    def _drop(self, tick: int) -> None:
        if tick in self._elsewhere:
            del self._elsewhere[tick]
        else:
            self._slots[tick & _PLACE_MASK] = None


class WaitingLine(Generic[T]):
    """Timers of one length that are mostly stopped: the owners in the order in which they began to wait.

    What left it, or was never in it, is not held here in any way.
    """

    __slots__ = ("_due_at", "_earliest", "length_s")

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._due_at: OrderedDict[T, Monotonic] = OrderedDict()
        self._earliest = NEVER
        """Not after the first is due: whoever was first when this was set may have left since."""

    def __len__(self) -> int:
        return len(self._due_at)

    def start(self, owner: T, now: Monotonic) -> None:
        """Wait from now on, also when it has waited before."""
        due_at = Monotonic(now + self.length_s)
        self._due_at[owner] = due_at
        self._due_at.move_to_end(owner)
        self._earliest = min(self._earliest, due_at)

    def stop(self, owner: T) -> None:
        if owner in self._due_at:
            del self._due_at[owner]
            if not self._due_at:
                self._earliest = NEVER

    def next_deadline(self) -> Monotonic:
        """When `take_due` must be called at the latest; NEVER when nobody waits."""
        return self._earliest

    def take_due(self, now: Monotonic) -> T | None:
        """The first whose time is over, which no longer waits; None when there is none."""
        if now < self._earliest:
            return None
        self._earliest = NEVER
        for owner, due_at in self._due_at.items():
            self._earliest = due_at
            if due_at <= now:
                self.stop(owner)
                return owner
            break
        return None
