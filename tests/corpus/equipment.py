"""Calls as common equipment on SIP trunks writes them, with all that it may add to one that never left IP: they pass.

And beside them those with what only the switched network has to say, and what SHAKEN tokens claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.corpus.call import CorpusCall
from tests.corpus.network import US
from tests.kit.passports import identity

_NUMBER: Final = US.number
_CALLER: Final = f"<sip:{_NUMBER}@pbx.example>"


class Equipment(NamedTuple):
    """What one maker's equipment writes beside what every call has; `uri` is the caller's, in From."""

    name: str
    uri: str
    headers: tuple[str, ...]
    sdp_origin: str = "-"
    sdp_session: str = "-"
    contact: str = _NUMBER


HONEST: Final = (
    Equipment(
        "asterisk", f"sip:{_NUMBER}@192.0.2.10",
        (
            "User-Agent: Asterisk PBX 20.6.0",
            f'Remote-Party-ID: "Ann" <sip:{_NUMBER}@192.0.2.10>;party=calling;screen=no',
            f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10>", "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE",
        ), "-", "Asterisk",
    ),
    Equipment(
        "freepbx", f"sip:{_NUMBER}@192.0.2.10",
        ("User-Agent: FPBX-16.0.40.7(18.20.0)", f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10;cpc=ordinary>"),
        "root", "Asterisk PBX 18.20.0",
    ),
    Equipment(
        "freeswitch", f"sip:{_NUMBER}@192.0.2.10;isup-oli=00",
        (
            "User-Agent: FreeSWITCH-mod_sofia/1.10.11-release~64bit", "X-FS-Support: update_display,send_info",
            f"Remote-Party-ID: <sip:{_NUMBER}@192.0.2.10>;party=calling;screen=yes;privacy=off",
            f"P-Charge-Info: <sip:{_NUMBER}@192.0.2.10>", "Reason: Q.850;cause=16",
        ), "FreeSWITCH", "FreeSWITCH",
    ),
    Equipment(
        "cisco-cube", f"sip:{_NUMBER}@192.0.2.10;isup-oli=00",
        (
            "User-Agent: Cisco-SIPGateway/IOS-17.6.5", "Cisco-Guid: 1234567890-1234567890-1234567890-1234567890",
            f"Remote-Party-ID: <sip:{_NUMBER}@192.0.2.10>;party=calling;screen=yes;privacy=off",
            f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10>", f"P-Charge-Info: <sip:{_NUMBER}@192.0.2.10>",
            "Reason: Q.850;cause=16", "P-Early-Media: supported", "Timestamp: 1700000000",
        ), "CiscoSystemsSIP-GW-UserAgent", "SIP Call", f"{_NUMBER};tgrp=CUBE1;trunk-context=acme.example",
    ),
    Equipment(
        "cisco-cucm", f"sip:{_NUMBER}@192.0.2.10",
        (
            "User-Agent: Cisco-CUCM14.0", f"Remote-Party-ID: <sip:{_NUMBER}@192.0.2.10>;party=calling;screen=yes",
            f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10>", "Cisco-Guid: 1-2-3-4",
        ), "CiscoSystemsCCM-SIP", "SIP Call",
    ),
    Equipment(
        "audiocodes", f"sip:{_NUMBER}@192.0.2.10;isup-oli=00;user=phone",
        (
            "User-Agent: Mediant VE SBC/v.7.40A.500.010",
            f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10;cpc=ordinary>",
            f"P-Charge-Info: <sip:{_NUMBER}@192.0.2.10;npi=ISDN;noa=2>", "Reason: Q.850;cause=16",
        ), "AudiocodesGW", "SBC-Call", f"{_NUMBER};tgrp=1;trunk-context=acme.example",
    ),
    Equipment(
        "oracle", f"sip:{_NUMBER}@192.0.2.10;user=phone;isup-oli=00",
        (
            f"P-Asserted-Identity: <tel:{_NUMBER};cpc=ordinary;oli=00>",
            "P-Charging-Vector: icid-value=abc123;icid-generated-at=192.0.2.10;orig-ioi=acme.example",
            "P-Access-Network-Info: IEEE-802.3;eth-location=1;network-provided", "P-Early-Media: supported",
            f"P-Charge-Info: <sip:{_NUMBER}@192.0.2.10;npi=ISDN;noa=3>",
        ), "-", "-", f"{_NUMBER};tgrp=core;trunk-context=192.0.2.10",
    ),
    Equipment(
        "ribbon", f"sip:{_NUMBER}@192.0.2.10;isup-oli=00;pstn-params=808481808882;cpc=ordinary",
        (
            f"P-Asserted-Identity: <sip:{_NUMBER};oli=0@192.0.2.10>",
            f"P-Charge-Info: <sip:{_NUMBER}@192.0.2.10;npi=ISDN;noa=2>",
            "P-Charging-Vector: icid-value=abc123;orig-ioi=acme.example", "P-Early-Media: supported",
        ), "Sonus_UAC", "SIP Media Capabilities", f"{_NUMBER};tgrp=TG1;trunk-context=192.0.2.10",
    ),
    Equipment(
        "ribbon-edge", f"sip:{_NUMBER}@192.0.2.10",
        ("User-Agent: SONUS SBC2000 8.0.3v547 Sonus SBC", f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10>"),
        "SBC", "-",
    ),
    Equipment(
        "direct-routing", f"sip:{_NUMBER}@sbc.acme.example;user=phone",
        (
            "User-Agent: Microsoft.PSTNHub.SIPProxy v.2024.1.30.2 i.USEA.1", "X-MS-SBC: Ribbon/SWe",
            f"P-Asserted-Identity: <tel:{_NUMBER}>,<sip:{_NUMBER}@sbc.acme.example>", "Privacy: none",
        ),
    ),
    Equipment(
        "broadworks", f"sip:{_NUMBER}@192.0.2.10;user=phone",
        (
            f"P-Asserted-Identity: <sip:{_NUMBER}@192.0.2.10;user=phone>", "P-Access-Network-Info: ADSL;dsl-location=1",
            f"P-Charge-Info: <sip:{_NUMBER}@192.0.2.10>", "P-Early-Media: supported", "Privacy: none",
        ), "BroadWorks", "-", f"{_NUMBER};tgrp=acme;trunk-context=bw.example",
    ),
    Equipment(
        "mobile-of-the-customer", f"sip:{_NUMBER}@192.0.2.10;isup-oli=62",
        (f"P-Asserted-Identity: <tel:{_NUMBER};cpc=mobile-hplmn;oli=61>", "P-Early-Media: gated"),
    ),
)  # fmt: skip


def equipment_calls() -> Iterator[CorpusCall]:
    """Each of them alone, and each with the mark of a circuit added: then it is refused."""
    for one in HONEST:
        call = CorpusCall(f"equipment-{one.name}", US.host, f"<{one.uri}>", "identity_owned", True, one.headers)
        yield call._replace(body=_sdp(one), contact=one.contact)
        marked = (*one.headers, "P-Access-Network-Info: GSTN")
        yield call._replace(
            name=f"equipment-{one.name}-gstn", headers=marked, body=_sdp(one), contact=one.contact,
            reason="pstn_origin", is_good=False, ip_origin="pstn",
        )  # fmt: skip


def line_calls() -> Iterator[CorpusCall]:
    """The originating line and category of the caller: what only a circuit has refuses, the rest does not."""
    for digits in ("00", "0", "06", "20", "23", "24", "29", "60", "61", "62", "63", "93"):
        for name, from_ in _lines(digits):
            yield CorpusCall(f"line-{name}-{digits}", US.host, from_, "identity_owned", True)
    for digits in ("02", "07", "25", "27", "34", "52", "70"):
        for name, from_ in _lines(digits):
            yield CorpusCall(f"line-{name}-{digits}", US.host, from_, "pstn_origin", False, ip_origin="pstn")
    for category, is_good in (
        ("ordinary", True), ("unknown", True), ("mobile-hplmn", True), ("test", True), ("payphone", False),
        ("operator", False),
    ):  # fmt: skip
        asserted = (f"P-Asserted-Identity: <tel:{_NUMBER};cpc={category}>",)
        reason = "identity_owned" if is_good else "pstn_origin"
        yield CorpusCall(f"category-{category}", US.host, _CALLER, reason, is_good, asserted)


def attested_calls() -> Iterator[CorpusCall]:
    """SHAKEN tokens: a level is a claim, C agrees with a gateway's name, and no level lends anybody a number."""
    gateway = "User-Agent: Dialogic-SIP/10.5.3.231 IMGDAL0001 0"
    for level in "ABC":
        own = identity({"ppt": "shaken"}, {"attest": level, "orig": {"tn": _NUMBER[1:]}})
        yield CorpusCall(f"attest-{level}", US.host, _CALLER, "identity_owned", True, (own,))
        reason = "pstn_origin" if level == "C" else "identity_owned"
        yield CorpusCall(f"attest-{level}-gateway", US.host, _CALLER, reason, level != "C", (own, gateway))
        other = identity({"ppt": "shaken"}, {"attest": level, "orig": {"tn": "14155550188"}})
        yield CorpusCall(f"attest-{level}-other", US.host, _CALLER, "passport_not_owned", False, (other,))
        twice = f'{{"attest":"{level}","orig":{{"tn":"{_NUMBER[1:]}"}},"orig":{{"tn":"14155550188"}}}}'
        line = identity({"ppt": "shaken"}, twice)
        yield CorpusCall(f"attest-{level}-twice", US.host, _CALLER, "passport_not_owned", False, (line,))
    deep = identity({"ppt": "shaken"}, "[" * 3000)
    yield CorpusCall("attest-deep", US.host, _CALLER, "passport_not_owned", False, (deep,))


def _lines(digits: str) -> tuple[tuple[str, str], ...]:
    return (
        ("isup-oli", f"<sip:{_NUMBER}@pbx.example;isup-oli={digits}>"),
        ("oli", f"<tel:{_NUMBER};oli={digits}>"),
    )


def _sdp(one: Equipment) -> str:
    return (
        f"v=0\r\no={one.sdp_origin} 1 1 IN IP4 192.0.2.20\r\ns={one.sdp_session}\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n"
        "m=audio 40000 RTP/AVP 0 101\r\n"
    )
