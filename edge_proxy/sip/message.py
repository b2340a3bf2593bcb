"""One SIP message as received: its start line read, its header lines kept as they came (RFC 3261 §7).

A message is a list of header lines: each the raw bytes, its kind, and what was read of it so far. Nothing is unfolded,
decoded or parsed until somebody asks, and a proxy that forwards joins the same raw lines again, so what it has no
business with leaves byte for byte as it arrived and in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, final

from edge_proxy.native import mypyc_attr
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import first_of_list, split_list, trimmed
from edge_proxy.sip.via import Via

_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_BLANK: Final = 0x20
_COMMA: Final = 0x2C
_LF: Final = 0x0A  # asking for a byte by its number costs a tenth of asking for bytes
_MOST_KEPT_VALUES: Final = 8
"""A line of nothing but commas would be held in many times its bytes."""
NO_LINES: Final = [-1] * grammar.KIND_COUNT


def line_value(line: bytes) -> bytes:
    """The value of one raw header line: unfolded, without the blanks around it."""
    value = line[line.find(b":") + 1 :]
    if _LF in value:
        value = _FOLD.sub(b" ", value)
    return value.strip(b" \t\r\n")


@mypyc_attr(acyclic=True)
@final
class StartLine:
    """A start line as it was read: `method` and `uri` of a request, `status` and `reason` of a response.

    Messages share it, and nobody changes it.
    """

    __slots__ = ("method", "raw", "reason", "status", "uri")

    def __init__(self, raw: bytes, method: bytes, uri: bytes, status: int, reason: bytes) -> None:
        self.raw = raw
        """Without its CRLF."""
        self.method = method
        self.uri = uri
        self.status = status
        self.reason = reason


@mypyc_attr(acyclic=True)
@final
class HeaderLine:
    """One header line, and what was read of it, for whoever asks next.

    Messages share it (see line_memo.py): `raw` and `kind` never change, a message whose line is to be another one gets
    another object, and nobody changes what was read.
    """

    __slots__ = ("_begin", "_list_values", "_text", "_value", "kind", "number", "raw", "via", "word")

    def __init__(self, kind: int, raw: bytes, colon: int = -1) -> None:
        """`colon`: where the first one stands in a line without folds, if that is known."""
        self.kind = kind
        self.raw = raw
        """Without its CRLF; a folded header is one line that still holds its folds."""
        self._begin = colon + 1
        self._value: bytes | None = None
        self._list_values: list[bytes] | None = None
        self._text: str | None = None
        self.via: Via | None = None
        """The first Via in it; this and the next two are set by the parser, once it has read them."""
        self.word: bytes | None = None
        """The one word in it that a proxy lives by: From's or To's tag, the Call-ID, CSeq's method."""
        self.number = -1
        """The number in it: that of CSeq, Max-Forwards or Content-Length; 1 where Supported or Require names `timer` or
        From says `verstat`, 0 where it does not. -1: not read."""

    @property
    def value(self) -> bytes:
        """The value, unfolded and trimmed."""
        value = self._value
        if value is None:
            raw = self.raw
            begin = self._begin
            if begin <= 0:
                value = line_value(raw)
            else:
                if begin < len(raw) and raw[begin] == _BLANK:
                    begin += 1
                value = trimmed(raw[begin:])
            self._value = value
        return value

    @property
    def text(self) -> str:
        """The value as text; bytes that are no UTF-8 become U+FFFD."""
        text = self._text
        if text is None:
            text = self._text = self.value.decode("utf-8", "replace")
        return text

    @property
    def first_value(self) -> bytes:
        """The first of the values that stand in the line with commas between."""
        value = self.value
        return first_of_list(value) if _COMMA in value else value

    @property
    def list_values(self) -> list[bytes]:
        """The values that stand in the line with commas between; not to be changed."""
        return self.first_list_values(1 << 30)

    def first_list_values(self, most: int) -> list[bytes]:
        """The same of at most so many; where there are more, one more, and what it holds is of no use."""
        values = self._list_values
        if values is None:
            value = self.value
            values = split_list(value, most) if _COMMA in value else [value]
            if len(values) <= most and len(values) <= _MOST_KEPT_VALUES:
                self._list_values = values
        return values


