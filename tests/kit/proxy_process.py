"""The real proxy in a process of its own: a configuration made for the test, the ready line, /metrics, signals.

Peers have loopback addresses of their own, so that the proxy tells them apart as it does outside: customers are
127.0.0.2 (acme, US), 127.0.0.3 (globex, US, monitor mode) and 127.0.0.4 (initech, GB); the carrier is 127.0.0.1.
"""

from __future__ import annotations

import copy
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import yaml

from edge_proxy.evidence.journal import Journal
from edge_proxy.evidence.segments import segments_in
from tests.kit.metrics import Samples, scrape
from tests.kit.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
EDGE_PROXY: Final = [sys.executable, "-m", "edge_proxy"]

PROXY_HOST: Final = "127.0.0.1"
CARRIER_HOST: Final = "127.0.0.1"
ACME_HOST: Final = "127.0.0.2"
GLOBEX_HOST: Final = "127.0.0.3"
INITECH_HOST: Final = "127.0.0.4"
UNKNOWN_HOST: Final = "127.0.0.9"

ACME_NUMBER: Final = "+12025550123"
GLOBEX_NUMBER: Final = "+13105550123"
INITECH_NUMBER: Final = "+442079460123"
OUTSIDE_NUMBER: Final = "+14155550142"

_READY_TIMEOUT_S: Final = 60.0  # several start at a time, on machines that do other work too
_UDP_IP_OVERHEAD_BYTES: Final = 28

Config = dict[str, Any]


@dataclass
class Site:
    """The ports of one test's network."""

    customers_port: int = field(default_factory=free_port)
    carriers_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    carrier_port: int = field(default_factory=free_port)
    acme_port: int = field(default_factory=free_port)
    globex_port: int = field(default_factory=free_port)
    initech_port: int = field(default_factory=free_port)

    def config(self, directory: Path) -> Config:
        """The default configuration of the tests; change a copy at will."""
        return {
            "node": "edge-test",
            "data_dir": str(directory / "data"),
            "listeners": {
                "customers": {"bind": f"{PROXY_HOST}:{self.customers_port}"},
                "carriers": {"bind": f"{PROXY_HOST}:{self.carriers_port}"},
            },
            "customers": [
                {
                    "id": "acme",
                    "sources": [f"{ACME_HOST}/32"],
                    "targets": [f"sip:{ACME_HOST}:{self.acme_port}"],
                    "country": "US",
                    "numbers": ["+12025550100-+12025550199"],
                },
                {
                    "id": "globex",
                    "sources": [f"{GLOBEX_HOST}/32"],
                    "targets": [f"sip:{GLOBEX_HOST}:{self.globex_port}"],
                    "country": "US",
                    "numbers": ["+13105550100-+13105550199"],
                    "mode": "monitor",
                },
                {
                    "id": "initech",
                    "sources": [f"{INITECH_HOST}/32"],
                    "targets": [f"sip:{INITECH_HOST}:{self.initech_port}"],
                    "country": "GB",
                    "numbers": ["+442079460000-+442079460999"],
                },
            ],
            "trunks": [
                {"id": "carrier-a", "targets": [f"sip:{CARRIER_HOST}:{self.carrier_port}"], "probe": {"interval_s": 0}}
            ],
            "asn": {"table": str(ROOT / "config" / "asn-sample.tsv")},
            "telemetry": {"listen": f"{PROXY_HOST}:{self.metrics_port}"},
            # A machine that is busy with the tests themselves must not look like an overload.
            "sip": {"overload": {"delay_ms": 0}},
        }


