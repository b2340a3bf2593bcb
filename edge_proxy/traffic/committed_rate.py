"""Set traffic against the committed data rate: the share of one ASN, and the 95th percentile that is billed.

Pure arithmetic on numbers that somebody else measured; nothing here keeps time or state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TEN_PERCENT: Final = 0.10
"""Above this share of the committed rate the carrier promises no loss or latency to or from that ASN."""


def share_of(bytes_per_s: float, committed_rate_bps: float) -> float:
    """The share of a committed rate (bits per second) that a rate in bytes per second takes: 0.1 is 10 %.

    ValueError when the committed rate is not above 0: a share of nothing has no meaning, and 0.0 would hide it.
    """
    if not committed_rate_bps > 0:
        raise ValueError(f"committed rate {committed_rate_bps} is not above 0: write it in bits per second")
    return bytes_per_s * 8 / committed_rate_bps


def percentile_95(samples: Iterable[float]) -> float:
    """The 95th percentile as transit is billed: the sample at ascending index ceil(0.95 * n) - 1.

    With a sample every 5 minutes for 30 days (8,640), the highest 432 are free and the 433rd highest is billed.
    One direction per call: bill the larger of in and out. ValueError when there is no sample.
    """
    ascending = sorted(samples)
    if not ascending:
        raise ValueError("no samples: a percentile needs at least one")
    # In whole numbers: 0.95 * n in binary floating point can land just above an integer and skip a sample.
    return ascending[(95 * len(ascending) + 99) // 100 - 1]
