"""Put targets into the order in which a request tries them: by priority, among equals by weight (RFC 2782), by health.

The dice are passed in, computed from the Call-ID: the same request takes the same way on every worker and when it is
sent again (RFC 3263 §4.4), and a test can foresee it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from edge_proxy.addr import Monotonic
from edge_proxy.routing.health import Standing, TargetHealth
from edge_proxy.routing.names import Endpoint
from edge_proxy.routing.targets import Target

MOST_PLACES: Final = 8
"""How many places one request tries: past this many, the caller has long given up."""

_FINE: Final = 1024
_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
_MASK: Final = (1 << 64) - 1


class _Ranked(Protocol):
    @property
    def priority(self) -> int: ...
    @property
    def weight(self) -> int: ...


R = TypeVar("R", bound=_Ranked)


class Offer(NamedTuple):
    """A target with the addresses that it has now."""

    target: Target
    priority: int
    weight: int
    endpoints: tuple[Endpoint, ...]


class Place(NamedTuple):
    """One address of one target."""

    target: Target
    endpoint: Endpoint


class Choice(NamedTuple):
    """Where a request goes, best first. Nowhere and `pause_s` > 0: every place asked to be left alone for so long."""

    places: list[Place]
    pause_s: float


def choose(
    groups: Sequence[Sequence[Offer]],
    health: TargetHealth,
    now: Monotonic,
    dice: int,
    *,
    takes_any: bool = False,
) -> Choice:
    """The places to try: group after group (trunk after trunk), those that are ready only.

    When none is ready, those that are down are tried, the least bad first: a wrong belief must not refuse a call that
    would have got through. Places that asked for a pause or are being drained are left alone. `takes_any`: an
    emergency call, which has them all, the doubtful ones last.
    """
    ready: list[Place] = []
    down: list[Place] = []
    closed: list[Place] = []
    drained: list[Place] = []
    is_quiet = health.is_quiet
    for group in groups:
        for offer in in_order(group, dice):
            target = offer.target
            for endpoint in in_order(offer.endpoints, dice):
                place = Place(target, endpoint)
                if target.is_draining:
                    drained.append(place)
                    continue
                standing = Standing.READY if is_quiet else health.standing(endpoint.address, now)
                if standing is Standing.READY:
                    ready.append(place)
                elif standing is Standing.DOWN:
                    down.append(place)
                else:
                    closed.append(place)
        if len(ready) >= MOST_PLACES:
            break
    if down and (takes_any or not ready):
        down.sort(key=lambda place: health.bad_signs(place.endpoint.address))
    if takes_any:
        return Choice((ready + down + closed + drained)[:MOST_PLACES], 0.0)
    if ready or down:
        return Choice((ready or down)[:MOST_PLACES], 0.0)
    pauses = [health.pause_left_s(place.endpoint.address, now) for place in closed]
    return Choice([], min(pauses, default=0.0))


def fixed_places(groups: Sequence[Sequence[Offer]]) -> list[Place] | None:
    """The places of every new request while all is well; None when that depends on the dice."""
    places: list[Place] = []
    for group in groups:
        if _has_ties(group) or any(_has_ties(offer.endpoints) for offer in group):
            return None
        for offer in in_order(group, 0):
            if not offer.target.is_draining:
                places += [Place(offer.target, endpoint) for endpoint in in_order(offer.endpoints, 0)]
    return places[:MOST_PLACES]


def in_order(ranked: Sequence[R], dice: int) -> Sequence[R]:
    """Lower priorities first; among equals, each order as likely as the weights make it (RFC 2782, "Weight")."""
    if len(ranked) < 2:
        return ranked
    tiers: dict[int, list[R]] = {}
    for one in ranked:
        tiers.setdefault(one.priority, []).append(one)
    ordered: list[R] = []
    for priority in sorted(tiers):
        tier = tiers[priority]
        while len(tier) > 1:
            dice = (dice * _MULTIPLIER + _INCREMENT) & _MASK
            ordered.append(tier.pop(_drawn(tier, dice >> 24)))
        ordered.append(tier[0])
    return ordered


def _has_ties(ranked: Sequence[_Ranked]) -> bool:
    return len({one.priority for one in ranked}) < len(ranked)


def _drawn(tier: Sequence[_Ranked], number: int) -> int:
    """Exact shares, where RFC 2782's own way of counting favours whoever stands first among small weights.

    Weight 0 keeps a very small chance beside others, and an even one where nobody gave weights.
    """
    point = number % sum(one.weight * _FINE or 1 for one in tier)
    for index, one in enumerate(tier):
        point -= one.weight * _FINE or 1
        if point < 0:
            return index
    return len(tier) - 1
