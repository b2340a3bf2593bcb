"""Cut a TCP or TLS byte stream into messages by Content-Length (RFC 3261 §18.3, §7.5), whatever the segment sizes.

Feed it what arrives; it returns the whole messages and counts the keep-alives (RFC 5626 §4.4.1) between them. A stream
that cannot be cut any more is *broken*: what was readable is returned as a last message, so that it can be answered,
and the connection must be closed, since nobody knows where the next message begins.
"""

from __future__ import annotations

from typing import Final

from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.line_memo import split_header_lines
from edge_proxy.sip.message import line_value

_NAME: Final = b"\r\ncontent-length"
_COMPACT_NAME: Final = b"\r\nl"
_BLANKS: Final = (b" ", b"\t")
_HEAD_END: Final = b"\r\n\r\n"


class StreamFramer:
    """The receiving half of one connection. `broken` says in words why no more can be read; "" while all is well."""

    __slots__ = ("_buffer", "_limits", "_need", "_searched", "broken", "pings")

    def __init__(self, limits: Limits) -> None:
        self._buffer = bytearray()
        self._limits = limits
        self._need = 0  # length of the message at the front of the buffer, once its head is read
        self._searched = 0
        self.broken = ""
        self.pings = 0
        """Double CRLFs received between messages: each wants a CRLF back."""

    @property
    def is_mid_message(self) -> bool:
        """Whether a message has begun and its end is missing. Line ends between messages begin none."""
        buffer = self._buffer
        return len(buffer) > 3 or bool(buffer.strip(b"\r\n"))

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the messages that are whole now, in order."""
        if self.broken:
            return []
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while buffer and not self.broken:
            if not self._need and not self._read_head(messages):
                break
            if not self._need or len(buffer) < self._need:
                break
            messages.append(bytes(buffer[: self._need]))
            del buffer[: self._need]
            self._need = self._searched = 0
        return messages

    def _read_head(self, messages: list[bytes]) -> bool:
        """Find the end of the head at the front of the buffer and learn how long its message is."""
        buffer = self._buffer
        self._skip_line_ends()
        end = buffer.find(_HEAD_END, self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            if len(buffer) > self._limits.max_message_bytes:
                self._break(f"no end of headers within {self._limits.max_message_bytes} bytes", messages, len(buffer))
            return False
        head_bytes = end + len(_HEAD_END)
        length = _content_length(bytes(buffer[:end]))
        if length < 0:
            self._break("Content-Length is missing, twice there or no number", messages, head_bytes)
            return False
        if head_bytes + length > self._limits.max_message_bytes:
            self._break(f"message is longer than {self._limits.max_message_bytes} bytes", messages, head_bytes)
            return False
        self._need = head_bytes + length
        return True

    def _skip_line_ends(self) -> None:
        """Line ends before a start line are no part of a message (§7.5); two of them are a ping."""
        buffer = self._buffer
        while buffer[:4] == _HEAD_END:
            self.pings += 1
            del buffer[:4]
        while buffer[:2] == b"\r\n" and len(buffer) > 2 and buffer[2:3] != b"\r":
            del buffer[:2]

    def _break(self, why: str, messages: list[bytes], length: int) -> None:
        self.broken = why
        messages.append(bytes(self._buffer[:length]))
        self._buffer.clear()


def _content_length(head: bytes) -> int:
    """The one Content-Length of a message head; -1 when there is none, more than one, or it is no number."""
    lower = head.lower()
    begin = lower.find(_NAME)
    if begin >= 0 and lower.find(_NAME, begin + 1) < 0 and lower.find(_COMPACT_NAME) < 0:
        # One line only can be it: in most messages nothing else has to be looked at.
        after = begin + len(_NAME)
        end = lower.find(b"\r\n", after)
        text = lower[after:] if end < 0 else lower[after:end]
        digits = text[1:].strip(b" \t")
        is_folded = end >= 0 and lower[end + 2 : end + 3] in _BLANKS
        if text[:1] == b":" and digits.isdigit() and len(digits) <= 10 and not is_folded:
            return int(digits)
    return _any_content_length(head)


def _any_content_length(head: bytes) -> int:
    """The same of a head that spells it otherwise."""
    found = -1
    for line in split_header_lines(head.partition(b"\r\n")[2]):
        colon = line.find(b":")
        if colon < 0:
            continue  # no header: the parser refuses it, but where the message ends is still known
        name = line[:colon]
        kind = grammar.KIND_BY_NAME.get(name)
        if kind is None:
            kind = grammar.header_kind(name)
        if kind == grammar.CONTENT_LENGTH:
            value = line_value(line)
            if found >= 0 or not value.isdigit() or len(value) > 10:
                return -1
            found = int(value)
    return found
