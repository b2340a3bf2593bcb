"""Several workers on one address: open what they share, start them, keep them running, answer for all of them.

Everything that must outlive a worker is opened here, before any of them is: the UDP sockets (in the order of the
workers, which is how the kernel numbers them), the ways between them, the sockets their metrics are read from. A
worker is a fork of this process, so it has the compiled data at once; one that ends is replaced by another fork on the
same sockets, and what arrived meanwhile waits in them. Nothing of a call is here: calls live in their workers, and
what a request inside a dialog needs travels with it.

This process runs no event loop, and no thread but its log's and a reload's compilation: it waits for signals, for what
workers say, and for the next moment something is due.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.admin.control import Control
from edge_proxy.admin.questions import Questions
from edge_proxy.assertions import compile_asserted
from edge_proxy.compile import transports_of
from edge_proxy.compiled_files import starting
from edge_proxy.config import ConfigErrors, Settings, load_settings
from edge_proxy.errors import ConfigError, EdgeProxyError
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.reloading import without_customers
from edge_proxy.starting import bind_error, check_certificates, make_data_dir, sides_of
from edge_proxy.telemetry.http import TelemetryServer, open_telemetry_socket
from edge_proxy.telemetry.log_sink import sink
from edge_proxy.telemetry.logs import set_up_logs
from edge_proxy.telemetry.several_workers import AddedUpCollector, Board, page_reader
from edge_proxy.transport.memory import give_back
from edge_proxy.transport.mesh import open_pair
from edge_proxy.transport.reuseport import open_group, steer
from edge_proxy.transport.shared_limits import LimitTables
from edge_proxy.transport.shared_sources import SourceTables
from edge_proxy.transport.stream import open_stream_socket
from edge_proxy.worker import Place, Worker, load_secret, run_worker

_EXIT_BAD_INPUT: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_READY_WITHIN_S: Final = 15.0
"""A worker that is not ready by then hangs: it is ended and replaced."""
_SETTLED_AFTER_S: Final = 5.0
"""A worker that ends after so long is replaced at once; one that ends sooner, again and again, ever later."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
_STOP_WITHIN_S: Final = 10.0
_RELOADED_WITHIN_S: Final = 300.0
_LONGEST_WAIT_S: Final = 60.0
_NEXT_TRY_S: Final = 60.0
_FIRST_NAMES_S: Final = 2.0
_NAMES_OF_REPLACED_S: Final = 0.3

_READY: Final = b"ready "
_RELOADED: Final = b"reloaded "
_REFUSED: Final = b"refused"


def run(config_path: Path) -> None:
    """Serve with as many workers as the configuration says; returns after SIGTERM or SIGINT.

    Raises ConfigErrors, EvidenceError.
    """
    settings = load_settings(config_path)
    if settings.workers == 1:
        run_worker(settings, config_path)
    else:
        Supervisor(settings, config_path).run(announce=lambda line: print(line, flush=True))  # noqa: T201


class _Child:
    """One worker's place: what it keeps over its lives, and the life that it has now (pid 0: none)."""

    def __init__(self, number: int, inbox: socket.socket, telemetry: socket.socket) -> None:
        self.number = number
        self.inbox = inbox
        self.telemetry = telemetry
        self.pid = 0
        self.pipe = -1
        self.said = b""
        self.started_at = 0.0
        self.start_at = 0.0
        """When the next life may begin, while there is none."""
        self.pause_s = 0.0
        self.is_ready = False
        self.snapshot = ""
        """The version of the data that it decides by, as far as we told it."""


