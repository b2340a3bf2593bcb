"""Files that one process compiles and all workers map: written whole or not at all, the newest few kept.

Also how the compiling is done: by a process of its own that is told as JSON what to do and answers so, because it takes
seconds, and a worker that shares its interpreter with it would not answer calls meanwhile. What is in the files is the
business of those who name the process: inventory/compiled.py and compile_asn.py.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

KEPT: Final = 3
"""Files of one kind that stay: the one in use, and those that a worker may still be about to map."""
NICENESS: Final = 10
"""Of who compiles, from the start: calls come first."""


def write_whole(path: Path, parts: Iterable[bytes | bytearray]) -> None:
    """Write beside, flush to the disk, rename: a reader sees the whole file or none. Raises OSError."""
    fresh = path.with_suffix(f".{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def map_whole(path: Path) -> memoryview[int]:
    """The file's bytes, in place. Raises OSError; ValueError when it is empty."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def remove_old(current: Path, pattern: str) -> None:
    """Keep the newest few. A file that is mapped somewhere lives on there until it is let go."""

    def age(path: Path) -> float:
        with suppress(OSError):
            return -path.stat().st_mtime
        return 0.0

    others = sorted((path for path in current.parent.glob(pattern) if path != current), key=age)
    for path in others[KEPT - 1 :]:
        with suppress(OSError):
            path.unlink()


def give_way() -> None:
    """Take from now on only the processor time that nobody else wants: calls come first.

    Whoever is merely nicer than a worker still keeps it waiting until the turn it has begun is over, some milliseconds.
    On a machine without an idle moment a three-hundredth is left to it, so it is for what is to be made, not to find
    out that there is nothing to do.
    """
    with suppress(AttributeError, OSError):  # another system, or one that does not allow it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def ask(module: str, request: object) -> dict[str, Any]:
    """Have `python -m module` answer, and wait for it. Raises ValueError with its last words when it does not."""
    command = (sys.executable, "-m", module)
    # What is run is this program; what it is to do, a password perhaps, goes by a pipe and shows in no process list.
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)  # noqa: S603
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])  # noqa: TRY004
    return answer
