"""What attempts and calls look like over time: runs of called numbers, short calls, bursts of spoofing.

Each watch is told what happens and asked what it has seen; time is passed in. What they have seen is no charge: it
counts for refused attempts too, or else who is refused could go on as before. The tables are bounded, and at the bound
the entry that was touched longest ago goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from edge_proxy.addr import E164, Monotonic
from edge_proxy.policy.call_limits import SequenceLimits, ShortCallLimits, SpoofLimits
from edge_proxy.policy.token_buckets import Key
from edge_proxy.policy.verdict import Reason

MOST_CALLERS: Final = 16_384
MOST_CALLED: Final = 65_536
MOST_SOURCES: Final = 1024
HOUR_S: Final = 3600.0
_SLOTS: Final = 60

SPOOFING: Final = frozenset(
    {
        Reason.FROM_NOT_OWNED,
        Reason.PAI_NOT_OWNED,
        Reason.PPI_NOT_OWNED,
        Reason.RPID_NOT_OWNED,
        Reason.PASSPORT_NOT_OWNED,
        Reason.TOO_MANY_IDENTITIES,
    }
)
"""The refusals that say: somebody claims to be who he is not."""


class Run(NamedTuple):
    """Numbers that follow one another, called from one number: the last one, how many, up or down, and since when."""

    last: E164
    numbers: int
    step: int
    at: Monotonic


def next_run(run: Run | None, called: E164, limits: SequenceLimits, now: Monotonic) -> Run:
    """The run that a call to this number belongs to, after `run`. Calling the same number again neither breaks it nor
    prolongs it."""
    step = 0 if run is None else called - run.last
    if run is None or abs(step) > 1 or now - run.at > limits.within_s:
        return Run(called, 1, 0, now)
    if step:
        return Run(called, run.numbers + 1 if run.step in {0, step} else 2, step, now)
    return run


def span_around(called: E164, other_end: Callable[[E164], E164 | None]) -> tuple[E164, E164]:
    """The first and the last of the numbers without a gap that were called and that this one belongs to now.

    `other_end` says of a number that was called where its span ends on the other side, as was true when it was called.
    """
    own = other_end(called)
    if own is not None:
        return min(own, called), max(own, called)
    below, above = other_end(E164(called - 1)), other_end(E164(called + 1))
    low = called if below is None else min(below, called)
    high = called if above is None else max(above, called)
    return low, high


class Runs(Protocol):
    """Who keeps the runs of called numbers: this worker (`Sequences`), or several together."""

    def observe(self, caller: Key, called: E164, limits: SequenceLimits, now: Monotonic) -> Run: ...


class Spans(Protocol):
    """Who keeps which numbers without a gap were called by all of a customer's callers, in whatever order."""

    def observe(self, customer: str, called: E164, within_s: float, now: Monotonic) -> int:
        """How many the span of this attempt has; each was called within `within_s` of another one of it."""


class HourCounts(Protocol):
    """Who keeps how many calls there were within the last hour."""

    def count(self, key: Key, now: Monotonic) -> int:
        """How many there were."""

    def wait_s(self, key: Key, most: int, now: Monotonic) -> float:
        """How long until they are fewer than `most`, when they are not."""

    def charge(self, key: Key, now: Monotonic) -> None:
        """There was another one."""


class ShortCallWatch(Protocol):
    """Who keeps what was seen of one customer's answered calls."""

    @property
    def limits(self) -> ShortCallLimits: ...
    def observe(self, duration_s: float, now: Monotonic) -> None: ...
    def excess(self, now: Monotonic) -> str: ...


class Bursts(Protocol):
    """Who keeps when each source was refused for who it claimed to be."""

    def observe(self, source: Key, limits: SpoofLimits, now: Monotonic) -> None: ...
    def is_on(self, source: Key, limits: SpoofLimits, now: Monotonic) -> bool: ...


