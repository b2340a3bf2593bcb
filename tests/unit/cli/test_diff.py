"""`edge-proxy diff` as an operator runs it: what changes, where requests came from, and what cannot be judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.kit.messages import FAR, FOREIGN, OWNED, invite, invite_from_carrier
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, Site, run_command

SOURCE = f"udp:{ACME_HOST}:5060"


@pytest.fixture
def configs(tmp_path: Path) -> tuple[Path, Path]:
    """The present configuration, and one with a list that denies a called number."""
    config = Site().config(tmp_path)
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(yaml.safe_dump(config), encoding="utf-8")
    config["lists"] = [{"id": "premium", "kind": "deny", "applies_to": "called", "numbers": [FAR]}]
    new.write_text(yaml.safe_dump(config), encoding="utf-8")
    return old, new


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    directory = tmp_path / "messages"
    directory.mkdir()
    (directory / "good.sip").write_bytes(invite(number=FOREIGN))
    (directory / "premium.sip").write_bytes(invite(number=FAR))
    (directory / "notes.txt").write_text("no request")
    return directory


def test_what_changes_is_told_and_exit_is_one(configs: tuple[Path, Path], messages: Path) -> None:
    """One line for each, with both verdicts and why; as JSON all of it in one object."""
    old, new = configs
    arguments = ("--config", old, "--with", new, "--source", SOURCE)
    done = run_command("diff", *arguments, messages)
    assert (done.returncode, done.stderr) == (1, "")
    change, summary = done.stdout.splitlines()
    assert change.startswith(f"{messages / 'premium.sip'}: allowed (identity_owned) -> refused 403 (number_denied): ")
    assert "list premium" in change
    assert summary.startswith("1 of 2 verdicts change from snapshot ")
    done = run_command("diff", *arguments, "--json", messages)
    assert done.returncode == 1
    said = json.loads(done.stdout)
    (changed,) = said["changed"]
    assert (said["judged"], changed["before"]["outcome"], changed["after"]["reason"]) == (2, "allowed", "number_denied")
    assert said["before"] != said["after"]


def test_nothing_changes_and_exit_is_zero(configs: tuple[Path, Path], messages: Path) -> None:
    old, _ = configs
    done = run_command("diff", "--config", old, "--with", old, "--source", SOURCE, messages)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0 of 2 verdicts change ")


def test_source_is_taken_from_the_file_then_the_manifest_then_the_option(
    configs: tuple[Path, Path], messages: Path
) -> None:
    """Each request by its own source; a side where the address does not tell."""
    old, new = configs
    inward = invite_from_carrier(OWNED, caller=FOREIGN)
    (messages / "inward.sip").write_bytes(f"# source: udp:{CARRIER_HOST}:5090 carriers\r\n".encode() + inward)
    (messages / "manifest.tsv").write_text(f"premium.sip\tudp:198.51.100.99:5060\tcustomers\ninward.sip\t{SOURCE}\n")
    done = run_command("diff", "--config", old, "--with", new, "--source", SOURCE, messages)
    assert (done.returncode, done.stderr) == (0, "")  # premium.sip is an unknown source's now, before and after
    config = yaml.safe_load(old.read_text(encoding="utf-8"))
    config["lists"] = [{"id": "callers", "kind": "deny", "direction": "from_carriers", "numbers": [FOREIGN]}]
    new.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = run_command("diff", "--config", old, "--with", new, "--source", SOURCE, messages)
    assert done.returncode == 1
    assert "inward.sip: allowed (carrier_call) -> refused 403 (number_denied)" in done.stdout


@pytest.mark.parametrize(
    ("name", "data", "source", "text"),
    [
        ("none.sip", None, SOURCE, "cannot read"),
        ("a.sip", b"no SIP\r\n\r\n", SOURCE, "is no SIP message that would be judged"),
        ("a.sip", b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n", SOURCE, "judged"),
        ("a.sip", invite(), "", "nothing says where"),
        ("a.sip", invite(), "udp:acme", "is no source; write udp:"),
        ("a.sip", b"# source: udp:192.0.2.1:5060 left\n" + invite(), "", "is no side"),
    ],
)
def test_what_cannot_be_judged_is_told_and_exit_is_two(
    configs: tuple[Path, Path], tmp_path: Path, name: str, data: bytes | None, source: str, text: str
) -> None:
    """One line each, no verdicts, no traceback."""
    old, new = configs
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    option = ("--source", source) if source else ()
    done = run_command("diff", "--config", old, "--with", new, *option, path)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    assert text in error
    assert str(path) in error


def test_bad_new_configuration_is_told_as_check_tells_it(configs: tuple[Path, Path], messages: Path) -> None:
    old, new = configs
    new.write_text("node: edge-1\n", encoding="utf-8")
    done = run_command("diff", "--config", old, "--with", new, "--source", SOURCE, messages)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(line.startswith(f"{new}:") for line in done.stderr.splitlines())


def test_file_of_numbers_is_laid_over_a_copy_of_the_inventory(configs: tuple[Path, Path], messages: Path) -> None:
    """What `numbers import` would change: what is in the inventory counts on, and nothing of it is touched."""
    old, _ = configs
    (messages / "kept.sip").write_bytes(invite(from_="<sip:+12125550100@acme.example>;tag=x"))
    (messages / "new.sip").write_bytes(invite(from_="<sip:+12125550101@acme.example>;tag=x"))
    numbers = old.parent / "numbers.csv"
    for number in ("+12125550100", "+12125550101"):
        numbers.write_text(f"number,customer\n{number},acme\n", encoding="utf-8")
        if number.endswith("0"):
            assert run_command("numbers", "import", "--config", old, numbers).returncode == 0
    data = sorted(Path(yaml.safe_load(old.read_text())["data_dir"]).rglob("*"))
    arguments = ("--config", old, "--numbers", numbers, "--source", SOURCE)
    done = run_command("diff", *arguments, messages)
    assert (done.returncode, done.stderr) == (1, "")
    change, summary = done.stdout.splitlines()
    assert change.startswith(f"{messages / 'new.sip'}: refused 403 (from_not_owned) -> allowed (identity_owned): ")
    assert summary.startswith("1 of 4 verdicts change from snapshot ")
    left = {path.name for path in Path(yaml.safe_load(old.read_text())["data_dir"]).rglob("*")}
    assert {path.name for path in data} <= left
    listed = run_command("numbers", "list", "--config", old).stdout
    assert "+12125550101" not in listed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number,customer\n+12125550100,nobody\n", "numbers.csv:2: nobody is no customer of the configuration"),
        ("number,customer\n+13105550100,acme\n", "numbers.csv:2: +13105550100: globex has it in the configuration"),
        ("nonsense\n", "numbers.csv:1: the header has the unknown column"),
        (None, "cannot read"),
    ],
)
def test_file_of_numbers_that_cannot_be_imported_is_told_by_its_lines(
    configs: tuple[Path, Path], messages: Path, text: str | None, said: str
) -> None:
    old, _ = configs
    numbers = old.parent / "numbers.csv"
    if text is not None:
        numbers.write_text(text, encoding="utf-8")
    done = run_command("diff", "--config", old, "--numbers", numbers, "--source", SOURCE, messages)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_something_must_be_compared_with(configs: tuple[Path, Path], messages: Path) -> None:
    done = run_command("diff", "--config", configs[0], "--source", SOURCE, messages)
    assert (done.returncode, done.stdout) == (2, "")
    assert "write --with FILE.yaml, --numbers FILE.csv, or both" in done.stderr
