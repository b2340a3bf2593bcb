"""What a reload of everything costs the calls: ten million numbers and a million prefixes swapped under 300 calls/s.

Three questions. Does any call fail? Does the verdict change exactly where the data does, in the order of the journal?
How long does a worker answer nothing: a customer sends an OPTIONS every four milliseconds, and the longest wait during
a reload stands beside the longest while nothing was reloaded, which is the machine's own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench import scale
from tests.bench.standstill import Stillness, stood_still_s, watched_cores
from tests.bench.watched import Gap, read_gaps
from tests.kit.proxy_process import (
    ACME_HOST,
    ACME_NUMBER,
    CARRIER_HOST,
    INITECH_HOST,
    PROXY_HOST,
    ProxyProcess,
    Site,
    read_evidence,
    run_command,
)
from tests.kit.sip_socket import SipSocket, options
from tests.kit.sipp import Sipp

console = Console()

NEW_NUMBER: Final = "+13125550100"
SMALL: Final = scale.Size("small", 100_000, 50_000, 1_000)

RATE: Final = 300
_FIRST_TARGET: Final = int(IPv4Address("10.128.0.0"))
_NEWCOMERS: Final = 5
"""Every so many-th call is from the number that the swap brings."""
_HOLD_MS: Final = 500
_QUIET_S: Final = 10.0
_LONG_MS: Final = 2.5
"""Gaps that are told one by one, with what was found to take long in them."""
_PROBE_EVERY_S: Final = 0.004
_TOLD: Final = '"event":"reload'
_TOLD_OF_ALL: Final = '"event":"all workers reloaded'
_PATIENCE_S: Final = 600.0
_BEFORE_ALL_ELSE: Final = (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
_LAST_CALLS_S: Final = 60.0
"""A call that had no end until then has none."""
_CALLS: Final = 1_000_000
"""More than are made: the load ends when the last reload is over."""


class Wait(NamedTuple):
    """One OPTIONS: when it was sent, and how long its answer took (none came: infinity)."""

    at: float
    took_s: float


class Span(NamedTuple):
    """One part of the run, and the waits that fell into it."""

    begin: float
    end: float
    waits: list[Wait]


class Probe(threading.Thread):
    """Asks the proxy something trivial, again and again, whatever becomes of the answers."""

    def __init__(self, site: Site, *, is_real_time: bool) -> None:
        super().__init__(daemon=True)
        self._is_real_time = is_real_time
        self._socket = SipSocket((INITECH_HOST, site.initech_port), (PROXY_HOST, site.customers_port))
        self._is_over = threading.Event()
        self.waits: list[Wait] = []

    def run(self) -> None:
        if self._is_real_time:
            os.sched_setscheduler(0, *_BEFORE_ALL_ELSE)
        asked: dict[bytes, float] = {}
        next_at = time.monotonic()
        while not self._is_over.is_set() or asked:
            now = time.monotonic()
            if now >= next_at and not self._is_over.is_set():
                request = options(self._socket.local, self._socket.proxy)
                asked[_call_id(request)] = time.monotonic()
                self._socket.send(request)
                next_at = max(next_at + _PROBE_EVERY_S, now)
            answer = self._socket.receive(max(next_at - time.monotonic(), 0.0))
            if answer is not None and (sent_at := asked.pop(_call_id(answer), None)) is not None:
                self.waits.append(Wait(sent_at, time.monotonic() - sent_at))
            for one in [one for one, sent_at in asked.items() if now - sent_at > 2.0]:
                self.waits.append(Wait(asked.pop(one), float("inf")))

    def stop(self) -> None:
        self._is_over.set()
        self.join()
        self._socket.__exit__()


def _call_id(message: bytes) -> bytes:
    return message.split(b"Call-ID: ", 1)[1].split(b"\r\n", 1)[0]


def reload(
    size: scale.Size, figures: dict[str, object], rate: int = RATE, *, workers: int = 1, is_real_time: bool = False
) -> None:
    """Measure, and print the table. Ends the program when a call failed or a verdict changed elsewhere."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        site = Site()
        config = _config(directory, site, size) | {"workers": workers}
        scale.write_prefixes(directory / "asn.tsv", size.prefixes)
        watch = directory / "gaps"
        proxy = ProxyProcess(directory, site, config)
        proxy.command = [sys.executable, "-m", "tests.bench.watched", str(watch)]
        with proxy:  # without numbers: it is up at once
            csv = directory / "owned.csv"
            scale.write_numbers(csv, size)
            _run(proxy, "import", csv)
            proxy.reload_file(timeout_s=_PATIENCE_S)
            _run(proxy, "add", NEW_NUMBER, "--customer", "acme")
            with watched_cores(directory, os.sched_getaffinity(0) if is_real_time else ()) as stillness:
                spans = _under_load(proxy, directory, size, rate, is_real_time=is_real_time)
            proxy.flushed()
            for number in range(workers):
                _check(*_journal(read_evidence(directory / "data", number)))
            gaps = {number: _blamed(read_gaps(path), stillness) for number, path in _watched(watch, workers)}
    table = Table(title=f"Reload of {size.numbers:,} numbers and {size.prefixes:,} prefixes at {rate} calls/s")
    for column in ("", "took, s", "OPTIONS", "median, ms", "p99, ms", "longest, ms"):
        table.add_column(column, justify="right")
    for what, span in spans.items():
        took_s = span.end - span.begin
        ms = sorted(wait.took_s * 1000 for wait in span.waits)
        percentile = ms[int(0.99 * len(ms))]
        table.add_row(
            what, *(f"{value:,.2f}" for value in (took_s, len(ms), statistics.median(ms), percentile, ms[-1]))
        )
        figures[f"reload, {what}"] = {
            "took_s": took_s,
            "p50_ms": statistics.median(ms),
            "p99_ms": percentile,
            "max_ms": ms[-1],
        }
    console.print(table)
    _tell_gaps(spans, gaps, figures)


