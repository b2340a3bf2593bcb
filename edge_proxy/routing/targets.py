"""Where calls can be sent: a trunk's or a customer's targets, and the next hop a URI names (RFC 3261 §16.5, §16.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Target:
    """One place a call can be sent to; `uri` is how the operator wrote it."""

    uri: str
    address: Address
    transport: Transport = Transport.UDP
    is_fixed_transport: bool = False
    """The operator named the transport: a large request does not change it (RFC 3261 §18.1.1)."""


class Egress:
    """Which listener a message leaves by: of the right side, with the right transport where there is one."""

    __slots__ = ("_by_side", "_by_transport")

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._by_side = {listener.side: listener for listener in reversed(listeners)}
        self._by_transport = {(listener.side, listener.transport): listener for listener in reversed(listeners)}

    def towards(self, side: Side, transport: Transport) -> Listener:
        """The listener for this side and transport; the side's first one when it has no such transport."""
        return self._by_transport.get((side, transport)) or self._by_side[side]

    def stream(self, side: Side) -> Listener | None:
        """The side's TCP listener, for requests too large for a datagram."""
        return self._by_transport.get((side, Transport.TCP))


def transport_of(uri: Uri) -> Transport:
    """The transport a URI asks for (RFC 3263 §4.1, without NAPTR): its parameter, TLS for sips, else UDP."""
    named = uri.param(b"transport")
    if uri.scheme == "sips" or (named is not None and named.lower() == b"tls"):
        return Transport.TLS
    return Transport.TCP if named is not None and named.lower() == b"tcp" else Transport.UDP


def numeric_address(uri: Uri) -> Address | None:
    """The address a sip URI names when its host (or maddr) is numeric; None when it is a name to be resolved."""
    maddr = uri.param(b"maddr")
    host = maddr.decode("ascii", "replace").strip("[]") if maddr else uri.host
    if not _is_numeric(host):
        return None
    return Address(host, uri.port or (5061 if uri.scheme == "sips" else 5060))


def _is_numeric(host: str) -> bool:
    if ":" in host:
        return True
    parts = host.split(".")
    return len(parts) == 4 and all(part.isascii() and part.isdigit() and int(part[:4]) < 256 for part in parts)
