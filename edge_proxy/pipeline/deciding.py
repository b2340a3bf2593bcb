"""From an attempt to its numbered, counted verdict: what is recorded before anything leaves."""

from __future__ import annotations

from typing import Final

from edge_proxy.addr import E164, Monotonic, Wall
from edge_proxy.numbers.e164 import read_number
from edge_proxy.pipeline.calls import CallBook
from edge_proxy.pipeline.counters import Counters
from edge_proxy.pipeline.judgement import Judgement, judge
from edge_proxy.pipeline.records import Attempt, EvidenceIds
from edge_proxy.pipeline.shedding import ShedNotes
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.behaviour import SPOOFING
from edge_proxy.policy.call_limits import NO_ASN_LIMITS, AsnLimits
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.limits import CallLimiter
from edge_proxy.policy.parties import Customer, Mode, Source
from edge_proxy.policy.refusals import tell
from edge_proxy.policy.rollout import RuleMode
from edge_proxy.policy.token_buckets import Key
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason, Verdict
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri
from edge_proxy.traffic.ledger import LedgerRow

_ALLOWED: Final = Outcome.ALLOWED
_REFUSED: Final = Outcome.REFUSED
_DIVERTED: Final = Outcome.DIVERTED
_MONITOR: Final = Mode.MONITOR
_NO_HOLDS: Final[tuple[Key, ...]] = ()


