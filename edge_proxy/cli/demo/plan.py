"""What a peer is told to play: calls of several kinds, and for each the verdict that the rules demand.

The demo writes it from the configuration (cast.py), and a peer process reads it as JSON (peers.py).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge_proxy.policy.verdict import Outcome, Reason

Numbers = tuple[int, int]
"""A range of full international numbers, both ends inclusive."""


class Identity(msgspec.Struct):
    """One P-Asserted-Identity value. Without numbers it repeats the one in From."""

    scheme: Literal["sip", "tel"] = "sip"
    numbers: Numbers | None = None


class Scenario(msgspec.Struct, kw_only=True):
    """One kind of call that a peer places again and again, and the verdict that the rules demand for it."""

    name: str
    every_s: float
    to: Numbers | str
    caller: Numbers | None
    """Where the number in From comes from; None withholds it."""
    asserted: list[Identity] = []
    lines: list[str] = []
    """Further header lines, as they are."""
    body: Literal["sdp", "isup"] = "sdp"
    gives_up: bool = False
    """The caller cancels while it rings."""
    outcome: Outcome = Outcome.ALLOWED
    reason: Reason = Reason.IDENTITY_OWNED

    @property
    def passes(self) -> bool:
        return self.outcome is not Outcome.REFUSED


class PeerPlan(msgspec.Struct, kw_only=True):
    """What one peer process is told at its start."""

    name: str
    side: Literal["customers", "carriers"]
    host: str
    port: int
    """0: any."""
    proxy: tuple[str, int]
    user_agent: str
    scenarios: list[Scenario]
    junk_every_s: float = 0.0
    """Above 0: also sends datagrams that are no SIP."""
    proxy_pid: int = 0
    """The process to end when the demo itself is gone without a word."""
