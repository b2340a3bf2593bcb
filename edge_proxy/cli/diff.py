"""`edge-proxy diff`: which saved requests get another verdict from a new configuration than from the present one.

Requests are files, or all `*.sip` files of a directory. Where one came from is said, first match first, by a line
`# source: udp:IP:PORT [side]` before its start line, by its row in the directory's `manifest.tsv` (name, source, and a
side if need be, with tabs between), or by --source for all. Nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.cli.diff_numbers import compile_with
from edge_proxy.cli.saved_request import split_origin
from edge_proxy.config.endpoints import parse_source
from edge_proxy.errors import EdgeProxyError, RemoteProtocolError
from edge_proxy.pipeline.saved import judge_saved
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import Verdict

MANIFEST: Final = "manifest.tsv"

_MAX_FILE_BYTES: Final = 1_048_576
_MAX_TOLD: Final = 20


class DiffError(EdgeProxyError):
    """What was asked to be compared cannot be."""


class SavedRequest(NamedTuple):
    """One request and where it came from."""

    path: Path
    data: bytes
    transport: Transport
    address: Address
    side: Side | None


class Change(NamedTuple):
    """One request on which the two configurations differ."""

    path: Path
    before: Verdict
    after: Verdict


def diff_messages(
    old: Path, new: Path, numbers: Path | None, paths: list[Path], source: str, side: str, *, as_json: bool
) -> bool:
    """Print what changes; whether anything does. Raises DiffError for what cannot be judged, before anything is
    printed."""
    before, after = compile_with(old, None), compile_with(new, numbers)
    changes: list[Change] = []
    problems: list[str] = []
    judged = 0
    for path in _files(paths):
        try:
            saved = _read(path, _manifest_row(path) or f"{source} {side}".strip())
            change = _compare(saved, before, after)
        except DiffError as error:
            problems.append(str(error))
            continue
        judged += 1
        if change is not None:
            changes.append(change)
    if problems:
        more = [f"and {len(problems) - _MAX_TOLD} more"] if len(problems) > _MAX_TOLD else []
        raise DiffError("\n".join([*problems[:_MAX_TOLD], *more]))
    if not judged:
        raise DiffError("there is no request to judge; name files, or directories that hold *.sip files")
    if as_json:
        _print_json(changes, judged, before, after)
    else:
        for change in changes:
            print(f"{change.path}: {_shown(change.before)} -> {_shown(change.after)}: {change.after.text}")
        print(f"{len(changes)} of {judged} verdicts change from snapshot {before.version} to {after.version}")
    return bool(changes)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.sip"))
        else:
            yield path


def _manifest_row(path: Path) -> str:
    """What the directory's manifest says of a file: source and side with a blank between, or ""."""
    try:
        text = (path.parent / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise DiffError(f"cannot read {path.parent / MANIFEST}: {error}") from error
    for line in text.splitlines():
        name, *rest = line.split("\t")
        if name == path.name:
            return " ".join(rest)
    return ""


def _read(path: Path, origin: str) -> SavedRequest:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DiffError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise DiffError(f"{path} is larger than any request; name files that hold one request each")
    source, side, data = split_origin(data)
    if not source:
        source, _, side = origin.partition(" ")
        side = side.strip()
    if not source:
        advice = f"begin the file with `# source: udp:IP:PORT`, write it into {MANIFEST}, or give --source"
        raise DiffError(f"nothing says where {path} came from; {advice}")
    if side not in {"", *Side}:
        raise DiffError(f"{path}: {side[:40]!r} is no side; write customers or carriers")
    try:
        transport, address = parse_source(source)
    except ValueError as error:
        raise DiffError(f"{path}: {error}") from error
    return SavedRequest(path, data, transport, address, Side(side) if side else None)


def _compare(saved: SavedRequest, before: Snapshot, after: Snapshot) -> Change | None:
    try:
        one, other = (
            judge_saved(snapshot, saved.data, saved.transport, saved.address, saved.side).verdict
            for snapshot in (before, after)
        )
    except RemoteProtocolError as error:
        where = f" at byte {error.offset}" if error.offset >= 0 else ""
        raise DiffError(f"{saved.path} is no SIP message that would be judged{where}: {error}") from error
    is_same = (one.outcome, one.status, one.reason) == (other.outcome, other.status, other.reason)
    return None if is_same else Change(saved.path, one, other)


def _shown(verdict: Verdict) -> str:
    status = f" {verdict.status}" if verdict.status else ""
    return f"{verdict.outcome}{status} ({verdict.reason})"


def _print_json(changes: list[Change], judged: int, before: Snapshot, after: Snapshot) -> None:
    said = {
        "judged": judged,
        "changed": [
            {"message": str(change.path), "before": _as_json(change.before), "after": _as_json(change.after)}
            for change in changes
        ],
        "before": before.version,
        "after": after.version,
    }
    print(json.dumps(said, ensure_ascii=False))


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {
        "outcome": verdict.outcome,
        "status": verdict.status,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "text": verdict.text,
    }
