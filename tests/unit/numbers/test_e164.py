"""What people and machines write in a user part, and the E.164 number it stands for."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from edge_proxy.addr import E164
from edge_proxy.numbers.e164 import (
    MAX_DIGITS,
    MAX_TEXT,
    MIN_DIGITS,
    DialPlan,
    Reading,
    ReadingRule,
    dial_plan,
    format_e164,
    read_number,
)

REGIONS = ["AR", "AU", "BR", "CN", "DE", "ES", "GB", "HU", "IT", "JP", "NO", "RU", "SM", "US"]


@pytest.mark.parametrize(
    ("region", "text", "rule", "number"),
    [
        ("US", "+12025550100", "global", 12025550100),
        ("US", "12025550100", "country_code", 12025550100),
        ("US", "2025550100", "national", 12025550100),
        ("US", "(202) 555-0100", "national", 12025550100),
        ("US", "1-202-555-0100", "country_code", 12025550100),
        ("US", "+1.202.555.0100", "global", 12025550100),
        ("US", "+442079460000", "global", 442079460000),
        ("US", "011442079460000", "international_prefix", 442079460000),
        ("US", "01112025550100", "international_prefix", 12025550100),
        ("US", "011 44 20 7946 0000", "international_prefix", 442079460000),
        ("CA", "4165550100", "national", 14165550100),
        ("GB", "02079460000", "national_prefix", 442079460000),
        ("GB", "020 7946 0000", "national_prefix", 442079460000),
        ("GB", "442079460000", "country_code", 442079460000),
        ("GB", "2079460000", "national", 442079460000),
        ("GB", "0012025550100", "international_prefix", 12025550100),
        ("DE", "03012345678", "national_prefix", 493012345678),
        ("DE", "493012345678", "country_code", 493012345678),
        ("DE", "00493012345678", "international_prefix", 493012345678),
        ("FR", "0123456789", "national_prefix", 33123456789),
        ("FR", "33123456789", "country_code", 33123456789),
        ("AU", "0011442079460000", "international_prefix", 442079460000),
        ("AU", "0016442079460000", "international_prefix", 442079460000),
        ("AU", "0291234567", "national_prefix", 61291234567),
        ("JP", "010442079460000", "international_prefix", 442079460000),
        ("JP", "0312345678", "national_prefix", 81312345678),
        ("IT", "0612345678", "national", 390612345678),
        ("IT", "390612345678", "country_code", 390612345678),
        ("IT", "3912345678", "national", 393912345678),
        ("ES", "912345678", "national", 34912345678),
        ("HU", "0612345678", "national_prefix", 3612345678),
        ("RU", "84951234567", "national_prefix", 74951234567),
        ("RU", "8001234567", "national", 78001234567),
        ("RU", "81012025550100", "international_prefix", 12025550100),
        ("BY", "80291234567", "national_prefix", 375291234567),
        ("BR", "0151123456789", "national_prefix", 551123456789),
        ("CN", "0044 20 7946 0000", "international_prefix", 442079460000),
        ("NO", "02000", "national", 4702000),
        ("FO", "201234", "national", 298201234),
    ],
)
def test_written_form_is_read_by_its_rule(region: str, text: str, rule: str, number: int) -> None:
    """One number, whatever form the region's people and trunks write it in, and the rule says which form it was."""
    reading = read_number(text, dial_plan(region))
    assert (reading.rule, reading.number) == (rule, number)
    assert reading.raw == text


@pytest.mark.parametrize(
    ("region", "text", "number"),
    [
        ("US", "+44(0)20 7946 0000", 442079460000),
        ("US", "+44 (0) 20-7946-0000", 442079460000),
        ("US", "01144(0)2079460000", 442079460000),
        ("GB", "0044 (0)20 7946 0000", 442079460000),
        ("GB", "44(0)2079460000", 442079460000),
        ("GB", "(0)20 7946 0000", 442079460000),
        ("US", "+39(0)612345678", 390612345678),
        ("US", "+1202(0)5550100", None),
    ],
)
def test_bracketed_zero_is_dropped_only_behind_a_country_code(region: str, text: str, number: int | None) -> None:
    """`+44(0)20..` loses its (0); Italy's zero, a zero elsewhere and a national (0) are part of the number."""
    assert read_number(text, dial_plan(region)).number == number


