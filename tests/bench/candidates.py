"""What is measured: each a process (or a few) that carries calls from one SIPp to another, and its processor time.

All of them get the same network (network.py) and the same callers. Both ends have ports of their own for each: a
candidate that was overrun goes on for half a minute to repeat requests to a carrier that has gone, and would otherwise
call the carrier of whoever is measured next.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from edge_proxy import ENGINE
from edge_proxy.engine import PURE
from tests.bench.network import Network
from tests.bench.report import say
from tests.kit.ports import free_port, wait_until_bound
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, ProxyProcess, Site

HERE: Final = Path(__file__).parent
NULL: Final = "null forwarder"
KAMAILIO: Final = "kamailio"
OURS: Final = f"edge_proxy {ENGINE.engine}"
OURS_PURE: Final = f"edge_proxy {PURE}"
_START_S: Final = 600.0
"""Kamailio reads a million numbers in half a minute, and whatever else is busy then makes it longer."""
_REPEATS_S: Final = 33.0
"""Timers B and F (RFC 3261 §17.1), and a second to write it off."""
_PROCESS_CLOCK: Final = 2
"""CPUCLOCK_SCHED of the kernel's clock numbers: nanoseconds of a whole process, its ended threads included."""


@dataclass
class Ends:
    """Where both ends of a candidate's calls are, on the hosts of acme and the carrier."""

    caller_port: int = field(default_factory=free_port)
    carrier_port: int = field(default_factory=free_port)
    silent_at: float = 0.0
    """By the monotonic clock: until then, requests of calls that failed may still come."""


class Candidate(Protocol):
    name: str
    ends: Ends
    repeats_s: float
    """How long it repeats a request that nobody answers."""

    @property
    def entry_port(self) -> int:
        """Where the caller sends."""

    @property
    def own_ports(self) -> tuple[int, ...]:
        """Where it sends from."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pids(self) -> list[int]: ...


@dataclass
class Load:
    """What all candidates carry: the same callers of the same network."""

    directory: Path
    network: Network
    callers: Path | None = None
    """Who calls, where it is not all of the network's callers."""


def processor_s(candidate: Candidate) -> float:
    """User and system time of all its processes so far, ended threads included."""
    total = 0.0
    for pid in candidate.pids():
        with suppress(OSError):
            total += time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    return total


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text(encoding="ascii").split():
                found += family(int(child))
    return found