def _watched(path: Path, workers: int) -> list[tuple[int, Path]]:
    return [(number, path.with_name(f"{path.name}.{number}") if number else path) for number in range(workers)]


def _blamed(gaps: list[Gap], stillness: Stillness) -> list[Gap]:
    """With what of each the machine is to blame for."""
    return [
        gap._replace(still_ms=1000 * stood_still_s(stillness, gap.cores, gap.at - gap.wall_ms / 1000, gap.at))
        for gap in gaps
    ]


def _tell_gaps(spans: dict[str, Span], gaps: dict[int, list[Gap]], figures: dict[str, object]) -> None:
    """How long each worker's loop stood still, and why: see watched.py."""
    table = Table(title="The longest between two turns of a loop, ms")
    for column in (
        *("", "worker", "as the clock says", "own CPU time", "waited for the machine", "which stood still"),
        "without the machine",
    ):
        table.add_column(column, justify="right")
    for what, span in spans.items():
        for number, all_gaps in gaps.items():
            found = [gap for gap in all_gaps if span.begin <= gap.at < span.end]
            rows = [(gap.wall_ms, gap.cpu_ms, gap.queued_ms, gap.still_ms, gap.own_ms) for gap in found]
            rows = rows or [(0.0,) * 5]
            columns = [max(column) for column in zip(*rows, strict=True)]
            table.add_row(what, str(number), *(f"{value:.2f}" for value in columns))
            figures[f"reload, {what}, gaps of worker {number}"] = dict(
                zip(("wall_ms", "cpu_ms", "queued_ms", "still_ms", "own_ms"), columns, strict=True)
            )
    console.print(table)
    for what, span in spans.items():
        for number, all_gaps in gaps.items():
            for gap in sorted(all_gaps, key=lambda gap: -gap.own_ms):
                if span.begin <= gap.at < span.end and gap.own_ms > _LONG_MS:
                    console.print(
                        f"{what}, worker {number}: {gap.own_ms:.1f} ms, {gap.cpu_ms:.1f} at work; {gap.steps}"
                    )


