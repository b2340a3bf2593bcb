"""Run the rules in order and say what came of it: the one place where a verdict is made, live or in `explain`."""

from __future__ import annotations

from typing import Final, NamedTuple

from edge_proxy.addr import Side
from edge_proxy.policy import identity_rules, list_rules, origin_rules, rules
from edge_proxy.policy.access import Proof
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.identity_rules import disagreement
from edge_proxy.policy.parties import Customer, Mode
from edge_proxy.policy.refusals import tell
from edge_proxy.policy.rollout import RuleMode
from edge_proxy.policy.rules import Finding, Rule, Rulebook, Weighed
from edge_proxy.policy.signals import weigh_ip_origin
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason, Verdict

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
    identity_rules.forwarder_is_owned,
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
    rules.emergency_callback,
)
"""Calls into our network; one that no rule speaks against is `carrier_call`."""


class Step(NamedTuple):
    """One line of an explanation: a rule, and what it said ("" when it had nothing to say)."""

    rule: str
    said: str


_CUSTOMERS: Final = Side.CUSTOMERS
_ENFORCE: Final = RuleMode.ENFORCE
_ALLOWED: Final = Outcome.ALLOWED
_REFUSED: Final = Outcome.REFUSED
_EMERGENCY: Final = Reason.EMERGENCY
_OWNED: Final = Finding(Reason.IDENTITY_OWNED, "every identity is the customer's own")
_CARRIER_CALL: Final = Finding(Reason.CARRIER_CALL, "a call from the carrier to a number of ours")

_ABOUT_STRANGERS: Final[tuple[Rule, ...]] = (origin_rules.is_authentic, rules.known_source)
_ABOUT_UNUSUAL: Final[tuple[Rule, ...]] = (
    rules.claims_are_bounded,
    identity_rules.preferred_is_owned,
    identity_rules.remote_party_is_owned,
    identity_rules.passport_is_owned,
    identity_rules.forwarder_is_owned,
    identity_rules.forwarded_by_owner,
)


def decide(
    facts: CallFacts, book: Rulebook, callee: Customer | None = None, trace: list[Step] | None = None
) -> Verdict:
    """The verdict on one attempt. With `trace`, each rule is asked and written to it in order.

    A rule that is only watched (rollout.py) does not end the search: what another one refuses is refused.
    """
    source = facts.source
    origin = source.origin
    customer = origin.customer
    ip_origin, signals = weigh_ip_origin(facts, book.ip_origin)
    differing = disagreement(facts)
    if differing is not None:
        signals = (*signals, differing)
    case = Weighed(facts, ip_origin, signals, callee)
    from_customers = origin.side is _CUSTOMERS
    finding = watched = None
    name = watching = "default"
    if trace is None:
        asked = rules_for(facts, book)
    else:
        asked = FROM_CUSTOMERS if from_customers else FROM_CARRIERS
    for rule in asked:
        finding = rule(case, book)
        if finding is None:
            if trace is not None:
                trace.append(Step(rule.__name__, ""))
            continue
        said = finding.text
        if finding.reason in STATUS_OF:
            mode = book.rollout.mode_of(finding.reason, facts)
            if mode is not _ENFORCE:
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
        finding = _OWNED if from_customers else _CARRIER_CALL
    reason = finding.reason
    status = STATUS_OF.get(reason, 0)
    outcome = _ALLOWED
    if status:
        responsible = customer if from_customers else callee
        # A call that has nowhere to go cannot pass in any mode.
        is_monitored = not is_refusal or book.mode_for(responsible, origin.trunk) is Mode.MONITOR
        outcome = Outcome.MONITORED if is_monitored and (from_customers or callee is not None) else _REFUSED
    verdict = Verdict(
        outcome,
        status if outcome is _REFUSED else 0,
        reason,
        name,
        finding.text,
        ip_origin,
        signals,
        origin.proof(source.transport),
        reason is _EMERGENCY,
    )
    if status and book.refusals:
        tell(verdict, book.refusals, facts.method, reads_608=facts.reads_608)
    return verdict


def rules_for(facts: CallFacts, book: Rulebook) -> tuple[Rule, ...]:
    """The rules that can have something to say of this attempt, in their order.

    Most customers are asked for no proof, most calls show no header but the usual ones, and most operators have no
    lists: what can say nothing need not be asked. Worked out once for each kind of customer.
    """
    origin = facts.source.origin
    customer = origin.customer
    if origin.failure or origin.owes_credentials or (customer is None and origin.trunk is None):
        return FROM_CUSTOMERS if origin.side is _CUSTOMERS else FROM_CARRIERS
    key = (-1 if customer is None else customer.checks) * 2 + facts.is_usual
    found = book.chosen.get(key)
    if found is None:
        rules_of_side = FROM_CUSTOMERS if origin.side is _CUSTOMERS else FROM_CARRIERS
        found = book.chosen[key] = tuple([rule for rule in rules_of_side if _may_speak(rule, facts, book)])
    return found


def _may_speak(rule: Rule, facts: CallFacts, book: Rulebook) -> bool:
    """Whether a rule may have something to say of attempts like this one, which comes from somebody we know."""
    side, customer = facts.source.origin.side, facts.source.origin.customer
    if rule in _ABOUT_STRANGERS:
        return False
    if rule in _ABOUT_UNUSUAL:
        return not facts.is_usual
    if rule is list_rules.caller_is_not_listed:
        return bool(book.lists.callers(side).denying)
    if rule is list_rules.called_is_not_listed:
        return bool(book.lists.called(side).denying)
    if customer is None:
        return True
    if rule is origin_rules.proof_is_enough:
        return customer.access.minimum_proof is not Proof.NONE
    if rule is origin_rules.asn_is_allowed:
        return bool(customer.access.asns)
    if rule is identity_rules.anonymity_is_allowed:
        return not customer.identity.allows_anonymous
    return True
