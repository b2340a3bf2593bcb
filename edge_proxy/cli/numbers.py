"""`edge-proxy numbers`: the inventory of numbers from the command line, every change with a dry run and an undo.

Ranges are written `+12025550100`, `+12025550100-+12025550199` or `+1202555*`. Exit codes: 0 fine, 1 refused because
somebody else has the numbers (or nothing was found), 2 bad input or configuration.
"""

from __future__ import annotations

import csv
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from edge_proxy.addr import Wall
from edge_proxy.config import Settings, load_settings
from edge_proxy.inventory.rights import (
    FOREVER,
    InventoryError,
    Right,
    format_end,
    format_when,
    parse_grace,
    parse_right,
    parse_when,
)
from edge_proxy.numbers.ownership import parse_range

if TYPE_CHECKING:
    from rich.progress import TaskID

    from edge_proxy.inventory.store import Author, ChangeRefusedError, Inventory, Outcome, Owned, Progress, Reserved

EXIT_REFUSED: Final = 1
EXIT_BAD_INPUT: Final = 2

_CHUNK_BYTES: Final = 1 << 20
_DEFAULT_CONFIG: Final = Path("config/edge-proxy.yaml")
EXPORTED_COLUMNS: Final = (
    *("first", "last", "customer", "valid_from", "valid_to"),
    *("right", "reference", "ported_out_at", "grace_days"),
)

app = typer.Typer(no_args_is_help=True, help="The inventory of numbers: who may call as which.")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines.")]
RangesArgument = Annotated[list[str], typer.Argument(help="+12025550100, +12025550100-+12025550199 or +1202555*.")]
OptionalRangesArgument = Annotated[
    list[str] | None, typer.Argument(help="+12025550100, +12025550100-+12025550199 or +1202555*.")
]
CustomerOption = Annotated[str, typer.Option("--customer", help="The customer's id.")]


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="A CSV file: number,customer or first,last,customer or prefix,customer.")
    ],
    config: ConfigOption = _DEFAULT_CONFIG,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lay a file over the inventory: all of it, or with anything wrong in it, nothing.

    More columns: valid_from, valid_to, right (owned or delegated), reference, ported_out_at, grace_days. A row takes
    the place of what the same customer has on those numbers for that time.
    """
    settings = load_settings(config)
    with (
        _progress(file) as (chunks, progress),  # first: a file that cannot be read makes no inventory
        _opened(settings, _access(dry_run=dry_run), as_json=as_json) as inventory,
    ):
        outcome = inventory.import_csv(
            chunks,
            str(file),
            _author(),
            customers={customer.id for customer in settings.customers},
            reserved=_reserved(settings),
            dry_run=dry_run,
            progress=progress,
        )
    _print_outcome(outcome, dry_run=dry_run, as_json=as_json)


@app.command()
def add(
    ranges: RangesArgument,
    customer: CustomerOption,
    valid_from: Annotated[str, typer.Option(help="The first day, such as 2026-03-01.")] = "",
    valid_to: Annotated[str, typer.Option(help="The last day.")] = "",
    right: Annotated[str, typer.Option(help="owned or delegated.")] = "owned",
    reference: Annotated[str, typer.Option(help="For delegated numbers: what shows that the owner agrees.")] = "",
    config: ConfigOption = _DEFAULT_CONFIG,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give numbers to a customer."""
    settings = load_settings(config)
    with _told():
        terms = parse_right(
            customer=customer, valid_from=valid_from, valid_to=valid_to, kind=right, reference=reference
        )
        numbers = _parse_ranges(ranges)
    if customer not in {known.id for known in settings.customers}:
        raise InventoryError(f"{customer} is no customer of {config}; add it there, or correct the name")
    with _opened(settings, _access(dry_run=dry_run), as_json=as_json) as inventory:
        source, reserved = " ".join(ranges)[:1000], _reserved(settings)
        outcome = inventory.add(numbers, terms, source, _author(), reserved=reserved, dry_run=dry_run)
    _print_outcome(outcome, dry_run=dry_run, as_json=as_json)


