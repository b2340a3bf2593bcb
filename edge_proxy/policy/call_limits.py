"""What limits customers, source AS, destinations and strangers are held to: the operator's numbers, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_proxy.traffic.address_ranges import RangeMap


@dataclass(frozen=True, slots=True)
class Share:
    """Calls of one number or one AS. None: no limit."""

    calls_per_second: float | None = None
    concurrent_calls: int | None = None

    @property
    def is_set(self) -> bool:
        return self.calls_per_second is not None or self.concurrent_calls is not None


NO_SHARE: Final = Share()


@dataclass(frozen=True, slots=True)
class DestinationLimits:
    """Calls to numbers that begin with `digits` (E.164, without +). None: no limit."""

    digits: str
    calls_per_second: float | None = None
    concurrent_calls: int | None = None
    calls_per_hour: int | None = None
    """In any 60 minutes, to the call."""


@dataclass(frozen=True, slots=True)
class SequenceLimits:
    """At most `numbers` that follow one another are called from one number, each within `within_s` of the last; and at
    most `of_customer` by all of the customer's callers, in whatever order (None: any)."""

    numbers: int
    within_s: float
    of_customer: int | None = None


@dataclass(frozen=True, slots=True)
class ShortCallLimits:
    """From `calls` answered calls shorter than `shorter_than_s` in `window_s` on, if they are `percent` or more of all
    answered ones, calls are slowed to `slowed_to` a second."""

    shorter_than_s: float
    calls: int
    percent: float
    window_s: float
    slowed_to: float


@dataclass(frozen=True, slots=True)
class SpoofLimits:
    """From `refusals` for a claimed identity in `window_s` on, what passes is slowed to `slowed_to` a second."""

    refusals: int
    window_s: float
    slowed_to: float


@dataclass(frozen=True, slots=True)
class AsnLimits:
    """What each source AS is held to."""

    share: Share = NO_SHARE
    spoofing: SpoofLimits | None = None


NO_ASN_LIMITS: Final = AsnLimits()


@dataclass(frozen=True, slots=True)
class CallLimits:
    """None: no limit. A rate lets through as many calls at once as it allows in a second, at least one."""

    calls_per_second: float | None = None
    concurrent_calls: int | None = None
    per_number: Share = NO_SHARE
    """Each calling number, on the customer's own calls."""
    destinations: tuple[DestinationLimits, ...] = ()
    """The longest prefix of the called number holds alone, on the customer's own calls."""
    messages_per_second: float | None = None
    """MESSAGE has this limit and none of those of calls."""
    calls_to_number_per_minute: int | None = None
    """To each called number, calls from the carrier to the customer's numbers included."""
    sequence: SequenceLimits | None = None
    short_calls: ShortCallLimits | None = None
    spoofing: SpoofLimits | None = None
    """Per source address of the customer."""
    has_details: bool = field(init=False)
    """Whether more is set than the customer's own rate and count: what the usual call has to ask once."""
    is_limited: bool = field(init=False)
    """Whether anything is set at all: what has to be asked together with the other workers."""

    def __post_init__(self) -> None:
        longest_first = tuple(sorted(self.destinations, key=lambda one: -len(one.digits)))
        object.__setattr__(self, "destinations", longest_first)
        behaviour = (self.calls_to_number_per_minute, self.sequence, self.short_calls, self.spoofing)
        has_details = self.per_number.is_set or bool(longest_first) or any(one is not None for one in behaviour)
        object.__setattr__(self, "has_details", has_details)
        own = (self.concurrent_calls, self.calls_per_second, self.messages_per_second)
        object.__setattr__(self, "is_limited", has_details or any(one is not None for one in own))

    def destinations_of(self, called: int | None, others: Sequence[int] = ()) -> list[DestinationLimits]:
        """The limits of the longest prefix that the number begins with, and of that of each other, each once."""
        found: list[DestinationLimits] = []
        if self.destinations:
            for number in others if called is None else (called, *others):
                digits = str(number)
                for one in self.destinations:
                    if digits.startswith(one.digits):
                        if one not in found:
                            found.append(one)
                        break
        return found


NO_LIMITS: Final = CallLimits()


@dataclass(frozen=True, slots=True)
class ScannerLimits:
    """From `requests` that led nowhere within `window_s` on a source is ignored for `ignore_s`."""

    requests: int
    window_s: float
    ignore_s: float
    never: RangeMap
    """Sources that are not ignored whatever they do."""