class Supervisor:
    """The process above the workers. The constructor opens nothing."""

    def __init__(self, settings: Settings, config_path: Path) -> None:
        self._settings = settings
        self._config_path = config_path
        self._children: list[_Child] = []
        self._groups: dict[tuple[Side, Transport], list[socket.socket]] = {}
        """What is bound, with a place for each worker: of UDP its own socket, of TCP and TLS the one for all."""
        self._outboxes: list[socket.socket] = []
        self._log = structlog.get_logger()
        self._selector = selectors.DefaultSelector()
        self._pid = os.getpid()
        self._signals: set[int] = set()
        self._wake_up, self._wake = socket.socketpair()
        self._compiling: threading.Thread | None = None
        self._compiled: tuple[Settings, Snapshot] | EdgeProxyError | None = None
        self._reload_again = False
        self._awaited: dict[int, bool | None] = {}
        """Whose word on a reload is waited for, and what was said."""
        self._awaited_until = 0.0
        self._next_dates_at = 0.0
        self._front = 0
        self._is_stopping = False
        self._stop_until = 0.0
        self._first_line = ""

    def run(self, announce: Callable[[str], None]) -> None:
        """Open all, start all, announce the ready line once, serve until SIGTERM or SIGINT."""
        self._snapshot = compile_asserted(self._settings)
        self._settings = without_customers(self._settings)
        set_up_logs()
        self._announce = announce
        make_data_dir(self._settings)
        load_secret(self._settings)
        self._open()
        gc.collect()
        _give_back_slabs()
        gc.freeze()  # what exists now is shared with the workers: a collection would copy its pages
        self._take_signals()
        sink.start()  # whoever does not read the log keeps no worker from being replaced
        try:
            self._start_front()
            for child in self._children:
                self._start(child, _FIRST_NAMES_S)
            while not self._is_over():
                self._wait()
                self._turn()
        finally:
            self._kill_all()
            self._control.close()
            sink.stop()

    def _open(self) -> None:
        """Bind all that workers share; all that fail are told at once, each at its line."""
        settings = self._settings
        count = settings.workers
        errors: list[ConfigError] = []
        check_certificates(settings)  # here, so that it is told once and not by every worker
        for side, listener in sides_of(settings):
            bound: Address | None = None
            for transport in transports_of(listener):
                bind, key = listener.address, "bind"
                if transport is Transport.TLS and listener.tls is not None:
                    bind, key = listener.tls.address, "tls.bind"
                elif bound is not None:
                    bind = bound  # one port for UDP and TCP, also when the system chose it
                try:
                    if transport is Transport.UDP:
                        group = open_group(bind, count)
                    else:
                        group = [open_stream_socket(bind)] * count
                except OSError as error:
                    errors.append(bind_error(settings, f"listeners.{side}.{key}", bind, error))
                    continue
                self._groups[side, transport] = group
                bound = bound or Address(*group[0].getsockname()[:2])
        try:
            self._telemetry = open_telemetry_socket(settings.telemetry.address)
            self._metrics_at = Address(*self._telemetry.getsockname()[:2])
        except OSError as error:
            errors.append(bind_error(settings, "telemetry.listen", settings.telemetry.address, error))
        if errors:
            raise ConfigErrors(errors)
        for (_, transport), group in self._groups.items():
            if transport is Transport.UDP and not steer(group):
                self._log.warning("the kernel does not steer by Call-ID; workers hand over what is not theirs")
        self._board = Board(memoryview(mmap.mmap(-1, Board.size(count))), count)
        self._limits = LimitTables(count)
        self._sources = SourceTables(self._limits.lock)
        self._control = Control(settings.data_dir)
        for number in range(count):
            inbox, outbox = open_pair()
            self._outboxes.append(outbox)
            self._children.append(_Child(number, inbox, open_telemetry_socket(Address("127.0.0.1", 0))))

    def _take_signals(self) -> None:
        self._wake.setblocking(False)
        self._wake_up.setblocking(False)
        self._selector.register(self._wake_up, selectors.EVENT_READ)
        for number in _SIGNALS:
            signal.signal(number, lambda number, _frame: self._signals.add(number))
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    # -- children --------------------------------------------------------------------------------------------------

    def _fork(self, run: Callable[[], None], keep: Sequence[int]) -> int:
        """A child that runs `run` and ends; of what is open it keeps what is named, and it ends when we do."""
        sys.stdout.flush()
        sys.stderr.flush()
        with starting:
            pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker is ready for one
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _end_with_parent(self._pid)
            self._close_but(keep)
            run()
            code = 0
        except EdgeProxyError as error:
            code = _EXIT_BAD_INPUT
            print(error, file=sys.stderr)  # noqa: T201
        except BaseException as error:  # noqa: BLE001 - a child must never return into the supervisor's stack
            self._log.error("bug: process ends", error=repr(error), exc_info=error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _close_but(self, keep: Sequence[int]) -> None:
        self._selector.close()
        ours = [self._wake, self._wake_up, self._telemetry, *self._control.sockets]
        for group in self._groups.values():
            ours += group
        for child in self._children:
            ours += (child.inbox, child.telemetry)
            if child.pipe >= 0 and child.pipe not in keep:
                os.close(child.pipe)
        for one in ours:
            if one.fileno() not in keep:
                one.close()

    def _start_front(self) -> None:
        """The process that answers scrapes and operators: threads and slow clients are its business, not ours."""
        ports = [child.telemetry.getsockname()[1] for child in self._children]

        def serve() -> None:
            registry = CollectorRegistry()
            registry.register(AddedUpCollector([page_reader(port) for port in ports], self._board))
            TelemetryServer(self._telemetry, registry, lambda: self._board.all_serve).start()
            sources = self._sources
            self._control.serve(Questions(sources.ignored, sources.lock, time.monotonic).answer)
            while True:
                signal.pause()

        self._front = self._fork(serve, [one.fileno() for one in (self._telemetry, *self._control.sockets)])

    def _start(self, child: _Child, first_names_s: float) -> None:
        pipe, words = os.pipe()
        os.set_blocking(pipe, False)
        settings, snapshot = self._settings, self._snapshot
        place = Place(
            workers=settings.workers,
            sockets={place: group[child.number] for place, group in self._groups.items()},
            inbox=child.inbox,
            outboxes=self._outboxes,
            telemetry=child.telemetry,
            metrics_at=self._metrics_at,
            on_reload=lambda version: _say(words, _RELOADED + version.encode() if version else _REFUSED),
            first_names_s=first_names_s,
            limits=self._limits,
            sources=self._sources,
            board=self._board,
        )

        def serve() -> None:
            worker = Worker(settings, snapshot, self._config_path, child.number, place)
            uvloop.run(worker.serve(announce=lambda line: _say(words, _READY + line.encode())))

        kept = [words, child.inbox.fileno(), child.telemetry.fileno()]
        kept += (one.fileno() for one in place.sockets.values())
        child.pid = self._fork(serve, kept)
        os.close(words)
        child.pipe, child.said = pipe, b""
        child.started_at = time.monotonic()
        child.snapshot = snapshot.version
        self._selector.register(pipe, selectors.EVENT_READ)

    # -- what happens ----------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        now = time.monotonic()
        self._selector.select(max(0.0, self._next_due(now) - now))
        try:
            while self._wake_up.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _next_due(self, now: float) -> float:
        """When there is something to do without being woken; while all ends, nothing is but the end."""
        if self._is_stopping:
            return self._stop_until
        due = [now + _LONGEST_WAIT_S]
        for child in self._children:
            if not child.pid:
                due.append(child.start_at)
            elif not child.is_ready:
                due.append(child.started_at + _READY_WITHIN_S)
        if self._awaited:
            due.append(self._awaited_until)
        if self._snapshot.next_change_at is not None:
            due.append(max(now + self._snapshot.next_change_at + 1.0 - time.time(), self._next_dates_at))
        return min(due)

    def _turn(self) -> None:
        signals, self._signals = self._signals, set()
        if signals & {signal.SIGTERM, signal.SIGINT} and not self._is_stopping:
            self._stop()
        for child in self._children:
            self._listen(child)
        self._reap()
        self._take_compiled()
        now = time.monotonic()
        if self._is_stopping:
            if now >= self._stop_until:
                self._kill_all()
            return
        if signal.SIGHUP in signals or self._are_dates_due(now):
            self._reload()
        if self._awaited and now >= self._awaited_until:
            self._awaited = dict.fromkeys(self._awaited, False)
            self._judge_reload()
        for child in self._children:
            if not child.pid and now >= child.start_at:
                self._start(child, _NAMES_OF_REPLACED_S)
            elif child.pid and not child.is_ready and now >= child.started_at + _READY_WITHIN_S:
                self._log.error("worker is not ready in time", worker=child.number)
                os.kill(child.pid, signal.SIGKILL)
                child.started_at = now

    def _listen(self, child: _Child) -> None:
        """Read what a worker says."""
        if child.pipe < 0:
            return
        try:
            while said := os.read(child.pipe, 4096):
                child.said += said
            self._selector.unregister(child.pipe)  # its end is told by SIGCHLD
            os.close(child.pipe)
            child.pipe = -1
        except BlockingIOError:
            pass
        *lines, child.said = child.said.split(b"\n")
        for line in lines:
            if line.startswith(_READY):
                self._is_up(child, line[len(_READY) :].decode())
            elif child.number in self._awaited:
                is_good = line.startswith(_RELOADED)
                if is_good and line[len(_RELOADED) :].decode() != self._next[1].version:
                    self._reload_again = True  # the files have changed since we read them
                self._awaited[child.number] = is_good
                self._judge_reload()

    def _is_up(self, child: _Child, line: str) -> None:
        child.is_ready = True
        self._board.set_ready(child.number, is_ready=True)
        if not self._first_line and self._board.all_ready:
            self._first_line = f"{line}; {self._settings.workers} workers"
            self._announce(self._first_line)
        elif self._first_line:
            self._log.info("worker replaced", worker=child.number, took_s=round(time.monotonic() - child.started_at, 3))
        if child.snapshot != self._snapshot.version:  # a reload fell into its start
            self._tell(child, self._snapshot)

    def _reap(self) -> None:
        """See who has ended. Only our own are asked about: a compilation has a process of its own to wait for."""
        if self._front:
            pid, status = os.waitpid(self._front, os.WNOHANG)
            if pid:
                self._front = 0
                if not self._is_stopping:
                    self._log.error("the process that answers scrapes ended", status=status)
                    self._start_front()
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._has_ended(child, os.waitstatus_to_exitcode(status))

    def _has_ended(self, child: _Child, code: int) -> None:
        was_ready, child.pid, child.is_ready = child.is_ready, 0, False
        self._board.set_ready(child.number, is_ready=False)
        self._board.set_refusing(child.number, is_refusing=False)
        self._limits.forget_calls(child.number)
        if child.pipe >= 0:
            self._listen(child)
        if self._awaited.pop(child.number, True) is None:
            self._judge_reload()  # its next life begins with the new data
        if self._is_stopping:
            return
        if not was_ready and not self._first_line:
            self._kill_all()  # what is wrong, it has told
            sys.exit(_EXIT_BAD_INPUT if code == _EXIT_BAD_INPUT else 1)
        now = time.monotonic()
        if now - child.started_at >= _SETTLED_AFTER_S:
            child.pause_s = 0.0
        child.start_at = now + child.pause_s
        self._log.error("worker ended", worker=child.number, exit_code=code, next_start_in_s=child.pause_s)
        child.pause_s = min(max(2 * child.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._board.count_replacement(child.number)

    # -- reload ----------------------------------------------------------------------------------------------------

    def _are_dates_due(self, now: float) -> bool:
        """Whether a number's right begins or ends: the snapshot says when that is."""
        due = self._snapshot.next_change_at
        if due is None or time.time() < due + 1.0 or now < self._next_dates_at:
            return False
        self._next_dates_at = now + _NEXT_TRY_S
        return True

    def _reload(self) -> None:
        """Read, check and compile beside what runs. Workers are told only of what is right; each compiles for itself,
        so that what it uses is its own. One reload at a time: what comes meanwhile is done after it.
        """
        if self._compiling is not None or self._awaited:
            self._reload_again = True
            return
        self._compiling = threading.Thread(target=self._compile, name="compile", daemon=True)
        self._compiling.start()

    def _compile(self) -> None:
        try:
            settings = load_settings(self._config_path)
            snapshot = compile_asserted(settings, self._snapshot)
            self._compiled = without_customers(settings), snapshot
        except EdgeProxyError as error:
            self._compiled = error
        except Exception as error:  # noqa: BLE001 - told like any other refusal: the old data goes on
            self._compiled = EdgeProxyError(f"bug: {error!r}")
        signal.raise_signal(signal.SIGCHLD)  # any signal wakes the loop; this one means nothing by itself

    def _take_compiled(self) -> None:
        if self._compiling is None or self._compiled is None:
            return
        self._compiling.join()
        compiled, self._compiling, self._compiled = self._compiled, None, None
        if isinstance(compiled, EdgeProxyError):
            for line in str(compiled).splitlines():
                self._log.error("reload refused", error=line, snapshot=self._snapshot.version)
            self._reload_is_over(is_good=False)
            return
        self._next = compiled
        self._awaited = {}
        for child in self._children:
            if child.is_ready:
                self._awaited[child.number] = None
                self._tell(child, compiled[1])
        self._awaited_until = time.monotonic() + _RELOADED_WITHIN_S
        self._judge_reload()

    def _tell(self, child: _Child, snapshot: Snapshot) -> None:
        """Have a worker that is up read the files again."""
        os.kill(child.pid, signal.SIGHUP)
        child.snapshot = snapshot.version

    def _judge_reload(self) -> None:
        """When every worker has said how its reload went: new ones begin with the new data if it went well."""
        if None in self._awaited.values():
            return
        is_good = all(self._awaited.values())
        self._awaited = {}
        if is_good:
            self._settings, self._snapshot = self._next
            for child in self._children:
                if child.is_ready and child.snapshot != self._snapshot.version:
                    self._tell(child, self._snapshot)
        self._reload_is_over(is_good=is_good)

    def _reload_is_over(self, *, is_good: bool) -> None:
        self._board.count_reload(is_good=is_good)
        if is_good:
            self._log.info("all workers reloaded", snapshot=self._snapshot.version)
        _give_back_slabs()  # of what was read, or of the data before
        if self._reload_again:
            self._reload_again = False
            self._reload()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Let every worker end what is under way."""
        self._is_stopping = True
        self._stop_until = time.monotonic() + _STOP_WITHIN_S
        for child in self._children:
            self._board.set_ready(child.number, is_ready=False)
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    def _is_over(self) -> bool:
        return self._is_stopping and not any(child.pid for child in self._children)

    def _kill_all(self) -> None:
        for pid in (*(child.pid for child in self._children), self._front):
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        for child in self._children:
            child.pid = 0
        self._front = 0


def _give_back_slabs() -> None:
    while give_back():
        pass


def _say(pipe: int, line: bytes) -> None:
    os.write(pipe, line + b"\n")


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill us when the supervisor is gone: workers without one would answer beside its successor's."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
