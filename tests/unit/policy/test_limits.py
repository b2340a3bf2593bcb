"""The limits of customers, numbers, source AS and destinations, exact to the call."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import E164, UNKNOWN_ASN, Address, Asn, Monotonic, Side, Transport
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.numbers.emergency import emergency_plan
from edge_proxy.policy.behaviour import ShortCallWatch
from edge_proxy.policy.call_limits import NO_ASN_LIMITS, NO_SHARE, AsnLimits, CallLimits, DestinationLimits, Share
from edge_proxy.policy.facts import CallFacts, extract_facts
from edge_proxy.policy.limits import CallLimiter, Excess
from edge_proxy.policy.parties import Customer, Origin, Source
from edge_proxy.policy.token_buckets import Key
from edge_proxy.policy.verdict import Reason
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.messages import OWNED, invite, request

SECOND = "+12025550101"


def customer(limits: CallLimits, name: str = "acme") -> Customer:
    return Customer(0, name, dial_plan("US"), emergency_plan("US"), limits=limits)


def facts(
    limits: CallLimits,
    caller: str = OWNED,
    asn: int = 64500,
    side: Side = Side.CUSTOMERS,
    method: str = "INVITE",
    *extra: str,
) -> CallFacts:
    """What an attempt shows that comes from this number and this AS."""
    origin = Origin(side, customer(limits) if side is Side.CUSTOMERS else None, None, Asn(asn))
    data = request(method, "sip:x@y.example", *extra, from_=f"<sip:{caller}@a.example>;tag=x")
    source = Source(origin, Address("192.0.2.1", 5060), Transport.UDP)
    return extract_facts(parse_message(data, Limits()), source, parse_uri(b"sip:x@y.example"), dial_plan("US"))


class World:
    """A limiter, the calls that are up by what they count as, and what is asked."""

    def __init__(self, limits: CallLimits, per_asn: Share = NO_SHARE, **bounds: int) -> None:
        self.held: dict[Key, int] = {}
        self.short_calls: dict[str, ShortCallWatch] = {}
        self.limiter = CallLimiter(self.held, self.short_calls, **bounds)
        self.limits = limits
        self.per_asn = NO_ASN_LIMITS if per_asn is NO_SHARE else AsnLimits(per_asn)
        self.ups: list[tuple[Key, ...]] = []

    def ask(self, now: float = 0.0, /, *, active: int = 0, called: int = 13105550199, **shown: object) -> Excess | None:
        """One attempt; it is up afterwards unless something spoke against it."""
        read = facts(self.limits, **shown)  # type: ignore[arg-type]  # the fields that a test varies
        who = customer(self.limits)
        excess, holds = self.limiter.admit(read, who, E164(called), active, self.per_asn, Monotonic(now))
        if excess is None:
            self.ups.append(holds)
            for key in holds:
                self.held[key] = self.held.get(key, 0) + 1
        return excess

    def reason(self, now: float = 0.0, /, **shown: object) -> Reason | None:
        excess = self.ask(now, **shown)  # type: ignore[arg-type]  # as above
        return None if excess is None else excess.reason

    def hang_up(self) -> None:
        for key in self.ups.pop(0):
            self.held[key] -= 1


def test_no_limit_lets_everything_through() -> None:
    """Without limits nothing is ever in excess, and nothing is kept."""
    world = World(CallLimits())
    assert all(world.reason(active=10**6) is None for _ in range(1000))
    assert world.limiter.entries == 0


def test_rate_lets_one_second_of_calls_through_at_once() -> None:
    """A rate of 5 lets 5 calls through at once; the 6th is in excess until a fifth of a second has passed."""
    world = World(CallLimits(calls_per_second=5))
    assert [world.reason(10.0) for _ in range(6)] == [None] * 5 + [Reason.CALLS_PER_SECOND]
    assert world.reason(10.19) is Reason.CALLS_PER_SECOND
    assert world.reason(10.4) is None


def test_refused_call_is_not_charged() -> None:
    """Trying in vain does not make a customer wait longer."""
    world = World(CallLimits(calls_per_second=1))
    assert world.reason(0.0) is None
    assert all(world.reason(0.5) is Reason.CALLS_PER_SECOND for _ in range(100))
    assert world.reason(1.01) is None


def test_concurrent_calls_stop_at_the_limit() -> None:
    """The call that would be one too many is in excess, and costs no rate."""
    world = World(CallLimits(calls_per_second=1, concurrent_calls=3))
    assert world.reason(active=3) is Reason.CONCURRENT_CALLS
    assert world.reason(active=2) is None


def test_retry_after_is_when_the_next_call_fits() -> None:
    """One call in ten seconds: after it, Retry-After says ten whole seconds."""
    world = World(CallLimits(calls_per_second=0.1))
    world.ask()
    excess = world.ask()
    assert excess is not None
    assert excess.retry_after_s == 10


@pytest.mark.parametrize(
    ("limits", "per_asn", "rate", "concurrent", "other"),
    [
        (
            CallLimits(per_number=Share(3, 2)),
            NO_SHARE,
            Reason.NUMBER_RATE,
            Reason.NUMBER_CONCURRENT,
            {"caller": SECOND},
        ),
        (CallLimits(), Share(3, 2), Reason.ASN_RATE, Reason.ASN_CONCURRENT, {"asn": 64501}),
        (
            CallLimits(destinations=(DestinationLimits("1310", 3, 2),)),
            NO_SHARE,
            Reason.DESTINATION_RATE,
            Reason.DESTINATION_CONCURRENT,
            {"called": 12125550100},
        ),
    ],
    ids=["number", "asn", "destination"],
)
def test_each_key_has_its_own_rate_and_count(
    limits: CallLimits, per_asn: Share, rate: Reason, concurrent: Reason, other: dict[str, object]
) -> None:
    """Two at one time, three at once; another number, AS or destination has its own; a hang-up frees a place."""
    world = World(limits, per_asn)
    assert [world.reason() for _ in range(3)] == [None, None, concurrent]
    assert world.reason(**other) is None
    world.hang_up()
    assert world.reason() is None
    world.hang_up()
    assert world.reason() is rate
    assert world.reason(1.0) is None


def test_unknown_as_and_carriers_calls_are_in_nobodys_share() -> None:
    """Sources whose AS nobody knows are not one; the other side is not limited by number, AS or destination."""
    world = World(CallLimits(per_number=Share(1), destinations=(DestinationLimits("1", 1),)), Share(1, 1))
    assert [world.reason(side=Side.CARRIERS) for _ in range(3)] == [None] * 3
    world = World(CallLimits(), Share(1, 1))
    assert [world.reason(asn=UNKNOWN_ASN) for _ in range(3)] == [None] * 3


def test_withheld_from_counts_as_the_asserted_number() -> None:
    """A caller cannot leave its share by withholding From (RFC 3325)."""
    world = World(CallLimits(per_number=Share(1)))
    who = customer(world.limits)
    shown = invite(f"P-Asserted-Identity: <sip:{OWNED}@x>", from_="<sip:anonymous@anonymous.invalid>;tag=x")
    source = facts(world.limits).source
    read = extract_facts(parse_message(shown, Limits()), source, parse_uri(b"sip:x@y"), dial_plan("US"))
    for expected in (None, Reason.NUMBER_RATE):
        excess = world.limiter.admit(read, who, None, 0, NO_ASN_LIMITS, Monotonic(0)).excess
        assert (excess and excess.reason) is expected
    assert world.reason() is Reason.NUMBER_RATE


def test_longest_prefix_holds_alone() -> None:
    """+8821 has its own limits, and its calls do not use up those of +882."""
    limits = CallLimits(destinations=(DestinationLimits("882", 1), DestinationLimits("8821", 2)))
    world = World(limits)
    assert [world.reason(called=88216000001) for _ in range(3)] == [None, None, Reason.DESTINATION_RATE]
    assert [world.reason(called=88236000001) for _ in range(2)] == [None, Reason.DESTINATION_RATE]
    assert [world.reason(called=13105550199) for _ in range(5)] == [None] * 5


def test_calls_per_hour_hold_over_any_sixty_minutes() -> None:
    """Three in an hour: the fourth must wait until the first is an hour old, and Retry-After says how long."""
    world = World(CallLimits(destinations=(DestinationLimits("882", calls_per_hour=3),)))
    assert [world.reason(now, called=88216000001) for now in (0.0, 100.0, 3000.0)] == [None] * 3
    excess = world.ask(3500.0, called=88216000001)
    assert excess is not None
    assert (excess.reason, excess.retry_after_s) == (Reason.DESTINATION_HOUR, 100)
    assert world.reason(3599.9, called=88216000001) is Reason.DESTINATION_HOUR
    assert world.reason(3600.0, called=88216000001) is None
    assert world.reason(3600.0, called=88216000001) is Reason.DESTINATION_HOUR


def test_attempt_that_passes_one_limit_is_charged_for_none() -> None:
    """All or nothing: what a destination refuses uses up neither the customer's, the number's nor the AS's rate."""
    limits = CallLimits(10, None, Share(10), (DestinationLimits("882", 1, calls_per_hour=5),))
    world = World(limits, Share(10))
    assert world.reason(called=88216000001) is None
    assert all(world.reason(called=88216000001) is Reason.DESTINATION_RATE for _ in range(50))
    assert [world.reason() for _ in range(10)] == [None] * 9 + [Reason.CALLS_PER_SECOND]
    for hour in range(1, 5):
        assert world.reason(hour * 10.0, called=88216000001) is None
    assert world.reason(60.0, called=88216000001) is Reason.DESTINATION_HOUR


