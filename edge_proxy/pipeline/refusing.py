"""The answer to a refused attempt: status, Reason (RFC 3326), and a Warning with the id of its evidence."""

from __future__ import annotations

from edge_proxy.pipeline.records import Attempt, show_id
from edge_proxy.sip.message import Message
from edge_proxy.sip.serializer import build_response, quote


def warning_line(node: str, text: str) -> bytes:
    """What a person reads of an answer of ours (RFC 3261 §20.43)."""
    return f"Warning: 399 {node} {quote(text[:240])}".encode()


def refuse(message: Message, attempt: Attempt, node: str, to_tag: bytes) -> bytes:
    """The response that refuses `message`."""
    verdict = attempt.verdict
    extra = [
        f"Reason: SIP;cause={verdict.status};text={quote(verdict.reason)}".encode(),
        warning_line(node, f"{verdict.text}; ref {show_id(attempt.evidence_id)}"),
    ]
    if verdict.retry_after_s:
        extra.append(b"Retry-After: %d" % verdict.retry_after_s)
    return build_response(message, verdict.status, to_tag=to_tag, extra=extra)
