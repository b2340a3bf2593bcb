"""The country code table agrees with the metadata it must not depend on."""

from __future__ import annotations

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, SUPPORTED_REGIONS, PhoneMetadata

from edge_proxy.numbers.country import CODE_LENGTH, COUNTRY_CODES, NUMBERS_BEGIN_WITH_ZERO


def test_codes_in_use_are_those_of_the_metadata() -> None:
    """A code that came into use, or went out of it, is noticed when the metadata is updated."""
    assert set(COUNTRY_CODE_TO_REGION_CODE) == COUNTRY_CODES


def test_first_three_digits_settle_the_country_code() -> None:
    """Each group of three digits begins with at most one code, and the table gives the length of that one."""
    for three in range(1000):
        text = f"{three:03}"
        codes = [text[:length] for length in (1, 2, 3) if text[0] != "0" and int(text[:length]) in COUNTRY_CODES]
        assert [text[: CODE_LENGTH[three]]] == codes if codes else CODE_LENGTH[three] == 0


def test_codes_with_leading_zeros_are_known() -> None:
    """Where there is no trunk prefix and an example number begins with 0, a bracketed zero must be kept."""
    for region in SUPPORTED_REGIONS:
        metadata = PhoneMetadata.metadata_for_region(region)
        assert metadata is not None
        if metadata.national_prefix:
            continue
        for kind in (metadata.fixed_line, metadata.mobile, metadata.toll_free, metadata.uan):
            if kind is not None and (kind.example_number or "").startswith("0"):
                assert metadata.country_code in NUMBERS_BEGIN_WITH_ZERO, region
