"""From the record of a call to its line in the log: one JSON object, as structlog's lines are, made without it.

Text that came from a peer is cut, and its control characters are escaped by the JSON encoding. The line of a call is
written into a layout, as its record is (evidence/recorder.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import msgspec

from edge_proxy.pipeline.record_text import layout
from edge_proxy.pipeline.records import Admitted, Attempt, Ending, Record
from edge_proxy.policy.verdict import Outcome
from edge_proxy.telemetry.log_sink import sink

_PEER_TEXT_MAX: Final = 128
_ALLOWED: Final = Outcome.ALLOWED

# Each line is written whole: what else is logged at the same time comes before or after it.
_REFUSED: Final = layout(b'{%b,"event":"call refused","level":"info","timestamp":"%t"}\n')
_ENDED: Final = layout(
    b'{%b,"cause":%s,"ended_by":%s,"final_status":%d,"setup_s":%m,"duration_s":%m,"pdd_s":%m,"q850":%d'
    b',"event":"call ended","level":"info","timestamp":"%t"}\n'
)
_ATTEMPT_FIELDS: Final = layout(
    b'"id":"%x","method":%s,"call_id":%s,"from_side":%s,"source":"%a","asn":%d,"customer":%s,"verdict":%s,"status":%d'
    b',"reason":%s,"rule":%s,"text":%s,"ip_origin":%s'
)
_ENDING_FIELDS: Final = layout(b'"id":"%x","customer":%s,"call_id":%s')
_TIME: Final = layout(b"%t")

_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode


def serialize(event: dict[str, object], **_: object) -> bytes:
    """One JSON object; what JSON has no word for is told as text."""
    try:
        return _encode(event)
    except ValueError:  # text that is no UTF-8: a log line never raises
        return _encode({key: _clean(value) for key, value in event.items()})


def _clean(value: object) -> str:
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "backslashreplace").decode()


def line_time() -> bytes:
    """The time now, in UTC with microseconds, as text."""
    return _TIME(time.time())


class CallLog:
    """Writes the canonical line of each call. `which` is "all", "refused" (and would-be refused) or "none".

    It goes to where structlog's lines go and looks like one of them: its chain of steps costs too much for every call.
    """

    def __init__(self, which: str) -> None:
        self._all = which == "all"
        self._refused = which in {"all", "refused"}

    def tell(self, records: Iterable[Record]) -> None:
        """What is over: attempts that were refused, and endings."""
        for record in records:
            if not isinstance(record, Attempt):
                self.ended(record)
            elif not record.verdict.passes:
                self.refused(record)

    def refused(self, attempt: Attempt) -> None:
        """An attempt that went no further than us."""
        if self._refused:
            sink.write(_REFUSED(_attempt_fields(Admitted(attempt)), time.time()))

    def ended(self, ending: Ending) -> None:
        """A call that was let through is over."""
        attempt = ending.attempt
        if not (self._all or (self._refused and attempt is not None and attempt.outcome is not _ALLOWED)):
            return
        sink.write(
            _ENDED(
                _ending_fields(ending) if attempt is None else _attempt_fields(attempt),
                ending.cause,
                ending.ended_by,
                ending.status,
                ending.setup_s,
                ending.duration_s,
                ending.pdd_s,
                ending.q850,
                time.time(),
            )
        )


def _attempt_fields(attempt: Admitted) -> bytes:
    return _ATTEMPT_FIELDS(
        attempt.evidence_id,
        attempt.method[:32],
        attempt.call_id[:_PEER_TEXT_MAX],
        attempt.caller_side,
        attempt.source,
        attempt.asn,
        attempt.customer,
        attempt.outcome,
        attempt.status,
        attempt.reason,
        attempt.rule,
        attempt.text[:_PEER_TEXT_MAX],
        attempt.ip_origin,
    )


def _ending_fields(ending: Ending) -> bytes:
    """Where nothing is known of its attempt."""
    return _ENDING_FIELDS(ending.evidence_id, ending.customer, ending.call_id[:_PEER_TEXT_MAX])
