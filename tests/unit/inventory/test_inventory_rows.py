"""CSV files of numbers: every form, every mistake with its line, and chunks cut anywhere."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.inventory import rows as rows_module
from edge_proxy.inventory.rights import Right, RightKind
from edge_proxy.inventory.rows import MAX_LINE_BYTES, MAX_TOLD, Holdings, Problems, Rows, parse_prefix, read_rows


def read(data: bytes | str, chunk: int = 1 << 20) -> tuple[Rows, Holdings, list[tuple[int, str]]]:
    whole = data.encode() if isinstance(data, str) else data
    holdings, problems = Holdings(), Problems()
    chunks = (whole[at : at + chunk] for at in range(0, len(whole), chunk))
    rows = read_rows(chunks, holdings, problems, {"acme", "globex"})
    return rows, holdings, [(problem.line, problem.text) for problem in problems.told]


def good(data: bytes | str) -> list[tuple[int, int, Right, int]]:
    rows, holdings, problems = read(data)
    assert problems == []
    return [(first, last, holdings[holding][0], line) for first, last, holding, line in rows]


def problems_of(data: bytes | str) -> list[tuple[int, str]]:
    return read(data)[2]


ACME, GLOBEX = Right("acme"), Right("globex")


def test_single_numbers_are_read_and_runs_of_them_joined() -> None:
    """Consecutive numbers of one customer on consecutive lines are one range, at the line where it begins."""
    run = "".join(f"+1202555010{at},acme\n" for at in range(6))
    data = f"number,customer\n{run}+12025550106,globex\n+12025550108,globex\n"
    assert good(data) == [
        (12025550100, 12025550105, ACME, 2),
        (12025550106, 12025550106, GLOBEX, 8),
        (12025550108, 12025550108, GLOBEX, 9),
    ]
    assert read(data)[0].count == 8


def test_ranges_are_read() -> None:
    """first and last are the ends, both included."""
    assert good("first,last,customer\n+12025550100,+12025550199,acme\n") == [(12025550100, 12025550199, ACME, 2)]


def test_prefix_stands_for_every_length_of_its_country() -> None:
    """In the NANP that is one range, elsewhere one for each length that numbers have."""
    assert good("prefix,customer\n+1202555,acme\n") == [(12025550000, 12025559999, ACME, 2)]
    british = parse_prefix("+442079")
    assert (442079000000, 442079999999) in british
    assert all(str(first).startswith("442079") and len(str(first)) == len(str(last)) for first, last in british)


@pytest.mark.parametrize("text", ["1202555", "+", "+1", "+49", "+0202", "+1202555*", "+999123", "+120255501001", "+1٢"])
def test_prefix_that_is_none_is_refused(text: str) -> None:
    """A prefix is + and digits: a country code in use and at least one digit more."""
    with pytest.raises(ValueError, match="cannot read the prefix"):
        parse_prefix(text)


def test_every_column_reaches_its_right() -> None:
    """In any order, with any delimiter that spreadsheets write, with quotes, spaces, CRLF and a byte order mark."""
    data = (
        "\ufeffReference;Customer;number;right;valid_from;valid_to;ported_out_at;grace_days\r\n"
        '"LOA ""7""; page 2";acme; +12025550100 ;Delegated;1970-01-02;1970-02-01;1970-01-11;5\r\n'
    )
    day = 86_400
    right = Right("acme", day, 32 * day, RightKind.DELEGATED, 'LOA "7"; page 2', 10 * day, 5 * day)
    assert good(data) == [(12025550100, 12025550100, right, 2)]


def test_blank_lines_and_a_missing_last_line_feed_do_no_harm() -> None:
    """Lines still count, so that what is told has the line of an editor."""
    assert good("number,customer\n\n+12025550100,acme\n\r\n+12025550101,acme") == [
        (12025550100, 12025550100, ACME, 3),
        (12025550101, 12025550101, ACME, 5),
    ]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("", "the file is empty"),
        ("\n", "no header"),
        ("+12025550100,acme\n", "unknown column"),
        ("number,customer,colour\n", "unknown column 'colour'"),
        ("number,number,customer\n", "column twice"),
        ("number\n", "one way to name numbers, and customer"),
        ("customer\n", "one way to name numbers"),
        ("first,customer\n", "one way to name numbers"),
        ("number,first,last,customer\n", "one way to name numbers"),
        ('number,"customer\n', "header cannot be read"),
    ],
)
def test_wrong_header_is_told(header: str, text: str) -> None:
    """Without a header nothing is read: columns are never guessed."""
    ((line, told),) = problems_of(header)
    assert line == 1
    assert text in told


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("+12025550101", "1 columns and the header 2"),
        ("+12025550101,acme,", "3 columns and the header 2"),
        ("12025550101,acme", "write + and digits only"),
        ("2025550101,acme", "write + and digits only"),
        ("+12025550101-+12025550105,acme", "no single number"),
        ("+12345678901234567890,acme", "too many digits"),
        ("+120255501,acme", "too few digits"),
        ("+9995550101,acme", "country code that is not in use"),
        ("+1202555010²,acme", "write + and digits only"),
        ("+1_2025550101,acme", "write + and digits only"),
        ("+12025550101,hooli", "hooli is no customer of the configuration"),
        ("+12025550101,", "no id"),
        ('"+12025550101,acme', "cannot be read"),
        ('+12025550101,"acme" x', "cannot be read"),
        ("+12025550101,ac\rme", "cannot be read"),
        ("+12025550101,ac\x00me", "no id"),
        ("x" * 200_000 + ",acme", "cannot be read"),
    ],
)
def test_wrong_row_is_told_with_its_line_and_the_rest_is_read_on(row: str, text: str) -> None:
    """One run shows all mistakes, and right rows around them are not blamed."""
    data = f"number,customer\n+12025550100,acme\n{row}\n+12025550102,acme\n{row}\n"
    told = problems_of(data)
    assert [line for line, _ in told] == [3, 5]
    assert all(text in problem for _, problem in told)
    assert len(read(data)[0]) == 2


@pytest.mark.parametrize(
    ("data", "line", "text"),
    [
        ("number,customer\n+12025550100,acme\n".encode("utf-16"), 1, "UTF-16"),
        (b"number,customer\n+12025550100,acme\n+12025550101,caf\xe9\n", 3, "not UTF-8"),
        (b"number,customer\n+12025550100,acme\n+1" + b"2" * (MAX_LINE_BYTES + 1), 3, "longer than"),
        (b"\x00" * 3_000_000, 1, "longer than"),
        (b"number,customer\r+12025550100,acme\r", 1, "cannot be read"),
    ],
)
def test_what_is_no_text_file_is_told(data: bytes, line: int, text: str) -> None:
    """Encodings and line ends that are not ours: told, bounded, never half-read as something else."""
    found = problems_of(data)
    assert found[0][0] == line
    assert text in found[0][1]


def test_problems_are_counted_when_they_are_too_many_to_tell() -> None:
    """A file with a million mistakes needs no more memory than one with a few."""
    holdings, problems = Holdings(), Problems()
    read_rows([b"number,customer\n" + b"oops,acme\n" * 5_000], holdings, problems)
    assert (len(problems.told), problems.count) == (MAX_TOLD, 5_000)


def test_reading_stops_where_too_much_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes of something else are not read to the end."""
    monkeypatch.setattr(rows_module, "MAX_PROBLEMS", 5_000)
    holdings, problems = Holdings(), Problems()
    chunks = iter([b"number,customer\n", *[b"oops,acme\n" * 1_000] * 100])
    read_rows(chunks, holdings, problems)
    assert problems.count == 6_001
    assert next(chunks, None) is not None


