"""`edge-proxy numbers`: what a person types, what is printed where, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from edge_proxy.cli.app import app
from edge_proxy.cli.numbers import _progress
from edge_proxy.inventory.rights import InventoryError

DEFAULT = Path(__file__).parents[3] / "config/edge-proxy.yaml"
NUMBERS = "number,customer\n+12025551000,acme\n+12025551001,acme\n+13105551000,globex\n"


class Desk:
    """A customer desk: a configuration, files, and the command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "edge-proxy.yaml"
        document = yaml.safe_load(DEFAULT.read_text()) | {"data_dir": str(directory / "data")}
        self.config.write_text(yaml.safe_dump(document))

    def run(self, *arguments: str | Path) -> Result:
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(app, ["numbers", *words, "--config", str(self.config)])

    def fine(self, *arguments: str | Path) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    def said(self, *arguments: str | Path) -> Any:
        return json.loads(self.fine(*arguments, "--json"))

    def refused(self, *arguments: str | Path) -> str:
        """The text of an error that the command line prints before it ends with 2."""
        result = self.run(*arguments)
        assert isinstance(result.exception, InventoryError), (result.output, result.exception)
        return str(result.exception)

    def file(self, text: str) -> Path:
        path = self.directory / "numbers.csv"
        path.write_text(text)
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_import_tells_what_it_did(desk: Desk) -> None:
    """Per customer and in all; the second time there is nothing to do."""
    out = desk.fine("import", desk.file(NUMBERS))
    assert "acme: +2 -0 numbers" in out
    assert "globex: +1 -0 numbers" in out
    assert "change 1: 3 numbers added, 0 changed, 0 removed, 0 left as they were" in out
    assert "nothing to change" in desk.fine("import", desk.file(NUMBERS))


def test_dry_run_prints_what_would_change_and_leaves_no_file(desk: Desk) -> None:
    """Before there is an inventory and after."""
    out = desk.fine("import", desk.file(NUMBERS), "--dry-run")
    assert "+ +12025551000-+12025551001 acme owned" in out.splitlines()
    assert "dry run, nothing was changed: 3 numbers added" in out
    assert not (desk.directory / "data").exists()
    desk.fine("import", desk.file(NUMBERS))
    out = desk.fine("remove", "+12025551001", "--dry-run")
    assert out.splitlines()[:2] == [
        "- +12025551000-+12025551001 acme owned",
        "+ +12025551000 acme owned",
    ]
    assert len(desk.fine("list").splitlines()) == 2


def test_conflicts_are_refused_line_by_line_with_exit_1(desk: Desk) -> None:
    """The file is fine, the numbers are taken: by the inventory, or by the configuration itself."""
    desk.fine("import", desk.file(NUMBERS))
    result = desk.run(
        "import", desk.file("number,customer\n+12025551009,globex\n+12025551001,globex\n+12025550100,globex\n")
    )
    assert result.exit_code == 1
    told = result.stderr.splitlines()
    assert told[0].endswith("numbers.csv:3: +12025551001: acme has it already (acme owned)")
    assert told[1].endswith("numbers.csv:4: +12025550100: acme has it in the configuration; take it out there first")
    assert told[2].endswith("2 problems, nothing was changed")
    assert len(desk.fine("list").splitlines()) == 2


