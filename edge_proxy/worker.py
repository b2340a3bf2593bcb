"""One worker process: build every part, connect them, serve until told to stop, reload without dropping anything."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from edge_proxy import ENGINE
from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.admin.control import Control
from edge_proxy.admin.questions import Questions
from edge_proxy.assertions import compile_asserted
from edge_proxy.compile import transports_of
from edge_proxy.config import ConfigErrors, ListenerSettings, Settings, settings_error
from edge_proxy.errors import ConfigError, EdgeProxyError, EvidenceError
from edge_proxy.evidence.journal import Journal, JournalStats
from edge_proxy.evidence.recent import recent_ends
from edge_proxy.evidence.recorder import Recorder
from edge_proxy.pipeline.core import Pipeline, PipelineSettings
from edge_proxy.pipeline.histogram import Histogram
from edge_proxy.pipeline.records import Record
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.pipeline.steering import Steering, owner_of
from edge_proxy.policy.traces import forget_descriptions
from edge_proxy.reloading import let_go_of, prepare, uncollected, without_customers
from edge_proxy.resting import Pace
from edge_proxy.routing.names import Names
from edge_proxy.routing.topology import TopologyVeil
from edge_proxy.sip.line_memo import LINES
from edge_proxy.sip.uri import forget_uris
from edge_proxy.sip.via import forget_senders
from edge_proxy.starting import bind_error, make_data_dir, refresh, sides_of, tls_files
from edge_proxy.telemetry.call_log import CallLog
from edge_proxy.telemetry.http import TelemetryServer
from edge_proxy.telemetry.journal_watch import JournalWatch
from edge_proxy.telemetry.log_sink import sink
from edge_proxy.telemetry.logs import BurstLimit, set_up_logs
from edge_proxy.telemetry.metrics import PortStats, WorkerState, build_registry
from edge_proxy.telemetry.several_workers import Board, HandOverCollector
from edge_proxy.transaction.timers import TimerSettings
from edge_proxy.transport.driver import DELAY_BUCKETS_S, Driver
from edge_proxy.transport.loop_events import pending_events
from edge_proxy.transport.memory import MemoryRelief, empty_slab_bytes, give_back
from edge_proxy.transport.mesh import Mesh
from edge_proxy.transport.port import Port
from edge_proxy.transport.resolver import NameResolver, Reach, ResolverSettings
from edge_proxy.transport.shared_limits import LimitTables, WorkerLimits
from edge_proxy.transport.shared_sources import SourceTables
from edge_proxy.transport.stream import StreamPort, StreamSettings
from edge_proxy.transport.tls import TlsIdentity
from edge_proxy.transport.udp import UdpPort

_SECRET_BYTES: Final = 32
_GC_THRESHOLDS: Final = (1_000, 1_000, 100)
"""How many more objects of containers come than go until the youngest are walked, and how many such walks to one of the
older ones.

The core makes no cycles, so a walk frees nothing and only its length matters: calls wait for it. What goes is counted
whatever its age: while calls end that were up before a reload, which takes them out of all walks, as many come unseen.
"""
_SWITCH_INTERVAL_S: Final = 0.0005
_HEARTBEAT_S: Final = 0.05
_EVIDENCE_WATCH_S: Final = 0.5
"""How often the journal is looked at while it has room; when it has none, at each heartbeat."""
_MEMORY_CHECK_S: Final = 5.0
_BETWEEN_SLABS_S: Final = 0.01
_MOST_EMPTY_BYTES: Final = 8 << 20
"""More than traffic lets go of and takes again within moments."""
_DRAIN_S: Final = 5.0
_LONGEST_WAIT_S: Final = 60.0
"""How often the date is looked at: a reload or an operator's clock may have moved it."""
_NEXT_TRY_S: Final = 60.0
_FIRST_NAMES_S: Final = 2.0
"""How long a start or a reload waits for the addresses of targets; the service does not depend on them."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker that is one of several is given by the supervisor (supervisor.py), bound or open already."""

    workers: int
    sockets: Mapping[tuple[Side, Transport], socket.socket]
    """UDP: its own of the address; TCP and TLS: the one that all workers accept from."""
    inbox: socket.socket
    outboxes: Sequence[socket.socket]
    telemetry: socket.socket
    metrics_at: Address
    """Where all workers' metrics are read."""
    on_reload: Callable[[str], None]
    """Takes the version of the data that decides after a reload; nothing when it was refused."""
    first_names_s: float
    limits: LimitTables
    """What all workers have seen together."""
    sources: SourceTables
    """And of strangers."""
    board: Board
    """Where whoever answers for all workers reads how this one is."""


