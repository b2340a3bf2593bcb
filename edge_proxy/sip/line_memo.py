"""The head of a message cut into lines (RFC 3261 §7), and what was read of those that came before.

Of the lines of a message most came before: those of its own call a moment ago (From, Call-ID, Contact, the Via of ours
that a 100, a 180 and a 200 bring back), those that a peer always sends (Allow, User-Agent, Supported) and those that
everybody sends (Max-Forwards, CSeq, Content-Length). What is remembered are the lines seen last, some hundreds: what
a call's INVITE brought is gone when its BYE comes, unless the proxy has little to do.

Where `_lines` is built it does both without making anything of a line that it knows; `PlainLines` does the same where
it is not. What a line means is read by parser.py.
"""

from __future__ import annotations

import re
from typing import Final, Protocol, final

from edge_proxy.sip.grammar import FIRST_REPEATABLE, KIND_BY_NAME, KIND_COUNT, OTHER
from edge_proxy.sip.message import NO_LINES, HeaderLine, StartLine

try:
    from edge_proxy.sip._lines import LineTable
except ImportError:
    HAS_TABLE = False
else:
    HAS_TABLE = True

SplitHead = tuple[bytes, list[bytes], list[int], bytes, bool, bool]
"""What `Lines.split` returns."""
Head = tuple[bytes | StartLine, list[HeaderLine], list[int], bytes, list[int] | None, list[bytes] | None]
"""What `Lines.cut` returns."""

_MOST: Final = 512
_LONGEST_BYTES: Final = 300
_LONGEST_NAME_BYTES: Final = 64
_MOST_NAMES: Final = 256
_MOST_STARTS: Final = 128
_MOST_OF_HEAD: Final = 512
_UNREAD: Final = HeaderLine(OTHER, b"")
_LF: Final = 0x0A  # asking for a byte by its number costs a tenth of asking for bytes
_CR: Final = 0x0D
_BLANK: Final = 0x20
_TAB: Final = 0x09
_HEAD_END: Final = b"\r\n\r\n"
_CRLF: Final = b"\r\n"
_LINE_END: Final = re.compile(rb"\r\n(?![ \t])")


class Lines(Protocol):
    """The lines that were seen last, by their bytes: it carries no meaning, and may be emptied at any time.

    512 lines of at most 300 bytes are held, some 250 kB in traffic: those of the calls that are being set up now, and
    those that peers send all the time. Of more, each would be written and let go when the processor has long put it
    out of its caches; a call costs a tenth more with 4,096.
    """

    def __len__(self) -> int:
        """How many lines are held."""

    def cut(self, data: bytes, most_lines: int, most_bytes: int, /) -> Head | None:
        """The head of a message, cut at each CRLF: (start, lines, first, body, unknown, raws).

        `start` is what was kept for the start line, or its bytes. `lines` has what was kept for each header line; for
        one that is not held stands there what is of no use, and is to be replaced. `first[kind]` is the index of the
        first line of a kind, or -1. `body` is what is behind the empty line that ends the head. `unknown` has three
        numbers for each line that is not held: its index, its kind, and where its first colon stands, each of the two
        -1 if unknown; `raws` has their bytes. Both are None if all are held.

        None instead of all this: a lone CR or LF, a fold, no end of the head, no header line, a second line of a kind
        that may stand there once, or more header lines or bytes of a head than given (and than 512 lines).
        """

    def split(self, data: bytes, most_lines: int, /) -> SplitHead:
        """Any head, whatever is wrong with it: (start, lines, names, body, has_end, has_bare).

        `lines` has the header lines, each with the folds that continue it, or one more than the most, which then holds
        what is of no use. `names` has two numbers for each: the kind of its name and where its first colon stands, each
        -1 if unknown. `has_end` says whether there is an empty line that ends the head; without it the body is empty.
        `has_bare` says whether there is a lone CR or LF before that.
        """

    def keep(self, unknown: list[int], raws: list[bytes], lines: list[HeaderLine], once: int, /) -> None:
        """Keep what was read of the lines that `cut` had not held; a long one is passed over.

        So is one of the kind `once` (-1: none), which hardly another message will bring: it would only push out others,
        and be let go when it is cold.
        """

    def keep_start(self, raw: bytes, start: StartLine, /) -> None:
        """Keep what was read of a start line; a long one is passed over."""

    def keep_name(self, name: bytes, kind: int, /) -> None:
        """Lines with these bytes before their first colon are of this kind; a long name is passed over."""

    def forget(self) -> None:
        """Let go of all lines; the names stay."""


