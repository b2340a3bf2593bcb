"""How evidence and log write records in JSON (RFC 8259): a layout says what a line looks like, its values fill it.

The same values to the same bytes as msgspec's encoder gives, in a fraction of the time, by `_layout` where that is
built. Bounds are those of evidence/record.py. Nothing here raises on any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol, cast

import msgspec

from edge_proxy.addr import Address

try:
    from edge_proxy.pipeline._layout import Layout
except ImportError:
    HAS_LAYOUT = False
else:
    HAS_LAYOUT = True

MAX_TEXT_CHARS: Final = 512

_KEPT_CHARS: Final = MAX_TEXT_CHARS - 24  # leaves room for the mark with any length a str can have
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_PIECE: Final = re.compile(rb"<([^%]*)%([sdxbatfmlw])([^>]*)>|([^%<]*)%([sdxbatfmlw])|([^%<]+)")
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - see _write_time
_encode: Final = msgspec.json.Encoder().encode


class Fill(Protocol):
    """Takes the values of a line in order, gives the line."""

    def __call__(self, *values: object) -> bytes: ...


def layout(template: bytes, *, is_native: bool = HAS_LAYOUT) -> Fill:
    """What fills this template. In it stand for a value:

        %s  a text, in quotation marks     %l  a list of texts, without its brackets
        %d  an integer; None is null       %w  a list of (name, weight, ...): "name+1", without its brackets
        %x  an integer, as 16 hexadecimal digits of 64 bits
        %f  seconds, rounded to 6 decimal places; None is null       %m  to 3
        %t  seconds since 1970, as RFC 3339 in UTC with microseconds
        %a  an address, as `str` writes it       %b  bytes, as they are

    What stands between < and >, around one value, is left out when that is None, or an empty text or list. Raises
    ValueError for what is no template.
    """
    plain = PlainLayout(template).fill
    return Layout(template, plain).fill if is_native else plain


class _Piece(NamedTuple):
    before: bytes
    kind: str
    after: bytes
    is_group: bool


class PlainLayout:
    """Fills a template, value by value."""

    __slots__ = ("_pieces", "_values")

    def __init__(self, template: bytes) -> None:
        self._pieces: list[_Piece] = []
        at = 0
        while at < len(template):
            match = _PIECE.match(template, at)
            if match is None:
                raise ValueError(f"no layout: {template!r}")
            at = match.end()
            if match[2]:
                self._pieces.append(_Piece(match[1], match[2].decode(), match[3], True))
            elif match[5]:
                self._pieces.append(_Piece(match[4], match[5].decode(), b"", False))
            else:
                self._pieces.append(_Piece(match[6], "", b"", False))
        self._values = sum(piece.kind != "" for piece in self._pieces)

    def fill(self, *values: object) -> bytes:
        """The line with these values in their places."""
        if len(values) != self._values:
            raise TypeError(f"a line of {self._values} values was given {len(values)}")
        parts: list[bytes] = []
        at = 0
        for piece in self._pieces:
            if not piece.kind:
                parts.append(piece.before)
                continue
            value = values[at]
            at += 1
            if not (piece.is_group and (value is None or value in ("", (), []))):
                parts.append(b"%b%b%b" % (piece.before, _write(piece.kind, value), piece.after))
        return b"".join(parts)


def _write(kind: str, value: object) -> bytes:
    """One value of the kind that the template says. Raises TypeError for a value of another."""
    if kind == "s":
        return quote(cast("str", value))
    if kind == "d":
        return b"null" if value is None else b"%d" % cast("int", value)
    if kind == "x":
        return b"%016x" % cast("int", value)
    if kind == "a":
        return _write_address(cast("Address", value))
    if kind == "t":
        return _write_time(cast("float", value))
    if kind in "fm":
        return b"null" if value is None else _encode(round(cast("float", value), 6 if kind == "f" else 3))
    if kind == "l":
        return b",".join([quote(text) for text in cast("Iterable[str]", value)])
    if kind == "w":
        weighted = cast("Iterable[tuple[object, ...]]", value)
        return b",".join([quote(f"{one[0]}{one[1]:+d}") for one in weighted])
    return cast("bytes", value)


def quote(text: str) -> bytes:
    """A JSON string within the bound; a lone surrogate, which JSON cannot carry, becomes U+FFFD."""
    text = bound_text(text)
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return _encode(_SURROGATE.sub("\ufffd", text))


def bound_text(text: str) -> str:
    """The text, within the bound."""
    return text if len(text) <= MAX_TEXT_CHARS else text[:_KEPT_CHARS] + left_out(len(text) - _KEPT_CHARS)


def left_out(count: int) -> str:
    """What stands for so many characters or entries."""
    return f"…(+{count})"


def _write_address(address: Address) -> bytes:
    host, port = address
    return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()


def _write_time(at: float) -> bytes:
    """By a `datetime` without a zone: each time that one with a zone is formatted, CPython's method cache keeps one
    more small string, and these keep the memory of a burst of calls from going back to the system.
    """
    second = int(at)
    text = (_EPOCH + timedelta(seconds=second)).isoformat()
    return f"{text}.{int((at - second) * 1_000_000):06d}Z".encode()