class Worker:
    """Everything one process runs. The constructor opens nothing; `serve` does, and closes it all again."""

    def __init__(
        self,
        settings: Settings,
        snapshot: Snapshot,
        config_path: Path,
        number: int = 0,
        place: Place | None = None,
    ) -> None:
        self.settings = settings
        self.state = WorkerState()
        self.engine = ENGINE.engine
        self.delay_bounds_s = DELAY_BUCKETS_S
        self._config_path = config_path
        self._snapshot = snapshot
        self._number = number
        self._place = place
        self._shared: WorkerLimits | None = None
        self._log = structlog.get_logger() if place is None else structlog.get_logger().bind(worker=number)
        self._bug_limit = BurstLimit()
        self._call_log = CallLog(settings.telemetry.call_log)
        self._identities: list[tuple[Side, TlsIdentity]] = []
        self._ports: list[tuple[Port, Listener]] = []
        self._journal = Journal(
            data_dir=settings.data_dir, worker=number, ring_dir=_ring_dir(settings), sync_interval_s=0.2
        )
        self._journal_watch: JournalWatch | None = None
        self._has_room = True  # for evidence, as the pipeline was last told
        self._recorder = Recorder(self._journal.put, settings.node, number)
        self._pipeline: Pipeline | None = None
        self._driver: Driver | None = None
        self.names = NameResolver(
            ResolverSettings(nameservers=settings.sip.nameserver_addresses),
            {Side.CUSTOMERS: _reach(settings.listeners.customers), Side.CARRIERS: _reach(settings.listeners.carriers)},
            self._use_names,
        )
        self._stopping = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False
        self._loop: asyncio.AbstractEventLoop | None = None

    # What the metrics collector reads (telemetry.metrics.ScrapeSource).

    @property
    def pipeline(self) -> Pipeline:
        assert self._pipeline is not None  # noqa: S101 - scrapes begin after serve() has built it
        return self._pipeline

    @property
    def journal_stats(self) -> JournalStats:
        return self._journal.stats

    @property
    def backlog_bytes(self) -> int:
        return self._journal.backlog_bytes

    @property
    def delays(self) -> Histogram:
        assert self._driver is not None  # noqa: S101 - as above
        return self._driver.delays

    @property
    def max_asn_labels(self) -> int:
        return self.settings.telemetry.max_asn_labels

    def ports(self) -> Iterator[PortStats]:
        for port, listener in self._ports:
            stats = PortStats(
                side=listener.side,
                transport=listener.transport,
                receive_buffer_bytes=port.receive_buffer_bytes,
                send_buffer_bytes=port.send_buffer_bytes,
                send_errors=port.send_errors,
                send_overflows=port.send_overflows,
            )
            if isinstance(port, UdpPort):
                stats.kernel_drops = port.kernel_drops
            if isinstance(port, StreamPort):
                stats.connections = len(port)
                stats.closed = {cause.value: count for cause, count in port.closed.items()}
            yield stats

    async def serve(self, announce: Callable[[str], None]) -> None:
        """Open all, announce the ready line, serve until SIGTERM or SIGINT. Raises ConfigErrors, EvidenceError."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        telemetry: TelemetryServer | None = None
        control: Control | None = None
        sink.start()
        try:
            make_data_dir(self.settings)
            self._journal.open()
            self._journal_watch = JournalWatch(self._journal.stats, self._log)
            self._bind()
            secret = load_secret(self.settings)
            self._pipeline = Pipeline(
                PipelineSettings(
                    node=self.settings.node,
                    worker=self._number,
                    listeners=[listener for _, listener in self._ports],
                    timers=_timers(self.settings),
                    secret=secret,
                    max_breadth=self.settings.sip.max_breadth,
                    session_expires_s=self.settings.sip.session_expires_s,
                    max_call_s=self.settings.sip.max_call_s,
                    overload_delay_s=self.settings.sip.overload.delay_ms / 1000,
                ),
                self._snapshot,
            )
            self._pipeline.calls.ended_before(recent_ends(self._journal.directory))
            self._driver = Driver(self._pipeline, self._ports, self._keep)
            self._driver.want_names = self.names.want
            self.state.snapshot_loaded_at = time.time()
            registry = build_registry(self)
            if self._place is None:
                control = Control(self.settings.data_dir)
                control.serve(Questions(self._pipeline.scanners.ignored, None, time.monotonic).answer)
            else:
                self._join(self._place, self._pipeline, self._driver, secret, registry)
            listen = self.settings.telemetry.address if self._place is None else self._place.telemetry
            telemetry = TelemetryServer(listen, registry, lambda: self.state.is_ready, self._pace)
            metrics_at = _start_telemetry(telemetry, self.settings)
            self._journal.start()
            await self._find_targets(self._snapshot)
            await self._driver.start(self._on_bug)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.set)
            loop.add_signal_handler(signal.SIGHUP, self._start_reload)
            _settle_memory()
            self.state.is_ready = True
            announce(self._ready_line(metrics_at if self._place is None else self._place.metrics_at))
            self._tell_warnings(self._snapshot)
            self._log.info(
                "ready",
                engine=self.engine,
                engine_note=ENGINE.note,
                snapshot=self._snapshot.version,
                metrics=str(metrics_at),
            )
            watching = [loop.create_task(watch) for watch in (self._watch_evidence(), self._give_back_memory())]
            if self._place is None:  # for several workers, the supervisor follows the dates
                watching.append(loop.create_task(self._follow_dates()))
            await self._stopping.wait()
            self._log.info("stopping", calls_up=len(self._pipeline.calls))
            self.state.is_ready = False
            for task in watching:
                task.cancel()
            await self._drain()
            self.names.stop()
            self._driver.stop()
        finally:
            if telemetry is not None:
                telemetry.stop()
            if control is not None:
                control.close()
            for port, _ in self._ports:
                port.close()
            self._journal.close()
            sink.stop()

    def _join(
        self, place: Place, pipeline: Pipeline, driver: Driver, secret: bytes, registry: CollectorRegistry
    ) -> None:
        """Take part in the work of several: what lands here and is another's goes there, and the other way round."""
        veil = TopologyVeil(secret, [listener for _, listener in self._ports])
        mesh = Mesh(self._number, place.inbox, place.outboxes, Steering(place.workers, veil.call_id_behind))
        for port, listener in self._ports:
            if isinstance(port, StreamPort):
                mesh.lend(listener.slot, port)
        driver.mesh = mesh
        registry.register(HandOverCollector(mesh))
        self._shared = WorkerLimits(place.limits, self._number)
        pipeline.decider.limiter.share(self._shared)
        sources = place.sources
        pipeline.scanners.share(sources.seen, sources.ignored, sources.vouched, sources.lock)
        pipeline.prober.owns = lambda call_id: owner_of(call_id, place.workers) == self._number

    def _bind(self) -> None:
        """Bind every listener; all that fail are told at once, each at its line."""
        errors: list[ConfigError] = []
        for side, listener in sides_of(self.settings):
            bound: Address | None = None
            for transport in transports_of(listener):
                tls = listener.tls if transport is Transport.TLS else None
                bind, key = (listener.address, "bind") if tls is None else (tls.address, "tls.bind")
                if tls is None and bound is not None:
                    bind = bound  # one port for UDP and TCP, also when the system chose it (RFC 3261 §18.2.1)
                try:
                    port = self._open_port(transport, bind, listener, side)
                except OSError as error:
                    errors.append(bind_error(self.settings, f"listeners.{side}.{key}", bind, error))
                    continue
                except ConfigError as error:
                    errors.append(settings_error(self.settings, f"listeners.{side}.tls", str(error)))
                    continue
                if tls is None:
                    bound = port.bound
                    advertised = _advertised(listener, bound)
                else:
                    advertised = Address(_advertised(listener, port.bound).host, port.bound.port)
                self._ports.append((port, Listener(len(self._ports), side, transport, advertised)))
        if errors:
            raise ConfigErrors(errors)

    def _open_port(self, transport: Transport, bind: Address, listener: ListenerSettings, side: Side) -> Port:
        if transport is Transport.UDP:
            return UdpPort(bind if self._place is None else self._place.sockets[side, transport])
        identity = None
        files = tls_files(listener) if transport is Transport.TLS else None
        if files is not None:
            identity = TlsIdentity(files)
            self._identities.append((side, identity))
        opened = bind if self._place is None else self._place.sockets[side, transport]
        return StreamPort(opened, self.settings.sip.limits, _stream_settings(listener), identity)

    def _keep(self, records: list[Record]) -> None:
        """Evidence first, then the log line of what is over."""
        self._recorder.keep(records)
        if self._journal.has_room is not self._has_room:
            self._look_at_evidence()
        if self._shared is not None:
            self._shared.follow(records, self.pipeline.calls)
        self._call_log.tell(records)

    def _on_bug(self, error: BaseException, data: bytes) -> None:
        self.state.internal_errors += 1
        if self._bug_limit.allows():
            self._log.error("bug: message dropped", error=repr(error), head=repr(data[:200]), exc_info=error)
        self.state.warnings_suppressed = self._bug_limit.suppressed

    async def _follow_dates(self) -> None:
        """Compile again when a number's right begins or ends: the snapshot says when that is."""
        while True:
            due = self.pipeline.snapshot.next_change_at
            wait_s = _LONGEST_WAIT_S if due is None else due - time.time() + 1.0
            if wait_s > 0.0:
                await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S))
                continue
            self._start_reload()
            await asyncio.sleep(_NEXT_TRY_S)  # should it be refused, the old data goes on and this tries again

    async def _watch_evidence(self) -> None:
        """Look at the journal now and then, and more often while it has no room; what is kept there looks too."""
        while True:
            self._look_at_evidence()
            has_room = self.pipeline.has_evidence_room
            await asyncio.sleep(_EVIDENCE_WATCH_S if has_room else _HEARTBEAT_S)

    def _look_at_evidence(self) -> None:
        """Tell the pipeline whether the journal has room; it never asks itself.

        Who refuses calls that leave no evidence is not ready meanwhile.
        """
        journal, pipeline = self._journal, self.pipeline
        has_room = self._has_room = pipeline.has_evidence_room = journal.has_room
        is_refusing = not has_room and pipeline.snapshot.refuses_without_evidence
        self.state.is_ready = not is_refusing and not self._stopping.is_set()
        if self._place is not None:
            self._place.board.set_refusing(self._number, is_refusing=is_refusing)
        if self._journal_watch is not None:
            backlog_bytes, error = journal.backlog_bytes, journal.last_error
            now = time.monotonic()
            self._journal_watch.look(now, backlog_bytes=backlog_bytes, has_room=has_room, last_error=error)

    async def _give_back_memory(self) -> None:
        """When a burst of calls is over, or whatever else took much, let the system have what it needed."""
        pipeline = self.pipeline
        kept = [forget_uris, forget_descriptions, forget_senders]
        kept += [LINES.forget, pipeline.signer.forget, pipeline.calls.forget_empty_slots]
        relief = MemoryRelief(kept)
        await asyncio.to_thread(relief.trim)  # its thread is there for good: from the start, not from a burst
        while True:
            await asyncio.sleep(_MEMORY_CHECK_S)
            layer = self.pipeline.layer
            if self._reloading is not None and not self._reloading.done():
                continue  # nothing is looked through while so much is new
            if relief.is_due(layer.under_way + len(self.pipeline.calls)):
                relief.collect()
                await _give_back_slabs()
                await asyncio.to_thread(relief.trim)
            elif empty_slab_bytes() > _MOST_EMPTY_BYTES:
                await _give_back_slabs()

    async def _drain(self) -> None:
        """Let transactions that are under way end, for a bounded time, before the sockets close."""
        for _ in range(int(_DRAIN_S / _HEARTBEAT_S)):
            if not self.pipeline.has_pending_requests:
                break
            await asyncio.sleep(_HEARTBEAT_S)

    def _start_reload(self) -> None:
        """One at a time: what comes meanwhile, also while the old data is let go of, is done after it."""
        self._reload_again = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._reload_as_asked())

    async def _reload_as_asked(self) -> None:
        while self._reload_again:
            self._reload_again = False
            await self._reload()

    async def _reload(self) -> None:
        """Read, check and compile off the loop, then swap; anything wrong leaves the old data in place and says why."""
        pace = self._pace(self._stopping.is_set)  # who is to end waits for no reload
        try:
            with uncollected():
                settings, snapshot = await asyncio.to_thread(
                    prepare, self._config_path, self._check_unchanged, pace, self.pipeline.snapshot
                )
                for side, identity in self._identities:
                    if await asyncio.to_thread(refresh, settings, side, identity):
                        self._log.info("certificate renewed")
                await self._swap(settings, snapshot)
        except Exception as error:  # noqa: BLE001 - a bug is told like any other refusal: the old data goes on
            self.state.reloads["failed"] += 1
            for line in (str(error) if isinstance(error, EdgeProxyError) else f"bug: {error!r}").splitlines():
                self._log.error("reload refused", error=line, snapshot=self.pipeline.snapshot.version)
            self._tell_reload("")

    async def _swap(self, settings: Settings, snapshot: Snapshot) -> None:
        replaced = [self.pipeline.snapshot]
        remembered: list[object] = []
        before = replaced[0].version
        await self._find_targets(snapshot, *replaced)
        if self._driver is not None:
            remembered = self._driver.use_snapshot(snapshot)
        if self._shared is not None:
            self._shared.hold_customers(snapshot.customers, self.pipeline.calls)
        self.names.follow(snapshot.destinations.names)
        self.settings, self._snapshot = settings, snapshot
        self._call_log = CallLog(settings.telemetry.call_log)
        self.state.reloads["ok"] += 1
        self.state.snapshot_loaded_at = time.time()
        self._log.info("reloaded", before=before, snapshot=snapshot.version)
        self._tell_warnings(snapshot)
        self._tell_reload(snapshot.version)
        await asyncio.to_thread(let_go_of, replaced, remembered, self._pace())

    def _pace(self, is_over: Callable[[], bool] = lambda: False) -> Pace:
        """For one thread that does something beside this worker's calls."""
        assert self._loop is not None  # noqa: S101 - serve() has begun
        return Pace(pending_events(self._loop), is_over)

    def _tell_reload(self, version: str) -> None:
        if self._place is not None:
            self._place.on_reload(version)

    def _tell_warnings(self, snapshot: Snapshot) -> None:
        if self._number:
            return  # another worker of the same data tells them
        for warning in snapshot.warnings:
            self._log.warning("configuration", warning=warning, snapshot=snapshot.version)

    async def _find_targets(self, *snapshots: Snapshot) -> None:
        """Look up the names of targets, and wait a moment for them, so that the first call finds its way."""
        self.names.follow(query for snapshot in snapshots for query in snapshot.destinations.names)
        if not await self.names.first_answers(_FIRST_NAMES_S if self._place is None else self._place.first_names_s):
            self._log.warning("DNS has not told the addresses of all targets yet")

    def _use_names(self, names: Names) -> None:
        for port, listener in self._ports:
            if isinstance(port, StreamPort) and listener.transport is Transport.TLS:
                port.server_names = {
                    endpoint.address: query.host
                    for query, endpoints in names.items()
                    if query.side is listener.side
                    for endpoint in endpoints
                    if endpoint.transport is Transport.TLS
                }
        if self._driver is not None:
            self._driver.use_names(names)

    def _check_unchanged(self, settings: Settings) -> None:
        """Sockets, files and timers are made once: a reload that changes them is refused rather than half done."""
        fixed = ("node", "data_dir", "workers", "listeners", "sip", "admin")
        errors = [
            settings_error(settings, key, "changes only with a restart; put the old value back or restart")
            for key in fixed
            if getattr(settings, key) != getattr(self.settings, key)
        ]
        if settings.telemetry.listen != self.settings.telemetry.listen:
            text = "changes only with a restart; put the old value back or restart"
            errors.append(settings_error(settings, "telemetry.listen", text))
        if errors:
            raise ConfigErrors(errors)

    def _ready_line(self, metrics_at: Address) -> str:
        listening = ", ".join(
            f"{listener.side} {listener.advertised}/{listener.transport}" for _, listener in self._ports
        )
        return f"edge-proxy ready: {listening}; metrics http://{metrics_at}/metrics; engine {self.engine}"


