"""Read a journal from its first line to its last and say, in words, everything that is not as it was written.

Each line holds the SHA-256 of the line before it, so an altered, removed, inserted or reordered line does not match
its neighbour, and the numbers say which. Memory is bounded: one line, and at most 1,000 findings.

What a hash chain cannot show by itself: the newest line has no line after it to vouch for it, and a journal whose
newest lines were cut off, cleanly, is a shorter sound journal. Nor can it show that the whole chain was computed
anew by somebody who could write all of it. Against both, note the head (number and hash, in the report) in another
place now and then, and hand it in as `expected_head`.

Never writes, needs no lock, and may read a journal that is being written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.record import UNREADABLE
from edge_proxy.evidence.segments import LINE_PREFIX, MAX_LINE_BYTES, NO_PREVIOUS, SEGMENT_NAME, segments_in

MAX_FINDINGS = 1000


class FindingKind(StrEnum):
    """What is wrong with a line or between two."""

    ALTERED = "altered"
    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    TORN = "torn"
    NOT_A_RECORD = "not_a_record"
    SEGMENT = "segment"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, and what, in words. `line` counts from 1; 0 is the file as a whole."""

    kind: FindingKind
    file: str
    line: int
    seq: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(slots=True)
class VerifyReport:
    """What a journal holds and what is wrong with it.

    For several workers the counts are sums, `workers` has one report each, and there is no one first, last or head.
    """

    path: Path
    findings: list[Finding] = field(default_factory=list)
    findings_left_out: int = 0
    records: int = 0
    attempts: int = 0
    ends: int = 0
    first_seq: int = 0
    last_seq: int = 0
    head: str = ""
    """The SHA-256 of the last line: with `last_seq`, what to note elsewhere."""
    workers: list[VerifyReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings


class _Line(msgspec.Struct, gc=False):
    """What the verifier reads of a line; msgspec checks the syntax of all of it."""

    seq: int
    prev: str
    kind: str = ""


_decode_line = msgspec.json.Decoder(_Line).decode


def verify(path: Path, *, expected_head: tuple[int, str] | None = None, first_seq: int = 1) -> VerifyReport:
    """Verify one segment, one worker's directory, or a data directory (or its `evidence`) with several workers.

    `expected_head` is the number and hash of a record noted before: the journal must hold exactly that record.
    `first_seq` is the oldest record that has to be there, for a journal whose oldest segments were retired on
    purpose. A single segment may begin anywhere. Raises EvidenceError when there is nothing to verify.
    """
    try:
        if path.is_file():
            match = SEGMENT_NAME.fullmatch(path.name)
            return _verify_segments([(int(match[1]) if match else 0, path)], path, expected_head, first_seq=0)
        if not path.is_dir():
            raise EvidenceError(f"cannot verify {path}: no such file or directory")
        if segments := segments_in(path):
            return _verify_segments(segments, path, expected_head, first_seq)
        root = path / "evidence" if (path / "evidence").is_dir() else path
        directories = sorted(child for child in root.iterdir() if child.is_dir() and segments_in(child))
        if not directories:
            raise EvidenceError(f"cannot verify {path}: no journal segment in it")
        if expected_head is not None and len(directories) > 1:
            names = " or ".join(map(str, directories))
            raise EvidenceError(f"cannot verify {path}: a head belongs to one worker; name the journal of one: {names}")
        reports = [_verify_segments(segments_in(d), d, expected_head, first_seq) for d in directories]
    except OSError as error:
        raise EvidenceError(f"cannot verify {path}: {error}") from error
    return reports[0] if len(reports) == 1 else _sum(path, reports)


def _sum(path: Path, reports: list[VerifyReport]) -> VerifyReport:
    findings = [finding for report in reports for finding in report.findings]
    return VerifyReport(
        path=path,
        findings=findings,
        findings_left_out=sum(report.findings_left_out for report in reports),
        records=sum(report.records for report in reports),
        attempts=sum(report.attempts for report in reports),
        ends=sum(report.ends for report in reports),
        workers=reports,
    )


def _verify_segments(
    segments: list[tuple[int, Path]], path: Path, expected_head: tuple[int, str] | None, first_seq: int
) -> VerifyReport:
    check = _Check(VerifyReport(path), expected_head, first_seq)
    for number, (named_seq, segment) in enumerate(segments, start=1):
        with segment.open("rb") as file:
            check.read_segment(file, segment, named_seq, is_newest=number == len(segments))
    check.finish()
    return check.report


class _Check:
    """The state of one pass over one chain."""

    __slots__ = ("_expected", "_file", "_first_seq", "_hash", "_line", "_saw_expected", "_seq", "report")

    def __init__(self, report: VerifyReport, expected: tuple[int, str] | None, first_seq: int) -> None:
        self.report = report
        self._expected = expected
        self._saw_expected = False
        self._first_seq = first_seq  # 0: the chain may begin anywhere
        self._file = str(report.path)
        self._line = 0
        self._seq = 0  # the highest number so far
        self._hash = ""  # of the line before; empty before the first

    def read_segment(self, file: BinaryIO, path: Path, named_seq: int, *, is_newest: bool) -> None:
        line_number = 0
        while line := _read_line(file):
            line_number += 1
            before = (self._file, self._line)
            self._file, self._line = str(path), line_number
            if not line.endswith(b"\n"):
                if len(line) >= MAX_LINE_BYTES:
                    self._find(FindingKind.NOT_A_RECORD, "longer than any record")
                    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    self._hash = "unknown"
                    self._seq += 1
                    continue
                self._find(
                    FindingKind.TORN,
                    "torn: the file ends inside this record; a crash, or a cut"
                    + ("" if is_newest else ", in a segment that is not the newest"),
                )
                return
            self._check_line(line[:-1], before, named_seq if line_number == 1 else 0)
        if line_number == 0 and not is_newest:
            self._file, self._line = str(path), 0
            self._find(FindingKind.SEGMENT, "empty, and not the newest segment: its records were removed")

    def finish(self) -> None:
        self.report.last_seq = self._seq
        if self._expected is not None and not self._saw_expected:
            seq = self._expected[0]
            if seq > self._seq:
                text = f"record {seq} was noted as written, but the journal ends at {self._seq}: cut off"
            else:
                text = f"record {seq} was noted as written, but is not in the journal"
            self._find(FindingKind.HEAD, text, seq)

    def _check_line(self, line: bytes, before: tuple[str, int], named_seq: int) -> None:
        prev_hash, self._hash = self._hash, hashlib.sha256(line).hexdigest()
        self.report.records += 1
        self.report.head = self._hash
        match = LINE_PREFIX.match(line)
        kind = _kind(line) if match else None
        if match is None or kind is None:
            self._find(FindingKind.NOT_A_RECORD, "not a record: altered after it was written, or put in from elsewhere")
            self._seq = max(named_seq, self._seq + 1)
            return
        self.report.attempts += kind == "attempt"
        self.report.ends += kind == "end"
        seq, prev = int(match[1]), match[2].decode("ascii")
        if named_seq and named_seq != seq:
            self._find(
                FindingKind.SEGMENT, f"the segment is named after record {named_seq}, but begins with {seq}", seq
            )
        if self._expected is not None and seq == self._expected[0] and not self._saw_expected:
            self._saw_expected = True
            if self._hash != self._expected[1].lower():
                self._find(FindingKind.HEAD, f"record {seq} is not the one whose hash was noted", seq)
        if not prev_hash:
            self._check_first(seq, prev)
        else:
            self._check_successor(seq, prev, prev_hash, before)
        self._seq = max(self._seq, seq)

    def _check_first(self, seq: int, prev: str) -> None:
        self.report.first_seq = seq
        if seq == 1 and prev != NO_PREVIOUS.decode("ascii"):
            self._find(FindingKind.ALTERED, "altered: the first record of a chain has no record before it", seq)
        if 0 < self._first_seq < seq:
            missing = _range(self._first_seq, seq - 1)
            self._find(FindingKind.MISSING, f"missing: {missing}, before the first that is here", seq)

    def _check_successor(self, seq: int, prev: str, prev_hash: str, before: tuple[str, int]) -> None:
        if seq <= self._seq:
            text = f"out of order: record {seq} after {self._seq}; inserted, repeated or moved"
            self._find(FindingKind.OUT_OF_ORDER, text, seq)
        elif seq > self._seq + 1:
            how = (
                "lost before they were written, or cut off while the worker was down: the chain goes on over the gap"
                if prev == prev_hash
                else "removed: the chain breaks here"
            )
            self._find(FindingKind.MISSING, f"missing: {_range(self._seq + 1, seq - 1)}; {how}", seq)
        elif prev != prev_hash:
            findings = self.report.findings
            if findings and (findings[-1].file, findings[-1].line) == before:
                return  # that line is known to be wrong
            text = f"altered: its bytes are not those that record {seq} vouches for"
            self._add(Finding(FindingKind.ALTERED, *before, self._seq, text))

    def _find(self, kind: FindingKind, text: str, seq: int | None = None) -> None:
        self._add(Finding(kind, self._file, self._line, seq, text))

    def _add(self, finding: Finding) -> None:
        if len(self.report.findings) < MAX_FINDINGS:
            self.report.findings.append(finding)
        else:
            self.report.findings_left_out += 1


def _kind(line: bytes) -> str | None:
    """The record's kind; none when the line cannot be read."""
    try:
        record: _Line = _decode_line(line)
    except UNREADABLE:
        return None
    return record.kind


def _read_line(file: BinaryIO) -> bytes:
    """One line with its newline. A worker may be in the middle of writing the last one: read on while it grows."""
    line = file.readline(MAX_LINE_BYTES)
    while line and not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        more = file.readline(MAX_LINE_BYTES - len(line))
        if not more:
            break
        line += more
    return line


def _range(first: int, last: int) -> str:
    return f"record {first}" if first == last else f"records {first} to {last}"
