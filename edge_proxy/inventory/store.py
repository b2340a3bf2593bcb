"""The inventory in its database: import, add, remove, port out, list, who owns, undo. Each change is all or nothing.

A change is planned by reading (overlay.py) and carried out in the same transaction, so two at once cannot both take a
number. A dry run ends after the plan. Every change can be undone, the last one first, ten of them back. Problems with
rows are told by `ChangeRefusedError`, with their lines; the time, who asks and the progress bar come from outside.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat
from typing import Final, NamedTuple, Self, TypeAlias

from sqlalchemy import Connection, Engine, Select, bindparam, delete, func, insert, select, text, update

from edge_proxy.addr import Wall
from edge_proxy.inventory import schema
from edge_proxy.inventory.overlay import Combination, Plan, Stored, describe_range, plan_change, resolve
from edge_proxy.inventory.rights import (
    FOREVER,
    Holding,
    InventoryError,
    Refusal,
    Right,
    RightKind,
    lay_over,
    ported_out,
    without,
)
from edge_proxy.inventory.rows import Holdings, Problem, Problems, Rows, read_rows

UNDO_DEPTH: Final = 10
"""How many changes can be undone, one after the other."""

_BATCH: Final = 20_000
_SAMPLE: Final = 20
_FEW: Final = 2_000
"""Up to so many segments are looked up one by one; for more, the stored ranges are read in one go."""

Progress = Callable[[str, int], None]
"""Called with what is being done and how much more of it is done: bytes read, ranges compared, ranges written."""


class ChangeRefusedError(InventoryError):
    """A change that was not made. `problems` are told with their lines, `left_out` more are counted."""

    def __init__(self, source: str, problems: Problems) -> None:
        super().__init__(f"{source}: {problems.count} problem{'s' * (problems.count > 1)}, nothing was changed")
        self.source = source
        self.problems: list[Problem] = sorted(problems.told, key=lambda problem: problem.line)
        self.left_out = problems.count - len(problems.told)
        self.are_conflicts_only = problems.conflicts == problems.count


Columns: TypeAlias = tuple[list[int], list[int], list[int]]
"""Stored ranges: first numbers, last numbers, holdings."""


class Author(NamedTuple):
    """Who changes the inventory, and when."""

    name: str
    now: Wall


class Reserved(NamedTuple):
    """Numbers that a customer has by other means than the inventory, such as the configuration."""

    first: int
    last: int
    customer: str


class Change(NamedTuple):
    """One line of the log. Counts are of numbers."""

    id: int
    kind: str
    made_at: int
    made_by: str
    source: str
    sha256: str
    added: int
    changed: int
    removed: int
    unchanged: int
    state: str


class Owned(NamedTuple):
    """One stored range and all rights to it."""

    first: int
    last: int
    rights: Holding


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did, or would do. Counts are of numbers; `id` is 0 after a dry run and when nothing changed."""

    id: int
    kind: str
    source: str
    rows: int
    added: int
    changed: int
    removed: int
    unchanged: int
    by_customer: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Numbers that the customer got and lost. One that stays with different terms is neither."""
    sample: list[tuple[str, int, int, str]] = field(default_factory=list)
    """The first of the ranges that change: + or -, first, last, rights."""
    sample_left_out: int = 0


class Inventory:
    """An open inventory. Close it, or use it with `with`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Self:
        """Raises InventoryError when it cannot be opened, or does not exist and is not to be made."""
        return cls(schema.open_engine(url, create=create))

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Changes.

    def import_csv(
        self,
        chunks: Iterable[bytes],
        source: str,
        author: Author,
        *,
        customers: Collection[str] | None = None,
        reserved: Collection[Reserved] = (),
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Outcome:
        """Lay a file over the inventory. `customers`: the ids that may appear; `reserved`: what is given elsewhere.

        Raises ChangeRefusedError.

        A row replaces what the same customer has on those numbers for that time; another customer's is a conflict.
        """
        with self._change("import", source, author, dry_run=dry_run, progress=progress) as work:
            rows = read_rows(chunks, work.holdings, work.problems, customers)
            return work.carry_out(rows, lay_over, reserved)

    def add(
        self,
        numbers: Iterable[tuple[int, int]],
        right: Right,
        source: str,
        author: Author,
        *,
        reserved: Collection[Reserved] = (),
        dry_run: bool = False,
    ) -> Outcome:
        """Give ranges (first, last) to a customer. Raises ChangeRefusedError, InventoryError."""
        with self._change("add", source, author, dry_run=dry_run) as work:
            return work.carry_out(_as_rows(numbers, work.holdings.number_of((right,))), lay_over, reserved)

    def remove(
        self, numbers: Iterable[tuple[int, int]], customer: str, source: str, author: Author, *, dry_run: bool = False
    ) -> Outcome:
        """Take ranges from a customer; "": from everybody. Numbers that nobody has are counted as unchanged."""
        with self._change("remove", source, author, dry_run=dry_run) as work:
            return work.carry_out(_as_rows(numbers, 0), lambda old, _: without(old, customer))

    def port_out(
        self,
        numbers: Iterable[tuple[int, int]],
        customer: str,
        at: int,
        grace_s: int,
        source: str,
        author: Author,
        *,
        dry_run: bool = False,
    ) -> Outcome:
        """The numbers leave at `at` (seconds since 1970); their customer may call as them for `grace_s` more."""
        with self._change("port-out", source, author, dry_run=dry_run) as work:
            return work.carry_out(_as_rows(numbers, 0), lambda old, _: ported_out(old, customer, at, grace_s))

    def undo_last(self, author: Author, *, dry_run: bool = False) -> Change:
        """Take back the last change that was not taken back yet; returns it. Raises InventoryError."""
        with schema.explained(self._engine), self._engine.begin() as connection:
            _lock(connection)
            last = connection.execute(
                select(schema.changes)
                .where(schema.changes.c.kind != "undo", schema.changes.c.state != "undone")
                .order_by(schema.changes.c.id.desc())
                .limit(1)
            ).first()
            if last is None:
                raise InventoryError("cannot undo: there is no change that was not undone")
            change = Change(*last)
            if change.state == "settled":
                raise InventoryError(
                    f"cannot undo change {change.id}: only {UNDO_DEPTH} changes back are kept; import what was before"
                )
            if dry_run:
                return change
            connection.execute(delete(schema.ranges).where(schema.ranges.c.change == change.id))
            taken = schema.undo.c
            back = select(taken.first, taken.last, taken.holding, taken.change).where(taken.undoes == change.id)
            connection.execute(insert(schema.ranges).from_select(["first", "last", "holding", "change"], back))
            connection.execute(delete(schema.undo).where(schema.undo.c.undoes == change.id))
            connection.execute(update(schema.changes).where(schema.changes.c.id == change.id).values(state="undone"))
            entry = Change(
                *(0, "undo", int(author.now), author.name, f"change {change.id}", ""),
                *(change.removed, change.changed, change.added, 0, "done"),
            )
            _log(connection, entry)
            return change

    # Questions.

    def who_owns(self, number: int) -> Owned | None:
        """The range that a number is in, with all rights to it: past, present and to come."""
        with self._reading() as (connection, holdings):
            found = next(iter(_touching(connection, number, number)), None)
            return None if found is None else Owned(found.first, found.last, holdings[found.holding])

    def find(self, customer: str = "", touching: Iterable[tuple[int, int]] = ()) -> Iterator[Owned]:
        """Ranges in order: all, or one customer's, or those that touch the given ones."""
        with self._reading() as (connection, holdings):
            wanted = {number for number in holdings if any(r.customer == customer for r in holdings[number])}
            spans = sorted(touching)
            seen = -1
            for stored in (
                _all(connection)
                if not spans
                else (found for first, last in spans for found in _touching(connection, first, last))
            ):
                if stored.first > seen and (not customer or stored.holding in wanted):
                    yield Owned(stored.first, stored.last, holdings[stored.holding])
                seen = max(seen, stored.first)

    def changes(self, limit: int = 20) -> list[Change]:
        """The log, newest first."""
        with schema.explained(self._engine), self._engine.begin() as connection:
            found = connection.execute(select(schema.changes).order_by(schema.changes.c.id.desc()).limit(limit))
            return [Change(*row) for row in found]

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """All that a compiler needs, as it is at one moment."""
        with self._reading() as (connection, holdings):
            known = connection.scalar(select(schema.inventory.c.value).where(schema.inventory.c.key == "id"))
            last = connection.scalar(select(func.max(schema.changes.c.id))) or 0
            yield Reading(
                revision=f"{known}:{last}",
                holdings={number: holdings[number] for number in holdings if number},
                columns=partial(_columns, connection),
                touching=partial(_touching, connection),
            )

    @contextmanager
    def _reading(self) -> Iterator[tuple[Connection, Holdings]]:
        with schema.explained(self._engine), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection, _load_holdings(connection)

    @contextmanager
    def _change(
        self, kind: str, source: str, author: Author, *, dry_run: bool, progress: Progress | None = None
    ) -> Iterator[_Work]:
        with schema.explained(self._engine), self._engine.begin() as connection:
            if not dry_run:
                _lock(connection)
            work = _Work(connection, kind, source, author, dry_run=dry_run, progress=progress or _no_progress)
            yield work


class Reading(NamedTuple):
    """An inventory at one moment: good while the `reading()` that gave it is open."""

    revision: str
    """Different whenever the inventory is."""
    holdings: dict[int, Holding]
    columns: Callable[[], Iterator[Columns]]
    """All ranges, sorted and disjoint, many at a time."""
    touching: Callable[[int, int], Iterator[Stored]]
    """Those that hold a number from first to last."""


class _Work:
    """One change under way, inside its transaction."""

    def __init__(
        self, connection: Connection, kind: str, source: str, author: Author, *, dry_run: bool, progress: Progress
    ) -> None:
        self.holdings = _load_holdings(connection)
        self.problems = Problems()
        self._stored_holdings = set(self.holdings)
        self._connection = connection
        self._kind = kind
        self._source = source
        self._author = author
        self._dry_run = dry_run
        self._progress = progress

    def carry_out(
        self,
        rows: Rows,
        rule: Callable[[Holding, Holding], Holding | Refusal],
        reserved: Collection[Reserved] = (),
    ) -> Outcome:
        """Plan, and unless it is a dry run or changes nothing, write. Raises ChangeRefusedError."""
        resolved = resolve(rows, self.holdings, self.problems)
        self._check_reserved(resolved, reserved)
        plan = plan_change(
            resolved,
            self._touched(resolved),
            Combination(self.holdings, rule),
            self.problems,
            partial(self._progress, "comparing"),
        )
        if self.problems.count:
            raise ChangeRefusedError(self._source, self.problems)
        change = Change(
            *(0, self._kind, int(self._author.now), self._author.name, self._source, rows.sha256),
            *(plan.added, plan.changed, plan.removed, plan.unchanged, "done"),
        )
        number = 0
        if not self._dry_run and not plan.changes_nothing:
            number = _log(self._connection, change)
            self._write(plan, number)
        return self._outcome(plan, change, number, rows.count)

    def _check_reserved(self, rows: Rows, reserved: Collection[Reserved]) -> None:
        for first, last, customer in reserved:
            for at in range(bisect_left(rows.lasts, first), bisect_right(rows.firsts, last)):
                if any(right.customer != customer for right in self.holdings[rows.holdings[at]]):
                    shared = describe_range(max(first, rows.firsts[at]), min(last, rows.lasts[at]))
                    text = f"{shared}: {customer} has it in the configuration; take it out there first"
                    self.problems.add(rows.lines[at], text, is_conflict=True)

    def _touched(self, rows: Rows) -> Iterator[Stored]:
        """What is stored where the rows are, each once, sorted; of many rows, also what is between them."""
        if len(rows) > _FEW:
            yield from _touching(self._connection, rows.firsts[0], rows.lasts[-1])
            return
        seen = -1
        for first, last, _, _ in rows:
            for stored in _touching(self._connection, first, last):
                if stored.first > seen:
                    seen = stored.first
                    yield stored

    def _write(self, plan: Plan, number: int) -> None:
        connection = self._connection
        fresh = set(plan.put_in.holdings) - self._stored_holdings
        _store_holdings(connection, ((holding, self.holdings[holding]) for holding in sorted(fresh)))
        if plan.taken_out:
            taken = ((number, *stored) for stored in plan.taken_out)
            _insert(connection, "number_undo", ("undoes", "first", "last", "holding", "change"), taken, self._progress)
            gone = select(schema.undo.c.first).where(schema.undo.c.undoes == number)
            connection.execute(delete(schema.ranges).where(schema.ranges.c.first.in_(gone)))
        put_in = zip(plan.put_in.firsts, plan.put_in.lasts, plan.put_in.holdings, repeat(number), strict=False)
        _insert(connection, "number_ranges", ("first", "last", "holding", "change"), put_in, self._progress)
        kept = (
            select(schema.changes.c.id)
            .where(schema.changes.c.state == "done", schema.changes.c.kind != "undo")
            .order_by(schema.changes.c.id.desc())
            .offset(UNDO_DEPTH)
            .limit(1)
        )
        settled = connection.scalar(kept)
        if settled is not None:
            connection.execute(delete(schema.undo).where(schema.undo.c.undoes <= settled))
            old = (schema.changes.c.id <= settled, schema.changes.c.state == "done", schema.changes.c.kind != "undo")
            connection.execute(update(schema.changes).where(*old).values(state="settled"))

    def _outcome(self, plan: Plan, change: Change, number: int, rows: int) -> Outcome:
        got, lost = Counter[str](), Counter[str]()
        for (old, new), count in plan.moved.items():
            before = {right.customer for right in self.holdings[old]}
            after = {right.customer for right in self.holdings[new]}
            for customer in after - before:
                got[customer] += count
            for customer in before - after:
                lost[customer] += count
        sample = [("-", s.first, s.last, s.holding) for s in plan.taken_out[:_SAMPLE]]
        sample += [("+", *put) for put in islice(plan.put_in, _SAMPLE)]
        sample.sort(key=lambda row: (row[1], row[0] == "+"))
        return Outcome(
            id=number,
            kind=change.kind,
            source=change.source,
            rows=rows,
            added=plan.added,
            changed=plan.changed,
            removed=plan.removed,
            unchanged=plan.unchanged,
            by_customer={customer: (got[customer], lost[customer]) for customer in sorted(got | lost)},
            sample=[
                (sign, first, last, "; ".join(map(str, self.holdings[holding])))
                for sign, first, last, holding in sample[:_SAMPLE]
            ],
            sample_left_out=max(len(plan.taken_out) + len(plan.put_in) - _SAMPLE, 0),
        )


def _no_progress(what: str, more: int) -> None:
    """Nobody watches."""


def _as_rows(numbers: Iterable[tuple[int, int]], holding: int) -> Rows:
    """Ranges that were typed: their place in the list is their line."""
    rows = Rows()
    for place, (first, last) in enumerate(numbers, 1):
        rows.append(first, last, holding, place)
    rows.count = len(rows.firsts)
    return rows


def _lock(connection: Connection) -> None:
    """One change at a time; reading goes on."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE number_changes IN SHARE ROW EXCLUSIVE MODE"))
    else:
        # A statement that writes takes SQLite's lock, and waits for it, before anything is read.
        connection.execute(update(schema.inventory).where(schema.inventory.c.key == "").values(value=""))


def _log(connection: Connection, change: Change) -> int:
    fields = change._asdict()
    del fields["id"]
    number = connection.execute(insert(schema.changes).values(**fields)).inserted_primary_key
    assert number is not None  # noqa: S101 - one row was inserted
    return int(number[0])


def _all(connection: Connection) -> Iterator[Stored]:
    return _stored(connection, select(schema.ranges).order_by(schema.ranges.c.first), {})


_before = (
    select(schema.ranges).where(schema.ranges.c.first < bindparam("a")).order_by(schema.ranges.c.first.desc()).limit(1)
)
_between = (
    select(schema.ranges)
    .where(schema.ranges.c.first >= bindparam("a"), schema.ranges.c.first <= bindparam("b"))
    .order_by(schema.ranges.c.first)
)


def _touching(connection: Connection, first: int, last: int) -> Iterator[Stored]:
    """Stored ranges are disjoint: one may reach in from before, the others begin inside."""
    for stored in _stored(connection, _before, {"a": first}):
        if stored.last >= first:
            yield stored
    yield from _stored(connection, _between, {"a": first, "b": last})


_as_stored: Callable[[object], Stored] = partial(tuple.__new__, Stored)  # `Stored._make`, in half the time


def _stored(
    connection: Connection, query: Select[tuple[int, int, int, int]], given: dict[str, int]
) -> Iterator[Stored]:
    for batch in connection.execute(query, given, execution_options={"yield_per": _BATCH}).partitions():
        yield from map(_as_stored, batch)


def _columns(connection: Connection) -> Iterator[Columns]:
    """Past the layer that would make an object of every row, where the driver is ours."""
    columns = schema.ranges.c
    query = select(columns.first, columns.last, columns.holding).order_by(columns.first)
    if connection.dialect.name == "postgresql":
        for batch in connection.execute(query, execution_options={"yield_per": _BATCH}).partitions():
            yield _as_columns(batch)
        return
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - the transaction is open
    cursor = driver.execute(str(query))
    while rows := cursor.fetchmany(_BATCH):
        yield _as_columns(rows)


def _as_columns(rows: Sequence[Sequence[int]]) -> Columns:
    firsts, lasts, holdings = map(list, zip(*rows, strict=True))
    return firsts, lasts, holdings


def _load_holdings(connection: Connection) -> Holdings:
    holdings = Holdings()
    parts: list[Right] = []
    before = 0
    for number, _, customer, start, end, kind, reference, ported, grace in connection.execute(
        select(schema.rights).order_by(schema.rights.c.holding, schema.rights.c.place)
    ):
        if number != before and parts:
            holdings.put(before, tuple(parts))
            parts = []
        before = number
        parts.append(
            Right(
                customer=customer,
                valid_from=start or 0,
                valid_to=FOREVER if end is None else end,
                kind=RightKind(kind),
                reference=reference,
                ported_out_at=FOREVER if ported is None else ported,
                grace_s=grace,
            )
        )
    if parts:
        holdings.put(before, tuple(parts))
    return holdings


def _store_holdings(connection: Connection, holdings: Iterable[tuple[int, Holding]]) -> None:
    rows = (
        {
            "holding": number,
            "place": place,
            "customer": right.customer,
            "valid_from": right.valid_from or None,
            "valid_to": None if right.valid_to == FOREVER else right.valid_to,
            "kind": right.kind.value,
            "reference": right.reference,
            "ported_out_at": None if right.ported_out_at == FOREVER else right.ported_out_at,
            "grace_s": right.grace_s,
        }
        for number, holding in holdings
        for place, right in enumerate(holding)
    )
    while batch := list(islice(rows, _BATCH)):
        connection.execute(insert(schema.rights), batch)


def _insert(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Iterator[tuple[int, ...]], progress: Progress
) -> None:
    """Many rows of integers, past the layers that would turn each into a dictionary and back."""
    names = ", ".join(f'"{column}"' for column in columns)
    if connection.dialect.name == "postgresql":
        driver = connection.connection.driver_connection
        assert driver is not None  # noqa: S101 - the transaction is open
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            while batch := list(islice(rows, _BATCH)):
                copy.write("".join(["\t".join(map(str, row)) + "\n" for row in batch]))
                progress("writing", len(batch))
        return
    statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own names
    while batch := list(islice(rows, _BATCH)):
        connection.exec_driver_sql(statement, batch)
        progress("writing", len(batch))
