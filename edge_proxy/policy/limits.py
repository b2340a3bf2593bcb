"""How much may be sent: calls a second, at one time and an hour, of a customer, a number, an AS, to a destination.

State in, a finding out; the time is passed in. All limits are asked before any is charged, so an attempt that is
refused costs nothing. What behaviour.py has seen of runs, short calls and spoofing sets limits of its own. A limit
slows a known customer down, with 503 and Retry-After; it never bans. Emergency calls are not asked about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from edge_proxy.addr import E164, UNKNOWN_ASN, Monotonic, Side
from edge_proxy.numbers.e164 import format_e164
from edge_proxy.policy.behaviour import (
    Bursts,
    CalledSpans,
    HourCounts,
    Hours,
    Runs,
    Sequences,
    ShortCalls,
    ShortCallWatch,
    Spans,
    SpoofBursts,
)
from edge_proxy.policy.call_limits import (
    NO_ASN_LIMITS,
    NO_SHARE,
    AsnLimits,
    CallLimits,
    DestinationLimits,
    ShortCallLimits,
)
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.parties import Customer
from edge_proxy.policy.token_buckets import MOST_BUCKETS, Buckets, Key, TokenBuckets
from edge_proxy.policy.verdict import Reason

RETRY_CONCURRENT_S: Final = 5
"""When a call that is up may have ended: nobody knows, so a guess."""

_CUSTOMERS: Final = Side.CUSTOMERS
_MESSAGE_RATE: Final = Reason.MESSAGE_RATE
_CALLS_PER_SECOND: Final = Reason.CALLS_PER_SECOND
_CALLED_NUMBER_RATE: Final = Reason.CALLED_NUMBER_RATE
_NUMBER_RATE: Final = Reason.NUMBER_RATE
_NUMBER_CONCURRENT: Final = Reason.NUMBER_CONCURRENT
_ASN_RATE: Final = Reason.ASN_RATE
_ASN_CONCURRENT: Final = Reason.ASN_CONCURRENT
_DESTINATION_RATE: Final = Reason.DESTINATION_RATE
_DESTINATION_CONCURRENT: Final = Reason.DESTINATION_CONCURRENT


class Excess(NamedTuple):
    """A limit that an attempt would pass, and after how many whole seconds it may be worth trying again."""

    reason: Reason
    text: str
    retry_after_s: int


class Admission(NamedTuple):
    """What came of asking the limits, and what the call counts against for as long as it is up."""

    excess: Excess | None
    holds: tuple[Key, ...] = ()


_FREE: Final = Admission(None)


class SharedLimits(Protocol):
    """What several workers have seen together. As a context it keeps the others waiting, for a bounded time."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def buckets(self) -> Buckets: ...
    @property
    def hours(self) -> HourCounts: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def spans(self) -> Spans: ...
    @property
    def bursts(self) -> Bursts: ...
    @property
    def missed(self) -> int:
        """How often the others kept it waiting too long, so that it went on without them."""

    @property
    def forgotten(self) -> int:
        """What was given up since there was no room for it."""

    def short_calls(self, customer: str, limits: ShortCallLimits) -> ShortCallWatch: ...

    def others(self, key: Key) -> int:
        """Calls up with the other workers that count against this key."""

    def hold(self, key: Key, count: int) -> None:
        """So many count against it here: tell the others. Only inside the context."""


