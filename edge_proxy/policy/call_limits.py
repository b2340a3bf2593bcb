"""What limits a customer, a source AS and a destination are held to: the operator's numbers, as decisions need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


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
class CallLimits:
    """None: no limit. A rate lets through as many calls at once as it allows in a second, at least one."""

    calls_per_second: float | None = None
    concurrent_calls: int | None = None
    per_number: Share = NO_SHARE
    """Each calling number, on the customer's own calls."""
    destinations: tuple[DestinationLimits, ...] = ()
    """The longest prefix of the called number holds alone, on the customer's own calls."""
    has_details: bool = field(init=False)
    """Whether more is set than the customer's own rate and count: what the usual call has to ask once."""

    def __post_init__(self) -> None:
        longest_first = tuple(sorted(self.destinations, key=lambda one: -len(one.digits)))
        object.__setattr__(self, "destinations", longest_first)
        object.__setattr__(self, "has_details", self.per_number.is_set or bool(longest_first))

    def destination_of(self, called: int) -> DestinationLimits | None:
        """The limits of the longest prefix that this number begins with."""
        digits = str(called)
        return next((one for one in self.destinations if digits.startswith(one.digits)), None)


NO_LIMITS: Final = CallLimits()
