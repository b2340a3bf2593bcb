"""Run the benchmark and print its tables; `--json FILE` keeps the figures. Not a test: nothing here passes or fails."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.candidates import PROXY_HOST, Candidate, EdgeProxy, Load, candidates, cpu_s, rss_bytes
from tests.bench.scale import LARGE, Size, scale
from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, ACME_NUMBER, CARRIER_HOST, Site
from tests.kit.sipp import Sipp

console = Console()


def measure(candidate: Candidate, load: Load, rate: int, calls: int, directory: Path) -> tuple[float, int]:
    """CPU microseconds per completed call, and how many messages SIPp had to send again."""
    keys = {
        "from": f"<sip:{ACME_NUMBER}@acme.example>",
        "headers": f"P-Asserted-Identity: <sip:{ACME_NUMBER}@acme.example>",
    }
    with Sipp(directory, "uas", local=(CARRIER_HOST, load.carrier_port), calls=calls) as callee:
        before = cpu_s(candidate)
        with Sipp(
            directory,
            "uac",
            local=(ACME_HOST, load.caller_port),
            remote=(PROXY_HOST, candidate.entry_port),
            calls=calls,
            rate=rate,
            hold_ms=200,
            keys=keys,
        ) as caller:
            result = caller.wait()
        used = cpu_s(candidate) - before
        callee.wait()
    resent = sum(step.retransmitted for step in result.steps if step.is_sent)
    return used / max(result.successful, 1) * 1e6, resent


def compare(rates: list[int], seconds: int, rounds: int, figures: dict[str, object]) -> None:
    """Interleaved rounds: every candidate at every rate, again and again; medians and spreads."""
    cost: dict[tuple[str, int], list[float]] = defaultdict(list)
    resent: dict[tuple[str, int], int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        load = Load(Site(), free_port())
        field = candidates(directory, load, (free_port(), free_port()))
        try:
            for candidate in field:
                candidate.start()
            for _ in range(rounds):
                for rate in rates:
                    for candidate in field:
                        used, again = measure(candidate, load, rate, rate * seconds, directory)
                        cost[candidate.name, rate].append(used)
                        resent[candidate.name, rate] += again
        finally:
            for candidate in field:
                candidate.stop()
    table = Table(title="CPU time per completed call, microseconds: median (lowest to highest)")
    table.add_column("candidate")
    for rate in rates:
        table.add_column(f"{rate} calls/s", justify="right")
    for candidate in field:
        cells = []
        for rate in rates:
            values = cost[candidate.name, rate]
            repeated = resent[candidate.name, rate]
            noted = f", {repeated} resent" if repeated else ""
            cells.append(f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f}{noted})")
        table.add_row(candidate.name, *cells)
    console.print(table)
    figures["cpu_us_per_call"] = {f"{name} at {rate}/s": values for (name, rate), values in cost.items()}


def idle_calls(calls: int, rate: int, figures: dict[str, object]) -> None:
    """What a call that is up and silent costs in memory, and whether it all comes back when they end.

    It is done twice. The first start is after 2000 short calls; the second is what the first burst left, so that what
    grows again and again is told from what grew once.
    """
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        load = Load(Site(), free_port())
        proxy = EdgeProxy(directory, load)
        proxy.start()
        try:
            measure(proxy, load, 500, 2000, directory)  # what only ever grows once has grown
            settle(proxy)
            for _ in range(2):
                at_rest = rss_bytes(proxy)
                with_calls = hold_calls(proxy, load, calls, rate, directory)
                settle(proxy)
                rounds.append({"at_rest": at_rest, "with_calls": with_calls, "after": rss_bytes(proxy)})
        finally:
            proxy.stop()
    table = Table(title=f"{calls} established, silent calls")
    for column in ("burst", "at rest, MB", "with the calls, MB", "bytes per call", "after, MB", "after / at rest"):
        table.add_column(column, justify="right")
    for number, one in enumerate(rounds, 1):
        per_call = (one["with_calls"] - one["at_rest"]) / calls if one["with_calls"] else float("nan")
        table.add_row(
            str(number),
            f"{one['at_rest'] / 1e6:.1f}",
            f"{one['with_calls'] / 1e6:.1f}",
            f"{per_call:.0f}",
            f"{one['after'] / 1e6:.1f}",
            f"{one['after'] / one['at_rest']:.3f}",
        )
    console.print(table)
    figures["idle_calls"] = {"calls": calls, "rounds": rounds}


def hold_calls(proxy: EdgeProxy, load: Load, calls: int, rate: int, directory: Path) -> int:
    """Set up these calls, let them be silent, end them; what the proxy held while there was nothing else."""
    hold_ms = int(calls / rate * 1000) + 45_000  # past timer L and M, so that only the calls are left
    keys = {
        "from": f"<sip:{ACME_NUMBER}@acme.example>",
        "headers": f"P-Asserted-Identity: <sip:{ACME_NUMBER}@acme.example>",
    }
    local, remote = (ACME_HOST, load.caller_port), (PROXY_HOST, proxy.entry_port)
    with (
        Sipp(directory, "uas", local=(CARRIER_HOST, load.carrier_port), calls=calls, timeout_s=300) as callee,
        Sipp(
            directory,
            "uac",
            local=local,
            remote=remote,
            calls=calls,
            rate=rate,
            hold_ms=hold_ms,
            keys=keys,
            timeout_s=300,
        ) as caller,
    ):
        with_calls = 0
        deadline = time.monotonic() + hold_ms / 1000
        while time.monotonic() < deadline:
            time.sleep(1.0)
            seen = proxy.proxy.scrape()
            if seen.total("calls_active") == calls and seen.total("transactions_active") == 0:
                with_calls = rss_bytes(proxy)
                break
        caller.wait()
        callee.wait()
    return with_calls


def settle(proxy: EdgeProxy) -> None:
    """Wait until every transaction's last timer is over, and the proxy has had the time to see that it is idle."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and proxy.proxy.scrape().total("transactions_active"):
        time.sleep(1.0)
    time.sleep(6.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round at one rate, fewer idle calls")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    chosen = parser.parse_args()
    figures: dict[str, object] = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    if chosen.quick:
        compare([500], 4, 1, figures)
        idle_calls(1000, 500, figures)
        scale(Size("larger", 100_000, 10_000, 100), figures)
    else:
        compare([300, 1000], 10, 3, figures)
        idle_calls(10_000, 400, figures)
        scale(LARGE, figures)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
        console.print(f"figures in {chosen.json}")


if __name__ == "__main__":
    main()
