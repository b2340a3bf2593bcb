"""The order in which targets are tried: priority, weight, health, and what is left when nothing is well."""

from __future__ import annotations

import zlib
from collections import Counter

import pytest

from edge_proxy.addr import Address, Monotonic, Transport
from edge_proxy.routing.health import TargetHealth, Thresholds
from edge_proxy.routing.names import Endpoint
from edge_proxy.routing.selection import MOST_PLACES, Choice, Offer, choose, fixed_places, in_order
from edge_proxy.routing.targets import Target

NOW = Monotonic(1000.0)


def offer(number: int, priority: int = 0, weight: int = 1, *, drains: bool = False) -> Offer:
    address = Address(f"192.0.2.{number}", 5060)
    target = Target(f"sip:{address}", address, is_draining=drains)
    return Offer(target, priority, weight, (Endpoint(address, Transport.UDP),))


def health_of(
    *groups: list[Offer], down: dict[int, int] | None = None, closed: dict[int, float] | None = None
) -> TargetHealth:
    """Health that watches all of `groups`; `down` maps a number to its bad signs, `closed` to its pause."""
    health = TargetHealth()
    health.watch({one.endpoints[0].address: Thresholds(1, 1, None) for group in groups for one in group})
    for number, signs in (down or {}).items():
        for _ in range(signs):
            health.note_bad(Address(f"192.0.2.{number}", 5060), NOW)
    for number, pause_s in (closed or {}).items():
        health.close(Address(f"192.0.2.{number}", 5060), pause_s, NOW)
    return health


def numbers(choice: Choice) -> list[int]:
    return [int(place.endpoint.address.host.rpartition(".")[2]) for place in choice.places]


def test_lower_priority_comes_first_and_groups_stay_apart() -> None:
    """Trunk after trunk; within one, by priority, whatever the order in the file."""
    groups = [[offer(1, 20), offer(2, 10)], [offer(3, 5)]]
    for dice in range(50):
        assert numbers(choose(groups, health_of(*groups), NOW, dice)) == [2, 1, 3]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [((3, 1), (0.75, 0.25)), ((0, 0), (0.5, 0.5)), ((60, 20, 20), (0.6, 0.2, 0.2)), ((100, 0), (1.0, 0.0))],
)
def test_weights_share_the_calls(weights: tuple[int, ...], shares: tuple[float, ...]) -> None:
    """Over many Call-IDs each target comes first as often as its weight says (RFC 2782); no weights: evenly."""
    offers = [offer(number, 0, weight) for number, weight in enumerate(weights, start=1)]
    count = 20_000
    firsts = Counter(
        in_order(offers, zlib.crc32(b"%d@host" % n))[0].endpoints[0].address.host[-1] for n in range(count)
    )
    for number, share in enumerate(shares, start=1):
        assert firsts[str(number)] / count == pytest.approx(share, abs=0.02)


def test_every_order_holds_everything_once() -> None:
    """Whatever the dice, no place is lost or repeated."""
    offers = [offer(number, number % 2, number * 7 % 3) for number in range(1, 7)]
    for dice in range(500):
        assert Counter(in_order(offers, dice)) == Counter(offers)


def test_same_call_takes_the_same_way() -> None:
    """The dice are the Call-ID's: a retransmission after a restart goes where the first one went (RFC 3263 §4.4)."""
    offers = [offer(number) for number in range(1, 5)]
    dice = zlib.crc32(b"call@host")
    assert in_order(offers, dice) == in_order(list(offers), dice)


def test_down_and_closed_places_are_skipped() -> None:
    """While one is ready, calls go to what is ready only."""
    group = [offer(1, 1), offer(2, 2), offer(3, 3)]
    health = health_of(group, down={1: 1}, closed={2: 10})
    assert numbers(choose([group], health, NOW, 0)) == [3]


def test_all_down_tries_the_least_bad_first() -> None:
    """A wrong belief must not refuse a call: when all are down, all are tried, fewest bad signs first."""
    group = [offer(1, 1), offer(2, 2), offer(3, 3)]
    health = health_of(group, down={1: 5, 2: 1, 3: 3})
    assert numbers(choose([group], health, NOW, 0)) == [2, 3, 1]


def test_all_closed_says_when_to_come_back() -> None:
    """Whoever asked for a pause gets it; the caller can be told how long the shortest one is."""
    group = [offer(1), offer(2)]
    choice = choose([group], health_of(group, closed={1: 30, 2: 12}), NOW, 0)
    assert choice == Choice([], 12.0)


def test_down_is_tried_before_a_pause_is_broken() -> None:
    """A place that may be dead is tried; one that asked to be left alone is not."""
    group = [offer(1), offer(2)]
    assert numbers(choose([group], health_of(group, down={1: 1}, closed={2: 10}), NOW, 0)) == [1]


def test_drained_target_gets_no_new_calls() -> None:
    """Not even when it is the only one."""
    group = [offer(1, drains=True)]
    assert choose([group], health_of(group), NOW, 0) == Choice([], 0.0)
    group.append(offer(2))
    assert numbers(choose([group], health_of(group), NOW, 0)) == [2]


def test_emergency_call_may_use_any_target() -> None:
    """Ready ones first, then what is down, closed or drained: nothing is left untried."""
    group = [offer(1, 1, drains=True), offer(2, 2), offer(3, 3), offer(4, 4)]
    health = health_of(group, down={2: 1}, closed={3: 10})
    assert numbers(choose([group], health, NOW, 0, takes_any=True)) == [4, 2, 3, 1]


def test_number_of_places_is_bounded() -> None:
    """However many targets there are, one request tries some of them."""
    groups = [[offer(number)] for number in range(1, 30)]
    assert numbers(choose(groups, health_of(*groups), NOW, 0)) == list(range(1, MOST_PLACES + 1))


def test_name_without_address_offers_nothing() -> None:
    """A target whose name is not known yet is passed over."""
    unknown = Offer(Target("sip:sbc.example.net", None), 0, 1, ())
    group = [unknown, offer(2)]
    assert numbers(choose([group], health_of([group[1]]), NOW, 0)) == [2]


def test_srv_priorities_order_the_addresses_of_one_target() -> None:
    """A target's own priority comes first, its addresses follow their SRV records."""
    near = Endpoint(Address("192.0.2.1", 5060), Transport.UDP, 10, 5)
    far = Endpoint(Address("192.0.2.2", 5060), Transport.UDP, 20, 5)
    group = [Offer(Target("sip:sbc.example.net", None), 1, 1, (far, near)), offer(3, 2)]
    for dice in range(20):
        assert numbers(choose([group], TargetHealth(), NOW, dice)) == [1, 2, 3]


def test_fixed_order_is_what_choosing_would_give() -> None:
    """Where no dice are needed, the order is known beforehand, and it is the same one; drained targets are left out."""
    groups = [[offer(2, 2), offer(1, 1), offer(4, 3, drains=True)], [offer(3, 1)]]
    fixed = fixed_places(groups)
    assert fixed == choose(groups, health_of(*groups), NOW, 7).places
    assert fixed_places([[offer(1, 1), offer(2, 1)]]) is None
