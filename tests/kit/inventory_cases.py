"""What any database must do with an inventory: run on SQLite among the unit tests, on PostgreSQL among the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge_proxy.addr import Wall
from edge_proxy.inventory.rights import FOREVER, InventoryError, Right
from edge_proxy.inventory.store import (
    UNDO_DEPTH,
    Author,
    ChangeRefusedError,
    Inventory,
    Outcome,
    Owned,
    Reserved,
)

BASE = 12025550000
AUTHOR = Author("tester", Wall(1_767_225_600.0))

Numbers = list[tuple[int, int, str]]


def load(inventory: Inventory, text: str, *, dry_run: bool = False, reserved: list[Reserved] | None = None) -> Outcome:
    return inventory.import_csv([text.encode()], "x.csv", AUTHOR, dry_run=dry_run, reserved=reserved or [])


def ranges_csv(*rows: tuple[int, int, str]) -> str:
    return "first,last,customer\n" + "".join(f"+{BASE + a},+{BASE + b},{customer}\n" for a, b, customer in rows)


def state(inventory: Inventory) -> Numbers:
    """Every range with the customers of its rights."""
    return [
        (owned.first - BASE, owned.last - BASE, "/".join(right.customer for right in owned.rights))
        for owned in inventory.find()
    ]


def check_import_and_questions(inventory: Inventory) -> None:
    """What was imported is there, is found by any of its numbers, and by its customer."""
    outcome = load(inventory, ranges_csv((0, 99, "acme"), (200, 299, "globex"), (100, 149, "acme")))
    assert (outcome.added, outcome.changed, outcome.removed, outcome.unchanged) == (250, 0, 0, 0)
    assert outcome.by_customer == {"acme": (150, 0), "globex": (100, 0)}
    assert [inventory.who_owns(BASE + at) for at in (-1, 150, 300)] == [None, None, None]
    found = inventory.who_owns(BASE + 250)
    assert found == Owned(BASE + 200, BASE + 299, (Right("globex"),))
    assert [owned.first - BASE for owned in inventory.find("globex")] == [200]
    assert [owned.first - BASE for owned in inventory.find("", [(BASE + 299, BASE + 400), (BASE, BASE)])] == [0, 200]
    assert [change.kind for change in inventory.changes()] == ["import"]


def check_dry_run_changes_nothing(inventory: Inventory) -> None:
    """It says what would change: ranges, numbers, customers."""
    load(inventory, ranges_csv((0, 9, "acme")))
    before = inventory.changes(), state(inventory)
    outcome = load(inventory, ranges_csv((5, 14, "acme"), (20, 20, "globex")), dry_run=True)
    assert (outcome.id, outcome.added, outcome.unchanged) == (0, 6, 5)
    assert [(sign, first - BASE, last - BASE) for sign, first, last, _ in outcome.sample] == [
        ("+", 10, 14),
        ("+", 20, 20),
    ]
    assert (inventory.changes(), state(inventory)) == before


def check_conflict_leaves_everything(inventory: Inventory) -> None:
    """One row that is another customer's, and none of the file is taken; every such row is told."""
    load(inventory, ranges_csv((0, 99, "acme")))
    with pytest.raises(ChangeRefusedError) as caught:
        load(inventory, ranges_csv((200, 210, "globex"), (50, 60, "globex"), (98, 120, "globex"), (300, 300, "acme")))
    refused = caught.value
    assert [problem.line for problem in refused.problems] == [3, 4]
    assert refused.are_conflicts_only
    assert f"+{BASE + 98}-+{BASE + 99}: acme has it already" in refused.problems[1].text
    assert state(inventory) == [(0, 99, "acme")]
    assert len(inventory.changes()) == 1


def check_same_file_again_changes_nothing(inventory: Inventory) -> None:
    """Importing twice is importing once, also when the rows are cut differently; no change is logged."""
    load(inventory, ranges_csv((0, 99, "acme"), (200, 299, "globex")))
    again = load(inventory, ranges_csv((0, 9, "acme"), (10, 99, "acme"), (210, 250, "globex")))
    assert (again.id, again.added, again.unchanged) == (0, 0, 141)
    assert state(inventory) == [(0, 99, "acme"), (200, 299, "globex")]


def check_terms_replace_and_undo_brings_back(inventory: Inventory) -> None:
    """New terms for some numbers of a range cut it; undo joins it again, ranges and rights as they were."""
    load(inventory, ranges_csv((0, 99, "acme")))
    before = list(inventory.find())
    outcome = load(inventory, f"first,last,customer,valid_to\n+{BASE + 10},+{BASE + 19},acme,2030-12-31\n")
    assert (outcome.added, outcome.changed, outcome.by_customer) == (0, 10, {})
    assert [(owned.first - BASE, owned.rights[0].valid_to < FOREVER) for owned in inventory.find()] == [
        *((0, False), (10, True), (20, False))
    ]
    assert inventory.undo_last(AUTHOR).id == outcome.id
    assert list(inventory.find()) == before


