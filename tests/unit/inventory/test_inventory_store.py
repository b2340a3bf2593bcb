"""The inventory on SQLite: the cases of every database, brute force against a plain dictionary, and broken files."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.inventory import overlay
from edge_proxy.inventory.overlay import Combination, Stored, plan_change, resolve
from edge_proxy.inventory.rights import Holding, InventoryError, Refusal, Right, lay_over, stand_beside
from edge_proxy.inventory.rows import Holdings, Problems, Rows
from edge_proxy.inventory.store import ChangeRefusedError, Inventory
from tests.kit.inventory_cases import AUTHOR, BASE, CASES, load, ranges_csv, state


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Inventory]:
    with Inventory.open(f"sqlite:///{tmp_path / 'numbers.sqlite'}") as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("check_"))
def test_sqlite_inventory(case: Callable[[Inventory], None], inventory: Inventory) -> None:
    """Each case of tests/kit/inventory_cases.py."""
    case(inventory)


def test_file_with_mistakes_and_conflicts_is_no_mere_conflict(inventory: Inventory) -> None:
    """The exit code tells a file that is wrong from one whose numbers are taken."""
    load(inventory, ranges_csv((0, 9, "acme")))
    with pytest.raises(ChangeRefusedError) as caught:
        load(inventory, ranges_csv((0, 0, "globex")) + "oops\n")
    assert not caught.value.are_conflicts_only
    assert [problem.line for problem in caught.value.problems] == [2, 3]


def test_inventory_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """Asking a question makes no file."""
    path = tmp_path / "numbers.sqlite"
    with pytest.raises(InventoryError, match="there is no inventory at"):
        Inventory.open(f"sqlite:///{path}", create=False)
    assert not path.exists()


def test_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """An InventoryError with the path, no traceback; the file stays as it is."""
    path = tmp_path / "numbers.sqlite"
    path.write_bytes(b"number,customer\n" * 1000)
    with pytest.raises(InventoryError, match=str(path)):
        Inventory.open(f"sqlite:///{path}")
    assert path.read_bytes() == b"number,customer\n" * 1000


def test_tables_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    """An old program does not write into what it does not know."""
    path = tmp_path / "numbers.sqlite"
    Inventory.open(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE number_inventory SET value = '2' WHERE key = 'schema'")
    database.close()
    with pytest.raises(InventoryError, match="tables of version 2"):
        Inventory.open(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "postgresql+psycopg://edge:secret@127.0.0.1:1/x"])
def test_database_that_cannot_be_opened_is_told_without_its_password(url: str) -> None:
    """What fails is told; what is secret is not."""
    with pytest.raises(InventoryError) as caught:
        Inventory.open(url)
    assert "secret" not in str(caught.value)


def test_failure_while_writing_leaves_nothing_behind(inventory: Inventory) -> None:
    """A change is one transaction: whatever breaks it, the inventory is as before."""
    load(inventory, ranges_csv((0, 9, "acme")))

    def fail(what: str, _: int) -> None:
        if what == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inventory.import_csv([ranges_csv((20, 29, "acme")).encode()], "x.csv", AUTHOR, progress=fail)
    assert state(inventory) == [(0, 9, "acme")]
    assert len(inventory.changes()) == 1


def test_two_imports_at_once_cannot_take_the_same_numbers(tmp_path: Path) -> None:
    """One waits for the other and then sees what it did: exactly one of the two gets the numbers."""
    url = f"sqlite:///{tmp_path / 'numbers.sqlite'}"
    Inventory.open(url).close()
    start = threading.Barrier(2)
    refused: list[str] = []

    def take(customer: str) -> None:
        with Inventory.open(url) as mine:
            start.wait()
            try:
                load(mine, ranges_csv((0, 99, customer)))
            except ChangeRefusedError:
                refused.append(customer)

    threads = [threading.Thread(target=take, args=(customer,)) for customer in ("acme", "globex")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    with Inventory.open(url) as after:
        assert state(after) == [(0, 99, "globex" if refused == ["acme"] else "acme")]


def test_inventory_may_be_opened_for_the_first_time_by_several_at_once(tmp_path: Path) -> None:
    """Whoever comes second finds the tables made, and there is one id for all."""
    start = threading.Barrier(4)
    revisions: list[str] = []

    def open_it() -> None:
        start.wait()
        with Inventory.open(f"sqlite:///{tmp_path / 'numbers.sqlite'}") as opened, opened.reading() as reading:
            revisions.append(reading.revision)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(revisions) == 4
    assert len(set(revisions)) == 1


def test_reading_goes_on_while_a_change_is_written(tmp_path: Path) -> None:
    """Whoever compiles sees the inventory as it was, and is not made to wait."""
    url = f"sqlite:///{tmp_path / 'numbers.sqlite'}"
    with Inventory.open(url) as writer, Inventory.open(url) as reader:
        load(writer, ranges_csv((0, 9, "acme")))
        seen = []
        writer.import_csv(
            [ranges_csv((20, 29, "acme")).encode()], "x.csv", AUTHOR, progress=lambda *_: seen.append(state(reader))
        )
        assert seen
        assert all(found == [(0, 9, "acme")] for found in seen)
        assert state(reader) == [(0, 9, "acme"), (20, 29, "acme")]


RIGHTS = [Right("acme"), Right("acme", 0, 50), Right("globex", 50, 90), Right("globex"), Right("acme", 90)]
Row = tuple[int, int, int]
ROWS = st.lists(
    st.tuples(st.integers(1, 25), st.integers(0, 12), st.integers(0, len(RIGHTS) - 1)).map(
        lambda drawn: (drawn[0], drawn[0] + drawn[1], drawn[2])
    ),
    max_size=8,
)
Plain = dict[int, Holding]


def plainly(rows: list[Row], before: Plain, rule: Callable[[Holding, Holding], Holding | Refusal]) -> Plain | None:
    """Number by number, as anybody would; None: refused."""
    wanted: Plain = {}
    for first, last, right in sorted(rows, key=lambda row: row[0]):
        for number in range(first, last + 1):
            made = stand_beside(wanted.get(number, ()), (RIGHTS[right],))
            if isinstance(made, Refusal):
                return None
            wanted[number] = made
    after = dict(before)
    for number, holding in wanted.items():
        made = rule(before.get(number, ()), holding)
        if isinstance(made, Refusal):
            return None
        after[number] = made
    return {number: holding for number, holding in after.items() if holding}


@settings(max_examples=400)
@given(st.lists(ROWS, max_size=5), st.booleans())
def test_changes_agree_with_brute_force(files: list[list[Row]], removes: bool) -> None:
    """File after file, number by number: the same is accepted and the same results, in ranges that stay disjoint."""

    def take_away(old: Holding, _: Holding) -> Holding:
        return tuple(right for right in old if right.customer != "acme")

    holdings = Holdings()
    stored: list[Stored] = []
    plain: Plain = {}
    for place, rows in enumerate(files):
        rule = take_away if removes and place % 2 else lay_over
        problems, read = Problems(), Rows()
        for line, (first, last, right) in enumerate(rows, 2):
            read.append(first, last, holdings.number_of((RIGHTS[right],)), line)
        resolved = resolve(read, holdings, problems)
        plan = plan_change(resolved, iter(stored), Combination(holdings, rule), problems, lambda _: None)
        expected = plainly(rows, plain, rule)
        assert (problems.count == 0) == (expected is not None)
        if expected is None:
            continue
        changed = sum(plain.get(number) != expected.get(number) for number in plain.keys() | expected.keys())
        assert plan.added + plan.changed + plan.removed == changed
        kept = [one for one in stored if one not in plan.taken_out]
        stored = sorted(kept + [Stored(*put, place) for put in plan.put_in])
        plain = expected
        assert all(one.last < other.first for one, other in pairwise(stored))
        assert {n: holdings[one.holding] for one in stored for n in range(one.first, one.last + 1)} == plain


def test_range_under_many_equal_rows_stays_whole() -> None:
    """A million numbers that are all in a stored range with the same right leave it as it is, uncut."""
    holdings, problems, rows = Holdings(), Problems(), Rows()
    acme = holdings.number_of((Right("acme"),))
    for number in range(10, 5_000, 3):
        rows.append(number, number, acme, number)
    plan = plan_change(
        resolve(rows, holdings, problems),
        [Stored(1, 10_000, acme, 1)],
        Combination(holdings, lay_over),
        problems,
        lambda _: None,
    )
    assert plan.changes_nothing
    assert plan.unchanged == 1_664


def test_ranges_are_described_as_they_are_typed() -> None:
    """One number stands alone."""
    assert overlay.describe_range(BASE, BASE) == f"+{BASE}"
    assert overlay.describe_range(BASE, BASE + 1) == f"+{BASE}-+{BASE + 1}"
