"""Read the user part of a sip or tel URI as an E.164 number (ITU-T E.164, RFC 3966 §3, RFC 3261 §19.1.6).

One dial plan (a region's prefixes and lengths) turns `+12025550100`, `0112025550100`, `12025550100`, `2025550100` and
`(202) 555-0100` into the same number, and says by which rule. A reading is a statement about form: whether the number
is assigned, allowed or owned is asked elsewhere. It never raises, and what it cannot read it does not guess: `number`
is then None and `rule` says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Final

from edge_proxy.addr import E164
from edge_proxy.numbers.country import CODE_LENGTH, NANP, NUMBERS_BEGIN_WITH_ZERO
from edge_proxy.numbers.patterns import spell_out

MAX_DIGITS: Final = 15
"""The most digits of an E.164 number, country code included."""

MIN_DIGITS: Final = 7
"""E.164 sets no minimum; shorter strings are extensions and service numbers in practice."""

MAX_TEXT: Final = 40
"""Longest text in characters that is looked at: 15 digits, prefixes and generous separators are far below."""

_SHORT_CODE_DIGITS: Final = 6
_EXTENSION_DIGITS: Final = 4
_NANP_DIGITS: Final = 11
_MAX_INTERNATIONAL_PREFIXES: Final = 128
_ASCII_DIGITS = frozenset("0123456789")
_SERVICE_CHARACTERS = frozenset("0123456789*#")
_DROP_SEPARATORS = str.maketrans("", "", "-.() ")
"""RFC 3966 §3 visual separators, and the space that people type."""


class ReadingRule(StrEnum):
    """How a number was read, or why it was not. A closed set: the values may become metric labels."""

    GLOBAL = "global"
    """`+` and the full number."""
    INTERNATIONAL_PREFIX = "international_prefix"
    """The plan's international prefix and the full number."""
    NATIONAL_PREFIX = "national_prefix"
    """The plan's national (trunk) prefix, then the national number."""
    NATIONAL = "national"
    """The national number alone."""
    COUNTRY_CODE = "country_code"
    """The full number without `+`, of the plan's own country (in the NANP, 1+10 digits is this form)."""

    EMPTY = "empty"
    NOT_A_NUMBER = "not_a_number"
    """Something other than digits and separators: a name, a word, digits of another script."""
    SERVICE_CODE = "service_code"
    """Digits with `*` or `#`, as typed at a telephone."""
    SHORT_CODE = "short_code"
    """Up to six digits: an extension, a service or an emergency number."""
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    UNKNOWN_COUNTRY = "unknown_country"
    """A full number with a country code that is not in use."""
    NO_PLAN = "no_plan"
    """Digits without `+`, and no plan to read them by."""
    NO_FORM = "no_form"
    """Enough digits, but no form of the plan fits them."""


_GLOBAL: Final = ReadingRule.GLOBAL
_NATIONAL: Final = ReadingRule.NATIONAL
_COUNTRY_CODE: Final = ReadingRule.COUNTRY_CODE


@dataclass(slots=True, init=False, unsafe_hash=True)
class Reading:
    """What was read: `raw` as received (cut after `MAX_TEXT` characters), the rule, and the number if there is one.

    Nobody changes one that is made. That is not enforced: a frozen one takes several times as long to make.
    """

    raw: str
    rule: ReadingRule
    number: E164 | None

    def __init__(self, raw: str, rule: ReadingRule, number: E164 | None) -> None:
        self.raw = raw
        self.rule = rule
        self.number = number


@dataclass(frozen=True, slots=True)
class DialPlan:
    """How numbers are dialled and written in one region. Made by `dial_plan`, shared, compared by its region."""

    region: str
    """Two letters, ISO 3166-1 (as libphonenumber uses them)."""
    country_code: int = field(compare=False)
    international_prefixes: tuple[str, ...] = field(compare=False, repr=False)
    """In the order in which they are tried: the usual one first, then longer before shorter."""
    national_prefix: str = field(compare=False)
    """"" where the plan has none, or none that may be stripped (Italy's leading zero belongs to the number)."""
    national_lengths: frozenset[int] = field(compare=False, repr=False)
    """Digits that a national number may have, without prefix, as far as E.164's 7 to 15 in all allow."""
    national_pattern: re.Pattern[str] = field(compare=False, repr=False)
    """Matches the national numbers of the ranges in use. It settles ambiguous digits; it does not refuse a number."""
    prefix_pattern: re.Pattern[str] | None = field(compare=False, repr=False)
    """National prefix with the carrier selection codes that may follow it."""
    prefix_rewrite: str = field(compare=False, repr=False)
    """Template for what `prefix_pattern` becomes when its last group took part; "": it is cut off."""

    @property
    def is_nanp(self) -> bool:
        return self.country_code == NANP


