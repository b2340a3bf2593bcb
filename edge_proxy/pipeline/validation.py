"""What a request must be to go on at all, whoever sent it (RFC 3261 §16.3): a request in, its first flaw out."""

from __future__ import annotations

from edge_proxy.pipeline.counters import Cause
from edge_proxy.routing.forward import OwnUris
from edge_proxy.routing.loops import bound_breadth, has_looped
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import parse_uri


def flaw_of(message: Message, mark: bytes, own: OwnUris, max_breadth: int) -> tuple[int, Cause, list[bytes]] | None:
    """Steps 3 to 5, and Max-Breadth: a status, a cause and header lines when it must not go on.

    `mark` is its loop mark, b"" of a request inside a dialog. Raises `RemoteProtocolError` for a Max-Breadth that
    cannot be read.
    """
    if message.max_forwards == 0 and (message.first[grammar.ROUTE] >= 0 or not is_ping(message, own)):
        return 483, Cause.TOO_MANY_HOPS, []
    if mark and has_looped(message, mark, own):
        return 482, Cause.LOOP, []
    if message.first[grammar.PROXY_REQUIRE] >= 0:
        tags = b", ".join(message.values(grammar.PROXY_REQUIRE))
        return 420, Cause.UNSUPPORTED_EXTENSION, [b"Unsupported: " + tags]
    if max_breadth and message.method != grammar.METHOD_ACK and not bound_breadth(message, max_breadth):
        return 440, Cause.MAX_BREADTH, []
    return None


def is_ping(message: Message, own: OwnUris) -> bool:
    """Whether this is OPTIONS to ourselves, which is answered however many hops it has left (§16.3 step 3)."""
    if message.method != grammar.METHOD_OPTIONS or message.to_tag:
        return False
    uri = parse_uri(message.uri)
    return not uri.user and own.has(uri)
