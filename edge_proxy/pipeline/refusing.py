"""How a refusal is told: the answer with its Reason (RFC 3326) and evidence id, the header that tags, the way to an
announcement.

A Warning carries the id of the evidence in every answer. `Call-Info` goes with 608 (RFC 8688 §3.1), and the Reason of
the 603 "Network Blocked" form is that of ATIS-1000099.
"""

from __future__ import annotations

from edge_proxy.pipeline.records import Attempt, show_id
from edge_proxy.policy.verdict import Outcome, Reason, Verdict
from edge_proxy.routing.forward import Routed
from edge_proxy.sip import grammar
from edge_proxy.sip.message import HeaderLine, Message, with_headers
from edge_proxy.sip.serializer import build_response, quote
from edge_proxy.sip.uri import parse_uri


def warning_line(node: str, text: str) -> bytes:
    """What a person reads of an answer of ours (RFC 3261 §20.43)."""
    return f"Warning: 399 {node} {quote(text[:240])}".encode()


def refuse(message: Message, attempt: Attempt, node: str, to_tag: bytes) -> bytes:
    """The response that refuses `message`."""
    verdict = attempt.verdict
    chosen = verdict.refusal
    evidence = show_id(attempt.evidence_id)
    phrase, text, location = "", str(verdict.reason), ""
    extra: list[bytes] = []
    if chosen is not None:
        phrase = chosen.phrase
        if chosen.blocked_contact:
            text = f"v=analytics1;{chosen.blocked_contact};id={evidence}"
            location = f";location={chosen.blocked_location}"
        if chosen.jcard:
            extra.append(f"Call-Info: <{chosen.jcard}>;purpose=jwscard".encode())
    extra.append(f"Reason: SIP;cause={verdict.status};text={quote(text)}{location}".encode())
    # The id stands at the end, which must not be cut off whatever the text says.
    extra.append(warning_line(node, f"{verdict.text[:200]}; ref {evidence}"))
    if verdict.retry_after_s:
        extra.append(b"Retry-After: %d" % verdict.retry_after_s)
    return build_response(message, verdict.status, phrase=phrase, to_tag=to_tag, extra=extra)


def shed_lines(node: str, evidence_id: int) -> list[bytes]:
    """What the 503 to a request that was shed says of why, and where that is recorded (shedding.py)."""
    reason = f"Reason: SIP;cause=503;text={quote(str(Reason.OVERLOADED))}".encode()
    return [reason, warning_line(node, f"too much to do; ref {show_id(evidence_id)}")]


def with_tag(message: Message, attempt: Attempt, headers: frozenset[bytes]) -> Message:
    """The request without what its sender wrote into the headers that tag, and tagged if it is to be."""
    if not headers:
        return message
    kept = [
        line
        for line in message.headers
        if line.kind != grammar.OTHER or line.raw[: line.raw.find(b":")].rstrip(b" \t").lower() not in headers
    ]
    chosen = attempt.verdict.refusal
    if attempt.verdict.outcome is Outcome.TAGGED and chosen is not None:
        tag = f"{chosen.header}: {attempt.verdict.reason};ref={show_id(attempt.evidence_id)}".encode()
        kept.append(HeaderLine(grammar.OTHER, tag))
    elif len(kept) == len(message.headers):
        return message
    return with_headers(message, kept)


def announced_route(routed: Routed, verdict: Verdict) -> Routed | None:
    """The way to the announcement that a call is diverted to; None for any other call."""
    if verdict.outcome is not Outcome.DIVERTED or verdict.refusal is None:
        return None
    target = verdict.refusal.announcement
    uri = parse_uri(target)
    return Routed(target, (), uri, uri, None, routed.mark)
