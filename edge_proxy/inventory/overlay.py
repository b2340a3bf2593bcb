"""Lay rows over what is stored: sorted ranges in, what must be taken out and put in so that the change is made.

Two passes over sorted ranges, both linear. `resolve` makes the rows of one file disjoint, and `plan_change` merges
them with the stored ranges, which are disjoint as well: every number stands in one range at most, whose holding lists
all rights to it. What two holdings make together is worked out once per pair and remembered. Whatever is refused goes
to `problems`, with its line; a plan with problems is not carried out.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import sub
from typing import Final, NamedTuple

from edge_proxy.addr import E164
from edge_proxy.inventory.rights import Holding, Refusal, stand_beside
from edge_proxy.inventory.rows import Holdings, Problems, Rows
from edge_proxy.numbers.e164 import format_e164

NOBODY: Final = 0
"""The holding of numbers that nobody has."""

Segment = tuple[int, int, int, int]
"""First and last number, holding, line."""


class Stored(NamedTuple):
    """One range as it is in the database; `change` is the one that put it there."""

    first: int
    last: int
    holding: int
    change: int


_NOTHING: Final = Stored(2**63, 2**63, NOBODY, 0)
_BATCH: Final = 20_000


@dataclass(slots=True)
class Ranges:
    """Ranges in columns, sorted and disjoint."""

    firsts: array[int] = field(default_factory=lambda: array("Q"))
    lasts: array[int] = field(default_factory=lambda: array("Q"))
    holdings: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.firsts, self.lasts, self.holdings, strict=True)

    def append(self, first: int, last: int, holding: int) -> None:
        """Ranges of one holding that touch become one."""
        if self.lasts and self.lasts[-1] + 1 == first and self.holdings[-1] == holding:
            self.lasts[-1] = last
        else:
            self.firsts.append(first)
            self.lasts.append(last)
            self.holdings.append(holding)


@dataclass(slots=True)
class Plan:
    """What a change takes out and puts in. Both are sorted; `moved` counts numbers by holding before and after."""

    put_in: Ranges = field(default_factory=Ranges)
    taken_out: list[Stored] = field(default_factory=list)
    moved: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def added(self) -> int:
        """Numbers that were nobody's."""
        return sum(count for (old, new), count in self.moved.items() if old == NOBODY != new)

    @property
    def changed(self) -> int:
        """Numbers that somebody had, and has on other terms now."""
        return sum(count for (old, new), count in self.moved.items() if NOBODY != old != new != NOBODY)

    @property
    def removed(self) -> int:
        return sum(count for (old, new), count in self.moved.items() if old != NOBODY == new)

    @property
    def unchanged(self) -> int:
        return sum(count for (old, new), count in self.moved.items() if old == new)

    @property
    def changes_nothing(self) -> bool:
        return not self.put_in and not self.taken_out


def describe_range(first: int, last: int) -> str:
    """`+12025550100` or `+12025550100-+12025550199`."""
    text = format_e164(E164(first))
    return text if first == last else f"{text}-{format_e164(E164(last))}"


class Combination:
    """What two holdings make together, by number, remembered. None: they do not go together."""

    def __init__(self, holdings: Holdings, rule: Callable[[Holding, Holding], Holding | Refusal]) -> None:
        self._holdings = holdings
        self._rule = rule
        self.known: dict[tuple[int, int], int | Refusal] = {}

    def of(self, old: int, new: int) -> int | Refusal:
        known = self.known.get((old, new))
        if known is None:
            made = self._rule(self._holdings[old], self._holdings[new])
            known = made if isinstance(made, Refusal) else self._holdings.number_of(made)
            self.known[old, new] = known
        return known


def resolve(rows: Rows, holdings: Holdings, problems: Problems) -> Rows:
    """The rows of a file, sorted and disjoint. The same said twice is once; contradictions are problems."""
    rows.sort()
    if not rows.overlaps:
        return rows
    resolved = Rows(count=rows.count, sha256=rows.sha256)
    for segment in _disjoint(rows, holdings, problems):
        resolved.append(*segment)
    return resolved


def _disjoint(rows: Iterable[Segment], holdings: Holdings, problems: Problems) -> Iterator[Segment]:
    together = Combination(holdings, stand_beside)
    in_hand: list[Segment] = []  # what later rows may still touch: mostly the last row alone
    end = -1
    for row in rows:
        if row[0] > end:
            yield from in_hand
            in_hand = [row]
            end = row[1]
            continue
        done = 0
        while in_hand[done][1] < row[0]:
            done += 1
        yield from in_hand[:done]
        in_hand = _lay(in_hand[done:], row, together, problems)
        end = in_hand[-1][1]
    yield from in_hand


