"""Hold what the peers saw against what /metrics says: rows of two numbers, and scenarios that ended as they should not.

Pure functions. Calls, verdicts and hang-ups are compared, each counted once; and every datagram that a peer sent must
have been received, and have become one of the four things that can become of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edge_proxy.addr import Side
from edge_proxy.cli.demo.plan import PeerPlan, Scenario
from edge_proxy.cli.demo.scrape import Readings
from edge_proxy.cli.demo.tally import NO_ANSWER, PeerReport, split_final
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.pipeline.records import EndCause
from edge_proxy.policy.verdict import Outcome

Reports = Mapping[str, PeerReport]
"""Each peer's last report by its name."""


class Row(NamedTuple):
    """One thing that both sides counted."""

    group: str
    what: str
    peers: int
    metrics: int

    @property
    def agrees(self) -> bool:
        return self.peers == self.metrics


def compare(cast: Sequence[PeerPlan], reports: Reports, readings: Readings) -> list[Row]:
    """Every row of the summary; the demo is fine when all of them agree."""
    return [
        *_attempts(cast, reports, readings),
        *_verdicts(cast, reports, readings),
        *_calls(reports, readings),
        *_messages(cast, reports, readings),
        *_evidence(reports, readings),
    ]


def disagreements(rows: Sequence[Row]) -> list[str]:
    """In words, for stderr."""
    return [
        f"{row.group}, {row.what}: the peers say {row.peers}, /metrics {row.metrics}" for row in rows if not row.agrees
    ]


def surprises(cast: Sequence[PeerPlan], reports: Reports, *, all_played: bool = True) -> list[str]:
    """What peers met that the rules do not allow: calls that ended otherwise than they must, and broken protocol."""
    found: list[str] = []
    for plan in cast:
        report = reports[plan.name]
        for scenario in plan.scenarios:
            count = report.scenario(scenario.name)
            for final, calls in sorted(count.finals.items()):
                if not is_expected(scenario, final):
                    wanted = "to pass" if scenario.passes else f"to be refused {scenario.reason}"
                    found.append(f"{plan.name}, {scenario.name}: {calls} calls had {wanted} and met {final}")
            if count.running:
                found.append(f"{plan.name}, {scenario.name}: {count.running} calls never ended")
            if all_played and not count.placed:
                found.append(f"{plan.name}, {scenario.name}: no call was placed")
        found.extend(f"{plan.name}: {problem}" for problem in report.problems)
    return found


def is_expected(scenario: Scenario, final: str) -> bool:
    """Whether a call of this scenario may end so."""
    status, reason = split_final(final)
    if not scenario.passes:
        return reason == scenario.reason
    return not reason and (status == "200" or (scenario.gives_up and status == "487"))


def verdict_of(scenario: Scenario, final: str) -> tuple[str, str]:
    """(outcome, reason) as the caller can tell: a refusal names its reason, a call that passed has the one expected."""
    status, reason = split_final(final)
    if reason:
        return Outcome.REFUSED, reason
    if status == NO_ANSWER or not scenario.passes:
        return "passed", "against the rules"
    return scenario.outcome, scenario.reason


def _attempts(cast: Sequence[PeerPlan], reports: Reports, readings: Readings) -> list[Row]:
    return [
        Row(
            "attempts",
            f"from {side}",
            sum(count.placed for plan in cast if plan.side == side for count in reports[plan.name].scenarios.values()),
            readings.count("verdicts_total", side=side),
        )
        for side in Side
    ]


def _verdicts(cast: Sequence[PeerPlan], reports: Reports, readings: Readings) -> list[Row]:
    seen: Counter[tuple[str, ...]] = Counter()
    for plan in cast:
        for scenario in plan.scenarios:
            for final, calls in reports[plan.name].scenario(scenario.name).finals.items():
                seen[verdict_of(scenario, final)] += calls
    counted = readings.by("verdicts_total", "outcome", "reason")
    return [
        Row(f"verdicts {outcome}", reason, seen[outcome, reason], round(counted.get((outcome, reason), 0)))
        for outcome, reason in sorted(seen.keys() | {key for key, count in counted.items() if count})
    ]


def _calls(reports: Reports, readings: Readings) -> list[Row]:
    everybody = list(reports.values())
    hung_up = readings.count("calls_ended_total", cause=EndCause.BYE)
    active = readings.count("calls_active")
    answered = hung_up + active
    return [
        Row("calls", "answered: a 200 came back", sum(report.placed_and_answered for report in everybody), answered),
        Row("calls", "answered: a 200 was given", sum(report.received_and_answered for report in everybody), answered),
        Row("calls", "hung up: BYE answered 200", sum(report.byes for report in everybody), hung_up),
        Row(
            "calls",
            "given up while ringing: 487",
            sum(report.cancelled for report in everybody),
            readings.count("calls_ended_total", cause=EndCause.CANCELLED),
        ),
        Row("calls", "still up", sum(_running(report) for report in everybody), active),
    ]


def _running(report: PeerReport) -> int:
    return sum(count.running for count in report.scenarios.values())


def _messages(cast: Sequence[PeerPlan], reports: Reports, readings: Readings) -> list[Row]:
    rows: list[Row] = []
    for side in Side:
        sent = sum(reports[plan.name].sent for plan in cast if plan.side == side)
        received = readings.count("messages_received_total", side=side)
        rows.append(Row("messages", f"from {side}, received", sent, received))
        became = sum(
            readings.count("messages_total", side=side, disposition=disposition) for disposition in Disposition
        )
        rows.append(Row("messages", f"from {side}, accounted for", sent, became))
    junk = readings.count("messages_by_cause_total", disposition=Disposition.DROPPED, cause=Cause.NOT_SIP)
    rows.append(Row("messages", "dropped: not SIP", sum(report.junk for report in reports.values()), junk))
    return rows


def _evidence(reports: Reports, readings: Readings) -> list[Row]:
    """One record per attempt and one per end; an end is what every attempt that was not refused comes to."""
    counts = [count for report in reports.values() for count in report.scenarios.values()]
    attempts = sum(count.placed for count in counts)
    ends = sum(calls for count in counts for final, calls in count.finals.items() if not split_final(final)[1])
    still_up = sum(count.running for count in counts)
    return [
        Row(
            "evidence",
            "records: attempts + ends",
            attempts + ends - still_up,
            readings.count("evidence_accepted_total"),
        ),
        Row("evidence", "records lost", 0, readings.count("evidence_lost_total")),
        Row("proxy", "internal errors", 0, readings.count("internal_errors_total")),
    ]
