"""The rules, one function each: facts in, `None` (nothing to say) or a finding out. Their order stands in engine.py.

Those about who a customer says it is stand in identity_rules.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import DialPlan, format_e164, read_number
from edge_proxy.numbers.emergency import EmergencyPlan, is_emergency
from edge_proxy.numbers.ownership import OwnershipIndex
from edge_proxy.policy.call_limits import NO_ASN_LIMITS, AsnLimits
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.number_lists import NumberLists
from edge_proxy.policy.parties import Customer, Mode, Trunk
from edge_proxy.policy.refusals import Refusal
from edge_proxy.policy.rollout import Rollout
from edge_proxy.policy.verdict import IpOrigin, Reason, Signal
from edge_proxy.policy.weights import IpOriginPolicy

Rule = Callable[["Weighed", "Rulebook"], "Finding | None"]

_MONITOR: Final = Mode.MONITOR
_PSTN: Final = IpOrigin.PSTN
_UNKNOWN: Final = IpOrigin.UNKNOWN


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything the rules look things up in; immutable, part of a snapshot."""

    customers: tuple[Customer, ...]
    ownership: OwnershipIndex
    plans: tuple[DialPlan, ...]
    """Every customer's dial plan, each once: how a number from a carrier may be meant."""
    fallback_emergency: EmergencyPlan
    """For sources that no customer's country is known for: the numbers of all countries that customers have."""
    refuses_unknown_ip_origin: bool = False
    per_asn: AsnLimits = NO_ASN_LIMITS
    """What each source AS on the customers' side is held to."""
    refusals: Mapping[Reason, Refusal] = field(default_factory=dict)
    """How refusals are told, where the operator chose that."""
    explains_608: bool = False
    """Some refusal is told to who does not show that it reads a 608 in another way."""
    tag_headers: frozenset[bytes] = frozenset()
    """The names, in lower case, of the headers that tag: from outside they are forged."""
    mode: Mode = Mode.ENFORCE
    """The whole node's: in monitor mode sources that belong to nobody pass too."""
    lists: NumberLists = field(default_factory=NumberLists)
    rollout: Rollout = field(default_factory=Rollout)
    ip_origin: IpOriginPolicy = field(default_factory=IpOriginPolicy)
    chosen: dict[int, tuple[Rule, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Which rules can have something to say, by kind of attempt (see engine.py)."""

    def mode_for(self, customer: Customer | None, trunk: Trunk | None = None) -> Mode:
        """The mode that holds for an attempt booked on this customer (None: on nobody) and sent by this trunk."""
        if self.mode is _MONITOR or (trunk is not None and trunk.mode is _MONITOR):
            return _MONITOR
        return self.mode if customer is None else customer.mode

    def refuses_unknown_for(self, customer: Customer | None) -> bool:
        """Whether a call of this customer is refused when nothing shows where it began."""
        own = None if customer is None else customer.ip_origin.refuses_unknown
        return self.refuses_unknown_ip_origin if own is None else own

    def owner(self, number: E164 | None) -> Customer | None:
        if number is None:
            return None
        ordinal = self.ownership.owner_of(number)
        if ordinal < 0:
            return None
        count = len(self.customers)
        return self.customers[ordinal if ordinal < count else ordinal - count]

    def is_used_elsewhere(self, number: E164) -> bool:
        """A customer's number that others call as too (inventory/build.py): lent to it, or ported out and in grace."""
        return self.ownership.owner_of(number) >= len(self.customers)

    def owner_of_user(self, user: str) -> tuple[Customer | None, E164 | None]:
        """Whose number `user` is in any of the ways our customers' countries write numbers."""
        for plan in self.plans:
            number = read_number(user, plan).number
            customer = self.owner(number)
            if customer is not None:
                return customer, number
        return None, None


class Finding(NamedTuple):
    """What a rule concluded, and in words for a person."""

    reason: Reason
    text: str


class Weighed:
    """Facts and what was worked out from them once for all rules."""

    __slots__ = ("callee", "facts", "ip_origin", "owned", "signals")

    def __init__(
        self, facts: CallFacts, ip_origin: IpOrigin, signals: tuple[Signal, ...], callee: Customer | None
    ) -> None:
        self.facts = facts
        self.ip_origin = ip_origin
        self.signals = signals
        self.callee = callee
        """Whose number is called (calls from a carrier only)."""
        self.owned: E164 | None = None
        """From's number, once it was found to be the customer's."""


def emergency(case: Weighed, book: Rulebook) -> Finding | None:
    """An emergency call passes before any other rule is asked (RFC 5031, national emergency numbers)."""
    uri = case.facts.request_uri
    customer = case.facts.source.origin.customer
    plan = book.fallback_emergency if customer is None else customer.emergency
    if is_emergency(uri.user, uri.scheme, plan):
        return Finding(Reason.EMERGENCY, f"emergency call to {uri.user[:32]}")
    return None


def emergency_callback(case: Weighed, book: Rulebook) -> Finding | None:
    """An emergency centre calls back (RFC 7090): no limit holds for it. The last rule, and for trusted trunks only,
    since all that shows it is the caller's number and a header that anybody can write."""
    facts = case.facts
    trunk = facts.source.origin.trunk
    if trunk is None or not trunk.trusted_identity:
        return None
    plan = book.fallback_emergency if case.callee is None else case.callee.emergency
    if facts.is_callback or is_emergency(facts.from_claim.user, "sip", plan):
        return Finding(Reason.EMERGENCY, "an emergency centre calls back")
    return None


def known_source(case: Weighed, book: Rulebook) -> Finding | None:
    """The source address must be a customer's (or, on the carrier side, a trunk's)."""
    origin = case.facts.source.origin
    if origin.customer is None and origin.trunk is None:
        text = origin.doubt or f"{case.facts.source.address.host} is no source we know"
        return Finding(Reason.UNKNOWN_SOURCE, text)
    return None


def claims_are_bounded(case: Weighed, book: Rulebook) -> Finding | None:
    """What is not read must not pass as checked."""
    if case.facts.has_excess_claims:
        return Finding(Reason.TOO_MANY_IDENTITIES, "more identity values than are read")
    return None


def began_on_ip(case: Weighed, book: Rulebook) -> Finding | None:
    """Traffic into the trunk must have begun on IP."""
    if case.ip_origin is _PSTN:
        shown = ", ".join(signal.detail for signal in case.signals if signal.weight > 0)
        return Finding(Reason.PSTN_ORIGIN, f"call began on the switched network: {shown}")
    if case.ip_origin is _UNKNOWN and book.refuses_unknown_for(case.facts.source.origin.customer):
        return Finding(Reason.UNKNOWN_IP_ORIGIN, "nothing shows that the call began on IP")
    return None


def callee_is_ours(case: Weighed, book: Rulebook) -> Finding | None:
    """A carrier may send us calls to our customers' numbers only."""
    if case.callee is None:
        called = case.facts.request_uri.user[:64] or case.facts.request_uri.host
        return Finding(Reason.CALLED_NOT_OWNED, f"{called} is no number of ours")
    return None


def not_our_own_number(case: Weighed, book: Rulebook) -> Finding | None:
    """A number of ours that arrives from outside is forged, unless the call shows that somebody forwarded it, or
    others have a right to it too."""
    facts = case.facts
    caller = facts.from_claim
    for claim in (caller, *facts.caller_claims):
        if claim is not caller and claim.uri is caller.uri and claim.uri is not None:
            continue
        owner, number = book.owner_of_user(claim.user)
        if owner is None or number is None or book.is_used_elsewhere(number):
            continue
        if _was_forwarded(facts, number):
            return Finding(Reason.FORWARDED_CALL, f"{format_e164(number)} comes back, forwarded")
        text = f"{claim.header} {format_e164(number)} belongs to {owner.id} and arrived from the carrier"
        return Finding(Reason.OWN_NUMBER_FROM_CARRIER, text)
    return None


def _was_forwarded(facts: CallFacts, caller: E164) -> bool:
    """Somebody other than the caller is named as having passed the call on."""
    return any(claim.number is not None and claim.number != caller for claim in facts.forwarders)
