"""What the demo shows: a live table while it runs, a plain line where nobody looks at a terminal, a summary at the end.

Everything here turns counts into text (rich renderables); nothing is asked and nothing is decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from edge_proxy.addr import Side
from edge_proxy.cli.demo.compare import Row, is_expected, verdict_of
from edge_proxy.cli.demo.plan import PeerPlan, Scenario
from edge_proxy.cli.demo.scrape import Readings
from edge_proxy.cli.demo.tally import PeerReport, ScenarioCount, split_final
from edge_proxy.pipeline.counters import Disposition
from edge_proxy.policy.verdict import Outcome

_RATE_OVER: Final = 8
"""Scrapes that a rate is computed over."""
_HEAD_LINES: Final = 5
"""The header and the table of messages."""
_WIDE_NAMES: Final = 96
_TWO_TABLES_WIDE: Final = 128
_THREE_TABLES_WIDE: Final = 158
"""Columns of a terminal that has room for tables beside each other."""

_STYLES: Final[dict[str, str]] = {Outcome.ALLOWED: "green", Outcome.MONITORED: "yellow", Outcome.REFUSED: "red"}


@dataclass(slots=True)
class Show:
    """What is known at this moment."""

    cast: Sequence[PeerPlan]
    reports: dict[str, PeerReport]
    metrics_url: str
    log: str
    evidence: str
    seconds: float | None
    elapsed_s: float = 0.0
    stage: str = "starting"
    readings: Readings = field(default_factory=lambda: Readings(()))
    carried: deque[tuple[float, dict[tuple[str, ...], float]]] = field(default_factory=lambda: deque(maxlen=_RATE_OVER))

    def take(self, readings: Readings, at_s: float) -> None:
        """A new scrape."""
        self.readings = readings
        self.carried.append((at_s, readings.by("asn_bytes_total", "asn", "direction")))

    def bits_per_second(self, asn: str, direction: str) -> float:
        """Over the last seconds, at the IP layer."""
        if len(self.carried) < 2:
            return 0.0
        (began_s, first), (ended_s, last) = self.carried[0], self.carried[-1]
        key = asn, direction
        return 8 * (last.get(key, 0.0) - first.get(key, 0.0)) / max(ended_s - began_s, 0.001)


class Board:
    """The live table, laid out for the terminal it is shown in: what has no room is left out, the calls never."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        show = self._show
        width, height = options.max_width, console.height
        calls = calls_table(show)
        verdicts = verdicts_table(show.readings)
        networks = networks_table(show, 26 if _WIDE_NAMES <= width < _THREE_TABLES_WIDE else 18)
        yield header(show)
        yield messages_table(show.readings)
        left = height - _HEAD_LINES - _lines(calls)
        if left < 0:
            calls.title = None
        if width >= _THREE_TABLES_WIDE:
            yield _beside(calls, Group(verdicts, "", networks))
            return
        if width >= _TWO_TABLES_WIDE:
            yield _beside(calls, verdicts)
            if left > _lines(networks):
                yield from ("", networks)
            return
        yield calls
        for table in (networks, verdicts):
            if left > _lines(table):
                left -= _lines(table) + 1
                yield from ("", table)


def _lines(table: Table) -> int:
    """With title, heading and rule."""
    return table.row_count + 3


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_row(left, right)
    return grid


def header(show: Show) -> RenderableType:
    """How far it is, how it goes, and where to look further."""
    until = "" if show.seconds is None else f" of {show.seconds:.0f}"
    hint = "   Ctrl-C ends it" if show.seconds is None and show.stage == "running" else ""
    up = show.readings.count("calls_active")
    delay_s = show.readings.quantile("delay_seconds", 0.99)
    delay = "" if delay_s is None else f"   p99 delay < {delay_s * 1000:g} ms"
    line = Text.assemble(
        ("edge-proxy demo", "bold"),
        f"  {show.elapsed_s:.0f}{until} s, {show.stage}   {up} calls up{delay}",
        (hint, "dim"),
    )
    places = Text.assemble(
        ("metrics ", "dim"), show.metrics_url, ("  log ", "dim"), show.log, ("  evidence ", "dim"), show.evidence
    )
    for text in (line, places):
        text.no_wrap, text.overflow = True, "ellipsis"
    return Group(line, places)


def messages_table(readings: Readings) -> Table:
    """What became of every message, per side, and whether the books balance."""
    table = Table(box=None, header_style="dim", padding=(0, 1), pad_edge=False)
    table.add_column("Messages", no_wrap=True)
    for column in ("received", *Disposition):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for side in Side:
        received = readings.count("messages_received_total", side=side)
        became = [readings.count("messages_total", side=side, disposition=each) for each in Disposition]
        balances = received == sum(became)
        mark = Text("balances", "green") if balances else Text("DOES NOT BALANCE", "bold white on red")
        table.add_row(side, *map(str, (received, *became)), mark)
    return table


def calls_table(show: Show) -> Table:
    """Calls by scenario, with what the callers were answered and the reason they were given or are owed."""
    table = _table("Calls, as the peers see them")
    table.add_column("Peer", no_wrap=True)
    table.add_column("Scenario", no_wrap=True)
    table.add_column("Calls", justify="right", no_wrap=True)
    table.add_column("Up", justify="right", no_wrap=True)
    table.add_column("Answer", no_wrap=True)
    for plan in show.cast:
        report = show.reports[plan.name]
        name = plan.name
        for scenario in plan.scenarios:
            count = report.scenario(scenario.name)
            up = Text(str(count.running), "" if count.running else "dim")
            table.add_row(Text(name, "bold"), scenario.name, str(count.placed), up, _answers(scenario, count))
            name = ""
    return table


