"""Lists of numbers as files (numbers/list_file.py): good lines become ranges, bad ones are told with their line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.numbers.list_file import MAX_LINE_BYTES, MAX_PROBLEMS, MAX_TOLD, parse_entry, read_list
from edge_proxy.numbers.ownership import OwnedRange


def test_file_without_a_header_is_read_by_its_first_column() -> None:
    """Comments, empty lines, line ends of either kind, a byte order mark, and columns of the operator's own."""
    lines = [
        b"\xef\xbb\xbf# from the bank\r\n",
        b"\r\n",
        b"+12025550100\r\n",
        b'+12025550110-+12025550119,"inbound, only"\n',
        b" +442079460000 ; London\n",
    ]
    reading = read_list(lines)
    assert reading.problems == []
    assert reading.ranges == [
        OwnedRange(12025550100, 12025550100, 0),  # type: ignore[arg-type]
        OwnedRange(12025550110, 12025550119, 0),  # type: ignore[arg-type]
        OwnedRange(442079460000, 442079460000, 0),  # type: ignore[arg-type]
    ]


def test_header_names_the_column() -> None:
    """`number` may be any column; a row that is too short has no number."""
    reading = read_list([b"Name,Number\n", b"bank,+12025550100\n", b"bank\n"])
    assert [one.first for one in reading.ranges] == [12025550100]
    assert reading.problem_count == 1
    assert reading.problems[0][0] == 3


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"2025550100\n", "write + and digits only"),
        (b"+1202555010\n", "too few digits"),
        (b"+12345678901234567890\n", "too many digits"),
        (b"+12025550199-+12025550100\n", "swap them"),
        (b"+1900x*\n", "before the *"),
        (b"+12025550100*1\n", "cannot read"),
        (b"+120255501001*\n", "behind +1 there are 10 digits"),
        (b"+2105*\n", "country code is not in use"),
        (b"+1202\xff5550100\n", "byte 6 of the line is no UTF-8"),
        (b"+" + b"1" * MAX_LINE_BYTES, "longer than"),
    ],
)
def test_bad_line_is_told_with_its_number(line: bytes, text: str) -> None:
    """The other lines are read all the same, so that one run tells all."""
    reading = read_list([b"+12025550100\n", line, b"+12025550102\n"])
    assert [number for number, _ in reading.problems] == [2]
    assert text in reading.problems[0][1]
    assert len(reading.ranges) == 2


def test_what_is_told_is_bounded() -> None:
    """A file of something else ends early: twenty lines and the reason."""
    read = 0

    def lines() -> object:
        nonlocal read
        for _ in range(10 * MAX_PROBLEMS):
            read += 1
            yield b"something else\n"

    reading = read_list(lines())  # type: ignore[arg-type]
    assert len(reading.problems) == MAX_TOLD + 1
    assert "no list of numbers" in reading.problems[-1][1]
    assert read == MAX_PROBLEMS + 1


def test_other_encoding_is_told_once() -> None:
    """UTF-16 is what some programs save as Unicode."""
    reading = read_list("+12025550100\n+12025550101\n".encode("utf-16").splitlines(keepends=True))
    assert [(line, text) for line, text in reading.problems] == [(1, "the file is UTF-16; save it as UTF-8")]


def test_prefix_is_one_range_for_each_length() -> None:
    """Behind +1 there is one length; elsewhere 7 to 15 digits."""
    assert parse_entry("+1900*") == [(19000000000, 19009999999)]
    ranges = parse_entry("+44909*")
    assert ranges[0] == (4490900, 4490999)
    assert ranges[-1] == (449090000000000, 449099999999999)
    assert len(ranges) == 9


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_raise(lines: list[bytes]) -> None:
    """Whatever a file holds, it is read or told."""
    reading = read_list(lines)
    assert all(1 <= line <= len(lines) for line, _ in reading.problems)
