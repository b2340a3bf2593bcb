"""Which other numbers a called number may be led to, beside the one that the customer's dial plan reads in it.

Lists of numbers that are not to be called, and limits on where calls go, must not be evaded by writing a number so
that we read none and the exchange behind us still dials one: `+00` in front, digits behind the last that counts, a star
code, a pause and what is dialled after it. And where a routing number stands beside the number (RFC 4694 §4), whoever
honours it goes there. What comes out is a suspicion: it limits and denies, and gives nobody anything.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import MAX_DIGITS, DialPlan, Reading, ReadingRule, read_number
from edge_proxy.sip.uri import Uri

NOWHERE_ELSE: Final[tuple[E164, ...]] = ()
_MAX_CHARS: Final = 1024
_MAX_ROUTING_NUMBERS: Final = 4
_NANP_DIGITS: Final = 11
_STAR_CODES: Final = re.compile(r"[*#]{1,2}(?:[0-9]{1,4}[*#]|[0-9]{2})")
"""`*31#`, `#31#` and `*43*` as GSM has them, `*67` as the NANP has it."""
_LETTER: Final = re.compile(r"[^\W\d_]")
_DIALLED_AFTER: Final = re.compile(r"[,;pPwWxX#*]")
_NO_DIGITS: Final = re.compile(r"[^0-9]+")
_ROUTING_NUMBERS: Final = re.compile(r";[ \t]*rn[ \t]*=[ \t]*([^;]{1,64})", re.IGNORECASE)
_WITHIN_A_NETWORK: Final = frozenset({ReadingRule.EMPTY, ReadingRule.SHORT_CODE, ReadingRule.TOO_SHORT})
"""Extensions, local numbers and service numbers: nothing is too much in them, and no other country is reached."""


def may_reach(uri: Uri, reading: Reading, plan: DialPlan | None) -> tuple[E164, ...]:
    """The numbers, each once, without the one that was read; nearly always there are none."""
    if reading.number is not None and not uri.user_params:
        return NOWHERE_ELSE
    found: dict[E164, None] = {}
    if reading.number is None and reading.rule not in _WITHIN_A_NETWORK:
        _guess(uri.user, plan, found)
    if uri.user_params:
        params = unquote_to_bytes(uri.user_params[:1024]).decode("utf-8", "replace")
        has_any = "rn" in params.lower()
        for written in _ROUTING_NUMBERS.findall(params)[:_MAX_ROUTING_NUMBERS] if has_any else ():
            number = read_number(written.strip(), plan).number
            if number is None:
                _guess(written, plan, found)
            else:
                found[number] = None
        if reading.number is not None and reading.raw != uri.user and uri.user.startswith("00"):
            # Of another country, by its context; and dialled as if from there to a third one.
            _keep(uri.user, found)
    if reading.number is not None:
        found.pop(reading.number, None)
    return tuple(found)


def _guess(text: str, plan: DialPlan | None, found: dict[E164, None]) -> None:
    """What an exchange may make of a text that is no number by the plan."""
    text = text[:_MAX_CHARS]
    code = _STAR_CODES.match(text)
    if code is not None:
        text = text[code.end() :]
    after = _DIALLED_AFTER.search(text)
    if after is not None:
        text = text[: after.start()]
    if _LETTER.search(text) is not None:
        return  # a name, with digits in it
    digits = _NO_DIGITS.sub("", text)
    reading = read_number(digits, plan)
    if reading.rule in _WITHIN_A_NETWORK:
        return
    if reading.number is not None:
        found[reading.number] = None
    for prefix in ("011",) if plan is None else ("011", *plan.international_prefixes):
        if digits.startswith(prefix):
            _keep(digits[len(prefix) :], found)
    _keep(digits, found)
    if plan is not None:
        national = digits.removeprefix(plan.national_prefix) if digits[:2] != "00" else ""
        longest = max(plan.national_lengths, default=0)
        if len(national) > longest:  # digits too many are not dialled
            _keep(f"{plan.country_code}{national[:longest]}", found)


def _keep(digits: str, found: dict[E164, None]) -> None:
    """A full number, whatever zeros stand in front of it; digits beyond its end are not dialled."""
    digits = digits.lstrip("0")
    digits = digits[:_NANP_DIGITS] if digits.startswith("1") else digits[:MAX_DIGITS]
    number = read_number("+" + digits, None).number
    if number is not None:
        found[number] = None
