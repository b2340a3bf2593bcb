"""Ask targets for a sign of life with OPTIONS (RFC 3261 §11), on a timer, through the transaction layer.

Any final response but 503 and 408 is a sign of life: who refuses OPTIONS can still take calls. Nobody else sees
these requests and their responses: they are no attempts, make no evidence and go no further. A target whose signs
contradict its standing is asked again `timeout_s` later instead of `interval_s`, so that a failure and a return are
both noticed soon.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, Generic, TypeVar

from edge_proxy.addr import Address, Listener, Monotonic, Transport
from edge_proxy.routing.destinations import Probed
from edge_proxy.routing.forward import via_line
from edge_proxy.routing.health import TargetHealth
from edge_proxy.routing.targets import Egress
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_retry_after
from edge_proxy.sip.message import Message
from edge_proxy.sip.serializer import join_message
from edge_proxy.transaction.layer import TransactionLayer
from edge_proxy.transaction.timers import TimerWheel

U = TypeVar("U")

_SPREAD_S: Final = 1.0
"""The first probes leave within this time, each target at a moment of its own."""

_SEND: Final = 0
_GIVE_UP: Final = 1


class ProbeResult(StrEnum):
    """What came of one probe. A closed set: these are metric labels."""

    GOOD = "good"
    REFUSED = "refused"
    """503 or 408: it answers, and cannot serve."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


class _Asked:
    """One target address that is probed. `branch` is that of the probe under way; b"" between two."""

    __slots__ = ("address", "branch", "gives_up_at", "is_begun", "key", "listener", "sent_at")

    def __init__(self, key: str, listener: Listener, address: Address) -> None:
        self.key = key
        self.listener = listener
        self.address = address
        self.branch = b""
        self.sent_at = self.gives_up_at = Monotonic(0.0)
        self.is_begun = False


