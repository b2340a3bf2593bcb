"""The commands of the README's "Use it" that name files we ship: each does there what its comment says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.kit.proxy_process import run_command

ROOT = Path(__file__).parents[3]
REQUESTS = sorted((ROOT / "config/examples/requests").glob("*.sip"))
VERDICTS = {
    "from-the-carrier": "refused 404: called_not_owned ",
    "own-number": "allowed: identity_owned ",
    "somebody-elses-number": "refused 403: pai_not_owned ",
    "switched-network": "refused 403: pstn_origin ",
}


def commands() -> list[str]:
    """What the README tells people to type that names a file of ours, without its comment."""
    lines = re.findall(r"^    edge-proxy (.*?)(?:  +#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    return [line for line in lines if "config/examples" in line and "NEW" not in line]


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_shipped_request_is_judged_as_its_name_says(path: Path) -> None:
    """By the default configuration, from where its own first line says."""
    done = run_command("explain", path, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2].startswith(VERDICTS[path.stem])


def test_readme_shows_explain_diff_and_import() -> None:
    assert [shlex.split(command)[0] for command in commands()] == ["explain", "diff", "numbers"]


@pytest.mark.parametrize("command", commands(), ids=lambda command: shlex.split(command)[0])
def test_command_of_the_readme_runs_as_it_is_written(command: str, tmp_path: Path) -> None:
    """Exit 0, or of `diff` 1 for the one request that is judged otherwise; nothing on stderr."""
    default = (ROOT / "config/edge-proxy.yaml").read_text(encoding="utf-8")
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "own.yaml").write_text(default, encoding="utf-8")
    done = run_command(*shlex.split(command), "--config", "own.yaml", cwd=tmp_path)
    assert done.stderr == ""
    assert done.returncode == (1 if command.startswith("diff") else 0)
    assert done.stdout
