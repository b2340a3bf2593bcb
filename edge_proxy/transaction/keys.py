"""Match a message to its transaction (RFC 3261 §17.1.3, §17.2.3). Keys only; timers live in timers.py."""

from __future__ import annotations

from typing import Final

from edge_proxy.errors import LocalProtocolError
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message

_OF_INVITE: Final = b" INVITE"


def server_key(request: Message) -> bytes:
    """What a request, its retransmissions, its ACK and its CANCEL have in common on the side it came from.

    With the magic cookie: branch and sent-by. Without (RFC 2543 peers): Request-URI, From tag, Call-ID, CSeq number
    and top Via; the To tag is left out, since an ACK carries the one of our response, which the request had not.
    The method is not part of it (see `transaction_key`).
    """
    via = request.via
    if via is None:
        raise LocalProtocolError("server_key: the message has no Via")
    if via.branch[:7] == grammar.MAGIC_COOKIE and len(via.branch) > 7:
        return via.branch + b" " + via.sent_by
    top = b"%s %s %s" % (via.transport, via.sent_by, via.branch)
    return b"\n".join((request.uri, request.from_tag, request.call_id, b"%d" % request.cseq, top))


def transaction_key(key: bytes, method: bytes) -> bytes:
    """The key of the server transaction itself: within its own method; ACK belongs to INVITE (§17.2.3)."""
    if method == grammar.METHOD_INVITE or method == grammar.METHOD_ACK:
        return key + _OF_INVITE
    return key + b" " + method


def key_of_transaction(key: bytes) -> bytes:
    """What `transaction_key` was made from."""
    return key[: -len(_OF_INVITE)] if key.endswith(_OF_INVITE) else key.rpartition(b" ")[0]
