"""What size costs: import, compile, look-up and decision with ten numbers, prefixes and customers, and with millions.

The numbers come in by the operator's own way (`edge-proxy numbers import`), the table of ASes from a file, the
decision is the function that judges live calls. All sizes are measured in turns. Of ten callers the large network
stands beside the small one; of 2,000, beside one that is small but has so many: what is read of a caller is not at hand
when there are many, be the network small or large.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from rich.console import Console
from rich.table import Table

from edge_proxy.addr import E164, Address, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import load_settings
from edge_proxy.pipeline.judgement import judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.parties import Source
from edge_proxy.policy.verdict import Outcome
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import Uri, parse_uri
from tests.kit.proxy_process import run_command
from tests.kit.sip_socket import invite

console = Console()

_FIRST_NUMBER: Final = 12_010_000_000
_FIRST_SOURCE: Final = int(IPv4Address("10.0.0.0"))
_TURNS: Final = 9
_DECISIONS_A_TURN: Final = 2000
_CALLERS: Final = (10, _DECISIONS_A_TURN)
"""Of ten callers, all that is read of them is at hand in a large network as in a small one. Of two thousand, nothing
is, as in a carrier's traffic."""


class Size(NamedTuple):
    """How much of everything there is."""

    name: str
    numbers: int
    prefixes: int
    customers: int


SMALL: Final = Size("small", 10, 10, 10)
VARIED: Final = Size("varied", 20 * _DECISIONS_A_TURN, 10, 10)
"""Small, but with as many callers as are asked for."""
LARGE: Final = Size("large", 10_000_000, 1_000_000, 10_000)


class Case(NamedTuple):
    """One INVITE of some customer, and where it came from."""

    message: Message
    uri: Uri
    host: str
    number: E164


