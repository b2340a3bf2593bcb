"""The guard of `make bench-check`: has a call become dearer than it was when its cost was last recorded?

Instructions per call through the core (the pure engine), counted by callgrind, relative to a fixed piece of Python
counted in the same interpreter: a ratio that a busy machine does not move (repeated, it varies by less than 1 %), while
another build of Python moves it by some 6 %, so each version of it has a record of its own. Both are taken as the
difference of a long and a short run, so that what is done once is left out.
Exit code 1 when the ratio has grown by more than 10 % over `cost.json`; `--record` writes it there.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from edge_proxy.engine import PURE, VARIABLE

RECORDED: Final = Path(__file__).with_name("cost.json")
_MOST_GROWTH: Final = 1.10
_COLLECTED: Final = re.compile(r"Collected : ([0-9]+)")


def instructions(mode: str, shorter: int, longer: int) -> float:
    """Instructions that one unit of `mode` takes."""
    return (_counted(mode, longer) - _counted(mode, shorter)) / (longer - shorter)


def _counted(mode: str, count: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={name}/out",
            sys.executable, "-m", "tests.bench.core_calls", str(count), mode,
        ]  # fmt: skip
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
            env={"PYTHONHASHSEED": "0", VARIABLE: PURE},
        )
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"cannot count instructions of {mode}: {done.stderr.strip()[-2000:]}")
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.check", description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep what is measured now as what a call may cost")
    chosen = parser.parse_args()
    per_call = instructions("--counted", 20, 60)
    reference = instructions("--reference", 2, 6)
    cost = per_call / reference
    print(f"one call: {per_call / 1e6:.3f} million instructions, {cost:.4f} times the reference")
    records = json.loads(RECORDED.read_text())
    python = platform.python_version()
    if chosen.record:
        records[python] = {"cost": round(cost, 4), "instructions": round(per_call)}
        RECORDED.write_text(json.dumps(dict(sorted(records.items())), indent=2) + "\n")
        print(f"recorded in {RECORDED.name} for Python {python}")
        return
    known = python if python in records else min(records)
    if known != python:
        print(f"there is no record for Python {python}: that of {known} stands in, and may be off by 6 %")
    before = float(records[known]["cost"])
    growth = cost / before
    print(f"recorded: {before:.4f}; a call costs {growth:.1%} of that")
    if growth > _MOST_GROWTH:
        raise SystemExit(f"a call has become dearer by {growth - 1:.1%}; more than {_MOST_GROWTH - 1:.0%} is too much")


if __name__ == "__main__":
    main()
