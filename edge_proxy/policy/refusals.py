"""What a refusal looks like to the peer, chosen by the operator for each reason: answered, dropped, tagged, diverted.

The verdict stays what it is: reason, rule and evidence do not change with how it is told. Emergency calls are never
refused, so nothing here meets one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason, Verdict


class Action(StrEnum):
    """What is done in place of letting the call pass."""

    ANSWER = "answer"
    DROP = "drop"
    """Nothing is said; for sources that nobody knows."""
    TAG = "tag"
    """The call goes on with a header that says what speaks against it."""
    ANNOUNCE = "announce"
    """The call goes to an announcement instead."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How one reason is told. `status` 0 and `phrase` "" are the reason's and the status's own."""

    action: Action = Action.ANSWER
    status: int = 0
    phrase: str = ""
    jcard: str = ""
    """Where a caller finds whom to complain to (RFC 8688 §3.1): goes with 608."""
    blocked_contact: str = ""
    """`url=..;tel=..;email=..` of the 603 "Network Blocked" form; "": it is not used."""
    blocked_location: str = ""
    """Where in the network it was blocked (RFC 8606 §4), in that form."""
    header: str = ""
    """The name of the header that tags."""
    announcement: bytes = b""
    """The URI that the call is diverted to; beside 608, only that of a caller who knows nothing of 608."""

    @property
    def explains_608(self) -> bool:
        """Who does not show that it reads a 608 is told by an announcement (RFC 8688 §3.4)."""
        return self.status == 608 and self.announcement != b""


def is_offered(action: Action, reason: Reason) -> bool:
    """Whether a refusal for this reason may be told by this action.

    Who is not known gets nothing to call through; want of room (503) is told so that the call is tried again.
    """
    if action is Action.ANSWER:
        return True
    if reason is Reason.UNKNOWN_SOURCE:
        return action is Action.DROP
    if action is Action.DROP or STATUS_OF[reason] == 503 or reason is Reason.AUTHENTICATION_FAILED:
        return False
    return action is Action.ANNOUNCE or reason is not Reason.CALLED_NOT_OWNED


def tell(verdict: Verdict, refusals: Mapping[Reason, Refusal], method: str, *, reads_608: bool) -> None:
    """Turn a refusal into what the operator chose for its reason. Only an INVITE can be sent to an announcement.

    `reads_608`: the request shows the feature-capability `sip.608` (RFC 8688 §3.3).
    """
    refusal = refusals.get(verdict.reason)
    if refusal is None or verdict.outcome is not Outcome.REFUSED:
        return
    if refusal.action is Action.ANNOUNCE and method != "INVITE":
        return
    verdict.refusal = refusal
    if refusal.action is Action.ANSWER:
        if refusal.explains_608 and method == "INVITE" and not reads_608:
            verdict.status = 0
            verdict.outcome = Outcome.DIVERTED
            return
        verdict.status = refusal.status or verdict.status
        return
    verdict.status = 0
    if refusal.action is Action.TAG:
        verdict.outcome = Outcome.TAGGED
    elif refusal.action is Action.ANNOUNCE:
        verdict.outcome = Outcome.DIVERTED
