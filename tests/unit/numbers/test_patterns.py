"""Patterns of numbering metadata become exactly the strings they match."""

from __future__ import annotations

import re

import pytest
from phonenumbers import SUPPORTED_REGIONS, SUPPORTED_SHORT_REGIONS, PhoneMetadata

from edge_proxy.numbers.patterns import spell_out


@pytest.mark.parametrize(
    ("pattern", "strings"),
    [
        ("011", ("011",)),
        ("11[02]", ("110", "112")),
        ("1[14-6]", ("11", "14", "15", "16")),
        ("0(?:0|161)", ("00", "0161")),
        ("9(?:11?|2)|112", ("911", "91", "92", "112")),
        ("1(2|3)?", ("12", "13", "1")),
        ("00(?:[126-9]?)", ("001", "002", "006", "007", "008", "009", "00")),
        ("", ("",)),
    ],
)
def test_pattern_is_spelled_out(pattern: str, strings: tuple[str, ...]) -> None:
    """Digits, classes, groups, alternatives and `?` give every string once, in the pattern's order."""
    assert spell_out(pattern) == strings


def test_digit_escape_stands_for_ten_digits() -> None:
    """`\\d` is any ASCII digit."""
    assert spell_out("1\\d") == tuple(f"1{digit}" for digit in range(10))


@pytest.mark.parametrize("pattern", ["1*", "1+", "1{3}", "a", "[a-c]", "[1", "(1", "1)", "()x", "\\w", "[]"])
def test_unknown_syntax_is_refused(pattern: str) -> None:
    """What the reader does not understand it refuses instead of guessing."""
    with pytest.raises(ValueError, match="cannot spell out"):
        spell_out(pattern)


def test_pattern_above_the_limit_is_refused() -> None:
    """A pattern cannot make the program spell out millions of strings."""
    with pytest.raises(ValueError, match="more than 5000 strings"):
        spell_out("\\d\\d\\d\\d\\d\\d\\d\\d")


def test_spelled_out_metadata_agrees_with_its_patterns() -> None:
    """For every region, each string spelled out of its prefix and emergency patterns is matched by the pattern."""
    for region in SUPPORTED_REGIONS:
        metadata = PhoneMetadata.metadata_for_region(region)
        assert metadata is not None
        pattern = metadata.international_prefix or ""
        assert all(re.fullmatch(pattern, text) for text in spell_out(pattern)), region
    for region in SUPPORTED_SHORT_REGIONS:
        short = PhoneMetadata.short_metadata_for_region(region)
        emergency = short.emergency.national_number_pattern if short and short.emergency else None
        if emergency:
            matching = {text for text in _short_strings() if re.fullmatch(emergency, text)}
            assert {text for text in spell_out(emergency) if len(text) <= 4} == matching, region


def _short_strings() -> list[str]:
    return [f"{value:0{size}}" for size in (1, 2, 3, 4) for value in range(10**size)]
