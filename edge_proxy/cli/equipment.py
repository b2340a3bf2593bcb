"""`edge-proxy equipment`: what each customer calls with, since when and how often, and whether it is approved."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.cells import cell_len

if TYPE_CHECKING:
    from edge_proxy.config import Settings
    from edge_proxy.evidence.equipment import Equipment
    from edge_proxy.policy.wildcard import Wildcard

_DEFAULT_CONFIG: Final = Path("config/edge-proxy.yaml")
_MAX_SHOWN_CHARS: Final = 60
_CALLS: Final = 3
"""The column that holds numbers, which stand at its right edge."""

app = typer.Typer(no_args_is_help=True, help="The equipment that customers call with.")


@app.callback()
def equipment() -> None:
    """What each customer calls with, by what its calls say in User-Agent or Server."""


@app.command("list")
def list_equipment(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")] = _DEFAULT_CONFIG,
    customer: Annotated[str, typer.Option(help="Of this customer only.")] = "",
    since: Annotated[str, typer.Option(help="In calls from this day on: 2027-01-31 (UTC).")] = "",
    unapproved: Annotated[bool, typer.Option("--unapproved", help="Only what is not on its customer's list.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list for machines.")] = False,
) -> None:
    """What was seen in the evidence journal, the newest first. Exit 1 when --unapproved finds any."""
    from edge_proxy.config import load_settings
    from edge_proxy.evidence.equipment import read_equipment
    from edge_proxy.evidence.reading import parse_day

    settings = load_settings(config)
    view = read_equipment(settings.data_dir, _customer(settings, customer), parse_day(since))
    lists = _approved(settings)
    rows = [(one, _is_approved(one, lists.get(one.customer, ()))) for one in view.rows()]
    if unapproved:
        rows = [(one, approved) for one, approved in rows if approved is False]
    if view.unread:
        print(f"{view.unread} lines are no records; `edge-proxy evidence verify` names them", file=sys.stderr)
    if as_json:
        print(json.dumps([_as_json(one, approved) for one, approved in rows], ensure_ascii=False))
    elif rows:
        _print(rows)
    else:
        print("no equipment was seen that is not approved" if unapproved else "no equipment was seen")
    raise typer.Exit(1 if unapproved and rows else 0)


def _customer(settings: Settings, name: str) -> str:
    from edge_proxy.errors import EvidenceError

    if name and name not in {one.id for one in settings.customers}:
        raise EvidenceError(f"--customer {name!r} is none in the configuration")
    return name


def _approved(settings: Settings) -> dict[str, tuple[Wildcard, ...]]:
    from edge_proxy.policy.wildcard import Wildcard

    return {one.id: tuple(map(Wildcard, one.equipment.approved)) for one in settings.customers}


def _is_approved(one: Equipment, approved: tuple[Wildcard, ...]) -> bool | None:
    """None: the customer has no list."""
    return any(pattern.matches(one.name) for pattern in approved) if approved else None


def _as_json(one: Equipment, approved: bool | None) -> dict[str, object]:
    return {
        "customer": one.customer,
        "name": one.name,
        "product": one.described.product,
        "version": one.described.version,
        "calls": one.calls,
        "first_at": one.first_at,
        "last_at": one.last_at,
        "approved": approved,
    }


def _print(rows: list[tuple[Equipment, bool | None]]) -> None:
    """A table that is never cut: a terminal that is too narrow breaks its lines, and a pipe has no width."""
    words = {True: "yes", False: "NO", None: "-"}
    lines = [("customer", "equipment", "version", "calls", "first seen (UTC)", "last seen (UTC)", "approved")]
    for one, approved in rows:
        product, version = one.described
        seen = (one.first_at[:19].replace("T", " "), one.last_at[:19].replace("T", " "))
        cells = (one.customer, _shown(product) or "(names none)", _shown(version), str(one.calls))
        lines.append((*cells, *seen, words[approved]))
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            f"{' ' * (width - cell_len(cell))}{cell}" if at == _CALLS else f"{cell}{' ' * (width - cell_len(cell))}"
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(padded).rstrip())


def _shown(text: str) -> str:
    """For a terminal, which must not be told what to do by whoever calls."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return shown if len(shown) <= _MAX_SHOWN_CHARS else f"{shown[: _MAX_SHOWN_CHARS - 1]}…"
