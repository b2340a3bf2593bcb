"""The E.164 country codes in use, and where the code of a number ends (ITU-T E.164 §6.2).

Codes are prefix-free, so the first three digits always settle it. The table is part of the source, because a number
that begins with `+` must be readable without a numbering plan and without loading any metadata.
"""

from __future__ import annotations

_ONE = "1 7"
_TWO = "20 27 30-34 36 39-41 43-49 51-58 60-66 81 82 84 86 90-95 98"
_THREE = (
    "211-213 216 218 220-258 260-269 290 291 297-299 350-359 370-378 380-383 385-387 389 420 421 423 500-509 590-599 "
    "670 672-683 685-692 800 808 850 852 853 855 856 870 878 880-883 886 888 960-968 970-977 979 992-996 998"
)


def _codes(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


COUNTRY_CODES = _codes(_ONE) | _codes(_TWO) | _codes(_THREE)

NANP = 1
"""The North American Numbering Plan: the one country code whose numbers all have the same length."""

NUMBERS_BEGIN_WITH_ZERO = _codes("39 47 225-227 229 241 242 267 268 378 501 676 679 687 853")
"""Codes without a trunk prefix where a zero after the code belongs to the number: `+39 (0)6..` keeps its zero."""


def _length_by_three_digits(three: int) -> int:
    for length, code in ((1, three // 100), (2, three // 10), (3, three)):
        if code in COUNTRY_CODES and len(str(code)) == length:
            return length
    return 0


CODE_LENGTH = bytes(_length_by_three_digits(three) for three in range(1000))
"""Index: the first three digits as an integer. Value: how many of them are the country code; 0: no such code."""