class Hours:
    """The times of the calls of the last hour: exact over any 60 minutes."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: dict[Key, deque[Monotonic]] = {}

    def count(self, key: Key, now: Monotonic) -> int:
        times = self._times.get(key)
        if times is None:
            return 0
        while times and times[0] <= now - HOUR_S:
            times.popleft()
        return len(times)

    def wait_s(self, key: Key, most: int, now: Monotonic) -> float:
        times = self._times[key]
        return times[len(times) - most] + HOUR_S - now

    def charge(self, key: Key, now: Monotonic) -> None:
        times = self._times.get(key)
        if times is None:
            for other in [one for one, kept in self._times.items() if not kept or kept[-1] <= now - HOUR_S]:
                del self._times[other]  # also those that are no longer in the configuration
            times = self._times[key] = deque()
        times.append(now)


class Sequences:
    """The runs of called numbers, by who calls."""

    __slots__ = ("_most", "_runs")

    def __init__(self, most: int = MOST_CALLERS) -> None:
        self._runs: dict[Key, Run] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._runs)

    def observe(self, caller: Key, called: E164, limits: SequenceLimits, now: Monotonic) -> Run:
        """The run that this attempt belongs to."""
        before = self._runs.pop(caller, None)
        if before is None and len(self._runs) >= self._most:
            del self._runs[next(iter(self._runs))]
        run = self._runs[caller] = next_run(before, called, limits, now)
        return run


class CalledSpans:
    """The spans of called numbers, by the customer: of each number that was called, the other end and the time."""

    __slots__ = ("_kept", "_most")

    def __init__(self, most: int = MOST_CALLED) -> None:
        self._kept: dict[tuple[str, E164], tuple[E164, Monotonic]] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._kept)

    def observe(self, customer: str, called: E164, within_s: float, now: Monotonic) -> int:
        """See `Spans`."""

        def other_end(number: E164) -> E164 | None:
            kept = self._kept.get((customer, number))
            return None if kept is None or now - kept[1] > within_s else kept[0]

        low, high = span_around(called, other_end)
        for number, other in ((called, low), (low, high), (high, low)):
            key = (customer, number)
            if self._kept.pop(key, None) is None and len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = other, now
        return high - low + 1


def short_calls_excess(limits: ShortCallLimits, short: int, answered: int) -> str:
    """What is too much of so many short calls among the answered ones, in words; "" when it is not."""
    if short < limits.calls or short * 100 < limits.percent * answered:
        return ""
    return f"{short} of {answered} answered calls took less than {limits.shorter_than_s:g} s"


class ShortCalls:
    """The answered calls of one customer that ended within the window, which moves on by a sixtieth of itself."""

    __slots__ = ("_answered", "_short", "_slots", "limits")

    def __init__(self, limits: ShortCallLimits) -> None:
        self.limits = limits
        self._slots: deque[list[int]] = deque()
        self._answered = 0
        self._short = 0

    def observe(self, duration_s: float, now: Monotonic) -> None:
        """An answered call is over."""
        self._forget(now)
        slot = int(now / self.limits.window_s * _SLOTS)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append([slot, 0, 0])
        is_short = duration_s < self.limits.shorter_than_s
        self._slots[-1][1] += 1
        self._slots[-1][2] += is_short
        self._answered += 1
        self._short += is_short

    def excess(self, now: Monotonic) -> str:
        """What is too much of it, in words; "" while it is not."""
        self._forget(now)
        return short_calls_excess(self.limits, self._short, self._answered)

    def _forget(self, now: Monotonic) -> None:
        oldest = int(now / self.limits.window_s * _SLOTS) - _SLOTS
        slots = self._slots
        while slots and slots[0][0] <= oldest:
            _, answered, short = slots.popleft()
            self._answered -= answered
            self._short -= short


class SpoofBursts:
    """When each source address and each source AS was last refused for who it claimed to be."""

    __slots__ = ("_most", "_times")

    def __init__(self, most: int = MOST_SOURCES) -> None:
        self._times: dict[Key, deque[Monotonic]] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._times)

    def observe(self, source: Key, limits: SpoofLimits, now: Monotonic) -> None:
        """It was refused again."""
        times = self._times.pop(source, None)
        if times is None and len(self._times) >= self._most:
            del self._times[next(iter(self._times))]
        if times is None or times.maxlen != limits.refusals:
            times = deque(times or (), limits.refusals)
        times.append(now)
        self._times[source] = times

    def is_on(self, source: Key, limits: SpoofLimits, now: Monotonic) -> bool:
        """Whether there were as many refusals within the window as are too many."""
        times = self._times.get(source)
        return times is not None and len(times) >= limits.refusals and times[-limits.refusals] > now - limits.window_s
