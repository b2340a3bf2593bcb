"""The board: what a newcomer sees, on terminals of several sizes and where there is none."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from edge_proxy.cli.demo.board import Board, Show, plain_line, summary_table
from edge_proxy.cli.demo.cast import assemble_cast
from edge_proxy.cli.demo.compare import Row
from edge_proxy.cli.demo.scrape import parse_readings
from edge_proxy.cli.demo.tally import PeerReport
from edge_proxy.config import load_settings

SHIPPED = Path(__file__).parents[3] / "config" / "edge-proxy.yaml"
METRICS = """
edge_proxy_messages_received_total{side="customers"} 12
edge_proxy_messages_total{side="customers",disposition="forwarded"} 7
edge_proxy_messages_total{side="customers",disposition="answered"} 5
edge_proxy_verdicts_total{side="customers",outcome="allowed",reason="identity_owned",ip_origin="ip"} 3
edge_proxy_verdicts_total{side="customers",outcome="refused",reason="pstn_origin",ip_origin="pstn"} 2
edge_proxy_verdicts_total{side="customers",outcome="refused",reason="identity_missing",ip_origin="ip"} 0
edge_proxy_calls_active{side="customers"} 3
edge_proxy_asn_bytes_total{asn="64496",direction="in",kind="signalling"} %d
edge_proxy_asn_bytes_total{asn="64496",direction="out",kind="signalling"} 500
edge_proxy_asn_info{asn="64496",name="ACME demo customer"} 1
edge_proxy_trunk_committed_rate_bytes_per_second{trunk="carrier-a"} 1000
"""


def show() -> Show:
    cast = assemble_cast(load_settings(SHIPPED))
    reports = {plan.name: PeerReport(plan.name) for plan in cast}
    reports["acme"].scenario("own number").finals["200"] = 3
    reports["initech"].scenario("says GSTN access").finals["403 pstn_origin"] = 2
    found = Show(cast, reports, "http://127.0.0.1:9464/metrics", "data/demo.log", "data/evidence", seconds=None)
    found.take(parse_readings(METRICS % 1000), 10.0)
    found.take(parse_readings(METRICS % 1500), 12.0)
    return found


def lines_of(what: RenderableType, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, highlight=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 60), (135, 40), (180, 34)])
def test_board_fits_its_terminal_and_always_shows_every_scenario(width: int, height: int) -> None:
    """No line is wrapped and none is lost: what has no room is left out whole, never the calls."""
    what = show()
    lines = lines_of(Board(what), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for plan in what.cast:
        assert all(scenario.name in text for scenario in plan.scenarios)
    assert "http://127.0.0.1:9464/metrics" in text
    assert "data/evidence" in text
    assert "403 pstn_origin" in text
    assert "balances" in text


def test_wide_board_shows_verdicts_and_networks_beside_the_calls() -> None:
    """Verdicts that were never given take no line; a network shows its rate and its share of the committed one."""
    text = "\n".join(lines_of(Board(show()), 180, 34))
    assert "identity_missing" not in text
    network = next(line for line in text.split("\n") if "64496" in line)
    assert "1.5 kB" in network
    assert network.rstrip().endswith("2   25.000%")


def test_answer_against_the_rules_stands_out() -> None:
    """A call that passed and had to be refused is shown as such and not as the verdict it was owed."""
    what = show()
    what.reports["globex"].scenario("From is nobody's").finals["200"] = 1
    assert "200 against the rules" in "\n".join(lines_of(Board(what), 100, 60))


def test_books_that_do_not_balance_are_told() -> None:
    """The mark compares the numbers shown beside it."""
    what = show()
    what.readings = parse_readings('edge_proxy_messages_received_total{side="carriers"} 1\n')
    assert "DOES NOT BALANCE" in "\n".join(lines_of(Board(what), 100, 60))


def test_plain_line_tells_the_same_in_one_line() -> None:
    """Where there is no terminal, one line holds attempts, reasons, calls and messages."""
    assert plain_line(show()).endswith(
        "5 attempts: 3 allowed, 2 refused (2 pstn_origin); 3 calls up; "
        "12 messages: 7 forwarded, 5 answered, 0 absorbed, 0 dropped"
    )


def test_summary_marks_rows_in_words_not_only_in_colour() -> None:
    """A row that disagrees can be found without colours."""
    lines = lines_of(summary_table([Row("calls", "hung up", 4, 4), Row("calls", "still up", 0, 1)]), 80, 24)
    assert sum("DISAGREE" in line for line in lines) == 1
    assert sum(line.rstrip().endswith("agree") for line in lines) == 1