def run_worker(settings: Settings, config_path: Path) -> None:
    """Compile and serve; returns after SIGTERM or SIGINT. Raises ConfigErrors, EvidenceError."""
    snapshot = compile_asserted(settings)
    settings = without_customers(settings)
    set_up_logs()

    async def serve() -> None:
        await Worker(settings, snapshot, config_path).serve(announce=lambda line: print(line, flush=True))  # noqa: T201

    uvloop.run(serve())


def _ring_dir(settings: Settings) -> Path:
    """Where the evidence buffer lies: in memory, so that the call path never waits for a disk."""
    if settings.evidence.buffer_dir is not None:
        return settings.evidence.buffer_dir
    shared_memory = Path("/dev/shm")  # noqa: S108 - the ring is named by a hash and made with mode 0600
    return shared_memory if shared_memory.is_dir() else settings.data_dir


def _timers(settings: Settings) -> TimerSettings:
    sip = settings.sip
    return TimerSettings(sip.t1_ms / 1000, sip.t2_ms / 1000, sip.t4_ms / 1000, float(sip.timer_c_s))


def _reach(listener: ListenerSettings) -> Reach:
    return Reach(transports_of(listener), ["AAAA" if ":" in listener.address.host else "A"])


def _stream_settings(listener: ListenerSettings) -> StreamSettings:
    streams = listener.streams
    return StreamSettings(
        max_connections=streams.max_connections,
        max_connections_per_source=streams.max_connections_per_source,
        idle_s=streams.idle_s,
        message_s=streams.message_s,
    )


