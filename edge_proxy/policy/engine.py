"""Run the rules in order and say what came of it: the one place where a verdict is made, live or in `explain`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from edge_proxy.addr import Side
from edge_proxy.numbers.e164 import read_number
from edge_proxy.policy import identity_rules, list_rules, origin_rules, rules
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.identity_rules import disagreement
from edge_proxy.policy.parties import Customer, Mode
from edge_proxy.policy.refusals import tell
from edge_proxy.policy.rollout import RuleMode
from edge_proxy.policy.rules import Finding, Rulebook, Weighed
from edge_proxy.policy.signals import weigh_ip_origin
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason, Verdict

Rule = Callable[[Weighed, Rulebook], Finding | None]

FROM_CUSTOMERS: Final[tuple[Rule, ...]] = (
    rules.emergency,
    origin_rules.is_authentic,
    rules.known_source,
    origin_rules.proof_is_enough,
    origin_rules.asn_is_allowed,
    rules.claims_are_bounded,
    identity_rules.from_is_owned,
    identity_rules.anonymity_is_allowed,
    identity_rules.asserted_is_owned,
    identity_rules.preferred_is_owned,
    identity_rules.remote_party_is_owned,
    identity_rules.passport_is_owned,
    list_rules.caller_is_not_listed,
    list_rules.called_is_not_listed,
    list_rules.called_is_possible,
    list_rules.caller_is_not_called,
    rules.began_on_ip,
    identity_rules.forwarded_by_owner,
)
"""In this order, the first that has something to say decides; a call none speaks against is `identity_owned`."""

FROM_CARRIERS: Final[tuple[Rule, ...]] = (
    rules.known_source,
    rules.callee_is_ours,
    rules.claims_are_bounded,
    list_rules.caller_is_not_listed,
    list_rules.called_is_not_listed,
    list_rules.caller_is_possible,
    rules.not_our_own_number,
)
"""Calls into our network; one that no rule speaks against is `carrier_call`."""


class Step(NamedTuple):
    """One line of an explanation: a rule, and what it said ("" when it had nothing to say)."""

    rule: str
    said: str


def decide(
    facts: CallFacts, book: Rulebook, callee: Customer | None = None, trace: list[Step] | None = None
) -> Verdict:
    """The verdict on one attempt. With `trace`, each rule that was asked is written to it in order.

    A rule that is only watched (rollout.py) does not end the search: what another one refuses is refused.
    """
    origin = facts.source.origin
    customer = origin.customer
    ip_origin, signals = weigh_ip_origin(facts, book.ip_origin)
    differing = disagreement(facts)
    if differing is not None:
        signals = (*signals, differing)
    dialled = None if customer is None else read_number(facts.request_uri.user, customer.plan)
    case = Weighed(facts, ip_origin, signals, callee, dialled)
    from_customers = origin.side is Side.CUSTOMERS
    finding = watched = None
    name = watching = "default"
    for rule in FROM_CUSTOMERS if from_customers else FROM_CARRIERS:
        finding = rule(case, book)
        said = "" if finding is None else finding.text
        if finding is not None and finding.reason in STATUS_OF:
            mode = book.rollout.mode_of(finding.reason, facts)
            if mode is not RuleMode.ENFORCE:
                said = f"{said} [{mode}]"
                if watched is None and mode is RuleMode.MONITOR:
                    watched, watching = finding, rule.__name__
                finding = None
        if trace is not None:
            trace.append(Step(rule.__name__, said))
        if finding is not None:
            name = rule.__name__
            break
    is_refusal = finding is not None and finding.reason in STATUS_OF
    if watched is not None and not is_refusal:
        finding, name = watched, watching
    if finding is None:
        finding = (
            Finding(Reason.IDENTITY_OWNED, "every identity is the customer's own")
            if from_customers
            else Finding(Reason.CARRIER_CALL, "a call from the carrier to a number of ours")
        )
    status = STATUS_OF.get(finding.reason, 0)
    outcome = Outcome.ALLOWED
    if status:
        responsible = customer if from_customers else callee
        # A call that has nowhere to go cannot pass in any mode.
        is_monitored = not is_refusal or book.mode_for(responsible, origin.trunk) is Mode.MONITOR
        outcome = Outcome.MONITORED if is_monitored and (from_customers or callee is not None) else Outcome.REFUSED
    verdict = Verdict(
        outcome=outcome,
        status=status if outcome is Outcome.REFUSED else 0,
        reason=finding.reason,
        rule=name,
        text=finding.text,
        ip_origin=ip_origin,
        signals=signals,
        proof=origin.proof(facts.source.transport),
        is_emergency=finding.reason is Reason.EMERGENCY,
    )
    if status and book.refusals:
        tell(verdict, book.refusals, facts.method)
    return verdict
