"""The To tags of our own answers: a keyed hash of what a request and its repetitions have in common (RFC 3261 §8.2.7).

Most requests are answered by the far end; so a tag is made when an answer needs it, and nowhere kept.
"""

from __future__ import annotations

from edge_proxy.routing.keyed import digests
from edge_proxy.sip.message import Message
from edge_proxy.transaction.keys import key_of_transaction


class OwnTags:
    """Tags keyed with the node's secret."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        self._keyed = digests(8, key=secret)

    def of(self, key: bytes) -> bytes:
        """The tag of all answers to the requests with this `keys.server_key`."""
        return self._keyed.hex(key)

    def of_transaction(self, transaction: bytes) -> bytes:
        """The same from the key of the server transaction."""
        return self.of(key_of_transaction(transaction))

    def without_transaction(self, message: Message) -> bytes:
        """The tag of answers without a transaction; their ACK is known by it."""
        return self.of(message.call_id + b" %d" % message.cseq)
