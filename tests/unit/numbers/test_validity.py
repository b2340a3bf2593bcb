"""Numbers that cannot exist (numbers/validity.py)."""

from __future__ import annotations

import pytest
from phonenumbers import SUPPORTED_REGIONS, PhoneNumberType, example_number_for_type

from edge_proxy.addr import E164
from edge_proxy.numbers.country import COUNTRY_CODES
from edge_proxy.numbers.validity import impossible, national_lengths, ranges_in_use, unallocated


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (10025550100, "area code 002"),
        (11025550100, "area code 102"),
        (12115550100, "area code 211"),
        (19115550100, "area code 911"),
        (12925550100, "area code 292"),
        (13705550100, "area code 370"),
        (19605550100, "area code 960"),
        (12020550100, "exchange 055"),
        (12021550100, "exchange 155"),
        (12024110100, "exchange 411"),
        (12029110100, "exchange 911"),
        (15555555555, "one digit repeated"),
        (12223334444, ""),
        (12025550100, ""),
        (18002110100, ""),
        (18765550100, ""),
        (19005550100, ""),
    ],
)
def test_nanp_number_follows_the_plan(number: int, why: str) -> None:
    """Area codes N[0-8]X without N11, 37X and 96X; exchanges from 200 without N11, toll-free numbers excepted."""
    assert why in impossible(E164(number))
    assert bool(why) is bool(impossible(E164(number)))


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (442079460000, ""),
        (4420794600000000, "behind +44"),
        (33123456789, ""),
        (3312345678, "has 8 digits behind +33, where there are 9 to 9"),
        (2101234567, "country code that is not in use"),
        (390612345678, ""),
    ],
)
def test_other_countries_go_by_the_length_of_their_numbers(number: int, why: str) -> None:
    assert why in impossible(E164(number))
    assert bool(why) is bool(impossible(E164(number)))


def test_every_country_has_its_lengths() -> None:
    """A code without them would never be judged."""
    assert set(national_lengths()) == COUNTRY_CODES


def test_no_example_number_of_any_country_is_impossible() -> None:
    """What the metadata gives as an example of a number that is in use, of every kind."""
    for region in SUPPORTED_REGIONS:
        for kind in (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.TOLL_FREE):
            example = example_number_for_type(region, kind)
            if example is not None:
                zeros = "0" * (example.number_of_leading_zeros or 1) if example.italian_leading_zero else ""
                number = E164(int(f"{example.country_code}{zeros}{example.national_number}"))
                assert impossible(number) == "", (region, kind, number)
                assert unallocated(number) == "", (region, kind, number)


@pytest.mark.parametrize(
    ("number", "is_in_use"),
    [
        (12025550100, True),
        (18005550100, True),
        (18765550100, True),
        (12335550100, False),
        (19995550100, False),
        (442079460000, True),
        (446079460000, False),
        (447400123456, True),
        (4930901820000, True),
        (33199000100, True),
        (33019900010, False),
        (390669800000, True),
        (2101234567, True),
    ],
)
def test_range_of_a_number_is_in_use_or_not(number: int, is_in_use: bool) -> None:
    """By libphonenumber's metadata; of a country code that it does not know nothing is said here."""
    assert (unallocated(E164(number)) == "") is is_in_use


def test_every_country_has_ranges_in_use() -> None:
    assert set(ranges_in_use()) == COUNTRY_CODES
