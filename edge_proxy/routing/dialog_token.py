"""What a request inside a dialog must tell us, carried by the peers themselves, signed, in our Record-Route URI.

So no dialog is stored: a worker that has just started, or another node with the same key, serves a call that it never
saw begin. The signature covers the Call-ID, so that a token taken from one call is worth nothing in another, and a
token has one spelling only: altered in any byte it is none.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from hmac import compare_digest
from typing import Final, NamedTuple

from edge_proxy.addr import Side
from edge_proxy.routing.forward import URL_SAFE, keyed_digest

_FIXED: Final = struct.Struct(">BQI")
_MAC_BYTES: Final = 9
_VERSION: Final = 2
_EMERGENCY: Final = 0x80
"""In the head, above version and side: tokens from before it had a meaning do not have it."""
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_CUSTOMERS: Final = Side.CUSTOMERS
_CARRIERS: Final = Side.CARRIERS


class DialogState(NamedTuple):
    """Who called (`caller_side`), on whose account, the evidence id of the attempt and when it came (unix seconds)."""

    caller_side: Side
    customer: str
    evidence_id: int
    started_s: int
    is_emergency: bool = False


class DialogSigner:
    """Signs and checks tokens with one secret key (32 bytes), the node's."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, state: DialogState, call_id: bytes) -> bytes:
        """The token, as characters that a URI parameter may hold."""
        head = _VERSION << 1 | (state.caller_side is _CARRIERS) | (_EMERGENCY if state.is_emergency else 0)
        payload = _FIXED.pack(head, state.evidence_id, state.started_s) + state.customer.encode()
        raw = self._mac(payload, call_id) + payload
        return b2a_base64(raw, newline=False).translate(URL_SAFE).rstrip(b"=")

    def read(self, token: bytes, call_id: bytes) -> DialogState | None:
        """The state in a token of ours for this very call; None for any other bytes."""
        if len(token) > 256:
            return None
        try:
            raw = a2b_base64(token.translate(_FROM_URL_SAFE) + b"=" * (-len(token) % 4))
        except ValueError:
            return None
        if b2a_base64(raw, newline=False).translate(URL_SAFE).rstrip(b"=") != token:
            return None  # the decoder skips characters that are none of its own, and the last bits of the last one
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if len(payload) < _FIXED.size or not compare_digest(mac, self._mac(payload, call_id)):
            return None
        head, evidence_id, started_s = _FIXED.unpack_from(payload)
        if (head & ~_EMERGENCY) >> 1 != _VERSION:
            return None
        side = _CARRIERS if head & 1 else _CUSTOMERS
        customer = payload[_FIXED.size :].decode("utf-8", "replace")
        return DialogState(side, customer, evidence_id, started_s, bool(head & _EMERGENCY))

    def _mac(self, payload: bytes, call_id: bytes) -> bytes:
        # Its length keeps payload and Call-ID apart: the end of one cannot pass for the beginning of the other.
        signed = len(payload).to_bytes(2, "big") + payload + call_id
        return keyed_digest(signed, self._key, _MAC_BYTES)
