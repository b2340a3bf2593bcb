"""Compile the inventory: `python -m edge_proxy.inventory.build`, a request as JSON in, the path of an index file out.

The file holds who owns what at one moment, from the inventory and the configuration together. Its name is a hash of
everything that went into it, so what has not changed is not made again. The same number in both, for two customers, is
a problem; so is a customer of the inventory that the configuration does not know.
"""

from __future__ import annotations

import hashlib
import json
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from heapq import merge
from itertools import compress, repeat
from operator import eq, itemgetter
from pathlib import Path
from typing import Final

from edge_proxy.compiled_files import begin, remove_old
from edge_proxy.compiled_notes import look_at
from edge_proxy.inventory.compiled import (
    BuildProblem,
    BuildRequest,
    BuildResult,
    InlineRange,
    index_path,
    index_version,
    map_index,
    remember_result,
    write_index,
)
from edge_proxy.inventory.overlay import describe_range
from edge_proxy.inventory.rights import FOREVER, InventoryError
from edge_proxy.inventory.schema import files_of
from edge_proxy.inventory.store import Inventory, Reading
from edge_proxy.numbers.index_file import LAYOUT, Batch, pack_columns

MAX_PROBLEMS: Final = 100

_VERSION_CHARS: Final = 12
_NOBODY: Final = -1
_UNKNOWN: Final = -2


def build(request: BuildRequest) -> BuildResult:
    """Make the index unless it is there, in a process of its own. Raises InventoryError."""
    look = look_at(files_of(request.url))
    result = _build(request)
    if look.states and not result.problems:
        remember_result(request, look, result)
    return result


def _build(request: BuildRequest) -> BuildResult:
    with Inventory.open(request.url, create=False) as inventory, inventory.reading() as reading:
        owners = _owners(reading, request)
        next_change_at = _next_change(reading, request.now)
        path = index_path(Path(request.directory), _version(reading, request, owners))
        if _is_whole(path):
            return BuildResult(str(path), next_change_at)
        begin()
        problems = _conflicts(reading, request)
        unknown = Counter[int]()
        inline = sorted((one.first, one.last, one.owner) for one in request.inline)
        if not problems:
            packed = pack_columns(_interleaved(_owned(reading, owners, unknown), inline), index_version(path))
        else:
            for _ in _owned(reading, owners, unknown):
                pass
        problems += _unknown_customers(reading, request, unknown)
        if problems:
            return BuildResult(problems=problems[:MAX_PROBLEMS])
    write_index(path, packed)
    map_index(path).verify_order()
    remove_old(path, "numbers-*.idx")
    return BuildResult(str(path), next_change_at, is_new=True)


def main() -> None:
    """Answer the request on standard input. What is wrong is part of the answer, not a traceback."""
    asked = json.load(sys.stdin)
    asked["inline"] = [InlineRange(**one) for one in asked["inline"]]
    try:
        answer = asdict(build(BuildRequest(**asked)))
    except InventoryError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


def _owners(reading: Reading, request: BuildRequest) -> dict[int, int]:
    """Whose numbers each holding is at this moment, by place; behind all places once more when others use them too.

    What the configuration gives as well, nobody else uses.
    """
    places = {customer: place for place, customer in enumerate(request.customers)}
    written = {stored.holding for one in request.inline for stored in reading.touching(one.first, one.last)}
    owners: dict[int, int] = {}
    for number, holding in reading.holdings.items():
        right = next((r for r in holding if r.holds_at(request.now)), None)
        place = _NOBODY if right is None else places.get(right.customer, _UNKNOWN)
        if right is not None and place >= 0 and number not in written and right.is_used_elsewhere_at(request.now):
            place += len(request.customers)
        owners[number] = place
        if any(right.customer not in places and right.end > request.now for right in holding):
            owners[number] = _UNKNOWN
    return owners


def _next_change(reading: Reading, now: float) -> float | None:
    """When a right begins or ends next, or its number leaves. Those that nobody uses any more count too: compiling
    again does no harm."""
    rights = (right for holding in reading.holdings.values() for right in holding)
    moments = (moment for right in rights for moment in (right.valid_from, right.ported_out_at, right.end))
    return min((moment for moment in moments if now < moment < FOREVER), default=None)


def _version(reading: Reading, request: BuildRequest, owners: dict[int, int]) -> str:
    inline = [(one.first, one.last, one.owner) for one in request.inline]
    parts = [LAYOUT, reading.revision, request.customers, inline, sorted(owners.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_VERSION_CHARS]


def _is_whole(path: Path) -> bool:
    try:
        map_index(path)
    except InventoryError:
        return False
    return True


def _owned(reading: Reading, owners: dict[int, int], unknown: Counter[int]) -> Iterator[Batch]:
    """What is owned now. Numbers of customers that are not known are counted, by holding, and left out."""
    for firsts, lasts, holdings in reading.columns():
        who = list(map(owners.__getitem__, holdings))
        if min(who) >= 0:
            yield firsts, lasts, who
            continue
        for first, last, holding in compress(zip(firsts, lasts, holdings, strict=True), map(eq, who, repeat(_UNKNOWN))):
            unknown[holding] += last - first + 1
        held = [owner >= 0 for owner in who]
        yield list(compress(firsts, held)), list(compress(lasts, held)), list(compress(who, held))


def _interleaved(many: Iterable[Batch], few: Sequence[tuple[int, int, int]]) -> Iterator[Batch]:
    """Sorted batches of ranges with some sorted ranges more between them, in order."""
    at = 0
    for batch in many:
        up_to = bisect_right(few, batch[0][-1], at, key=itemgetter(0)) if batch[0] else at
        if up_to == at:
            yield batch
            continue
        firsts, lasts, owners = map(list, zip(*merge(few[at:up_to], zip(*batch, strict=True)), strict=True))
        yield firsts, lasts, owners
        at = up_to
    if few[at:]:
        firsts, lasts, owners = map(list, zip(*few[at:], strict=True))
        yield firsts, lasts, owners


def _conflicts(reading: Reading, request: BuildRequest) -> list[BuildProblem]:
    """Numbers that the configuration gives to one customer and the inventory, now or later, to another."""
    problems: list[BuildProblem] = []
    for one in request.inline:
        customer = request.customers[one.owner]
        for stored in reading.touching(one.first, one.last):
            for right in reading.holdings[stored.holding]:
                if right.customer != customer and right.end > request.now and len(problems) < MAX_PROBLEMS:
                    shared = describe_range(max(one.first, stored.first), min(one.last, stored.last))
                    text = f"{shared} is {right.customer}'s in the inventory ({right}); take it out here or there"
                    problems.append(BuildProblem(one.key, text))
    return problems


def _unknown_customers(reading: Reading, request: BuildRequest, unknown: Counter[int]) -> list[BuildProblem]:
    known = set(request.customers)
    numbers = Counter[str]()
    for holding, count in unknown.items():
        for customer in {r.customer for r in reading.holdings[holding] if r.end > request.now} - known:
            numbers[customer] += count
    return [
        BuildProblem(
            "customers",
            f"the inventory gives {count} numbers to {customer}, which is no customer here; "
            f"add the customer, or take them away: edge-proxy numbers remove --customer {customer}",
        )
        for customer, count in sorted(numbers.items())
    ]


if __name__ == "__main__":
    main()
