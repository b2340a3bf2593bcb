"""The calls that are up: what began here and has not ended. Counted from the calls themselves, so it cannot drift."""

from __future__ import annotations

from edge_proxy.addr import Address, Monotonic, Side, Wall
from edge_proxy.pipeline.records import Attempt, EndCause, Ending, Party
from edge_proxy.routing.dialog_token import DialogState


class Call:
    """One attempt that was let through, from its verdict to its end. Addresses are where each side really is."""

    __slots__ = ("answered_at", "attempt", "callee", "caller", "started_at")

    def __init__(self, attempt: Attempt, started_at: Monotonic, caller: Address) -> None:
        self.attempt = attempt
        self.started_at = started_at
        self.answered_at: Monotonic | None = None
        self.caller = caller
        self.callee: Address | None = None

    @property
    def caller_side(self) -> Side:
        return self.attempt.facts.source.origin.side


class CallBook:
    """Live calls by evidence id."""

    __slots__ = ("_calls", "ended")

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self.ended: dict[tuple[Side, EndCause], int] = {(side, cause): 0 for side in Side for cause in EndCause}

    def begin(self, attempt: Attempt, now: Monotonic, caller: Address) -> Call:
        call = Call(attempt, now, caller)
        self._calls[attempt.evidence_id] = call
        return call

    def find(self, evidence_id: int) -> Call | None:
        return self._calls.get(evidence_id)

    def active(self, side: Side) -> int:
        """Calls up now that this side began."""
        return sum(call.caller_side is side for call in list(self._calls.values()))

    def __len__(self) -> int:
        return len(self._calls)

    def end(
        self, call: Call, cause: EndCause, ended_by: Party, status: int, now: Monotonic, wall: Wall
    ) -> Ending | None:
        """The ending of a call; None when it has ended before."""
        attempt = call.attempt
        if self._calls.pop(attempt.evidence_id, None) is None:
            return None
        side = call.caller_side
        self.ended[side, cause] += 1
        answered = call.answered_at
        return Ending(
            evidence_id=attempt.evidence_id,
            at=wall,
            call_id=attempt.facts.call_id,
            customer=attempt.customer,
            caller_side=side,
            cause=cause,
            ended_by=ended_by,
            status=status,
            setup_s=None if answered is None else answered - call.started_at,
            duration_s=None if answered is None else now - answered,
            attempt=attempt,
        )

    def hang_up(self, call: Call, by: Party, now: Monotonic, wall: Wall) -> Ending | None:
        """A BYE came for this call."""
        return self.end(call, EndCause.BYE, by, 200, now, wall)

    def end_unseen(self, state: DialogState, call_id: str, ended_by: Party, wall: Wall) -> Ending:
        """The ending of a call that this worker never saw begin, from what its dialog token says."""
        self.ended[state.caller_side, EndCause.BYE] += 1
        return Ending(
            evidence_id=state.evidence_id,
            at=wall,
            call_id=call_id,
            customer=state.customer,
            caller_side=state.caller_side,
            cause=EndCause.BYE,
            ended_by=ended_by,
            status=200,
            setup_s=None,
            duration_s=max(0.0, wall - state.started_s),
            attempt=None,
        )
