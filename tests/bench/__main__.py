"""The benchmark: every candidate in one run, interleaved rounds, medians with their spread, tables and a JSON file.

The candidates are a forwarder that looks at nothing (the floor), Kamailio from Debian with its fast allocator and the
same checks on the same data, and edge_proxy on both engines. `--only` names sections:

  cost     processor time per call at 300, 1000 and 2000 calls/s
  rate     the highest rate with under 0.1 % of messages sent again
  delay    what is added to INVITE and to its 200 (root: it captures packets)
  memory   at rest, and per live call
  workers  two workers beside one
  growth   the cost with more numbers, prefixes, customers and live calls
  disturb  the delay while other things go on: reloads, scrapes, a disk that stalls (root: it mounts a disk of its own)
  scale    import, compile, look-up and decision by size (scale.py)
  reload   what a customer sees while ten million numbers, then prefixes, are swapped under calls (reload.py); only when
           it is named, since it takes its time

The last table has the targets. What misses one fails nothing: this is no test. Run it on a machine that does nothing
else, and see tests.bench.profile for where a call's cost goes.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench import cost, delay, report
from tests.bench.candidates import EdgeProxy, Kamailio, Load, field_of, running
from tests.bench.capture import obstacle
from tests.bench.load import measure
from tests.bench.network import MOST_CALLERS, Network, Size
from tests.bench.reload import SMALL, reload
from tests.bench.report import Figures, say
from tests.bench.scale import LARGE, scale
from tests.bench.scale import Size as ScaleSize

SECTIONS: Final = ("cost", "rate", "delay", "memory", "workers", "growth", "disturb", "scale", "reload")
_BESIDE: Final = frozenset({"cost", "rate", "delay", "memory"})
"""The sections that compare candidates with the same network."""


class Plan(NamedTuple):
    """How long and how large."""

    network: Size
    large: Size
    rates: tuple[int, ...]
    seconds: float
    rounds: int
    bisections: int
    delay_seconds: float
    disturbed_seconds: float
    live_calls: int
    live_rate: float
    disturbed_rate: float
    growth_rate: int
    settles: bool
    """Whether to wait until no transaction is left where only calls are to be."""


FULL: Final = Plan(
    network=Size("network", 1_000_000, 1_000_000, 1000),
    large=Size("large", 10_000_000, 1_000_000, 10_000, 20_000, owners=10),
    rates=(300, 1000, 2000),
    seconds=3.0,
    rounds=7,
    bisections=3,
    delay_seconds=5.0,
    disturbed_seconds=8.0,
    live_calls=10_000,
    live_rate=800,
    disturbed_rate=500,
    growth_rate=1000,
    settles=True,
)
QUICK: Final = Plan(
    network=Size("network", 20_000, 20_000, 100),
    large=Size("large", 50_000, 20_000, 1000, 250, owners=10),
    rates=(1000,),
    seconds=1.0,
    rounds=2,
    bisections=0,
    delay_seconds=2.0,
    disturbed_seconds=3.0,
    live_calls=250,
    live_rate=250,
    disturbed_rate=300,
    growth_rate=300,
    settles=False,
)


class Bench:
    """One run: where it keeps its files, and what it has found."""

    def __init__(self, directory: Path, plan: Plan, sections: frozenset[str]) -> None:
        self.figures = Figures()
        self.figures["machine"] = report.machine()
        self.figures["plan"] = plan._asdict()
        self._directory = directory
        self._plan = plan
        self._is_full = plan.large == FULL.large
        self._sections = sections

    def run(self) -> None:
        report.show("Machine and versions", ("what", ""), list(report.machine().items()))
        for sections, run in (
            (_BESIDE, self._side_by_side),
            ({"workers"}, self._workers),
            ({"growth", "disturb"}, self._sizes),
            ({"scale"}, self._scale),
            ({"reload"}, self._reload),
        ):
            if self._sections & sections:
                try:
                    run()
                except (OSError, AssertionError, subprocess.SubprocessError) as error:
                    say(f"broke off, and what of it was still to come is missing: {error!r}\n")
                    self.figures[f"broken off: {', '.join(sorted(self._sections & sections))}"] = repr(error)
        self.figures.show_targets()

    def _timed(self, section: str, run: Callable[[], None]) -> None:
        if section in self._sections:
            started = time.monotonic()
            run()
            say(f"({section}: {time.monotonic() - started:.0f} s)\n")

    def _load(self) -> Load:
        """The network that all candidates share, made once."""
        path = self._directory / "network"
        network = Network(path, self._plan.network, path / "data" if (path / "data").exists() else None)
        return Load(self._directory, network)

    def _side_by_side(self) -> None:
        plan, figures, load = self._plan, self.figures, self._load()
        field = field_of(load)
        size = plan.network
        say(f"All with {size.numbers:,} numbers, {size.prefixes:,} prefixes, {size.customers:,} customers.")
        with running(field):
            for candidate in field:
                if isinstance(candidate, Kamailio):
                    say(f"kamailio was ready after {candidate.ready_after_s:.0f} s")
                    figures["kamailio_ready_s"] = candidate.ready_after_s
            self._timed("memory", lambda: cost.memory_at_rest(field, figures))
            self._timed("cost", lambda: cost.cost(field, load, plan.rates, plan.seconds, plan.rounds, figures))
            self._timed(
                "rate", lambda: cost.highest_rates(field, load, plan.seconds, plan.bisections, figures, "highest_rate")
            )
            if obstacle():
                say(f"delay is not measured: {obstacle()}")
            else:
                rounds = max(plan.rounds // 2, 1)
                self._timed("delay", lambda: delay.delays(field, load, 1000, plan.delay_seconds, rounds, figures))
        if "memory" in self._sections and plan.settles:
            self._live_calls(load)

    def _live_calls(self, load: Load) -> None:
        """By a proxy that has done nothing else, so that what it holds is of these calls."""
        plan, ours = self._plan, EdgeProxy(load, name="live calls")
        with running([ours]):
            self._timed("memory", lambda: cost.live_calls(ours, load, plan.live_calls, plan.live_rate, self.figures))

    def _workers(self) -> None:
        plan, load = self._plan, self._load()
        one, two = (EdgeProxy(load, workers=count, name=name) for count, name in ((1, "1 worker"), (2, "2 workers")))
        with running([one, two]):

            def run() -> None:
                cost.workers(one, two, load, plan.rates[-2:], plan.seconds, plan.rounds, self.figures)
                cost.highest_rates(
                    [one, two], load, plan.seconds, plan.bisections, self.figures, "highest_rate_of_workers"
                )

            self._timed("workers", run)

    def _sizes(self) -> None:
        """The smallest network, one that is larger in one respect each, and one that is larger in all."""
        large, directory = self._plan.large, self._directory
        tiny = Size("smallest", 10, 10, 10, 100, owners=10)
        small = Network(directory / "smallest", tiny)
        prefixes = Network(directory / "prefixes", tiny._replace(prefixes=large.prefixes), small.data)
        customers = Network(directory / "customers", tiny._replace(customers=large.customers), small.data)
        say(f"Importing {large.numbers:,} numbers.")
        numbers = Network(directory / "numbers", tiny._replace(numbers=large.numbers))
        everything = Network(directory / "all", large, numbers.data)
        load = Load(directory, small)
        if "growth" in self._sections:
            self._timed("growth", lambda: self._growth(load, [small, numbers, prefixes, customers, everything]))
        if "disturb" in self._sections:
            if obstacle():
                say(f"delay is not measured: {obstacle()}")
            else:
                self._timed("disturb", lambda: self._disturb(replace(load, network=everything)))

    def _growth(self, load: Load, networks: list[Network]) -> None:
        plan = self._plan
        small, numbers, prefixes, customers, everything = networks
        few, many = small.size.live_calls, plan.large.live_calls
        variants = [
            (f"smallest: 10 of each, {few} live calls", small, few),
            (f"{plan.large.numbers:,} numbers", numbers, few),
            (f"{plan.large.prefixes:,} prefixes", prefixes, few),
            (f"{plan.large.customers:,} customers", customers, few),
            (f"{many:,} live calls", small, many),
            ("all of these", everything, many),
            (f"all of these, {MOST_CALLERS:,} callers", everything, many),
        ]
        # The same few callers everywhere but in the last: what many of them cost is no matter of size.
        loads = [replace(load, network=network, callers=small.callers) for _, network, _ in variants]
        loads[-1].callers = None
        proxies = [
            EdgeProxy(its_load, name=name, place=f"growth-{place}")
            for place, (its_load, (name, _, _)) in enumerate(zip(loads, variants, strict=True))
        ]
        with running(list(proxies)):
            for proxy, its_load, (_, _, calls) in zip(proxies, loads, variants, strict=True):
                cost.bring_up(proxy, its_load, calls, plan.live_rate)
            if plan.settles:
                cost.settle(proxies[-1])
            cost.growth(proxies, loads, plan.growth_rate, plan.seconds, plan.rounds, self.figures)

    def _disturb(self, load: Load) -> None:
        plan = self._plan
        with delay.disk_of_its_own(load.directory) as disk:
            proxy = EdgeProxy(load, name="disturbed", data_dir=None if disk is None else disk / "data")
            with running([proxy]):
                measure(proxy, load, plan.disturbed_rate, plan.seconds)
                rounds = max(plan.rounds // 2, 1)
                delay.disturbed(
                    proxy, load.network, disk, load, plan.disturbed_rate, plan.disturbed_seconds, rounds, self.figures
                )

    def _scale(self) -> None:
        size = LARGE if self._is_full else ScaleSize("larger", 100_000, 10_000, 100)
        self._timed("scale", lambda: scale(size, self.figures))

    def _reload(self) -> None:
        size = LARGE if self._is_full else SMALL
        self._timed("reload", lambda: reload(size, self.figures))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="small networks and short rounds, no memory per call: under three minutes"
    )
    parser.add_argument("--only", default=",".join(SECTIONS[:-1]), help="these sections, with commas between them")
    parser.add_argument("--rounds", type=int, help="more rounds, or fewer")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where every figure goes")
    chosen = parser.parse_args()
    sections = frozenset(chosen.only.split(","))
    if not sections <= set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(sections - set(SECTIONS)))}")
    plan = QUICK if chosen.quick else FULL
    if chosen.rounds:
        plan = plan._replace(rounds=chosen.rounds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing may stay mounted, frozen or running
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edge-proxy-bench-") as name:
        bench = Bench(Path(name), plan, sections)
        try:
            bench.run()
        finally:
            chosen.json.write_text(json.dumps(bench.figures, indent=2, default=str) + "\n", encoding="utf-8")
            say(f"figures in {chosen.json}; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
