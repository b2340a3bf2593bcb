"""Everything a worker decides from, frozen: compiled off the call path, swapped whole, never changed in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edge_proxy.addr import Asn, Side, Wall
from edge_proxy.policy.access import Proof
from edge_proxy.policy.call_limits import ScannerLimits
from edge_proxy.policy.digest import Realm
from edge_proxy.policy.parties import Customer, Origin, Trunk
from edge_proxy.policy.rules import Rulebook
from edge_proxy.routing.destinations import Destinations
from edge_proxy.routing.targets import Target
from edge_proxy.sip.limits import Limits
from edge_proxy.traffic.address_ranges import RangeMap
from edge_proxy.traffic.asn_table import AsnTable

_MOST_MEDIA: Final = 4096


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`version` names the data in every verdict and record; targets are by the ordinal of their customer or trunk."""

    version: str
    rulebook: Rulebook
    trunks: tuple[Trunk, ...]
    customer_targets: tuple[tuple[Target, ...], ...]
    trunk_targets: tuple[tuple[Target, ...], ...]
    destinations: Destinations
    """All of them once more, by address."""
    customer_sources: RangeMap
    trunk_sources: RangeMap
    asn_table: AsnTable
    target_asns: frozenset[Asn]
    """Where the targets are that are given by address."""
    limits: Limits
    refuses_without_evidence: bool = False
    """When the evidence buffer is full: True refuses new calls, False lets them pass unrecorded (and counted)."""
    next_change_at: Wall | None = None
    """When the next right to a number begins or ends, or a list, so that a snapshot compiled then differs; None: no
    such date."""
    warnings: tuple[str, ...] = ()
    """What the operator should know although it is no error, each with its place."""

    scanners: ScannerLimits | None = None
    """When strangers are ignored; None: never."""
    realm: Realm | None = None
    """How customers with credentials are challenged; None: there are none."""

    shared_sources: RangeMap | None = None
    """Sources of customers that a request must show itself to be of, to groups of these; None: there are none."""
    shared_groups: Sequence[tuple[int, ...]] = ()
    tls_identities: Mapping[str, int] = field(default_factory=dict)
    """Names and hashes in the certificates of customers, with whose they are."""

    _media: dict[str, Origin] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def customers(self) -> tuple[Customer, ...]:
        return self.rulebook.customers

    def origin_of(self, host: str, side: Side) -> Origin:
        """Who sends from this address to a listener of this side."""
        asn = self.asn_table.asn_of(host)
        if side is Side.CUSTOMERS:
            ordinal = self.customer_sources.find(host)
            customer = None if ordinal < 0 else self.customers[ordinal]
            group = -1 if self.shared_sources is None else self.shared_sources.find(host)
            if group < 0:
                return Origin(side, customer, None, asn)
            candidates = tuple(self.customers[one] for one in self.shared_groups[group])
            return Origin(side, customer, None, asn, candidates=candidates)
        ordinal = self.trunk_sources.find(host)
        return Origin(side, None, None if ordinal < 0 else self.trunks[ordinal], asn)

    def media_origin(self, host: str) -> Origin:
        """Whose address media of a customer goes to; remembered, for a bounded number."""
        origin = self._media.get(host)
        if origin is None:
            if len(self._media) >= _MOST_MEDIA:
                self._media.clear()
            origin = self._media[host] = self.origin_of(host, Side.CUSTOMERS)
        return origin

    def identify(self, origin: Origin, identities: tuple[str, ...]) -> Origin:
        """The origin when the far end of its TLS connection has proved to be these: stronger than its address."""
        found = {self.tls_identities[one]: one for one in reversed(identities) if one in self.tls_identities}
        if not found or origin.side is not Side.CUSTOMERS:
            return origin
        if len(found) > 1:
            names = " and ".join(sorted(self.customers[ordinal].id for ordinal in found))
            return replace(
                origin, customer=None, candidates=(), failure=f"the certificate is of several customers: {names}"
            )
        ((ordinal, identity),) = found.items()
        customer = self.customers[ordinal]
        return replace(origin, customer=customer, shown=Proof.TLS_MUTUAL, identity=identity, candidates=())
