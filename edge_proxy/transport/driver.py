"""Run a pipeline on an event loop: sockets in, `Pipeline` in the middle, journal, then sockets out. Nothing is decided.

One turn: drain every socket that is readable, hand each datagram to the pipeline, put the records into the journal,
send, arm one timer. The order is the promise: evidence is kept before the message it is about leaves.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Sequence
from time import monotonic, time
from typing import Final

from edge_proxy.addr import NEVER, Address, Listener, Monotonic
from edge_proxy.pipeline.core import Pipeline
from edge_proxy.pipeline.histogram import Histogram
from edge_proxy.pipeline.records import Record
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.routing.names import NameQuery, Names
from edge_proxy.transaction.layer import Send
from edge_proxy.transaction.timers import fires_at
from edge_proxy.transport.mesh import Mesh
from edge_proxy.transport.port import Port, Received
from edge_proxy.transport.stream import StreamPort

_CLOCK_CHECK_S: Final = 1.0
_EARLIEST_S: Final = 0.001
_TIDY_S: Final = 0.005
"""What is not worth waking up for is done by turns at least this far apart, and by the timer a little later."""
_LATEST_S: Final = 5.0
"""A timer that is further away is made anew on its way there, so that it keeps nothing of the time it was made in."""

DELAY_BUCKETS_S: Final[tuple[float, ...]] = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.1,
    0.5,
)
"""Of no fixed length to the compiler, which gets the length of a constant tuple of floats wrong."""


class Driver:
    """The shell of one worker. `keep` stores records; when it returns they would survive a crash of this process."""

    def __init__(
        self,
        pipeline: Pipeline,
        ports: Sequence[tuple[Port, Listener]],
        keep: Callable[[list[Record]], None],
    ) -> None:
        self.pipeline = pipeline
        self.delays = Histogram(DELAY_BUCKETS_S)
        """How long datagrams stayed inside: from the turn's first read to its last send."""
        self.turns = 0
        self.internal_errors = 0
        self.want_names: Callable[[Collection[NameQuery]], None] = lambda _queries: None
        """Who looks up the names that requests need."""
        self.mesh: Mesh | None = None
        """The way to the other workers of the same listeners; None: there are none."""
        self._ports = list(ports)
        self._by_slot: list[list[tuple[bytes, Address]]] = [[] for _ in ports]
        self._keep = keep
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._tidy_at = Monotonic(0.0)
        self._soonest_s = pipeline.settings.timers.soonest_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_error: Callable[[BaseException, bytes], None] = lambda _error, _data: None

    async def start(self, on_error: Callable[[BaseException, bytes], None]) -> None:
        """Begin to serve on the running loop. `on_error` hears of bugs: an exception and the datagram it came from."""
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._set_clock()
        for port, listener in self._ports:
            port.on_unreachable = functools.partial(self._unreachable, listener)
            if isinstance(port, StreamPort):
                port.on_identity = functools.partial(self.pipeline.peer_identity, listener)
            deliver = functools.partial(self._take_turn, listener)
            await port.start(self._loop, deliver if self.mesh is None else self.mesh.sifted(listener, deliver))
        if self.mesh is not None:
            self.mesh.start(self._loop, [functools.partial(self._take_turn, listener) for _, listener in self._ports])
        self._arm()

    def stop(self) -> None:
        """Stop reading; what is queued is flushed once more."""
        for port, _ in self._ports:
            port.stop()
        if self.mesh is not None:
            self.mesh.stop()
        if self._timer is not None:
            self._timer.cancel()

    def use_snapshot(self, snapshot: Snapshot) -> list[object]:
        """Decide by another snapshot, and do at once what it asks for. Returns what is to be let go of."""
        old = self.pipeline.use_snapshot(snapshot)
        self._finish_turn(Monotonic(monotonic()))
        self._arm()
        return old

    def use_names(self, names: Names) -> None:
        """Send to other addresses, and do at once what they ask for."""
        self.pipeline.use_names(names)
        self._finish_turn(Monotonic(monotonic()))
        self._arm()

    def _set_clock(self) -> None:
        """Keep the wall clock beside the monotonic one; it is set again now and then, since an operator may set it."""
        assert self._loop is not None  # noqa: S101 - start() comes first
        self.pipeline.wall_offset_s = time() - monotonic()
        self._loop.call_later(_CLOCK_CHECK_S, self._set_clock)

    def _take_turn(self, listener: Listener, batch: list[Received]) -> None:
        started = Monotonic(monotonic())
        pipeline = self.pipeline
        for data, source in batch:
            try:
                pipeline.receive(data, source, listener, started)
            except Exception as error:  # noqa: BLE001 - one message must never end the service; it is told and counted
                self.internal_errors += 1
                pipeline.count_internal_error(listener.side)
                self._on_error(error, data)
        self._finish_turn(started)
        if batch:
            self.turns += 1
            ended = Monotonic(monotonic())
            self.delays.observe(ended - started, len(batch))
            pipeline.overload.observe(listener.slot, len(batch), started, ended, pipeline.wall_offset_s)
            if ended >= self._tidy_at:
                self._tidy_at = Monotonic(ended + _TIDY_S)
                pipeline.layer.end_some(ended)
                pipeline.scanners.forgive()

    def _unreachable(self, listener: Listener, address: Address, messages: list[bytes]) -> None:
        now = Monotonic(monotonic())
        for message in messages:
            self.pipeline.unreachable(listener.slot, address, message, now)
        self._finish_turn(now)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        now = Monotonic(monotonic())
        try:
            self.pipeline.handle_timer(now)
        except Exception as error:  # noqa: BLE001 - as above
            self.internal_errors += 1
            self._on_error(error, b"")
        self._finish_turn(now)

    def _finish_turn(self, now: Monotonic) -> None:
        output = self.pipeline.collect()
        if output.records:
            self._keep(output.records)
        if output.aliases:
            for slot, peer, address in output.aliases:
                self._ports[slot][0].alias(peer, address)
        if output.sends:
            self._send(output.sends)
        if output.wanted_names:
            self.want_names(output.wanted_names)
        soonest = now + self._soonest_s
        if self._timer_at > soonest and self._timer_at > fires_at(soonest):
            self._arm()  # else it goes off before anything that began just now is due

    def _send(self, sends: list[Send]) -> None:
        """Every port gets what it has to send in one call, in order."""
        by_slot = self._by_slot
        for send in sends:
            by_slot[send.slot].append((send.data, send.address))
        for slot, messages in enumerate(by_slot):
            if messages:
                by_slot[slot] = []
                self._ports[slot][0].send_all(messages)

    def _arm(self) -> None:
        """Keep one loop timer armed for the pipeline's next deadline, or for some time before it."""
        deadline = self.pipeline.next_timer()
        if deadline is None or deadline >= self._timer_at or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        now = monotonic()
        delay_s = min(max(deadline - now, _EARLIEST_S), _LATEST_S)
        self._timer_at = Monotonic(min(deadline, now + delay_s))
        self._timer = self._loop.call_later(delay_s, self._tick)
