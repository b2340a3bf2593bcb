"""When the machine stood still: `python -m tests.bench.standstill FILE CORE`, until it is ended (root only).

On a virtual machine a core may run nothing for milliseconds: its host gave the time to somebody else, or fetched a page
of memory that the guest touched for the first time. To the guest that is processor time of whoever was at work, or
nothing at all. So a process on each core, before all others there, asks to be woken every half millisecond, and writes
down when it was not. What falls into such a time is not the proxy's doing.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

_EVERY_S: Final = 0.0005
_TOLD_S: Final = 0.0003
"""What is later than this is written down."""
_PRIORITY: Final = 2
"""Above that of what is measured."""

Stillness: TypeAlias = Mapping[int, Sequence[tuple[float, float]]]
"""By core: from when to when, by `time.monotonic`."""


@contextmanager
def watched_cores(directory: Path, cores: Collection[int]) -> Iterator[Stillness]:
    """Watch these cores. What is handed out is filled at the end."""
    found: dict[int, list[tuple[float, float]]] = {}
    paths = {core: directory / f"core.{core}" for core in cores}
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.bench.standstill", str(path), str(core)])
        for core, path in paths.items()
    ]
    try:
        yield found
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        for core, path in paths.items():
            lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
            found[core] = [(float(begin), float(end)) for begin, end in map(str.split, lines)]


def stood_still_s(stillness: Stillness, cores: Iterable[int], begin: float, end: float) -> float:
    """How much of this time these cores stood still."""
    intervals = sorted(
        (max(begin, one), min(end, other))
        for core in set(cores)
        for one, other in stillness.get(core, ())
        if one < end and other > begin
    )
    total, up_to = 0.0, begin
    for one, other in intervals:
        total += max(other - max(one, up_to), 0.0)
        up_to = max(up_to, other)
    return total


def main() -> None:
    path, core = Path(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    gc.disable()
    with path.open("w", encoding="ascii", buffering=1) as file:
        while True:
            due = time.monotonic() + _EVERY_S
            time.sleep(_EVERY_S)
            now = time.monotonic()
            if now - due > _TOLD_S:
                file.write(f"{due} {now}\n")


if __name__ == "__main__":
    main()
