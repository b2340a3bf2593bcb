"""Token buckets by key in a table of bounded size: time in, how long to wait out.

A bucket that is full again says the same as none, so such buckets are dropped as new ones come. When the table is at
its bound and none is full, the one that was charged longest ago goes: whoever it held has a full bucket again, and
`forgotten` says how often that was.
"""

from __future__ import annotations

from typing import Final, Protocol

from edge_proxy.addr import Monotonic

Key = tuple[str, str, int]
"""What is counted: its kind, the customer ("" for nobody's) and a number, an AS or a prefix (0 where there is none)."""

MOST_BUCKETS: Final = 65_536
_SWEEP: Final = 2


class Buckets(Protocol):
    """What the limits need of buckets: here, or shared with other processes."""

    @property
    def forgotten(self) -> int: ...
    def __len__(self) -> int: ...
    def wait_s(self, key: Key, rate: float, depth: float, now: Monotonic) -> float: ...
    def charge(self, key: Key, rate: float, depth: float, now: Monotonic) -> None: ...


class TokenBuckets:
    """`depth` is how many may pass at once, `rate` how many a second come back."""

    __slots__ = ("_buckets", "_forgotten", "_most")

    def __init__(self, most: int = MOST_BUCKETS) -> None:
        # Tokens, since when, and when it is full again; in the order of the last charge.
        self._buckets: dict[Key, tuple[float, Monotonic, float]] = {}
        self._most = most
        self._forgotten = 0

    @property
    def forgotten(self) -> int:
        """Buckets dropped before they were full, since the table was at its bound."""
        return self._forgotten

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, key: Key, rate: float, depth: float, now: Monotonic) -> float:
        """How long until `charge` may be called; 0: now. Nothing is charged."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        tokens = min(depth, bucket[0] + (now - bucket[1]) * rate)
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / rate

    def charge(self, key: Key, rate: float, depth: float, now: Monotonic) -> None:
        """Take one token."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            self._make_room(now)
            tokens = depth - 1.0
        else:
            tokens = min(depth, bucket[0] + (now - bucket[1]) * rate) - 1.0
        self._buckets[key] = tokens, now, now + (depth - tokens) / rate

    def _make_room(self, now: Monotonic) -> None:
        buckets = self._buckets
        for _ in range(_SWEEP):
            oldest = next(iter(buckets), None)
            if oldest is None:
                return
            is_full_again = buckets[oldest][2] <= now
            if not is_full_again and len(buckets) < self._most:
                return
            del buckets[oldest]
            if not is_full_again:
                self._forgotten += 1
                return
