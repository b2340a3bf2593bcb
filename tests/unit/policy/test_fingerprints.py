"""The table of fingerprints: its lines, what is wrong with one, and patterns (policy/fingerprints.py, wildcard.py)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_proxy.policy
from edge_proxy.policy.fingerprints import MAX_LINES, Fingerprints, Meaning, read_fingerprints
from edge_proxy.policy.wildcard import Wildcard, check_wildcard

PACKAGED = Path(edge_proxy.policy.__file__).with_name("fingerprints.tsv")


def table(*lines: str) -> Fingerprints:
    found, errors = read_fingerprints(lines, "prints.tsv")
    assert errors == []
    return Fingerprints(found)


def known(prints: Fingerprints, agent: str = "", origin: str = "", session: str = "") -> list[str]:
    return [one.name for one in prints.find(agent, origin, session)]


def test_first_line_that_matches_wins_in_its_place() -> None:
    """An operator's line goes before ours, also to say nothing."""
    prints = table("agent\tAcme GW 2*\tignore\tnew Acme", "# a comment", "", "agent\tAcme GW*\tgateway\tAcme")
    assert known(prints, "ACME gw 1.0") == ["Acme"]
    assert known(prints, "Acme GW 2.0") == []
    assert known(prints, origin="Acme GW 1.0") == []
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("agent Acme* gateway Acme", "1 column instead of 4; write place, pattern, meaning and name with one tab"),
        ("agent\tAcme*\tgateway", "3 columns instead of 4"),
        ("user-agent\tAcme*\tgateway\tAcme", "'user-agent' is no place; write agent, sdp-origin, sdp-session"),
        ("agent\tAcme*\tpstn\tAcme", "'pstn' is no meaning; write gateway, ip, ignore"),
        ("agent\t**\tgateway\tall", "a pattern needs something other than *"),
        ("agent\t" + "*a" * 9 + "\tgateway\tAcme", "a pattern has at most 128 characters and 8 stars"),
        ("agent\tAcme*\tgateway\t", "the last column is a name"),
    ],
)
def test_line_that_is_wrong_is_named(line: str, text: str) -> None:
    """File and line, and what would be right; the others are read."""
    found, errors = read_fingerprints(["agent\tAcme*\tgateway\tAcme", line], "prints.tsv")
    assert len(found) == 1
    assert [str(error).startswith(f"prints.tsv:2: {text}") for error in errors] == [True], errors


def test_table_is_bounded() -> None:
    """So that no text costs more than so many comparisons."""
    lines = ["agent\tAcme*\tgateway\tAcme"] * (MAX_LINES + 5)
    found, errors = read_fingerprints(lines, "prints.tsv")
    assert (len(found), [error.line for error in errors]) == (MAX_LINES, [MAX_LINES + 1])


@pytest.mark.parametrize(
    ("agent", "origin", "session", "names"),
    [
        (
            "Cisco-SIPGateway/IOS-12.x",
            "CiscoSystemsSIP-GW-UserAgent",
            "SIP Call",
            ["Cisco IOS gateway or CUBE", "Cisco IOS"],
        ),
        (
            "Audiocodes-Sip-Gateway-Mediant 1000/v.5.80A.055.002",
            "AudiocodesGW",
            "Phone-Call",
            ["AudioCodes gateway"] * 2,
        ),
        ("", "AudiocodesGW", "SBC-Call", ["AudioCodes SBC"]),
        ("", "Sonus_UAC", "SIP Media Capabilities", []),
        ("Audiocodes-Sip-Gateway-Mediant VE SBC/v.7.20A.256.715", "AudiocodesGW", "SBC-Call", ["AudioCodes SBC"] * 2),
        ("SONUS SBC2000 8.0.3v547 Sonus SBC", "SBC", "x", ["Sonus SBC"]),
        ("Huawei SoftX3000 V300R011", "HuaweiSoftX3000", "Sip Call", ["Huawei SoftX3000"] * 2),
        ("Dialogic-SIP/10.5.3.231 IMGDAL0001 0", "Dialogic_SDP", "-", ["Dialogic gateway", "Dialogic"]),
        ("Patton SN4634 3BIS 00A0BA04469B R5.3", "MxSIP", "-", ["Patton SmartNode", "Mediatrix"]),
        ("Cirpack/v4.38e (gw_sip)", "cp10", "-", ["Cirpack gateway"]),
        ("Asterisk PBX 20.1", "-", "Asterisk", []),
        ("Yealink SIP-T46S 66.85.0.5", "-", "SDP data", []),
    ],
)
def test_packaged_table_knows_its_gateways(agent: str, origin: str, session: str, names: list[str]) -> None:
    """As they write about themselves on real networks."""
    found, errors = read_fingerprints(PACKAGED.read_text("utf-8").splitlines(), str(PACKAGED))
    assert errors == []
    prints = Fingerprints(found)
    assert known(prints, agent, origin, session) == names
    assert known(prints, agent, origin, session) == names, "remembered, it is the same"
    assert all(one.meaning is not Meaning.IGNORE for one in prints.find(agent, origin, session))


@given(st.text("aAb*", min_size=1, max_size=8), st.text("aAb", max_size=12))
def test_pattern_matches_what_the_same_expression_does(pattern: str, text: str) -> None:
    """Against the expression that backtracks, on short texts."""
    try:
        check_wildcard(pattern)
    except ValueError:
        return
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert Wildcard(pattern).matches(text) is bool(re.fullmatch(expression, text, re.IGNORECASE))


def test_patterns_are_equal_by_their_text() -> None:
    """A reload that changes nothing compares equal."""
    assert Wildcard("a*") == Wildcard("a*")
    assert Wildcard("a*") != Wildcard("b*")
    assert len({Wildcard("a*"), Wildcard("a*")}) == 1
