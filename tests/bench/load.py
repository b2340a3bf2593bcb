"""Calls through a candidate at a steady rate, and what that took: SIPp on both sides, and the processor's own clock.

A slice is a few seconds of calls. Its figures are the candidate's processor time per completed call (all its processes
and threads) and the share of messages that SIPp had to send again.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.candidates import Candidate, Load, processor_s
from tests.bench.report import say
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST
from tests.kit.sipp import SCENARIOS, Sipp

SUSTAINED: Final = 0.001
"""A rate is sustained when less than this share of messages is sent again, and no call fails."""
_HOPELESS: Final = 0.05
_HOLD_MS: Final = 200
_GRACE_S: Final = 12
"""How long calls that lost messages may take to end after all others."""
_LATE_S: Final = 1.5


class Slice(NamedTuple):
    """What one slice of calls took."""

    rate: float
    calls: int
    failed: int
    resent: float
    """Share of the messages of both ends."""
    us_per_call: float
    cores: float
    """Share of one processor that the candidate used while calls came in."""
    is_late: bool
    """The callers themselves did not keep the rate."""

    @property
    def is_sustained(self) -> bool:
        return self.failed == 0 and self.resent < SUSTAINED and not self.is_late

    @property
    def is_hopeless(self) -> bool:
        """So far from sustained that another round would only take time."""
        return self.failed > 0 or self.resent > _HOPELESS


def caller_scenario(directory: Path) -> Path:
    """The tests' caller, with a number of its own for each call."""
    path = directory / "caller.xml"
    text = (SCENARIOS / "uac.xml").read_text(encoding="utf-8")
    who = "<sip:[field0]@acme.example>"
    path.write_text(text.replace("[from]", who).replace("[headers]", f"P-Asserted-Identity: {who}"), encoding="utf-8")
    return path


class Calls:
    """Both ends of a number of calls, under way until the `with` block ends; `wait` lets them all end well."""

    def __init__(
        self, candidate: Candidate, load: Load, rate: float, calls: int, hold_ms: int = _HOLD_MS, timeout_s: int = 0
    ) -> None:
        self._candidate, self._load, self._rate, self._calls = candidate, load, rate, calls
        self._hold_ms = hold_ms
        self._timeout_s = timeout_s or int(calls / rate) + hold_ms // 1000 + _GRACE_S

    def __enter__(self) -> Calls:
        load, candidate = self._load, self._candidate
        ends = candidate.ends
        time.sleep(max(0.0, ends.silent_at - time.monotonic()))
        with ExitStack() as stack:
            self._callee = stack.enter_context(
                Sipp(
                    load.directory,
                    "uas",
                    local=(CARRIER_HOST, ends.carrier_port),
                    calls=self._calls,
                    timeout_s=self._timeout_s,
                )
            )
            self._before = processor_s(candidate)
            self._started = time.monotonic()
            self._caller = stack.enter_context(
                Sipp(
                    load.directory,
                    caller_scenario(load.directory),
                    local=(ACME_HOST, ends.caller_port),
                    remote=(PROXY_HOST, candidate.entry_port),
                    calls=self._calls,
                    rate=self._rate,
                    hold_ms=self._hold_ms,
                    timeout_s=self._timeout_s,
                    extra=("-inf", str(load.callers or load.network.callers)),
                )
            )
            self._ends = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def wait(self) -> Slice:
        """When the last call is over."""
        called = self._caller.wait()
        used_s = processor_s(self._candidate) - self._before
        took_s = max(time.monotonic() - self._started, 0.001)
        if called.failed:
            self._callee.quit_now()
            answered = called
            # What it still repeats would be calls to the next carrier on that port.
            self._candidate.ends.silent_at = time.monotonic() + self._candidate.repeats_s
        else:
            answered = self._callee.wait()
        steps = [step for result in (called, answered) for step in result.steps if step.is_sent]
        sent = sum(step.count + step.retransmitted for step in steps)
        return Slice(
            rate=self._rate,
            calls=called.successful,
            failed=called.failed,
            resent=sum(step.retransmitted for step in steps) / max(sent, 1),
            us_per_call=used_s / max(called.successful, 1) * 1e6,
            cores=used_s / took_s,
            is_late=took_s > self._calls / self._rate * 1.15 + self._hold_ms / 1000 + _LATE_S,
        )


def measure(candidate: Candidate, load: Load, rate: float, seconds: float) -> Slice:
    """One slice; again, once, should SIPp itself not have come up on a busy machine."""
    try:
        return _measure(candidate, load, rate, seconds)
    except (TimeoutError, IndexError) as error:
        say(f"once more, since SIPp did not come up: {error!r}")
        return _measure(candidate, load, rate, seconds)


def _measure(candidate: Candidate, load: Load, rate: float, seconds: float) -> Slice:
    with Calls(candidate, load, rate, max(int(rate * seconds), 1)) as calls:
        return calls.wait()
