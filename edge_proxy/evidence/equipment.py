"""Read from the journal what equipment each customer has called with: its name and version, first and last time, calls.

The records themselves are the inventory, so that it survives restarts and covers every worker and as much time as is
kept. Read are INVITEs from customers, by what they say in User-Agent or Server. Never writes, needs no lock, and may
read a journal that is being written; memory is bounded by `MAX_NAMES` for each customer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edge_proxy.evidence.reading import attempt_lines
from edge_proxy.evidence.record import UNREADABLE

MAX_NAMES: Final = 1000
OTHERS: Final = "(others)"
"""What all further names of a customer are counted under."""

_VERSION: Final = re.compile(r"[ /](v\.?|IOS-|R)?(\d+\.\d[^\s/()]*)")


class _Call(msgspec.Struct, gc=False):
    """What is read of a record; in the form of evidence/record.py."""

    kind: str
    at: str
    side: str
    method: str
    customer: str | None = None
    user_agent: str = ""


_decode = msgspec.json.Decoder(_Call).decode


class Described(NamedTuple):
    """What equipment calls itself, taken apart as far as that can be done; the version is "" where none shows."""

    product: str
    version: str


@dataclass(slots=True)
class Equipment:
    """One name in one customer's calls. Times are as in the records: RFC 3339, UTC."""

    customer: str
    name: str
    first_at: str
    last_at: str
    calls: int

    @property
    def described(self) -> Described:
        return describe(self.name)


@dataclass(slots=True)
class EquipmentView:
    """What was found: by customer, then by name. `unread` counts lines that are no records."""

    seen: dict[str, dict[str, Equipment]]
    unread: int = 0

    def rows(self) -> list[Equipment]:
        """All of it, customer by customer, the newest in front."""
        rows: list[Equipment] = []
        for customer in sorted(self.seen):
            rows += sorted(self.seen[customer].values(), key=lambda one: one.last_at, reverse=True)
        return rows


def describe(name: str) -> Described:
    """Product and version of a User-Agent or Server: the first number with a dot in it, and what stands before it."""
    found = _VERSION.search(name)
    if found is None:
        return Described(name, "")
    prefix = found[1] or ""
    return Described(name[: found.start()].rstrip(" /"), (prefix if prefix == "IOS-" else "") + found[2])


def read_equipment(data_dir: Path, customer: str = "", since: date | None = None) -> EquipmentView:
    """What the journals below `data_dir` say; of one customer, and from the begin of a day on (UTC), where given.

    Raises EvidenceError when there is no journal, or it cannot be read.
    """
    view = EquipmentView({})
    first = "" if since is None else since.isoformat()
    for line in attempt_lines(data_dir, since):
        try:
            call = _decode(line)
        except UNREADABLE:
            view.unread += 1
            continue
        wanted = call.side == "customers" and call.method == "INVITE" and call.customer is not None
        if wanted and (not customer or call.customer == customer) and call.at >= first:
            _book(view, call)
    return view


def _book(view: EquipmentView, call: _Call) -> None:
    customer = call.customer or ""
    names = view.seen.setdefault(customer, {})
    name = call.user_agent
    if name not in names and len(names) >= MAX_NAMES:
        name = OTHERS
    seen = names.get(name)
    if seen is None:
        names[name] = Equipment(customer, name, call.at, call.at, 1)
        return
    # Each worker's records are in the order of time, those of several are not.
    seen.first_at = min(seen.first_at, call.at)
    seen.last_at = max(seen.last_at, call.at)
    seen.calls += 1
