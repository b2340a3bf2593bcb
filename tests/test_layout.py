"""The architecture, as the README tells it, is true of the files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from edge_proxy.pipeline.counters import Cause
from edge_proxy.policy.verdict import STATUS_OF, Reason

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edge_proxy"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_imports_go_down_only() -> None:
    """The contracts in pyproject.toml hold: floors, and no socket, loop, clock or disk at or under the pipeline."""
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_says_what_it_is(path: Path) -> None:
    """Every source file begins with a docstring and stays under 600 lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines
    assert lines[0].startswith('"""')
    assert len(lines) <= 600


@pytest.mark.parametrize("word", ["utils", "helpers", "manager", "common"])
def test_no_file_is_named_for_nothing(word: str) -> None:
    """A name says what a file does."""
    assert not [path for path in SOURCES if word in path.stem]


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their names alone, and would collect none of the second."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_worker_loads_no_heavy_library() -> None:
    """A worker process imports nothing of the control plane: its memory and start-up are the call path's."""
    code = (
        "import sys, edge_proxy.worker; "
        "print([m for m in ('fastapi', 'nicegui', 'duckdb', 'sqlalchemy', 'typer') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_readme_lists_every_reason() -> None:
    """The README's table of reasons is the closed set, with the statuses that are sent."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| \w+ \| (\w+) \|", readme, re.MULTILINE))
    assert rows == {reason: str(STATUS_OF.get(reason, "passes")) for reason in Reason}


def test_causes_and_reasons_are_label_safe() -> None:
    """Reason codes and causes are metric labels: lower-case words."""
    for code in (*Reason, *Cause):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", code)


def test_readme_has_every_folder_and_file_of_the_package_on_a_floor() -> None:
    """And no other: who reads the table finds what is there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| F\d \| (.+?) \|", readme, re.MULTILINE)
    told = {name.rstrip("/") for row in rows for name in re.findall(r"`([\w./]+)`", row)}
    there = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert told == there - {"__init__.py", "__main__.py"}


def test_readme_names_only_files_that_exist() -> None:
    """In back quotes or in a command; what a running proxy makes, and pages that it serves, are not ours to have."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tops = "config|deploy|tests|changes|edge_proxy|\\.ci"
    named = set(re.findall(rf"(?<![\w/.])(?:{tops})/[\w./-]*\w", readme))
    named |= {f"edge_proxy/{name}" for name in re.findall(r"`(\w+/\w+\.(?:py|c))`", readme)}
    assert len(named) > 15
    assert {name for name in named if not (ROOT / name).exists()} == set()