@cache
def dial_plan(region: str) -> DialPlan:
    """The dial plan of a region such as "US", from libphonenumber's metadata. Raises ValueError when unknown.

    The first call loads the metadata (tens of milliseconds): call it while configuration loads, not per message.
    """
    # Imported here so that a process that reads no national numbers never pays for it.
    from phonenumbers import SUPPORTED_REGIONS, PhoneMetadata  # noqa: PLC0415

    metadata = PhoneMetadata.metadata_for_region(region) if region in SUPPORTED_REGIONS else None
    if metadata is None or metadata.general_desc is None or metadata.country_code is None:
        raise ValueError(f"unknown region {region!r}: give the two capital letters of a country, such as US or DE")
    code = metadata.country_code
    code_digits = len(str(code))
    possible = (10,) if code == NANP else metadata.general_desc.possible_length
    parsing = metadata.national_prefix_for_parsing
    return DialPlan(
        region=region,
        country_code=code,
        international_prefixes=_international_prefixes(
            metadata.international_prefix or "", metadata.preferred_international_prefix or ""
        ),
        national_prefix=metadata.national_prefix or "",
        national_lengths=frozenset(length for length in possible if MIN_DIGITS <= code_digits + length <= MAX_DIGITS),
        national_pattern=re.compile(metadata.general_desc.national_number_pattern or "", re.ASCII),
        prefix_pattern=re.compile(parsing, re.ASCII) if parsing else None,
        prefix_rewrite=metadata.national_prefix_transform_rule or "",
    )


def _international_prefixes(pattern: str, preferred: str) -> tuple[str, ...]:
    """The pattern as literal prefixes. `8~10` is how the metadata writes a pause for a second dial tone."""
    prefixes = spell_out(pattern) if pattern else ()
    if len(prefixes) > _MAX_INTERNATIONAL_PREFIXES:
        # Thousands of carrier selection codes (CN) never reach a trunk; the prefix everybody dials is the shortest.
        shortest = min(map(len, prefixes))
        prefixes = tuple(prefix for prefix in prefixes if len(prefix) == shortest)
    preferred = preferred.replace("~", "")
    rest = sorted(set(prefixes) - {preferred, ""}, key=lambda prefix: (-len(prefix), prefix))
    return (preferred, *rest) if preferred else tuple(rest)


def read_number(text: str, plan: DialPlan | None) -> Reading:
    """Read a user part (percent-decoded, parameters cut off) as an E.164 number. Never raises; bounded work.

    Without a plan only `+` forms are numbers. Order for bare digits: international prefix, national prefix, then
    country code and national number (digits that fit several forms are settled by the ranges in use).
    """
    size = len(text)
    if size <= MAX_TEXT and text.isascii():
        if text[:1] == "+":
            digits = text[1:]
            if digits.isdigit():
                if size == _NANP_DIGITS + 1 and digits[0] == "1":
                    return Reading(text, _GLOBAL, E164(int(digits)))
                return _read_global(text, digits, _GLOBAL)
        elif text.isdigit():
            if plan is not None and plan.country_code == NANP:
                if size == _NANP_DIGITS and text[0] == "1":
                    return Reading(text, _COUNTRY_CODE, E164(int(text)))
                if size == _NANP_DIGITS - 1 and text[0] >= "2":
                    return Reading(text, _NATIONAL, E164(10_000_000_000 + int(text)))
            return _read_bare(text, text, plan)
    return _read_written(text, plan)


def format_e164(number: E164) -> str:
    """`+` and the digits: 12025550100 -> "+12025550100"."""
    return f"+{number}"


def _read_written(text: str, plan: DialPlan | None) -> Reading:
    """The forms that need cleaning first, and all that is no number."""
    if not text:
        return Reading(text, ReadingRule.EMPTY, None)
    if len(text) > MAX_TEXT:
        return Reading(text[:MAX_TEXT], ReadingRule.TOO_LONG, None)
    at = text.find("(0)")
    digits = (_without_bracketed_zero(text, at, plan) if at > 0 else text).translate(_DROP_SEPARATORS)
    if digits[:1] == "+":
        digits = digits[1:]
        if _ASCII_DIGITS.issuperset(digits) and digits:
            return _read_global(text, digits, _GLOBAL)
    elif _ASCII_DIGITS.issuperset(digits) and digits:
        return _read_bare(text, digits, plan)
    elif _SERVICE_CHARACTERS.issuperset(digits) and digits:
        return Reading(text, ReadingRule.SERVICE_CODE, None)
    return Reading(text, ReadingRule.NOT_A_NUMBER, None)


def _without_bracketed_zero(text: str, at: int, plan: DialPlan | None) -> str:
    """`+44 (0)20..` -> `+44 20..`: the (0) behind a country code is the trunk prefix for callers inside the country.

    Anywhere else, and where numbers themselves begin with zero (+39), the zero is part of what was written.
    """
    head = text[:at].translate(_DROP_SEPARATORS)
    if head[:1] == "+":
        code = head[1:]
    elif plan is None:
        return text
    elif head == str(plan.country_code):
        code = head
    else:
        code = next((head[len(p) :] for p in plan.international_prefixes if head.startswith(p)), "")
    if not 1 <= len(code) <= 3 or not _ASCII_DIGITS.issuperset(code):
        return text
    is_code = CODE_LENGTH[int(code.ljust(3, "0"))] == len(code)
    return text[:at] + text[at + 3 :] if is_code and int(code) not in NUMBERS_BEGIN_WITH_ZERO else text