class Memory:
    """What the processes of a candidate hold, in bytes; pages that they share count once."""

    def __init__(self, pids: list[int]) -> None:
        self.all = self.private = self.mapped = 0
        for pid in pids:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            found = {key: int(size) * 1024 for key, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
            self.all += found["Pss"]
            self.private += found["Pss_Anon"]
            self.mapped += found["Pss_File"] + found["Pss_Shmem"]


class NullForwarder:
    """The floor: system calls and nothing else."""

    name = NULL
    repeats_s = 0.0

    def __init__(self, load: Load) -> None:
        self.ends = Ends()
        self.entry_port = free_port()
        self._program = load.directory / "null_forwarder"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def own_ports(self) -> tuple[int, ...]:
        return (self.entry_port,)

    def start(self) -> None:
        subprocess.run(["gcc", "-O2", "-o", self._program, HERE / "null_forwarder.c"], check=True)
        ends = [ACME_HOST, str(self.ends.caller_port), CARRIER_HOST, str(self.ends.carrier_port)]
        self._process = subprocess.Popen([self._program, str(self.entry_port), *ends])
        wait_until_bound(self.entry_port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]


class Kamailio:
    """Kamailio with its fast allocator; Debian's default one, made for debugging, would flatter us.

    It has one UDP worker: of one, two and four, a call costs least with one.
    """

    repeats_s = _REPEATS_S

    def __init__(self, load: Load, *, children: int = 1, name: str = KAMAILIO) -> None:
        self.name = name
        self.ends = Ends()
        self.entry_port = free_port()
        self._load = load
        self._children = children
        self._directory = load.directory / name.replace(" ", "-")
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_after_s = 0.0

    @property
    def own_ports(self) -> tuple[int, ...]:
        return (self.entry_port,)

    def start(self) -> None:
        self._directory.mkdir(exist_ok=True)
        database, config = self._directory / "network.sqlite", self._directory / "kamailio.cfg"
        self._load.network.write_kamailio_database(database)
        size = self._load.network.size
        text = (HERE / "kamailio.cfg").read_text(encoding="utf-8")
        for word, value in {
            "PORT": self.entry_port,
            "CARRIER": self.ends.carrier_port,
            "CHILDREN": self._children,
            "DATABASE": database,
            "OWNED_SIZE": max(size.numbers.bit_length(), 4),
            "ACCOUNTS": self._directory,
        }.items():
            text = text.replace(f"@{word}@", str(value))
        config.write_text(text, encoding="utf-8")
        rows = size.numbers + size.prefixes
        shared_mb, private_mb = 512 + rows // 1500, 64 + max(size.numbers, size.prefixes) // 400
        command = ["kamailio", "-f", str(config), "-DD", "-E", "-x", "fm", "-X", "fm", "-b", str(4 << 20)]
        command += ["-m", str(shared_mb), "-M", str(private_mb), "-Y", str(self._directory)]
        with (self._directory / "kamailio.log").open("wb") as log:
            started = time.monotonic()
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until_bound(self.entry_port, timeout_s=_START_S)
        self.ready_after_s = time.monotonic() - started

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)

    def pids(self) -> list[int]:
        return [] if self._process is None else family(self._process.pid)


class EdgeProxy:
    """The product: whole decision, evidence, metrics and call log on."""

    repeats_s = _REPEATS_S

    def __init__(
        self,
        load: Load,
        *,
        engine: str = ENGINE.engine,
        workers: int = 1,
        name: str = "",
        place: str = "",
        data_dir: Path | None = None,
    ) -> None:
        """Its files are in `place` beneath the load's directory, but for its data where `data_dir` says otherwise."""
        self.name = name or f"edge_proxy {engine}"
        site = Site()
        self.ends = Ends(carrier_port=site.carrier_port)
        directory = load.directory / (place or self.name.replace(" ", "-"))
        config = load.network.config(site, directory, data_dir)
        config["workers"] = workers
        self.proxy = ProxyProcess(directory, site, config, engine=engine)
        self.proxy.ready_timeout_s = _START_S

    @property
    def entry_port(self) -> int:
        return self.proxy.site.customers_port

    @property
    def own_ports(self) -> tuple[int, ...]:
        return (self.proxy.site.customers_port, self.proxy.site.carriers_port)

    def start(self) -> None:
        self.proxy.start()

    def stop(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.proxy.stop()
        self.proxy.__exit__()

    def pids(self) -> list[int]:
        return family(self.proxy.pid)


def field_of(load: Load) -> list[Candidate]:
    """Those that can run here; a missing one is said, not left out in silence."""
    found: list[Candidate] = []
    if shutil.which("gcc"):
        found.append(NullForwarder(load))
    else:
        say("gcc is missing: no null forwarder")
    if shutil.which("kamailio") and any(Path("/usr").glob("lib*/**/kamailio/modules/db_sqlite.so")):
        found.append(Kamailio(load))
    else:
        say("kamailio is missing (Debian packages kamailio, kamailio-sqlite-modules): not compared")
    found.append(EdgeProxy(load))
    if ENGINE.engine == PURE:
        say(f"edge_proxy runs pure: {ENGINE.note}")
    else:
        found.append(EdgeProxy(load, engine=PURE))
    return found


@contextmanager
def running(candidates: list[Candidate]) -> Iterator[None]:
    """All of them, at once."""
    try:
        for candidate in candidates:
            candidate.start()
        yield
    finally:
        for candidate in candidates:
            candidate.stop()
