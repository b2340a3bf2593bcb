"""Calls for help are recognised in every form that reaches a trunk, and ordinary calls are not taken for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import SUPPORTED_REGIONS
from phonenumbers.shortnumberinfo import is_emergency_number

from edge_proxy.numbers.e164 import dial_plan, read_number
from edge_proxy.numbers.emergency import _CODES, emergency_plan, is_emergency, joined_plan

PLANS = ["", "AT", "AU", "DE", "FR", "GB", "IN", "NU", "NZ", "US"]


@pytest.mark.parametrize("region", PLANS)
@pytest.mark.parametrize(
    "user", ["911", "112", "9911", "9112", "0112", "0911", "+911", "+112", "+1911", "+1112", "+33112", "+44911"]
)
def test_911_and_112_are_an_emergency_in_every_region(region: str, user: str) -> None:
    """Phones carry their home country's number abroad, PBXes an outside-line digit, gateways a country code."""
    assert is_emergency(user, "sip", emergency_plan(region))
    assert is_emergency(user, "tel", emergency_plan(region))


@pytest.mark.parametrize(
    ("region", "users"),
    [
        ("US", "911 9911 8911 1911 1112 933 9933 +1933"),
        ("CA", "911 112"),
        ("GB", "999 9999 0999 +44999 44999 18000"),
        ("IE", "999 112"),
        ("AU", "000 0000 106 +61000"),
        ("NZ", "111"),
        ("JP", "110 118 119 0119 81110"),
        ("DE", "110 0110 49110 49112 +49110 1911 1112"),
        ("FR", "15 17 18 114 +3315"),
        ("ZA", "10111 10177"),
        ("TH", "1669 191"),
        ("BR", "190 192 193"),
        ("GE", "022 111"),
    ],
)
def test_regional_codes_are_an_emergency_at_home(region: str, users: str) -> None:
    """Each region's own codes count, with text relays and test numbers, in their dialled forms."""
    plan = emergency_plan(region)
    assert all(is_emergency(user, "sip", plan) for user in users.split())


def test_joined_plan_has_the_numbers_of_all_its_regions() -> None:
    """For a caller of whom only is known that he may be a customer of any of them."""
    plan = joined_plan([emergency_plan("GB"), emergency_plan("AU")])
    assert all(is_emergency(user, "sip", plan) for user in ("999", "+44999", "000", "911", "112"))
    assert not any(is_emergency(user, "sip", plan) for user in ("110", "12025550100", "988"))
    assert joined_plan([]).dialled == emergency_plan("").dialled


@pytest.mark.parametrize("user", ["9-1-1", "9.1.1", "(911)", " 911", "911;phone-context=+1", "+1-911", "9 911"])
def test_separators_and_parameters_do_not_hide_an_emergency(user: str) -> None:
    """Visual separators (RFC 3966 §3) and URI parameters that were left on are looked through."""
    assert is_emergency(user, "tel", emergency_plan("US"))


@pytest.mark.parametrize(
    ("region", "user"),
    [
        ("US", "12025550100"),
        ("US", "+12025550100"),
        ("US", "2025550911"),
        ("US", "9112025550"),
        ("US", "+9112345678"),
        ("US", "99911"),
        ("US", "19911"),
        ("US", "411"),
        ("US", "988"),
        ("US", "711"),
        ("US", "999"),
        ("US", "9110"),
        ("US", "*911"),
        ("US", "911#"),
        ("US", "９１１"),
        ("US", "+９１１"),
        ("US", ""),
        ("US", "+"),
        ("US", "alice"),
        ("US", "alice;911"),
        ("US", "service:sos"),
        ("NU", "4112"),
        ("DE", "1910"),
        ("FR", "915"),
        ("US", "911" + " " * 60 + "5550100"),
        ("US", "1" * 8192),
        ("US", "9-1-1" * 2000),
    ],
)
def test_ordinary_call_is_no_emergency(region: str, user: str) -> None:
    """Nothing but an exact form is a bypass: not a number that contains a code, nor two prefix digits, nor letters."""
    assert not is_emergency(user, "sip", emergency_plan(region))


