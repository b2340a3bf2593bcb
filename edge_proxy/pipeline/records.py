"""What the pipeline asks to be kept as evidence: an attempt when its verdict is reached, an ending when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_proxy.addr import E164, Side, Wall
from edge_proxy.native import mypyc_attr
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.parties import Mode
from edge_proxy.policy.token_buckets import Key
from edge_proxy.policy.verdict import Verdict

_FRACTION_BITS: Final = 26
_FRACTIONS: Final = 1 << _FRACTION_BITS
_hex: Final = hex


class EndCause(StrEnum):
    """How an attempt that was let through came to its end."""

    BYE = "bye"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    """The far end gave a final answer other than 2xx."""
    TIMED_OUT = "timed_out"
    COMPLETED = "completed"
    """A request that is no call (such as MESSAGE) was answered 2xx."""
    SESSION_EXPIRED = "session_expired"
    """No refresh came in its session interval (RFC 4028): its end was lost, and when it was is not known."""
    MAX_DURATION = "max_duration"
    """It asked for no session timer and outlasted what a call may: as above."""


class Party(StrEnum):
    CALLER = "caller"
    CALLEE = "callee"
    PROXY = "proxy"


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Attempt:
    """One attempt and its verdict. `evidence_id` is a 64-bit number, shown as 16 hexadecimal digits."""

    evidence_id: int
    at: Wall
    facts: CallFacts
    verdict: Verdict
    customer: str
    mode: Mode
    called_number: E164 | None
    snapshot: str
    holds: tuple[Key, ...]
    """What limits count it as while it is up."""

    def __init__(
        self,
        evidence_id: int,
        at: Wall,
        facts: CallFacts,
        verdict: Verdict,
        customer: str,
        mode: Mode,
        called_number: E164 | None,
        snapshot: str,
        holds: tuple[Key, ...],
    ) -> None:
        self.evidence_id = evidence_id
        self.at = at
        self.facts = facts
        self.verdict = verdict
        self.customer = customer
        self.mode = mode
        self.called_number = called_number
        self.snapshot = snapshot
        self.holds = holds


@mypyc_attr(acyclic=True)
class Admitted:
    """What is kept of an attempt while it is up: what its end is told with.

    The attempt itself, with all that was read of its request, is let go as soon as it is recorded and sent on.
    """

    __slots__ = (
        "asn",
        "call_id",
        "caller",
        "caller_side",
        "customer",
        "evidence_id",
        "holds",
        "ip_origin",
        "is_emergency",
        "method",
        "outcome",
        "reason",
        "rule",
        "source",
        "status",
        "text",
    )

    def __init__(self, attempt: Attempt) -> None:
        facts, verdict = attempt.facts, attempt.verdict
        source = facts.source
        origin = source.origin
        self.evidence_id = attempt.evidence_id
        self.customer = attempt.customer
        self.holds = attempt.holds
        self.method = facts.method
        self.call_id = facts.call_id
        self.caller = facts.from_claim.text
        """From's URI."""
        self.source = source.address
        self.caller_side = origin.side
        self.asn = origin.asn
        self.outcome = verdict.outcome
        self.status = verdict.status
        self.reason = verdict.reason
        self.rule = verdict.rule
        self.text = verdict.text
        self.ip_origin = verdict.ip_origin
        self.is_emergency = verdict.is_emergency


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Ending:
    """The end of an attempt that was let through. Durations are None where the phase was never reached or seen."""

    evidence_id: int
    at: Wall
    call_id: str
    customer: str
    caller_side: Side
    cause: EndCause
    ended_by: Party
    status: int
    setup_s: float | None
    duration_s: float | None
    attempt: Admitted | None
    """None when another worker or an earlier life of this one saw the call begin."""
    pdd_s: float | None
    """Post-dial delay: from the INVITE to the first 18x, or to the answer when none came before it."""
    q850: int | None
    """The Q.850 cause that whoever ended it gave (RFC 3326)."""

    def __init__(
        self,
        evidence_id: int,
        at: Wall,
        call_id: str,
        customer: str,
        caller_side: Side,
        cause: EndCause,
        ended_by: Party,
        status: int,
        setup_s: float | None,
        duration_s: float | None,
        attempt: Admitted | None,
        pdd_s: float | None,
        q850: int | None,
    ) -> None:
        self.evidence_id = evidence_id
        self.at = at
        self.call_id = call_id
        self.customer = customer
        self.caller_side = caller_side
        self.cause = cause
        self.ended_by = ended_by
        self.status = status
        self.setup_s = setup_s
        self.duration_s = duration_s
        self.attempt = attempt
        self.pdd_s = pdd_s
        self.q850 = q850

    @property
    def ring_s(self) -> float | None:
        """From the first 18x to the answer."""
        return None if self.setup_s is None or self.pdd_s is None else self.setup_s - self.pdd_s


Record = Attempt | Ending


class EvidenceIds:
    """Gives out one worker's evidence ids: the second (32 bits), the worker (6), the part of the second (26).

    They grow with the time, so an id is never given again by a later life of the worker, however short the first was.
    """

    __slots__ = ("_last", "_worker_bits")

    def __init__(self, worker: int) -> None:
        self._worker_bits = (worker & 0x3F) << _FRACTION_BITS
        self._last = 0

    def next(self, wall: Wall) -> int:
        """A new id. Attempts of the same moment, and of a clock that was set back, get the next free ones."""
        stamp = int(wall * _FRACTIONS)
        if stamp <= self._last:
            stamp = self._last + 1
        self._last = stamp
        return (stamp >> _FRACTION_BITS << 32) + (stamp & _FRACTIONS - 1 | self._worker_bits)


def worker_of(evidence_id: int) -> int:
    return evidence_id >> _FRACTION_BITS & 0x3F


def show_id(evidence_id: int) -> str:
    shown = _hex(evidence_id)[2:]  # compiled, a quarter of the time of formatting
    return shown if len(shown) == 16 else shown.zfill(16)
