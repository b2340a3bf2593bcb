"""`edge-proxy diff --journal`: which recorded attempts a new configuration would have judged otherwise.

A record is no message: it holds who sent, whom the request claims to be from and whom it calls, but no body and none of
the headers that tell of forwarding, privacy or where a call began. So each attempt is judged by the present
configuration first, and counts only where that comes to what the record says; how many do not is told, with the
reasons that were recorded. What those records lack, and what limits would say, no diff of a journal can show.
"""

from __future__ import annotations

import json
import sys
from base64 import urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edge_proxy.addr import Side, Transport
from edge_proxy.cli.diff import DiffError
from edge_proxy.cli.diff_numbers import compile_with
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import load_settings
from edge_proxy.config.endpoints import parse_source
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.evidence.reading import attempt_lines
from edge_proxy.evidence.record import UNREADABLE, AttemptRecord
from edge_proxy.pipeline.judgement import judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.access import Proof
from edge_proxy.policy.parties import Origin, Source
from edge_proxy.policy.verdict import Verdict
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri

_CUT: Final = "…(+"
_SHOWN: Final = {Proof.DIGEST, Proof.TLS_MUTUAL}
_MAX_REMEMBERED: Final = 100_000

_decode = msgspec.json.Decoder(AttemptRecord).decode


class _Turn(NamedTuple):
    """One way in which verdicts change."""

    customer: str
    before: str
    after: str


@dataclass(slots=True)
class _Found:
    """How many attempts change in one way, and the first of them."""

    attempts: int
    evidence_id: str
    text: str