def test_file_that_is_too_large_is_told_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by rows that do not join; runs of numbers of any length are no rows."""
    monkeypatch.setattr(rows_module, "MAX_ROWS", 10)
    scattered = "".join(f"+{12025550100 + 2 * at},acme\n" for at in range(20))
    ((line, text),) = problems_of("number,customer\n" + scattered)
    assert line == 2
    assert "split the file" in text
    run = "".join(f"+{12025550100 + at},acme\n" for at in range(5_000))
    assert problems_of("number,customer\n" + run) == []


@given(st.lists(st.integers(10**6, 10**15 - 1), min_size=1, max_size=60), st.integers(1, 70))
def test_rows_are_sorted_stretch_by_stretch(firsts: list[int], at_once: int) -> None:
    """As all at once: what belongs to a row stays with it, and rows that begin alike keep their order."""
    rows = Rows()
    written = [(first, first + place % 3, place % 5, 2 + place) for place, first in enumerate([*firsts, *firsts[:7]])]
    for row in written:
        rows.append(*row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_SORTED_AT_ONCE", at_once)
        rows.sort()
    assert list(rows) == sorted(written, key=lambda row: row[0])
    assert rows.is_sorted


def test_sorting_takes_little_more_memory_than_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not some objects for each."""
    monkeypatch.setattr(rows_module, "_SORTED_AT_ONCE", 10_000)
    rows, chance, count = Rows(), random.Random(1), 300_000
    for line in range(count):
        first = chance.randrange(10**10, 10**11)
        rows.append(first, first, line % 1000, line)
    tracemalloc.start()
    rows.sort()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * count


