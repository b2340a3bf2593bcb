"""The branch of what we send: what tells one request of ours from every other (RFC 3261 §8.1.1.7, §16.6 step 8).

It is computed from the request as it came (§16.11), so that a retransmission that meets a fresh worker, or another
node with the same secret, still leaves with the branch that the next hop knows. It ends, where the request has one, in
the mark by which loops are found (loops.py). Nobody else can compute it: a response is known by its branch alone,
whichever address it comes from.
"""

from __future__ import annotations

from typing import Final, final

from edge_proxy.routing.keyed import keyed
from edge_proxy.sip.message import Message

_DIGEST_BYTES: Final = 12
"""Of a billion branches, two are alike with a probability of 2**-37."""


@final
class Branches:
    """Makes branches with the node's secret."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        self._keyed = keyed(secret, b"branches", _DIGEST_BYTES)

    def of(self, request: Message, key: bytes, attempt: int, mark: bytes) -> bytes:
        """Of this attempt to forward a request with this key: its server transaction's, or `keys.server_key` when it
        has none, so that an ACK never has the branch of an INVITE whose branch its sender gave it.

        The key is what §16.11 asks for. Call-ID and CSeq number are for clients that use a branch again.
        """
        return self._keyed.branch(key, request.call_id, request.cseq, attempt, mark)
