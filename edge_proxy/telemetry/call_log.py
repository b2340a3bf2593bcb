"""From the record of a call to its line in the log: one JSON object, as structlog's lines are, made without it.

Text that came from a peer is cut, and its control characters are escaped by the JSON encoding. The line of a call is
written field by field, as its record is (evidence/recorder.py).
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from edge_proxy.pipeline.record_text import quote, quote_word, write_address, write_decimal, write_fraction
from edge_proxy.pipeline.records import Attempt, Ending, show_id
from edge_proxy.policy.verdict import Outcome
from edge_proxy.telemetry.log_sink import sink

_PEER_TEXT_MAX: Final = 128
_ALLOWED: Final = Outcome.ALLOWED

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
        self._made: tuple[int, bytes] = (-1, b"")

    def now(self) -> bytes:
        at = time.time_ns() // 1000
        second = at // 1_000_000
        made = self._made  # one object, since other threads log too
        if made[0] != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode("ascii")
            made = self._made = (second, text)
        return b"%b.%bZ" % (made[1], write_fraction(at - second * 1_000_000))


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
            _write(_attempt_fields(attempt), b"call refused")

    def ended(self, ending: Ending) -> None:
        """A call that was let through is over."""
        attempt = ending.attempt
        if not (self._all or (self._refused and attempt is not None and attempt.verdict.outcome is not _ALLOWED)):
            return
        if attempt is not None:
            fields = _attempt_fields(attempt)
        else:
            fields = b'"id":"%b","customer":%b,"call_id":%b' % (
                show_id(ending.evidence_id).encode("ascii"),
                quote_word(ending.customer),
                quote(ending.call_id[:_PEER_TEXT_MAX]),
            )
        q850 = ending.q850
        _write(
            b'%b,"cause":%b,"ended_by":%b,"final_status":%d,"setup_s":%b,"duration_s":%b,"pdd_s":%b,"q850":%b'
            % (
                fields,
                quote_word(ending.cause),
                quote_word(ending.ended_by),
                ending.status,
                _round(ending.setup_s),
                _round(ending.duration_s),
                _round(ending.pdd_s),
                b"null" if q850 is None else b"%d" % q850,
            ),
            b"call ended",
        )


def _write(fields: bytes, event: bytes) -> None:
    """One line, whole: what else is logged at the same time comes before or after it."""
    sink.write(b'{%b,"event":"%b","level":"info","timestamp":"%b"}\n' % (fields, event, clock.now()))


def _attempt_fields(attempt: Attempt) -> bytes:
    facts, verdict = attempt.facts, attempt.verdict
    source = facts.source
    origin = source.origin
    text = verdict.text[:_PEER_TEXT_MAX]
    return (
        b'"id":"%b","method":%b,"call_id":%b,"from_side":%b,"source":"%b","asn":%d,"customer":%b'
        b',"verdict":%b,"status":%d,"reason":%b,"rule":%b,"text":%b,"ip_origin":%b'
        % (
            show_id(attempt.evidence_id).encode("ascii"),
            quote_word(facts.method[:32]),
            quote(facts.call_id[:_PEER_TEXT_MAX]),
            quote_word(origin.side),
            write_address(source.address),
            origin.asn,
            quote_word(attempt.customer),
            quote_word(verdict.outcome),
            verdict.status,
            quote_word(verdict.reason),
            quote_word(verdict.rule),
            # Of a call that nothing speaks against it is the same words again and again.
            quote_word(text) if verdict.outcome is _ALLOWED else quote(text),
            quote_word(verdict.ip_origin),
        )
    )


def _round(value_s: float | None) -> bytes:
    return b"null" if value_s is None else write_decimal(value_s, 3)
