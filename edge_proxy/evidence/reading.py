"""Read a data directory's journals line by line, whichever worker wrote them, without checking their chains.

Never writes, needs no lock, and may read a journal that is being written; what it holds in memory is one line, or the
mebibyte of one that is longer than any record.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.segments import MAX_LINE_BYTES, segments_in

_IS_ATTEMPT: Final = b'"kind":"attempt"'


def attempt_lines(data_dir: Path, since: date | None = None) -> Iterator[bytes]:
    """Every whole line that records an attempt, but for segments that nothing was written to since that day (UTC).

    A segment that is read may hold older lines. Raises EvidenceError when there is no journal, or it cannot be read.
    """
    root = data_dir / "evidence"
    not_before_s = 0.0 if since is None else datetime.combine(since, time(), UTC).timestamp()
    if not root.is_dir():
        raise EvidenceError(f"there is no journal in {root}; name the configuration of the proxy that writes it")
    try:
        for directory in sorted(child for child in root.iterdir() if child.is_dir()):
            for _, path in segments_in(directory):
                if path.stat().st_mtime < not_before_s:
                    continue
                with path.open("rb") as file:
                    while line := file.readline(MAX_LINE_BYTES):
                        if _IS_ATTEMPT in line and line.endswith(b"\n"):  # the newest may be under way
                            yield line
    except OSError as error:
        raise EvidenceError(f"cannot read the journal in {data_dir}: {error}") from error


def parse_day(text: str) -> date | None:
    """`2027-01-31`; None for nothing. Raises EvidenceError for anything else."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if day.isoformat() == text:
            return day
    except ValueError:
        pass
    raise EvidenceError(f"--since {text!r} is no day; write year, month and day, such as 2027-01-31")