def test_mistakes_are_told_line_by_line_with_exit_2(desk: Desk) -> None:
    """Also for machines."""
    path = desk.file("number,customer\n2025551000,acme\n+12025551000,hooli\n")
    result = desk.run("import", path)
    assert result.exit_code == 2
    assert [line.split(":")[1] for line in result.stderr.splitlines()[:2]] == ["2", "3"]
    result = desk.run("import", path, "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert (answer["ok"], [problem["line"] for problem in answer["problems"]]) == (False, [2, 3])


def test_file_that_cannot_be_read_makes_no_inventory(desk: Desk) -> None:
    """A typing mistake leaves nothing behind."""
    assert "cannot read" in desk.refused("import", desk.directory / "none.csv")
    assert not (desk.directory / "data").exists()


def test_questions_need_an_inventory_and_say_so(desk: Desk) -> None:
    """Except who owns a number, which the configuration may know alone."""
    for command in ("list", "export", "undo"):
        assert "`edge-proxy numbers import` makes one" in desk.refused(command)
    assert "acme, in the configuration" in desk.fine("who-owns", "+12025550100")


def test_numbers_are_added_and_removed_by_hand(desk: Desk) -> None:
    """Singles, ranges and prefixes, with their terms."""
    desk.fine("add", "+12025551000", "+12025552000-+12025552099", "--customer", "acme")
    desk.fine("add", "+131055512*", "--customer", "globex", "--right", "delegated", "--reference", "LOA 5")
    assert desk.fine("list").splitlines() == [
        "+12025551000 acme owned",
        "+12025552000-+12025552099 acme owned",
        "+13105551200-+13105551299 globex delegated (LOA 5)",
    ]
    assert desk.fine("list", "+12025552050", "--customer", "acme").splitlines() == [
        "+12025552000-+12025552099 acme owned"
    ]
    desk.fine("remove", "+12025552000-+12025552097")
    desk.fine("remove", "--customer", "globex")
    assert desk.fine("list").splitlines() == ["+12025551000 acme owned", "+12025552098-+12025552099 acme owned"]
    assert len(desk.fine("list", "--limit", "1").splitlines()) == 1


def test_removing_what_nobody_has_is_exit_1(desk: Desk) -> None:
    """A typing mistake does not look like success."""
    desk.fine("import", desk.file(NUMBERS))
    assert desk.run("remove", "+12025559999").exit_code == 1
    assert desk.run("remove", "+12025551000", "--customer", "globex").exit_code == 1
    assert desk.run("remove", "--customer", "initech").exit_code == 1


def test_ported_out_number_is_in_its_grace(desk: Desk) -> None:
    """It is still known, still held for the days of grace, and over after them."""
    desk.fine("import", desk.file(NUMBERS))
    desk.fine("remove", "+12025551000", "--ported-out", "2026-01-01", "--grace-days", "3650")
    assert "holds now, in its grace" in desk.fine("who-owns", "+12025551000")
    desk.fine("remove", "+12025551001", "--ported-out", "2026-01-01")
    result = desk.run("who-owns", "+12025551001")
    assert (result.exit_code, result.stdout.strip().rpartition("; ")[2]) == (1, "over")


def test_who_owns_answers_machines_too(desk: Desk) -> None:
    """The owner now, and where that is known from."""
    desk.fine("import", desk.file(NUMBERS))
    said = desk.said("who-owns", "+13105551000")
    assert (said["owner"], said["configuration"]) == ("globex", [])
    assert said["inventory"]["rights"] == [{"customer": "globex", "right": "owned"}]
    assert desk.said("who-owns", "+12025550100")["configuration"] == ["acme"]
    assert desk.run("who-owns", "+12025559999", "--json").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["add", "12025551000", "--customer", "acme"], "write + and digits only"),
        (["add", "+1*", "--customer", "acme"], "cannot read the prefix"),
        (["add", "+12025551000", "--customer", "hooli"], "hooli is no customer"),
        (["add", "+12025551000", "--customer", "acme", "--valid-to", "soon"], "is no date"),
        (["add", "+12025551000", "--customer", "acme", "--right", "delegated"], "needs a reference"),
        (["remove"], "nothing to remove was named"),
        (["remove", "+12025551000", "--grace-days", "5"], "give --ported-out too"),
        (["remove", "+12025551000", "--ported-out", "yesterday"], "is no date"),
        (["who-owns", "+12025551000-+12025551009"], "is a range"),
        (["export", "--output", "/no/such/directory/x.csv"], "cannot write"),
    ],
)
def test_what_is_typed_wrong_is_told(desk: Desk, arguments: list[str], text: str) -> None:
    """An error with what would be right, which the command line prints before it ends with 2."""
    desk.fine("import", desk.file(NUMBERS))
    assert text in desk.refused(*arguments)


def test_export_is_what_import_reads(desk: Desk) -> None:
    """Every right with all its terms goes out and comes in again: nothing to change afterwards."""
    rows = (
        "first,last,customer,valid_from,valid_to,right,reference,ported_out_at,grace_days\n"
        '+12025551000,+12025551009,acme,,2030-06-30,delegated,"LOA ""7"", page 2",,\n'
        "+12025551000,+12025551009,globex,2030-07-01,,owned,,,\n"
        "+12025552000,+12025552000,acme,2026-01-01T09:00:00Z,,owned,,2028-01-01,30\n"
    )
    desk.fine("import", desk.file(rows))
    out = desk.directory / "out.csv"
    desk.fine("export", "--output", out)
    assert sorted(csv.reader(io.StringIO(out.read_text()))) == sorted(csv.reader(io.StringIO(rows)))
    assert desk.fine("export") == out.read_text()
    assert "nothing to change" in desk.fine("import", out)
    assert len(desk.fine("export", "--customer", "globex").splitlines()) == 2
    assert [json.loads(line)["first"] for line in desk.fine("export", "--json").splitlines()] == [
        *("+12025551000", "+12025552000")
    ]
    assert [path.name for path in desk.directory.glob("*.new")] == []


def test_undo_takes_back_the_last_change(desk: Desk) -> None:
    """Said before and done after; the log shows both."""
    desk.fine("import", desk.file(NUMBERS))
    assert "would undo change 1, import" in desk.fine("undo", "--dry-run")
    assert "undid change 1" in desk.fine("undo")
    assert desk.fine("list") == ""
    assert "cannot undo" in desk.refused("undo")
    log = [json.loads(line) for line in desk.fine("list", "--changes", "--json").splitlines()]
    assert [(entry["kind"], entry["state"]) for entry in log] == [("undo", "done"), ("import", "undone")]
    assert len(log[1]["sha256"]) == 64
    assert "import" in desk.fine("list", "--changes")


def test_check_counts_numbers_of_the_inventory(desk: Desk) -> None:
    """What was imported is what the next reload serves."""
    before = CliRunner().invoke(app, ["check", "--config", str(desk.config)])
    desk.fine("import", desk.file(NUMBERS))
    after = CliRunner().invoke(app, ["check", "--config", str(desk.config)])
    assert "1200 numbers" in before.stdout
    assert "1203 numbers" in after.stdout


class Terminal(io.StringIO):
    """Standard error, where somebody watches."""

    def isatty(self) -> bool:
        return True


def test_import_shows_how_far_it_is_on_a_terminal_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, comparing and writing each have a bar; in a pipe or a log there is none."""
    file = desk.file("number,customer\n" + "".join(f"+{12025551000 + 2 * at},acme\n" for at in range(3_000)))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with _progress(file) as (chunks, told):
        assert told is not None
        assert b"".join(chunks) == file.read_bytes()
        told("comparing", 2_000)
        told("writing", 1_000)
    shown = terminal.getvalue()
    assert all(what in shown for what in ("reading", "comparing", "writing", f"{len(file.read_bytes())}/"))
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with _progress(file) as (chunks, told):
        assert (b"".join(chunks), told) == (file.read_bytes(), None)
    assert log.getvalue() == ""