def _answers(scenario: Scenario, count: ScenarioCount) -> Text:
    """Such as "403 from_not_owned", green for a call that passed as it should, red for one refused as it should."""
    statuses: dict[tuple[str, str, bool], list[str]] = {}
    for final in sorted(count.finals):
        outcome, reason = verdict_of(scenario, final)
        statuses.setdefault((outcome, reason, is_expected(scenario, final)), []).append(split_final(final)[0])
    text = Text()
    for (outcome, reason, is_right), answers in statuses.items():
        text.append(", " if text else "")
        note = " (monitored)" if outcome == Outcome.MONITORED else ""
        text.append(f"{'/'.join(answers)} {reason}{note}", _style(outcome) if is_right else "bold white on red")
    return text


def _style(outcome: str) -> str:
    return _STYLES[Outcome(outcome)] if outcome in _STYLES else ""


def verdicts_table(readings: Readings) -> Table:
    """Verdicts by reason, as /metrics counts them."""
    table = _table("Verdicts, from /metrics")
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Reason", no_wrap=True)
    table.add_column("Origin", no_wrap=True)
    table.add_column("Calls", justify="right", no_wrap=True)
    counts = readings.by("verdicts_total", "outcome", "reason", "ip_origin")
    for (outcome, reason, origin), count in sorted(counts.items()):
        if not count:
            continue
        origin_style = {"pstn": "red", "ip": "green"}.get(origin, "dim")
        table.add_row(Text(outcome, _style(outcome)), reason, Text(origin, origin_style), f"{count:.0f}")
    return table


def networks_table(show: Show, name_width: int = 26) -> Table:
    """Calls and signalling per autonomous system, with the share of the smallest committed rate."""
    readings = show.readings
    rates = readings.by("trunk_committed_rate_bytes_per_second", "trunk").values()
    committed_bps = 8 * min(rates, default=0.0)
    table = _table("Networks, from /metrics")
    table.add_column("AS", no_wrap=True)
    table.add_column("Name", no_wrap=True, overflow="ellipsis", max_width=name_width)
    for column in ("Allowed", "Refused", "In", "Out", "kbit/s"):
        table.add_column(column, justify="right", no_wrap=True)
    if committed_bps:
        table.add_column("of rate", justify="right", no_wrap=True)
    names = {key[0]: key[1] for key in readings.by("asn_info", "asn", "name")}
    carried = readings.by("asn_bytes_total", "asn", "direction")
    calls = readings.by("asn_calls_total", "asn", "outcome")
    for asn in dict.fromkeys(asn for asn, _ in carried):
        received, sent = carried.get((asn, "in"), 0.0), carried.get((asn, "out"), 0.0)
        if not received and not sent:
            continue
        bps = max(show.bits_per_second(asn, "in"), show.bits_per_second(asn, "out"))
        row = [
            asn,
            names.get(asn, ""),
            f"{calls.get((asn, Outcome.ALLOWED), 0) + calls.get((asn, Outcome.MONITORED), 0):.0f}",
            f"{calls.get((asn, Outcome.REFUSED), 0):.0f}",
            _bytes(received),
            _bytes(sent),
            f"{bps / 1000:.0f}",
        ]
        if committed_bps:
            row.append(f"{bps / committed_bps:.3%}")
        table.add_row(*row)
    return table


def plain_line(show: Show) -> str:
    """One line for a log file or a pipe."""
    readings = show.readings
    outcomes = readings.by("verdicts_total", "outcome")
    reasons = readings.by("verdicts_total", "reason", outcome=Outcome.REFUSED)
    refused = ", ".join(f"{count:.0f} {reason}" for (reason,), count in sorted(reasons.items()) if count)
    passed = sum(count for (outcome,), count in outcomes.items() if outcome != Outcome.REFUSED)
    received = readings.count("messages_received_total")
    became = ", ".join(f"{readings.count('messages_total', disposition=each)} {each}" for each in Disposition)
    return (
        f"{show.elapsed_s:5.1f} s  {readings.count('verdicts_total')} attempts: {passed:.0f} allowed, "
        f"{outcomes.get((Outcome.REFUSED,), 0):.0f} refused ({refused or 'none'}); "
        f"{readings.count('calls_active')} calls up; {received} messages: {became}"
    )


def summary_table(rows: Iterable[Row]) -> Table:
    """Peers' counts against /metrics, and a mark that does not depend on colour."""
    table = _table("What the peers saw, and what /metrics says")
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("Peers", justify="right", no_wrap=True)
    table.add_column("/metrics", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    before = ""
    for row in rows:
        mark = Text("agree", "green") if row.agrees else Text("DISAGREE", "bold white on red")
        group = "" if row.group == before else row.group
        before = row.group
        table.add_row(Text(group, "bold"), row.what, str(row.peers), str(row.metrics), mark)
    return table


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold cyan",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        padding=(0, 1),
        pad_edge=False,
        show_edge=False,
    )


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
