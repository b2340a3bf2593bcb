"""The rules about numbers themselves: on a list, impossible, not in use, the caller's own. Facts in, a finding out."""

from __future__ import annotations

from typing import Final

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import ReadingRule, format_e164
from edge_proxy.numbers.emergency import is_emergency
from edge_proxy.numbers.validity import impossible, unallocated
from edge_proxy.policy.number_lists import NumberList
from edge_proxy.policy.rules import Finding, Rulebook, Weighed
from edge_proxy.policy.verdict import Reason

_UNALLOCATED_CALLER: Final = Reason.UNALLOCATED_CALLER
_UNALLOCATED_CALLED: Final = Reason.UNALLOCATED_CALLED
_NO_CALLER: Final = frozenset({ReadingRule.TOO_SHORT, ReadingRule.TOO_LONG, ReadingRule.UNKNOWN_COUNTRY})
_NO_CALLED: Final = frozenset({ReadingRule.TOO_LONG, ReadingRule.UNKNOWN_COUNTRY})
"""Seven digits and service codes can be called within a network, so too few digits say nothing."""


def caller_is_not_listed(case: Weighed, book: Rulebook) -> Finding | None:
    """No number that the call claims is on a list of callers to refuse."""
    facts = case.facts
    scope = book.lists.callers(facts.source.origin.side)
    if not scope.denying:
        return None
    for claim in (facts.from_claim, *facts.caller_claims):
        number = claim.number
        against = None if number is None else scope.against(number)
        if number is not None and against is not None:
            return _listed(claim.header, number, against)
    return None


def called_is_not_listed(case: Weighed, book: Rulebook) -> Finding | None:
    """The called number, and what it may lead to beside that, is on no list of numbers that are not to be called."""
    facts = case.facts
    scope = book.lists.called(facts.source.origin.side)
    if not scope.denying:
        return None
    if facts.dialled is not None:
        number = facts.dialled.number
    else:
        number = book.owner_of_user(facts.request_uri.user)[1]
    against = None if number is None else scope.against(number)
    if number is not None and against is not None:
        return _listed("the called number", number, against)
    for other in facts.may_reach:
        against = scope.against(other)
        if against is not None:
            return _listed(f"{facts.request_uri.user[:64]} may lead to", other, against)
    return None


def caller_is_possible(case: Weighed, book: Rulebook) -> Finding | None:
    """A number that cannot exist calls nobody. A withheld caller, a short code and an emergency centre are none."""
    facts = case.facts
    asks_for_ranges = book.rollout.asks_for(_UNALLOCATED_CALLER)
    outside: Finding | None = None
    caller = facts.from_claim
    for claim in (caller, *facts.asserted):
        reading = claim.reading
        if reading is None or (reading is caller.reading and claim is not caller) or claim.is_anonymous:
            continue
        if reading.number is not None:
            why = impossible(reading.number)
        else:
            why = f"is no number ({reading.rule})" if reading.rule in _NO_CALLER else ""
        if why and not is_emergency(claim.user, "sip", book.fallback_emergency):
            return Finding(Reason.INVALID_CALLER, f"{claim.header} {claim.user} {why}")
        if asks_for_ranges and not why and outside is None and reading.number is not None:
            unknown = unallocated(reading.number)
            if unknown and not is_emergency(claim.user, "sip", book.fallback_emergency):
                outside = Finding(Reason.UNALLOCATED_CALLER, f"{claim.header} {claim.user} {unknown}")
    return outside


def called_is_possible(case: Weighed, book: Rulebook) -> Finding | None:
    """A number that cannot exist cannot be called."""
    reading = case.facts.dialled
    if reading is None:
        return None
    if reading.number is not None:
        why = impossible(reading.number)
    else:
        why = f"is no number ({reading.rule})" if reading.rule in _NO_CALLED else ""
    if why:
        return Finding(Reason.INVALID_CALLED, f"the called number {reading.raw} {why}")
    if reading.number is not None and book.rollout.asks_for(_UNALLOCATED_CALLED):
        unknown = unallocated(reading.number)
        if unknown:
            return Finding(Reason.UNALLOCATED_CALLED, f"the called number {reading.raw} {unknown}")
    return None


def caller_is_not_called(case: Weighed, book: Rulebook) -> Finding | None:
    """Nobody's number calls itself: a spoofing pattern, where it is not how voice mail is reached."""
    claimed, dialled = case.facts.from_claim.number, case.facts.dialled
    if claimed is None or dialled is None or claimed != dialled.number:
        return None
    return Finding(Reason.CALLER_IS_CALLED, f"{format_e164(claimed)} calls itself")


def _listed(what: str, number: E164, against: NumberList) -> Finding:
    if against.reason is Reason.DO_NOT_ORIGINATE:
        text = f"{what} {format_e164(number)} never originates calls: list {against}"
    else:
        text = f"{what} {format_e164(number)} is denied by list {against}"
    return Finding(against.reason, text)
