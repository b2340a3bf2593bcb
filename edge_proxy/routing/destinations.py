"""All targets seen from the addresses that they have: how each is watched and probed, and which tell their load.

Made twice. For targets that are given by address it is compiled with the configuration, off the call path, and a reload
merely changes from one to the next, however many there are. For those that are given by name it is made again whenever
what is known of names changes (RFC 3263): for them alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.routing.health import Thresholds
from edge_proxy.routing.names import NameQuery, Names
from edge_proxy.routing.targets import Probe, Target

TRUNKS: Final = -1
"""Whose targets: in place of a customer's ordinal, those of the trunks, which serve all."""


class Probed(NamedTuple):
    """One address that is asked for a sign of life."""

    side: Side
    transport: Transport
    address: Address
    probe: Probe
    uri: str
    """What the request names."""


class Named(NamedTuple):
    """A target that is given by name, and whose it is."""

    side: Side
    owner: int
    target: Target


class Destinations:
    """What is to be known of each address that a call can be sent to. Filled by `add` and `placed`, then only read."""

    __slots__ = ("_kept", "giving_feedback", "hosts", "named", "names", "probed", "thresholds")

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.thresholds: dict[Address, Thresholds] = {}
        self.giving_feedback: set[Address] = set()
        """Who is asked for its load (RFC 7339)."""
        self.probed: dict[str, Probed] = {}
        """By side, transport and address as one text: two targets of the same are probed once."""
        self.named: list[Named] = []
        self.names: set[NameQuery] = set()
        self._kept: dict[Probe | None, Thresholds] = {}

    def add(self, side: Side, owner: int, target: Target) -> None:
        """One more target; without an address of its own it is only noted."""
        if target.address is not None:
            self._place(side, target, target.address, target.transport)
        elif target.query is not None:
            self.named.append(Named(side, owner, target))
            self.names.add(target.query)

    def placed(self, names: Names) -> Destinations:
        """Those that are given by name, where they are now."""
        found = Destinations()
        for side, _, target in self.named:
            for endpoint in target.endpoints(names):
                found._place(side, target, endpoint.address, endpoint.transport)
        return found

    def _place(self, side: Side, target: Target, address: Address, transport: Transport) -> None:
        probe = target.probe
        self.hosts.add(address.host)
        if probe is not None or address not in self.thresholds:
            self.thresholds[address] = self._thresholds_of(probe)
        if target.controls_overload:
            self.giving_feedback.add(address)
        if probe is not None:
            key = f"{side} {transport} {address}"
            if key not in self.probed:
                self.probed[key] = Probed(side, transport, address, probe, target.uri)

    def _thresholds_of(self, probe: Probe | None) -> Thresholds:
        kept = self._kept.get(probe)
        if kept is None:
            kept = Thresholds() if probe is None else Thresholds(probe.down_after, probe.up_after, None)
            self._kept[probe] = kept
        return kept


NO_DESTINATIONS: Final = Destinations()
