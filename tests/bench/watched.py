"""`edge-proxy` with a watch on the turns of its loop: `python -m tests.bench.watched FILE run --config F`.

A timer that is due every millisecond writes down how late it was, and what of that this thread did itself (its CPU
time), what it stood in the queue of the machine for (which is other programs' doing, so that a busy machine does not
look like a slow proxy), and what is left: waiting for the interpreter, which another thread of ours held, or for a
disk. FILE gets a line a gap; further workers write FILE.1, FILE.2 ...
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from edge_proxy.cli.app import main as edge_proxy
from edge_proxy.transport.driver import Driver
from edge_proxy.transport.memory import MemoryRelief
from edge_proxy.transport.resolver import NameResolver
from edge_proxy.transport.shared_limits import WorkerLimits
from edge_proxy.worker import Worker

_EVERY_S: Final = 0.001
_TOLD_S: Final = 0.0015
"""Gaps past which are written down."""
_STEP_S: Final = 0.0005
_OVERDUE_S: Final = 0.0035
"""When it is looked at what the loop's thread is at."""
_STEPS: Final[Sequence[tuple[type, str]]] = (
    (Driver, "_take_turn"),
    (Driver, "_tick"),
    (Driver, "_finish_turn"),
    (Driver, "use_snapshot"),
    (Driver, "use_names"),
    (NameResolver, "follow"),
    (WorkerLimits, "hold_customers"),
    (Worker, "_tell_warnings"),
    (Worker, "_tell_reload"),
    (Worker, "_keep"),
    (MemoryRelief, "collect"),
)
"""What is timed, to tell what a gap was made of."""


class Gap(NamedTuple):
    """Between two turns: when it ended, and how long it was, without the millisecond that was asked for."""

    at: float
    wall_ms: float
    cpu_ms: float
    """This thread was at work."""
    queued_ms: float
    """It could have gone on, and the machine had no core for it."""
    steps: Sequence[str]
    """Of what is timed, what took long, in CPU time."""
    cores: Sequence[int]
    """Where this thread was at the begin and at the end."""
    still_ms: float = 0.0
    """Those stood still, as far as somebody watched them (standstill.py)."""

    @property
    def own_ms(self) -> float:
        """What the proxy is to blame for: work, and waiting for another of its threads. Who stands in the queue of a
        core that stands still does both at once: the longer of the two counts."""
        return self.wall_ms - max(self.queued_ms, self.still_ms)


def read_gaps(path: Path) -> list[Gap]:
    """What was written down. The clock is `time.monotonic` of this machine."""
    return [Gap(*json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]


_core_now: Final[Callable[[], int]] = ctypes.CDLL(None).sched_getcpu


class _Watch:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii")
        self._thread = threading.get_ident()
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").open("rb", buffering=0)  # noqa: SIM115
        self._loop = asyncio.get_running_loop()
        self._steps: list[str] = []
        self._collecting_since = 0.0
        self._collecting = 0
        gc.callbacks.append(self._collected)
        signal.signal(signal.SIGALRM, self._overdue)
        subprocess._fork_exec = self._forked(subprocess._fork_exec)  # type: ignore[attr-defined]
        for owner, name in _STEPS:
            setattr(owner, name, self._timed(f"{owner.__name__}.{name}", getattr(owner, name)))
        self._mark()
        self._again()

    def _timed(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            try:
                return step(*args, **kwargs)
            finally:
                self._note(name, started)

        return timed

    def _forked(self, fork: Callable[..., Any]) -> Callable[..., Any]:
        """Whoever starts a process holds the interpreter until that runs: in any thread, and by the clock."""

        def timed(*args: Any) -> Any:
            started = time.monotonic()
            try:
                return fork(*args)
            finally:
                self._steps.append(f"start of a process {(time.monotonic() - started) * 1000:.1f}")

        return timed

    def _overdue(self, _number: int, frame: FrameType | None) -> None:
        """Where this thread is, as soon as it runs again, and the others: one of them may have had the interpreter."""
        self._steps.append(f"at {_place(frame)}")
        for thread, other in sys._current_frames().items():
            if thread != self._thread:
                self._steps.append(f"beside {_place(other)}")

    def _note(self, name: str, started: float) -> None:
        took_s = time.thread_time() - started
        if took_s > _STEP_S and threading.get_ident() == self._thread:
            self._steps.append(f"{name} {took_s * 1000:.1f}")

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.thread_time()
            self._collecting = gc.get_count()[0]
        else:
            what = f"garbage of generation {info['generation']}, {self._collecting} new ones,"
            self._note(what, self._collecting_since)

    def _again(self) -> None:
        self._loop.call_later(_EVERY_S, self._tick)

    def _mark(self) -> None:
        self._steps.clear()
        self._wall, self._cpu, self._queued = time.monotonic(), time.thread_time(), self._queued_ns()
        self._core = _core_now()
        signal.setitimer(signal.ITIMER_REAL, _OVERDUE_S)

    def _tick(self) -> None:
        wall, cpu = time.monotonic() - self._wall - _EVERY_S, time.thread_time() - self._cpu
        if wall > _TOLD_S:
            queued = (self._queued_ns() - self._queued) / 1e9
            ms = [round(one * 1000, 3) for one in (wall, cpu, queued)]
            self._file.write(json.dumps([time.monotonic(), *ms, self._steps, [self._core, _core_now()]]) + "\n")
            self._file.flush()
        self._mark()
        self._again()

    def _queued_ns(self) -> int:
        self._schedule.seek(0)
        return int(self._schedule.read(128).split()[1])


def _place(frame: FrameType | None) -> str:
    """The line that is at work, and that of the program which led there."""
    inner = frame
    while frame is not None and "edge_proxy" not in frame.f_code.co_filename and frame.f_back is not None:
        frame = frame.f_back
    return " in ".join(
        dict.fromkeys(
            f"{Path(one.f_code.co_filename).name}:{one.f_lineno}" for one in (inner, frame) if one is not None
        )
    )


def main() -> None:
    path = Path(sys.argv.pop(1))
    serve = Worker.serve

    async def watched(self: Worker, announce: Any) -> None:
        number = self._number
        _Watch(path if not number else path.with_name(f"{path.name}.{number}"))
        await serve(self, announce)

    Worker.serve = watched  # type: ignore[method-assign]
    edge_proxy()


if __name__ == "__main__":
    main()
