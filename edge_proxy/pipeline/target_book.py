"""Where requests go now: the snapshot's targets, the addresses their names have, and what became of what was sent.

It brings together what routing/ keeps apart (names, health, selection) and turns places into hops. Signs of life and
of trouble from requests that are on their way come in by `observe`; probes report to the same health.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum

from edge_proxy.addr import UDP, Address, Listener, Monotonic, Side, Transport
from edge_proxy.native import mypyc_attr
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.routing.destinations import NO_DESTINATIONS, TRUNKS
from edge_proxy.routing.health import TargetHealth
from edge_proxy.routing.names import NO_NAMES, NameQuery, Names
from edge_proxy.routing.reductions import TargetReductions
from edge_proxy.routing.selection import Offer, Place, choose, fixed_places, in_order
from edge_proxy.routing.targets import Egress, Target, name_query, numeric_address, transport_of
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.overload import read_feedback
from edge_proxy.sip.uri import Uri


@mypyc_attr(acyclic=True)
class Hop:
    """One place to forward to: where, through which listener, and whether the Request-URI is to name it."""

    __slots__ = (
        "_place",
        "address",
        "for_large",
        "gives_feedback",
        "listener",
        "renames_uri",
        "target",
        "trusts_identity",
        "veiled_caller",
    )

    def __init__(
        self,
        listener: Listener,
        address: Address,
        *,
        renames_uri: bool = False,
        for_large: Listener | None = None,
        target: Target | None = None,
        veiled_caller: Side | None = None,
        gives_feedback: bool = False,
    ) -> None:
        self.listener = listener
        self.address = address
        self.renames_uri = renames_uri
        self.for_large = for_large
        """The stream listener for a request that is too large for a datagram; None: the transport is fixed."""
        self.target = target
        """The target that was chosen; None inside a dialog."""
        self.veiled_caller = veiled_caller
        """Who began the dialog, where the hop must not see what lies behind us (see topology.py); None: it may."""
        self.gives_feedback = gives_feedback
        """Our Via asks for its load, and its responses may say so (RFC 7339)."""
        self.trusts_identity = target is None or target.trusts_identity
        """What the caller asserts may reach it even if the caller wants it private (RFC 3325 §7)."""
        self._place = b""

    @property
    def place(self) -> bytes:
        """Its address as a URI says it."""
        if not self._place:
            self._place = str(self.address).encode()
        return self._place

    def by(self, listener: Listener) -> Hop:
        """The same place by another way, which is then the only one."""
        return Hop(
            listener,
            self.address,
            renames_uri=self.renames_uri,
            target=self.target,
            veiled_caller=self.veiled_caller,
            gives_feedback=self.gives_feedback,
        )


class HopResult(StrEnum):
    """What came of one request to one hop. A closed set: these are metric labels."""

    ANSWERED = "answered"
    UNAVAILABLE = "unavailable"
    """503: it says itself that it cannot serve."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


class TargetState:
    """One trunk's target at the moment of a scrape."""

    __slots__ = ("is_draining", "is_up", "reduction_percent", "trunk", "uri")

    def __init__(self, target: Target, *, is_up: bool, reduction_percent: int) -> None:
        self.trunk = target.trunk
        self.uri = target.uri
        self.is_up = is_up
        self.is_draining = target.is_draining
        self.reduction_percent = reduction_percent
        """The largest share of new requests that one of its addresses is spared."""


