"""The process above the workers: what it does while it waits. What it does besides: tests/integration."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import load_settings
from edge_proxy.supervisor import Supervisor, _Child

DEFAULT = Path(__file__).parents[2] / "config/edge-proxy.yaml"


def test_supervisor_that_ends_waits_for_its_workers_and_does_not_look_for_them() -> None:
    """One worker has ended already and another has not: nothing is to be done until that one ends, or time is up."""
    settings = load_settings(DEFAULT)
    supervisor = Supervisor(settings, DEFAULT)
    supervisor._snapshot = compile_snapshot(settings)
    supervisor._wake_up.setblocking(False)
    with supervisor._wake, supervisor._wake_up, supervisor._selector, socket.socket() as unused:
        supervisor._children = [_Child(number, unused, unused) for number in range(2)]
        supervisor._children[1].pid = 1
        supervisor._is_stopping = True
        until = supervisor._stop_until = time.monotonic() + 0.2
        looks = 0
        while time.monotonic() < until:
            supervisor._wait()
            looks += 1
    assert looks <= 2
