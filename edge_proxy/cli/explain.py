"""`edge-proxy explain`: the verdict on a saved request, by the very functions that judge live traffic."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.cli.saved_request import split_origin
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import load_settings
from edge_proxy.config.endpoints import parse_source
from edge_proxy.config.origins import checked_identity
from edge_proxy.errors import EdgeProxyError
from edge_proxy.numbers.e164 import format_e164
from edge_proxy.pipeline.admission import Challenge, admit_saved
from edge_proxy.pipeline.judgement import Judgement, judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.claims import Claim
from edge_proxy.policy.engine import Step
from edge_proxy.policy.parties import Origin, Source
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri


class ExplainError(EdgeProxyError):
    """What was asked to be explained cannot be."""


def explain_message(
    config: Path,
    message_path: Path,
    source_text: str,
    side_text: str,
    identities: tuple[str, ...] = (),
    *,
    as_json: bool,
) -> None:
    """Print the verdict on the request in `message_path` as if it came from `source_text`.

    Without that it came from where the file itself says (see saved_request.py). `identities` are what a certificate on
    its TLS connection named. Raises ExplainError.
    """
    source_said, side_said, data = split_origin(_read(message_path))
    transport, address = _parse_source(source_text or source_said, message_path)
    settings = load_settings(config)
    snapshot = compile_snapshot(settings)
    message = _parse(message_path, data, snapshot)
    side = _side_of(side_text or ("" if source_text else side_said), address, snapshot)
    origin = _identified(snapshot, snapshot.origin_of(address.host, side), transport, identities)
    found = admit_saved(snapshot, message, origin, transport)
    is_challenged = isinstance(found, Challenge)
    source = Source(origin if isinstance(found, Challenge) else found, address, transport)
    steps: list[Step] = []
    judgement = judge(snapshot, message, parse_uri(message.uri), source, steps)
    if as_json:
        print(json.dumps(_as_json(judgement, steps, snapshot, is_challenged=is_challenged), ensure_ascii=False))
    else:
        _print(judgement, steps, snapshot, is_challenged=is_challenged)


def _identified(snapshot: Snapshot, origin: Origin, transport: Transport, identities: tuple[str, ...]) -> Origin:
    if identities and transport is not Transport.TLS:
        raise ExplainError("--identity belongs to a TLS connection; write --source tls:192.0.2.1:5061 with it")
    try:
        return snapshot.identify(origin, tuple(checked_identity(text) for text in identities))
    except ValueError as error:
        raise ExplainError(f"--identity: {error}") from error


def _parse_source(text: str, path: Path) -> tuple[Transport, Address]:
    if not text:
        advice = "give --source udp:IP:PORT, or begin the file with `# source: udp:IP:PORT`"
        raise ExplainError(f"nothing says where {path} came from; {advice}")
    try:
        return parse_source(text)
    except ValueError as error:
        raise ExplainError(f"source {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExplainError(f"cannot read {path}: {error.strerror}") from error


def _parse(path: Path, data: bytes, snapshot: Snapshot) -> Message:
    if b"\r\n" not in data:
        data = data.replace(b"\n", b"\r\n")  # an editor saved it
    try:
        message = parse_message(data, snapshot.limits)
    except EdgeProxyError as error:
        offset = getattr(error, "offset", -1)
        where = f" at byte {offset}" if offset >= 0 else ""
        raise ExplainError(f"{path} is no SIP message that would be judged{where}: {error}") from error
    if not message.is_request:
        raise ExplainError(f"{path} is a response; only requests are judged")
    return message


def _side_of(text: str, address: Address, snapshot: Snapshot) -> Side:
    if text:
        try:
            return Side(text)
        except ValueError as error:
            raise ExplainError(f"{text!r} is no side; write customers or carriers") from error
    is_trunk = snapshot.trunk_sources.find(address.host) >= 0
    origin = snapshot.origin_of(address.host, Side.CUSTOMERS)
    is_customer = origin.customer is not None or bool(origin.candidates)
    return Side.CARRIERS if is_trunk and not is_customer else Side.CUSTOMERS


def _claim_json(claim: Claim) -> dict[str, object]:
    reading = claim.reading
    return {
        "header": claim.header,
        "text": claim.text,
        "read_by": None if reading is None else reading.rule,
        "number": None if claim.number is None else format_e164(claim.number),
    }


def _called_json(judgement: Judgement) -> dict[str, object]:
    """How the called number was read; that of a call from a carrier is one of ours, or none."""
    facts = judgement.facts
    reading = facts.dialled
    number = judgement.called if reading is None else reading.number
    return {
        "text": facts.request_uri.user[:512],
        "read_by": None if reading is None else reading.rule,
        "number": None if number is None else format_e164(number),
        "may_reach": [format_e164(other) for other in facts.may_reach],
    }


def _called_text(judgement: Judgement) -> str:
    called = _called_json(judgement)
    rule = "" if called["read_by"] is None else f" ({called['read_by']})"
    others = ", ".join(format_e164(other) for other in judgement.facts.may_reach)
    return f"{called['text']}  ->  {called['number'] or 'no number'}{rule}" + (
        f", may lead to {others}" if others else ""
    )


def _as_json(judgement: Judgement, steps: list[Step], snapshot: Snapshot, *, is_challenged: bool) -> dict[str, object]:
    facts, verdict = judgement.facts, judgement.verdict
    origin = facts.source.origin
    responsible = judgement.responsible
    return {
        "outcome": "challenged" if is_challenged else verdict.outcome,
        "status": 407 if is_challenged else verdict.status,
        "action": None if is_challenged or verdict.refusal is None else verdict.refusal.action,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "text": verdict.text,
        "ip_origin": verdict.ip_origin,
        "signals": [{"name": s.name, "weight": s.weight, "detail": s.detail} for s in verdict.signals],
        "proof": verdict.proof,
        "identity": origin.identity or None,
        "emergency": verdict.is_emergency,
        "side": origin.side,
        "source": str(facts.source.address),
        "asn": origin.asn,
        "customer": None if responsible is None else responsible.id,
        "trunk": None if origin.trunk is None else origin.trunk.id,
        "called": _called_json(judgement),
        "claims": [_claim_json(claim) for claim in (facts.from_claim, *facts.caller_claims, *facts.forwarders)],
        "rules": [{"rule": step.rule, "said": step.said} for step in steps],
        "snapshot": snapshot.version,
    }


def _print(judgement: Judgement, steps: list[Step], snapshot: Snapshot, *, is_challenged: bool) -> None:
    facts, verdict = judgement.facts, judgement.verdict
    origin = facts.source.origin
    responsible = judgement.responsible
    console = Console(highlight=False, soft_wrap=True)
    rows = Table.grid(padding=(0, 2))
    name = snapshot.asn_table.name_of(origin.asn)
    rows.add_row("source", Text(f"{facts.source.transport}:{facts.source.address} on the {origin.side} side"))
    rows.add_row("AS", Text(f"{origin.asn} {name}".strip()))
    rows.add_row("customer", Text(responsible.id if responsible is not None else "(none)"))
    if origin.trunk is not None:
        rows.add_row("trunk", Text(origin.trunk.id))
    rows.add_row("proof", Text(f"{verdict.proof} {origin.identity}".strip()))
    rows.add_row("called", Text(_called_text(judgement)))
    for claim in (facts.from_claim, *facts.caller_claims, *facts.forwarders):
        number = "no number" if claim.number is None else format_e164(claim.number)
        rule = "unreadable" if claim.reading is None else claim.reading.rule
        rows.add_row(claim.header, Text(f"{claim.text}  ->  {number} ({rule})"))
    for signal in verdict.signals:
        rows.add_row("signal", Text(f"{signal.name} {signal.weight:+d}: {signal.detail}"))
    rows.add_row("IP origin", Text(verdict.ip_origin))
    console.print(rows)
    console.print()
    for step in steps:
        console.print(Text(f"  {step.rule:<22} {step.said or '-'}"))
    console.print()
    if is_challenged:
        console.print(Text("challenged 407: credentials are asked for; without any it would be"))
    status = f" {verdict.status}" if verdict.status else ""
    console.print(Text(f"{verdict.outcome}{status}: {verdict.reason} ({verdict.rule}): {verdict.text}"))
    console.print(Text(f"snapshot {snapshot.version}"))