class CallLimiter:
    """All limits of one worker; it lives on over reloads, keyed by what the operator calls things.

    `held` is how many calls that are up count against a key, `short_calls` what is seen of calls that end; whoever
    keeps the calls keeps both.
    """

    __slots__ = (
        "_buckets",
        "_bursts",
        "_charges",
        "_held",
        "_hour_charges",
        "_hours",
        "_sequences",
        "_short_calls",
        "_spans",
        "shared",
    )

    def __init__(
        self, held: Mapping[Key, int], short_calls: dict[str, ShortCallWatch], most: int = MOST_BUCKETS
    ) -> None:
        self._held = held
        self._short_calls = short_calls
        self._sequences: Runs = Sequences()
        self._spans: Spans = CalledSpans()
        self._bursts: Bursts = SpoofBursts()
        self._buckets: Buckets = TokenBuckets(most)
        self._hours: HourCounts = Hours()
        self.shared: SharedLimits | None = None
        """None: this worker is the only one."""
        # What the attempt in hand will be charged for if nothing speaks against it.
        self._charges: list[tuple[Key, float, float]] = []
        self._hour_charges: list[Key] = []

    def share(self, shared: SharedLimits) -> None:
        """Keep all there from now on."""
        self.shared = shared
        self._buckets = shared.buckets
        self._hours = shared.hours
        self._sequences = shared.runs
        self._spans = shared.spans
        self._bursts = shared.bursts

    @property
    def entries(self) -> int:
        """Buckets that are kept."""
        return len(self._buckets)

    @property
    def forgotten(self) -> int:
        """Buckets dropped before they were full, since the table was at its bound."""
        return self._buckets.forgotten if self.shared is None else self.shared.forgotten

    def has_room(self, customer: str, limits: CallLimits, active: int, now: Monotonic) -> bool:
        """Whether the customer may have one more call now by its own rate and count; nothing is charged."""
        most, rate = limits.concurrent_calls, limits.calls_per_second
        if most is not None and active >= most:
            return False
        return rate is None or not self._buckets.wait_s(("customer", customer, 0), rate, max(rate, 1.0), now)

    def note_spoof(self, facts: CallFacts, per_asn: AsnLimits, now: Monotonic) -> None:
        """An attempt from a customer was refused, or would have been, for who it claims to be."""
        origin = facts.source.origin
        customer = origin.customer
        if customer is None:
            return
        if customer.limits.spoofing is not None:
            self._bursts.observe(("source", facts.source.address.host, 0), customer.limits.spoofing, now)
        if per_asn.spoofing is not None and origin.asn != UNKNOWN_ASN:
            self._bursts.observe(("asn", "", int(origin.asn)), per_asn.spoofing, now)

    def admit(
        self,
        facts: CallFacts,
        customer: Customer,
        called: E164 | None,
        active: int,
        per_asn: AsnLimits,
        now: Monotonic,
        *,
        charges_it: bool = True,
    ) -> Admission:
        """Charge one attempt for all it counts as, unless it passes a limit: then nothing is charged.

        `active` is how many of the customer's calls are up now, `called` the number it calls if that can be read.
        """
        limits = customer.limits
        charges = self._charges
        charges.clear()
        self._hour_charges.clear()
        holds: tuple[Key, ...] = ()
        if facts.method == "MESSAGE":
            excess = self._rate(
                ("messages", customer.id, 0), limits.messages_per_second, _MESSAGE_RATE, now
            ) or self._burst(facts, limits, per_asn, now)
        else:
            excess = self._count_customer(customer.id, limits, active) or self._rate(
                ("customer", customer.id, 0), limits.calls_per_second, _CALLS_PER_SECOND, now
            )
            if limits.has_details or per_asn is not NO_ASN_LIMITS:
                found, holds = self._in_detail(facts, customer, called, per_asn, now)
                excess = excess or found
        if excess is None and charges_it:
            for key, rate, depth in charges:
                self._buckets.charge(key, rate, depth, now)
            for key in self._hour_charges:
                self._hours.charge(key, now)
        return _FREE if excess is None and not holds else Admission(excess, holds)

    def _in_detail(
        self, facts: CallFacts, customer: Customer, called: E164 | None, per_asn: AsnLimits, now: Monotonic
    ) -> Admission:
        """All but the customer's own rate and count."""
        limits, origin = customer.limits, facts.source.origin
        excess: Excess | None = None
        if called is not None and (most := limits.calls_to_number_per_minute) is not None:
            excess = self._rate(("called", customer.id, called), most / 60.0, _CALLED_NUMBER_RATE, now, most)
        if origin.side is not _CUSTOMERS:
            return Admission(excess)
        caller = calling_number(facts)
        per_number = NO_SHARE if caller is None else limits.per_number
        in_asn = NO_SHARE if origin.asn == UNKNOWN_ASN else per_asn.share
        places = [(_to(customer, to), to) for to in limits.destinations_of(called, facts.may_reach)]
        number_key, asn_key = ("number", customer.id, caller or 0), ("asn", "", int(origin.asn))
        sequential = self._sequence(number_key, called, limits, now)  # in any case: it must not miss an attempt
        excess = (
            excess
            or self._rate(number_key, per_number.calls_per_second, _NUMBER_RATE, now)
            or self._count(number_key, per_number.concurrent_calls, _NUMBER_CONCURRENT)
            or self._rate(asn_key, in_asn.calls_per_second, _ASN_RATE, now)
            or self._count(asn_key, in_asn.concurrent_calls, _ASN_CONCURRENT)
        )
        for to_key, to in places:
            excess = (
                excess
                or self._rate(to_key, to.calls_per_second, _DESTINATION_RATE, now)
                or self._count(to_key, to.concurrent_calls, _DESTINATION_CONCURRENT)
                or self._hour(to_key, to.calls_per_hour, now)
            )
        excess = (
            excess or sequential or self._short(customer.id, limits, now) or self._burst(facts, limits, per_asn, now)
        )
        pairs = ((number_key, per_number), (asn_key, in_asn))
        holds = [key for key, share in pairs if share.concurrent_calls is not None]
        holds += [key for key, to in places if to.concurrent_calls is not None]
        return Admission(excess, tuple(holds))

    def _count_customer(self, customer: str, limits: CallLimits, active: int) -> Excess | None:
        most = limits.concurrent_calls
        if most is None or active < most:
            return None
        return Excess(Reason.CONCURRENT_CALLS, f"{customer} has {active} calls up, its limit", RETRY_CONCURRENT_S)

    def _rate(
        self, key: Key, rate: float | None, reason: Reason, now: Monotonic, per_minute: int = 0, why: str = ""
    ) -> Excess | None:
        if rate is None:
            return None
        depth = float(per_minute) or max(rate, 1.0)
        wait_s = self._buckets.wait_s(key, rate, depth, now)
        if wait_s:
            pace = f"{per_minute} a minute" if per_minute else f"{rate:g} a second"
            return Excess(reason, f"more than {pace} {_of(key)}{why}", math.ceil(wait_s))
        self._charges.append((key, rate, depth))
        return None

    def _count(self, key: Key, most: int | None, reason: Reason) -> Excess | None:
        if most is None:
            return None
        active = self._held.get(key, 0)
        if self.shared is not None:
            active += self.shared.others(key)
        if active < most:
            return None
        return Excess(reason, f"{active} calls are up {_of(key)}, the limit", RETRY_CONCURRENT_S)

    def _hour(self, key: Key, most: int | None, now: Monotonic) -> Excess | None:
        if most is None:
            return None
        count = self._hours.count(key, now)
        if count < most:
            self._hour_charges.append(key)
            return None
        wait_s = math.ceil(self._hours.wait_s(key, most, now))
        return Excess(Reason.DESTINATION_HOUR, f"{count} calls in an hour {_of(key)}", max(1, wait_s))

    def _sequence(self, caller: Key, called: E164 | None, limits: CallLimits, now: Monotonic) -> Excess | None:
        most = limits.sequence
        if most is None or called is None:
            return None
        run = self._sequences.observe(caller, called, most, now)
        together = 0 if most.of_customer is None else self._spans.observe(caller[1], called, most.within_s, now)
        if run.numbers > most.numbers:
            text = f"{run.numbers} numbers that follow one another were called {_of(caller)}"
            return Excess(Reason.SEQUENTIAL_CALLS, text, max(1, math.ceil(run.at + most.within_s - now)))
        if most.of_customer is None or together <= most.of_customer:
            return None
        text = f"{together} numbers that follow one another were called by all callers of {caller[1]}"
        return Excess(Reason.SEQUENTIAL_CALLS, text, max(1, math.ceil(most.within_s)))

    def _short(self, customer: str, limits: CallLimits, now: Monotonic) -> Excess | None:
        most = limits.short_calls
        if most is None:
            return None
        seen = self._short_calls.get(customer)
        if seen is None or seen.limits != most:
            seen = ShortCalls(most) if self.shared is None else self.shared.short_calls(customer, most)
            self._short_calls[customer] = seen
        why = seen.excess(now)
        if not why:
            return None
        return self._rate(("short_calls", customer, 0), most.slowed_to, Reason.SHORT_CALLS, now, why=f": {why}")

    def _burst(self, facts: CallFacts, limits: CallLimits, per_asn: AsnLimits, now: Monotonic) -> Excess | None:
        source: Key = ("source", facts.source.address.host, 0)
        asn: Key = ("asn", "", int(facts.source.origin.asn))
        for key, most in ((source, limits.spoofing), (asn, per_asn.spoofing)):
            if most is not None and self._bursts.is_on(key, most, now):
                slow_key = (f"slowed_{key[0]}", *key[1:])
                why = f": {most.refusals} or more spoofed attempts in {most.window_s:g} s"
                excess = self._rate(slow_key, most.slowed_to, Reason.SPOOF_BURST, now, why=why)
                if excess is not None:
                    return excess
        return None


def calling_number(facts: CallFacts) -> E164 | None:
    """Who calls: From, or, when that is withheld or no number, the first asserted number (RFC 3325), or else the one
    that is to be asserted."""
    claims = (facts.from_claim, *facts.asserted)
    found = next((claim.number for claim in claims if claim.number is not None and not claim.is_anonymous), None)
    return facts.hinted if found is None else found


def _to(customer: Customer, to: DestinationLimits) -> Key:
    return "destination", customer.id, int(to.digits)


def _of(key: Key) -> str:
    kind, customer, number = key
    match kind:
        case "number":
            return f"from {format_e164(E164(number))}"
        case "asn" | "slowed_asn":
            return f"from AS {number}"
        case "called":
            return f"to {format_e164(E164(number))}"
        case "slowed_source":
            return f"from {customer}"
        case "destination":
            return f"of {customer} to +{number}"
        case _:
            return f"of {customer}"
