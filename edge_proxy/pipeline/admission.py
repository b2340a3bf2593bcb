"""Who sent a request, beyond what its source address tells: an origin in, a better known one or a challenge out.

Asked about requests from the customers' side that begin something. ACK and CANCEL cannot be challenged (RFC 3261
§22.1) and requests inside a dialog pass by their dialog token; none of them is asked about here. An emergency call
passes whatever it lacks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from edge_proxy.addr import Side, Transport, Wall
from edge_proxy.numbers.emergency import is_emergency
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.nonces import Freshness, NonceBook
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.access import Proof
from edge_proxy.policy.digest import Realm
from edge_proxy.policy.discriminators import tell_apart
from edge_proxy.policy.parties import Customer, Mode, Origin
from edge_proxy.sip import grammar
from edge_proxy.sip.digest import DigestAnswer, challenge_line, parse_digest_answer
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri, parse_uri


class Challenge(NamedTuple):
    """To be answered 407 with these lines, and counted under this cause."""

    cause: Cause
    lines: list[bytes]


def admit_saved(snapshot: Snapshot, message: Message, origin: Origin, transport: Transport) -> Origin | Challenge:
    """Who sent a message that was saved, its nonce being of another day; takes our credentials off it."""
    admission = Admission(b"", 0, snapshot)
    if not admission.is_active or origin.side is not Side.CUSTOMERS:
        return origin
    answer = admission.take_answer(message)
    return admission.admit(message, answer, parse_uri(message.uri), origin, transport, None)


class Admission:
    """Finds out who sends, for one worker. Costs nothing where no customer has credentials or a shared address."""

    __slots__ = ("_nonces", "_realm", "_snapshot", "is_active")

    def __init__(self, secret: bytes, worker: int, snapshot: Snapshot) -> None:
        self._nonces = NonceBook(secret, worker)
        self.use_snapshot(snapshot)

    def use_snapshot(self, snapshot: Snapshot) -> None:
        """Nonces live on; users and passwords are the new ones at once."""
        self._snapshot = snapshot
        self._realm: Realm | None = snapshot.realm
        self.is_active = snapshot.realm is not None or snapshot.shared_sources is not None

    def take_answer(self, message: Message) -> DigestAnswer | None:
        """Take the credentials that are meant for us off the message, so that they go no further (§22.3)."""
        realm = self._realm
        if realm is None or message.first[grammar.PROXY_AUTHORIZATION] < 0:
            return None
        ours: list[DigestAnswer] = []
        indexes: list[int] = []
        for index, line in enumerate(message.headers):
            if line.kind == grammar.PROXY_AUTHORIZATION:
                answer = parse_digest_answer(line.value)
                if answer is not None and answer.realm == realm.name.encode():
                    ours.append(answer)
                    indexes.append(index)
        if not ours:
            return None
        message.remove_lines(indexes)
        return ours[0] if len(ours) == 1 else ours[0]._replace(flaw="there are several")

    def admit(
        self,
        message: Message,
        answer: DigestAnswer | None,
        called: Uri,
        origin: Origin,
        transport: Transport,
        now: Wall | None,
    ) -> Origin | Challenge:
        """Who sends this. `now` None: a message of another day is looked at, and its nonce is not."""
        if origin.candidates:
            origin = tell_apart(origin, message)
        realm = self._realm
        customer = origin.customer
        if realm is None or origin.failure:
            return origin
        cause = Cause.CHALLENGED
        if answer is not None and (customer is None or customer.access.has_credentials):
            credential, failure = realm.check(answer, message.method)
            if credential is None:
                return replace(origin, failure=failure)
            if customer is not None and credential.customer != customer.ordinal:
                return replace(origin, failure=f"the credentials are not those of {customer.id}, whose address this is")
            freshness = Freshness.FRESH
            if now is not None:
                freshness = self._nonces.use(answer.nonce, answer.nonce_count, now, realm.nonce_s)
            if freshness is Freshness.FRESH:
                return self._proved(origin, transport, credential.customer, answer)
            cause = Cause.NONCE_REUSED if freshness is Freshness.REUSED else Cause.NONCE_STALE
        elif customer is not None and not customer.access.can_be_helped(origin.proof(transport)):
            return origin
        if self._calls_help(called, customer):
            return origin
        if self._snapshot.rulebook.mode_for(customer) is Mode.MONITOR:
            # A challenge would turn away who cannot answer it.
            return replace(origin, owes_credentials=True)
        nonce = self._nonces.issue(Wall(0.0) if now is None else now)
        is_stale = cause is not Cause.CHALLENGED
        lines = [challenge_line(realm.name, nonce, one, is_stale=is_stale) for one in realm.algorithms]
        return Challenge(cause, lines)

    def _proved(self, origin: Origin, transport: Transport, customer: int, answer: DigestAnswer) -> Origin:
        if origin.proof(transport).reaches(Proof.DIGEST):
            return origin
        shown = answer.username.decode("utf-8", "replace")
        return replace(origin, customer=self._snapshot.customers[customer], shown=Proof.DIGEST, identity=shown)

    def _calls_help(self, called: Uri, customer: Customer | None) -> bool:
        plan = self._snapshot.rulebook.fallback_emergency if customer is None else customer.emergency
        return is_emergency(called.user, called.scheme, plan)
