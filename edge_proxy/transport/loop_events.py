"""Whether an event loop has something to do that it has not come to, asked from another thread."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


def pending_events(loop: asyncio.AbstractEventLoop) -> Callable[[], bool]:
    """Whether a socket of the loop's waits to be read or written: for one thread to ask. Always False for a loop that
    does not tell on what it waits.

    What it waits on (epoll, kqueue) is a file too, which is readable as long as there is an event: also while the loop
    has been told of it and waits for the interpreter. Takes a microsecond.
    """
    backend = _backend_of(loop)
    if backend < 0:
        return lambda: False
    asked = select.poll()
    asked.register(backend, select.POLLIN)
    return lambda: any(event & select.POLLIN for _, event in asked.poll(0))


def _backend_of(loop: asyncio.AbstractEventLoop) -> int:
    """Neither loop has a public way to it: uvloop's own name, then asyncio's. -1: closed, or another loop."""
    told = getattr(loop, "_get_backend_id", None) or getattr(getattr(loop, "_selector", None), "fileno", None)
    return -1 if told is None else int(told())
