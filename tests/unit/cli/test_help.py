"""What `--help` shows reads well at every width: no line is broken where the source happened to break it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", [["diff"], ["numbers", "import"]])
def test_no_line_of_help_is_left_half_empty(command: list[str]) -> None:
    """Of a paragraph, a line ends where the next word has no room, except its last."""
    width = 100
    done = subprocess.run(
        [sys.executable, "-m", "edge_proxy", *command, "--help"],
        cwd=ROOT,
        env={"COLUMNS": str(width), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout.partition("╭")[0].splitlines()
    for line, following in itertools.pairwise(text):
        if line.strip() and following.strip():
            assert len(line.rstrip()) + 1 + len(following.split()[0]) >= width - 2, line
