"""From the record of a call to its line in the log: one JSON object, as structlog's lines are, made without it.

Text that came from a peer is cut, and its control characters are escaped by the JSON encoding.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from edge_proxy.pipeline.records import Attempt, Ending, show_id
from edge_proxy.policy.verdict import Outcome
from edge_proxy.telemetry.log_sink import sink

_PEER_TEXT_MAX: Final = 128

_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode


def serialize(event: dict[str, object], **_: object) -> bytes:
    """One JSON object; what JSON has no word for is told as text."""
    try:
        return _encode(event)
    except ValueError:  # text that is no UTF-8: a log line never raises
        return _encode({key: _clean(value) for key, value in event.items()})


def _clean(value: object) -> str:
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "backslashreplace").decode()


class LineClock:
    """The time in UTC with microseconds, as text; the part up to the second is made once a second.

    Without `datetime`, for the reason that evidence/recorder.py gives.
    """

    def __init__(self) -> None:
        self._made = (-1, "")

    def now(self) -> str:
        second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        made = self._made  # one object, since other threads log too
        if made[0] != second:
            made = self._made = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return "%s.%06dZ" % (made[1], microseconds)  # noqa: UP031 - as in evidence/recorder.py


clock = LineClock()


class CallLog:
    """Writes the canonical line of each call. `which` is "all", "refused" (and would-be refused) or "none".

    It goes to where structlog's lines go and looks like one of them: its chain of steps costs too much for every call.
    """

    def __init__(self, which: str) -> None:
        self._all = which == "all"
        self._refused = which in {"all", "refused"}

    def refused(self, attempt: Attempt) -> None:
        """An attempt that went no further than us."""
        if self._refused:
            _write("call refused", _attempt_fields(attempt))

    def ended(self, ending: Ending) -> None:
        """A call that was let through is over."""
        attempt = ending.attempt
        has_reason = attempt is not None and attempt.verdict.outcome is not Outcome.ALLOWED
        if not (self._all or (self._refused and has_reason)):
            return
        if attempt is None:
            fields: dict[str, object] = {
                "id": show_id(ending.evidence_id),
                "customer": ending.customer,
                "call_id": ending.call_id[:_PEER_TEXT_MAX],
            }
        else:
            fields = _attempt_fields(attempt)
        fields["cause"] = ending.cause
        fields["ended_by"] = ending.ended_by
        fields["final_status"] = ending.status
        fields["setup_s"] = _round(ending.setup_s)
        fields["duration_s"] = _round(ending.duration_s)
        fields["pdd_s"] = _round(ending.pdd_s)
        fields["q850"] = ending.q850
        _write("call ended", fields)


def _write(event: str, fields: dict[str, object]) -> None:
    """One line, whole: what else is logged at the same time comes before or after it."""
    fields["event"] = event
    fields["level"] = "info"
    fields["timestamp"] = clock.now()
    sink.write(serialize(fields) + b"\n")


def _attempt_fields(attempt: Attempt) -> dict[str, object]:
    facts, verdict = attempt.facts, attempt.verdict
    origin = facts.source.origin
    return {
        "id": show_id(attempt.evidence_id),
        "method": facts.method[:32],
        "call_id": facts.call_id[:_PEER_TEXT_MAX],
        "from_side": origin.side,
        "source": str(facts.source.address),
        "asn": origin.asn,
        "customer": attempt.customer,
        "verdict": verdict.outcome,
        "status": verdict.status,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "text": verdict.text[:_PEER_TEXT_MAX],
        "ip_origin": verdict.ip_origin,
    }


def _round(value_s: float | None) -> float | None:
    return None if value_s is None else round(value_s, 3)
