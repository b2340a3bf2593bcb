"""Read a CSV file of numbers: chunks of bytes in, columns of ranges out, and a list of what is wrong, line by line.

The header names the columns: `customer`, and either `number`, or `first` and `last`, or `prefix`; `valid_from`,
`valid_to`, `right`, `reference`, `ported_out_at` and `grace_days` may follow, in any order. The delimiter is a comma, a
semicolon or a tab. A row that is wrong is told with its line, and the rest is read on, so that one run shows all.

Memory is bounded by rows that do not join (24 bytes each and 12 more while they are sorted, 40 million at most): single
numbers that follow one another on consecutive lines become one range. Nothing is compared with what is stored:
overlay.py does.
"""

from __future__ import annotations

import csv
import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import compress, count, islice, repeat
from operator import add, itemgetter, le, lt, ne, or_
from typing import Final

from edge_proxy.inventory.rights import Holding, Right, parse_right
from edge_proxy.numbers.country import CODE_LENGTH, NANP
from edge_proxy.numbers.e164 import MAX_DIGITS, MIN_DIGITS
from edge_proxy.numbers.ownership import parse_range

COLUMNS: Final = ("valid_from", "valid_to", "right", "reference", "ported_out_at", "grace_days")
"""The columns that may be left out."""
FORMS: Final = (("number",), ("first", "last"), ("prefix",))
"""How a row names its numbers: one of these per file."""

MAX_ROWS: Final = 40_000_000
MAX_LINES: Final = 2**32 - 1
MAX_RIGHTS: Final = 1_000_000
MAX_LINE_BYTES: Final = 65_536
MAX_TOLD: Final = 200
"""Problems that are told; the rest is counted."""
MAX_PROBLEMS: Final = 100_000
"""More than these, and it is not a file of numbers: reading gigabytes of something else on would take an hour."""

