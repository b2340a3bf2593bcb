"""What a peer has seen with its own eyes: the counts it prints as JSON lines, and that the demo holds against /metrics.

A peer never asks the proxy anything: these counts come from messages it sent and received.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

NO_ANSWER: Final = "no answer"
_MAX_PROBLEMS: Final = 20


class ScenarioCount(msgspec.Struct):
    """One scenario's calls. `finals` counts final answers by "status" or, when a Reason came along, "status reason"."""

    placed: int = 0
    running: int = 0
    finals: dict[str, int] = {}

    def add_final(self, status: int, reason: str) -> None:
        key = f"{status} {reason}" if reason else str(status)
        self.finals[key] = self.finals.get(key, 0) + 1


class PeerReport(msgspec.Struct):
    """One peer's counts so far. Calls and hang-ups are counted once, however often their messages were repeated."""

    name: str
    state: Literal["starting", "ready", "busy", "done", "failed"] = "starting"
    scenarios: dict[str, ScenarioCount] = {}
    placed_and_answered: int = 0
    """Calls this peer placed that were answered 200."""
    received_and_answered: int = 0
    """Calls this peer was called with and answered 200."""
    byes: int = 0
    """Calls this peer hung up, the hang-up answered 200."""
    cancelled: int = 0
    """Calls this peer gave up, answered 487."""
    running: int = 0
    """Calls that are not over yet, placed or received."""
    sent: int = 0
    """Datagrams, repetitions included; `received` as well."""
    received: int = 0
    repeated: int = 0
    """Of those sent: requests and responses sent again because nothing came back."""
    junk: int = 0
    problems: list[str] = []
    """What should not have happened, in words; the first of them only."""

    def scenario(self, name: str) -> ScenarioCount:
        return self.scenarios.setdefault(name, ScenarioCount())

    def note(self, problem: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


def split_final(final: str) -> tuple[str, str]:
    """A key of `ScenarioCount.finals` as (status, reason); the reason is "" where there was none."""
    if final == NO_ANSWER:
        return final, ""
    status, _, reason = final.partition(" ")
    return status, reason