@mypyc_attr(acyclic=True)
class Message:
    """A request (`method` and `uri` set) or a response (`status` set, `method` is CSeq's).

    `first[kind]` is the index in `headers` of the first line of a kind or -1. Both are changed by the methods only.
    The fields below the mandatory ones are filled by `parser.parse_message`; on a message that it refused they may
    be empty, and only `serializer.build_response` may be used with it.
    """

    __slots__ = (
        "body",
        "call_id",
        "cseq",
        "first",
        "from_tag",
        "headers",
        "max_forwards",
        "method",
        "reason",
        "received",
        "size",
        "start_line",
        "status",
        "to_tag",
        "uri",
        "via",
    )

    def __init__(self, start_line: bytes, size: int, headers: list[HeaderLine], first: list[int]) -> None:
        self.start_line = start_line
        self.size = size
        self.headers = headers
        self.first = first
        self.body = b""
        self.method = b""
        self.uri = b""
        self.status = 0
        self.reason = b""
        self.received = b""
        """The whole message as it came, if it is a response and none of its lines was changed since."""
        self.via: Via | None = None
        self.call_id = b""
        self.cseq = 0
        self.from_tag = b""
        self.to_tag = b""
        self.max_forwards = -1

    @property
    def is_request(self) -> bool:
        return self.status == 0

    @property
    def lines(self) -> Sequence[bytes]:
        """The raw header lines."""
        return [line.raw for line in self.headers]

    @property
    def kinds(self) -> Sequence[int]:
        """The kind of each header line."""
        return [line.kind for line in self.headers]

    def count(self, kind: int) -> int:
        """How many lines of this kind there are."""
        if self.first[kind] < 0:
            return 0
        found = 0
        for line in self.headers:
            if line.kind == kind:
                found += 1
        return found

    def line(self, kind: int) -> HeaderLine | None:
        """The first line of this kind; None when there is none."""
        index = self.first[kind]
        return None if index < 0 else self.headers[index]

    def value(self, kind: int) -> bytes | None:
        """The value of the first line of this kind, unfolded and trimmed; None when there is none."""
        index = self.first[kind]
        return None if index < 0 else self.headers[index].value

    def values(self, kind: int) -> list[bytes]:
        """The value of every line of this kind, in order; a line may hold several values with commas between."""
        if self.first[kind] < 0:
            return []
        return [line.value for line in self.headers if line.kind == kind]

    def list_values(self, kind: int, most: int = 1 << 16) -> list[bytes]:
        """Each value of this kind, whether a line holds one or several; not to be changed.

        Of more than `most` there may be any that are more, of no use: what is behind them is not read.
        """
        index = self.first[kind]
        if index < 0:
            return []
        headers = self.headers
        values = headers[index].first_list_values(most)
        is_own = False
        for place in range(index + 1, len(headers)):
            if len(values) > most:
                break
            line = headers[place]
            if line.kind == kind:
                if not is_own:
                    values = values[:]  # the line's own list stays as it is
                    is_own = True
                values.extend(line.first_list_values(most))
        return values

    def text(self, kind: int) -> str:
        """The first value of this kind as text, "" when there is none; bytes that are no UTF-8 become U+FFFD."""
        value = self.value(kind)
        return "" if value is None else value.decode("utf-8", "replace")

    def add_line(self, line: HeaderLine) -> None:
        """Put a line behind the others."""
        kind = line.kind
        headers = self.headers
        if self.first[kind] < 0:
            self.first[kind] = len(headers)
        self.received = b""
        headers.append(line)

    def replace_line(self, index: int, raw: bytes) -> None:
        """Put a line of the same kind in place of the one that stands there."""
        self.received = b""
        self.headers[index] = HeaderLine(self.headers[index].kind, raw)

    def remove_lines(self, indexes: Collection[int]) -> None:
        """Take the lines at these places off the message."""
        self.set_headers([line for index, line in enumerate(self.headers) if index not in indexes])

    def set_headers(self, headers: list[HeaderLine]) -> None:
        """Give the message these header lines, and no others."""
        self.headers = headers
        self.first = _first_of(headers)
        self.received = b""

    def __repr__(self) -> str:
        return f"<Message {self.start_line[:60]!r} {len(self.headers)} headers, body {len(self.body)}>"


def _first_of(headers: list[HeaderLine]) -> list[int]:
    first = NO_LINES[:]
    for index, line in enumerate(headers):
        kind = line.kind
        if kind and first[kind] < 0:
            first[kind] = index
    return first


def with_headers(message: Message, headers: list[HeaderLine]) -> Message:
    """The same message with other header lines; what was read of it stays as it was read."""
    copy = Message(message.start_line, message.size, headers, _first_of(headers))
    copy.body = message.body
    copy.method = message.method
    copy.uri = message.uri
    copy.status = message.status
    copy.reason = message.reason
    copy.via = message.via
    copy.call_id = message.call_id
    copy.cseq = message.cseq
    copy.from_tag = message.from_tag
    copy.to_tag = message.to_tag
    copy.max_forwards = message.max_forwards
    return copy