@pytest.mark.parametrize(
    ("region", "text", "rule"),
    [
        ("US", "", "empty"),
        ("US", "alice", "not_a_number"),
        ("US", "anonymous", "not_a_number"),
        ("US", "+", "not_a_number"),
        ("US", "++12025550100", "not_a_number"),
        ("US", "1+2025550100", "not_a_number"),
        ("US", "+1202555o100", "not_a_number"),
        ("US", "+1202555010x", "not_a_number"),
        ("US", "---", "not_a_number"),
        ("US", "202_555_0100", "not_a_number"),
        ("US", "2025550100\n", "not_a_number"),
        ("US", "２０２５５５０１００", "not_a_number"),
        ("US", "+１２０２５５５０１００", "not_a_number"),
        ("US", "202555010²", "not_a_number"),
        ("US", "+٢٠٢٥٥٥٠١٠٠٠", "not_a_number"),
        ("US", "*67", "service_code"),
        ("DE", "#31#03012345678", "service_code"),
        ("US", "911", "short_code"),
        ("US", "0", "short_code"),
        ("US", "988", "short_code"),
        ("DE", "1001", "short_code"),
        ("DE", "200123", "short_code"),
        ("ES", "10010", "short_code"),
        ("US", "5550100", "too_short"),
        ("US", "+1202555010", "too_short"),
        ("US", "+120255501000", "too_long"),
        ("US", "120255501000", "too_long"),
        ("US", "0125550100", "no_form"),
        ("US", "1202555010", "no_form"),
        ("US", "22025550100", "no_form"),
        ("FR", "1234567", "too_short"),
        ("FR", "1234567890", "no_form"),
        ("FR", "3312345678901", "too_long"),
        ("US", "+123456", "too_short"),
        ("US", "+4420794600001234", "too_long"),
        ("US", "+9991234567", "unknown_country"),
        ("US", "+0442079460000", "unknown_country"),
        ("US", "0119991234567", "unknown_country"),
        ("GB", "009991234567", "unknown_country"),
        ("US", "1" * (MAX_TEXT + 1), "too_long"),
    ],
)
def test_unreadable_text_says_why(region: str, text: str, rule: str) -> None:
    """What is no number of the plan has no number, and a rule from the closed set that tells why."""
    reading = read_number(text, dial_plan(region))
    assert (reading.rule, reading.number) == (rule, None)


@pytest.mark.parametrize(
    ("text", "rule", "number"),
    [
        ("+442079460000", "global", 442079460000),
        ("+44(0)2079460000", "global", 442079460000),
        ("442079460000", "no_plan", None),
        ("0044(0)2079460000", "no_plan", None),
        ("911", "short_code", None),
        ("1234567890123456", "too_long", None),
    ],
)
def test_without_a_plan_only_global_numbers_are_read(text: str, rule: str, number: int | None) -> None:
    """Bare digits mean nothing until a plan says how they are dialled."""
    reading = read_number(text, None)
    assert (reading.rule, reading.number) == (rule, number)


def test_long_text_is_not_kept() -> None:
    """An 8 kB user part is refused unread, and no more than a line of it stays in memory and evidence."""
    for text in ("+" + "1" * 8192, "a" * 8192, "-" * 8192, "(0)" * 2731, "\u0661" * 8192):
        reading = read_number(text, dial_plan("DE"))
        assert (reading.rule, reading.number, reading.raw) == ("too_long", None, text[:MAX_TEXT])


def test_failed_international_prefix_is_not_read_as_national() -> None:
    """`00` and an unreadable rest stay unreadable, even when the rest has a national length."""
    assert read_number("00989601", dial_plan("IR")).number is None


def test_reading_agrees_with_libphonenumber_on_example_numbers() -> None:
    """For every region and kind of number: +, international prefix, country code and national form are one number."""
    compared = 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        plan = dial_plan(region)
        for kind in (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.TOLL_FREE):
            parsed = phonenumbers.example_number_for_type(region, kind)
            if parsed is None:
                continue
            full = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
            written = phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL)
            national = "".join(char for char in written if char.isdigit())
            number = int(full[1:])
            assert read_number(full, plan).number == number
            assert read_number(full[1:], plan).number == number, (region, full)
            assert read_number(plan.international_prefixes[0] + full[1:], plan).number == number, (region, full)
            if len(national) > 6:
                assert read_number(national, plan).number == number, (region, national)
            compared += 1
    assert compared > 500


