"""structlog set up once: JSON lines on stderr, one for each finished or refused call, none for a datagram.

Text that came from a peer is cut and its control characters escaped by the JSON encoding. A warning that repeats is
let through a few times a second and the rest is counted, so that an attacker does not write our log.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import EventDict

from edge_proxy.pipeline.records import Attempt, Ending, show_id
from edge_proxy.policy.verdict import Outcome

_PEER_TEXT_MAX: Final = 128
_BURST: Final = 10

_encoder = msgspec.json.Encoder(enc_hook=repr)


def _serialize(event: dict[str, Any], **_: Any) -> bytes:
    try:
        return _encoder.encode(event)
    except ValueError:  # text that is no UTF-8: a log line never raises
        return _encoder.encode({key: _clean(value) for key, value in event.items()})


def _clean(value: object) -> str:
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "backslashreplace").decode()


class _Clock:
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
        return f"{made[1]}.{microseconds:06d}Z"


_clock = _Clock()


def _stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = _clock.now()
    return event


def set_up_logs() -> None:
    """Configure structlog for the process: JSON to stderr, UTC time stamps."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


class CallLog:
    """Writes the canonical line of each call. `which` is "all", "refused" (and would-be refused) or "none".

    It goes to where structlog's lines go, looks like one of them, and is made without structlog: a line per call is
    what structlog's chain of steps costs too much for.
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
    fields["timestamp"] = _clock.now()
    line = _serialize(fields) + b"\n"
    with suppress(OSError):  # a log that nobody takes any more stops no call
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()


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


class BurstLimit:
    """Lets `_BURST` of a kind of warning through each second; the rest is only counted."""

    def __init__(self) -> None:
        self._second = 0
        self._seen = 0
        self.suppressed = 0

    def allows(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._seen = 0
        self._seen += 1
        if self._seen > _BURST:
            self.suppressed += 1
            return False
        return True
