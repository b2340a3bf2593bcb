"""Peers' counts against /metrics: what agrees, and that every kind of disagreement is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.addr import Side
from edge_proxy.cli.demo.cast import assemble_cast
from edge_proxy.cli.demo.compare import compare, disagreements, is_expected, surprises
from edge_proxy.cli.demo.plan import PeerPlan, Scenario
from edge_proxy.cli.demo.scrape import Readings, parse_readings
from edge_proxy.cli.demo.tally import NO_ANSWER, PeerReport
from edge_proxy.config import load_settings
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason

SHIPPED = Path(__file__).parents[3] / "config" / "edge-proxy.yaml"
CALLS = 2
"""Calls of each scenario in the run that these tests are about."""


def final_of(scenario: Scenario) -> str:
    if scenario.passes:
        return "487" if scenario.gives_up else "200"
    return f"{STATUS_OF[scenario.reason]} {scenario.reason}"


def perfect_run() -> tuple[list[PeerPlan], dict[str, PeerReport], dict[str, int]]:
    """A cast, what its peers saw, and the samples that a proxy without a fault would show."""
    cast = assemble_cast(load_settings(SHIPPED))
    reports: dict[str, PeerReport] = {}
    samples: dict[str, int] = {}

    def count(sample: str, more: int = CALLS) -> None:
        samples[sample] = samples.get(sample, 0) + more

    for plan in cast:
        report = reports[plan.name] = PeerReport(plan.name, sent=10)
        count(f'messages_received_total{{side="{plan.side}"}}', 10)
        count(f'messages_total{{side="{plan.side}",disposition="forwarded"}}', 10)
        for scenario in plan.scenarios:
            calls = report.scenario(scenario.name)
            calls.placed = CALLS
            calls.finals[final_of(scenario)] = CALLS
            outcome, reason = scenario.outcome, scenario.reason
            count(f'verdicts_total{{side="{plan.side}",outcome="{outcome}",reason="{reason}",ip_origin="ip"}}')
            count("evidence_accepted_total")
            if not scenario.passes:
                continue
            count("evidence_accepted_total")
            if scenario.gives_up:
                report.cancelled += CALLS
                count(f'calls_ended_total{{side="{plan.side}",cause="cancelled"}}')
            else:
                report.placed_and_answered += CALLS
                report.received_and_answered += CALLS
                report.byes += CALLS
                count(f'calls_ended_total{{side="{plan.side}",cause="bye"}}')
    return cast, reports, samples


def readings(samples: dict[str, int]) -> Readings:
    return parse_readings("".join(f"edge_proxy_{sample} {count}\n" for sample, count in samples.items()))


def test_run_without_a_fault_agrees_in_every_row() -> None:
    """When both sides counted the same, nothing is named."""
    cast, reports, samples = perfect_run()
    rows = compare(cast, reports, readings(samples))
    assert disagreements(rows) == []
    assert surprises(cast, reports) == []
    assert {row.group for row in rows} >= {"attempts", "calls", "messages", "evidence", "proxy"}


@pytest.mark.parametrize(
    ("sample", "change", "named"),
    [
        ('calls_ended_total{side="customers",cause="bye"}', -1, "hung up: BYE answered 200"),
        ('calls_ended_total{side="customers",cause="cancelled"}', 1, "given up while ringing"),
        ('calls_active{side="carriers"}', 1, "still up"),
        ('messages_received_total{side="customers"}', -1, "from customers, received"),
        ('messages_total{side="carriers",disposition="absorbed"}', 1, "from carriers, accounted for"),
        ('messages_by_cause_total{side="customers",disposition="dropped",cause="not_sip"}', 1, "dropped: not SIP"),
        ("evidence_accepted_total", -1, "records: attempts + ends"),
        ("evidence_lost_total", 1, "records lost"),
        ("internal_errors_total", 1, "internal errors"),
    ],
)
def test_each_count_that_differs_is_named(sample: str, change: int, named: str) -> None:
    """One call, message or record more or less on one side is found and told with both numbers."""
    cast, reports, samples = perfect_run()
    samples[sample] = samples.get(sample, 0) + change
    found = disagreements(compare(cast, reports, readings(samples)))
    assert any(named in line for line in found)


def test_verdict_that_no_peer_met_is_named_with_its_reason() -> None:
    """A refusal that only the proxy knows of is a disagreement on that reason and on the attempts."""
    cast, reports, samples = perfect_run()
    samples['verdicts_total{side="customers",outcome="refused",reason="identity_missing",ip_origin="ip"}'] = 1
    found = disagreements(compare(cast, reports, readings(samples)))
    assert found == [
        "attempts, from customers: the peers say 26, /metrics 27",
        "verdicts refused, identity_missing: the peers say 0, /metrics 1",
    ]


def test_spoofed_call_that_passes_is_a_surprise_and_a_disagreement() -> None:
    """A call that had to be refused and was answered 200 is told, whatever the counters say."""
    cast, reports, samples = perfect_run()
    reports["globex"].scenario("From is nobody's").finals = {"200": CALLS}
    found = surprises(cast, reports)
    assert found == ["globex, From is nobody's: 2 calls had to be refused from_not_owned and met 200"]
    assert any("against the rules" in line for line in disagreements(compare(cast, reports, readings(samples))))


def test_unanswered_call_and_missing_call_are_surprises() -> None:
    """Silence is no outcome, and a scenario nobody played proves nothing, except in a run too short for all."""
    cast, reports, _ = perfect_run()
    acme = reports["acme"]
    acme.scenario("own number").finals = {NO_ANSWER: 1}
    acme.scenario("own number, gives up").placed = 0
    assert surprises(cast, reports) == [
        "acme, own number: 1 calls had to pass and met no answer",
        "acme, own number, gives up: no call was placed",
    ]
    assert len(surprises(cast, reports, all_played=False)) == 1


@pytest.mark.parametrize(
    ("outcome", "gives_up", "final", "is_right"),
    [
        (Outcome.ALLOWED, False, "200", True),
        (Outcome.ALLOWED, False, "487", False),
        (Outcome.ALLOWED, True, "487", True),
        (Outcome.ALLOWED, True, "200", True),
        (Outcome.ALLOWED, False, "403 from_not_owned", False),
        (Outcome.MONITORED, False, "200", True),
        (Outcome.REFUSED, False, "403 from_not_owned", True),
        (Outcome.REFUSED, False, "403 pai_not_owned", False),
        (Outcome.REFUSED, False, "200", False),
    ],
)
def test_only_the_owed_answer_is_expected(outcome: Outcome, gives_up: bool, final: str, is_right: bool) -> None:
    """A refusal must carry its own reason; a call given up may still be answered, since 200 and CANCEL can cross."""
    scenario = Scenario(
        name="x", every_s=1, to="1", caller=None, gives_up=gives_up, outcome=outcome, reason=Reason.FROM_NOT_OWNED
    )
    assert is_expected(scenario, final) is is_right


def test_readings_sum_over_labels_and_find_a_quantile() -> None:
    """A total sums what carries the given labels; a quantile is the bound of the bucket that it falls into."""
    found = parse_readings(
        'edge_proxy_messages_total{side="customers",disposition="forwarded"} 3\n'
        'edge_proxy_messages_total{side="carriers",disposition="forwarded"} 4\n'
        "# TYPE edge_proxy_delay_seconds histogram\n"
        'edge_proxy_delay_seconds_bucket{le="0.001"} 90\n'
        'edge_proxy_delay_seconds_bucket{le="0.01"} 99\n'
        'edge_proxy_delay_seconds_bucket{le="+Inf"} 100\n'
        "edge_proxy_delay_seconds_count 100\n"
        "edge_proxy_delay_seconds_sum 1\n"
    )
    assert found.count("messages_total") == 7
    assert found.count("messages_total", side=Side.CARRIERS) == 4
    assert found.by("messages_total", "side") == {("customers",): 3.0, ("carriers",): 4.0}
    assert found.quantile("delay_seconds", 0.99) == 0.01
    assert found.quantile("nothing", 0.99) is None
