"""Find the part of a body that a circuit exchange wrote: ISUP, QSIG or a like, alone or in a multipart.

RFC 3204 names the types, RFC 3372 §4 and RFC 2046 §5.1 how they travel. Tolerant and bounded: an element that reads
the boundary otherwise must not be the reason that a body is not seen.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TYPES: Final = re.compile(rb"application\s*+/\s*+(isup|qsig|x-q931|gtd)\b([^\r\n]*)", re.IGNORECASE)
_IN_LOWER_CASE: Final = re.compile(rb"application\s*+/\s*+(?:isup|qsig|x-q931|gtd)\b")
_MULTIPART: Final = re.compile(rb"multipart\s*+/", re.IGNORECASE)
_PART_TYPE: Final = frozenset({b"content-type", b"c"})
_BOUNDARY: Final = re.compile(r'boundary[ \t]*=[ \t]*(?:"([^"]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_BASE: Final = re.compile(rb';[ \t]*base[ \t]*=[ \t]*"?([A-Za-z0-9+\-]{1,16})', re.IGNORECASE)
_VERSION: Final = re.compile(rb';[ \t]*version[ \t]*=[ \t]*"?([A-Za-z0-9+\-]{1,16})', re.IGNORECASE)
_MAX_PARTS: Final = 24
"""How many lines that name such a type are looked at; nobody writes more that do not begin a part of that type."""


class CircuitBody(NamedTuple):
    """`kind` is `isup`, `qsig`, `x-q931` or `gtd`; `type_text` the type as written; `base` the variant it names."""

    kind: str
    type_text: str
    base: str
    content: bytes


def find_circuit_body(content_type: str, body: bytes) -> CircuitBody | None:
    """The first such part; None when there is none. `content_type` is the message's own."""
    whole = content_type.encode("utf-8", "replace")
    match = _TYPES.match(whole)
    if match is not None:
        return _circuit_body(match, body)
    if _MULTIPART.match(whole) is None:
        return None
    lower = body.lower()
    at = 0
    for count in range(1, _MAX_PARTS + 1):
        near = _IN_LOWER_CASE.search(lower, at)
        if near is None:
            return None
        at = near.start()
        match = _TYPES.match(body, at)
        if match is not None and (count == _MAX_PARTS or _begins_part(lower, at)):
            return _circuit_body(match, _content(body, match.end(), content_type))
        # A part's type is the first thing in its line.
        at = lower.find(b"\n", near.end())
        if at < 0:
            return None
    return None


def _begins_part(lower: bytes, at: int) -> bool:
    """Whether what stands there is the value of a Content-Type, with blanks and folds before it or not."""
    line = lower[:at].rstrip()
    name = line[line.rfind(b"\n") + 1 :]
    return name[-1:] == b":" and name[:-1].rstrip(b" \t") in _PART_TYPE


def _circuit_body(match: re.Match[bytes], content: bytes) -> CircuitBody:
    base = _BASE.search(match[2]) or _VERSION.search(match[2])
    return CircuitBody(
        kind=match[1].decode("ascii").lower(),
        type_text=b"".join(match[0][: match.start(2) - match.start()].split()).decode("ascii"),
        base="" if base is None else base[1].decode("ascii"),
        content=content,
    )


def _content(body: bytes, from_: int, content_type: str) -> bytes:
    """What stands between the blank line behind `from_` and the next boundary."""
    start = body.find(b"\r\n\r\n", from_)
    if start < 0:
        return b""
    named = _BOUNDARY.search(content_type)
    boundary = "" if named is None else named[1] or named[2]
    end = body.find(b"\r\n--" + boundary.encode("utf-8", "replace"), start + 2)
    return body[start + 4 : len(body) if end < 0 else max(end, start + 4)]
