"""Put the pipeline's records into the journal: the last step before a message leaves.

What returns from `keep` would survive a crash of the process. A record that found no room is counted by the journal.

The bytes are those that encoding an `AttemptRecord` or `EndRecord` (record.py) gives, with its bounds, written field by
field: to build the object first would cost as much again. tests/unit/evidence/test_recorder.py holds both together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from edge_proxy.addr import E164, Wall
from edge_proxy.evidence.record import MAX_ASSERTED, MAX_SIGNALS, MAX_TEXT_CHARS, bound_text, left_out
from edge_proxy.pipeline.record_text import quote, quote_word, write_address, write_decimal, write_fraction
from edge_proxy.pipeline.records import Attempt, Ending, Record, show_id
from edge_proxy.policy.claims import Claim
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.verdict import Outcome, Signal

_MOST_CHARS: Final = MAX_TEXT_CHARS
_MAX_SAID: Final = 1024
_MONITORED: Final = Outcome.MONITORED


class _Said:
    """The fields before and behind the signals of an attempt."""

    __slots__ = ("after", "before")

    def __init__(self, attempt: Attempt, identity: str) -> None:
        verdict = attempt.verdict
        self.before = b'"outcome":%b,"status":%d,"reason":%b,"rule":%b,"ip_origin":%b' % (
            quote_word(verdict.outcome),
            verdict.status,
            quote_word(verdict.reason),
            _word(verdict.rule),
            quote_word(verdict.ip_origin),
        )
        self.after = b'"proof":%b%b,"mode":%b%b,"snapshot":%b%b' % (
            quote_word(verdict.proof),
            b',"identity":%b' % _text(identity) if identity else b"",
            quote_word(attempt.mode),
            b',"would_block":true' if verdict.outcome is _MONITORED else b"",
            _word(attempt.snapshot),
            b',"emergency":true' if verdict.is_emergency else b"",
        )


class Recorder:
    """Writes the records of one worker of one node; `put` takes each, as one JSON object on one line."""

    __slots__ = ("_put", "_said", "_second", "_second_text", "_writer")

    def __init__(self, put: Callable[[bytes], bool], node: str, worker: int) -> None:
        self._put = put
        self._said: dict[tuple[str, str, int, str, str, str, str, str, str, bool], _Said] = {}
        self._writer = b'"node":%b,"worker":%d' % (_text(node), worker)
        self._second = -1
        self._second_text = b""

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
        from_text = _text(claim.text)
        caller_claims = facts.caller_claims
        signals = verdict.signals
        said = self._said_of(attempt, origin.identity)
        return (
            b'{"kind":"attempt","id":"%b","at":"%b",%b,"side":%b,"transport":%b,"source":"%b","asn":%d%b%b'
            b',"method":%b,"call_id":%b,"cseq":%d,"from_uri":%b%b%b%b,"request_uri":%b%b%b'
            b",%b%b,%b}"
            % (
                show_id(attempt.evidence_id).encode("ascii"),
                self._time(attempt.at),
                self._writer,
                quote_word(origin.side),
                quote_word(source.transport),
                write_address(source.address),
                origin.asn,
                _customer(attempt.customer),
                b"" if trunk is None else b',"trunk":%b' % _word(trunk.id),
                _word(facts.method),
                _text(facts.call_id),
                facts.cseq,
                from_text,
                _number(b"from", claim.number),
                _asserted(facts.asserted, claim, from_text) if facts.asserted else b"",
                _claimed(facts) if len(caller_claims) > len(facts.asserted) else b"",
                _text(facts.request_uri_text),
                _number(b"called", attempt.called_number),
                b',"user_agent":%b' % _text(facts.user_agent) if facts.user_agent else b"",
                said.before,
                _signals(signals) if signals else b"",
                said.after,
            )
        )

    def _said_of(self, attempt: Attempt, identity: str) -> _Said:
        """What is the same for most calls, around the signals: remembered, for a bounded number."""
        verdict = attempt.verdict
        key = (
            verdict.outcome, verdict.reason, verdict.status, verdict.rule, verdict.ip_origin, verdict.proof,
            identity, attempt.mode, attempt.snapshot, verdict.is_emergency,
        )  # fmt: skip
        said = self._said.get(key)
        if said is None:
            if len(self._said) >= _MAX_SAID:
                self._said.clear()
            said = self._said[key] = _Said(attempt, identity)
        return said

    def _end(self, ending: Ending) -> bytes:
        q850 = ending.q850
        return (
            b'{"kind":"end","id":"%b","at":"%b",%b,"call_id":%b%b,"direction":%b,"cause":%b,"ended_by":%b,"status":%d'
            b"%b%b%b%b}"
            % (
                show_id(ending.evidence_id).encode("ascii"),
                self._time(ending.at),
                self._writer,
                _text(ending.call_id),
                _customer(ending.customer),
                quote_word(ending.caller_side),
                quote_word(ending.cause),
                quote_word(ending.ended_by),
                ending.status,
                _seconds(b"setup", ending.setup_s),
                _seconds(b"duration", ending.duration_s),
                _seconds(b"pdd", ending.pdd_s),
                b"" if q850 is None else b',"q850":%d' % q850,
            )
        )

    def _time(self, at: Wall) -> bytes:
        """RFC 3339 with microseconds; the part up to the second is made once a second.

        Not by `datetime`: each time that an aware one is formatted, CPython's method cache keeps one more small string,
        and these keep the memory of a burst of calls from going back to the system.
        """
        second = int(at)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode("ascii")
        return b"%b.%bZ" % (self._second_text, write_fraction(int((at - second) * 1_000_000)))


def _text(text: str) -> bytes:
    return quote(text if len(text) <= _MOST_CHARS else bound_text(text))


def _word(text: str) -> bytes:
    """Of a text of which few different ones are expected."""
    return quote_word(text if len(text) <= _MOST_CHARS else bound_text(text))


def _customer(customer: str) -> bytes:
    return b',"customer":%b' % _word(customer) if customer else b""


def _number(whose: bytes, number: E164 | None) -> bytes:
    return b"" if number is None else b',"%b_number":"+%d"' % (whose, number)


def _seconds(what: bytes, value_s: float | None) -> bytes:
    return b"" if value_s is None else b',"%b_s":%b' % (what, write_decimal(value_s, 6))


def _asserted(claims: tuple[Claim, ...], caller: Claim, from_text: bytes) -> bytes:
    if len(claims) == 1:
        text = claims[0].text
        return b',"asserted":[%b]' % (from_text if text is caller.text else _text(text))
    return b',"asserted":%b' % _list([claim.text for claim in claims], MAX_ASSERTED)


def _claimed(facts: CallFacts) -> bytes:
    others = facts.caller_claims[len(facts.asserted) :]
    return b',"claimed":%b' % _list([f"{claim.header} {claim.text}" for claim in others], MAX_ASSERTED)


def _signals(signals: tuple[Signal, ...]) -> bytes:
    if len(signals) > MAX_SIGNALS:
        return b',"signals":%b' % _list([str(signal) for signal in signals], MAX_SIGNALS)
    return b',"signals":[%b]' % b",".join([_word(str(signal)) for signal in signals])


def _list(entries: list[str], limit: int) -> bytes:
    if len(entries) > limit:
        entries = [*entries[: limit - 1], left_out(len(entries) - limit + 1)]
    return b"[%b]" % b",".join([_text(entry) for entry in entries])