def _read_global(raw: str, digits: str, rule: ReadingRule) -> Reading:
    """A full number, country code first. Only the NANP has one length for all; elsewhere 7 to 15 digits."""
    size = len(digits)
    if size > MAX_DIGITS:
        return Reading(raw, ReadingRule.TOO_LONG, None)
    if size < MIN_DIGITS:
        return Reading(raw, ReadingRule.TOO_SHORT, None)
    if digits[0] == "1":
        if size != _NANP_DIGITS:
            return Reading(raw, ReadingRule.TOO_SHORT if size < _NANP_DIGITS else ReadingRule.TOO_LONG, None)
    elif not CODE_LENGTH[int(digits[:3])]:
        return Reading(raw, ReadingRule.UNKNOWN_COUNTRY, None)
    return Reading(raw, rule, E164(int(digits)))


def _read_bare(raw: str, digits: str, plan: DialPlan | None) -> Reading:
    """Digits without `+`, by the plan."""
    size = len(digits)
    if size <= _SHORT_CODE_DIGITS:
        is_full = (
            size > _EXTENSION_DIGITS
            and plan is not None
            and not plan.national_prefix
            and size in plan.national_lengths
            and plan.national_pattern.fullmatch(digits) is not None
        )
        if plan is None or not is_full:
            return Reading(raw, ReadingRule.SHORT_CODE, None)
        return Reading(raw, _NATIONAL, _number(plan, digits))
    if plan is None:
        return Reading(raw, ReadingRule.TOO_LONG if size > MAX_DIGITS else ReadingRule.NO_PLAN, None)
    failed: Reading | None = None
    for prefix in plan.international_prefixes:
        if digits.startswith(prefix):
            reading = _read_global(raw, digits[len(prefix) :], ReadingRule.INTERNATIONAL_PREFIX)
            if reading.number is not None:
                return reading
            failed = failed or reading
    if plan.is_nanp:
        return failed or _read_nanp(raw, digits)
    return _read_national(raw, digits, plan, failed)


def _read_nanp(raw: str, digits: str) -> Reading:
    """1+10 or 10 digits. Area codes begin with 2 to 9; behind a 1 that is left to the rules on caller numbers."""
    size = len(digits)
    if size == _NANP_DIGITS and digits[0] == "1":
        return Reading(raw, _COUNTRY_CODE, E164(int(digits)))
    if size == _NANP_DIGITS - 1 and digits[0] >= "2":
        return Reading(raw, _NATIONAL, E164(10_000_000_000 + int(digits)))
    if size < _NANP_DIGITS - 1:
        return Reading(raw, ReadingRule.TOO_SHORT, None)
    return Reading(raw, ReadingRule.TOO_LONG if size > _NANP_DIGITS else ReadingRule.NO_FORM, None)


def _read_national(raw: str, digits: str, plan: DialPlan, failed: Reading | None) -> Reading:
    """National prefix, country code or national number: the first form that is in use, else the first that fits.

    Where the plan has a national prefix, national numbers carry it, so digits that begin with the country code are
    more likely a full number; where it has none, the national number alone is the usual form. `failed` is the
    reading behind an international prefix: after that, a length that happens to fit proves nothing.
    """
    lengths = plan.national_lengths
    code = str(plan.country_code)
    stripped = _without_national_prefix(digits, plan)
    forms = [(ReadingRule.NATIONAL_PREFIX, stripped)] if len(stripped) in lengths and stripped != digits else []
    bare = [(_NATIONAL, digits)] if len(digits) in lengths else []
    is_full = digits.startswith(code) and len(digits) - len(code) in lengths
    full = [(_COUNTRY_CODE, digits[len(code) :])] if is_full else []
    forms += full + bare if plan.national_prefix else bare + full
    for rule, national in forms:
        if plan.national_pattern.fullmatch(national):
            return Reading(raw, rule, _number(plan, national))
    if failed is not None:
        return failed
    if forms:
        rule, national = forms[0]
        return Reading(raw, rule, _number(plan, national))
    if len(digits) < min(lengths):
        return Reading(raw, ReadingRule.TOO_SHORT, None)
    longest = max(lengths) + max(len(code), len(plan.national_prefix))
    return Reading(raw, ReadingRule.TOO_LONG if len(digits) > longest else ReadingRule.NO_FORM, None)


def _without_national_prefix(digits: str, plan: DialPlan) -> str:
    """The national number behind the prefix, or `digits` itself when no prefix is there."""
    if plan.prefix_pattern is None:
        return digits
    match = plan.prefix_pattern.match(digits)
    if match is None:
        return digits
    if plan.prefix_rewrite and (not match.re.groups or match.group(match.re.groups) is not None):
        return match.expand(plan.prefix_rewrite) + digits[match.end() :]
    return digits[match.end() :]


def _number(plan: DialPlan, national: str) -> E164:
    # As text: a leading zero of the national number (Italy) counts.
    return E164(int(f"{plan.country_code}{national}"))
