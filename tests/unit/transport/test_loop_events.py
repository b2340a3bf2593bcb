"""What a thread beside a loop learns of it (transport/loop_events.py)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from edge_proxy.transport.loop_events import pending_events


@pytest.mark.parametrize("make", [uvloop.new_event_loop, asyncio.SelectorEventLoop])
def test_datagram_that_was_not_read_is_pending(make: Callable[[], Any]) -> None:
    """From its arrival until it was read, also while the loop is at other work; of both loops that there are."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        ours.setblocking(False)
        ours.bind(("127.0.0.1", 0))

        async def look() -> list[bool]:
            loop = asyncio.get_running_loop()
            is_pending = pending_events(loop)
            read = loop.create_future()
            loop.add_reader(ours.fileno(), lambda: read.set_result(ours.recv(100)))
            await asyncio.sleep(0)
            seen = [is_pending()]
            peer.sendto(b"x", ours.getsockname())
            seen.append(is_pending())
            await read
            seen.append(is_pending())
            loop.remove_reader(ours.fileno())
            return seen

        loop = make()
        try:
            assert loop.run_until_complete(look()) == [False, True, False]
        finally:
            loop.close()


def test_closed_loop_has_nothing_to_do() -> None:
    """A scrape may still be answered while the worker ends."""
    loop = uvloop.new_event_loop()
    before = pending_events(loop)
    loop.close()
    assert not pending_events(loop)()
    assert not before()


def test_loop_that_does_not_tell_has_nothing_to_do() -> None:
    """Whoever asks then goes by the clock alone."""
    silent: Any = object()
    assert not pending_events(silent)()
