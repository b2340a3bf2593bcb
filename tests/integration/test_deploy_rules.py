"""Prometheus's own checker on the committed configuration, rules and rule tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.kit.peers import missing

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "deploy/prometheus"
RULES: Final = PROMETHEUS / "rules/edge_proxy.yml"
RULE_TESTS: Final = sorted((PROMETHEUS / "rules/tests").glob("*.yml"))

pytestmark = pytest.mark.prometheus


@pytest.fixture(scope="module")
def promtool() -> str:
    """The checker; without it a person's run skips and names it, and an automatic one fails."""
    found = shutil.which("promtool")
    if found is None:
        missing("promtool is not on this machine (Debian package prometheus)")
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


def test_configuration_is_valid_with_its_rules(promtool: str) -> None:
    """The file, the rules it names, and every expression in them; a rule that is written twice is an error too."""
    result = run(promtool, "check", "config", "--lint-fatal", PROMETHEUS / "prometheus.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert RULES.name in result.stdout


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(promtool: str, path: Path) -> None:
    """Each alert fires when it should and stays quiet when it should, on series made for the purpose."""
    result = run(promtool, "test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_rule_test() -> None:
    """An alert that no rule test names could be deleted without anybody's noticing."""
    text = "\n".join(path.read_text() for path in RULE_TESTS)
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert {alert for alert in alerts if not re.search(rf"\b{alert}\b", text)} == set()


# What is broken on purpose, and how: each must turn the rule tests red.
DEFECTS: Final = [
    ("the line is drawn at 12 %", "> 0.10", "> 0.12"),
    ("directions are added up", "sum by (asn, direction) (rate(", "sum by (asn) (rate("),
    ("a shared trunk counts once per node", "sum(max by (trunk) (", "sum(max by (instance, trunk) ("),
    ("all the rest counts as an AS", 'asn!~"0|other"', 'asn!~"0"'),
    ("evidence lost is not told", "increase(edge_proxy_evidence_lost_total[5m]) > 0", "vector(0) > 0"),
    ("refusals are compared with the present", "offset 10m", "offset 0m"),
]


@pytest.mark.parametrize(("before", "after"), [case[1:] for case in DEFECTS], ids=[case[0] for case in DEFECTS])
def test_rule_tests_notice_a_broken_rule(promtool: str, tmp_path: Path, before: str, after: str) -> None:
    """The rule tests are worth something: with a rule broken on purpose, one of them fails."""
    text = RULES.read_text()
    assert before in text
    shutil.copytree(RULES.parent, tmp_path / "rules")
    (tmp_path / "rules" / RULES.name).write_text(text.replace(before, after))
    tests = (tmp_path / "rules/tests" / path.name for path in RULE_TESTS)
    assert any(run(promtool, "test", "rules", path).returncode for path in tests)
