"""How long messages stay inside a candidate, by what the kernel saw on the loopback interface (tcpdump, so root).

A message's time is that at which the kernel took it from its sender. Arrival is a packet to a port of the candidate,
departure the first packet from one with the same Call-ID and CSeq that starts with the same word: INVITE, or the 200
that answers it. Neither end's own clock has a part in it.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.candidates import Candidate

_MAGIC_NANOSECONDS: Final = 0xA1B23C4D
_FILE_HEADER_BYTES: Final = 24
_ETHERNET_BYTES: Final = 14
_UDP_HEADER_BYTES: Final = 8
_CALL_ID: Final = re.compile(rb"\r\nCall-ID: ([^\r]*)")
_KINDS: Final = {b"INVITE": "INVITE", b"SIP/2.0 200": "200"}
_WRITE_OUT_S: Final = 1.0


class Delays(NamedTuple):
    """Seconds that messages of each kind stayed, sorted."""

    invite: list[float]
    ok: list[float]

    def quantile_us(self, kind: str, share: float) -> float:
        values = self.invite if kind == "INVITE" else self.ok
        return values[min(int(len(values) * share), len(values) - 1)] * 1e6 if values else float("nan")


def obstacle() -> str:
    """Why delays cannot be captured here, or nothing."""
    if shutil.which("tcpdump") is None:
        return "tcpdump is missing (Debian package tcpdump)"
    return "" if os.geteuid() == 0 else "capturing on the loopback interface needs root"


class Capture:
    """tcpdump on a candidate's ports while its `with` block runs; `delays` then reads what it wrote."""

    def __init__(self, directory: Path, candidate: Candidate) -> None:
        self._path = directory / "delays.pcap"
        self._ports = candidate.own_ports

    def __enter__(self) -> Capture:
        self._path.unlink(missing_ok=True)
        ports = " or ".join(f"udp port {port}" for port in self._ports)
        command = ["tcpdump", "-i", "lo", "-n", "-Z", "root", "-B", "65536", "--time-stamp-precision=nano"]
        self._process = subprocess.Popen(
            [*command, "-w", str(self._path), ports], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not (self._path.exists() and self._path.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
            if self._process.poll() is not None:
                raise SystemExit("tcpdump cannot listen on the loopback interface: that needs root")
        time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(_WRITE_OUT_S)
        self._process.terminate()
        self._process.wait(timeout=20)

    def delays(self) -> Delays:
        return read_delays(self._path.read_bytes(), frozenset(self._ports))


def read_delays(data: bytes, ports: Collection[int]) -> Delays:
    """What a capture says of every INVITE and every 200 to one."""
    if len(data) < _FILE_HEADER_BYTES or struct.unpack_from("<I", data)[0] != _MAGIC_NANOSECONDS:
        raise ValueError("no capture with nanoseconds")
    arrived: dict[tuple[bytes, bytes], int] = {}
    left: set[tuple[bytes, bytes]] = set()
    found: dict[str, list[float]] = {"INVITE": [], "200": []}
    place = _FILE_HEADER_BYTES
    while place + 16 <= len(data):
        seconds, nanoseconds, size = struct.unpack_from("<III", data, place)
        packet = place + 16
        place = packet + size
        ip = packet + _ETHERNET_BYTES
        udp = ip + (data[ip] & 0x0F) * 4
        start = udp + _UDP_HEADER_BYTES
        word = next((word for word in _KINDS if data.startswith(word, start)), b"")
        if not word:
            continue
        payload = data[start:place]
        call_id = _CALL_ID.search(payload)
        if call_id is None or (word != b"INVITE" and b" INVITE\r\n" not in payload):
            continue
        source, target = struct.unpack_from("!HH", data, udp)
        key, at = (word, call_id[1]), seconds * 1_000_000_000 + nanoseconds
        if target in ports:
            arrived.setdefault(key, at)
        elif source in ports and key in arrived and key not in left:
            left.add(key)
            found[_KINDS[word]].append((at - arrived[key]) / 1e9)
    return Delays(sorted(found["INVITE"]), sorted(found["200"]))
