"""Digests that nobody without the node's secret can compute, in the letters in which they are sent: BLAKE2b (RFC 7693).

`keyed` prepares one for each purpose. Where `_keyed` is built, it makes them; `PlainKeyed` makes the same where it is
not, with several times the work.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, cast, final

from edge_proxy.sip import grammar

try:
    from edge_proxy.routing._keyed import Keyed
except ImportError:
    HAS_KEYED = False
else:
    HAS_KEYED = True

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")  # RFC 4648 §5
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_HALF_KEY_BYTES: Final = 16


@final
class PlainKeyed:
    """Digests of `size` bytes with one key of at most 64 bytes, or with a salt and a person of 16 each instead."""

    __slots__ = ("_begun", "_size")

    def __init__(self, size: int, *, key: bytes = b"", salt: bytes = b"", person: bytes = b"") -> None:
        self._size = size
        self._begun = blake2b(key=key, salt=salt, person=person, digest_size=size)

    def hex(self, text: bytes, /) -> bytes:
        """The digest of `text` in hexadecimal digits."""
        return self._digest(text).hex().encode()

    def base64(self, text: bytes, /) -> bytes:
        """The digest of `text` in base 64, in letters that a URI may hold and without what only fills it up."""
        return _letters(self._digest(text))

    def branch(self, key: bytes, call_id: bytes, cseq: int, attempt: int, mark: bytes, /) -> bytes:
        """A branch: the magic cookie, the digest of all but `mark` and, unless that is empty, a dot and the mark."""
        branch = grammar.MAGIC_COOKIE + self.hex(b"%b\0%b\0%d %d" % (key, call_id, cseq, attempt))
        return branch + b"." + mark if mark else branch

    def sign(self, text: bytes, about: bytes, /) -> bytes:
        """`text`, at most 65,535 bytes, behind the digest of itself and what it is about; in base 64 like the above."""
        return _letters(self._digest(_signed(text, about)) + text)

    def open(self, signed: bytes, about: bytes, /) -> bytes | None:
        """The text that was signed about this; None if anything is altered, though it be only its spelling."""
        try:
            raw = a2b_base64(signed.translate(_FROM_URL_SAFE) + b"=" * (-len(signed) % 4))
        except ValueError:
            return None
        if _letters(raw) != signed or not self._size <= len(raw) <= self._size + 0xFFFF:
            return None  # the decoder skips characters that are none of its own, and the last bits of the last one
        text = raw[self._size :]
        return text if compare_digest(raw[: self._size], self._digest(_signed(text, about))) else None

    def _digest(self, text: bytes) -> bytes:
        digest = self._begun.copy()  # the key is worked in once
        digest.update(text)
        return digest.digest()


def _letters(raw: bytes) -> bytes:
    return b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=")


def _signed(text: bytes, about: bytes) -> bytes:
    # Its length keeps the two apart: the end of one cannot pass for the beginning of the other.
    return len(text).to_bytes(2, "big") + text + about


def digests(size: int, *, key: bytes = b"", salt: bytes = b"", person: bytes = b"") -> Keyed:
    """As `PlainKeyed` describes them, made by whichever is there."""
    if HAS_KEYED:
        return Keyed(size, key=key, salt=salt, person=person)
    return cast("Keyed", PlainKeyed(size, key=key, salt=salt, person=person))


def keyed(secret: bytes, purpose: bytes, size: int) -> Keyed:
    """Digests of this many bytes for one purpose.

    Its key, one for each purpose, stands where salt and personalisation do: a block less to digest than with `key=`.
    """
    key = blake2b(purpose, key=secret, digest_size=2 * _HALF_KEY_BYTES).digest()
    return digests(size, salt=key[:_HALF_KEY_BYTES], person=key[_HALF_KEY_BYTES:])
