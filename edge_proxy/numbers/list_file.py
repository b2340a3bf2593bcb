"""Read a list of numbers: lines of CSV in, ranges out, and what is wrong with which line.

A line holds a number (`+12025550100`), a range (`+12025550100-+12025550199`) or a prefix (`+1900*`); what follows in
other columns is the operator's own. A header line may say which column it is: `number`. Empty lines and lines that
begin with `#` say nothing. Nothing is sorted or compared here: ownership.py builds the index.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from edge_proxy.addr import E164
from edge_proxy.numbers.country import CODE_LENGTH, NANP
from edge_proxy.numbers.e164 import MAX_DIGITS, MIN_DIGITS
from edge_proxy.numbers.ownership import OwnedRange, parse_range

COLUMN: Final = "number"
MAX_TOLD: Final = 20
"""Bad lines that are told; the rest is counted."""
MAX_PROBLEMS: Final = 1000
"""More bad lines than these, and it is no list of numbers: reading on would tell nothing new."""
MAX_RANGES: Final = 20_000_000
MAX_LINE_BYTES: Final = 4096

_NANP_DIGITS: Final = 11
_PLAIN_NANP: Final = re.compile(r"\+1[0-9]{10}", re.ASCII)
_PREFIX: Final = re.compile(r"\+([0-9]{1,15})\*", re.ASCII)


@dataclass(slots=True)
class ListReading:
    """The ranges of a list, and what is wrong: (line, text). `problem_count` goes on when `problems` is full."""

    ranges: list[OwnedRange] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    problem_count: int = 0
    is_no_list: bool = False
    """Reading ended early: nothing more would be learned."""

    def add_problem(self, line: int, text: str) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_TOLD:
            self.problems.append((line, text))

    def is_hopeless(self, line: int) -> bool:
        """Whether so much is wrong that reading on is of no use."""
        if self.problem_count > MAX_PROBLEMS and not self.is_no_list:
            self.is_no_list = True
            self.problems.append((line, f"more than {MAX_PROBLEMS} lines are wrong; this is no list of numbers"))
        return self.is_no_list


def read_list(lines: Iterable[bytes]) -> ListReading:
    """Read all lines of a file. Never raises for what is in them."""
    reading = ListReading()
    column = 0
    is_begun = False
    for line, raw in enumerate(lines, start=1):
        text = _text_of(raw, line, reading)
        if text is None:
            if reading.is_hopeless(line):
                break
            continue
        if not text or text[0] == "#":
            continue
        if not is_begun:
            is_begun = True
            names = [cell.strip().lower() for cell in _cells(text)]
            if COLUMN in names:
                column = names.index(COLUMN)
                continue
        if column or not _PLAIN_NANP.fullmatch(text):
            cells = _cells(text)
            text = cells[column].strip() if column < len(cells) else ""
        try:
            entry = parse_entry(text)
        except ValueError as error:
            reading.add_problem(line, str(error))
            if reading.is_hopeless(line):
                break
            continue
        reading.ranges.extend([OwnedRange(first, last, 0) for first, last in entry])
        if len(reading.ranges) > MAX_RANGES:
            reading.add_problem(line, f"more than {MAX_RANGES:,} lines; write neighbours as ranges, or split the list")
            break
    return reading


def parse_entry(text: str) -> list[tuple[E164, E164]]:
    """The ranges, both ends included, that a number, a range or a prefix stands for. Raises ValueError with what would
    be right."""
    if _PLAIN_NANP.fullmatch(text):
        number = E164(int(text[1:]))
        return [(number, number)]
    if text.endswith("*"):
        return _numbers_behind(text)
    return [parse_range(text)]


def _numbers_behind(text: str) -> list[tuple[E164, E164]]:
    """Every number that begins with the prefix: one range for each length that numbers may have."""
    match = _PREFIX.fullmatch(text)
    if match is None:
        raise ValueError(f"cannot read the prefix {text[:40]!r}: write + and digits before the *, such as +1900*")
    digits = match[1]
    is_nanp = digits[0] == str(NANP)
    if not is_nanp and len(digits) >= 3 and not CODE_LENGTH[int(digits[:3])]:
        raise ValueError(f"cannot read the prefix {text[:40]!r}: its country code is not in use")
    lengths = range(_NANP_DIGITS, _NANP_DIGITS + 1) if is_nanp else range(MIN_DIGITS, MAX_DIGITS + 1)
    ranges: list[tuple[E164, E164]] = []
    for length in lengths:
        if length >= len(digits):
            size = 10 ** (length - len(digits))
            first = int(digits) * size
            ranges.append((E164(first), E164(first + size - 1)))
    if not ranges or digits[0] == "0":
        raise ValueError(f"cannot read the prefix {text[:40]!r}: no number begins so; behind +1 there are 10 digits")
    return ranges


def _text_of(raw: bytes, line: int, reading: ListReading) -> str | None:
    if len(raw) > MAX_LINE_BYTES:
        reading.add_problem(line, f"the line is longer than {MAX_LINE_BYTES} bytes; write one number a line")
        return None
    if line == 1:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            reading.add_problem(line, "the file is UTF-16; save it as UTF-8")
            reading.is_no_list = True
            return None
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        reading.add_problem(line, f"byte {error.start + 1} of the line is no UTF-8; save the file as UTF-8")
        return None


def _cells(text: str) -> list[str]:
    delimiter = next((mark for mark in ",;\t" if mark in text), ",")
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return [text]
