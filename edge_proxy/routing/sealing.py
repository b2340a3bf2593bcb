"""Seal bytes so that others can carry them and nobody else can read or change them (RFC 5297, AES-SIV).

What a peer must hand back to us, but must not learn, is sealed into characters that a URI's user or parameter may
hold. Nothing is stored: any worker with the node's key opens it. The same bytes for the same purpose in the same call
seal to the same text, so a retransmission stays one; there is no nonce that could be used twice.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

_KEY_BYTES: Final = 64  # AES-256, twice: one key for the synthetic IV, one for the text
_TAG_BYTES: Final = 16
_MAX_TEXT_BYTES: Final = 16_384


class Purpose(Enum):
    """What a sealed text stands for; one sealed for one purpose does not open for another."""

    CALL_ID = b"call-id"
    CONTACT = b"contact"
    BEHIND = b"behind"


class Seal:
    """Seals and opens with keys drawn from the node's secret."""

    __slots__ = ("_cipher",)

    def __init__(self, secret: bytes) -> None:
        key = hashlib.blake2b(b"topology", key=secret, digest_size=_KEY_BYTES).digest()
        self._cipher = AESSIV(key)

    def seal(self, plain: bytes, purpose: Purpose, call_id: bytes = b"") -> bytes:
        """`plain`, which is not empty, as letters, digits, `-` and `_`. It opens in the call of this Call-ID only."""
        return urlsafe_b64encode(self._cipher.encrypt(plain, [purpose.value, call_id])).rstrip(b"=")

    def open(self, text: bytes, purpose: Purpose, call_id: bytes = b"") -> bytes | None:
        """What was sealed; None when `text` is not ours, was altered, or belongs to another call or purpose."""
        if not _TAG_BYTES < len(text) <= _MAX_TEXT_BYTES:
            return None
        try:
            raw = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
            if len(raw) <= _TAG_BYTES or urlsafe_b64encode(raw).rstrip(b"=") != text:
                return None  # a second spelling of the same bytes is an alteration too
            return self._cipher.decrypt(raw, [purpose.value, call_id])
        except (ValueError, InvalidTag):
            return None
