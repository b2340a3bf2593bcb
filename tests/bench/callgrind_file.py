"""Read what callgrind wrote: own and inclusive instructions of every function, and how often it was entered."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"(c?fn)=\((\d+)\)(?: (.*))?")


@dataclass
class Counted:
    """The counts of one thread, or of several together."""

    own: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    edges: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    """Caller and callee: how often, and the callee's inclusive instructions on the caller's account."""

    @property
    def total(self) -> int:
        return sum(self.own.values())

    def inclusive(self, functions: Collection[str]) -> tuple[int, int]:
        """How often this set of functions was entered from outside it, and the instructions until they returned."""
        entered = instructions = 0
        for (caller, callee), (calls, cost) in self.edges.items():
            if callee in functions and caller not in functions:
                entered += calls
                instructions += cost
        return entered, instructions

    def read(self, path: Path) -> None:
        """Add the counts of a file."""
        names: dict[str, str] = {}
        function = callee = ""
        calls = 0
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _NAME.match(line)
            if found is not None:
                kind, number, name = found.groups()
                if name is not None:
                    names[number] = name
                if kind == "fn":
                    function = names[number]
                else:
                    callee = names[number]
            elif line.startswith("calls="):
                calls = int(line[6:].split()[0])
            elif line[:1].isdigit() or line[:1] in {"+", "-", "*"}:
                cost = int(line.split()[1])
                if calls:
                    edge = self.edges[function, callee]
                    edge[0] += calls
                    edge[1] += cost
                    calls = 0
                else:
                    self.own[function] += cost
