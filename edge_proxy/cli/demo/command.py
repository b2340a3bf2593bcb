"""`edge-proxy demo`: run the real proxy and its peers, show what happens, and check at the end that all counts agree.

Exit codes: 0 every count agrees, 1 something disagrees or did not run, 2 the configuration cannot be played.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Final

import msgspec
from rich.console import Console
from rich.live import Live

from edge_proxy.cli.demo.board import Board, Show, calls_table, networks_table, plain_line, summary_table
from edge_proxy.cli.demo.cast import assemble_cast
from edge_proxy.cli.demo.children import Child
from edge_proxy.cli.demo.compare import Row, compare, disagreements, surprises
from edge_proxy.cli.demo.plan import PeerPlan
from edge_proxy.cli.demo.scrape import scrape
from edge_proxy.cli.demo.tally import PeerReport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, Settings, load_settings
from edge_proxy.errors import EdgeProxyError

_FINE: Final = 0
_CHECK_FAILED: Final = 1
_BAD_CONFIG: Final = 2

_READY_WITHIN_S: Final = 20.0
_REFRESH_S: Final = 0.25
_SCRAPE_S: Final = 0.5
_PLAIN_LINE_S: Final = 3.0
_TALK_OUT_S: Final = 6.0
"""How long calls that are up may go on when no more are placed; after that they are hung up."""
_HANG_UP_S: Final = 6.0
_SETTLE_S: Final = 3.0
_LEAVE_S: Final = 3.0
_PROXY_LEAVES_S: Final = 10.0
_ALL_PLAYED_AFTER_S: Final = 4.0
_PLAIN_COLUMNS: Final = 132


_Refresh = Callable[[], None]


class DemoError(EdgeProxyError):
    """The demo cannot go on; the text is one line for a person."""


def run_demo(config: Path, seconds: float | None) -> int:
    """Run until `seconds` are over or a signal comes; the exit code."""
    try:
        settings = load_settings(config)
        compile_snapshot(settings)
        cast = assemble_cast(settings)
    except ConfigErrors as errors:
        for error in errors.errors:
            print(error, file=sys.stderr)
        return _BAD_CONFIG
    try:
        return asyncio.run(_Demo(settings, cast, config, seconds).run())
    except DemoError as error:
        print(f"edge-proxy demo: {error}", file=sys.stderr)
        return _CHECK_FAILED


class _Demo:
    def __init__(self, settings: Settings, cast: Sequence[PeerPlan], config: Path, seconds: float | None) -> None:
        self._config = config
        self._cast = cast
        self._seconds = seconds
        self._log_path = settings.data_dir / "demo.log"
        self._console = Console(highlight=False)
        self._is_live = self._console.is_terminal
        if not self._is_live:
            self._console = Console(highlight=False, width=_PLAIN_COLUMNS)
        self._show = Show(
            cast=cast,
            reports={plan.name: PeerReport(plan.name) for plan in cast},
            metrics_url=f"http://{settings.telemetry.address}/metrics",
            log=str(self._log_path),
            evidence=str(settings.data_dir / "evidence"),
            seconds=seconds,
        )
        self._children: list[Child] = []
        self._is_proxy_ready = False
        self._stopping = asyncio.Event()
        self._aborting = asyncio.Event()
        self._late: list[str] = []
        self._plain_line_at = 0.0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        try:
            with self._open_log() as log:
                with self._console.status("starting the proxy and its peers") if self._is_live else nullcontext():
                    await self._start(log)
                if self._stopping.is_set():
                    print("edge-proxy demo: stopped before the first call")
                    return _FINE
                async with self._scraping(), self._screen() as refresh:
                    await self._play(refresh)
                    await self._drain(refresh)
                    await self._dismiss_peers()
                    self._show.stage = "over"
                    refresh()
                return await self._conclude()
        finally:
            await self._end_everything()

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._aborting.set()
        self._stopping.set()

    def _open_log(self) -> IO[bytes]:
        try:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            return self._log_path.open("wb")
        except OSError as error:
            raise DemoError(f"cannot write {self._log_path}: {error.strerror}") from error

    # Start

    async def _start(self, log: IO[bytes]) -> None:
        """Every process up and listening before the first call is placed."""
        python = sys.executable
        proxy_argv = [python, "-m", "edge_proxy", "run", "--config", str(self._config)]
        proxy = await Child.start("proxy", proxy_argv, log, self._hear_proxy, is_told=False)
        self._children.append(proxy)
        for plan in self._cast:
            plan.proxy_pid = proxy.process.pid
            argv = [python, "-m", "edge_proxy.cli.demo.peers", plan.name]
            peer = await Child.start(plan.name, argv, log, self._hear_peer, is_told=True)
            self._children.append(peer)
            await peer.tell(msgspec.json.encode(plan))
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._stopping.is_set():
            self._check_children()
            waiting = [name for name, report in self._show.reports.items() if report.state == "starting"]
            if not self._is_proxy_ready:
                waiting.insert(0, "proxy")
            if not waiting:
                break
            if time.monotonic() > deadline:
                raise DemoError(f"{', '.join(waiting)} not ready within {_READY_WITHIN_S:.0f} s; see {self._log_path}")
            await asyncio.sleep(0.02)
        else:
            return
        await self._tell_peers(b"go")

    def _hear_proxy(self, line: bytes) -> None:
        if b"ready" in line:
            self._is_proxy_ready = True

    def _hear_peer(self, line: bytes) -> None:
        try:
            report = msgspec.json.decode(line, type=PeerReport)
        except msgspec.MsgspecError:
            return  # half a line of a peer that died: its end is noticed by its exit code
        self._show.reports[report.name] = report

    def _check_children(self) -> None:
        """Nobody may leave before the end; who does is named with what it said last."""
        for report in self._show.reports.values():
            if report.state == "failed":
                raise DemoError(f"peer {report.name} {report.problems[-1]}{_advice(report.problems[-1])}")
        for child in self._children:
            if child.exit_code is not None and not child.is_expected_to_end:
                said = self._last_words()
                if child.name == "proxy" and not self._is_proxy_ready:
                    raise DemoError(f"the proxy did not start: {said or child.ending}")
                # Who was killed had no chance to say why.
                last_words = f": {said}" if said and child.exit_code > 0 else f"; see {self._log_path}"
                raise DemoError(f"{child.name} {child.ending}{last_words}")

    def _last_words(self) -> str:
        """What stands last in the log that is no log line of normal work."""
        with suppress(OSError):
            lines = self._log_path.read_text("utf-8", "replace").splitlines()
            said = [line.strip() for line in lines if line.strip() and not line.startswith("{")]
            errors = [line for line in lines if '"level":"error"' in line]
            if said:
                return "; ".join(said) if len(said) < 4 else said[-1]
            return errors[-1] if errors else ""
        return ""

    # Play

    async def _play(self, refresh: _Refresh) -> None:
        began_s = time.monotonic()
        self._show.stage = "running"
        while not self._stopping.is_set():
            self._show.elapsed_s = time.monotonic() - began_s
            self._check_children()
            refresh()
            if self._seconds is not None and self._show.elapsed_s >= self._seconds:
                return
            await _sleep_unless(self._stopping, _REFRESH_S)

    async def _drain(self, refresh: _Refresh) -> None:
        """No more calls; those that are up come to their end, for a bounded time. A signal makes them hang up."""
        self._show.stage = "calls end"
        await self._tell_peers(b"hurry" if self._stopping.is_set() else b"stop")
        has_hurried = self._stopping.is_set()
        began_s = time.monotonic()
        # A report that was on its way may not know yet of the last call.
        quiet_since_s = began_s
        while time.monotonic() - began_s < _TALK_OUT_S + _HANG_UP_S and not self._aborting.is_set():
            self._check_children()
            refresh()
            now_s = time.monotonic()
            if any(report.running for report in self._show.reports.values()):
                quiet_since_s = now_s
            elif now_s - quiet_since_s > 3 * _REFRESH_S:
                return
            if not has_hurried and (self._stopping.is_set() or now_s - began_s > _TALK_OUT_S):
                has_hurried = True
                await self._tell_peers(b"hurry")
            await asyncio.sleep(_REFRESH_S)

    async def _dismiss_peers(self) -> None:
        """The peers leave, each with its last counts."""
        await self._tell_peers(b"end")
        peers = self._children[1:]
        have_left = await asyncio.gather(*(peer.end(_LEAVE_S, by_signal=False) for peer in peers))
        self._late = [peer.name for peer, has_left in zip(peers, have_left, strict=True) if not has_left]

    async def _tell_peers(self, word: bytes) -> None:
        for child in self._children[1:]:
            await child.tell(word)

    @asynccontextmanager
    async def _scraping(self) -> AsyncIterator[None]:
        """Ask /metrics now and then; a scrape that fails is only missing on the board."""

        async def ask() -> None:
            while True:
                with suppress(OSError, ValueError):
                    readings = await asyncio.to_thread(scrape, self._show.metrics_url)
                    self._show.take(readings, time.monotonic())
                await asyncio.sleep(_SCRAPE_S)

        task = asyncio.create_task(ask())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @asynccontextmanager
    async def _screen(self) -> AsyncIterator[_Refresh]:
        """A live table on a terminal, a line now and then anywhere else."""
        if not self._is_live:
            print(f"edge-proxy demo: metrics {self._show.metrics_url}  log {self._show.log}", flush=True)
            yield self._print_line
            return
        with Live(Board(self._show), console=self._console, auto_refresh=False) as live:
            yield live.refresh

    def _print_line(self) -> None:
        now_s = time.monotonic()
        if now_s - self._plain_line_at >= _PLAIN_LINE_S:
            self._plain_line_at = now_s
            print(plain_line(self._show), flush=True)

    # Conclude

    async def _conclude(self) -> int:
        """Compare, print, and give the exit code."""
        if self._aborting.is_set():
            raise DemoError("stopped before the counts could be compared")
        rows = await self._settled_rows()
        proxy = self._children[0]
        has_left = await proxy.end(_PROXY_LEAVES_S)
        found = disagreements(rows)
        found += surprises(self._cast, self._show.reports, all_played=self._show.elapsed_s >= _ALL_PLAYED_AFTER_S)
        found += [f"{name} did not leave within {_LEAVE_S:.0f} s, its last counts are missing" for name in self._late]
        if not has_left:
            found.append(f"the proxy did not stop within {_PROXY_LEAVES_S:.0f} s of SIGTERM")
        elif proxy.exit_code:
            found.append(f"the proxy {proxy.ending}; see {self._log_path}")
        if not self._is_live:
            self._console.print(calls_table(self._show), "", networks_table(self._show))
        self._console.print("", summary_table(rows), "")
        for line in found:
            print(f"edge-proxy demo: {line}", file=sys.stderr)
        if found:
            return _CHECK_FAILED
        attempts = sum(row.peers for row in rows if row.group == "attempts")
        self._console.print(f"All {len(rows)} counts agree: {attempts} attempts, every one decided and recorded.")
        self._console.print(f"Try: {_command()} evidence verify {self._show.evidence}", style="dim")
        return _FINE

    async def _settled_rows(self) -> list[Row]:
        """The last comparison: at once when all agree, else what still disagrees after some time."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            try:
                readings = await asyncio.to_thread(scrape, self._show.metrics_url)
            except (OSError, ValueError) as error:
                self._check_children()
                raise DemoError(f"cannot read {self._show.metrics_url}: {error}") from error
            self._show.take(readings, time.monotonic())
            rows = compare(self._cast, self._show.reports, readings)
            if all(row.agrees for row in rows) or time.monotonic() > deadline:
                return rows
            await asyncio.sleep(0.1)

    async def _end_everything(self) -> None:
        """Whatever happened: no process outlives the demo."""
        left = [child for child in self._children if child.exit_code is None]
        await asyncio.gather(*(child.end(_PROXY_LEAVES_S if child.name == "proxy" else _LEAVE_S) for child in left))


async def _sleep_unless(event: asyncio.Event, longest_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()


def _advice(problem: str) -> str:
    """What would help. Some systems give loopback one address only; the others have to be made there."""
    if os.strerror(errno.EADDRINUSE) in problem:
        return "; stop what uses it, or choose another in the configuration"
    if os.strerror(errno.EADDRNOTAVAIL) in problem and sys.platform == "darwin":
        return "; make it with: sudo ifconfig lo0 alias ADDRESS"
    return ""


def _command() -> str:
    """What to type for the command that runs: after `make demo` it is not on the PATH."""
    typed = Path(sys.argv[0])
    return "python -m edge_proxy" if typed.stem == "__main__" else str(typed)
