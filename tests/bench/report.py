"""Tables that say what they show and in what unit, and the figures behind them for the JSON file."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from edge_proxy import ENGINE, __version__

console: Final = Console(width=None if sys.stdout.isatty() else 132)
ROOT: Final = Path(__file__).resolve().parents[2]


class Target(NamedTuple):
    """What a figure should be, and is."""

    what: str
    figure: float
    limit: float
    is_least: bool

    @property
    def is_met(self) -> bool:
        return self.figure >= self.limit if self.is_least else self.figure <= self.limit


class Figures(dict[str, object]):
    """Everything measured, and how it compares with what was aimed at."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[Target] = []

    def at_most(self, limit: float, what: str, figures: Sequence[float]) -> None:
        """The median of these should not be more."""
        if figures:
            self.targets.append(Target(what, statistics.median(figures), limit, is_least=False))

    def at_least(self, limit: float, what: str, figures: Sequence[float]) -> None:
        """The median of these should not be less."""
        if figures:
            self.targets.append(Target(what, statistics.median(figures), limit, is_least=True))

    def show_targets(self) -> None:
        """The table of all that were measured."""
        if self.targets:
            self["targets"] = [{**one._asdict(), "is_met": one.is_met} for one in self.targets]
            rows = [
                (
                    one.what,
                    f"{'>=' if one.is_least else '<='} {one.limit:,g}",
                    f"{one.figure:,.3g}" if abs(one.figure) < 1000 else f"{one.figure:,.0f}",
                    "yes" if one.is_met else "no",
                )
                for one in self.targets
            ]
            show("Targets: medians of this run", ("what", "target", "measured", "met"), rows)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median (lowest to highest)."""
    if not values:
        return "-"
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; the first column is words, the others are figures."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def say(text: str) -> None:
    console.print(text, highlight=False)


def machine() -> dict[str, str]:
    """What the figures were measured on and with."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "processor": cpu[1] if cpu else platform.machine(),
        "processors": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 1e6:.0f} GB" if memory else "?",
        "kernel": platform.release(),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "edge_proxy": f"{__version__} {ENGINE.engine}",
        "commit": _line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "kamailio": _line(["kamailio", "-v"]),
        "sipp": _line(["sipp", "-v"]),
        "gcc": _line(["gcc", "--version"]),
    }


def _line(command: list[str]) -> str:
    """The first line that says something."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return "missing"
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "?")