def _lay(in_hand: list[Segment], row: Segment, together: Combination, problems: Problems) -> list[Segment]:
    """Cut the segments in hand, which leave no gap from the row's beginning on, where the row begins and ends."""
    first, last, holding, line = row
    laid: list[Segment] = []

    def put(start: int, stop: int, what: int, where: int) -> None:
        if laid and laid[-1][1] + 1 == start and laid[-1][2] == what:
            laid[-1] = (laid[-1][0], stop, what, laid[-1][3])
        else:
            laid.append((start, stop, what, where))

    for start, stop, what, where in in_hand:
        low, high = max(start, first), min(stop, last)
        if low > high:
            put(start, stop, what, where)
            continue
        made = together.of(what, holding)
        if isinstance(made, Refusal):
            problems.add(line, f"{describe_range(low, high)}: {made.text}, line {where}", is_conflict=True)
            made = what
        if start < low:
            put(start, low - 1, what, where)
        put(low, high, made, where)
        if high < stop:
            put(high + 1, stop, what, where)
    end = laid[-1][1]
    if end < last:
        put(end + 1, last, holding, line)
    return laid


def plan_change(
    rows: Rows, stored: Iterable[Stored], combination: Combination, problems: Problems, compared: Callable[[int], None]
) -> Plan:
    """Merge disjoint, sorted rows with the stored ranges that they may touch, which are so as well.

    `compared` is told now and then how many rows more are done.
    """
    plan = Plan()
    ahead = iter(stored)
    met = _Met(next(ahead, None), plan)
    if met.stored is None and all(combination.of(NOBODY, new) == new != NOBODY for new in set(rows.holdings)):
        # Nothing is there yet: the rows are the plan.
        plan.put_in = Ranges(rows.firsts, rows.lasts, rows.holdings)
        for (holding, span), count in Counter(
            zip(rows.holdings, map(sub, rows.lasts, rows.firsts), strict=True)
        ).items():
            plan.moved[NOBODY, holding] += count * (span + 1)
        compared(len(rows))
        return plan
    segments = iter(rows)
    while batch := list(islice(segments, _BATCH)):
        _merge(batch, ahead, met, combination, problems)
        compared(len(batch))
    met.settle()
    return plan


def _merge(
    batch: list[Segment], ahead: Iterator[Stored], met: _Met, combination: Combination, problems: Problems
) -> None:
    """One step of the merge. A row that is stored already, word for word, is what most rows of a monthly file are."""
    plan = met.plan
    moved, known = plan.moved, combination.known
    same: Counter[int] = Counter()
    for first, last, holding, line in batch:
        while met.last < first:
            met.go_on(next(ahead, None))
        if (
            first == met.first
            and last == met.last
            and not met.pieces
            and known.get((met.holding, holding)) == met.holding
        ):
            same[met.holding] += last - first + 1
            met.go_on(next(ahead, None))
            continue
        at = first
        while met.first <= last:
            if at < met.first:
                _put(at, met.first - 1, combination.of(NOBODY, holding), plan, problems, line)
                at = met.first
            high = min(last, met.last)
            new = combination.of(met.holding, holding)
            if isinstance(new, Refusal):
                problems.add(line, f"{describe_range(at, high)}: {new.text}", is_conflict=True)
            else:
                moved[met.holding, new] += high - at + 1
                if new != met.holding or met.pieces:
                    met.replace(at, high, new)
            at = high + 1
            if met.last > last:
                break
            met.go_on(next(ahead, None))
        if at <= last:
            _put(at, last, combination.of(NOBODY, holding), plan, problems, line)
    for holding, count in same.items():
        moved[holding, holding] += count


def _put(first: int, last: int, new: int | Refusal, plan: Plan, problems: Problems, line: int) -> None:
    """Numbers that nobody had."""
    if isinstance(new, Refusal):
        problems.add(line, f"{describe_range(first, last)}: {new.text}", is_conflict=True)
        return
    plan.moved[NOBODY, new] += last - first + 1
    if new != NOBODY:
        plan.put_in.append(first, last, new)


class _Met:
    """The stored range that the merge is at, and what becomes of its parts. Past the end it begins at infinity."""

    def __init__(self, stored: Stored | None, plan: Plan) -> None:
        self.plan = plan
        self.pieces: list[tuple[int, int, int]] = []
        self.stored = stored
        self.first, self.last, self.holding, _ = stored or _NOTHING

    def go_on(self, stored: Stored | None) -> None:
        if self.pieces:
            self.settle()
        self.stored = stored
        self.first, self.last, self.holding, _ = stored or _NOTHING

    def replace(self, first: int, last: int, holding: int) -> None:
        """This part is another's now; parts come in order."""
        at = self.pieces[-1][1] + 1 if self.pieces else self.first
        if at < first:
            self._add(at, first - 1, self.holding)
        self._add(first, last, holding)

    def settle(self) -> None:
        """Every part is known: take the range out and put its parts in."""
        if self.stored is None or not self.pieces:
            return
        if self.pieces[-1][1] < self.last:
            self._add(self.pieces[-1][1] + 1, self.last, self.holding)
        self.plan.taken_out.append(self.stored)
        for first, last, holding in self.pieces:
            if holding != NOBODY:
                self.plan.put_in.append(first, last, holding)
        self.pieces.clear()

    def _add(self, first: int, last: int, holding: int) -> None:
        if self.pieces and self.pieces[-1][2] == holding:
            first = self.pieces.pop()[0]
        self.pieces.append((first, last, holding))
