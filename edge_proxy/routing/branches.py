"""The branch of what we send: what tells one request of ours from every other (RFC 3261 §8.1.1.7, §16.6 step 8).

It is computed from the request as it came (§16.11), so that a retransmission that meets a fresh worker, or another
node with the same secret, still leaves with the branch that the next hop knows. It ends, where the request has one, in
the mark by which loops are found (loops.py). Nobody else can compute it: a response is known by its branch alone,
whichever address it comes from.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, final

from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message

_DIGEST_BYTES: Final = 12
"""Of a billion branches, two are alike with a probability of 2**-37."""
_HALF_KEY_BYTES: Final = 16


def keyed_digest(secret: bytes, purpose: bytes, size: int) -> blake2b:
    """A digest of this many bytes that nobody without the node's secret can compute, to be copied for each request.

    Its key, one for each purpose, stands where salt and personalisation do: a block less to digest than with `key=`.
    """
    key = blake2b(purpose, key=secret, digest_size=2 * _HALF_KEY_BYTES).digest()
    return blake2b(digest_size=size, salt=key[:_HALF_KEY_BYTES], person=key[_HALF_KEY_BYTES:])


@final
class Branches:
    """Makes branches with the node's secret."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        self._keyed = keyed_digest(secret, b"branches", _DIGEST_BYTES)

    def of(self, request: Message, key: bytes, attempt: int, mark: bytes) -> bytes:
        """Of this attempt to forward a request with this key: its server transaction's, or `keys.server_key` when it
        has none, so that an ACK never has the branch of an INVITE whose branch its sender gave it.

        The key is what §16.11 asks for. Call-ID and CSeq number are for clients that use a branch again.
        """
        digest = self._keyed.copy()
        digest.update(b"%b\0%b\0%d %d" % (key, request.call_id, request.cseq, attempt))
        if mark:
            return grammar.MAGIC_COOKIE + digest.hexdigest().encode() + b"." + mark
        return grammar.MAGIC_COOKIE + digest.hexdigest().encode()
