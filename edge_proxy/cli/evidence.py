"""`edge-proxy evidence`: what the journal holds, and whether anybody touched it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

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
        print(
            json.dumps(
                {
                    "ok": report.ok,
                    "records": report.records,
                    "attempts": report.attempts,
                    "ends": report.ends,
                    "last_seq": report.last_seq,
                    "head": report.head,
                    "findings": [str(finding) for finding in report.findings],
                    "findings_left_out": report.findings_left_out,
                }
            )
        )
    else:
        for finding in report.findings:
            print(finding)
        if report.findings_left_out:
            print(f"... and {report.findings_left_out} more")
        counts = f"{report.records} records ({report.attempts} attempts, {report.ends} ends)"
        if report.ok:
            where = f", head {report.last_seq}:{report.head}" if report.head else ""
            print(f"{path}: intact, {counts}{where}")
        else:
            print(f"{path}: {len(report.findings) + report.findings_left_out} findings in {counts}")
    raise typer.Exit(0 if report.ok else 1)
