"""How much may be sent: calls a second, at one time and an hour, of a customer, a number, an AS, to a destination.

State in, a finding out; the time is passed in. All limits are asked before any is charged, so an attempt that is
refused costs nothing. A limit slows a known customer down, with 503 and Retry-After; it never bans. Emergency calls
are not asked about.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from edge_proxy.addr import E164, UNKNOWN_ASN, Monotonic, Side
from edge_proxy.numbers.e164 import format_e164
from edge_proxy.policy.call_limits import NO_SHARE, CallLimits, DestinationLimits, Share
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.parties import Customer
from edge_proxy.policy.token_buckets import MOST_BUCKETS, Key, TokenBuckets
from edge_proxy.policy.verdict import Reason

RETRY_CONCURRENT_S: Final = 5
"""When a call that is up may have ended: nobody knows, so a guess."""

_HOUR_S: Final = 3600.0


class Excess(NamedTuple):
    """A limit that an attempt would pass, and after how many whole seconds it may be worth trying again."""

    reason: Reason
    text: str
    retry_after_s: int


class Admission(NamedTuple):
    """What came of asking the limits, and what the call counts against for as long as it is up."""

    excess: Excess | None
    holds: tuple[Key, ...] = ()


class CallLimiter:
    """All limits of one worker; it lives on over reloads, keyed by what the operator calls things.

    `held` is how many calls that are up count against a key; whoever keeps the calls keeps it.
    """

    __slots__ = ("_buckets", "_charges", "_held", "_hours")

    def __init__(self, held: Mapping[Key, int], most: int = MOST_BUCKETS) -> None:
        self._held = held
        self._buckets = TokenBuckets(most)
        self._hours: dict[Key, deque[Monotonic]] = {}
        # What the attempt in hand will be charged for if nothing speaks against it.
        self._charges: list[tuple[Key, float, float]] = []

    @property
    def entries(self) -> int:
        """Buckets that are kept."""
        return len(self._buckets)

    @property
    def forgotten(self) -> int:
        """Buckets dropped before they were full, since the table was at its bound."""
        return self._buckets.forgotten

    def has_room(self, customer: str, limits: CallLimits, active: int, now: Monotonic) -> bool:
        """Whether the customer may have one more call now by its own rate and count; nothing is charged."""
        most, rate = limits.concurrent_calls, limits.calls_per_second
        if most is not None and active >= most:
            return False
        return rate is None or not self._buckets.wait_s(("customer", customer, 0), rate, max(rate, 1.0), now)

    def admit(
        self, facts: CallFacts, customer: Customer, called: E164 | None, active: int, per_asn: Share, now: Monotonic
    ) -> Admission:
        """Charge one attempt for all it counts as, unless it passes a limit: then nothing is charged.

        `active` is how many of the customer's calls are up now, `called` the number it calls if that can be read.
        """
        limits = customer.limits
        charges = self._charges
        charges.clear()
        excess = self._count_customer(customer.id, limits, active) or self._rate(
            ("customer", customer.id, 0), limits.calls_per_second, Reason.CALLS_PER_SECOND, now
        )
        if not limits.has_details and per_asn is NO_SHARE:
            holds: tuple[Key, ...] = ()
            hour = None
        else:
            caller, destination = self._particulars(facts, limits, called)
            asn = facts.source.origin.asn
            if facts.source.origin.side is not Side.CUSTOMERS or asn == UNKNOWN_ASN:
                per_asn = NO_SHARE
            asn_key, number_key = ("asn", "", int(asn)), ("number", customer.id, caller or 0)
            per_number = NO_SHARE if caller is None else limits.per_number
            to = destination or DestinationLimits("")
            to_key = ("destination", customer.id, int(to.digits or 0))
            hour = to_key if to.calls_per_hour is not None else None
            excess = (
                excess
                or self._rate(number_key, per_number.calls_per_second, Reason.NUMBER_RATE, now)
                or self._count(number_key, per_number.concurrent_calls, Reason.NUMBER_CONCURRENT)
                or self._rate(asn_key, per_asn.calls_per_second, Reason.ASN_RATE, now)
                or self._count(asn_key, per_asn.concurrent_calls, Reason.ASN_CONCURRENT)
                or self._rate(to_key, to.calls_per_second, Reason.DESTINATION_RATE, now)
                or self._count(to_key, to.concurrent_calls, Reason.DESTINATION_CONCURRENT)
                or self._hour(to_key, to.calls_per_hour, now)
            )
            pairs = ((number_key, per_number), (asn_key, per_asn), (to_key, to))
            holds = tuple(key for key, share in pairs if share.concurrent_calls is not None)
        if excess is None:
            for key, rate, depth in charges:
                self._buckets.charge(key, rate, depth, now)
            if hour is not None:
                self._hours[hour].append(now)
        return Admission(excess, holds)

    def _particulars(
        self, facts: CallFacts, limits: CallLimits, called: E164 | None
    ) -> tuple[E164 | None, DestinationLimits | None]:
        """The calling number and the destination, as far as the customer's own call and its limits have them."""
        if facts.source.origin.side is not Side.CUSTOMERS:
            return None, None
        destination = None if called is None else limits.destination_of(called)
        return (calling_number(facts) if limits.per_number.is_set else None), destination

    def _count_customer(self, customer: str, limits: CallLimits, active: int) -> Excess | None:
        most = limits.concurrent_calls
        if most is None or active < most:
            return None
        return Excess(Reason.CONCURRENT_CALLS, f"{customer} has {active} calls up, its limit", RETRY_CONCURRENT_S)

    def _rate(self, key: Key, rate: float | None, reason: Reason, now: Monotonic) -> Excess | None:
        if rate is None:
            return None
        depth = max(rate, 1.0)
        wait_s = self._buckets.wait_s(key, rate, depth, now)
        if wait_s:
            return Excess(reason, f"more than {rate:g} calls a second {_of(key)}", math.ceil(wait_s))
        self._charges.append((key, rate, depth))
        return None

    def _count(self, key: Key, most: int | None, reason: Reason) -> Excess | None:
        if most is None or (active := self._held.get(key, 0)) < most:
            return None
        return Excess(reason, f"{active} calls are up {_of(key)}, the limit", RETRY_CONCURRENT_S)

    def _hour(self, key: Key, most: int | None, now: Monotonic) -> Excess | None:
        """Exact over any 60 minutes: the time of each call of the last hour is kept."""
        if most is None:
            return None
        times = self._hours.get(key)
        if times is None:
            for other in [one for one, kept in self._hours.items() if not kept or kept[-1] <= now - _HOUR_S]:
                del self._hours[other]  # also those that are no longer in the configuration
            times = self._hours[key] = deque()
        while times and times[0] <= now - _HOUR_S:
            times.popleft()
        if len(times) < most:
            return None
        wait_s = math.ceil(times[len(times) - most] + _HOUR_S - now)
        return Excess(Reason.DESTINATION_HOUR, f"{len(times)} calls in an hour {_of(key)}", max(1, wait_s))


def calling_number(facts: CallFacts) -> E164 | None:
    """Who calls: From, or, when that is withheld or no number, the first asserted number (RFC 3325)."""
    claims = (facts.from_claim, *facts.asserted)
    return next((claim.number for claim in claims if claim.number is not None and not claim.is_anonymous), None)


def _of(key: Key) -> str:
    kind, customer, number = key
    match kind:
        case "number":
            return f"from {format_e164(E164(number))}"
        case "asn":
            return f"from AS {number}"
        case "destination":
            return f"of {customer} to +{number}"
        case _:
            return f"of {customer}"