@pytest.mark.parametrize(
    ("scheme", "user"),
    [
        ("urn", "service:sos"),
        ("urn", "service:sos.fire"),
        ("URN", "SERVICE:SOS.Police"),
        ("urn", "service:sos.ecall.manual"),
        ("urn", "service:test.sos"),
        ("urn", "service:test.sos.ambulance"),
        ("urn", "service:sos;x=1"),
        ("urn", "service:sos." + "a" * 8000),
        ("sip", "urn:service:sos"),
        ("sips", "URN:Service:sos.fire"),
    ],
)
def test_sos_urn_is_an_emergency(scheme: str, user: str) -> None:
    """RFC 5031 §4.2: urn:service:sos and everything below it, without regard to case."""
    assert is_emergency(user, scheme, emergency_plan("DE"))


@pytest.mark.parametrize(
    ("scheme", "user"),
    [
        ("urn", "service:counseling"),
        ("urn", "service:counseling.suicide"),
        ("urn", "service:sosumi"),
        ("urn", "service:so"),
        ("urn", "service:info.sos"),
        ("urn", "sos"),
        ("urn", ""),
        ("urn", "uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ("sip", "service:sos.fire"),
        ("sip", "urn:service:counseling"),
    ],
)
def test_other_urn_is_no_emergency(scheme: str, user: str) -> None:
    """Counselling and other services are ordinary calls."""
    assert not is_emergency(user, scheme, emergency_plan("DE"))


def test_every_emergency_number_of_the_metadata_is_accepted() -> None:
    """Whatever libphonenumber calls an emergency number of a region, of up to four digits, is one here."""
    strings = [f"{value:0{size}}" for size in (2, 3) for value in range(10**size)]
    for region in sorted(_CODES):
        plan = emergency_plan(region)
        missed = [text for text in strings if is_emergency_number(text, region) and not is_emergency(text, "sip", plan)]
        assert not missed, region
        assert set(_CODES[region].split()) <= plan.codes


def test_codes_of_the_table_are_those_of_the_metadata_or_known_extras() -> None:
    """What the table adds to the metadata is listed here on purpose: text relays, test and regional numbers."""
    extras = {
        (region, code)
        for region, codes in _CODES.items()
        for code in codes.split()
        if not is_emergency_number(code, region)
    }
    assert {code for region, code in extras if region in {"US", "GB", "FR", "JP"}} == {"933", "18000", "114", "118"}
    assert {region for region, _ in extras} <= {"ES", "FR", "GB", "JP", "US", "AE", "NG", "CL", "SA", "PK"}


def test_no_full_number_is_taken_for_an_emergency() -> None:
    """In every region, accepted forms have at most six digits, and those with `+` are no readable number."""
    for region in sorted(SUPPORTED_REGIONS):
        plan = emergency_plan(region)
        for form in plan.dialled:
            assert len(form.removeprefix("+")) <= 6
            if form not in plan.codes:
                assert read_number(form, dial_plan(region)).number is None, (region, form)


@given(user=st.text(max_size=60), scheme=st.sampled_from(["sip", "sips", "tel", "urn", ""]))
def test_any_text_is_judged_without_an_error(user: str, scheme: str) -> None:
    """Hostile text gets an answer, and never yes without the digits or the word of an emergency in it."""
    judged = is_emergency(user, scheme, emergency_plan("US"))
    assert not judged or any(part in user.lower() for part in ("1", "sos"))


@given(number=st.integers(1_000_000, 10**15 - 1))
def test_full_number_is_never_an_emergency(number: int) -> None:
    """Seven digits and more are an ordinary call in any form."""
    for region in ("US", "DE", "AU"):
        plan = emergency_plan(region)
        assert not any(is_emergency(form, "sip", plan) for form in (str(number), f"+{number}", f"00{number}"))


def test_unknown_region_is_refused() -> None:
    """A typing error in the configuration must not end in a plan without regional numbers."""
    with pytest.raises(ValueError, match="unknown region 'UK'"):
        emergency_plan("UK")
