"""What is recorded of requests that are shed while there is too much to do: of many, the first.

A record of each would cost what shedding is to spare. So the first one of a customer (or trunk) in each second is
recorded, and all the others of that customer in that second are refused with its evidence id. Of more than `MOST_KINDS`
customers in a second the rest share one.
"""

from __future__ import annotations

from typing import Final

from edge_proxy.addr import Wall
from edge_proxy.pipeline.records import Attempt, EvidenceIds
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.facts import extract_facts
from edge_proxy.policy.parties import Source
from edge_proxy.policy.verdict import STATUS_OF, IpOrigin, Outcome, Reason, Verdict
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri

MOST_KINDS: Final = 64
_TEXT: Final = "there was too much to do; every request of this sender that was shed in this second has this reference"


class ShedNotes:
    """The notes of one worker. `ids` gives out its evidence ids."""

    __slots__ = ("_ids", "_noted", "_second")

    def __init__(self, ids: EvidenceIds) -> None:
        self._ids = ids
        self._noted: dict[str, int] = {}
        self._second = 0

    def note(
        self, snapshot: Snapshot, message: Message, uri: Uri, source: Source, wall: Wall
    ) -> tuple[int, Attempt | None]:
        """The evidence id that this request is refused with, and the attempt to record if it is the first."""
        second = int(wall)
        if second != self._second:
            self._second = second
            self._noted.clear()
        origin = source.origin
        customer, trunk = origin.customer, origin.trunk
        name = "" if customer is None else customer.id
        key = name if trunk is None else f"trunk {trunk.id}"
        if key not in self._noted and len(self._noted) >= MOST_KINDS:
            key = ""
        noted = self._noted.get(key)
        if noted is not None:
            return noted, None
        evidence_id = self._noted[key] = self._ids.next(wall)
        facts = extract_facts(message, source, uri, None if customer is None else customer.plan)
        facts.body = b""
        reason = Reason.OVERLOADED
        verdict = Verdict(
            Outcome.REFUSED,
            STATUS_OF[reason],
            reason,
            "overload",
            _TEXT,
            IpOrigin.UNKNOWN,
            (),
            origin.proof(source.transport),
            False,
        )
        mode = snapshot.rulebook.mode_for(customer, trunk)
        return evidence_id, Attempt(evidence_id, wall, facts, verdict, name, mode, None, snapshot.version, ())
