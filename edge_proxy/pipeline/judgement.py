"""From a request and its source to a verdict: what live traffic and `edge-proxy explain` both call."""

from __future__ import annotations

from typing import NamedTuple

from edge_proxy.addr import E164, Side
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.engine import Step, decide
from edge_proxy.policy.facts import CallFacts, extract_facts
from edge_proxy.policy.parties import Customer, Source
from edge_proxy.policy.verdict import Verdict
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri


class Judgement(NamedTuple):
    """A verdict with what it was reached from. `callee` and `called` are set for calls from a carrier only."""

    facts: CallFacts
    verdict: Verdict
    callee: Customer | None
    called: E164 | None

    @property
    def responsible(self) -> Customer | None:
        """The customer that the attempt is booked on: the one that calls, or the one that is called."""
        return self.facts.source.origin.customer or self.callee


def judge(snapshot: Snapshot, message: Message, uri: Uri, source: Source, trace: list[Step] | None = None) -> Judgement:
    """The verdict on a request that begins something; `uri` is where it wants to go."""
    book = snapshot.rulebook
    called: E164 | None = None
    callee: Customer | None = None
    if source.origin.side is Side.CARRIERS:
        callee, called = book.owner_of_user(uri.user)
    party = source.origin.customer or callee
    facts = extract_facts(message, source, uri, None if party is None else party.plan)
    if source.origin.customer is not None and facts.traces.media_hosts:
        facts.traces.media_origins = tuple(
            source.origin if host == source.address.host else snapshot.origin_of(host, Side.CUSTOMERS)
            for host in facts.traces.media_hosts
        )
    return Judgement(facts, decide(facts, book, callee, trace), callee, called)