def test_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of empty lines has no rows, and ends as well."""
    monkeypatch.setattr(rows_module, "MAX_LINES", 1_000)
    assert problems_of("number,customer\n" + "\n" * 900) == []
    ((_, text),) = problems_of("number,customer\n" + "\n" * 1_000)
    assert "split the file" in text


def test_memory_does_not_grow_with_a_file_of_runs() -> None:
    """Gigabytes are read chunk by chunk: of numbers that follow one another, only the ends of their runs are kept."""

    def chunks(count: int) -> Iterator[bytes]:
        yield b"number,customer\n"
        for at in range(0, count, 10_000):
            yield b"".join(b"+%d,acme\n" % (12025550000 + at + place) for place in range(10_000))

    peaks = []
    for count in (50_000, 400_000):
        tracemalloc.start()
        rows = read_rows(chunks(count), Holdings(), Problems())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows.count == count
        assert len(rows) < count / 1_000
    assert peaks[1] < 1.1 * peaks[0] < 20e6


@pytest.mark.parametrize("joined", [1, 2, 3, 5])
def test_runs_of_any_length_are_joined_or_not_and_mean_the_same(joined: int) -> None:
    """Runs of a few numbers, some at a stretch's end: the same numbers, each with the line that it is on."""
    numbers = [12025550000 + at // joined * (joined + 3) + at % joined for at in range(9_001)]
    rows, _, problems = read("number,customer\n" + "".join(f"+{number},acme\n" for number in numbers))
    assert problems == []
    found = [(number, line + number - first) for first, last, _, line in rows for number in range(first, last + 1)]
    assert found == [(number, line) for line, number in enumerate(numbers, 2)]
    assert rows.count == len(numbers)


@given(st.integers(1, 400), st.randoms(use_true_random=False), st.sampled_from(["\n", "\r\n"]))
def test_chunks_may_be_cut_anywhere(chunk: int, rng: random.Random, end: str) -> None:
    """What is read, and at which line, does not depend on how the bytes arrive."""
    lines = [
        rng.choice(["+1202555010{},acme", "+120255502{}0,globex", "", "+12025550x{},acme", '"+1202555030{}",acme'])
        for _ in range(40)
    ]
    data = end.join(["number,customer", *(line.format(at % 10) for at, line in enumerate(lines))]) + end
    whole, in_pieces = read(data), read(data, chunk)
    assert whole[2] == in_pieces[2]
    flat = [
        [(number, rows.holdings[at], rows.lines[at] + number - rows.firsts[at])
         for at in range(len(rows)) for number in range(rows.firsts[at], rows.lasts[at] + 1)]
        for rows in (whole[0], in_pieces[0])
    ]  # fmt: skip
    assert flat[0] == flat[1]
    assert whole[0].sha256 == in_pieces[0].sha256


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["acme", "globex"])), max_size=60))
def test_stretches_read_what_single_lines_read(rows: list[tuple[int, str]]) -> None:
    """The fast way over many rows at once and the slow way over each agree, joined ranges included."""
    body = "".join(f"+{12025550100 + number},{customer}\n" for number, customer in rows)
    fast, _, _ = read("number,customer\n" + body)
    slow, _, _ = read("number,customer\n" + body + '"+12025559999",acme\n')  # quotes are read line by line

    def numbers(found: Rows) -> list[tuple[int, int, int]]:
        return [
            (at, holding, line + at - first) for first, last, holding, line in found for at in range(first, last + 1)
        ]

    assert numbers(fast) == numbers(slow)[:-1]
    fast.sort()
    assert list(fast.firsts) == sorted(fast.firsts)
