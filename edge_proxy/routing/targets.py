"""Where calls can be sent: a trunk's or a customer's targets, and the next hop a URI names (RFC 3261 §16.5, §16.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from edge_proxy.addr import TLS, UDP, Address, Listener, Side, Transport
from edge_proxy.routing.names import Endpoint, NameQuery, Names
from edge_proxy.sip.uri import Uri


class Probe(NamedTuple):
    """How a target is asked for a sign of life: OPTIONS every `interval_s`, sooner while the signs contradict."""

    interval_s: float = 30.0
    timeout_s: float = 4.0
    up_after: int = 2
    down_after: int = 3


@dataclass(frozen=True, slots=True)
class Target:
    """One place a call can be sent to; `uri` is how the operator wrote it."""

    uri: str
    address: Address | None
    """None: the URI names a host, and `query` is what has to be found out."""
    transport: Transport = UDP
    is_fixed_transport: bool = False
    """The operator named the transport: a large request does not change it (RFC 3261 §18.1.1)."""
    query: NameQuery | None = None
    priority: int = 0
    weight: int = 1
    is_draining: bool = False
    """It gets no new calls; what is inside a dialog still goes there."""
    probe: Probe | None = None
    """None: it is not probed."""
    trunk: str = ""
    """The id of the trunk it belongs to; "" for a customer's."""
    hides_topology: bool = False
    """What lies behind us on the customers' side does not reach it (see topology.py)."""
    trusts_identity: bool = True
    """It is in the trust domain of RFC 3325: an asserted identity reaches it also when the caller wants privacy."""
    controls_overload: bool = False
    """It is asked to say when it wants fewer new requests, and gets fewer then (RFC 7339)."""

    def endpoints(self, names: Names) -> tuple[Endpoint, ...]:
        """Where it is now; nothing while its name is not known."""
        if self.address is not None:
            return (Endpoint(self.address, self.transport),)
        return () if self.query is None else names.find(self.query) or ()


class Egress:
    """Which listener a message leaves by: of the right side, with the right transport where there is one."""

    __slots__ = ("_by_side", "_by_transport", "_udp")

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._by_side = {listener.side: listener for listener in reversed(listeners)}
        self._by_transport = {(listener.side, listener.transport): listener for listener in reversed(listeners)}
        self._udp = {listener.side: listener for listener in reversed(listeners) if listener.transport is UDP}

    def towards(self, side: Side, transport: Transport) -> Listener:
        """The listener for this side and transport; the side's first one when it has no such transport."""
        if transport is UDP and (usual := self._udp.get(side)) is not None:
            return usual
        return self._by_transport.get((side, transport)) or self._by_side[side]

    def stream(self, side: Side) -> Listener | None:
        """The side's TCP listener, for requests too large for a datagram."""
        return self._by_transport.get((side, Transport.TCP))


def transport_of(uri: Uri) -> Transport:
    """The transport a URI asks for (RFC 3263 §4.1, without NAPTR): its parameter, TLS for sips, else UDP."""
    named = uri.param(b"transport")
    if uri.scheme == "sips" or (named is not None and named.lower() == b"tls"):
        return TLS
    return Transport.TCP if named is not None and named.lower() == b"tcp" else UDP


def numeric_address(uri: Uri) -> Address | None:
    """The address a sip URI names when its host (or maddr) is numeric; None when it is a name to be resolved."""
    maddr = uri.param(b"maddr")
    host = _numeric(maddr.decode("ascii", "replace").strip("[]") if maddr else uri.host)
    if not host:
        return None
    return Address(host, uri.port or default_port(transport_of(uri)))


def default_port(transport: Transport) -> int:
    """The port of a URI that names none (RFC 3263 §4.2)."""
    return 5061 if transport is TLS else 5060


def name_query(uri: Uri, side: Side) -> NameQuery | None:
    """What has to be found out about a sip URI that names its host; None for a numeric one, and for other schemes."""
    maddr = uri.param(b"maddr")
    host = maddr.decode("ascii", "replace").lower() if maddr else uri.host
    if not _is_name(host):
        return None
    is_settled = uri.scheme == "sips" or uri.param(b"transport") is not None
    return NameQuery(host.rstrip("."), uri.port, transport_of(uri) if is_settled else None, side)


@lru_cache(maxsize=1024)
def _numeric(host: str) -> str:
    """An IP address in its canonical spelling; "" for anything else, and for one that stands for nobody or many."""
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    is_no_peer = address.is_multicast or address.is_unspecified or host == "255.255.255.255" or "%" in host
    return "" if is_no_peer else str(address)


def _is_name(host: str) -> bool:
    """Whether DNS can know it: no name ends in a label of digits (RFC 1123 §2.1)."""
    return bool(host) and ":" not in host and not host.rstrip(".").rpartition(".")[2].isdigit()