class TargetBook:
    """All targets of the snapshot in use. `results` counts requests by (trunk, target, result)."""

    __slots__ = (
        "_customers",
        "_egress",
        "_fixed",
        "_names",
        "_snapshot",
        "_trunks",
        "health",
        "named",
        "reductions",
        "results",
        "wanted",
    )

    def __init__(self, egress: Egress, snapshot: Snapshot) -> None:
        self.health = TargetHealth()
        self.reductions = TargetReductions()
        self.results: defaultdict[tuple[str, str, HopResult], int] = defaultdict(int)
        self.wanted: set[NameQuery] = set()
        self._egress = egress
        self._names = NO_NAMES
        self._snapshot = snapshot
        self.named = NO_DESTINATIONS
        """The targets that are given by name, where they are now."""
        self._trunks: list[list[Offer]] = []
        self._customers: dict[int, list[Offer]] = {}
        self._fixed: dict[int, tuple[list[Hop], list[Hop]] | None] = {}
        """Each call's hops while all is well, by customer: without and with renaming. None: weights decide. Like what
        customers offer, worked out with the first call, so that a reload takes no longer with many of them."""
        self.use_snapshot(snapshot)

    def use_snapshot(self, snapshot: Snapshot) -> list[object]:
        """Take another snapshot. Returns what was worked out from the old one, for the caller to let go of."""
        self._snapshot = snapshot
        old: list[object] = [self._customers, self._fixed]
        self._customers, self._fixed = {}, {}
        self._place_named()
        return old

    def use_names(self, names: Names) -> None:
        """Take other names."""
        self._names = names
        for _, owner, _ in self._snapshot.destinations.named:
            self._customers.pop(owner, None)
            self._fixed.pop(owner, None)
        self._place_named()

    def _place_named(self) -> None:
        snapshot, fixed = self._snapshot, self._snapshot.destinations
        self.named = named = fixed.placed(self._names)
        self._trunks = [_offers(group, self._names) for group in snapshot.trunk_targets]
        self.health.watch(fixed.thresholds, named.thresholds)
        self.reductions.keep(fixed.giving_feedback, named.giving_feedback)

    def take_wanted(self) -> Collection[NameQuery]:
        """The names that requests needed since this was last asked."""
        wanted, self.wanted = self.wanted, set()
        return wanted

    def states(self) -> Iterator[TargetState]:
        """Each trunk's targets; one is up while any of its addresses is not known to be down."""
        for offers in self._trunks:
            for offer in offers:
                is_up = any(not self.health.is_down(endpoint.address) for endpoint in offer.endpoints)
                percents = [self.reductions.percent(endpoint.address) for endpoint in offer.endpoints]
                yield TargetState(offer.target, is_up=is_up, reduction_percent=max(percents, default=0))

    def hops_for_attempt(
        self,
        towards: Side,
        callee: int | None,
        call_id: bytes,
        now: Monotonic,
        *,
        renames_uri: bool,
        is_emergency: bool,
    ) -> tuple[list[Hop], float]:
        """Where a new request may go, best first: to the trunks, or to the customer `callee` (its ordinal).

        The list may be shared between calls: copy it before taking anything out.
        Without hops, the number says for how many seconds every target asked to be left alone (0: there is none).
        """
        key = TRUNKS if towards is Side.CARRIERS else callee
        if key is None:
            return [], 0.0
        health = self.health
        if health.is_quiet and not is_emergency and (fixed := self._fixed_hops(key)) is not None:
            hops, pause_s = fixed[renames_uri], 0.0
        else:
            places, pause_s = choose(self._groups(key), health, now, zlib.crc32(call_id), takes_any=is_emergency)
            hops = self._hops(places, towards, renames_uri=renames_uri)
        if self.reductions.in_force and hops and not is_emergency:
            return self._spare(hops, call_id, now)
        return hops, pause_s

    def _spare(self, hops: list[Hop], call_id: bytes, now: Monotonic) -> tuple[list[Hop], float]:
        """Without those that asked to be spared requests such as this one."""
        reductions = self.reductions
        left = [hop for hop in hops if not reductions.sheds(hop.address, call_id, now)]
        return left, 0.0 if left else min(reductions.left_s(hop.address, now) for hop in hops)

    def _fixed_hops(self, key: int) -> tuple[list[Hop], list[Hop]] | None:
        if key in self._fixed:
            return self._fixed[key]
        places = fixed_places(self._groups(key))
        found: tuple[list[Hop], list[Hop]] | None = None
        if places is not None:
            side = Side.CARRIERS if key == TRUNKS else Side.CUSTOMERS
            found = self._hops(places, side, renames_uri=False), self._hops(places, side, renames_uri=True)
        self._fixed[key] = found
        return found

    def _groups(self, key: int) -> list[list[Offer]]:
        if key == TRUNKS:
            return self._trunks
        offers = self._customers.get(key)
        if offers is None:
            offers = self._customers[key] = _offers(self._snapshot.customer_targets[key], self._names)
        return [offers]

    def _hops(self, places: Sequence[Place], towards: Side, *, renames_uri: bool) -> list[Hop]:
        egress = self._egress
        return [
            Hop(
                egress.towards(towards, endpoint.transport),
                endpoint.address,
                renames_uri=renames_uri,
                for_large=None if target.is_fixed_transport else egress.stream(towards),
                target=target,
                veiled_caller=Side.CUSTOMERS if target.hides_topology else None,
                gives_feedback=target.controls_overload,
            )
            for target, endpoint in places
        ]

    def hops_for_dialog(self, uri: Uri, towards: Side, known: Address | None, call_id: bytes) -> list[Hop] | None:
        """Where a request inside a dialog goes: what its next hop `uri` says. None: its name is still being found out.

        A name gives way to `known`, where the call itself has that side: it is at hand, and it is where packets of
        this call have come from.
        """
        if (
            known is not None
            and not uri.params
            and uri.scheme == "sip"
            and uri.host == known.host
            and (uri.port or 5060) == known.port
        ):
            return [self._dialog_hop(towards, UDP, known)]  # where this call is already: nothing is to be read
        address = numeric_address(uri) or known
        if address is not None:
            return [self._dialog_hop(towards, transport_of(uri), address)]
        query = name_query(uri, towards)
        if query is None:
            return []
        self.wanted.add(query)
        endpoints = self._names.find(query)
        if endpoints is None:
            return None
        return [
            self._dialog_hop(towards, endpoint.transport, endpoint.address)
            for endpoint in in_order(endpoints, zlib.crc32(call_id))
        ]

    def hops_to(self, uri: Uri, towards: Side, call_id: bytes) -> list[Hop]:
        """Where a URI of the operator's own is; nothing while its name is still being found out."""
        return self.hops_for_dialog(uri, towards, None, call_id) or []

    def _dialog_hop(self, towards: Side, transport: Transport, address: Address) -> Hop:
        listener = self._egress.towards(towards, transport)
        return Hop(listener, address, gives_feedback=self._gives_feedback(address))

    def heed(self, address: Address, response: Message, now: Monotonic) -> None:
        """What a response from `address`, which was asked for it, says of its load in our Via (RFC 7339 §5.4)."""
        via = response.line(grammar.VIA)
        feedback = None if via is None else read_feedback(via.first_value)
        if feedback is not None and self._gives_feedback(address):
            self.reductions.note(address, feedback, now)

    def _gives_feedback(self, address: Address) -> bool:
        fixed, named = self._snapshot.destinations.giving_feedback, self.named.giving_feedback
        return bool(fixed or named) and (address in fixed or address in named)

    def observe(self, hop: Hop, result: HopResult, now: Monotonic, retry_after_s: float = 0.0) -> None:
        """What came of a request to `hop`."""
        if hop.target is not None and hop.target.trunk:
            self.results[hop.target.trunk, hop.target.uri, result] += 1
        if result is HopResult.ANSWERED:
            self.health.note_good(hop.address)
            return
        self.health.note_bad(hop.address, now)
        if retry_after_s:
            self.health.close(hop.address, retry_after_s, now)

    def saw_life(self, hop: Hop) -> None:
        """A provisional response other than 100: the hop works on the request."""
        self.health.note_good(hop.address)


def _offers(targets: tuple[Target, ...], names: Names) -> list[Offer]:
    return [Offer(target, target.priority, target.weight, target.endpoints(names)) for target in targets]
