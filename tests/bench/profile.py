"""Where a call's cost goes: instructions by stage and by function, and processor time by thread, of the live proxy.

`python -m tests.bench.profile` runs the real proxy under callgrind with SIPp on both sides, slowly, as long as it takes
until old transactions end at the rate at which new ones begin; then it counts. Instructions are those outside the
kernel, and repeat within 1 %. What the kernel takes is told by a second run without callgrind at `--rate`: user and
system time of each thread, and how often it slept. `--engine`, `--functions`, `--keep DIRECTORY` (callgrind's own
files, for callgrind_annotate), `--quick` (no warm-up: the end of transactions is left out), `--only counts|threads`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from edge_proxy import ENGINE
from edge_proxy.engine import PURE
from tests.bench import stages
from tests.bench.callgrind_file import Counted
from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, ACME_NUMBER, CARRIER_HOST, PROXY_HOST, ProxyProcess
from tests.kit.sipp import SCENARIOS, Sipp

console = Console(width=None if sys.stdout.isatty() else 132)

_TRANSACTION_S: Final = 34
"""How long the longest transaction of an answered call is kept (RFC 6026, timer L)."""
_COUNTED_CALLS_PER_S: Final = 5
_COUNTED_S: Final = 20
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CLONE: Final = re.compile(r"\.(constprop|isra|part|cold|lto_priv)\b.*")
_KEYS: Final = {
    "from": f"<sip:{ACME_NUMBER}@acme.example>",
    "headers": f"P-Asserted-Identity: <sip:{ACME_NUMBER}@acme.example>",
}


class ThreadTime(NamedTuple):
    """What one thread has used so far."""

    name: str
    user_s: float
    system_s: float
    sleeps: int


class LiveCalls:
    """SIPp on both sides of a proxy, at a steady rate, until the `with` block ends or all calls are made."""

    def __init__(self, directory: Path, proxy: ProxyProcess, rate: float, calls: int) -> None:
        site, caller_port = proxy.site, free_port()
        timeout_s = int(calls / rate) + 60
        patient = directory / "uac-patient.xml"  # slow is not lost: under callgrind nothing is sent again
        patient.write_text((SCENARIOS / "uac.xml").read_text().replace('retrans="100"', 'retrans="2000"'))
        self._callee = Sipp(directory, "uas", local=(CARRIER_HOST, site.carrier_port), calls=calls, timeout_s=timeout_s)
        self._caller = Sipp(
            directory,
            patient,
            local=(ACME_HOST, caller_port),
            remote=(PROXY_HOST, site.customers_port),
            calls=calls,
            rate=rate,
            hold_ms=200,
            keys=_KEYS,
            timeout_s=timeout_s,
        )

    def __enter__(self) -> LiveCalls:
        return self

    def __exit__(self, *_: object) -> None:
        with self._callee, self._caller:
            pass

    def wait(self) -> int:
        """Calls that went as they should, when all are over."""
        done = self._caller.wait().successful
        self._callee.wait()
        return done


def counts(engine: str, keep: Path | None, *, is_warm: bool) -> tuple[Counted, Counted]:
    """Instructions of the thread that carries calls, and of all others together."""
    warm_s = _TRANSACTION_S if is_warm else 2
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        out = directory if keep is None else keep
        out.mkdir(parents=True, exist_ok=True)
        library = stages.build(directory)
        proxy = ProxyProcess(directory, engine=engine)
        proxy.command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes",
            f"--callgrind-out-file={out}/callgrind.{engine}", f"--log-file={directory}/valgrind.log",
            sys.executable, "-m", "tests.bench.stages", str(library),
        ]  # fmt: skip
        proxy.ready_timeout_s = 180.0
        seconds = warm_s + _COUNTED_S + 4
        with proxy, LiveCalls(directory, proxy, _COUNTED_CALLS_PER_S, _COUNTED_CALLS_PER_S * seconds) as load:
            time.sleep(warm_s)
            _switch(proxy.pid, "on")
            time.sleep(_COUNTED_S)
            _switch(proxy.pid, "off")
            load.wait()
            proxy.stop()
            for line in proxy.log_text().splitlines():
                if line.startswith("profile: "):
                    console.print(line)
        main, others = Counted(), Counted()
        for path in sorted(out.glob(f"callgrind.{engine}-*")):
            (main if path.name.endswith("-01") else others).read(path)
        return main, others


def _switch(pid: int, word: str) -> None:
    subprocess.run(["callgrind_control", "-i", word, str(pid)], check=True, capture_output=True)


def print_counts(engine: str, main: Counted, others: Counted, functions: int) -> None:
    """Two tables: the stages, then the functions that are dearest by themselves."""
    named: dict[str, set[str]] = {}
    for function in {callee for _, callee in main.edges} | {callee for _, callee in others.edges}:
        named.setdefault(_CLONE.sub("", function), set()).add(function)
    calls = main.inclusive(_symbols(named, (stages.ATTEMPT,)))[0]
    if not calls:
        raise SystemExit(f"no call was counted: {stages.ATTEMPT} was never entered")
    table = Table(title=f"Instructions of a call, edge_proxy {engine}: inclusive, outside the kernel ({calls} calls)")
    for column in ("stage", "entered per call", "thousand instructions per call", "of the main thread, %"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in stages.STAGES:
        symbols = _symbols(named, stage.entries)
        entered, cost = main.inclusive(symbols)
        if not entered:
            in_others, cost_of_others = others.inclusive(symbols)
            share = f"(other thread) {cost_of_others / main.total:.1%}" if in_others else "-"
            entered, cost = in_others, cost_of_others
        else:
            share = f"{cost / main.total:.1%}"
        table.add_row(stage.name, f"{entered / calls:.1f}", f"{cost / calls / 1000:.1f}", share)
    table.add_row("main thread, all", "", f"{main.total / calls / 1000:.1f}", "100.0%")
    share = f"{others.total / main.total:.1%}"
    table.add_row("other threads, all", "", f"{others.total / calls / 1000:.1f}", share)
    console.print(table)
    callers: dict[str, list[tuple[int, str]]] = {}
    for (caller, callee), (_, cost) in main.edges.items():
        callers.setdefault(callee, []).append((cost, caller))
    inclusive = {function: sum(cost for cost, _ in from_) for function, from_ in callers.items()}
    compiled = {function: cost for function, cost in inclusive.items() if function.startswith("CPyDef_")}
    for title, costs in (("their own", main.own), ("inclusive", compiled)):
        if not costs:
            continue
        whose = "compiled functions" if costs is compiled else "functions"
        table = Table(title=f"Dearest {whose} by {title} instructions, edge_proxy {engine}, main thread")
        for column in ("function", "thousand instructions per call", "%", "called most by"):
            table.add_column(column, justify="left" if column in {"function", "called most by"} else "right")
        for function, cost in sorted(costs.items(), key=lambda item: -item[1])[:functions]:
            by = ", ".join(caller for _, caller in sorted(callers.get(function, ()), reverse=True)[:2])
            table.add_row(function, f"{cost / calls / 1000:.1f}", f"{cost / main.total:.1%}", by)
        console.print(table)


def _symbols(named: dict[str, set[str]], entries: tuple[str, ...]) -> set[str]:
    """The functions, as callgrind calls them, that are these entries on either engine."""
    found: set[str] = set()
    for entry in entries:
        found |= named.get(stages.symbol(entry), set())
        ending = stages.compiled_symbol(entry)
        for name, clones in named.items():
            if name.startswith("CPyDef_") and name[7:].endswith(ending):
                found |= clones
    return found


def thread_times(pid: int) -> dict[int, ThreadTime]:
    """Every thread of a process."""
    found: dict[int, ThreadTime] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            head, _, rest = (task / "stat").read_text().rpartition(")")
            fields = rest.split()
            switches = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE)
            found[int(task.name)] = ThreadTime(
                head.partition("(")[2],
                int(fields[11]) / _TICKS,
                int(fields[12]) / _TICKS,
                int(switches[1]) if switches else 0,
            )
    return found


def print_threads(engine: str, rate: int, seconds: int) -> None:
    """One table: microseconds of each thread for a call, in and outside the kernel."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with ProxyProcess(directory, engine=engine) as proxy:
            with LiveCalls(directory, proxy, rate, rate) as load:
                load.wait()
            before = thread_times(proxy.pid)
            with LiveCalls(directory, proxy, rate, rate * seconds) as load:
                calls = max(load.wait(), 1)
            after = thread_times(proxy.pid)
    table = Table(title=f"Processor time of a call by thread, edge_proxy {engine} at {rate} calls/s, microseconds")
    for column in ("thread", "user", "system", "both", "sleeps per call"):
        table.add_column(column, justify="left" if column == "thread" else "right")
    none = ThreadTime("", 0.0, 0.0, 0)
    for number, end in sorted(after.items()):
        start = before.get(number, none)
        user, system = (end.user_s - start.user_s) / calls * 1e6, (end.system_s - start.system_s) / calls * 1e6
        who = "main: calls" if number == min(after) else end.name
        table.add_row(
            who, f"{user:.0f}", f"{system:.0f}", f"{user + system:.0f}", f"{(end.sleeps - start.sleeps) / calls:.2f}"
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("--engine", choices=(ENGINE.engine, PURE), help="only this one; else both that there are")
    parser.add_argument("--functions", type=int, default=25, help="how many functions to list")
    parser.add_argument("--keep", type=Path, help="leave callgrind's files in this directory")
    parser.add_argument("--quick", action="store_true", help="no warm-up")
    parser.add_argument("--only", choices=("counts", "threads"), help="one half of it")
    parser.add_argument("--rate", type=int, default=1000, help="calls a second of the thread times")
    chosen = parser.parse_args()
    engines = [chosen.engine] if chosen.engine else list(dict.fromkeys((ENGINE.engine, PURE)))
    for engine in engines:
        if chosen.only != "threads":
            print_counts(engine, *counts(engine, chosen.keep, is_warm=not chosen.quick), chosen.functions)
        if chosen.only != "counts":
            print_threads(engine, chosen.rate, 4 if chosen.quick else 10)


if __name__ == "__main__":
    main()
