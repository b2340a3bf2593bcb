"""The Grafana dashboard and its provisioning, as far as they can be judged without Grafana."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from edge_proxy.policy.verdict import Outcome

ROOT: Final = Path(__file__).parents[3]
GRAFANA: Final = ROOT / "deploy/grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((GRAFANA / "dashboards/edge-proxy.json").read_text())
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
CHARTS: Final = [panel for panel in PANELS if panel["type"] != "row"]
SOURCES: Final = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
RULES: Final = yaml.safe_load((ROOT / "deploy/prometheus/rules/edge_proxy.yml").read_text())

COLUMNS: Final = 24
BUILT_IN: Final = {"__rate_interval", "__range", "__interval"}


def titled(panel: object) -> str:
    return str(panel["title"]) if isinstance(panel, dict) else str(panel)


def test_dashboard_can_be_provisioned() -> None:
    """A file needs a fixed uid, no id of a data base, and none of the inputs of an export for sharing."""
    assert DASHBOARD["id"] is None
    assert re.fullmatch(r"[a-z-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["title"]
    assert "__inputs" not in DASHBOARD
    assert 36 <= DASHBOARD["schemaVersion"] <= 41


def test_panel_ids_and_titles_are_unique() -> None:
    """Links and alerts point to a panel by its id, people by its title."""
    assert [n for n, times in Counter(panel["id"] for panel in PANELS).items() if times > 1] == []
    assert [t for t, times in Counter(panel["title"] for panel in PANELS).items() if times > 1] == []


def test_panels_lie_inside_the_grid_without_overlap() -> None:
    """24 columns; no panel covers another, and each row of the page is filled to its right edge."""
    boxes = [(panel["title"], panel["gridPos"]) for panel in PANELS]
    for title, box in boxes:
        assert box["x"] >= 0, title
        assert box["w"] >= 1, title
        assert box["h"] >= 1, title
        assert box["x"] + box["w"] <= COLUMNS, title
    for (first, a), (second, b) in combinations(boxes, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{first} and {second} overlap"
    widths: Counter[int] = Counter()
    for _, box in boxes:
        widths[box["y"]] += box["w"]
    assert set(widths.values()) == {COLUMNS}


def test_rows_lead_from_overview_to_cause() -> None:
    """The order in which a person looks at 3 a.m."""
    rows = [panel["title"].split(":")[0] for panel in PANELS if panel["type"] == "row"]
    assert rows == [
        "Overview",
        "Verdicts",
        "Customers",
        "Trunks and targets",
        "Autonomous systems against the committed rate",
        "Latency",
        "Messages",
        "Evidence",
        "Process and data",
    ]


def test_every_outcome_has_a_colour_of_its_own() -> None:
    """A person knows red from green before reading; a new outcome must not come in any colour."""
    (panel,) = (panel for panel in CHARTS if panel["title"] == "Attempts by outcome")
    colours = {
        override["matcher"]["options"]: one["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "color"
    }
    assert set(colours) == set(Outcome)
    assert len(set(colours.values())) == len(colours)
    for outcome in {Outcome.MONITORED, Outcome.TAGGED, Outcome.DIVERTED}:
        assert f"{outcome}: " in panel["description"]


@pytest.mark.parametrize("panel", CHARTS, ids=titled)
def test_panel_says_what_it_shows_and_what_to_do(panel: dict[str, Any]) -> None:
    """A title, a description of more than a few words, a unit, and a legend for each query."""
    assert len(panel["description"].split()) >= 7
    field = panel["fieldConfig"]["defaults"]
    assert field.get("unit") or panel["options"]["yAxis"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("panel", CHARTS, ids=titled)
def test_panel_asks_the_provisioned_data_source(panel: dict[str, Any]) -> None:
    """The uid in every panel and query is that of the provisioned data source; each query has text and its own id."""
    (source,) = SOURCES["datasources"]
    expected = {"type": source["type"], "uid": source["uid"]}
    assert panel["datasource"] == expected
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == expected
        assert target["expr"].strip()
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


def expressions() -> list[str]:
    found = [target["expr"] for panel in CHARTS for target in panel["targets"]]
    return found + [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]


def test_expressions_use_only_variables_that_exist() -> None:
    """A variable is Grafana's own or one of the dashboard's; one of the dashboard's is used."""
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = {name for expr in expressions() for name in re.findall(r"\$\{?(\w+)", expr)}
    assert used <= declared | BUILT_IN
    assert declared <= used


def test_variables_and_annotations_ask_the_provisioned_data_source() -> None:
    """They too, or Grafana asks its default one."""
    for item in [*DASHBOARD["templating"]["list"], *DASHBOARD["annotations"]["list"]]:
        assert item["datasource"]["uid"] == SOURCES["datasources"][0]["uid"]


def test_recorded_series_on_the_dashboard_are_those_of_the_rules() -> None:
    """A name with a colon is made by a recording rule: one that no rule makes is an empty panel; all are used."""
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    in_rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    used = {name for expr in expressions() + in_rules for name in re.findall(r"\b[a-z_]+:[a-z_0-9:]+", expr)}
    assert used == recorded


def test_scrape_interval_is_the_same_in_grafana_and_prometheus() -> None:
    """Grafana derives $__rate_interval from it; too small a one leaves holes in every graph."""
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert SOURCES["datasources"][0]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_ten_percent_line_stands_beside_each_direction() -> None:
    """Bits in and bits out each carry the line of 10 % of the committed rate as a query of its own."""
    panels = [
        panel
        for panel in CHARTS
        if panel["title"] in {"From each AS (in), bits per second", "To each AS (out), bits per second"}
    ]
    assert len(panels) == 2
    for panel in panels:
        lines = [target for target in panel["targets"] if target["legendFormat"] == "10 % of the committed rate"]
        assert [target["expr"] for target in lines] == ["0.1 * 8 * edge_proxy:committed_rate_bytes_per_second:sum"]


def test_every_alert_says_what_to_do() -> None:
    """Severity, a summary for the pager, what it means, and what to do about it."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
                assert set(rule["annotations"]) == {"summary", "description", "action"}, rule["alert"]