_SORTED_AT_ONCE: Final = 250_000
_SAMPLES: Final = 64
"""Rows of each stretch that tell where to part all rows."""
_COLUMNS: Final = ("firsts", "lasts", "holdings", "lines")
_STRETCH: Final = 4096
"""Lines that are read at a stretch: as many as fit into a processor's cache with all that is made of them."""
_NANP_DIGITS: Final = 11
_PLAIN_NUMBERS: Final = re.compile(r"(?:\+[0-9]{7,15}(?: |$))+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and on which line of the file (0: the whole file)."""

    line: int
    text: str


@dataclass(slots=True)
class Problems:
    """All that is wrong with a file. `count` goes on when `told` is full."""

    told: list[Problem] = field(default_factory=list)
    count: int = 0
    conflicts: int = 0
    """How many of them are fine rows that somebody else's rights stand against."""

    def add(self, line: int, text: str, *, is_conflict: bool = False) -> None:
        self.count += 1
        self.conflicts += is_conflict
        if len(self.told) < MAX_TOLD:
            self.told.append(Problem(line, text))


class Holdings:
    """Holdings by number: 0 is nobody's, the same rights are the same number."""

    def __init__(self) -> None:
        self._numbers: dict[Holding, int] = {(): 0}
        self._holdings: dict[int, Holding] = {0: ()}
        self._next = 1

    def __getitem__(self, number: int) -> Holding:
        return self._holdings[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._holdings)

    def number_of(self, holding: Holding) -> int:
        """The number of a holding, a new one where it has none."""
        number = self._numbers.get(holding)
        if number is None:
            number = self._next
            self.put(number, holding)
        return number

    def put(self, number: int, holding: Holding) -> None:
        """As it is stored."""
        self._numbers.setdefault(holding, number)
        self._holdings[number] = holding
        self._next = max(self._next, number + 1)


@dataclass(slots=True)
class Rows:
    """The file's ranges in columns. `lines` is where a range begins; single numbers on following lines are joined."""

    firsts: array[int] = field(default_factory=lambda: array("Q"))
    lasts: array[int] = field(default_factory=lambda: array("Q"))
    holdings: array[int] = field(default_factory=lambda: array("I"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    count: int = 0
    """Rows read, joined or not."""
    is_sorted: bool = True
    sha256: str = ""

    def append(self, first: int, last: int, holding: int, line: int) -> None:
        if self.firsts and first < self.firsts[-1]:
            self.is_sorted = False
        self.firsts.append(first)
        self.lasts.append(last)
        self.holdings.append(holding)
        self.lines.append(line)

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        """(first, last, holding, line)."""
        return zip(self.firsts, self.lasts, self.holdings, self.lines, strict=True)

    def sort(self) -> None:
        """By the first number; rows that begin alike keep their order.

        First within stretches, then, column by column, what of each stretch lies between two bounds: with all rows at
        once there would be some objects for each of them, and three times the memory.
        """
        if self.is_sorted:
            return
        bounds = self._bounds()
        parts: list[list[int]] = []
        for begin in range(0, len(self.firsts), _SORTED_AT_ONCE):
            end = begin + _SORTED_AT_ONCE
            order = _order(self.firsts[begin:end])
            for name in _COLUMNS:
                column: array[int] = getattr(self, name)
                column[begin:end] = _in_order(column[begin:end], order)
            end = min(end, len(self.firsts))
            parts.append([begin, *(bisect_left(self.firsts, bound, begin, end) for bound in bounds), end])
        orders: list[array[int]] = []
        for name in _COLUMNS:
            column = getattr(self, name)
            whole = array(column.typecode)
            for place in range(len(bounds) + 1):
                between = array(column.typecode)
                for part in parts:
                    between.extend(column[part[place] : part[place + 1]])
                if name == _COLUMNS[0]:
                    orders.append(_order(between))
                whole.extend(_in_order(between, orders[place]))
            setattr(self, name, whole)
            del column
        self.is_sorted = True

    def _bounds(self) -> list[int]:
        """Numbers that part the rows into heaps of about equal size, found by some of the rows."""
        count = len(self.firsts) // _SORTED_AT_ONCE
        some = sorted(self.firsts[:: max(len(self.firsts) // (_SAMPLES * (count + 1)), 1)])
        return sorted({some[len(some) * place // (count + 1)] for place in range(1, count + 1)})

    @property
    def overlaps(self) -> bool:
        """Some number is in two rows. Only sorted rows can tell."""
        return not all(map(lt, self.lasts, islice(self.firsts, 1, None)))


def _order(firsts: array[int]) -> array[int]:
    """The places of these numbers from the lowest up; of equal ones, the first comes first."""
    # As floats, which hold 15 digits exactly: they are compared twice as fast as integers of more than 30 bits.
    return array("I", sorted(range(len(firsts)), key=list(map(float, firsts)).__getitem__))


def _in_order(column: array[int], order: array[int]) -> array[int]:
    return array(column.typecode, map(column.__getitem__, order))


def read_rows(
    chunks: Iterable[bytes], holdings: Holdings, problems: Problems, customers: Collection[str] | None = None
) -> Rows:
    """Read a whole file. What is wrong goes to `problems`; `customers`, when given, are the ids that may appear."""
    rows = Rows()
    digest = hashlib.sha256()
    reader: _RowReader | None = None
    line = 1  # where reading stands: what ends it is told there
    try:
        for block in _blocks(chunks, digest.update):
            lines = block.replace("\r\n", "\n").removesuffix("\r").split("\n")
            if reader is None:
                reader = _RowReader(_read_header(lines.pop(0)), holdings, problems, customers)
                line += 1
            reader.read(lines, line, rows)
            line += len(lines)
        if reader is None:
            raise ValueError(f"the file is empty; write {_SHAPE}")
    except ValueError as error:
        problems.add(line, str(error))
    rows.sha256 = digest.hexdigest()
    return rows


def _blocks(chunks: Iterable[bytes], seen: Callable[[bytes], None]) -> Iterator[str]:
    """Whole lines, many at a time. A byte that is no UTF-8 becomes a lone surrogate, which no cell may hold: so the
    row that it is in is told, with its line. Raises ValueError for what has no lines."""
    carry = b""
    is_first = True
    for chunk in chunks:
        seen(chunk)
        data = carry + chunk
        if is_first:
            if data.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise ValueError("the file is UTF-16; save it as UTF-8")
            data = data.removeprefix(b"\xef\xbb\xbf")
            is_first = False
        end = data.rfind(b"\n") + 1
        carry = data[end:]
        if end:
            yield data[: end - 1].decode("utf-8", "surrogateescape")
        if len(carry) > MAX_LINE_BYTES:
            raise ValueError(f"the line is longer than {MAX_LINE_BYTES} bytes; write one row a line")
    if carry:
        yield carry.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _Header:
    delimiter: str
    width: int
    form: tuple[str, ...]
    place: dict[str, int]


def _read_header(text: str) -> _Header:
    """The first line. Raises ValueError."""
    delimiter = next((mark for mark in (",", ";", "\t") if mark in text), ",")
    try:
        names = [name.strip().lower() for name in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise ValueError(f"the header cannot be read ({error}); write {_SHAPE}") from error
    if not any(names):
        raise ValueError(f"the file has no header; write {_SHAPE}")
    known = {"customer", *COLUMNS, *(name for form in FORMS for name in form)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"the header has the unknown column {unknown[0][:40]!a}; write {_SHAPE}")
    if len(set(names)) < len(names):
        raise ValueError(f"the header has a column twice; write {_SHAPE}")
    forms = [form for form in FORMS if any(name in names for name in form)]
    if len(forms) != 1 or any(name not in names for name in (*forms[0], "customer")):
        raise ValueError(f"the header needs one way to name numbers, and customer; write {_SHAPE}")
    return _Header(delimiter, len(names), forms[0], {name: place for place, name in enumerate(names)})


_SHAPE: Final = f"number,customer or first,last,customer or prefix,customer, and of {','.join(COLUMNS)} what you need"


class _RowReader:
    """The rows below one header. Many rows are read at a stretch where all of them are plain; where one is not, each
    is read by itself, which is slower and can say what is wrong."""

    def __init__(
        self, header: _Header, holdings: Holdings, problems: Problems, customers: Collection[str] | None
    ) -> None:
        self._header = header
        self._holdings = holdings
        self._problems = problems
        self._customers = customers
        self._is_single = header.form == ("number",)
        self._number_at = header.place[header.form[0]]
        self._terms_names = [name for name in header.place if name not in header.form]
        self._terms_places = [header.place[name] for name in self._terms_names]
        self._terms: dict[tuple[str, ...], int] = {}
        self._shapes: set[tuple[str, int]] = set()  # leading digits and lengths of numbers that were found to be right

    def read(self, lines: list[str], line: int, rows: Rows) -> None:
        """Read lines, of which the first is number `line`. Raises ValueError when the file is too much."""
        if line + len(lines) > MAX_LINES:
            raise ValueError(f"more than {MAX_LINES} lines; split the file")
        for begin in range(0, len(lines), _STRETCH):
            stretch = lines[begin : begin + _STRETCH]
            if self._is_single and self._read_plain(stretch, line + begin, rows):
                continue
            for at, text in enumerate(stretch, line + begin):
                try:
                    self._read_line(text, at, rows)
                except csv.Error as error:
                    self._problems.add(at, f"the row cannot be read: {error}")
                except ValueError as error:
                    self._problems.add(at, str(error))
        if len(rows) > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS} rows up to here that do not join; split the file")
        if len(self._terms) > MAX_RIGHTS:
            raise ValueError(f"more than {MAX_RIGHTS} different rights up to here; split the file")
        if self._problems.count > MAX_PROBLEMS:
            raise ValueError("too much is wrong with this file; from here on it was not read")

    def _read_plain(self, lines: list[str], line: int, rows: Rows) -> bool:
        """Read lines that are all rows with one plain number each; False, and nothing read, when one is not.

        Every step runs over the whole column at once: five times as fast as a loop over rows.
        """
        header = self._header
        mark, width = header.delimiter, header.width
        if set(map(str.count, lines, repeat(mark))) != {width - 1}:
            return False
        text = mark.join(lines)
        if '"' in text or not text.isascii():
            return False
        cells = text.split(mark)
        numbers = cells[self._number_at :: width]
        if not _PLAIN_NUMBERS.fullmatch(" ".join(numbers)):
            return False
        terms = list(zip(*(cells[place::width] for place in self._terms_places), strict=True))
        try:
            shapes = dict(
                zip(zip(map(itemgetter(slice(0, 4)), numbers), map(len, numbers), strict=True), numbers, strict=True)
            )
            for shape in shapes.keys() - self._shapes:
                parse_range(shapes[shape])
                self._shapes.add(shape)
            for key in dict.fromkeys(terms):
                self._holding(key)
        except ValueError:
            return False
        values, holdings = list(map(int, numbers)), list(map(self._terms.__getitem__, terms))
        is_apart = list(
            map(or_, map(ne, values[1:], map(add, values, repeat(1))), map(ne, islice(holdings, 1, None), holdings))
        )
        if rows.firsts and values[0] < rows.firsts[-1]:
            rows.is_sorted = False
        rows.is_sorted = rows.is_sorted and all(map(le, values, islice(values, 1, None)))
        if 4 * sum(is_apart) < 3 * len(values):  # worth it: fewer ranges are less to store
            rows.firsts.extend([values[0], *compress(values[1:], is_apart)])
            rows.lasts.extend([*compress(values, is_apart), values[-1]])
            rows.holdings.extend([holdings[0], *compress(holdings[1:], is_apart)])
            rows.lines.extend([line, *compress(count(line + 1), is_apart)])
        else:
            column = array("Q", values)
            rows.firsts.extend(column)
            rows.lasts.extend(column)
            rows.holdings.extend(holdings)
            rows.lines.extend(range(line, line + len(values)))
        rows.count += len(values)
        return True

    def _read_line(self, text: str, line: int, rows: Rows) -> None:
        row = next(csv.reader([text], delimiter=self._header.delimiter, strict=True), [])
        if not row or row == [""]:
            return
        _check_text(row)
        if len(row) != self._header.width:
            raise ValueError(f"the row has {len(row)} columns and the header {self._header.width}")
        holding = self._holding(tuple([row[place] for place in self._terms_places]))
        for first, last in self._ranges(row):
            rows.append(first, last, holding, line)
        rows.count += 1

    def _ranges(self, row: list[str]) -> list[tuple[int, int]]:
        place = self._header.place
        match self._header.form:
            case ("number",):
                text = row[place["number"]]
                if "-" in text:
                    raise ValueError(f"{text[:40]!a} is no single number; give ranges in columns first and last")
                return [parse_range(text)]
            case ("prefix",):
                return parse_prefix(row[place["prefix"]])
            case _:
                return [parse_range(f"{row[place['first']]}-{row[place['last']]}")]

    def _holding(self, terms: tuple[str, ...]) -> int:
        """The number of what the cells beside a row's numbers say, the same cells being read once."""
        known = self._terms.get(terms)
        if known is None:
            right = self._right({name: cell.strip() for name, cell in zip(self._terms_names, terms, strict=True)})
            if self._customers is not None and right.customer not in self._customers:
                raise ValueError(
                    f"{right.customer} is no customer of the configuration; add it there, or correct the name"
                )
            known = self._terms[terms] = self._holdings.number_of((right,))
        return known

    def _right(self, cells: dict[str, str]) -> Right:
        return parse_right(
            customer=cells["customer"],
            valid_from=cells.get("valid_from", ""),
            valid_to=cells.get("valid_to", ""),
            kind=cells.get("right", ""),
            reference=cells.get("reference", ""),
            ported_out_at=cells.get("ported_out_at", ""),
            grace_days=cells.get("grace_days", ""),
        )


def _check_text(row: list[str]) -> None:
    if any("\ud800" <= character <= "\udfff" for cell in row if not cell.isascii() for character in cell):
        raise ValueError("the row holds bytes that are not UTF-8; save the file as UTF-8")


def parse_prefix(text: str) -> list[tuple[int, int]]:
    """All numbers that begin with `+` and these digits, of every length that the country has. Raises ValueError."""
    digits = text[1:]
    if not (text[:1] == "+" and digits.isascii() and digits.isdigit() and digits[0] != "0"):
        raise ValueError(f"cannot read the prefix {text[:40]!a}: write + and digits only, such as +12025550")
    code_digits = CODE_LENGTH[int(digits[:3].ljust(3, "0"))]
    if not 0 < code_digits < len(digits) <= MAX_DIGITS:
        raise ValueError(
            f"cannot read the prefix {text[:40]!a}: a country code in use and at least one digit more, "
            f"at most {MAX_DIGITS} in all"
        )
    code = int(digits[:code_digits])
    lengths = [length for length in _number_lengths(code) if length >= len(digits)]
    if not lengths:
        raise ValueError(f"cannot read the prefix {text[:40]!a}: +{code} has no numbers as long as that")
    value = int(digits)
    return [
        (value * 10 ** (length - len(digits)), (value + 1) * 10 ** (length - len(digits)) - 1) for length in lengths
    ]


@cache
def _number_lengths(code: int) -> tuple[int, ...]:
    """How many digits numbers of a country code may have, the code included, as far as the metadata knows."""
    if code == NANP:
        return (_NANP_DIGITS,)
    # Imported here: only files with prefixes need the metadata.
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata  # noqa: PLC0415

    lengths: set[int] = set()
    for region in COUNTRY_CODE_TO_REGION_CODE.get(code, ()):
        metadata = (
            PhoneMetadata.metadata_for_nongeo_region(code, None)
            if region == "001"
            else PhoneMetadata.metadata_for_region(region)
        )
        if metadata is not None and metadata.general_desc is not None:
            lengths.update(len(str(code)) + length for length in metadata.general_desc.possible_length)
    found = sorted(length for length in lengths if MIN_DIGITS <= length <= MAX_DIGITS)
    return tuple(found) or tuple(range(MIN_DIGITS, MAX_DIGITS + 1))