class Decider:
    """Decides the attempts of one worker, one after the other."""

    __slots__ = ("_calls", "_counters", "_ids", "limiter", "shed")

    def __init__(self, worker: int, counters: Counters, calls: CallBook) -> None:
        self._calls = calls
        self.limiter = CallLimiter(calls.held, calls.short_calls)
        self._counters = counters
        self._ids = EvidenceIds(worker)
        self.shed = ShedNotes(self._ids)

    def decide(
        self,
        snapshot: Snapshot,
        message: Message,
        uri: Uri,
        source: Source,
        row: LedgerRow,
        now: Monotonic,
        wall: Wall,
        *,
        has_evidence_room: bool,
    ) -> tuple[Attempt, Customer | None]:
        """The attempt with its verdict, and the customer it calls if it comes from a carrier.

        `uri` is where it wants to go, `row` the ledger row of the AS it came from.
        """
        judgement = judge(snapshot, message, uri, source)
        facts = judgement.facts
        verdict = judgement.verdict
        facts.body = b""  # read by the signals; not kept with the call
        book = snapshot.rulebook
        origin = source.origin
        if not has_evidence_room and verdict.passes:
            self._counters.evidence_unavailable += 1
            if snapshot.refuses_without_evidence and not verdict.is_emergency:
                verdict = _without_evidence(verdict)
        responsible = judgement.responsible
        holds = _NO_HOLDS
        if verdict.outcome is not _ALLOWED and verdict.reason in SPOOFING:
            self._note_spoof(facts, book.per_asn, now)
        # Calls that pass are charged; nobody is charged for an emergency, and no emergency is ever limited.
        if responsible is not None and verdict.outcome is not _REFUSED:
            if verdict.is_emergency:
                holds = (("emergency", responsible.id, 0),)
            elif responsible.limits.is_limited or book.per_asn is not NO_ASN_LIMITS:
                holds = self._hold_to_limits(snapshot, judgement, responsible, now)
        if verdict.status and verdict.refusal is None:
            tell(verdict, book.refusals, facts.method, reads_608=facts.reads_608)
        customer = "" if responsible is None else responsible.id
        evidence_id = self._ids.next(wall)
        mode = book.mode_for(responsible, origin.trunk)
        attempt = Attempt(evidence_id, wall, facts, verdict, customer, mode, judgement.called, snapshot.version, holds)
        self._counters.count_verdict(origin.side, verdict, customer)
        if origin.customer is not None and facts.method == "INVITE":
            self._counters.equipment.see(origin.customer, facts.user_agent, wall)
        row.calls_from += 1
        outcome = verdict.outcome
        if outcome is _ALLOWED:
            row.allowed += 1
        elif outcome is _REFUSED or outcome is _DIVERTED:
            row.refused += 1
        else:
            row.monitored += 1
        return attempt, judgement.callee

    def has_room(self, customer: Customer, now: Monotonic) -> bool:
        """Whether the customer may have one more call now, by its own limits and whatever its mode."""
        active = self._calls.active_of(customer.id)
        if self.limiter.shared is not None:
            active += self.limiter.shared.others(("customer", customer.id, 0))
        return self.limiter.has_room(customer.id, customer.limits, active, now)

    def _note_spoof(self, facts: CallFacts, per_asn: AsnLimits, now: Monotonic) -> None:
        shared = self.limiter.shared
        if shared is None:
            self.limiter.note_spoof(facts, per_asn, now)
        else:
            with shared:
                self.limiter.note_spoof(facts, per_asn, now)

    def _hold_to_limits(
        self, snapshot: Snapshot, judgement: Judgement, customer: Customer, now: Monotonic
    ) -> tuple[Key, ...]:
        """Refuse what passes a limit (monitor mode: only say so); what the call counts as while it is up."""
        facts, verdict = judgement.facts, judgement.verdict
        called = _called_number(judgement, customer) if customer.limits.has_details else None
        active = 0 if customer.limits.concurrent_calls is None else self._calls.active_of(customer.id)
        book = snapshot.rulebook
        is_monitored = book.mode_for(customer, facts.source.origin.trunk) is _MONITOR
        # What passes only since nothing is enforced counts while it is up, but enforced it would have used up nothing.
        is_charged = not is_monitored or verdict.outcome is not Outcome.MONITORED
        shared = self.limiter.shared
        if shared is None:
            admission = self.limiter.admit(facts, customer, called, active, book.per_asn, now, charges_it=is_charged)
        else:
            with shared:
                own_key = ("customer", customer.id, 0)
                total = active + shared.others(own_key)
                admission = self.limiter.admit(facts, customer, called, total, book.per_asn, now, charges_it=is_charged)
                if admission.excess is None and facts.method == "INVITE":  # nothing else is a call that is up
                    if customer.limits.concurrent_calls is not None:
                        shared.hold(own_key, active + 1)
                    for key in admission.holds:
                        shared.hold(key, self._calls.held.get(key, 0) + 1)
        excess = admission.excess
        if excess is None:
            return admission.holds
        is_monitored = is_monitored or book.rollout.mode_of(excess.reason, facts) is not RuleMode.ENFORCE
        if is_monitored and verdict.outcome is not Outcome.ALLOWED:
            return admission.holds  # what it would have been refused for stands
        verdict.reason = excess.reason
        verdict.rule = "within_limits"
        verdict.text = excess.text
        if is_monitored:
            verdict.outcome = Outcome.MONITORED
            return admission.holds
        verdict.outcome = Outcome.REFUSED
        verdict.status = STATUS_OF[excess.reason]
        verdict.refusal = None
        verdict.retry_after_s = excess.retry_after_s
        return ()


def _called_number(judgement: Judgement, customer: Customer) -> E164 | None:
    """Who is called, by the customer's dial plan where that was not worked out for the verdict."""
    dialled = judgement.facts.dialled
    if dialled is not None:
        others = judgement.facts.may_reach
        return others[0] if dialled.number is None and others else dialled.number
    return judgement.called or read_number(judgement.facts.request_uri.user, customer.plan).number


def _without_evidence(verdict: Verdict) -> Verdict:
    verdict.outcome = Outcome.REFUSED
    verdict.reason = Reason.EVIDENCE_UNAVAILABLE
    verdict.status = STATUS_OF[Reason.EVIDENCE_UNAVAILABLE]
    verdict.refusal = None
    verdict.rule = "evidence_available"
    verdict.text = "no room to record the attempt"
    return verdict
