"""Who sends through us: customers, trunks, and the origin of one message."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from edge_proxy.addr import Address, Asn, Side, Transport
from edge_proxy.native import mypyc_attr
from edge_proxy.numbers.e164 import DialPlan
from edge_proxy.numbers.emergency import EmergencyPlan
from edge_proxy.policy.access import OPEN_ACCESS, Access, Proof
from edge_proxy.policy.call_limits import NO_LIMITS, CallLimits
from edge_proxy.policy.identity_policy import DEFAULT_IDENTITY, IdentityPolicy
from edge_proxy.policy.weights import DEFAULT_TERMS, IpOriginTerms

# Names of members that each call asks for: through their class they cost as much as a call (CPython 3.11).
_UDP: Final = Transport.UDP
_NO_PROOF: Final = Proof.NONE
_ADDRESS_UDP: Final = Proof.ADDRESS_UDP
_ADDRESS_TCP: Final = Proof.ADDRESS_TCP


class Mode(StrEnum):
    """enforce: a refusal is sent. monitor: the call passes and the record says what would have happened."""

    ENFORCE = "enforce"
    MONITOR = "monitor"


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as decisions need it; `ordinal` is its place in the snapshot and its owner index for numbers."""

    ordinal: int
    id: str
    plan: DialPlan
    emergency: EmergencyPlan
    mode: Mode = Mode.ENFORCE
    limits: CallLimits = NO_LIMITS
    identity: IdentityPolicy = DEFAULT_IDENTITY
    access: Access = OPEN_ACCESS
    ip_origin: IpOriginTerms = DEFAULT_TERMS
    checks: int = field(init=False, repr=False, compare=False)
    """Which rules are about this customer beside those about all: the same for all with the same ones (engine.py)."""

    def __post_init__(self) -> None:
        asks_for_proof = self.access.minimum_proof is not Proof.NONE
        checks = asks_for_proof + 2 * bool(self.access.asns) + 4 * (not self.identity.allows_anonymous)
        object.__setattr__(self, "checks", checks)


@dataclass(frozen=True, slots=True)
class Trunk:
    """A carrier's voice trunk."""

    ordinal: int
    id: str
    committed_rate_bps: int = 0
    """0: no committed rate is configured."""
    hides_topology: bool = False
    """What lies behind us on the customers' side does not reach it."""
    mode: Mode = Mode.ENFORCE
    """For calls that come from it."""
    trusted_identity: bool = True
    """It is part of the trust domain of RFC 3325: what it asserts is believed, what is private reaches it."""


@dataclass(slots=True, init=False, unsafe_hash=True)
class Origin:
    """Who sent a message, as far as can be told. At most one of `customer` and `trunk` is set.

    Nobody changes one that is made. That is not enforced: a frozen one takes many times as long to make.
    """

    side: Side
    customer: Customer | None
    trunk: Trunk | None
    asn: Asn
    shown: Proof
    """The proof that was given beyond the address."""
    identity: str
    """The user name or the TLS identity that was proved."""
    failure: str
    """Why the credentials that were shown prove nothing; "" when none were, or when they are right."""
    owes_credentials: bool
    """It would have been challenged for credentials, were calls not only watched."""
    candidates: tuple[Customer, ...]
    """The customers that share the address; which of them sends, the request must show."""
    doubt: str
    """Why it shows none of them."""

    def __init__(
        self,
        side: Side,
        customer: Customer | None,
        trunk: Trunk | None,
        asn: Asn,
        shown: Proof = Proof.NONE,
        identity: str = "",
        failure: str = "",
        owes_credentials: bool = False,
        candidates: tuple[Customer, ...] = (),
        doubt: str = "",
    ) -> None:
        self.side = side
        self.customer = customer
        self.trunk = trunk
        self.asn = asn
        self.shown = shown
        self.identity = identity
        self.failure = failure
        self.owes_credentials = owes_credentials
        self.candidates = candidates
        self.doubt = doubt

    def proof(self, transport: Transport) -> Proof:
        if self.shown is not _NO_PROOF:
            return self.shown
        if self.customer is None and self.trunk is None:
            return _NO_PROOF
        return _ADDRESS_UDP if transport is _UDP else _ADDRESS_TCP


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Source:
    """An origin and the very address and transport a message came by."""

    origin: Origin
    address: Address
    transport: Transport

    def __init__(self, origin: Origin, address: Address, transport: Transport) -> None:
        self.origin = origin
        self.address = address
        self.transport = transport
