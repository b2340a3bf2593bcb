"""Put the pipeline's records into the journal: the last step before a message leaves.

What returns from `keep` would survive a crash of the process. A record that found no room is counted by the journal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from edge_proxy.addr import Wall
from edge_proxy.evidence.journal import Journal
from edge_proxy.evidence.record import AttemptRecord, EndRecord, encode
from edge_proxy.numbers.e164 import format_e164
from edge_proxy.pipeline.records import Attempt, Ending, Record, show_id
from edge_proxy.policy.verdict import Outcome


class Recorder:
    """Writes the records of one worker of one node."""

    __slots__ = ("_journal", "_node", "_second", "_second_text", "_worker")

    def __init__(self, journal: Journal, node: str, worker: int) -> None:
        self._journal = journal
        self._node = node
        self._worker = worker
        self._second = -1
        self._second_text = ""

    def keep(self, records: Iterable[Record]) -> None:
        """Record each, in order."""
        for record in records:
            built = self._attempt(record) if isinstance(record, Attempt) else self._end(record)
            self._journal.put(encode(built))

    def _attempt(self, attempt: Attempt) -> AttemptRecord:
        facts, verdict = attempt.facts, attempt.verdict
        source = facts.source
        origin = source.origin
        number = facts.from_claim.number
        called = attempt.called_number
        would_block = verdict.outcome is Outcome.MONITORED
        return AttemptRecord(
            id=show_id(attempt.evidence_id),
            at=self._time(attempt.at),
            node=self._node,
            worker=self._worker,
            side=origin.side,
            transport=source.transport,
            source=str(source.address),
            asn=origin.asn,
            customer=attempt.customer or None,
            trunk=None if origin.trunk is None else origin.trunk.id,
            method=facts.method,
            call_id=facts.call_id,
            cseq=facts.cseq,
            from_uri=facts.from_claim.text,
            from_number=None if number is None else format_e164(number),
            asserted=[claim.text for claim in facts.asserted],
            claimed=[f"{claim.header} {claim.text}" for claim in facts.caller_claims[len(facts.asserted) :]],
            request_uri=facts.request_uri_text,
            called_number=None if called is None else format_e164(called),
            user_agent=facts.user_agent,
            outcome=verdict.outcome,
            status=verdict.status,
            reason=verdict.reason,
            rule=verdict.rule,
            ip_origin=verdict.ip_origin,
            signals=[str(signal) for signal in verdict.signals],
            proof=verdict.proof,
            identity=origin.identity or None,
            mode=attempt.mode,
            would_block=would_block,
            snapshot=attempt.snapshot,
            emergency=verdict.is_emergency,
        )

    def _end(self, ending: Ending) -> EndRecord:
        return EndRecord(
            id=show_id(ending.evidence_id),
            at=self._time(ending.at),
            node=self._node,
            worker=self._worker,
            call_id=ending.call_id,
            customer=ending.customer or None,
            direction=ending.caller_side,
            cause=ending.cause,
            ended_by=ending.ended_by,
            status=ending.status,
            setup_s=None if ending.setup_s is None else round(ending.setup_s, 6),
            duration_s=None if ending.duration_s is None else round(ending.duration_s, 6),
            pdd_s=None if ending.pdd_s is None else round(ending.pdd_s, 6),
            q850=ending.q850,
        )

    def _time(self, at: Wall) -> str:
        """RFC 3339 with microseconds; the part up to the second is made once a second.

        Not by `datetime`: each time that an aware one is formatted, CPython's method cache keeps one more small string,
        and these keep the memory of a burst of calls from going back to the system.
        """
        second = int(at)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return "%s.%06dZ" % (self._second_text, int((at - second) * 1_000_000))  # noqa: UP031 - faster when compiled
