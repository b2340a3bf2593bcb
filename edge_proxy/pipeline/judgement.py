"""From a request and its source to a verdict: what live traffic and `edge-proxy explain` both call."""

from __future__ import annotations

from typing import Final

from edge_proxy.addr import E164, Side
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.engine import Step, decide
from edge_proxy.policy.facts import CallFacts, extract_facts, reads_608
from edge_proxy.policy.parties import Customer, Source
from edge_proxy.policy.verdict import Verdict
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri

_CARRIERS: Final = Side.CARRIERS


class Judgement:
    """A verdict with what it was reached from. `callee` and `called` are set for calls from a carrier only."""

    __slots__ = ("called", "callee", "facts", "responsible", "verdict")

    def __init__(self, facts: CallFacts, verdict: Verdict, callee: Customer | None, called: E164 | None) -> None:
        self.facts = facts
        self.verdict = verdict
        self.callee = callee
        self.called = called
        self.responsible = facts.source.origin.customer or callee
        """The customer that the attempt is booked on: the one that calls, or the one that is called."""


def judge(snapshot: Snapshot, message: Message, uri: Uri, source: Source, trace: list[Step] | None = None) -> Judgement:
    """The verdict on a request that begins something; `uri` is where it wants to go."""
    book = snapshot.rulebook
    origin = source.origin
    called: E164 | None = None
    callee: Customer | None = None
    if origin.side is _CARRIERS:
        callee, called = book.owner_of_user(uri.user)
    party = origin.customer or callee
    facts = extract_facts(message, source, uri, None if party is None else party.plan)
    if book.explains_608:
        facts.reads_608 = reads_608(message)
    traces = facts.traces
    if traces.media_hosts and origin.customer is not None:
        own = source.address.host
        traces.media_origins = tuple(
            [origin if host == own else snapshot.media_origin(host) for host in traces.media_hosts]
        )
    return Judgement(facts, decide(facts, book, callee, trace), callee, called)