def test_table_of_buckets_is_bounded() -> None:
    """A customer that calls from ever new numbers: the oldest are forgotten, which is counted, and memory stays."""
    world = World(CallLimits(per_number=Share(0.001)), most=100)
    for n in range(1000):
        assert world.reason(float(n) / 1000, caller=f"+1202{5550000 + n}") is None
    assert world.limiter.entries == 100
    assert world.limiter.forgotten == 900
    assert world.reason(1.0, caller="+12025550999") is Reason.NUMBER_RATE
    assert world.reason(1.0, caller="+12025550000") is None


def test_buckets_that_are_full_again_are_dropped() -> None:
    """Nothing is forgotten early while the table empties itself as fast as it fills."""
    world = World(CallLimits(per_number=Share(10)), most=100)
    for n in range(1000):
        assert world.reason(float(n), caller=f"+1202{5550000 + n}") is None
    assert world.limiter.entries <= 2
    assert world.limiter.forgotten == 0


@given(rate=st.floats(0.2, 50), gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=300))
def test_rate_is_never_passed_over_any_span(rate: float, gaps: list[float]) -> None:
    """However calls arrive, no more pass than the rate over the whole span and one second's worth at its start."""
    world, now, passed = World(CallLimits(calls_per_second=rate)), 0.0, 0
    read, who = facts(world.limits), customer(world.limits)
    for gap in gaps:
        now += gap
        passed += world.limiter.admit(read, who, None, 0, NO_ASN_LIMITS, Monotonic(now)).excess is None
    assert passed <= math.floor(now * rate + max(rate, 1.0) + 1e-6)
