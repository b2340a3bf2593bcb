"""Rules of the committed rate: shares in bits, and the percentile that transit is billed by."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.traffic.committed_rate import TEN_PERCENT, percentile_95, share_of


def test_share_counts_bits_against_the_rate() -> None:
    """1.25 MB/s is 10 Mbit/s: one tenth of 100 Mbit/s, and not yet above the line."""
    assert share_of(1_250_000, 100_000_000) == TEN_PERCENT
    assert share_of(1_250_001, 100_000_000) > TEN_PERCENT
    assert share_of(0, 100_000_000) == 0.0


@pytest.mark.parametrize("rate_bps", [0, -1, float("nan")])
def test_share_of_no_rate_is_an_error(rate_bps: float) -> None:
    """A missing committed rate is not a share of 0 %: that would silence the alert."""
    with pytest.raises(ValueError, match="is not above 0"):
        share_of(1.0, rate_bps)


def test_percentile_of_a_month_leaves_432_samples_free() -> None:
    """8,640 samples of 5 minutes: the 433rd highest is billed."""
    samples = list(range(8640))

    assert percentile_95(samples) == sorted(samples, reverse=True)[432]


@given(st.integers(1, 3000))
def test_percentile_index_is_exact_for_every_count(count: int) -> None:
    """Index ceil(0.95 * n) - 1 of the ascending list, without the rounding of binary fractions."""
    assert percentile_95(range(count)) == ceil(Fraction(95, 100) * count) - 1


@given(st.lists(st.floats(0, 1e12), min_size=1))
def test_percentile_is_a_sample_and_at_most_a_twentieth_is_above(samples: list[float]) -> None:
    """The billed value was really measured, whatever the order of the samples."""
    billed = percentile_95(samples)

    assert billed in samples
    assert sum(sample > billed for sample in samples) * 20 <= len(samples)
    assert percentile_95(reversed(samples)) == billed


def test_percentile_of_nothing_is_an_error() -> None:
    """No samples is not a bill of 0."""
    with pytest.raises(ValueError, match="no samples"):
        percentile_95([])
