"""What happened, in plain integers: each datagram is counted once as received and once by what became of it.

received = forwarded + answered + absorbed + dropped, per side, whenever nobody is in the middle of a datagram.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from edge_proxy.addr import Side
from edge_proxy.pipeline.equipment import EquipmentBook
from edge_proxy.policy.verdict import IpOrigin, Outcome, Reason, Verdict


class Disposition(StrEnum):
    """What became of one received message."""

    FORWARDED = "forwarded"
    ANSWERED = "answered"
    ABSORBED = "absorbed"
    DROPPED = "dropped"


class Cause(StrEnum):
    """Why a message was absorbed, answered by ourselves or dropped: metric labels, a closed set, in three runs."""

    # absorbed: it has done its work here
    RETRANSMISSION = "retransmission"
    ACK_OF_REFUSAL = "ack_of_refusal"
    HOP_BY_HOP_RESPONSE = "hop_by_hop_response"
    KEEPALIVE = "keepalive"
    FAILED_OVER = "failed_over"
    PROBE_RESPONSE = "probe_response"
    # answered: by us, and it goes no further
    REFUSED = "refused"
    MALFORMED = "malformed"
    OPTIONS = "options"
    CANCEL = "cancel"
    TOO_MANY_HOPS = "too_many_hops"
    UNSUPPORTED_SCHEME = "unsupported_scheme"
    UNSUPPORTED_EXTENSION = "unsupported_extension"
    LOOP = "loop"
    MAX_BREADTH = "max_breadth"
    SESSION_TOO_SHORT = "session_too_short"
    UNKNOWN_DIALOG = "unknown_dialog"
    FORGED_TOKEN = "forged_token"  # noqa: S105 - a reason code, not a secret
    NO_TARGET = "no_target"
    OVERLOADED = "overloaded"
    CHALLENGED = "challenged"
    NONCE_STALE = "nonce_stale"
    NONCE_REUSED = "nonce_reused"
    # dropped: no answer is possible or deserved
    NOT_SIP = "not_sip"
    TOO_SHORT = "too_short"
    MALFORMED_RESPONSE = "malformed_response"
    UNANSWERABLE = "unanswerable"
    RESPONSE_NOT_OURS = "response_not_ours"
    STRAY_RESPONSE = "stray_response"
    STRAY_ACK = "stray_ack"
    RESOLVING = "resolving"
    UNKNOWN_SHED = "unknown_shed"
    REFUSED_SILENTLY = "refused_silently"
    SCANNER_IGNORED = "scanner_ignored"
    INTERNAL_ERROR = "internal_error"


def _dispositions() -> Iterator[tuple[Cause, Disposition]]:
    """The causes stand in three runs, in the order of their declaration."""
    disposition = Disposition.ABSORBED
    for cause in Cause:
        if cause is Cause.REFUSED:
            disposition = Disposition.ANSWERED
        elif cause is Cause.NOT_SIP:
            disposition = Disposition.DROPPED
        yield cause, disposition


DISPOSITION_OF: Final[dict[Cause, Disposition]] = dict(_dispositions())
"""What usually becomes of a message for each cause (an ACK is never answered: what would be is dropped)."""

KNOWN_METHODS: Final = frozenset(
    {
        b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"PRACK", b"UPDATE", b"INFO", b"REFER",
        b"NOTIFY", b"SUBSCRIBE", b"MESSAGE", b"PUBLISH",
    }
)  # fmt: skip


class Count:
    """One count. That it changes makes no new object, which would outlive the burst of calls that it was made in."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class SideCounters:
    """The counts of one side's listeners."""

    __slots__ = (
        "by_cause",
        "forwarded",
        "other_requests",
        "received",
        "received_bytes",
        "requests_by_method",
        "responses_by_class",
        "sent",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.received = 0
        self.received_bytes = 0
        self.sent = 0
        self.sent_bytes = 0
        self.forwarded = 0
        self.by_cause: defaultdict[tuple[Disposition, Cause], int] = defaultdict(int)
        """All that was not simply forwarded."""
        self.requests_by_method = {method: Count() for method in sorted(KNOWN_METHODS)}
        self.other_requests = Count()
        self.responses_by_class = [Count() for _ in range(10)]
        """By the first digit of the status."""

    @property
    def dispositions(self) -> dict[Disposition, int]:
        """What became of the received messages."""
        counts = dict.fromkeys(Disposition, 0)
        counts[Disposition.FORWARDED] = self.forwarded
        for (disposition, _), count in self.by_cause.copy().items():
            counts[disposition] += count
        return counts

    @property
    def requests(self) -> dict[str, int]:
        """Requests received by method, of those there were."""
        counts = {method.decode(): counted.count for method, counted in self.requests_by_method.items()}
        counts["other"] = self.other_requests.count
        return {method: count for method, count in counts.items() if count}

    @property
    def responses(self) -> dict[str, int]:
        """Responses received by class, of those there were."""
        classes = enumerate(self.responses_by_class)
        return {f"{first}xx": counted.count for first, counted in classes if counted.count}

    def is_balanced(self) -> bool:
        """Whether every received message is accounted for."""
        return self.received == sum(self.dispositions.values())


class Counters:
    """All counts of one pipeline."""

    __slots__ = ("_customers", "_verdicts", "equipment", "evidence_unavailable", "sides", "timer_c_fired")

    def __init__(self) -> None:
        self.sides: dict[Side, SideCounters] = {side: SideCounters() for side in Side}
        self._verdicts: defaultdict[tuple[Side, Outcome, Reason, IpOrigin], Count] = defaultdict(Count)
        self._customers: defaultdict[tuple[str, Outcome], Count] = defaultdict(Count)
        self.equipment = EquipmentBook()
        self.timer_c_fired = 0
        self.evidence_unavailable = 0

    def count_verdict(self, side: Side, verdict: Verdict, customer: str) -> None:
        self._verdicts[side, verdict.outcome, verdict.reason, verdict.ip_origin].count += 1
        if customer:
            self._customers[customer, verdict.outcome].count += 1

    @property
    def verdicts(self) -> dict[tuple[Side, Outcome, Reason, IpOrigin], int]:
        """How many attempts had each verdict, of those there were."""
        return {key: counted.count for key, counted in self._verdicts.copy().items()}

    @property
    def customers(self) -> dict[tuple[str, Outcome], int]:
        """How many attempts of each customer ended which way."""
        return {key: counted.count for key, counted in self._customers.copy().items()}
