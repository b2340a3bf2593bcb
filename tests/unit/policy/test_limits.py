"""A customer's limits, exact to the call."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Monotonic
from edge_proxy.policy.limits import CallRates
from edge_proxy.policy.parties import CallLimits
from edge_proxy.policy.verdict import Reason


def take(rates: CallRates, limits: CallLimits, now: float, active: int = 0) -> Reason | None:
    excess = rates.take("acme", limits, active, Monotonic(now))
    return None if excess is None else excess.reason


def test_no_limit_lets_everything_through() -> None:
    """Without limits nothing is ever in excess."""
    rates = CallRates()
    assert all(take(rates, CallLimits(), 0.0, active=10**6) is None for _ in range(1000))


def test_rate_lets_one_second_of_calls_through_at_once() -> None:
    """A rate of 5 lets 5 calls through at once; the 6th is in excess until a fifth of a second has passed."""
    rates, limits = CallRates(), CallLimits(calls_per_second=5)
    assert [take(rates, limits, 10.0) for _ in range(6)] == [None] * 5 + [Reason.CALLS_PER_SECOND]
    assert take(rates, limits, 10.19) is Reason.CALLS_PER_SECOND
    assert take(rates, limits, 10.4) is None


def test_refused_call_is_not_charged() -> None:
    """Trying in vain does not make a customer wait longer."""
    rates, limits = CallRates(), CallLimits(calls_per_second=1)
    assert take(rates, limits, 0.0) is None
    assert all(take(rates, limits, 0.5) is Reason.CALLS_PER_SECOND for _ in range(100))
    assert take(rates, limits, 1.01) is None


def test_concurrent_calls_stop_at_the_limit() -> None:
    """The call that would be one too many is in excess, and costs no rate."""
    rates, limits = CallRates(), CallLimits(calls_per_second=1, concurrent_calls=3)
    assert take(rates, limits, 0.0, active=3) is Reason.CONCURRENT_CALLS
    assert take(rates, limits, 0.0, active=2) is None


def test_retry_after_is_when_the_next_call_fits() -> None:
    """One call in ten seconds: after it, Retry-After says ten whole seconds."""
    rates, limits = CallRates(), CallLimits(calls_per_second=0.1)
    rates.take("acme", limits, 0, Monotonic(0.0))
    excess = rates.take("acme", limits, 0, Monotonic(0.0))
    assert excess is not None
    assert excess.retry_after_s == 10


@given(rate=st.floats(0.2, 50), gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=300))
def test_rate_is_never_passed_over_any_span(rate: float, gaps: list[float]) -> None:
    """However calls arrive, no more pass than the rate over the whole span and one second's worth at its start."""
    rates, limits, now, passed = CallRates(), CallLimits(calls_per_second=rate), 0.0, 0
    for gap in gaps:
        now += gap
        passed += take(rates, limits, now) is None
    assert passed <= math.floor(now * rate + max(rate, 1.0) + 1e-6)
