"""The delay that each candidate adds to INVITE and to its 200, in quiet, and ours while something else goes on."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from tests.bench.candidates import OURS, Candidate, EdgeProxy, Load
from tests.bench.capture import Capture, Delays
from tests.bench.load import Slice, measure
from tests.bench.network import Network
from tests.bench.report import Figures, say, show, spread
from tests.kit.beside import beside
from tests.kit.proxy_process import EDGE_PROXY, PROXY_HOST, ROOT

KINDS: Final = ("INVITE", "200")
_QUANTILES: Final = ((0.5, "p50"), (0.99, "p99"))
_SCRAPE_S: Final = 0.05
_STALL_S: Final = 1.0
_DISK_MB: Final = 4096
_LONGEST_RELOAD_S: Final = 120.0
_LOG_LINE_BYTES: Final = 4096


def captured(candidate: Candidate, load: Load, rate: float, seconds: float) -> tuple[Delays, Slice]:
    """One slice of calls with tcpdump beside it."""
    with Capture(load.directory, candidate) as capture:
        one = measure(candidate, load, rate, seconds)
    return capture.delays(), one


def delays(field: Sequence[Candidate], load: Load, rate: float, seconds: float, rounds: int, figures: Figures) -> None:
    """All candidates in turns."""
    found: dict[str, list[Delays]] = defaultdict(list)
    for _ in range(rounds):
        for candidate in field:
            found[candidate.name].append(captured(candidate, load, rate, seconds)[0])
    show(
        f"Delay added at {rate:,.0f} calls/s, microseconds from arrival to departure: median of {rounds} rounds "
        "(lowest to highest)",
        ("candidate", *(f"{kind} {name}" for kind in KINDS for _, name in _QUANTILES)),
        [
            (
                name,
                *(
                    spread([one.quantile_us(kind, share) for one in rounds_])
                    for kind in KINDS
                    for share, _ in _QUANTILES
                ),
            )
            for name, rounds_ in found.items()
        ],
    )
    for kind in KINDS:
        p99_us = [one.quantile_us(kind, 0.99) for one in found[OURS]]
        figures.at_most(1000, f"delay added to {kind} at {rate:,.0f}/s, p99 in microseconds, {OURS}", p99_us)
    figures["delay_us"] = {name: [_quantiles(one) for one in rounds_] for name, rounds_ in found.items()}


def _quantiles(one: Delays) -> dict[str, float]:
    return {f"{kind} {name}": one.quantile_us(kind, share) for kind in KINDS for share, name in _QUANTILES}


class Disturbances:
    """What else may go on while calls are carried; each is a `with` block."""

    def __init__(self, proxy: EdgeProxy, network: Network, disk: Path | None) -> None:
        self._proxy = proxy
        self._network = network
        self._disk = disk
        self._turn = self._added = 0
        self.reloads = 0
        self.scrapes_s: list[float] = []

    def all(self) -> dict[str, Callable[[], AbstractContextManager[None]]]:
        found: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "quiet": nullcontext,
            "a number more, reload": lambda: beside(self._reload),
            "another AS table, reload": lambda: beside(self._swap),
            "scrape every 50 ms": lambda: beside(self._scrape),
            "four slow scrapes": lambda: beside(*[self._scrape_slowly] * 4),
        }
        if self._disk is not None:
            found["disk stalls for 1 s"] = lambda: beside(self._stall)
        return found

    @property
    def _metrics(self) -> tuple[str, int]:
        return PROXY_HOST, self._proxy.proxy.site.metrics_port

    def _reload(self, is_over: threading.Event) -> None:
        """Again and again, one number more and SIGHUP, until the log tells of it: all numbers are compiled anew."""
        proxy = self._proxy.proxy
        while not is_over.is_set():
            self._added += 1
            number = f"+1999{self._added:07}"
            add = [*EDGE_PROXY, "numbers", "add", number, "--customer", self._network.owner(0)]
            subprocess.run(
                ["nice", *add, "--config", str(proxy.config_path)],
                check=True,
                capture_output=True,
                cwd=proxy.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            self._hang_up(is_over)

    def _swap(self, is_over: threading.Event) -> None:
        """Again and again, every prefix belongs to another AS."""
        while not is_over.is_set():
            self._turn += 1
            self._network.swap_asns(self._turn)
            self._hang_up(is_over)

    def _hang_up(self, is_over: threading.Event) -> None:
        """SIGHUP, and wait until the log tells of the reload, whether or not the slice is over before."""
        with self._proxy.proxy.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)  # of a log line per call, only what is new: reading all of it would disturb too
            os.kill(self._proxy.proxy.pid, signal.SIGHUP)
            deadline = time.monotonic() + _LONGEST_RELOAD_S
            told = b""
            while not (b'"reloaded"' in told or b'"reload refused"' in told) and time.monotonic() < deadline:
                time.sleep(0.1)
                told = told[-_LOG_LINE_BYTES:] + log.read()
        self.reloads += b'"reloaded"' in told
        is_over.wait(0.5)

    def _scrape(self, is_over: threading.Event) -> None:
        host, port = self._metrics
        while not is_over.wait(_SCRAPE_S):
            started = time.monotonic()
            with suppress(OSError), urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
                answer.read()
            self.scrapes_s.append(time.monotonic() - started)

    def _scrape_slowly(self, is_over: threading.Event) -> None:
        """A client that takes one byte at a time, from a window as small as it gets."""
        while not is_over.is_set():
            with suppress(OSError), socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                client.settimeout(1.0)
                client.connect(self._metrics)
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                while not is_over.wait(0.02) and client.recv(1):
                    pass

    def _stall(self, is_over: threading.Event) -> None:
        """Again and again, every write to the disk of the journal waits for a second."""
        while not is_over.wait(_STALL_S):
            subprocess.run(["fsfreeze", "-f", str(self._disk)], check=False)
            try:
                time.sleep(_STALL_S)
            finally:
                subprocess.run(["fsfreeze", "-u", str(self._disk)], check=False)


@contextmanager
def disk_of_its_own(directory: Path) -> Iterator[Path | None]:
    """A file system in a file, which alone can be frozen; none where that cannot be had (not root, no loop device)."""
    image, place = directory / "disk.img", directory / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_MB << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, text=True, check=False)
    if made.returncode == 0:
        made = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if made.returncode:
        say(f"no disk of its own, so none that stalls: {made.stderr.strip()}")
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def disturbed(
    proxy: EdgeProxy,
    network: Network,
    disk: Path | None,
    load: Load,
    rate: float,
    seconds: float,
    rounds: int,
    figures: Figures,
) -> None:
    """The same delays of one proxy with a large network, in quiet and beside each disturbance, in turns."""
    disturbances = Disturbances(proxy, network, disk)
    for turn in (2, 1):  # written now, copied while calls are carried
        network.swap_asns(turn)
    found: dict[str, list[tuple[Delays, Slice]]] = defaultdict(list)
    for _ in range(rounds):
        for name, going_on in disturbances.all().items():
            with going_on():
                found[name].append(captured(proxy, load, rate, seconds))
    rows = []
    for name, pairs in found.items():
        p99 = {kind: [one.quantile_us(kind, 0.99) for one, _ in pairs] for kind in KINDS}
        multiples = [
            statistics.median(p99[kind]) / statistics.median([one.quantile_us(kind, 0.99) for one, _ in found["quiet"]])
            for kind in KINDS
        ]
        if name != "quiet":
            for kind, multiple in zip(KINDS, multiples, strict=True):
                figures.at_most(2, f"delay added to {kind}, p99, {name} / quiet", [multiple])
        resent = max(one.resent for _, one in pairs)
        failed = sum(one.failed for _, one in pairs)
        rows.append(
            (
                name,
                *(spread(p99[kind]) for kind in KINDS),
                *(f"{m:.1f}" for m in multiples),
                f"{resent:.2%}",
                str(failed),
            )
        )
    size = network.size
    show(
        f"Delay added under everything else at {rate:,.0f} calls/s, with {size.numbers:,} numbers and "
        f"{size.prefixes:,} prefixes: p99 in microseconds, median of {rounds} rounds (lowest to highest)",
        (
            "beside",
            *(f"{kind} p99" for kind in KINDS),
            *(f"{kind}, of quiet" for kind in KINDS),
            "most sent again",
            "failed calls",
        ),
        rows,
    )
    took_ms = [1000 * seconds for seconds in disturbances.scrapes_s]
    say(f"({disturbances.reloads} reloads took place; one of {len(took_ms)} scrapes took {spread(took_ms)} ms)")
    figures["scrape_ms"] = took_ms
    figures["disturbed"] = {
        name: [{**_quantiles(one), **of_calls._asdict()} for one, of_calls in pairs] for name, pairs in found.items()
    }
