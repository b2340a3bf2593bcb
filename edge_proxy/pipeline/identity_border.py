"""Which identity a message goes on with, by whose it is and who gets it (RFC 3325 §5 to §7): parties to header lines.

routing/identity.py makes the changes; here is decided which. RFC 3325 speaks of messages: what the called party asserts
of itself in a response crosses the same border. Emergency calls are not brought here, nor what is inside them: what
they say of the caller is what the emergency centre calls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_proxy.addr import E164, Address, Listener, Side
from edge_proxy.numbers.e164 import format_e164
from edge_proxy.pipeline.calls import Call
from edge_proxy.pipeline.peers import Peers
from edge_proxy.pipeline.target_book import Hop
from edge_proxy.policy.claims import Claim, from_claim, listed_claims
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.identity_policy import AssertedIdentity
from edge_proxy.policy.parties import Customer, Mode, Origin
from edge_proxy.policy.rollout import RuleMode
from edge_proxy.policy.rules import Rulebook
from edge_proxy.policy.verdict import Reason
from edge_proxy.routing.identity import (
    asks_for_concealment,
    concealed,
    private,
    says_verstat,
    with_identity,
    without_remote_party,
)
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message

_FROM_BEGINS: Final = b"From: <"
_KEEP: Final = AssertedIdentity.KEEP
_FOREIGN: Final = Reason.FROM_NOT_OWNED


def attempt_identity(message: Message, facts: CallFacts, egress: Listener, book: Rulebook) -> Message:
    """A request that begins something, and was let through, as it goes on towards `egress`.

    The number that a caller who withholds it asks to be known by is asserted for it (RFC 3325 §5), if it is the
    customer's; and as private, unless the caller says otherwise: it was withheld (§9.3).
    """
    origin = facts.source.origin
    customer = origin.customer
    if customer is None:
        return _from_elsewhere(message, origin)
    policy = customer.identity
    keeps = policy.asserted is _KEEP
    asserts = b""
    if policy.asserted is AssertedIdentity.REPLACE:
        asserts = _main_number(customer, egress)
    elif keeps and facts.preferred:
        hinted = facts.hinted
        if hinted is not None and book.owner(hinted) is customer:
            asserts = _asserted(hinted, egress)
            message = private(message)
    return with_identity(message, is_trusted=policy.is_trusted, keeps=keeps, asserts=asserts)


def verified_from(message: Message, origin: Origin, claim: Claim) -> bytes:
    """The From line of a request that begins something, if it says `verstat` and is not to; b"" of any other."""
    line = message.headers[message.first[grammar.FROM]]
    uri = claim.uri
    if uri is not None and not uri.params and not uri.user_params and line.raw.startswith(_FROM_BEGINS):
        return b""
    return b"" if _is_trusted(origin) or not says_verstat(line) else line.raw


def verified_from_in_dialog(
    message: Message, whose: tuple[Address, Listener, str | None], peers: Peers, book: Rulebook
) -> bytes:
    """The same inside a dialog; `whose` as in `dialog_identity`."""
    line = message.headers[message.first[grammar.FROM]]
    account = whose[2]
    if account is None or not says_verstat(line):
        return b""
    origin, customer = _sender_in_dialog(whose, peers, book)
    is_trusted = _is_trusted(origin) if customer is None else customer.identity.is_trusted
    return b"" if is_trusted else line.raw


def dialog_identity(
    message: Message, whose: tuple[Address, Listener, str | None], hops: Sequence[Hop], peers: Peers, book: Rulebook
) -> Message:
    """A request inside a dialog as it goes on to one of `hops`, which are told whether they may see what is private.

    `whose` is where it came from, and on which customer's account the dialog is (None: an emergency call's, which goes
    on as it is): on the customers' side that speaks for whoever is known by a password or a mark, and so by nothing
    that a request inside a dialog shows.
    No rule judged it, so that what a customer asserts goes on only where all of it is the customer's own.
    """
    if not _says_who(message):
        return message
    _, listener, account = whose
    if account is None:
        return message
    if asks_for_concealment(message):
        for hop in hops:
            hop.trusts_identity = _is_trusted(peers.find(hop.address.host, listener.side.other).origin)
    origin, customer = _sender_in_dialog(whose, peers, book)
    if customer is None:
        return _from_elsewhere(message, origin)
    return _unjudged(message, customer, hops[0].listener, book)


def names_another(
    message: Message,
    whose: tuple[Address, Listener, str | None],
    call: Call | None,
    peers: Peers,
    book: Rulebook,
) -> bool:
    """Whether a customer says in From, inside a call that it began, that somebody else speaks now (RFC 4916).

    That is a number which neither is its own nor was there when the call was let through. Where such a From is not
    refused in the first place it is not here. A BYE shows nothing to anybody.
    """
    _, listener, account = whose
    if account is None or listener.side is not Side.CUSTOMERS or message.method == grammar.METHOD_BYE:
        return False
    _, customer = _sender_in_dialog(whose, peers, book)
    if customer is None or customer.identity.allows_forwarded or book.mode_for(customer) is not Mode.ENFORCE:
        return False
    if book.rollout.modes.get(_FOREIGN, RuleMode.ENFORCE) is not RuleMode.ENFORCE or _FOREIGN in book.rollout.shares:
        return False
    claim = from_claim(message, customer.plan)
    if claim.is_anonymous or book.owner(claim.number) is customer:
        return False
    return call is None or claim.text != call.attempt.caller


def _sender_in_dialog(
    whose: tuple[Address, Listener, str | None], peers: Peers, book: Rulebook
) -> tuple[Origin, Customer | None]:
    source, listener, account = whose
    origin = peers.find_connected(source, listener).origin
    customer = origin.customer
    if listener.side is Side.CUSTOMERS and (customer is None or origin.candidates):
        customer = next((one for one in book.customers if one.id == account), None)
    return origin, customer


class ResponseBorder:
    """The same border for responses, which no rule judges either."""

    __slots__ = ("_book", "_listeners", "_peers")

    def __init__(self, peers: Peers, listeners: Sequence[Listener], book: Rulebook) -> None:
        self._peers = peers
        self._listeners = listeners
        self._book = book

    def use_book(self, book: Rulebook) -> None:
        """Whose numbers are whose, from now on."""
        self._book = book

    def cross(self, response: Message, hop: Hop, slot: int, receiver: Address, account: str) -> Message:
        """A response from `hop` as it goes on to `receiver` through the listener at `slot`; see `dialog_identity`."""
        if not _says_who(response):
            return response
        origin = self._peers.find_connected(hop.address, hop.listener).origin
        customer = origin.customer
        payer = next((one for one in self._book.customers if one.id == account), None)
        if hop.listener.side is Side.CUSTOMERS and (customer is None or origin.candidates):
            customer = payer
        listener = self._listeners[slot]
        if customer is not None:
            response = _unjudged(response, customer, listener, self._book)
        else:
            is_trusted = hop.target.trusts_identity if hop.target is not None else _is_trusted(origin)
            response = with_identity(response, is_trusted=is_trusted, keeps=is_trusted)
        if asks_for_concealment(response):
            far = self._peers.find_connected(receiver, listener).origin
            is_customers = listener.side is Side.CUSTOMERS and far.customer is None and payer is not None
            if not (payer.identity.is_trusted if is_customers and payer is not None else _is_trusted(far)):
                response = concealed(response)
        return response


def _says_who(message: Message) -> bool:
    """Whether it has a header that can only cross the border as it is after a look at who sent it."""
    first = message.first
    return (
        first[grammar.P_ASSERTED_IDENTITY] >= 0
        or first[grammar.P_PREFERRED_IDENTITY] >= 0
        or first[grammar.REMOTE_PARTY_ID] >= 0
        or first[grammar.PRIVACY] >= 0
    )


def _unjudged(message: Message, customer: Customer, egress: Listener, book: Rulebook) -> Message:
    """A message of a customer that no rule judged: what it asserts goes on only where all of it is its own, and so does
    Remote-Party-ID, which may name an extension too."""
    policy = customer.identity
    asserts = b""
    keeps = False
    if message.first[grammar.REMOTE_PARTY_ID] >= 0:
        shown = listed_claims(message, grammar.REMOTE_PARTY_ID, customer.plan)
        if shown.has_excess or any(_is_anothers(claim, customer, book) for claim in shown.read):
            message = without_remote_party(message)
    if message.first[grammar.P_ASSERTED_IDENTITY] >= 0 and policy.asserted is not AssertedIdentity.STRIP:
        claims = listed_claims(message, grammar.P_ASSERTED_IDENTITY, customer.plan)
        if not claims.has_excess and all(book.owner(claim.number) is customer for claim in claims.read):
            keeps = policy.asserted is AssertedIdentity.KEEP
            asserts = b"" if keeps else _main_number(customer, egress)
    return with_identity(message, is_trusted=policy.is_trusted, keeps=keeps, asserts=asserts)


def _is_anothers(claim: Claim, customer: Customer, book: Rulebook) -> bool:
    """Whether it names, or may name, a number that is not the customer's; an extension or a name does not."""
    return claim.may_name_number if claim.number is None else book.owner(claim.number) is not customer


def _is_trusted(origin: Origin) -> bool:
    if origin.customer is not None:
        return origin.customer.identity.is_trusted
    return origin.trunk is not None and origin.trunk.trusted_identity


def _from_elsewhere(message: Message, origin: Origin) -> Message:
    """From a trunk; or from nobody we know, and then it only came so far because nothing is refused (monitor mode)."""
    is_trusted = _is_trusted(origin)
    return with_identity(message, is_trusted=is_trusted, keeps=is_trusted)


def _main_number(customer: Customer, egress: Listener) -> bytes:
    number = customer.identity.main_number
    return b"" if number is None else _asserted(number, egress)


def _asserted(number: E164, egress: Listener) -> bytes:
    host = egress.advertised.host
    host = f"[{host}]" if ":" in host else host
    return f"P-Asserted-Identity: <sip:{format_e164(number)}@{host};user=phone>".encode()