def _config(directory: Path, site: Site, size: scale.Size) -> dict[str, Any]:
    ours, theirs = site.config(directory), scale.config_of(directory, size)
    ours["customers"][0]["numbers"] = [ACME_NUMBER]  # its neighbours are in the file
    for place, customer in enumerate(theirs["customers"]):
        customer["targets"] = [f"sip:{IPv4Address(_FIRST_TARGET + place)}:5060"]
    return ours | {"customers": ours["customers"] + theirs["customers"], "asn": theirs["asn"]}


def _run(proxy: ProxyProcess, *arguments: str | Path) -> None:
    done = run_command("numbers", *arguments, "--config", proxy.config_path, timeout_s=_PATIENCE_S)
    if done.returncode:
        raise SystemExit(f"numbers {arguments[0]} failed: {done.stderr}")


def _under_load(
    proxy: ProxyProcess, directory: Path, size: scale.Size, rate: int, *, is_real_time: bool
) -> dict[str, Span]:
    site = proxy.site
    spans: dict[str, tuple[float, float]] = {}
    with (
        Sipp(directory, "uas", local=(CARRIER_HOST, site.carrier_port), calls=_CALLS, timeout_s=3600) as uas,
        _caller(directory, site, "uac", site.acme_port, rate - rate // _NEWCOMERS) as owner,
        _caller(
            directory, site, "uac_either", site.globex_port, rate // _NEWCOMERS, f"<sip:{NEW_NUMBER}@a.example>"
        ) as new,
    ):
        if is_real_time:
            pids = [proxy.pid] if proxy.workers == 1 else [proxy.worker_pid(one) for one in range(proxy.workers)]
            RealTime([*pids, uas.pid, owner.pid, new.pid]).start()
        time.sleep(2.0)
        probe = Probe(site, is_real_time=is_real_time)
        probe.start()
        with _span(spans, "quiet"):
            time.sleep(_QUIET_S)
        with _span(spans, "numbers"):
            _reload(proxy)
        scale.write_prefixes(directory / "asn.tsv", size.prefixes, shift=1)
        with _span(spans, "prefixes"):
            _reload(proxy)
        time.sleep(2.0)
        probe.stop()
        lost = _lost_by_sipp(site)
        for caller in (owner, new):
            result = caller.finish(_LAST_CALLS_S)
            if (result.exit_code, result.failed) != (0, 0) or result.successful != result.created:
                count = result.created - result.successful
                text = f"{count} of {result.created} calls failed or did not end; {caller.errors()[-2000:]}"
                raise SystemExit(f"{text}\n{lost} datagrams did not fit SIPp's own sockets: the machine is too busy")
        uas.quit_now()
    console.print(f"{owner.finish().created + new.finish().created:,} calls, none failed.")
    return {
        what: Span(begin, end, [wait for wait in probe.waits if begin <= wait.at < end])
        for what, (begin, end) in spans.items()
    }


def _lost_by_sipp(site: Site) -> int:
    """Datagrams that the kernel had no room for in SIPp's sockets: it was not at work, since the machine is busy."""
    ports = {site.carrier_port, site.acme_port, site.globex_port}
    sockets = [line.split() for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(int(columns[-1]) for columns in sockets if int(columns[1].rpartition(":")[2], 16) in ports)


def _reload(proxy: ProxyProcess) -> None:
    """By the log, not by scrapes, which would cost the proxy more than the reload does."""
    told = _TOLD if proxy.workers == 1 else _TOLD_OF_ALL
    before = proxy.log_text().count(told)
    os.kill(proxy.pid, signal.SIGHUP)
    deadline = time.monotonic() + _PATIENCE_S
    while proxy.log_text().count(told) == before:
        if time.monotonic() > deadline or not proxy.is_running:
            raise SystemExit(f"no reload: {proxy.log_text()[-2000:]}")
        time.sleep(0.1)


def repeat(size: scale.Size, times: int, figures: dict[str, object]) -> None:
    """What so many reloads leave behind: the memory of the process after a tenth of them, and after all."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        site = Site()
        config = _config(directory, site, size)
        scale.write_prefixes(directory / "asn.tsv", size.prefixes)
        with ProxyProcess(directory, site, config) as proxy:
            rss_mb: list[float] = []
            for _ in range(times):
                _reload(proxy)
                rss_mb.append(proxy.rss_bytes() / 1e6)
    early, late = rss_mb[times // 10], rss_mb[-1]
    figures[f"reloads, {times} of {size.customers} customers"] = rss_mb
    console.print(
        f"{times} reloads of {size.customers:,} customers: {early:.1f} MB after a tenth, {late:.1f} MB after all"
    )


class RealTime(threading.Thread):
    """Runs all threads of these processes before everything else on the machine, which is then not what is measured
    (root only). Processes that they start do not have it."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self._tasks = [Path(f"/proc/{pid}/task") for pid in pids]

    def run(self) -> None:
        known: set[int] = set()
        while all(tasks.exists() for tasks in self._tasks):
            for task in {int(path.name) for tasks in self._tasks for path in tasks.iterdir()} - known:
                with suppress(ProcessLookupError):
                    os.sched_setscheduler(task, *_BEFORE_ALL_ELSE)
                known.add(task)
            time.sleep(0.02)


def _caller(directory: Path, site: Site, scenario: str, port: int, rate: int, caller: str = "") -> Sipp:
    return Sipp(
        directory,
        scenario,
        local=(ACME_HOST, port),
        remote=(PROXY_HOST, site.customers_port),
        calls=_CALLS,
        rate=rate,
        hold_ms=_HOLD_MS,
        keys={"from": caller} if caller else None,
        timeout_s=3600,
    )


@contextmanager
def _span(spans: dict[str, tuple[float, float]], what: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    spans[what] = (begin, time.monotonic())


def _journal(evidence: list[dict[str, Any]]) -> tuple[list[str], set[tuple[str, str, int]]]:
    """The versions that decided, in the order of the decisions; what the newcomer was told by which, and its AS."""
    lines = [line for line in evidence if line["kind"] == "attempt"]
    versions = [version for version, _ in groupby(line["snapshot"] for line in lines)]
    new = {(line["snapshot"], line["reason"], line["asn"]) for line in lines if line.get("from_number") == NEW_NUMBER}
    return versions, new


def _check(versions: list[str], verdicts: set[tuple[str, str, int]]) -> None:
    """Two swaps, never back; one verdict and one AS by each version."""
    told = sorted((versions.index(version), reason) for version, reason, _ in verdicts)
    if len(versions) != 3 or told != [(0, "from_not_owned"), (1, "identity_owned"), (2, "identity_owned")]:
        raise SystemExit(f"the verdict did not change with the data: {versions}, {verdicts}")
    asns = {versions.index(version): asn for version, _, asn in verdicts}
    if not asns[0] == asns[1] != asns[2]:
        raise SystemExit(f"the AS did not change with the table: {asns}")
    console.print(f"The verdict changed at the first swap and the AS, from {asns[1]} to {asns[2]}, at the second.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reload", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the numbers")
    parser.add_argument("--rate", type=int, default=RATE, help="calls a second")
    parser.add_argument("--repeat", type=int, default=0, help="reload so often, without calls, and look at the memory")
    parser.add_argument("--customers", type=int, help="how many there are")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--real-time", action="store_true", help="it runs before all else on a busy machine (root)")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    chosen = parser.parse_args()
    figures: dict[str, object] = {}
    size = SMALL if chosen.quick else scale.LARGE
    size = size._replace(customers=size.customers if chosen.customers is None else chosen.customers)
    if chosen.repeat:
        repeat(size, chosen.repeat, figures)
    else:
        reload(size, figures, chosen.rate, workers=chosen.workers, is_real_time=chosen.real_time)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