def scale(large: Size, figures: dict[str, object]) -> None:
    """Measure `large` beside small networks, and print the table."""
    sizes = (SMALL, VARIED, large)
    costs: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        measured = [_set_up(Path(name) / size.name, size) for size in sizes]
        for _ in range(_TURNS):
            for size, (snapshot, _) in zip(sizes, measured, strict=True):
                for callers in _CALLERS:
                    cases = _cases(snapshot, size, callers)
                    for what, work in (("look-up", _look_up_all), ("decision", _decide_all)):
                        work(snapshot, cases[: len(cases) // 10])  # what the other size left in the caches goes first
                        row = f"{what}, {callers:,} callers, us"
                        costs.setdefault((row, size.name), []).append(_timed(work, snapshot, cases))
    table = Table(title="What size costs (median of turns)")
    for column in (
        "",
        *(f"{s.numbers:,} numbers, {s.prefixes:,} prefixes, {s.customers:,} customers" for s in sizes),
        "large / small, or the small one with as many callers",
    ):
        table.add_column(column, justify="right")
    for row in measured[0][1]:
        table.add_row(row, *(f"{facts[row]:,.1f}" for _, facts in measured), "")
    for row in dict.fromkeys(row for row, _ in costs):
        medians = [statistics.median(costs[row, size.name]) for size in sizes]
        base = medians[0] if f" {_CALLERS[0]} callers" in row else medians[1]
        table.add_row(row, *(f"{one_us:.2f}" for one_us in medians), f"{medians[-1] / base:.3f}")
    console.print(table)
    figures["scale"] = {
        size.name: {**facts, **{row: values for (row, name), values in costs.items() if name == size.name}}
        for size, (_, facts) in zip(sizes, measured, strict=True)
    }


def _set_up(directory: Path, size: Size) -> tuple[Snapshot, dict[str, float]]:
    directory.mkdir()
    data = directory / "data"
    config = directory / "edge-proxy.yaml"
    config.write_text(yaml.dump(config_of(directory, size), Dumper=yaml.CSafeDumper), encoding="utf-8")
    write_prefixes(directory / "asn.tsv", size.prefixes)
    facts = {"import, numbers a second": _import(directory, config, size)}
    for what in ("compile, s", "compile again, s"):
        started = time.monotonic()
        snapshot = compile_snapshot(load_settings(config))
        facts[what] = time.monotonic() - started
    for what, pattern in (("index of numbers, MB", "numbers-*.idx"), ("ASN table, MB", "asn-*.idx")):
        facts[what] = sum(path.stat().st_size for path in data.glob(pattern)) / 1e6
    return snapshot, facts


def config_of(directory: Path, size: Size) -> dict[str, Any]:
    """A configuration with so many customers, each with one address."""
    return {
        "node": "bench",
        "data_dir": str(directory / "data"),
        "listeners": {"customers": {"bind": "127.0.0.1:5060"}, "carriers": {"bind": "127.0.0.1:5070"}},
        "customers": [
            {"id": f"customer-{number}", "sources": [f"{_host(number)}/32"], "country": "US"}
            for number in range(size.customers)
        ],
        "trunks": [{"id": "carrier-a", "targets": ["sip:127.0.0.1:5090"]}],
        "asn": {"table": str(directory / "asn.tsv")},
    }


def _host(customer: int) -> str:
    return str(IPv4Address(_FIRST_SOURCE + customer))


def _number(place: int) -> int:
    """Two neighbours, then a gap: half of what is owned is a range, and none joins with the next."""
    return _FIRST_NUMBER + place // 2 * 5 + place % 2


def write_prefixes(path: Path, count: int, shift: int = 0) -> None:
    """A table that covers all of IPv4; another `shift` gives every range to another AS."""
    step = 2**32 // count
    with path.open("w", encoding="ascii") as file:
        for place in range(count):
            first, last = IPv4Address(place * step), IPv4Address(place * step + step - 1)
            file.write(f"{first}\t{last}\t{1 + (place + shift) % 60_000}\tUS\tEXAMPLE-{place % 60_000}\n")


def write_numbers(path: Path, size: Size) -> None:
    """A file to import: every customer's numbers."""
    with path.open("w", encoding="ascii") as file:
        file.write("number,customer\n")
        for place in range(size.numbers):
            file.write(f"+{_number(place)},customer-{place // 2 % size.customers}\n")


def _import(directory: Path, config: Path, size: Size) -> float:
    """Numbers a second, from the start of the command to its end."""
    csv = directory / "owned.csv"
    write_numbers(csv, size)
    started = time.monotonic()
    done = run_command("numbers", "import", "--config", config, csv, timeout_s=900)
    took_s = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"import failed: {done.stderr}")
    return size.numbers / took_s


def _cases(snapshot: Snapshot, size: Size, callers: int) -> list[Case]:
    """As many INVITEs either way, of so many callers in turn, spread over all that there is."""
    chance = random.Random(1)
    places = [chance.randrange(size.numbers) for _ in range(callers)]
    cases = []
    for turn in range(_DECISIONS_A_TURN):
        place = places[turn % callers]
        number = _number(place)
        claim = f"<sip:+{number}@pbx.example>"
        data = invite(("10.0.0.1", 5080), From=f"{claim};tag=a", P_Asserted_Identity=claim)
        message = parse_message(data, snapshot.limits)
        cases.append(Case(message, parse_uri(message.uri), _host(place // 2 % size.customers), E164(number)))
    return cases


def _decide_all(snapshot: Snapshot, cases: list[Case]) -> None:
    for case in cases:
        source = Source(snapshot.origin_of(case.host, Side.CUSTOMERS), Address(case.host, 5080), Transport.UDP)
        if judge(snapshot, case.message, case.uri, source).verdict.outcome is not Outcome.ALLOWED:
            raise SystemExit(f"a good call was refused: {case}")


def _look_up_all(snapshot: Snapshot, cases: list[Case]) -> None:
    owner_of = snapshot.rulebook.ownership.owner_of
    for case in cases:
        owner_of(case.number)


def _timed(work: Callable[[Snapshot, list[Case]], None], snapshot: Snapshot, cases: list[Case]) -> float:
    """CPU microseconds a case."""
    started = time.process_time()
    work(snapshot, cases)
    return (time.process_time() - started) / len(cases) * 1e6


def main() -> None:
    figures: dict[str, object] = {}
    scale(LARGE, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