@settings(max_examples=400)
@given(
    text=st.one_of(
        st.text(),
        st.text(alphabet="0123456789+-.() *#", max_size=45),
        st.from_regex(r"\+?[0-9]{1,17}", fullmatch=True),
        st.text(alphabet="0123456789(+٣９", min_size=1, max_size=8).map(lambda part: part * 1000),
    ),
    region=st.sampled_from([None, *REGIONS]),
)
@example("+(0)", "GB")
@example("44(0)", "GB")
@example("00(0)", "GB")
@example("(0)", "GB")
def test_reading_never_raises(text: str, region: str | None) -> None:
    """Any text under any plan gives a reading; a number has 7 to 15 digits, and only positive rules carry one."""
    reading = read_number(text, None if region is None else dial_plan(region))
    positive = {
        ReadingRule.GLOBAL,
        ReadingRule.INTERNATIONAL_PREFIX,
        ReadingRule.NATIONAL_PREFIX,
        ReadingRule.NATIONAL,
        ReadingRule.COUNTRY_CODE,
    }
    assert (reading.number is not None) == (reading.rule in positive)
    assert reading.raw == text[:MAX_TEXT]
    if reading.number is not None:
        assert MIN_DIGITS <= len(str(reading.number)) <= MAX_DIGITS
        again = read_number(format_e164(reading.number), None)
        assert again.number == reading.number or str(reading.number)[0] == "1"


@given(number=st.integers(2_000_000_000, 9_999_999_999), region=st.sampled_from(["US", "CA", "JM"]))
def test_every_nanp_form_is_the_same_number(number: int, region: str) -> None:
    """Separators and prefixes never change which NANP number is meant."""
    digits = str(number)
    plan = dial_plan(region)
    spaced = f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"
    for text in (f"+1{digits}", f"1{digits}", digits, f"0111{digits}", spaced, f"+1 {spaced}", f"1.{digits}"):
        assert read_number(text, plan).number == 10_000_000_000 + number


def test_dial_plan_holds_the_region_s_prefixes_and_lengths() -> None:
    """The facts of a plan, for plans that differ in each of them."""
    us, au, it, de = (dial_plan(region) for region in ("US", "AU", "IT", "DE"))
    assert (us.country_code, us.international_prefixes, us.national_prefix) == (1, ("011",), "1")
    assert us.national_lengths == {10}
    assert us.is_nanp
    assert au.international_prefixes[0] == "0011"
    assert "0018" in au.international_prefixes
    assert (it.national_prefix, it.international_prefixes) == ("", ("00",))
    assert (de.national_prefix, max(de.national_lengths)) == ("0", 13)
    assert not de.is_nanp


def test_every_region_has_a_plan() -> None:
    """Each region of the metadata has a plan with a few literal prefixes and lengths that E.164 allows."""
    for region in phonenumbers.SUPPORTED_REGIONS:
        plan = dial_plan(region)
        assert plan.region == region
        assert 1 <= len(plan.international_prefixes) <= 128
        assert all(prefix.isdigit() for prefix in plan.international_prefixes)
        assert plan.national_lengths


def test_dial_plan_is_made_once() -> None:
    """Plans are shared: the same region gives the same object."""
    plan: DialPlan = dial_plan("GB")
    assert dial_plan("GB") is plan
    assert plan != dial_plan("GG")


@pytest.mark.parametrize("region", ["XX", "", "us", "USA", "001", "Germany"])
def test_unknown_region_is_named(region: str) -> None:
    """The error names what was asked for and says what would be right."""
    with pytest.raises(ValueError, match=f"unknown region '{region}': give the two capital letters"):
        dial_plan(region)


def test_number_is_formatted_with_plus() -> None:
    """The canonical text of a number is + and its digits."""
    assert format_e164(E164(12025550100)) == "+12025550100"


def test_reading_is_a_value() -> None:
    """Readings compare by value."""
    reading = Reading("911", ReadingRule.SHORT_CODE, None)
    assert reading == Reading(raw="911", rule=ReadingRule.SHORT_CODE, number=None)
    assert len({reading, Reading("911", ReadingRule.SHORT_CODE, None)}) == 1
    assert reading != Reading("911", ReadingRule.SHORT_CODE, E164(911))