class _Comparison:
    """Judges records by two snapshots; of those that are alike only the first."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        self._before = before
        self._after = after
        self._remembered: dict[tuple[object, ...], tuple[Verdict, Verdict] | None] = {}
        self.judged = 0
        self.left_out: Counter[str] = Counter()
        self.turns: dict[_Turn, _Found] = {}

    def add(self, record: AttemptRecord) -> None:
        host = record.source.rpartition(":")[0]
        key = (
            *(record.side, host, record.customer, record.proof, record.transport, record.method, record.from_uri),
            *(tuple(record.asserted), tuple(record.claimed), record.request_uri, record.user_agent),
            *(record.outcome, record.reason, record.status),
        )
        if key not in self._remembered:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = self._judge(record)
        judged = self._remembered[key]
        if judged is None:
            self.left_out[record.reason] += 1
            return
        self.judged += 1
        one, other = judged
        if (one.outcome, one.status, one.reason) != (other.outcome, other.status, other.reason):
            turn = _Turn(record.customer or "", _shown(one), _shown(other))
            found = self.turns.setdefault(turn, _Found(0, record.id, other.text))
            found.attempts += 1

    def _judge(self, record: AttemptRecord) -> tuple[Verdict, Verdict] | None:
        """What both configurations say of it; None: the record is too little to go by."""
        data = _as_request(record)
        before = None if data is None else _verdict(self._before, record, data)
        if data is None or before is None:
            return None
        if (before.outcome, before.status, before.reason) != (record.outcome, record.status, record.reason):
            return None
        after = _verdict(self._after, record, data)
        return None if after is None else (before, after)


def diff_journal(old: Path, new: Path, since: date | None, numbers: Path | None = None, *, as_json: bool) -> bool:
    """Print what changes, by customer; whether anything does. Raises DiffError when there is nothing to judge."""
    settings = load_settings(old)
    before, after = compile_snapshot(settings), compile_with(new, numbers)
    comparison = _Comparison(before, after)
    first = "" if since is None else since.isoformat()
    unread = 0
    for line in attempt_lines(settings.data_dir, since):
        try:
            record = _decode(line)
        except UNREADABLE:
            unread += 1
            continue
        if record.at >= first:
            comparison.add(record)
    if unread:
        print(f"{unread} lines are no records; `edge-proxy evidence verify` names them", file=sys.stderr)
    if not comparison.judged and not comparison.left_out:
        raise DiffError(f"there is no attempt to judge in the journal of {settings.data_dir}")
    if as_json:
        _print_json(comparison, before, after)
    else:
        _print(comparison, before, after)
    return bool(comparison.turns)


def _as_request(record: AttemptRecord) -> bytes | None:
    """A request that claims what the record says; None when the record was cut, or holds what no header can."""
    texts = [record.from_uri, record.request_uri, record.user_agent, record.call_id, *record.asserted, *record.claimed]
    if any(_CUT in text or not text.isprintable() for text in texts):
        return None
    lines = [
        f"{record.method} {record.request_uri} SIP/2.0",
        f"Via: SIP/2.0/{record.transport.upper()} {record.source};branch=z9hG4bKjournal",
        "Max-Forwards: 70",
        f"From: <{record.from_uri}>;tag=journal",
        f"To: <{record.request_uri}>",
        f"Call-ID: {record.call_id}",
        f"CSeq: {record.cseq} {record.method}",
        *(f"P-Asserted-Identity: <{text}>" for text in record.asserted),
        *(_claim_line(*text.partition(" ")[::2]) for text in record.claimed),
        *([f"User-Agent: {record.user_agent}"] if record.user_agent else []),
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


def _claim_line(header: str, text: str) -> str:
    if header != "Identity":
        return f"{header}: <{text}>"
    orig = {"tn": text.removeprefix("+")} if text.startswith("+") else {"uri": text}
    head, claims = (
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"typ": "passport"}, {"orig": orig})
    )
    return f"Identity: {head}.{claims}.journal;info=<https://journal.invalid>"


def _verdict(snapshot: Snapshot, record: AttemptRecord, data: bytes) -> Verdict | None:
    try:
        transport, address = parse_source(f"{record.transport}:{record.source}")
        message = parse_message(data, snapshot.limits)
        source = Source(_origin(snapshot, record, address.host), address, Transport(transport))
        return judge(snapshot, message, parse_uri(message.uri), source).verdict
    except (RemoteProtocolError, ValueError):
        return None


def _origin(snapshot: Snapshot, record: AttemptRecord, host: str) -> Origin:
    """Who sent it: by its address, or as the record says where a password, a certificate or a mark told."""
    origin = snapshot.origin_of(host, Side(record.side))
    if record.side != Side.CUSTOMERS or record.customer is None:
        return origin
    proof = Proof(record.proof)
    known = origin.customer is not None and origin.customer.id == record.customer
    if proof in _SHOWN or (origin.candidates and not known):
        customer = next((one for one in snapshot.customers if one.id == record.customer), None)
        shown = proof if proof in _SHOWN and customer is not None else Proof.NONE
        origin = replace(origin, customer=customer, candidates=(), shown=shown, identity=record.identity or "")
    return origin


def _shown(verdict: Verdict) -> str:
    status = f" {verdict.status}" if verdict.status else ""
    return f"{verdict.outcome}{status} ({verdict.reason})"


def _print(comparison: _Comparison, before: Snapshot, after: Snapshot) -> None:
    for turn, found in sorted(comparison.turns.items(), key=lambda item: -item[1].attempts):
        who = turn.customer or "nobody's"
        print(f"{found.attempts} x {who}: {turn.before} -> {turn.after}: such as {found.evidence_id}: {found.text}")
    changed = sum(found.attempts for found in comparison.turns.values())
    total = comparison.judged + comparison.left_out.total()
    print(
        f"{changed} of {comparison.judged} verdicts change from snapshot {before.version} to {after.version}; "
        f"{comparison.left_out.total()} of {total} attempts are left out, since their records hold too little"
    )
    for reason, count in comparison.left_out.most_common():
        print(f"  left out: {count} {reason}")


def _print_json(comparison: _Comparison, before: Snapshot, after: Snapshot) -> None:
    said = {
        "judged": comparison.judged,
        "left_out": dict(comparison.left_out),
        "changed": [
            {
                "customer": turn.customer or None,
                "before": turn.before,
                "after": turn.after,
                "attempts": found.attempts,
                "evidence_id": found.evidence_id,
                "text": found.text,
            }
            for turn, found in comparison.turns.items()
        ],
        "before": before.version,
        "after": after.version,
    }
    print(json.dumps(said, ensure_ascii=False))
