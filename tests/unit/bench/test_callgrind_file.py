"""What callgrind writes becomes own and inclusive counts."""

from __future__ import annotations

from pathlib import Path

from tests.bench.callgrind_file import Counted

PROFILE = """# callgrind format
version: 1
events: Ir
fl=(1) turn.c
fn=(1) turn
10 100
cfn=(2) parse
calls=3 20
11 900
+1 7
cfn=(3) send
calls=1 30
13 50

fn=(2)
20 300
cfn=(4) slice
calls=6 40
21 600

fn=(4)
40 600

fn=(3)
30 50
"""


def test_own_and_inclusive_counts(tmp_path: Path) -> None:
    """A call's line is the callee's cost; a set of functions is entered from outside it only."""
    path = tmp_path / "callgrind.out"
    path.write_text(PROFILE, encoding="utf-8")
    counted = Counted()
    counted.read(path)
    assert dict(counted.own) == {"turn": 107, "parse": 300, "slice": 600, "send": 50}
    assert counted.total == 1057
    assert counted.inclusive({"parse"}) == (3, 900)
    assert counted.inclusive({"parse", "slice"}) == (3, 900)
    assert counted.inclusive({"slice", "send"}) == (7, 650)
