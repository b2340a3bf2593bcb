"""`edge-proxy scanners`: whom the running proxy ignores, and to ignore somebody no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

app = typer.Typer(no_args_is_help=True, help="Unknown sources that the running proxy ignores.")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration that it runs with.")]
_DEFAULT_CONFIG: Final = Path("config/edge-proxy.yaml")


@app.command("list")
def list_scanners(
    config: ConfigOption = _DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """Who is ignored, after how many requests that led nowhere, and for how long yet."""
    answer = _ask(config, {"ask": "scanners"})
    if as_json:
        print(json.dumps(answer))
        return
    scanners = answer.get("scanners")
    if not isinstance(scanners, list) or not scanners:
        print("no source is ignored")
        return
    for one in scanners:
        print(f"{one['source']:<40} {one['requests']:>8} requests  {one['left_s']:>9.1f} s left")


@app.command()
def unban(
    address: Annotated[str, typer.Argument(help="An address of the source, or its /64, as `list` shows it.")],
    config: ConfigOption = _DEFAULT_CONFIG,
) -> None:
    """Read again what this source sends, at once. Exit 1 when it was not ignored."""
    if not _ask(config, {"ask": "unban", "address": address}).get("was_ignored"):
        print(f"{address} is not ignored")
        raise typer.Exit(1)
    print(f"{address} is no longer ignored")


def _ask(config: Path, question: dict[str, object]) -> dict[str, object]:
    from edge_proxy.admin.control import ask
    from edge_proxy.config import load_settings

    return ask(load_settings(config).data_dir, question)
