"""The calls that are up, by evidence id, and what is counted of them per side, customer, trunk and AS.

Every call that begins here ends here: with its INVITE's final refusal, its BYE, or, when its end was lost, when its
session expires (RFC 4028 §8.3) or it has lasted longer than any call may. Each event costs the same however many
calls are up, and a call that has ended leaves nothing behind but integers.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from edge_proxy.addr import NEVER, Address, Asn, Monotonic, Side, Wall
from edge_proxy.native import mypyc_attr
from edge_proxy.pipeline.histogram import Histogram
from edge_proxy.pipeline.records import Admitted, Attempt, EndCause, Ending, Party, worker_of
from edge_proxy.policy.behaviour import ShortCallWatch
from edge_proxy.policy.token_buckets import Key
from edge_proxy.routing.dialog_token import DialogState

DURATION_BOUNDS_S: Final = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0)
PDD_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)

_SLOT_S: Final = 10.0
"""How fine the deadlines of calls are: a lost call is found up to this much late and never early."""
_LONGEST_INTERVAL_S: Final = 7 * 86_400
_MAX_UNSEEN: Final = 4096

_CUSTOMERS: Final = Side.CUSTOMERS
_BYE: Final = EndCause.BYE
_CANCELLED: Final = EndCause.CANCELLED
_TIMED_OUT: Final = EndCause.TIMED_OUT

# The called side was reached and did not take the call: the network did its work (RFC 6076 §4.7, ITU-T E.425 NER).
_EFFECTIVE_REFUSALS: Final = frozenset({480, 486, 600, 603})


@mypyc_attr(acyclic=True)
class Tally:
    """Counts of one side, customer, trunk or AS. ASR is answered / attempted, NER effective / attempted, ACD
    talk_ms / the answered calls that are over."""

    __slots__ = ("active", "answered", "attempted", "effective", "talk_ms")

    def __init__(self) -> None:
        self.active = 0
        self.attempted = 0
        self.answered = 0
        self.effective = 0
        self.talk_ms = 0


@mypyc_attr(acyclic=True)
class Call:
    """One attempt that was let through, from its verdict to its end. Addresses are where each side really is."""

    __slots__ = (
        "answered_at",
        "attempt",
        "callee",
        "caller",
        "caller_side",
        "deadline_slot",
        "interval_s",
        "is_call",
        "ringing_at",
        "started_at",
        "tallies",
        "trunk",
    )

    def __init__(self, attempt: Attempt, started_at: Monotonic, caller: Address) -> None:
        self.attempt = Admitted(attempt)
        self.is_call = attempt.facts.method == "INVITE"
        self.started_at = started_at
        self.ringing_at: Monotonic | None = None
        self.answered_at: Monotonic | None = None
        self.caller = caller
        self.callee: Address | None = None
        self.trunk = ""
        self.interval_s = 0
        """The session interval that the last 2xx set (RFC 4028); 0: none."""
        self.deadline_slot = -1
        self.tallies: list[Tally] = []
        self.caller_side = self.attempt.caller_side


class CallBook:
    """Live calls. `max_call_s` bounds one without a session timer, `grace_s` is what a late BYE is waited for."""

    __slots__ = (
        "_calls",
        "_first_id",
        "_grace_s",
        "_max_call_s",
        "_slots",
        "_ticks",
        "_unseen",
        "asns",
        "customers",
        "durations",
        "ended",
        "held",
        "post_dial_delays",
        "short_calls",
        "sides",
        "trunks",
    )

    def __init__(self, max_call_s: float = 14_400.0, grace_s: float = 32.0) -> None:
        self._max_call_s = max_call_s
        self._grace_s = grace_s
        self._calls: dict[int, Call] = {}
        self._slots: dict[int, dict[int, Call]] = {}
        self._ticks: list[int] = []
        self._first_id = -1
        self._unseen: dict[int, None] = {}
        self.ended: dict[tuple[Side, EndCause], int] = {(side, cause): 0 for side in Side for cause in EndCause}
        self.sides: dict[Side, Tally] = {side: Tally() for side in Side}
        self.customers: defaultdict[str, Tally] = defaultdict(Tally)
        self.trunks: defaultdict[str, Tally] = defaultdict(Tally)
        self.asns: defaultdict[Asn, Tally] = defaultdict(Tally)
        self.held: dict[Key, int] = {}
        """Calls up now by what their limits count them as; what no call counts as is not here."""
        self.short_calls: dict[str, ShortCallWatch] = {}
        """Of the customers whose limits ask for it; put here by whoever keeps the limits."""
        self.durations: dict[Side, Histogram] = {side: Histogram(DURATION_BOUNDS_S) for side in Side}
        self.post_dial_delays: dict[Side, Histogram] = {side: Histogram(PDD_BOUNDS_S) for side in Side}

    def __len__(self) -> int:
        return len(self._calls)

    def find(self, evidence_id: int) -> Call | None:
        return self._calls.get(evidence_id)

    def active(self, side: Side) -> int:
        """Calls up now that this side began."""
        return self.sides[side].active

    def active_of(self, customer: str) -> int:
        """Calls up now that are booked on this customer, in either direction; those for help do not count."""
        tally = self.customers.get(customer)
        if tally is None:
            return 0
        held = self.held
        return tally.active - held.get(("emergency", customer, 0), 0) if held else tally.active

    def begin(self, attempt: Attempt, now: Monotonic, caller: Address) -> Call:
        """An attempt was let through. A request that is no call (such as MESSAGE) is kept here too, and not tallied."""
        call = Call(attempt, now, caller)
        evidence_id = attempt.evidence_id
        if self._first_id < 0:
            self._first_id = evidence_id
        self._calls[evidence_id] = call
        self._set_deadline(call, now + self._max_call_s + self._grace_s)
        if call.is_call:
            origin = attempt.facts.source.origin
            tallies = call.tallies
            tallies.append(self.sides[call.caller_side])
            tallies.append(self.asns[origin.asn])
            if attempt.customer:
                tallies.append(self.customers[attempt.customer])
            for tally in tallies:
                tally.attempted += 1
                tally.active += 1
            if origin.trunk is not None:
                self.use_trunk(call, origin.trunk.id)
            for key in attempt.holds:
                self.held[key] = self.held.get(key, 0) + 1
        return call

    def use_trunk(self, call: Call, trunk: str) -> None:
        """The call goes by this trunk now: the first one, or another after the first failed it."""
        if not call.is_call or trunk == call.trunk or call.attempt.evidence_id not in self._calls:
            return
        if call.trunk:
            before = self.trunks[call.trunk]
            before.active -= 1
            call.tallies.remove(before)
        call.trunk = trunk
        if trunk:
            self._count_in(call, self.trunks[trunk])

    def ring(self, call: Call, now: Monotonic) -> None:
        """The first sign from the called side (18x) ends the post-dial delay; later ones change nothing."""
        if call.ringing_at is None and call.is_call:
            call.ringing_at = now
            self.post_dial_delays[call.caller_side].observe(now - call.started_at)

    def answer(self, call: Call, interval_s: int, now: Monotonic) -> None:
        """A 2xx to the INVITE went back; `interval_s` is the session interval it sets, 0 for none."""
        if call.attempt.evidence_id not in self._calls:
            return
        if call.answered_at is None:
            if call.ringing_at is None:
                self.ring(call, now)  # answered without a sign before: that was the whole delay (RFC 6076 §4.3.1)
            call.answered_at = now
            for tally in call.tallies:
                tally.answered += 1
                tally.effective += 1
        self._extend(call, interval_s, now)

    def refresh(self, call: Call, interval_s: int, now: Monotonic) -> None:
        """A 2xx shows that the call is alive, and sets when it is believed dead unless there is another (§8.2)."""
        if call.attempt.evidence_id in self._calls:
            self._extend(call, interval_s, now)

    def _extend(self, call: Call, interval_s: int, now: Monotonic) -> None:
        call.interval_s = interval_s if interval_s < _LONGEST_INTERVAL_S else _LONGEST_INTERVAL_S
        self._set_deadline(call, now + (call.interval_s or self._max_call_s) + self._grace_s)

    def end(
        self,
        call: Call,
        cause: EndCause,
        ended_by: Party,
        status: int,
        now: Monotonic,
        wall: Wall,
        q850: int | None = None,
    ) -> Ending | None:
        """The ending of a call; None when it has ended before."""
        attempt = call.attempt
        if attempt.evidence_id not in self._calls:
            return None
        del self._calls[attempt.evidence_id]
        self._clear_deadline(call)
        if attempt.holds and call.is_call:
            self._release(attempt.holds)
        side = call.caller_side
        self.ended[side, cause] += 1
        answered, ringing = call.answered_at, call.ringing_at
        duration_s = None if answered is None else now - answered
        is_effective = answered is None and (
            status in _EFFECTIVE_REFUSALS or (ringing is not None and (cause is _CANCELLED or cause is _TIMED_OUT))
        )
        if duration_s is None:
            for tally in call.tallies:
                tally.active -= 1
                tally.effective += is_effective
        else:
            talk_ms = int(duration_s * 1000)
            for tally in call.tallies:
                tally.active -= 1
                tally.talk_ms += talk_ms
            self.durations[side].observe(duration_s)
            short_calls = self.short_calls.get(attempt.customer)
            if short_calls is not None and side is _CUSTOMERS and not attempt.is_emergency:
                short_calls.observe(duration_s, now)
        return Ending(
            attempt.evidence_id,
            wall,
            attempt.call_id,
            attempt.customer,
            side,
            cause,
            ended_by,
            status,
            None if answered is None else answered - call.started_at,
            duration_s,
            attempt,
            None if ringing is None else ringing - call.started_at,
            q850,
        )

    def hang_up(self, call: Call, by: Party, now: Monotonic, wall: Wall, q850: int | None = None) -> Ending | None:
        """A BYE came for this call."""
        return self.end(call, _BYE, by, 200, now, wall, q850)

    def end_unseen(
        self, state: DialogState, call_id: str, ended_by: Party, wall: Wall, q850: int | None = None
    ) -> Ending | None:
        """The ending of a call that an earlier life of this worker saw begin, from what its dialog token says.

        None when it began in this life, so that it has ended already (both sides hung up at once, or the BYE came
        after we gave the call up), or when this was said before.
        """
        evidence_id = state.evidence_id
        if self._began_here(evidence_id) or evidence_id in self._unseen:
            return None
        self.ended_before((evidence_id,))
        self.ended[state.caller_side, _BYE] += 1
        return Ending(
            evidence_id,
            wall,
            call_id,
            state.customer,
            state.caller_side,
            _BYE,
            ended_by,
            200,
            None,
            max(0.0, wall - state.started_s),
            None,
            None,
            q850,
        )

    def ended_before(self, evidence_ids: Iterable[int]) -> None:
        """An earlier life of this worker has recorded these calls' ends; oldest first, and only the newest are kept."""
        for evidence_id in evidence_ids:
            if len(self._unseen) >= _MAX_UNSEEN:
                del self._unseen[next(iter(self._unseen))]
            self._unseen[evidence_id] = None

    def next_deadline(self) -> Monotonic:
        """When `expire` must be called at the latest; NEVER when no call is up."""
        return Monotonic(self._ticks[0] * _SLOT_S) if self._ticks else NEVER

    def forget_empty_slots(self) -> None:
        """Let go of deadlines that no call has any more, hours ahead as they may be, and of the room calls took.

        The tables stay the objects that they are: new ones would lie where the burst was.
        """
        calls = list(self._calls.items())
        slots = [(tick, slot) for tick, slot in self._slots.items() if slot]
        self._calls.clear()
        self._calls.update(calls)
        self._slots.clear()
        self._slots.update(slots)
        self._ticks[:] = sorted(self._slots)

    def expire(self, now: Monotonic, wall: Wall) -> list[Ending]:
        """End the calls whose session expired or that lasted too long: in our books only, nobody is sent a BYE."""
        endings: list[Ending] = []
        ticks = self._ticks
        while ticks and ticks[0] * _SLOT_S <= now:
            for call in self._slots.pop(heapq.heappop(ticks)).values():
                cause = EndCause.SESSION_EXPIRED if call.interval_s else EndCause.MAX_DURATION
                status = 408 if call.answered_at is None else 200
                ending = self.end(call, cause, Party.PROXY, status, now, wall)
                if ending is not None:
                    endings.append(ending)
        return endings

    def is_reconciled(self) -> bool:
        """Whether every tally of calls that are up is what counting the calls themselves gives."""
        live = Counter(id(tally) for call in self._calls.values() for tally in call.tallies)
        holds = Counter(key for call in self._calls.values() if call.is_call for key in call.attempt.holds)
        if holds != self.held:
            return False
        tallies = (*self.sides.values(), *self.customers.values(), *self.trunks.values(), *self.asns.values())
        return all(tally.active == live[id(tally)] for tally in tallies) and sum(
            len(slot) for slot in self._slots.values()
        ) == len(self._calls)

    def _release(self, holds: tuple[Key, ...]) -> None:
        for key in holds:
            if self.held[key] == 1:
                del self.held[key]
            else:
                self.held[key] -= 1

    def _count_in(self, call: Call, tally: Tally) -> None:
        tally.attempted += 1
        tally.active += 1
        call.tallies.append(tally)

    def _began_here(self, evidence_id: int) -> bool:
        """Evidence ids begin with the second they were made in and name the worker (see records.py)."""
        first = self._first_id
        return 0 <= first <= evidence_id and worker_of(first) == worker_of(evidence_id)

    def _set_deadline(self, call: Call, at: float) -> None:
        tick = int(at / _SLOT_S) + 1
        if tick == call.deadline_slot:
            return
        if call.deadline_slot >= 0:
            self._clear_deadline(call)
        call.deadline_slot = tick
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
            heapq.heappush(self._ticks, tick)
        slot[call.attempt.evidence_id] = call

    def _clear_deadline(self, call: Call) -> None:
        """Take it back. An emptied slot stays until it is due: there is one for every ten seconds ahead at most."""
        slot = self._slots.get(call.deadline_slot)
        if slot is not None and call.attempt.evidence_id in slot:
            del slot[call.attempt.evidence_id]
