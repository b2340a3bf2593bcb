"""`edge-proxy` with a watch on the turns of its loop: `python -m tests.bench.watched FILE run --config F`.

A timer that is due every millisecond writes down how late it was, and what of that this thread did itself (its CPU
time), what it stood in the queue of the machine for (which is other programs' doing, so that a busy machine does not
look like a slow proxy), and what is left: waiting for the interpreter, which another thread of ours held, or for a
disk. Of the longest it tells what every thread was at. FILE gets a line a gap; further workers write FILE.1, FILE.2 ...
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_proxy.cli.app import main as edge_proxy
from edge_proxy.worker import Worker

_EVERY_S: Final = 0.001
_TOLD_S: Final = 0.0015
"""Gaps past which are written down."""
_TRACED_S: Final = 0.004


class Gap(NamedTuple):
    """Between two turns: when it ended, and how long it was, without the millisecond that was asked for."""

    at: float
    wall_ms: float
    cpu_ms: float
    """This thread was at work."""
    queued_ms: float
    """It could have gone on, and the machine had no core for it."""

    @property
    def own_ms(self) -> float:
        """What the proxy is to blame for: work, and waiting for another of its threads."""
        return self.wall_ms - self.queued_ms


def read_gaps(path: Path) -> list[Gap]:
    """What was written down. The clock is `time.monotonic` of this machine."""
    return [Gap(*json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]


class _Watch:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii")
        self._traces = path.with_suffix(".traces").open("w", encoding="utf-8")
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").open("rb", buffering=0)  # noqa: SIM115
        self._loop = asyncio.get_running_loop()
        self._mark()
        self._again()

    def _again(self) -> None:
        self._loop.call_later(_EVERY_S, self._tick)

    def _mark(self) -> None:
        self._wall, self._cpu, self._queued = time.monotonic(), time.thread_time(), self._queued_ns()
        if "EDGE_PROXY_WATCH_TRACES" in os.environ:
            faulthandler.dump_traceback_later(_TRACED_S + _EVERY_S, file=self._traces)

    def _tick(self) -> None:
        wall, cpu = time.monotonic() - self._wall - _EVERY_S, time.thread_time() - self._cpu
        if wall > _TOLD_S:
            queued = (self._queued_ns() - self._queued) / 1e9
            gap = Gap(time.monotonic(), *(round(one * 1000, 3) for one in (wall, cpu, queued)))
            self._file.write(json.dumps(gap) + "\n")
            self._file.flush()
            if "EDGE_PROXY_WATCH_TRACES" in os.environ:
                self._traces.write(f"^^^ {gap}\n\n")
                self._traces.flush()
        self._mark()
        self._again()

    def _queued_ns(self) -> int:
        self._schedule.seek(0)
        return int(self._schedule.read(128).split()[1])


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