class Prober(Generic[U]):
    """Sends probes and reads what comes back; `results` counts them."""

    __slots__ = (
        "_asked",
        "_egress",
        "_health",
        "_layer",
        "_more_probed",
        "_pending",
        "_probed",
        "_secret",
        "_serial",
        "_wheel",
        "owns",
        "results",
    )

    def __init__(self, layer: TransactionLayer[U], health: TargetHealth, egress: Egress, secret: bytes) -> None:
        self.results: defaultdict[ProbeResult, int] = defaultdict(int)
        self.owns: Callable[[bytes], bool] = lambda _call_id: True
        """Whether the answers to a probe with this Call-ID come to us, where several workers share an address."""
        self._layer = layer
        self._health = health
        self._egress = egress
        self._secret = secret
        self._serial = 0
        self._probed: Mapping[str, Probed] = {}
        self._more_probed: Mapping[str, Probed] = {}
        self._asked: dict[str, _Asked] = {}
        self._pending: dict[bytes, _Asked] = {}
        self._wheel: TimerWheel[_Asked] = TimerWheel()

    def use(self, probed: Mapping[str, Probed], more: Mapping[str, Probed]) -> None:
        """Probe these from now on, and these `more`; those that stay keep their rhythm, those that go are let go of
        when their turn comes. Both belong to the caller, who changes neither."""
        is_new = probed is not self._probed
        self._probed, self._more_probed = probed, more
        asked = self._asked
        fresh = [key for key in more if key not in asked]
        if is_new:
            fresh += probed.keys() - asked.keys()
        for key in fresh:
            place = probed.get(key) or more[key]
            one = _Asked(key, self._egress.towards(place.side, place.transport), place.address)
            asked[key] = one
            self._wheel.start(0.0, one, _SEND)  # as soon as somebody says what time it is

    def next_deadline(self) -> Monotonic:
        return self._wheel.next_deadline()

    def handle_timer(self, now: Monotonic) -> None:
        """Send the probes that are due, give up on those that were not answered."""
        if now < self._wheel.next_deadline():
            return
        while (one := self._wheel.take_due(now)) is not None:
            self._fire(one, self._wheel.event, now)

    def receive_response(self, response: Message, now: Monotonic) -> bool:
        """Whether this was the response to a probe; then its work is done."""
        one = None if response.via is None else self._pending.get(response.via.branch)
        if one is None:
            return False
        client = self._layer.find_client(one.branch, grammar.METHOD_OPTIONS)
        if client is not None:
            self._layer.receive_response(client, response, now)
        if response.status >= 200:
            retry_after = response.value(grammar.RETRY_AFTER)
            if response.status == 503 and retry_after is not None:
                self._health.close(one.address, parse_retry_after(retry_after), now)
            self._end(one, ProbeResult.REFUSED if response.status in {408, 503} else ProbeResult.GOOD, now)
        return True

    def unreachable(self, branch: bytes, now: Monotonic) -> bool:
        """Whether the message with this branch, that no connection could be had for, was a probe."""
        one = self._pending.get(branch)
        if one is None:
            return False
        self._give_up(one, ProbeResult.UNREACHABLE, now)
        return True

    def _fire(self, one: _Asked, event: int, now: Monotonic) -> None:
        if event == _GIVE_UP:
            if one.branch and now >= one.gives_up_at:  # an earlier probe's timer may still be around
                self._give_up(one, ProbeResult.TIMED_OUT, now)
            return
        place = self._place_of(one)
        if place is None:
            self._asked.pop(one.key, None)
        elif not one.is_begun:
            one.is_begun = True
            spread = zlib.crc32(repr(one.address).encode()) % 1000 / 1000
            self._wheel.start(now + spread * min(_SPREAD_S, place.probe.interval_s), one, _SEND)
        else:
            self._send(one, place, now)

    def _place_of(self, one: _Asked) -> Probed | None:
        """What is now known of it; None: it is not to be probed any more."""
        return self._probed.get(one.key) or self._more_probed.get(one.key)

    def _send(self, one: _Asked, place: Probed, now: Monotonic) -> None:
        self._serial += 1
        unique = self._unique(one, now)
        while not self.owns(unique):
            self._serial += 1
            unique = self._unique(one, now)
        one.branch = branch = grammar.MAGIC_COOKIE + unique
        self._pending[branch] = one
        listener = one.listener
        self._layer.open_client(
            branch,
            grammar.METHOD_OPTIONS,
            _options(listener, place.uri.encode(), branch, unique),
            listener.slot,
            one.address,
            now,
            is_reliable=listener.transport is not Transport.UDP,
        )
        one.sent_at = now
        one.gives_up_at = Monotonic(now + place.probe.timeout_s)
        self._wheel.start(one.gives_up_at, one, _GIVE_UP)

    def _unique(self, one: _Asked, now: Monotonic) -> bytes:
        seed = f"{one.listener.slot} {one.address} {self._serial} {now!r}".encode()
        return hashlib.blake2b(seed, key=self._secret, digest_size=15).hexdigest().encode()

    def _give_up(self, one: _Asked, result: ProbeResult, now: Monotonic) -> None:
        client = self._layer.find_client(one.branch, grammar.METHOD_OPTIONS)
        if client is not None:
            self._layer.give_up(client)
        self._end(one, result, now)

    def _end(self, one: _Asked, result: ProbeResult, now: Monotonic) -> None:
        del self._pending[one.branch]
        one.branch = b""
        self.results[result] += 1
        health, place = self._health, self._place_of(one)
        if place is None:
            self._asked.pop(one.key, None)
            return
        probe = place.probe
        if result is ProbeResult.GOOD:
            health.note_good(one.address)
        else:
            health.note_bad(one.address, now)
        pause_s = min(probe.timeout_s, probe.interval_s) if health.is_doubtful(one.address) else probe.interval_s
        # Counted from when it was sent: a time-out has been pause enough.
        at = max(one.sent_at + pause_s, now + health.pause_left_s(one.address, now))
        self._wheel.start(at, one, _SEND)


def _options(listener: Listener, uri: bytes, branch: bytes, unique: bytes) -> bytes:
    us = str(listener.advertised).encode()
    return join_message(
        b"OPTIONS " + uri + b" SIP/2.0",
        (
            via_line(listener, branch),
            b"Max-Forwards: 70",
            b"From: <sip:" + us + b">;tag=" + unique[:16],
            b"To: <" + uri + b">",
            b"Call-ID: " + unique,
            b"CSeq: 1 OPTIONS",
            b"Contact: <sip:" + us + b">",
            b"Accept: application/sdp",
            b"Content-Length: 0",
        ),
        b"",
    )