@app.command()
def remove(
    ranges: OptionalRangesArgument = None,
    customer: Annotated[str, typer.Option(help="Only this customer's; without numbers, all of them.")] = "",
    ported_out: Annotated[str, typer.Option(help="Keep them in the books as ported out on this day.")] = "",
    grace_days: Annotated[str, typer.Option(help="How long the customer may go on calling as ported-out ones.")] = "0",
    config: ConfigOption = _DEFAULT_CONFIG,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take numbers away, or note that they were ported to another carrier. Exit 1 when nobody has them."""
    settings = load_settings(config)
    with _told():
        numbers = _parse_ranges(ranges or [])
        left_at = parse_when(ported_out, "--ported-out") if ported_out else 0
        grace_s = parse_grace(grace_days)
        if grace_s and not ported_out:
            raise ValueError("--grace-days begin when a number is ported out; give --ported-out too")
    if not numbers and not customer:
        raise InventoryError("nothing to remove was named; give numbers, or --customer for all of a customer's")
    with _opened(settings, _Access.READ, as_json=as_json) as inventory:
        source = " ".join(ranges or [f"all of {customer}"])[:1000]
        if not numbers:
            numbers = [(owned.first, owned.last) for owned in inventory.find(customer)]
        if ported_out:
            outcome = inventory.port_out(numbers, customer, left_at, grace_s, source, _author(), dry_run=dry_run)
        else:
            outcome = inventory.remove(numbers, customer, source, _author(), dry_run=dry_run)
    _print_outcome(outcome, dry_run=dry_run, as_json=as_json)
    if not outcome.removed and not outcome.changed:
        raise typer.Exit(EXIT_REFUSED)


@app.command("list")
def list_(
    ranges: OptionalRangesArgument = None,
    customer: Annotated[str, typer.Option(help="Only this customer's.")] = "",
    changes: Annotated[bool, typer.Option("--changes", help="The log of changes instead, newest first.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many lines; 0: all.")] = 0,
    config: ConfigOption = _DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ranges and who has them, or the changes that were made; with --json, one object a line."""
    settings = load_settings(config)
    with _told():
        numbers = _parse_ranges(ranges or [])
    with _opened(settings, _Access.READ, as_json=as_json) as inventory:
        if changes:
            for change in inventory.changes(limit or 1_000_000):
                if as_json:
                    print(json.dumps(change._asdict()))
                else:
                    print(
                        f"{change.id:>6} {format_when(change.made_at):<20} {change.made_by}: {change.kind} "
                        f"{change.source}: +{change.added} ~{change.changed} -{change.removed} ({change.state})"
                    )
            return
        for count, owned in enumerate(inventory.find(customer, numbers), 1):
            print(json.dumps(_as_json(owned)) if as_json else f"{_range(owned)} {'; '.join(map(str, owned.rights))}")
            if count == limit:
                return


@app.command("who-owns")
def who_owns(
    number: Annotated[str, typer.Argument(help="A number such as +12025550100.")],
    config: ConfigOption = _DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Who has a number, now and at other times, in the inventory and in the configuration. Exit 1: nobody, now."""
    settings = load_settings(config)
    with _told():
        first, last = parse_range(number)
        if first != last:
            raise ValueError(f"{number} is a range; `edge-proxy numbers list {number}` shows who has what of it")
    now = time.time()
    written = [reserved.customer for reserved in _reserved(settings) if reserved.first <= first <= reserved.last]
    owned = None
    if _exists(settings):
        with _opened(settings, _Access.READ) as inventory:
            owned = inventory.who_owns(first)
    rights = owned.rights if owned is not None else ()
    holds = bool(written) or any(right.holds_at(now) for right in rights)
    if as_json:
        holders = written or [right.customer for right in rights if right.holds_at(now)]
        found = {"number": number, "owner": holders[0] if holders else None}
        in_inventory = None if owned is None else _as_json(owned)
        print(json.dumps(found | {"configuration": written, "inventory": in_inventory}))
    else:
        for customer in written:
            print(f"{number}: {customer}, in the configuration")
        for right in rights:
            print(f"{number}: {right}; {_state(right, now)}")
        if not written and not rights:
            print(f"{number}: nobody's")
    raise typer.Exit(0 if holds else EXIT_REFUSED)


@app.command()
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; default: standard output.")] = None,
    customer: Annotated[str, typer.Option(help="Only this customer's.")] = "",
    config: ConfigOption = _DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """All of the inventory as CSV that `import` reads; with --json, one object a line."""
    settings = load_settings(config)
    with _opened(settings, _Access.READ) as inventory, _sink(output) as sink:
        if not as_json:
            writer = csv.writer(sink, lineterminator="\n")
            writer.writerow(EXPORTED_COLUMNS)
            writer.writerows(exported_rows(inventory, customer))
            return
        for owned in inventory.find(customer):
            rights = [right for right in owned.rights if customer in {"", right.customer}]
            sink.write(json.dumps(_as_json(owned._replace(rights=tuple(rights)))) + "\n")


def exported_rows(inventory: Inventory, customer: str = "") -> Iterator[list[str]]:
    """What stands below `EXPORTED_COLUMNS`: every right to every range, or those of one customer."""
    for owned in inventory.find(customer):
        for right in owned.rights:
            if customer in {"", right.customer}:
                yield [f"+{owned.first}", f"+{owned.last}", *_cells(right).values()]


@app.command()
def undo(config: ConfigOption = _DEFAULT_CONFIG, dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Take back the last change; once more, the one before it."""
    settings = load_settings(config)
    with _opened(settings, _Access.READ, as_json=as_json) as inventory:
        change = inventory.undo_last(_author(), dry_run=dry_run)
    if as_json:
        print(json.dumps({"dry_run": dry_run, "undone": change._asdict()}))
        return
    would = "would undo" if dry_run else "undid"
    print(
        f"{would} change {change.id}, {change.kind} {change.source} of {format_when(change.made_at)} by "
        f"{change.made_by}: {change.added} numbers added, {change.changed} changed, {change.removed} removed"
    )


class _Access(Enum):
    """What a command wants of the inventory."""

    READ = "read"
    CHANGE = "change"
    """It is made where there is none."""
    TRY = "try"
    """A dry run: where there is none, it is as if there were an empty one."""


def _access(*, dry_run: bool) -> _Access:
    return _Access.TRY if dry_run else _Access.CHANGE


@contextmanager
def _opened(settings: Settings, access: _Access, *, as_json: bool = False) -> Iterator[Inventory]:
    """The configuration's inventory. What is refused is told line by line, and ends the command."""
    # Imported here: SQLAlchemy takes a third of a second, and the other commands do without it.
    from edge_proxy.compile import inventory_url
    from edge_proxy.inventory.store import ChangeRefusedError, Inventory

    url, create = inventory_url(settings), access is _Access.CHANGE
    if access is _Access.TRY and not _exists(settings):
        url, create = "sqlite://", True
    try:
        with Inventory.open(url, create=create) as inventory:
            yield inventory
    except ChangeRefusedError as refused:
        _print_refusal(refused, as_json=as_json)
        raise typer.Exit(EXIT_REFUSED if refused.are_conflicts_only else EXIT_BAD_INPUT) from refused


def _exists(settings: Settings) -> bool:
    """Whether there may be an inventory; of a database that the configuration names, it is for itself to say."""
    return settings.numbers.inventory is not None or (settings.data_dir / "numbers.sqlite").exists()


@contextmanager
def _told() -> Iterator[None]:
    """What was typed wrong, as an error that the command line prints."""
    try:
        yield
    except ValueError as error:
        raise InventoryError(str(error)) from error


@contextmanager
def _progress(file: Path) -> Iterator[tuple[Iterator[bytes], Progress | None]]:
    """The file in chunks, with a bar on a terminal."""
    try:
        opened = file.open("rb")
    except OSError as error:
        raise InventoryError(f"cannot read {file}: {error.strerror or error}") from error
    with opened:
        chunks = iter(partial(opened.read, _CHUNK_BYTES), b"")
        if not sys.stderr.isatty():
            yield chunks, None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            reading = bars.add_task("reading", total=max(os.fstat(opened.fileno()).st_size, 1))
            tasks: dict[str, TaskID] = {}

            def told(what: str, more: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=None)
                bars.advance(tasks[what], more)

            def read() -> Iterator[bytes]:
                for chunk in chunks:
                    bars.advance(reading, len(chunk))
                    yield chunk

            yield read(), told


@contextmanager
def _sink(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears when it is complete."""
    if output is None:
        yield sys.stdout
        return
    fresh = output.with_name(f"{output.name}.{os.getpid()}.new")
    try:
        with fresh.open("x", encoding="utf-8", newline="") as file:
            yield file
        fresh.rename(output)
    except OSError as error:
        raise InventoryError(f"cannot write {output}: {error.strerror or error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _parse_ranges(texts: list[str]) -> list[tuple[int, int]]:
    from edge_proxy.inventory.rows import parse_prefix

    return [
        (first, last)
        for text in texts
        for first, last in (parse_prefix(text[:-1]) if text.endswith("*") else [parse_range(text)])
    ]


def _reserved(settings: Settings) -> list[Reserved]:
    """The numbers that stand in the configuration itself."""
    from edge_proxy.inventory.store import Reserved

    return [Reserved(first, last, customer.id) for customer in settings.customers for first, last in customer.ranges]


def _author() -> Author:
    from edge_proxy.inventory.store import Author

    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        name = f"uid {os.getuid()}"
    return Author(name[:128], Wall(time.time()))


def _state(right: Right, now: float) -> str:
    if right.holds_at(now):
        return "holds now, in its grace" if now >= right.ported_out_at else "holds now"
    return "not yet" if now < right.valid_from else "over"


def _range(owned: Owned) -> str:
    return f"+{owned.first}" if owned.first == owned.last else f"+{owned.first}-+{owned.last}"


def _cells(right: Right) -> dict[str, str]:
    """A right as the cells of a CSV file."""
    return {
        "customer": right.customer,
        "valid_from": format_when(right.valid_from) if right.valid_from else "",
        "valid_to": format_end(right.valid_to) if right.valid_to < FOREVER else "",
        "right": right.kind.value,
        "reference": right.reference,
        "ported_out_at": format_when(right.ported_out_at) if right.ported_out_at < FOREVER else "",
        "grace_days": str(right.grace_s // 86_400) if right.grace_s else "",
    }


def _as_json(owned: Owned) -> dict[str, object]:
    rights = [{name: cell for name, cell in _cells(right).items() if cell} for right in owned.rights]
    return {"first": f"+{owned.first}", "last": f"+{owned.last}", "rights": rights}


def _print_outcome(outcome: Outcome, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"ok": True, "dry_run": dry_run} | asdict(outcome)))
        return
    for sign, first, last, rights in outcome.sample if dry_run else ():
        print(f"{sign} +{first}{'' if first == last else f'-+{last}'} {rights}")
    if dry_run and outcome.sample_left_out:
        print(f"... and {outcome.sample_left_out} ranges more")
    for customer, (got, lost) in outcome.by_customer.items():
        print(f"{customer}: +{got} -{lost} numbers")
    counts = (
        f"{outcome.added} numbers added, {outcome.changed} changed, {outcome.removed} removed, "
        f"{outcome.unchanged} left as they were"
    )
    change = f"change {outcome.id}" if outcome.id else "nothing to change"
    print(f"{outcome.source}: {'dry run, nothing was changed' if dry_run else change}: {counts}")


def _print_refusal(refused: ChangeRefusedError, *, as_json: bool) -> None:
    if as_json:
        problems = [{"line": problem.line, "text": problem.text} for problem in refused.problems]
        print(json.dumps({"ok": False, "problems": problems, "problems_left_out": refused.left_out}))
        return
    for problem in refused.problems:
        print(f"{refused.source}:{problem.line}: {problem.text}", file=sys.stderr)
    if refused.left_out:
        print(f"... and {refused.left_out} more", file=sys.stderr)
    print(refused, file=sys.stderr)