class ProxyProcess:
    """One `edge-proxy run`. `config` is written to `edge-proxy.yaml` in `directory` at start and at `reload`."""

    def __init__(
        self, directory: Path, site: Site | None = None, config: Config | None = None, engine: str | None = None
    ) -> None:
        self.directory = directory
        self.environ = {} if engine is None else {"EDGE_PROXY_ENGINE": engine}
        self.command = EDGE_PROXY
        self.ready_timeout_s = _READY_TIMEOUT_S
        self.site = site or Site()
        self.config: Config = copy.deepcopy(config) if config is not None else self.site.config(directory)
        self.config_path = directory / "edge-proxy.yaml"
        self.log_path = directory / "proxy.log"
        self.ready_line = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        # What a killed process leaves for its next life; here there is none, and memory is not given back otherwise.
        for worker in range(self.workers):
            Journal(data_dir=self.data_dir, worker=worker).ring_path.unlink(missing_ok=True)

    @property
    def data_dir(self) -> Path:
        return Path(self.config["data_dir"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> int:
        return int(self.config.get("workers", 1))

    def worker_pid(self, worker: int) -> int:
        """The process that has this worker's journal open; 0 when there is none."""
        journal = str(self.data_dir / "evidence" / f"worker-{worker}") + "/"
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        for pid in map(int, children.split()):
            with suppress(OSError):
                if any(str(fd.readlink()).startswith(journal) for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
        return 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write_config(self) -> None:
        self.config_path.write_text(yaml.dump(self.config, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")

    def start(self) -> None:
        """Start and return when the ready line is there."""
        self.write_config()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, "run", "--config", str(self.config_path)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            )
        self.ready_line = self._read_line()
        if not self.ready_line.startswith("edge-proxy ready: "):
            self.kill()
            raise AssertionError(f"no ready line but {self.ready_line!r}; log:\n{self.log_text()}")

    def _read_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        line = b""
        deadline = time.monotonic() + self.ready_timeout_s
        while not line.endswith(b"\n"):
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                break
            piece = os.read(fd, 4096)
            if not piece:
                break
            line += piece
        return line.decode().rstrip("\n")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._reap()

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._reap()

    def _reap(self) -> int:
        assert self._process is not None
        code = self._process.wait(timeout=20)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def reload(self) -> None:
        """Write `config` and send SIGHUP; returns when the reload was counted, whatever came of it."""
        self.write_config()
        self.reload_file()

    def reload_file(self, timeout_s: float = 10.0) -> None:
        """SIGHUP for the file as it is."""
        before = self.scrape().total("reloads_total")
        os.kill(self.pid, signal.SIGHUP)
        self.wait_for(lambda samples: samples.total("reloads_total") > before, "the reload", timeout_s)

    def log_text(self) -> str:
        """What was logged so far: lines are gathered for a tenth of a second before they are written."""
        if self.is_running:
            time.sleep(0.3)
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """The log, every line of which must be a JSON object."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    def scrape(self) -> Samples:
        return scrape(f"{PROXY_HOST}:{self.site.metrics_port}")

    def wait_for(self, holds: Callable[[Samples], bool], what: str, timeout_s: float = 10.0) -> Samples:
        """Scrape until `holds`, and once more: a page is written while calls go on, its first lines before its last."""
        deadline = time.monotonic() + timeout_s
        while True:
            samples = self.scrape()
            if holds(samples):
                whole = self.scrape()
                return whole if holds(whole) else samples
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen within {timeout_s} s; log:\n{self.log_text()[-2000:]}")
            time.sleep(0.02)

    def received(self, side: str, messages: int) -> Samples:
        """A scrape from when this many messages of a side were taken in: the last ones sent may still be waiting."""
        return self.wait_for(
            lambda samples: samples.total("messages_received_total", side=side) >= messages,
            f"message {messages} of the {side} side",
        )

    def flushed(self) -> Samples:
        """A scrape from when all evidence that was accepted, or saved from the life before, is in the file."""

        def is_flushed(samples: Samples) -> bool:
            accepted, recovered = samples.total("evidence_accepted_total"), samples.total("evidence_recovered_total")
            return samples.total("evidence_written_total") == accepted + recovered

        return self.wait_for(is_flushed, "the evidence flush")

    def evidence(self) -> list[dict[str, Any]]:
        """Every line of the journals as they are now, worker by worker, oldest first."""
        return [line for worker in range(self.workers) for line in read_evidence(self.data_dir, worker)]

    def attempt(self, call_id: str) -> dict[str, Any]:
        """The one attempt line of a call."""
        self.flushed()
        (line,) = [x for x in self.evidence() if x["kind"] == "attempt" and x["call_id"] == call_id]
        return line

    def rss_bytes(self) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        match = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def assert_balanced(self) -> Samples:
        """Each message has one end, each end but forwarding has one cause, and no bug was met.

        A scrape that falls into the middle of a turn (a probe's, say) sees half of it, so this looks again for a
        while: what is wrong stays wrong.
        """
        deadline = time.monotonic() + 3.0
        while True:
            samples = self.scrape()
            wrong = list(_imbalances(samples))
            if not wrong:
                return samples
            if time.monotonic() > deadline:
                raise AssertionError("\n".join([*wrong, self.log_text()[-4000:]]))
            time.sleep(0.05)


def _imbalances(samples: Samples) -> Iterator[str]:
    """What does not add up. The ledger's packets are counted apart from the dispositions: the two check each other."""
    for side in ("customers", "carriers"):
        received = samples.total("messages_received_total", side=side)
        ends = samples.by("messages_total", "disposition", side=side)
        if received != sum(ends.values()):
            yield f"{side}: {received} received, but {ends}"
        for disposition in ("answered", "absorbed", "dropped"):
            causes = samples.by("messages_by_cause_total", "cause", side=side, disposition=disposition)
            if ends.get(disposition, 0) != sum(causes.values()):
                yield f"{side}: {ends.get(disposition, 0)} {disposition}, but {causes}"
        if samples.by("messages_by_cause_total", "cause", side=side, disposition="forwarded"):
            yield f"{side}: forwarded messages with a cause"
    if samples.total("internal_errors_total"):
        yield "internal errors"
    for direction, name in (("in", "received"), ("out", "sent")):
        packets, messages = (
            samples.total("asn_packets_total", direction=direction),
            samples.total(f"messages_{name}_total"),
        )
        if packets != messages:
            yield f"{messages} {name}, but {packets} packets {direction}"
        carried = samples.total(f"{name}_bytes_total") + packets * _UDP_IP_OVERHEAD_BYTES
        if samples.total("asn_bytes_total", direction=direction) != carried:
            yield f"{name}: bytes of the messages are not those of the ledger"


def read_evidence(data_dir: Path, worker: int = 0) -> list[dict[str, Any]]:
    """The journal of a worker; a last line that is still being written is left out."""
    lines: list[dict[str, Any]] = []
    for _, path in segments_in(data_dir / "evidence" / f"worker-{worker}"):
        data = path.read_bytes()
        lines += [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    return lines


def run_command(
    *arguments: str | Path, cwd: Path | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """An `edge-proxy` command that ends by itself."""
    return subprocess.run(
        [*EDGE_PROXY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=cwd or ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
