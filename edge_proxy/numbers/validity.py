"""Whether a full number can exist, and whether it may have been given out: E.164 digits in, what is wrong with them out
("" for nothing).

`impossible` is about form: for the NANP its own rules of area codes and exchanges, for every other country the lengths
that its national numbers may have. `unallocated` asks libphonenumber's metadata whether the number lies in any range
of its plan that is in use; that lags behind the plans by weeks. Whether a number is assigned to somebody is asked of
lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from edge_proxy.addr import E164
from edge_proxy.numbers.country import CODE_LENGTH, NANP

_NANP_BASE: Final = 10_000_000_000
_NON_GEOGRAPHIC: Final = "001"


def _is_area_code(three: int) -> bool:
    """N[0-8]X, no N11, and neither 37X nor 96X, which are kept for an expansion of the plan."""
    hundreds, rest = divmod(three, 100)
    return hundreds >= 2 and rest < 90 and rest != 11 and three // 10 not in {37, 96}


_AREA_CODES: Final = bytes(_is_area_code(three) for three in range(1000))
_TOLL_FREE: Final = frozenset({800, 833, 844, 855, 866, 877, 888})
_KINDS: Final = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
    "voicemail",
)  # fmt: skip


@cache
def national_lengths() -> Mapping[int, tuple[int, int]]:
    """The fewest and the most digits of a national number, by country code.

    The first call reads the metadata of all countries (a tenth of a second): make it while configuration loads.
    """
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata  # noqa: PLC0415 - as in e164.dial_plan

    bounds: dict[int, tuple[int, int]] = {}
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        lengths: set[int] = set()
        for region in regions:
            if region == _NON_GEOGRAPHIC:
                metadata = PhoneMetadata.metadata_for_nongeo_region(code)
            else:
                metadata = PhoneMetadata.metadata_for_region(region)
            if metadata is not None and metadata.general_desc is not None:
                lengths.update(metadata.general_desc.possible_length)
        if lengths:
            bounds[code] = min(lengths), max(lengths)
    return bounds


@cache
def ranges_in_use() -> Mapping[int, re.Pattern[str]]:
    """What the national numbers of each country code look like that are in use for anything.

    The first call takes half a second, as above.
    """
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata  # noqa: PLC0415 - as in e164.dial_plan

    patterns: dict[int, re.Pattern[str]] = {}
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        found: dict[str, None] = {}
        for region in regions:
            if region == _NON_GEOGRAPHIC:
                metadata = PhoneMetadata.metadata_for_nongeo_region(code)
            else:
                metadata = PhoneMetadata.metadata_for_region(region)
            for kind in _KINDS:
                described = getattr(metadata, kind, None)
                if described is not None and described.national_number_pattern:
                    found[f"(?:{described.national_number_pattern})"] = None
        if found:
            patterns[code] = re.compile("|".join(found))
    return patterns


def unallocated(number: E164) -> str:
    """That the number is in no range in use, as the end of a sentence about it; "" when it is, or nothing is known."""
    text = str(number)
    size = CODE_LENGTH[int(text[:3])]
    pattern = ranges_in_use().get(int(text[:size])) if size else None
    if pattern is None or pattern.fullmatch(text[size:]) is not None:
        return ""
    return f"is in no range of +{text[:size]} that is known to be in use"


def impossible(number: E164) -> str:
    """What is wrong with the number, as the end of a sentence about it; "" when it may exist."""
    if number // _NANP_BASE == NANP:
        return _impossible_nanp(number - _NANP_BASE)
    text = str(number)
    size = CODE_LENGTH[int(text[:3])]
    if not size:
        return "begins with a country code that is not in use"
    bounds = national_lengths().get(int(text[:size]))
    if bounds is not None and not bounds[0] <= len(text) - size <= bounds[1]:
        return f"has {len(text) - size} digits behind +{text[:size]}, where there are {bounds[0]} to {bounds[1]}"
    return ""


def _impossible_nanp(national: int) -> str:
    area = national // 10_000_000
    if not _AREA_CODES[area]:
        return f"has the area code {area:03}, which cannot be"
    exchange = national // 10_000 % 1000
    if exchange < 200 or (exchange % 100 == 11 and area not in _TOLL_FREE):
        return f"has the exchange {exchange:03}, which cannot be"
    if national % 1_111_111_111 == 0:
        return "is one digit repeated"
    return ""
