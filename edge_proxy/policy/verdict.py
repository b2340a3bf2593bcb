"""What a decision says: outcome, status, reason, rule, IP origin, signals. The reason codes are a closed set.

The codes are also metric labels, log fields and the text of the Reason header, so they never change their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_proxy.native import mypyc_attr
from edge_proxy.policy.access import Proof

if TYPE_CHECKING:
    from edge_proxy.policy.refusals import Refusal


class Outcome(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"
    MONITORED = "monitored"
    """Passed, because the customer, trunk, node or rule is in monitor mode; enforced, it would have been refused."""
    TAGGED = "tagged"
    """Passed, with a header that says what it would have been refused for."""
    DIVERTED = "diverted"
    """Sent to an announcement instead of where it wanted to go."""


class Reason(StrEnum):
    """Why, in one word per rule."""

    EMERGENCY = "emergency"
    IDENTITY_OWNED = "identity_owned"
    CARRIER_CALL = "carrier_call"
    FORWARDED_CALL = "forwarded_call"
    UNKNOWN_SOURCE = "unknown_source"
    AUTHENTICATION_FAILED = "authentication_failed"
    AUTHENTICATION_REQUIRED = "authentication_required"
    """Only watched: enforced, the request is challenged and no verdict on it is reached."""
    PROOF_TOO_WEAK = "proof_too_weak"
    ASN_NOT_ALLOWED = "asn_not_allowed"
    FROM_NOT_OWNED = "from_not_owned"
    PAI_NOT_OWNED = "pai_not_owned"
    PPI_NOT_OWNED = "ppi_not_owned"
    RPID_NOT_OWNED = "rpid_not_owned"
    PASSPORT_NOT_OWNED = "passport_not_owned"
    FORWARDER_NOT_OWNED = "forwarder_not_owned"
    ANONYMITY_NOT_ALLOWED = "anonymity_not_allowed"
    FORWARDED_BY_OWNER = "forwarded_by_owner"
    IDENTITY_MISSING = "identity_missing"
    TOO_MANY_IDENTITIES = "too_many_identities"
    PSTN_ORIGIN = "pstn_origin"
    UNKNOWN_IP_ORIGIN = "unknown_ip_origin"
    OWN_NUMBER_FROM_CARRIER = "own_number_from_carrier"
    CALLED_NOT_OWNED = "called_not_owned"
    EVIDENCE_UNAVAILABLE = "evidence_unavailable"
    OVERLOADED = "overloaded"
    """Shed without a verdict; recorded for the first one of many (pipeline/shedding.py)."""
    CALLS_PER_SECOND = "calls_per_second"
    CONCURRENT_CALLS = "concurrent_calls"
    NUMBER_RATE = "number_rate"
    NUMBER_CONCURRENT = "number_concurrent"
    ASN_RATE = "asn_rate"
    ASN_CONCURRENT = "asn_concurrent"
    DESTINATION_RATE = "destination_rate"
    DESTINATION_CONCURRENT = "destination_concurrent"
    DESTINATION_HOUR = "destination_hour"
    DO_NOT_ORIGINATE = "do_not_originate"
    NUMBER_DENIED = "number_denied"
    INVALID_CALLER = "invalid_caller"
    INVALID_CALLED = "invalid_called"
    UNALLOCATED_CALLER = "unallocated_caller"
    UNALLOCATED_CALLED = "unallocated_called"
    CALLER_IS_CALLED = "caller_is_called"
    CALLED_NUMBER_RATE = "called_number_rate"
    SEQUENTIAL_CALLS = "sequential_calls"
    SHORT_CALLS = "short_calls"
    SPOOF_BURST = "spoof_burst"
    MESSAGE_RATE = "message_rate"


class IpOrigin(StrEnum):
    """Whether the call began on IP, on the switched network, or nobody can say."""

    IP = "ip"
    PSTN = "pstn"
    UNKNOWN = "unknown"


class Signal(NamedTuple):
    """One hint about where a call began; positive weight speaks for PSTN, negative for IP."""

    name: str
    weight: int
    detail: str

    def __str__(self) -> str:
        return f"{self.name}{self.weight:+d}"


STATUS_OF: Final[dict[Reason, int]] = {
    Reason.UNKNOWN_SOURCE: 403,
    Reason.AUTHENTICATION_FAILED: 403,
    Reason.AUTHENTICATION_REQUIRED: 407,
    Reason.PROOF_TOO_WEAK: 403,
    Reason.ASN_NOT_ALLOWED: 403,
    Reason.FROM_NOT_OWNED: 403,
    Reason.PAI_NOT_OWNED: 403,
    Reason.PPI_NOT_OWNED: 403,
    Reason.RPID_NOT_OWNED: 403,
    Reason.PASSPORT_NOT_OWNED: 403,
    Reason.FORWARDER_NOT_OWNED: 403,
    Reason.ANONYMITY_NOT_ALLOWED: 403,
    Reason.IDENTITY_MISSING: 403,
    Reason.TOO_MANY_IDENTITIES: 403,
    Reason.PSTN_ORIGIN: 403,
    Reason.UNKNOWN_IP_ORIGIN: 403,
    Reason.OWN_NUMBER_FROM_CARRIER: 403,
    Reason.CALLED_NOT_OWNED: 404,
    Reason.EVIDENCE_UNAVAILABLE: 503,
    Reason.OVERLOADED: 503,
    Reason.CALLS_PER_SECOND: 503,
    Reason.CONCURRENT_CALLS: 503,
    Reason.NUMBER_RATE: 503,
    Reason.NUMBER_CONCURRENT: 503,
    Reason.ASN_RATE: 503,
    Reason.ASN_CONCURRENT: 503,
    Reason.DESTINATION_RATE: 503,
    Reason.DESTINATION_CONCURRENT: 503,
    Reason.DESTINATION_HOUR: 503,
    Reason.DO_NOT_ORIGINATE: 403,
    Reason.NUMBER_DENIED: 403,
    Reason.INVALID_CALLER: 403,
    Reason.INVALID_CALLED: 404,
    Reason.UNALLOCATED_CALLER: 403,
    Reason.UNALLOCATED_CALLED: 404,
    Reason.CALLER_IS_CALLED: 403,
    Reason.CALLED_NUMBER_RATE: 503,
    Reason.SEQUENTIAL_CALLS: 503,
    Reason.SHORT_CALLS: 503,
    Reason.SPOOF_BURST: 503,
    Reason.MESSAGE_RATE: 503,
}
"""The SIP status of each refusal."""


_REFUSED: Final = Outcome.REFUSED


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Verdict:
    """The decision on one attempt. `status` is 0 when it was not refused; `text` is for a person.

    `refusal` is the reason it would have been refused for, also in monitor mode.
    """

    outcome: Outcome
    status: int
    reason: Reason
    rule: str
    text: str
    ip_origin: IpOrigin
    signals: tuple[Signal, ...]
    proof: Proof
    is_emergency: bool
    retry_after_s: int
    """For a refusal that may not be one later: what Retry-After says; 0: nothing."""
    refusal: Refusal | None
    """How what speaks against it is told, where the operator chose that (refusals.py)."""

    def __init__(
        self,
        outcome: Outcome,
        status: int,
        reason: Reason,
        rule: str,
        text: str,
        ip_origin: IpOrigin,
        signals: tuple[Signal, ...],
        proof: Proof,
        is_emergency: bool,
    ) -> None:
        self.outcome = outcome
        self.status = status
        self.reason = reason
        self.rule = rule
        self.text = text
        self.ip_origin = ip_origin
        self.signals = signals
        self.proof = proof
        self.is_emergency = is_emergency
        self.retry_after_s = 0
        self.refusal = None

    @property
    def passes(self) -> bool:
        return self.outcome is not _REFUSED