def _advertised(listener: ListenerSettings, bound: Address) -> Address:
    """What peers are told; a port of 0 in the configuration becomes the one the system gave."""
    advertised = listener.advertised
    return Address(advertised.host, advertised.port or bound.port)


def _start_telemetry(server: TelemetryServer, settings: Settings) -> Address:
    try:
        return server.start()
    except OSError as error:
        raise ConfigErrors([bind_error(settings, "telemetry.listen", settings.telemetry.address, error)]) from error


def load_secret(settings: Settings) -> bytes:
    """The node's key for dialog tokens, made on first start and kept, so that calls survive a restart."""
    path = settings.data_dir / "secret.key"
    try:
        if not path.exists():
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.unlink(missing_ok=True)  # of a start that was ended just then, with the process id of this one
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(os.urandom(_SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        secret = path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"cannot keep the node's key in {path}: {error.strerror}") from error
    if len(secret) != _SECRET_BYTES:
        raise EvidenceError(f"{path} is no key of {_SECRET_BYTES} bytes: restore it, or delete it to have one made")
    return secret


async def _give_back_slabs() -> None:
    """A few at a time: calls wait for it."""
    for _ in iter(give_back, False):
        await asyncio.sleep(_BETWEEN_SLABS_S)


def _settle_memory() -> None:
    """What exists now stays: keep the collector from walking it again, and let threads yield to the loop quickly."""
    gc.collect()
    while give_back():
        pass
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
