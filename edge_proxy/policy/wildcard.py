"""Match text against a pattern with `*` for anything: linear in the text, without regard to case."""

from __future__ import annotations

from typing import Final

MAX_CHARS: Final = 128
MAX_STARS: Final = 8


class Wildcard:
    """One pattern, such as `Cisco-SIPGateway/*`; without a `*` it is the whole text."""

    __slots__ = ("_first", "_inner", "_last", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        first, *inner = text.lower().split("*")
        self._first = first
        self._last = inner.pop() if inner else None
        self._inner = tuple(part for part in inner if part)

    def matches(self, text: str) -> bool:
        text = text.lower()
        if self._last is None:
            return text == self._first
        at, end = len(self._first), len(text) - len(self._last)
        if end < at or not text.startswith(self._first) or not text.endswith(self._last):
            return False
        for part in self._inner:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wildcard) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def check_wildcard(text: str) -> str:
    """The same pattern, when it is one that is served. ValueError says what would be right."""
    if not text.strip("*") or not text.isprintable():
        raise ValueError('a pattern needs something other than *, all of it printable, such as "Yealink *"')
    if len(text) > MAX_CHARS or text.count("*") > MAX_STARS:
        raise ValueError(f"a pattern has at most {MAX_CHARS} characters and {MAX_STARS} stars; write a shorter one")
    return text
