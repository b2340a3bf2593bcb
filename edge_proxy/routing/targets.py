"""Where calls can be sent: a trunk's or a customer's targets, and the next hop a URI names (RFC 3261 §16.5, §16.6)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_proxy.addr import Address, Transport
from edge_proxy.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Target:
    """One place a call can be sent to; `uri` is how the operator wrote it."""

    uri: str
    address: Address
    transport: Transport = Transport.UDP


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