@final
class PlainLines:
    """Lines in dicts, of two generations: when the young one is full it becomes the old one.

    What was not asked for since is let go with the one that was old.
    """

    __slots__ = ("_names", "_old", "_starts", "_young")

    def __init__(self) -> None:
        self._young: dict[bytes, HeaderLine] = {}
        self._old: dict[bytes, HeaderLine] = {}
        self._starts: dict[bytes, StartLine] = {}
        self._names = dict(KIND_BY_NAME)

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._starts)

    def cut(self, data: bytes, most_lines: int, most_bytes: int, /) -> Head | None:
        most = min(most_lines, _MOST_OF_HEAD)
        head, end, body = data.partition(_HEAD_END)
        raws = head.split(_CRLF, most + 1)
        count = len(raws) - 1
        if not end or not 0 < count <= most or len(head) > most_bytes:
            return None
        raw = raws[0]
        start: bytes | StartLine = self._starts.get(raw) or raw
        if start is raw and (not raw or _LF in raw or _CR in raw):
            return None
        lines: list[HeaderLine] = []
        first = NO_LINES[:]
        unknown: list[int] = []
        news: list[bytes] = []
        young = self._young
        for index in range(count):
            text = raws[index + 1]
            line = young.get(text)
            if line is None:
                line = self._line_of_old(text)
                young = self._young
            if line is not None:
                kind = line.kind
                lines.append(line)
            else:
                if not text or text[0] == _BLANK or text[0] == _TAB or _LF in text or _CR in text:
                    return None
                name, colon, _ = text.partition(b":")
                kind = self._names.get(name, -1) if colon else -1
                unknown += [index, kind, len(name) if colon else -1]
                news.append(text)
                lines.append(_UNREAD)
            if kind > 0:
                if first[kind] < 0:
                    first[kind] = index
                elif kind < FIRST_REPEATABLE:
                    return None
        if not news:
            return start, lines, first, body, None, None
        return start, lines, first, body, unknown, news

    def split(self, data: bytes, most_lines: int, /) -> SplitHead:
        head, end, body = data.partition(_HEAD_END)
        start, _, block = head.partition(_CRLF)
        lines = split_header_lines(block, max(most_lines, 0))
        names: list[int] = []
        for line in lines:
            name, colon, _ = line.partition(b":")
            names += [self._names.get(name, -1), len(name)] if colon else [-1, -1]
        line_ends = head.count(_CRLF)
        has_bare = head.count(b"\n") != line_ends or head.count(b"\r") != line_ends
        return start, lines, names, body, bool(end), has_bare

    def _line_of_old(self, text: bytes) -> HeaderLine | None:
        line = self._old.get(text)
        if line is not None:
            self._put(text, line)
        return line

    def keep(self, unknown: list[int], raws: list[bytes], lines: list[HeaderLine], once: int, /) -> None:
        for place, raw in enumerate(raws):
            if len(raw) <= _LONGEST_BYTES and unknown[3 * place + 1] != once:
                self._put(raw, lines[unknown[3 * place]])

    def _put(self, raw: bytes, line: HeaderLine) -> None:
        if len(self._young) >= _MOST // 2:
            self._old = self._young
            self._young = {}
        self._young[raw] = line

    def keep_start(self, raw: bytes, start: StartLine, /) -> None:
        if 0 < len(raw) <= _LONGEST_BYTES and raw[0] != _BLANK and raw[0] != _TAB:
            if len(self._starts) >= _MOST_STARTS:
                self._starts.clear()
            self._starts[raw] = start

    def keep_name(self, name: bytes, kind: int, /) -> None:
        if len(name) <= _LONGEST_NAME_BYTES:
            if len(self._names) >= _MOST_NAMES:
                self._names = dict(KIND_BY_NAME)
            self._names[name] = kind

    def forget(self) -> None:
        self._young = {}
        self._old = {}
        self._starts = {}


def split_header_lines(block: bytes, most: int = -1) -> list[bytes]:
    """The header lines of a head (without its start line), each with the folds that continue it (§7.3.1).

    Of more than `most` lines, where that is given, the last, which is one too many, holds all the rest.
    """
    lines = block.split(_CRLF, most)
    for line in lines:
        if line and (line[0] == _BLANK or line[0] == _TAB):
            lines = _LINE_END.split(block, max(most, 0)) if most else [block]
            break
    if lines and not lines[-1]:
        lines.pop()
    return lines


def lines_of(*, is_table: bool = HAS_TABLE, seed: int = hash(b"lines")) -> Lines:
    """A memo that holds nothing yet.

    Who knows the seed can send lines that are forgotten early. Python's own hash of bytes is seeded already.
    """
    if not is_table:
        return PlainLines()
    table = LineTable(seed, _MOST, _LONGEST_BYTES, KIND_COUNT, FIRST_REPEATABLE)
    for name, kind in KIND_BY_NAME.items():
        table.keep_name(name, kind)
    return table


LINES: Final = lines_of()
"""The lines that this process saw last."""
