"""The nonces of our challenges: signed instead of stored, good for a time, and each nonce count once (RFC 7616 §3.4.5).

A nonce holds when it was issued and a serial number, and a MAC over both with the node's secret and the worker's
number. Only nonces that were answered rightly are remembered, a bounded number of them; when one has to be forgotten
before its time, everything as old is no longer good. A restarted worker takes no nonce of an earlier life. Whoever
meets such a bound knows the password and is challenged anew, so a replay never passes and a good client always does.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import Enum
from typing import Final

from edge_proxy.addr import Wall

MAX_REMEMBERED: Final = 65_536
_TIME_BYTES: Final = 6
_SERIAL_BYTES: Final = 4
_HEAD_BYTES: Final = _TIME_BYTES + _SERIAL_BYTES
_MAC_BYTES: Final = 11
_NONCE_CHARS: Final = (_HEAD_BYTES + _MAC_BYTES) * 4 // 3
_CLOCK_SLACK_MS: Final = 5000
"""How far the wall clock may have been set back since a nonce was issued."""


class Freshness(Enum):
    """What a nonce and its count are worth."""

    FRESH = "fresh"
    STALE = "stale"
    REUSED = "reused"


class NonceBook:
    """Issues nonces and remembers the highest count of each that was used."""

    __slots__ = ("_capacity", "_counts", "_floor_ms", "_key", "_serial")

    def __init__(self, secret: bytes, worker: int, capacity: int = MAX_REMEMBERED) -> None:
        self._key = hashlib.blake2b(b"digest nonce %d" % worker, key=secret, digest_size=32).digest()
        self._capacity = capacity
        self._counts: dict[bytes, int] = {}
        self._floor_ms = -1
        """Nonces that were issued before this are not good any more; -1: nothing was issued yet."""
        self._serial = 0

    def issue(self, now: Wall) -> bytes:
        """A new nonce, in characters that need no quoting inside quotes."""
        now_ms = self._milliseconds(now)
        self._serial = (self._serial + 1) & 0xFFFFFFFF
        head = now_ms.to_bytes(_TIME_BYTES, "big") + self._serial.to_bytes(_SERIAL_BYTES, "big")
        return urlsafe_b64encode(head + self._mac(head))

    def use(self, nonce: bytes, count: int, now: Wall, lifetime_s: float) -> Freshness:
        """Whether this count of this nonce may be used now; if so, it is used up."""
        now_ms = self._milliseconds(now)
        head = self._read(nonce)
        if head is None:
            return Freshness.STALE
        last = self._counts.get(head)
        issued_ms = int.from_bytes(head[:_TIME_BYTES], "big")
        oldest_ms = now_ms - int(lifetime_s * 1000)
        if not oldest_ms <= issued_ms <= now_ms + _CLOCK_SLACK_MS:
            return Freshness.STALE
        if last is not None:
            if count <= last:
                return Freshness.REUSED
            self._counts[head] = count
            return Freshness.FRESH
        if issued_ms < self._floor_ms:
            return Freshness.STALE
        while len(self._counts) >= self._capacity:
            forgotten = next(iter(self._counts))
            del self._counts[forgotten]
            forgotten_ms = int.from_bytes(forgotten[:_TIME_BYTES], "big")
            if forgotten_ms >= oldest_ms:
                self._floor_ms = max(self._floor_ms, forgotten_ms + 1)
        if issued_ms < self._floor_ms:
            return Freshness.STALE
        self._counts[head] = count
        return Freshness.FRESH

    def __len__(self) -> int:
        return len(self._counts)

    def _milliseconds(self, now: Wall) -> int:
        now_ms = int(now * 1000)
        if self._floor_ms < 0:
            self._floor_ms = now_ms
        return now_ms

    def _read(self, nonce: bytes) -> bytes | None:
        """The signed part of a nonce of ours; None for any other bytes."""
        if len(nonce) != _NONCE_CHARS:
            return None
        try:
            raw = urlsafe_b64decode(nonce)
        except ValueError:
            return None
        head, mac = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:]
        return head if hmac.compare_digest(mac, self._mac(head)) else None

    def _mac(self, head: bytes) -> bytes:
        return hashlib.blake2b(head, key=self._key, digest_size=_MAC_BYTES).digest()
