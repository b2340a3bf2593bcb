"""What was compiled from which files: a note beside the compiled file, so that a look at the files says if it holds.

A note keeps what was asked for, the state of every file that was read and of the one that was made, and the answer.
While all of them are as they were, the answer is the same, and nobody starts a process or reads a table to find that
out. The state of a file is its device, its inode, its size, and when its contents and its inode last changed, in
nanoseconds. A file that is put in another's place has another inode; one that is written in place has other times, and
no program can set the last of them. Not noticed is what changes below the file system.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_proxy.compiled_files import write_whole

_SETTLED_NS: Final = 100_000_000
"""A file system's clock ticks every few milliseconds: what was written just now may be written again at the same time
of that clock, after it was read."""

State = list[int]
"""Of one file; empty: there is none, or nothing in it."""


class Look(NamedTuple):
    """How some files were before they were read."""

    states: dict[str, State]
    is_settled: bool
    """Whether a change from now on shows in them."""


def look_at(paths: Iterable[Path]) -> Look:
    """Take the state of these files; where a link leads to one, of that one."""
    now_ns = time.time_ns()
    states = {os.path.abspath(path): _state(path) for path in paths}  # noqa: PTH100 - links are followed, not resolved
    return Look(states, all(state[-1] < now_ns - _SETTLED_NS for state in states.values() if state))


def remember(note: Path, asked: str, look: Look, made: Path, answer: dict[str, Any]) -> None:
    """Write down an answer about files that were looked at before they were read, and the file that was made of them.

    Where nothing can be written, or a change could go unnoticed, it is asked again the next time.
    """
    if not look.is_settled:
        return
    states = look.states | look_at([made]).states
    with suppress(OSError):
        write_whole(note, [json.dumps({"asked": asked, "states": states, "answer": answer}).encode()])


def recall(note: Path, asked: str) -> dict[str, Any] | None:
    """The answer that was given to the same question about files that are all as they were; None: there is none."""
    try:
        known = json.loads(note.read_bytes())
        if known["asked"] == asked and all(_state(Path(path)) == state for path, state in known["states"].items()):
            answer: dict[str, Any] = known["answer"]
            return answer
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # there is none, or none that can be read
    return None


def _state(path: Path) -> State:
    try:
        found = path.stat()
    except OSError:
        return []
    if not found.st_size:
        return []
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
