"""What is measured: each a process (or a few) that carries calls from one SIPp to another, and its CPU time."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edge_proxy import ENGINE
from edge_proxy.engine import PURE
from tests.kit.ports import free_port, wait_until_bound
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, Site

HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")


class Candidate(Protocol):
    name: str
    entry_port: int
    """Where the caller sends."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pids(self) -> list[int]: ...


@dataclass
class Load:
    """The ports at both ends; one pair for all candidates, so that each forwards the same."""

    site: Site
    caller_port: int

    @property
    def carrier_port(self) -> int:
        return self.site.carrier_port


def cpu_s(candidate: Candidate) -> float:
    """User and system time of all its processes so far."""
    total = 0
    for pid in candidate.pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def rss_bytes(candidate: Candidate) -> int:
    """Resident memory of all its processes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in candidate.pids())
    return pages * os.sysconf("SC_PAGE_SIZE")


class NullForwarder:
    """The floor: system calls and nothing else."""

    name = "null forwarder"

    def __init__(self, directory: Path, load: Load, port: int) -> None:
        self.entry_port = port
        self._program = directory / "null_forwarder"
        self._load = load
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        subprocess.run(["gcc", "-O2", "-o", self._program, HERE / "null_forwarder.c"], check=True)
        ends = [ACME_HOST, str(self._load.caller_port), CARRIER_HOST, str(self._load.carrier_port)]
        self._process = subprocess.Popen([self._program, str(self.entry_port), *ends])
        wait_until_bound(self.entry_port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]


class Kamailio:
    """Kamailio with its fast allocator: Debian's default one, made for debugging, would flatter us."""

    name = "kamailio"

    def __init__(self, directory: Path, load: Load, port: int) -> None:
        self.entry_port = port
        self._directory = directory
        self._load = load
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        text = (HERE / "kamailio.cfg").read_text()
        config = self._directory / "kamailio.cfg"
        config.write_text(
            text.replace("@PORT@", str(self.entry_port)).replace("@CARRIER@", str(self._load.carrier_port))
        )
        log = (self._directory / "kamailio.log").open("wb")
        command = ["kamailio", "-f", str(config), "-x", "fm", "-X", "fm", "-m", "512", "-M", "16", "-DD", "-E"]
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until_bound(self.entry_port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)

    def pids(self) -> list[int]:
        if self._process is None:
            return []
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]


class EdgeProxy:
    """The product: whole decision, evidence, metrics and call log on."""

    def __init__(self, directory: Path, load: Load, engine: str = ENGINE.engine) -> None:
        self.name = f"edge_proxy {engine}"
        site = load.site
        if engine != ENGINE.engine:  # beside the other one
            ports = {name: free_port() for name in ("customers_port", "carriers_port", "metrics_port")}
            site = replace(site, **ports)
            directory = directory / engine
            directory.mkdir()
        self.entry_port = site.customers_port
        self.proxy = ProxyProcess(directory, site, engine=engine)

    def start(self) -> None:
        self.proxy.start()

    def stop(self) -> None:
        self.proxy.stop()

    def pids(self) -> list[int]:
        return [self.proxy.pid]


def candidates(directory: Path, load: Load, ports: tuple[int, int]) -> list[Candidate]:
    """Those that can run here; a missing one is said, not left out in silence."""
    found: list[Candidate] = [EdgeProxy(directory, load)]
    if ENGINE.engine == PURE:
        print(f"edge_proxy runs pure: {ENGINE.note}")
    else:
        found.append(EdgeProxy(directory, load, PURE))
    if shutil.which("kamailio"):
        found.append(Kamailio(directory, load, ports[0]))
    else:
        print("kamailio is missing (Debian package kamailio): not compared")
    if shutil.which("gcc"):
        found.append(NullForwarder(directory, load, ports[1]))
    else:
        print("gcc is missing: no null forwarder")
    return found


__all__ = ["PROXY_HOST", "Candidate", "EdgeProxy", "Load", "candidates", "cpu_s", "rss_bytes"]
