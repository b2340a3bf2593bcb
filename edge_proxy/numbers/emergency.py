"""Say whether a Request-URI calls for help: an emergency number as people dial it, or a sos URN (RFC 5031).

Every form that reaches a trunk is spelled out when the plan is made (911, 9911, +1911, 1911), so that a call costs one
set look-up. In doubt it says yes: a call for help that is refused can cost a life. Yet no accepted form has more than
six digits, so a full telephone number is never taken for an emergency. Counselling services (urn:service:counseling,
988) are ordinary calls here. The answer rests on the called party alone, never on a header that anybody can add.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from edge_proxy.numbers.country import COUNTRY_CODES
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.numbers.patterns import spell_out

ANYWHERE: Final = frozenset({"112", "911"})
"""Accepted in every region: phones carry the number of the country they came from (3GPP TS 22.101 §10.1)."""

_CODES = {
    "AE": "112 997 998 999",
    "AR": "100 101 107 911",
    "AT": "112 122 133 144",
    "AU": "000 106 112",
    "BR": "112 128 190 192 193 911",
    "CA": "112 911",
    "CH": "112 117 118 144",
    "CL": "131 132 133 911",
    "CN": "110 119 120",
    "CO": "112 119 123",
    "DE": "110 112",
    "ES": "061 062 080 085 088 091 092 112",
    "FR": "15 17 18 112 114",
    "GB": "112 999 18000",
    "HK": "112 992 999",
    "ID": "110 112 113 118 119",
    "IE": "112 999",
    "IL": "100 101 102 112",
    "IN": "100 101 102 108 112",
    "IT": "112 113 115 118",
    "JP": "110 118 119",
    "KE": "112 114 999",
    "KR": "112 119",
    "MX": "911",
    "MY": "112 999",
    "NG": "112 199",
    "NO": "110 112 113",
    "NZ": "111",
    "PH": "112 117 911",
    "PK": "15 16 112 115 1122",
    "RU": "101 102 103 112",
    "SA": "112 911 997 999",
    "SG": "993 995 999",
    "TH": "191 199 1669",
    "TR": "110 112 155",
    "UA": "101 102 103 112",
    "US": "112 911 933",
    "ZA": "112 10111 10177",
}
"""Per region, with text relays for the deaf (GB 18000, AU 106, FR 114) and test numbers (US 933: the caller verifies
the path of an emergency call, so it must take that path). Other regions, and additions, come from libphonenumber."""

_MAX_DIGITS = 6
_MAX_TEXT = 40
_SOS = ("service:sos", "service:test.sos")
_END_OF_SERVICE = frozenset(".;?#@")
_DROP_SEPARATORS = str.maketrans("", "", "-.() ")


@dataclass(frozen=True, slots=True)
class EmergencyPlan:
    """The emergency numbers of one region ("" is a trunk without one) or of several, and every way they are dialled."""

    region: str
    codes: frozenset[str] = field(compare=False)
    """What is published: 911, 112."""
    dialled: frozenset[str] = field(compare=False, repr=False)
    """What arrives: the codes, and the codes behind an outside-line digit, `+` or a country code."""


@cache
def emergency_plan(region: str) -> EmergencyPlan:
    """The plan of a region such as "US", or of "" where no region is known. Raises ValueError for any other.

    The first call loads numbering metadata: call it while configuration loads, not per message.
    """
    if not region:
        return EmergencyPlan(
            "", ANYWHERE, ANYWHERE | _with_any_country_code() | _behind_a_digit("0123456789", ANYWHERE)
        )
    plan = dial_plan(region)
    codes = ANYWHERE | frozenset(_CODES.get(region, "").split()) | _published(region)
    short = frozenset(code for code in codes if len(code) == 3)
    certain = codes | frozenset("+" + code for code in codes) | _behind_a_digit("09", ANYWHERE)
    # Where ordinary numbers are this short and dialled without a prefix (four digits in Niue), they win over a guess.
    likely = frozenset(
        form
        for form in _behind_a_digit("0123456789", ANYWHERE)
        | _behind_a_digit("09", short)
        | frozenset(f"{plan.country_code}{code}" for code in short)
        if plan.national_prefix or not plan.national_pattern.fullmatch(form)
    )
    with_country_code = frozenset(
        f"+{plan.country_code}{code}" for code in codes if len(f"{plan.country_code}{code}") <= _MAX_DIGITS
    )
    return EmergencyPlan(region, codes, certain | likely | with_country_code | _with_any_country_code())


def joined_plan(plans: Iterable[EmergencyPlan]) -> EmergencyPlan:
    """For callers of whom no country is known, beside customers of known ones: what is an emergency to any of them."""
    each = [emergency_plan(""), *sorted(plans, key=lambda plan: plan.region)]
    codes: set[str] = set()
    dialled: set[str] = set()
    for plan in each:
        codes.update(plan.codes)
        dialled.update(plan.dialled)
    return EmergencyPlan(" ".join([plan.region for plan in each[1:]]), frozenset(codes), frozenset(dialled))


def is_emergency(user: str, scheme: str, plan: EmergencyPlan) -> bool:
    """Whether a Request-URI calls for help. `user` is percent-decoded; of a urn it is all behind `urn:`.

    >>> is_emergency("9911", "sip", emergency_plan("US")), is_emergency("service:sos.fire", "urn", emergency_plan("US"))
    (True, True)
    """
    if user in plan.dialled:
        return True
    if user.isdigit() or (user[:1] == "+" and user[1:].isdigit()):
        return False
    if scheme.lower() == "urn":
        return _is_sos(user)
    if user[:4].lower() == "urn:":  # sip:urn:service:sos@..: an IMS network wraps the URN in a SIP URI
        return _is_sos(user[4:])
    head, semicolon, _ = user[:_MAX_TEXT].partition(";")  # tel:911;phone-context=+1
    if len(user) > _MAX_TEXT and not semicolon:
        return False
    return head.translate(_DROP_SEPARATORS) in plan.dialled


def _is_sos(service: str) -> bool:
    """`service:sos`, a service below it, and its test twin; `service:sosumi` is something else."""
    start = service[:24].lower()
    return any(start.startswith(sos) and (start[len(sos) :][:1] or ".") in _END_OF_SERVICE for sos in _SOS)


def _published(region: str) -> frozenset[str]:
    # Imported here so that a process that never asks does not pay for it.
    from phonenumbers import PhoneMetadata  # noqa: PLC0415

    metadata = PhoneMetadata.short_metadata_for_region(region)
    pattern = metadata.emergency.national_number_pattern if metadata and metadata.emergency else None
    return frozenset(spell_out(pattern)) if pattern else frozenset()


def _behind_a_digit(digits: str, codes: Iterable[str]) -> frozenset[str]:
    """One digit that a PBX takes for an outside line and forgot to remove: 9911, 0112."""
    return frozenset(digit + code for digit in digits for code in codes)


@cache
def _with_any_country_code() -> frozenset[str]:
    """+1911, +33112: a gateway wrote the short code in global form, perhaps of another country; and +911."""
    with_code = frozenset(f"+{country}{code}" for country in COUNTRY_CODES for code in ANYWHERE)
    return with_code | frozenset("+" + code for code in ANYWHERE)
