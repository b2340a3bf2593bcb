"""How far a refusal is rolled out: a reason and its caller in, enforce, monitor or off out.

A rule is enforced for a share of the callers: a fixed hash of the caller's number puts it into one of a hundred
places, so the same caller always meets the same answer, and a larger share takes in all of a smaller one.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.verdict import STATUS_OF, Reason


class RuleMode(StrEnum):
    """enforce: refuse. monitor: pass, and record what would have happened. off: the rule has nothing to say."""

    ENFORCE = "enforce"
    MONITOR = "monitor"
    OFF = "off"


_OFF: Final = RuleMode.OFF

ALWAYS_ENFORCED: Final = frozenset(
    {Reason.CALLED_NOT_OWNED, Reason.EVIDENCE_UNAVAILABLE, Reason.AUTHENTICATION_REQUIRED, Reason.OVERLOADED}
)
"""A call that has nowhere to go cannot pass; what happens without evidence, or with too much to do, has a key of its
own; who is challenged follows from what customers are known by."""

ABOUT_RANGES: Final = frozenset({Reason.UNALLOCATED_CALLER, Reason.UNALLOCATED_CALLED})
"""What they go by lags behind the numbering plans, so that nobody is judged by it unasked."""

MAY_BE_OFF: Final = ABOUT_RANGES | {Reason.INVALID_CALLER, Reason.INVALID_CALLED, Reason.CALLER_IS_CALLED}
"""Rules about the form of a call. Who may call as whom is at least watched."""

DEFAULT_MODES: Final[Mapping[Reason, RuleMode]] = {
    # Who calls is proved by then; PBXs write what they like about how a call came about.
    Reason.FORWARDER_NOT_OWNED: RuleMode.MONITOR,
    **{reason: RuleMode.OFF if reason in ABOUT_RANGES else RuleMode.MONITOR for reason in MAY_BE_OFF},
}
"""What is not here is enforced."""

ADJUSTABLE: Final = tuple(reason for reason in STATUS_OF if reason not in ALWAYS_ENFORCED)


def share_place(caller: str) -> int:
    """0 to 99: the place of a caller. Fixed, so that nodes, restarts and `explain` agree."""
    # CRC-32 is linear: without the multiplication neighbouring numbers would share their low digits too often.
    return (zlib.crc32(caller.encode("utf-8", "surrogatepass")) * 2_654_435_761 >> 16 & 0xFFFF) % 100


@dataclass(frozen=True, slots=True)
class Rollout:
    """Modes and shares by reason; a reason that is not in `shares` has the share 100."""

    modes: Mapping[Reason, RuleMode] = field(default_factory=lambda: DEFAULT_MODES)
    shares: Mapping[Reason, int] = field(default_factory=dict)
    off: frozenset[Reason] = field(init=False, repr=False, compare=False)
    """The reasons that nobody wants to know of."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "off", frozenset(reason for reason, mode in self.modes.items() if mode is _OFF))

    def asks_for(self, reason: Reason) -> bool:
        """Whether anybody wants to know: for rules that cost something."""
        return reason not in self.off

    def mode_of(self, reason: Reason, facts: CallFacts) -> RuleMode:
        """What holds for a refusal of this attempt for this reason."""
        mode = self.modes.get(reason, RuleMode.ENFORCE)
        if mode is RuleMode.ENFORCE and reason in self.shares and share_place(_caller(facts)) >= self.shares[reason]:
            return RuleMode.MONITOR
        return mode


def _caller(facts: CallFacts) -> str:
    """Who calls, for the share: the number in From, or else the first that is asserted or is to be, or From's text."""
    for claim in (facts.from_claim, *facts.asserted):
        if claim.number is not None:
            return str(claim.number)
    hinted = facts.hinted
    return facts.from_claim.user if hinted is None else str(hinted)
