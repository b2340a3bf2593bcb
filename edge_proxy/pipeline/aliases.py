"""Where a request's Via leads: where its responses go, and what its connection serves beside them (RFC 5923)."""

from __future__ import annotations

from typing import NamedTuple

from edge_proxy.addr import TLS, UDP, Address, Listener
from edge_proxy.pipeline.peers import Peer
from edge_proxy.sip.message import Message
from edge_proxy.sip.via import response_address


class Alias(NamedTuple):
    """The stream connection with `peer` also serves requests to `address` (RFC 5923 §6)."""

    slot: int
    peer: Address
    address: Address


def alias_of(message: Message, source: Address, listener: Listener, peer: Peer) -> Alias | None:
    """A known peer's `alias`: what we send to the port that its Via names goes over the connection it opened."""
    via = message.via
    if via is None or not via.has_alias or (peer.origin.customer is None and peer.origin.trunk is None):
        return None
    port = via.port or (5061 if listener.transport is TLS else 5060)
    return Alias(listener.slot, source, Address(source.host, port))


def reply_address(message: Message, source: Address, listener: Listener) -> Address | None:
    """Where a response to this request goes: back over its connection, or where its Via says (§18.2.2)."""
    if listener.transport is not UDP:
        return source
    return None if message.via is None else response_address(message.via, source)
