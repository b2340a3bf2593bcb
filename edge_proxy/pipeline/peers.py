"""From an address to what is known of it, looked up once: whose it is, and the ledger row of its AS."""

from __future__ import annotations

from typing import Final, NamedTuple

from edge_proxy.addr import UNKNOWN_ASN, Address, Listener, Side
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.parties import Origin
from edge_proxy.traffic.ledger import LedgerRow, TrafficLedger, header_bytes

_MAX_CACHED: Final = 65_536
_CUSTOMERS: Final = Side.CUSTOMERS


class Peer(NamedTuple):
    """An address on one side, by the data in use."""

    origin: Origin
    row: LedgerRow
    header_bytes: int
    """What IP and UDP add to each of its datagrams."""
    is_stranger: bool
    """Its address is neither a customer's nor a trunk's."""
    loop_seed: bytes
    """Side and party: what of its source decides where a request goes (RFC 5393 §4.2.1)."""


class Peers:
    """All peers met since the snapshot came into use; a bounded number is remembered, the rest is looked up again."""

    __slots__ = ("_by_connection", "_carriers", "_customers", "_identified", "_ledger", "_snapshot")

    def __init__(self, snapshot: Snapshot, ledger: TrafficLedger) -> None:
        self._ledger = ledger
        self._customers: dict[str, Peer] = {}
        self._carriers: dict[str, Peer] = {}
        self._identified: dict[tuple[int, Address], tuple[str, ...]] = {}
        self._by_connection: dict[tuple[int, Address], Peer] = {}
        """Peers on TLS connections whose certificate is a customer's; filled when they send."""
        self.use_snapshot(snapshot)

    def use_snapshot(self, snapshot: Snapshot) -> list[object]:
        """Forget who is who. Returns who was, for the caller to let go of."""
        self._snapshot = snapshot
        old: list[object] = [self._customers, self._carriers, self._by_connection]
        self._customers, self._carriers, self._by_connection = {}, {}, {}
        self._ledger.reserve([UNKNOWN_ASN])
        return old

    def find(self, host: str, side: Side) -> Peer:
        """Who is behind this address on a listener of this side."""
        peers = self._customers if side is _CUSTOMERS else self._carriers
        peer = peers.get(host)
        if peer is None:
            if len(peers) >= _MAX_CACHED:
                peers.clear()
            origin = self._snapshot.origin_of(host, side)
            party = origin.customer or origin.trunk
            seed = f"{side} {'' if party is None else party.id}".encode()
            added = header_bytes(is_ipv6=":" in host)
            peer = peers[host] = Peer(origin, self._ledger.row(origin.asn), added, _is_strange(origin), seed)
        return peer

    def identify(self, listener: Listener, address: Address, identities: tuple[str, ...]) -> None:
        """Remember who has proved to be at the far end of a connection; () forgets it."""
        key = (listener.slot, address)
        self._by_connection.pop(key, None)
        if identities:
            self._identified[key] = identities
        else:
            self._identified.pop(key, None)

    def find_connected(self, source: Address, listener: Listener) -> Peer:
        """Who is at the far end of a TLS connection: whom its certificate names, or else whose address it is."""
        key = (listener.slot, source)
        peer = self._by_connection.get(key)
        if peer is not None:
            return peer
        peer = self.find(source.host, listener.side)
        identities = self._identified.get(key)
        if identities is not None:
            origin = self._snapshot.identify(peer.origin, identities)
            party = origin.customer or origin.trunk
            seed = f"{listener.side} {'' if party is None else party.id}".encode()
            peer = self._by_connection[key] = peer._replace(
                origin=origin, is_stranger=_is_strange(origin), loop_seed=seed
            )
        return peer


def _is_strange(origin: Origin) -> bool:
    """Nobody's, and not an address that customers share either."""
    return origin.customer is None and origin.trunk is None and not origin.candidates