def check_remove_and_port_out(inventory: Inventory) -> None:
    """Removed numbers are nobody's; ported-out ones stay in the books with their end."""
    load(inventory, ranges_csv((0, 99, "acme"), (100, 109, "globex")))
    removed = inventory.remove([(BASE + 90, BASE + 104)], "acme", "typed", AUTHOR)
    assert (removed.removed, removed.unchanged, removed.by_customer) == (10, 5, {"acme": (0, 10)})
    assert state(inventory) == [(0, 89, "acme"), (100, 109, "globex")]
    ported = inventory.port_out([(BASE, BASE + 9)], "", 1_800_000_000, 864_000, "typed", AUTHOR)
    assert ported.changed == 10
    found = inventory.who_owns(BASE)
    assert found is not None
    assert found.rights[0].end == 1_800_864_000
    assert inventory.remove([(BASE + 500, BASE + 501)], "", "typed", AUTHOR).id == 0


def check_undo_goes_back_step_by_step(inventory: Inventory) -> None:
    """As far as is kept and no further; what was undone is not undone again, and the log shows it all."""
    states = []
    for step in range(UNDO_DEPTH + 2):
        states.append(state(inventory))
        inventory.add([(BASE + 10 * step, BASE + 10 * step + 4)], Right("acme"), "typed", AUTHOR)
    for _ in range(UNDO_DEPTH):
        inventory.undo_last(AUTHOR)
        assert state(inventory) == states.pop()
    with pytest.raises(InventoryError, match="only 10 changes back"):
        inventory.undo_last(AUTHOR)
    kinds = [(change.kind, change.state) for change in inventory.changes(100)]
    assert kinds.count(("undo", "done")) == kinds.count(("add", "undone")) == UNDO_DEPTH
    assert kinds.count(("add", "settled")) == 2


def check_reserved_numbers_are_refused(inventory: Inventory) -> None:
    """What a customer has in the configuration goes to nobody else here; the same customer may have it in both."""
    reserved = [Reserved(BASE + 50, BASE + 59, "acme")]
    with pytest.raises(ChangeRefusedError) as caught:
        load(inventory, ranges_csv((0, 9, "globex"), (55, 70, "globex")), reserved=reserved)
    assert [(problem.line, "in the configuration" in problem.text) for problem in caught.value.problems] == [(3, True)]
    assert load(inventory, ranges_csv((55, 70, "acme")), reserved=reserved).added == 16


def check_time_after_time_is_no_conflict(inventory: Inventory) -> None:
    """A number may go from one customer to the next when the first one's time is over."""
    header = "number,customer,valid_from,valid_to\n"
    load(inventory, f"{header}+{BASE},acme,,2026-05-31\n")
    with pytest.raises(ChangeRefusedError):
        load(inventory, f"{header}+{BASE},globex,2026-05-31,\n")
    load(inventory, f"{header}+{BASE},globex,2026-06-01,\n")
    assert state(inventory) == [(0, 0, "acme/globex")]


def check_many_rows(inventory: Inventory) -> None:
    """More than a batch, more than are looked up one by one, interleaved with what is there."""
    odd = "number,customer\n" + "".join(f"+{BASE + 2 * at + 1},acme\n" for at in range(30_000))
    even = "number,customer\n" + "".join(f"+{BASE + 2 * at},globex\n" for at in range(30_000))
    load(inventory, odd)
    outcome = load(inventory, even)
    assert outcome.added == 30_000
    assert sum(1 for _ in inventory.find()) == 60_000
    inventory.undo_last(AUTHOR)
    assert sum(1 for _ in inventory.find()) == 30_000
    with pytest.raises(ChangeRefusedError) as caught:
        load(inventory, odd.replace("acme", "globex"))
    assert (len(caught.value.problems), caught.value.left_out) == (200, 29_800)
    assert inventory.remove([(BASE, BASE + 60_000)], "", "typed", AUTHOR).removed == 30_000


CASES: list[Callable[[Inventory], None]] = [
    check_import_and_questions,
    check_dry_run_changes_nothing,
    check_conflict_leaves_everything,
    check_same_file_again_changes_nothing,
    check_terms_replace_and_undo_brings_back,
    check_remove_and_port_out,
    check_undo_goes_back_step_by_step,
    check_reserved_numbers_are_refused,
    check_time_after_time_is_no_conflict,
    check_many_rows,
]
