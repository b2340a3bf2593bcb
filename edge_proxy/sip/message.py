"""One SIP message as received: its start line read, its header lines kept as they came (RFC 3261 §7).

A message is a list of raw header lines with a kind beside each. Nothing is sliced, decoded or parsed until somebody
asks, and a proxy that forwards joins the same lines again, so what it has no business with leaves byte for byte as
it arrived and in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from edge_proxy.sip import grammar
from edge_proxy.sip.headers import Via, split_list

_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_COMMA: Final = 0x2C
_LF: Final = 0x0A  # asking for a byte by its number costs a tenth of asking for bytes
NO_LINES: Final = [-1] * grammar.KIND_COUNT


def line_value(line: bytes) -> bytes:
    """The value of one raw header line: unfolded, without the blanks around it."""
    value = line[line.find(b":") + 1 :]
    if _LF in value:
        value = _FOLD.sub(b" ", value)
    return value.strip(b" \t\r\n")


class Message:
    """A request (`method` and `uri` set) or a response (`status` set, `method` is CSeq's).

    `lines` are the header lines without their CRLF (a folded header is one line that still holds its folds);
    `kinds[i]` is the kind of `lines[i]`; `first[kind]` the index of the first line of a kind or -1.
    The fields below the mandatory ones are filled by `parser.parse_message`; on a message that it refused they may
    be empty, and only `serializer.build_response` may be used with it.
    """

    __slots__ = (
        "_routes",
        "body",
        "call_id",
        "cseq",
        "first",
        "from_tag",
        "kinds",
        "lines",
        "max_forwards",
        "method",
        "reason",
        "size",
        "start_line",
        "status",
        "to_tag",
        "uri",
        "via",
    )

    def __init__(self, start_line: bytes, size: int) -> None:
        self.start_line = start_line
        self.size = size
        self.lines: list[bytes] = []
        self.kinds: list[int] = []
        self.first: list[int] = NO_LINES[:]
        self.body = b""
        self.method = b""
        self.uri = b""
        self.status = 0
        self.reason = b""
        self.via: Via | None = None
        self.call_id = b""
        self.cseq = 0
        self.from_tag = b""
        self.to_tag = b""
        self.max_forwards = -1
        self._routes: list[bytes] | None = None

    @property
    def is_request(self) -> bool:
        return self.status == 0

    def value(self, kind: int) -> bytes | None:
        """The value of the first line of this kind, unfolded and trimmed; None when there is none."""
        index = self.first[kind]
        if index < 0:
            return None
        line = self.lines[index]
        value = line[line.find(b":") + 1 :]  # line_value, without the call
        if _LF in value:
            value = _FOLD.sub(b" ", value)
        return value.strip(b" \t\r\n")

    def values(self, kind: int) -> list[bytes]:
        """The value of every line of this kind, in order; a line may hold several values with commas between."""
        index = self.first[kind]
        if index < 0:
            return []
        kinds = self.kinds
        lines = self.lines
        return [line_value(lines[i]) for i in range(index, len(kinds)) if kinds[i] == kind]

    def route_values(self) -> list[bytes]:
        """Each Route value, whether a line holds one or several; not to be changed."""
        routes = self._routes
        if routes is None:
            routes = []
            for value in self.values(grammar.ROUTE):
                if _COMMA in value:
                    routes.extend(split_list(value))
                else:
                    routes.append(value)
            self._routes = routes
        return routes

    def take_route_values(self) -> list[bytes]:
        """Each Route value, for the caller to keep."""
        routes = self.route_values()
        self._routes = None
        return routes

    def text(self, kind: int) -> str:
        """The first value of this kind as text, "" when there is none; bytes that are no UTF-8 become U+FFFD."""
        value = self.value(kind)
        return "" if value is None else value.decode("utf-8", "replace")

    def remove_lines(self, indexes: Collection[int]) -> None:
        """Take the lines at these places off the message."""
        kept = [index for index in range(len(self.lines)) if index not in indexes]
        self.lines = [self.lines[index] for index in kept]
        self.kinds = [self.kinds[index] for index in kept]
        self.first = NO_LINES[:]
        self._routes = None
        for index in range(len(kept) - 1, -1, -1):
            self.first[self.kinds[index]] = index

    def __repr__(self) -> str:
        return f"<Message {self.start_line[:60]!r} {len(self.lines)} headers, body {len(self.body)}>"


def with_lines(message: Message, lines: list[bytes], kinds: list[int]) -> Message:
    """The same message with other header lines; what was read of it stays as it was read."""
    copy = Message(message.start_line, message.size)
    copy.lines = lines
    copy.kinds = kinds
    for index, kind in enumerate(kinds):
        if kind and copy.first[kind] < 0:
            copy.first[kind] = index
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
