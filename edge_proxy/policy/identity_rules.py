"""The rules about who a customer says it is: every claim must be its own number, and none hides another.

From, P-Asserted-Identity, P-Preferred-Identity (RFC 3325), Remote-Party-ID and PASSporT (RFC 8225). A call that the
customer passed on is judged by the number that passed it on (RFC 5806, RFC 7044), where its policy allows that: then
the claims may also name the one caller it came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import format_e164
from edge_proxy.policy.claims import Claim
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.parties import Customer
from edge_proxy.policy.rules import Finding, Rulebook, Weighed
from edge_proxy.policy.verdict import Reason, Signal

_PAI_NOT_OWNED: Final = Reason.PAI_NOT_OWNED
_ASKS_FOR_ANONYMITY: Final = frozenset({b"id", b"user"})


def from_is_owned(case: Weighed, book: Rulebook) -> Finding | None:
    """From must be a number of this customer; a withheld From is judged by what is asserted beside it, or, where
    nothing is, by what P-Preferred-Identity asks to be asserted (RFC 3325 §6)."""
    claim = case.facts.from_claim
    customer = case.facts.source.origin.customer
    if customer is None:
        return None
    if book.owner(claim.number) is customer:
        case.owned = claim.number
        return None
    if claim.is_anonymous:
        if case.facts.asserted or case.facts.hinted is not None:
            return None
        return Finding(Reason.IDENTITY_MISSING, "From is withheld and nothing beside it names a number")
    if claim.number is not None and _passed_on(case.facts, book, customer):
        return None
    return Finding(Reason.FROM_NOT_OWNED, _not_owned(claim, customer))


def anonymity_is_allowed(case: Weighed, book: Rulebook) -> Finding | None:
    """Some customers may not withhold their number: neither in From nor by Privacy (RFC 3323 §4.2, RFC 3325 §9.3)."""
    facts = case.facts
    customer = facts.source.origin.customer
    if customer is None or customer.identity.allows_anonymous:
        return None
    if facts.from_claim.is_anonymous or _ASKS_FOR_ANONYMITY & facts.privacy:
        return Finding(Reason.ANONYMITY_NOT_ALLOWED, f"{customer.id} may not withhold its number")
    return None


def asserted_is_owned(case: Weighed, book: Rulebook) -> Finding | None:
    """Every P-Asserted-Identity value must be a number of this customer (RFC 3325 §9.1 allows two)."""
    return _foreign(case, book, case.facts.asserted, _PAI_NOT_OWNED) if case.facts.asserted else None


def preferred_is_owned(case: Weighed, book: Rulebook) -> Finding | None:
    """P-Preferred-Identity only asks to be asserted, but who asks for a number that is not his own shows why."""
    claims = case.facts.preferred
    return _foreign(case, book, _named(claims), Reason.PPI_NOT_OWNED) if claims else None


def remote_party_is_owned(case: Weighed, book: Rulebook) -> Finding | None:
    """Many switches still show the caller in Remote-Party-ID before they look at anything else."""
    claims = case.facts.remote_party
    return _foreign(case, book, _named(claims), Reason.RPID_NOT_OWNED) if claims else None


def passport_is_owned(case: Weighed, book: Rulebook) -> Finding | None:
    """A PASSporT must not be for somebody else's call, signed or not."""
    return _foreign(case, book, case.facts.passports, Reason.PASSPORT_NOT_OWNED) if case.facts.passports else None


def forwarder_is_owned(case: Weighed, book: Rulebook) -> Finding | None:
    """Who passed the call on last must be a number of this customer, also where the caller is: nobody else's calls
    come by way of it. A history that only rewrote the address of who is called tells of no forwarder."""
    facts = case.facts
    customer = facts.source.origin.customer
    if customer is None:
        return None
    for claim in facts.last_forwarders:
        number = claim.number
        is_foreign = claim.may_name_number if number is None else book.owner(number) is not customer
        if is_foreign and not claim.names(facts.dialled):
            return Finding(Reason.FORWARDER_NOT_OWNED, f"{_not_owned(claim, customer)} and is said to have forwarded")
    return None


def forwarded_by_owner(case: Weighed, book: Rulebook) -> Finding | None:
    """Nothing speaks against a call from elsewhere that this customer passed on: say so. The last rule."""
    facts = case.facts
    if not facts.last_forwarders:
        return None
    customer = facts.source.origin.customer
    if customer is None or book.owner(_caller(facts)) is customer:
        return None
    if not _passed_on(facts, book, customer):
        return None
    by = facts.last_forwarders[0].number
    return Finding(Reason.FORWARDED_BY_OWNER, "" if by is None else f"{format_e164(by)} passed the call on")


def disagreement(facts: CallFacts) -> Signal | None:
    """The numbers claimed are not all the same: no reason to refuse, for a customer may own them all, but a fact."""
    claims = facts.asserted if facts.is_usual else facts.caller_claims
    if not claims or (len(claims) == 1 and claims[0].number == facts.from_claim.number):
        return None
    numbers: dict[E164, str] = {}
    for claim in (facts.from_claim, *claims):
        if claim.number is not None:
            numbers.setdefault(claim.number, claim.header)
    if len(numbers) < 2:
        return None
    shown = ", ".join(f"{header} {format_e164(number)}" for number, header in list(numbers.items())[:4])
    return Signal("identities_disagree", 0, shown)


def _foreign(case: Weighed, book: Rulebook, claims: Iterable[Claim], reason: Reason) -> Finding | None:
    """The first of the claims that is not the customer's to make."""
    facts = case.facts
    customer = facts.source.origin.customer
    if customer is None:
        return None
    for claim in claims:
        number = claim.number
        if number is not None and (number == case.owned or book.owner(number) is customer):
            continue
        if number is not None and number == _caller(facts) and _passed_on(facts, book, customer):
            continue
        return Finding(reason, _not_owned(claim, customer))
    return None


def _named(claims: tuple[Claim, ...]) -> Iterable[Claim]:
    """Those that do not just say that the number is withheld."""
    return (claim for claim in claims if not claim.is_anonymous)


def _passed_on(facts: CallFacts, book: Rulebook, customer: Customer) -> bool:
    """Whether this customer may pass calls on and is said to have done so, by whoever is named last."""
    last = facts.last_forwarders
    if not last or not customer.identity.allows_forwarded:
        return False
    return all(book.owner(claim.number) is customer for claim in last)


def _caller(facts: CallFacts) -> E164 | None:
    """The one number that a call which was passed on may come from: From's, or the first asserted if withheld."""
    if facts.from_claim.number is not None or not facts.asserted:
        return facts.from_claim.number
    return facts.asserted[0].number


def _not_owned(claim: Claim, customer: Customer) -> str:
    shown = claim.user if claim.number is None else format_e164(claim.number)
    return f"{claim.header} {shown or '(empty)'} is not assigned to {customer.id}"
