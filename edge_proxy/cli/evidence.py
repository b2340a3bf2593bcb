"""`edge-proxy evidence`: what the journal holds, and whether anybody touched it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge_proxy.evidence.verify import VerifyReport

app = typer.Typer(no_args_is_help=True, help="The evidence journal.")


@app.command()
def verify(
    path: Annotated[
        Path, typer.Argument(help="A data directory, its evidence directory, a worker's journal or one segment.")
    ] = Path("data"),
    head: Annotated[
        str | None, typer.Option(help="SEQ:HASH noted earlier: finds the removal of the newest lines too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
) -> None:
    """Find every altered, removed, inserted or reordered line. Exit 1 when there is one."""
    from edge_proxy.errors import EvidenceError
    from edge_proxy.evidence.verify import verify as verify_journal

    expected: tuple[int, str] | None = None
    if head is not None:
        seq, _, digest = head.partition(":")
        if not seq.isdigit() or len(digest) != 64:
            raise EvidenceError(f"--head {head!r} is no SEQ:HASH; write a number, a colon and 64 hexadecimal digits")
        expected = int(seq), digest
    report = verify_journal(path, expected_head=expected)
    if as_json:
        print(json.dumps(_as_json(report) | {"workers": [_as_json(one) for one in report.workers]}))
    else:
        for finding in report.findings:
            print(finding)
        if report.findings_left_out:
            print(f"... and {report.findings_left_out} more")
        # A head belongs to one worker: of several, each is told, to be noted and handed in with that worker's journal.
        for one in (*report.workers, report):
            print(f"{one.path}: {_told(one)}")
    raise typer.Exit(0 if report.ok else 1)


def _told(report: VerifyReport) -> str:
    counts = f"{report.records} records ({report.attempts} attempts, {report.ends} ends)"
    found = len(report.findings) + report.findings_left_out
    if found:
        return f"{found} {'finding' if found == 1 else 'findings'} in {counts}"
    return f"intact, {counts}" + (f", head {report.last_seq}:{report.head}" if report.head else "")


def _as_json(report: VerifyReport) -> dict[str, object]:
    return {
        "path": str(report.path),
        "ok": report.ok,
        "records": report.records,
        "attempts": report.attempts,
        "ends": report.ends,
        "last_seq": report.last_seq,
        "head": report.head,
        "findings": [str(finding) for finding in report.findings],
        "findings_left_out": report.findings_left_out,
    }
