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
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from edge_proxy.resting import one_by_one, rest

KEPT: Final = 3
"""Files of one kind that stay: the one in use, and those that a worker may still be about to map."""
LOOKS_S: Final = 3.0
"""For how long it may take to find out whether there is something to make, with the time that nobody else wants."""
MAKES_S: Final = 60.0
"""And to make it."""
LONGEST_S: Final = 3600.0
"""For how long the second process may take: longer than anything does but one that waits for a database that hangs."""

starting: Final = threading.Lock()
"""Held while a process is started, and by whoever forks: a fork would keep open what the new process is to close."""

_TURN_S: Final = 0.1
"""How often whoever waits for an answer comes by a place to rest."""
_FRESH: Final = ".new"
"""What is being written; somebody who was ended leaves it behind."""
_BEGUN: Final = "making\n"
_NICENESS: Final = 10
_GIVEN_UP_S: Final = 3600.0
"""Whoever wrote last so long ago writes no more."""


def write_whole(path: Path, parts: Iterable[bytes | bytearray]) -> None:
    """Write beside, flush to the disk, rename: a reader sees the whole file or none. Raises OSError."""
    fresh = path.with_suffix(f".{os.getpid()}{_FRESH}")
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
    """Keep the newest few, and nothing that was never finished. A file that is mapped somewhere lives on there until it
    is let go."""
    others = sorted((path for path in current.parent.glob(pattern) if path != current), key=_written_at, reverse=True)
    unfinished = current.parent.glob(f"{pattern.removesuffix('.idx')}.*{_FRESH}")
    given_up = [path for path in unfinished if _written_at(path) < time.time() - _GIVEN_UP_S]
    for path in others[KEPT - 1 :] + given_up:
        with suppress(OSError):
            path.unlink()


def _written_at(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def begin() -> None:
    """Say that there is something to make, which takes its time: called by whoever was asked, before it makes it."""
    sys.stdout.write(_BEGUN)
    sys.stdout.flush()


def ask(module: str, request: object) -> dict[str, Any]:
    """Have `python -m module` answer, and wait for it. Raises ValueError with its last words when it does not, or not
    within an hour, OSError when it cannot be started.

    It takes only the processor time that nobody else wants: calls come first, and whoever is merely nicer than a worker
    still keeps it waiting until the turn it has begun is over, some milliseconds. On a machine without an idle moment a
    three-hundredth is left to it, so after some seconds a second process that is merely nicer takes its place: sooner
    when it has not even found out whether there is something to make, as nothing but that keeps a new policy waiting.
    """
    # In one piece it would hold up other threads while it is written.
    text = "".join(one_by_one(json.JSONEncoder().iterencode(request))).encode()
    done = _run(module, text, is_idle=True) or _run(module, text, is_idle=False)
    if done is None:
        raise ValueError(f"it was not done after {LONGEST_S:.0f} s; see what it waits for")
    status, said, told = done
    try:
        answer = json.loads(said.removeprefix(_BEGUN.encode()))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError((told.decode(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1])  # noqa: TRY004
    return answer


def _run(module: str, request: bytes, *, is_idle: bool) -> tuple[int, bytes, bytes] | None:
    """Exit status, answer and last words; None when it was ended, since the machine has no time for it."""
    with os.fdopen(os.memfd_create("request"), "w+b") as asked:
        asked.write(request)
        asked.seek(0)
        process = _start(module, asked)
    with process:
        is_idle = _give_way(process.pid, is_idle=is_idle)
        began = time.monotonic()
        while True:
            try:
                said, told = process.communicate(timeout=_TURN_S)
            except subprocess.TimeoutExpired as late:
                passed_s = time.monotonic() - began
                idle_s = LOOKS_S + MAKES_S if late.output else LOOKS_S
                if passed_s > (idle_s if is_idle else LONGEST_S):
                    process.kill()
                    process.communicate()
                    return None
            else:
                return process.returncode, said, told
            try:
                rest()
            except BaseException:  # whoever waits here is not to wait any more
                process.kill()
                raise


def _start(module: str, asked: BinaryIO) -> subprocess.Popen[bytes]:
    # What is run is this program; what it is to do, a password perhaps, lies in a file in memory that has no name, and
    # shows in no process list. A pipe would stay open in a process that is forked meanwhile, and have no end.
    # Nothing of ours is open to other programs anyway; to close it one by one takes longer the more there is.
    with starting:
        return subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", module),
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            close_fds=False,
        )


def _give_way(pid: int, *, is_idle: bool) -> bool:
    """As soon as it is there, before it has loaded anything. Whether it takes idle time only."""
    with suppress(AttributeError, OSError):  # another system, one that does not allow it, or it has ended already
        os.setpriority(os.PRIO_PROCESS, pid, _NICENESS)
        if is_idle:
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
            return True
    return False
