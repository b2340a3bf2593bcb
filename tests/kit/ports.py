"""Ports that nobody listens on, from below the range that the kernel hands out by itself, each given once."""

from __future__ import annotations

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Final

_FIRST: Final = 12_000
_LAST: Final = 30_000
_next = itertools.count(_FIRST + os.getpid() * 37 % (_LAST - _FIRST))


def free_port() -> int:
    """A port that is free for UDP and TCP on every loopback address."""
    for number in _next:
        port = _FIRST + number % (_LAST - _FIRST)
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            continue
        return port
    raise AssertionError("unreachable: the count has no end")


def has_ipv6() -> bool:
    """Whether this machine has the loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def wait_until_bound(port: int, table: str = "udp", timeout_s: float = 10.0) -> None:
    """Return when a socket of this network namespace, in the kernel's table of this name, has the port."""
    deadline = time.monotonic() + timeout_s
    suffix = f":{port:04X}"
    while time.monotonic() < deadline:
        lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        if any(line.split()[1].endswith(suffix) for line in lines):
            return
        time.sleep(0.01)
    raise TimeoutError(f"nobody bound {table} port {port} within {timeout_s} s")
