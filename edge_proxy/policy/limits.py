"""How much one customer may send: calls a second and calls at one time. State in, a finding out; the time is passed in.

A limit slows a known customer down, with 503 and Retry-After; it never bans. Emergency calls are not asked about.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from edge_proxy.addr import Monotonic
from edge_proxy.policy.parties import CallLimits
from edge_proxy.policy.verdict import Reason


class Excess(NamedTuple):
    """A limit that an attempt would pass, and after how many whole seconds it may be worth trying again."""

    reason: Reason
    text: str
    retry_after_s: int


class CallRates:
    """A token bucket for each customer that has a rate; it lives on over reloads, keyed by the customer's id."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, Monotonic]] = {}

    def has_room(self, customer: str, limits: CallLimits, active: int, now: Monotonic) -> bool:
        """Whether `take` would charge a call now; nothing is charged."""
        most, rate = limits.concurrent_calls, limits.calls_per_second
        if most is not None and active >= most:
            return False
        if rate is None or customer not in self._buckets:
            return True
        tokens, since = self._buckets[customer]
        return tokens + (now - since) * rate >= 1.0

    def take(self, customer: str, limits: CallLimits, active: int, now: Monotonic) -> Excess | None:
        """Charge one call to the customer, unless it passes a limit: then nothing is charged.

        `active` is how many of its calls are up now.
        """
        most = limits.concurrent_calls
        if most is not None and active >= most:
            return Excess(Reason.CONCURRENT_CALLS, f"{customer} has {active} calls up, its limit", 5)
        rate = limits.calls_per_second
        if rate is None:
            return None
        depth = max(rate, 1.0)
        tokens, since = self._buckets.get(customer, (depth, now))
        tokens = min(depth, tokens + (now - since) * rate)
        if tokens < 1.0:
            self._buckets[customer] = tokens, now
            wait_s = math.ceil((1.0 - tokens) / rate)
            return Excess(Reason.CALLS_PER_SECOND, f"{customer} sends more than {rate:g} calls a second", wait_s)
        self._buckets[customer] = tokens - 1.0, now
        return None
