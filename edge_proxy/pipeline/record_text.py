"""How evidence and log write records in JSON (RFC 8259): a layout says what a line looks like, its values fill it.

The same values to the same bytes as msgspec's encoder gives, in a fraction of the time, by `_layout` where that is
built. Bounds are those of evidence/record.py. Nothing here raises on any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol, cast

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


_Writer = Callable[[object], bytes]


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


class PlainLayout:
    """Fills a template, value by value."""

    __slots__ = ("_line", "_writers")

    def __init__(self, template: bytes) -> None:
        self._line = b""
        self._writers: list[_Writer] = []
        at = 0
        while at < len(template):
            match = _PIECE.match(template, at)
            if match is None:
                raise ValueError(f"no layout: {template!r}")
            at = match.end()
            if match[2]:
                self._line += b"%b"
                self._writers.append(_group(match[1], _WRITERS[match[2]], match[3]))
            elif match[5]:
                self._line += match[4] + b"%b"
                self._writers.append(_WRITERS[match[5]])
            else:
                self._line += match[6]

    def fill(self, *values: object) -> bytes:
        """The line with these values in their places. Raises ValueError for too few or many, TypeError for others."""
        return self._line % tuple([write(value) for write, value in zip(self._writers, values, strict=True)])


def _group(before: bytes, write: _Writer, after: bytes) -> _Writer:
    """Left out when its value is empty."""

    def write_group(value: object) -> bytes:
        return b"" if value is None or value in ("", (), []) else b"%b%b%b" % (before, write(value), after)

    return write_group


def _write_integer(value: int | None) -> bytes:
    return b"null" if value is None else b"%d" % value


def _write_id(value: int) -> bytes:
    return b"%016x" % value


def _write_microseconds(value_s: float | None) -> bytes:
    return b"null" if value_s is None else _encode(round(value_s, 6))


def _write_milliseconds(value_s: float | None) -> bytes:
    return b"null" if value_s is None else _encode(round(value_s, 3))


def _write_texts(texts: Iterable[str]) -> bytes:
    return b",".join([quote(text) for text in texts])


def _write_weighted(weighted: Iterable[tuple[object, ...]]) -> bytes:
    return b",".join([quote(f"{one[0]}{one[1]:+d}") for one in weighted])


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


def _write_bytes(value: bytes) -> bytes:
    return value


def quote(text: str) -> bytes:
    """A JSON string within the bound; a lone surrogate, which JSON cannot carry, becomes U+FFFD."""
    if len(text) > MAX_TEXT_CHARS:
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


# Each is given what its kind says; what it is given instead raises TypeError.
_WRITERS: Final = cast(
    "dict[bytes, _Writer]",
    {
        b"s": quote,
        b"d": _write_integer,
        b"x": _write_id,
        b"f": _write_microseconds,
        b"m": _write_milliseconds,
        b"t": _write_time,
        b"a": _write_address,
        b"b": _write_bytes,
        b"l": _write_texts,
        b"w": _write_weighted,
    },
)
