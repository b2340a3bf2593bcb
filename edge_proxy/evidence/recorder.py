"""Put the pipeline's records into the journal: the last step before a message leaves.

What returns from `keep` would survive a crash of the process. A record that found no room is counted by the journal.

The bytes are those that encoding an `AttemptRecord` or `EndRecord` (record.py) gives, with its bounds, but written into
a layout: to build the object first would cost more than all else. tests/unit/evidence/test_recorder.py holds both
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from edge_proxy.evidence.record import MAX_ASSERTED, MAX_SIGNALS
from edge_proxy.pipeline.record_text import layout, left_out, quote
from edge_proxy.pipeline.records import Attempt, Ending, Record
from edge_proxy.policy.claims import Claim
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.verdict import Outcome, Signal

_MOST_ASSERTED: Final = MAX_ASSERTED
_MOST_SIGNALS: Final = MAX_SIGNALS
_MONITORED: Final = Outcome.MONITORED
_ATTEMPT: Final = layout(
    b'{"kind":"attempt","id":"%x","at":"%t",%b,"side":%s,"transport":%s,"source":"%a","asn":%d<,"customer":%s>'
    b'<,"trunk":%s>,"method":%s,"call_id":%s,"cseq":%d,"from_uri":%s<,"from_number":"+%d"><,"asserted":[%l]>'
    b'<,"claimed":[%l]>,"request_uri":%s<,"called_number":"+%d"><,"user_agent":%s>,"outcome":%s,"status":%d'
    b',"reason":%s,"rule":%s,"ip_origin":%s<,"signals":[%w]>%b,"proof":%s<,"identity":%s>,"mode":%s%b,"snapshot":%s%b}'
)
_END: Final = layout(
    b'{"kind":"end","id":"%x","at":"%t",%b,"call_id":%s<,"customer":%s>,"direction":%s,"cause":%s,"ended_by":%s'
    b',"status":%d<,"setup_s":%f><,"duration_s":%f><,"pdd_s":%f><,"q850":%d>}'
)


class Recorder:
    """Writes the records of one worker of one node; `put` takes each, as one JSON object on one line."""

    __slots__ = ("_put", "_writer")

    def __init__(self, put: Callable[[bytes], bool], node: str, worker: int) -> None:
        self._put = put
        self._writer = b'"node":%b,"worker":%d' % (quote(node), worker)

    def keep(self, records: Iterable[Record]) -> None:
        """Record each, in order."""
        for record in records:
            self._put(self._attempt(record) if isinstance(record, Attempt) else self._end(record))

    def _attempt(self, attempt: Attempt) -> bytes:
        facts, verdict = attempt.facts, attempt.verdict
        source = facts.source
        origin = source.origin
        trunk = origin.trunk
        claim = facts.from_claim
        caller_claims = facts.caller_claims
        signals = verdict.signals
        return _ATTEMPT(
            attempt.evidence_id,
            attempt.at,
            self._writer,
            origin.side,
            source.transport,
            source.address,
            origin.asn,
            attempt.customer,
            None if trunk is None else trunk.id,
            facts.method,
            facts.call_id,
            facts.cseq,
            claim.text,
            claim.number,
            _asserted(facts.asserted) if facts.asserted else None,
            _claimed(facts) if len(caller_claims) > len(facts.asserted) else None,
            facts.request_uri_text,
            attempt.called_number,
            facts.user_agent,
            verdict.outcome,
            verdict.status,
            verdict.reason,
            verdict.rule,
            verdict.ip_origin,
            signals if len(signals) <= _MOST_SIGNALS else None,
            _signals(signals) if len(signals) > _MOST_SIGNALS else b"",
            verdict.proof,
            origin.identity,
            attempt.mode,
            b',"would_block":true' if verdict.outcome is _MONITORED else b"",
            attempt.snapshot,
            b',"emergency":true' if verdict.is_emergency else b"",
        )

    def _end(self, ending: Ending) -> bytes:
        return _END(
            ending.evidence_id,
            ending.at,
            self._writer,
            ending.call_id,
            ending.customer,
            ending.caller_side,
            ending.cause,
            ending.ended_by,
            ending.status,
            ending.setup_s,
            ending.duration_s,
            ending.pdd_s,
            ending.q850,
        )


def _asserted(claims: tuple[Claim, ...]) -> list[str]:
    return _bounded([claim.text for claim in claims], _MOST_ASSERTED)


def _claimed(facts: CallFacts) -> list[str]:
    others = facts.caller_claims[len(facts.asserted) :]
    return _bounded([f"{claim.header} {claim.text}" for claim in others], _MOST_ASSERTED)


def _signals(signals: tuple[Signal, ...]) -> bytes:
    """The field, of more than a record holds."""
    told = _bounded([str(signal) for signal in signals], _MOST_SIGNALS)
    return b',"signals":[%b]' % b",".join([quote(one) for one in told])


def _bounded(entries: list[str], limit: int) -> list[str]:
    if len(entries) > limit:
        return [*entries[: limit - 1], left_out(len(entries) - limit + 1)]
    return entries
