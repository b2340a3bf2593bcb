"""Which addresses of targets can be used now: signs of life and of trouble in, a standing for each address out.

Signs come from requests that went there anyhow and from probes (pipeline/probing.py). An address is down after some
bad signs in a row. One that is probed comes back after some good ones; one that is not is simply tried again after a
while, and the next bad sign takes it down again. A 503 with Retry-After closes an address for that long
(RFC 3261 §21.5.4). Time is passed in; only addresses that were announced by `watch` are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from edge_proxy.addr import Address, Monotonic

MAX_RETRY_AFTER_S: Final = 300
"""The longest Retry-After that is honoured: a wrong number in one response must not close a trunk for a day."""


class Thresholds(NamedTuple):
    """How many signs in a row change the standing of one address."""

    down_after: int = 3
    up_after: int = 1
    retry_s: float | None = 30.0
    """How long an address stays down before it is tried again; None: until probes say that it is up."""


class Standing(IntEnum):
    """What an address may be used for, best first."""

    READY = 0
    DOWN = 1
    CLOSED = 2
    """It asked for a pause (Retry-After)."""


class _Record:
    """The signs of one address that is, or lately was, in trouble."""

    __slots__ = ("bad", "closed_until", "down_since", "good")

    def __init__(self) -> None:
        self.bad = 0
        self.good = 0
        self.down_since: Monotonic | None = None
        self.closed_until = Monotonic(0.0)


class TargetHealth:
    """The standing of every watched address. An address without trouble costs one look-up that finds nothing."""

    __slots__ = ("_more_thresholds", "_records", "_thresholds")

    def __init__(self) -> None:
        self._thresholds: Mapping[Address, Thresholds] = {}
        self._more_thresholds: Mapping[Address, Thresholds] = {}
        self._records: dict[Address, _Record] = {}

    def watch(self, thresholds: Mapping[Address, Thresholds], more: Mapping[Address, Thresholds] | None = None) -> None:
        """Watch these addresses from now on, and these `more` in their own way; what is known of those that stay is
        kept. Both belong to the caller, who changes neither: this costs the same however many they are.
        """
        self._thresholds = thresholds
        self._more_thresholds = more or {}
        for address in [address for address in self._records if self._thresholds_of(address) is None]:
            del self._records[address]

    @property
    def is_quiet(self) -> bool:
        """Whether no address is in trouble."""
        return not self._records

    def note_good(self, address: Address) -> None:
        """It answered."""
        if not self._records:
            return
        record = self._records.get(address)
        if record is None:
            return
        record.bad = 0
        record.good += 1
        thresholds = self._thresholds_of(address)
        if record.down_since is not None and thresholds is not None and record.good >= thresholds.up_after:
            record.down_since = None
        if record.down_since is None and not record.closed_until:
            del self._records[address]

    def note_bad(self, address: Address, now: Monotonic) -> None:
        """It did not answer, could not be reached, or said that it cannot serve."""
        thresholds = self._thresholds_of(address)
        if thresholds is None:
            return
        record = self._records.get(address)
        if record is None:
            record = self._records[address] = _Record()
        record.good = 0
        record.bad += 1
        if record.bad >= thresholds.down_after:
            record.down_since = now

    def close(self, address: Address, seconds: float, now: Monotonic) -> None:
        """It asked for a pause: no new requests for so long, but no longer than `MAX_RETRY_AFTER_S`."""
        if seconds <= 0 or self._thresholds_of(address) is None:
            return
        record = self._records.get(address)
        if record is None:
            record = self._records[address] = _Record()
        record.closed_until = max(record.closed_until, Monotonic(now + min(seconds, MAX_RETRY_AFTER_S)))

    def standing(self, address: Address, now: Monotonic) -> Standing:
        record = self._records.get(address)
        if record is None:
            return Standing.READY
        if record.closed_until > now:
            return Standing.CLOSED
        record.closed_until = Monotonic(0.0)
        if record.down_since is None:
            return Standing.READY
        thresholds = self._thresholds_of(address)
        retry_s = None if thresholds is None else thresholds.retry_s
        return Standing.READY if retry_s is not None and now >= record.down_since + retry_s else Standing.DOWN

    def is_down(self, address: Address) -> bool:
        """Whether it was taken for dead and has not answered since, whatever the time."""
        record = self._records.get(address)
        return record is not None and record.down_since is not None

    def is_doubtful(self, address: Address) -> bool:
        """Whether the signs point another way than its standing does: the next sign should come soon."""
        record = self._records.get(address)
        if record is None:
            return False
        return record.bad > 0 if record.down_since is None else record.good > 0

    def bad_signs(self, address: Address) -> int:
        """Bad signs in a row."""
        record = self._records.get(address)
        return 0 if record is None else record.bad

    def pause_left_s(self, address: Address, now: Monotonic) -> float:
        """How much of the pause that it asked for is left."""
        record = self._records.get(address)
        return 0.0 if record is None else max(0.0, record.closed_until - now)

    def _thresholds_of(self, address: Address) -> Thresholds | None:
        thresholds = self._thresholds.get(address)
        return self._more_thresholds.get(address) if thresholds is None else thresholds
