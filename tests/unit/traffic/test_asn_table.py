"""Rules of the ASN table: the iptoasn format is read exactly, and a bad line is named, never skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.addr import UNKNOWN_ASN, Asn
from edge_proxy.errors import ConfigError
from edge_proxy.traffic.asn_table import NAME_MAX_CHARS, AsnTable

SAMPLE = Path(__file__).parents[3] / "config" / "asn-sample.tsv"

ROUTED = "8.8.8.0\t8.8.8.255\t64500\tUS\tEXAMPLE example network\n"


def table(*lines: str) -> AsnTable:
    return AsnTable.from_lines(lines, "asn.tsv")


def sample() -> AsnTable:
    with SAMPLE.open(encoding="utf-8") as lines:
        return AsnTable.from_lines(lines, str(SAMPLE))


def test_range_ends_are_inclusive() -> None:
    """Both ends belong to the range, their neighbours do not."""
    asns = table(ROUTED, "2600::\t2600:0:ffff:ffff:ffff:ffff:ffff:ffff\t4294967295\tNone\tV6\n")

    assert asns.asn_of("8.8.8.0") == asns.asn_of("8.8.8.255") == asns.asn_of("::ffff:8.8.8.8") == Asn(64500)
    assert asns.asn_of("8.8.7.255") == asns.asn_of("8.8.9.0") == UNKNOWN_ASN
    assert asns.asn_of("2600:0:ffff:ffff:ffff:ffff:ffff:ffff") == Asn(4294967295)
    assert asns.asn_of("2600:1::") == UNKNOWN_ASN
    assert asns.ranges == 2


def test_most_specific_range_wins_even_when_not_routed() -> None:
    """A hole marked AS 0 inside a wider range is a hole."""
    asns = table("9.0.0.0\t9.255.255.255\t64501\tNone\tWIDE\n", "9.1.0.0\t9.1.255.255\t0\tNone\tNot routed\n")

    assert asns.asn_of("9.0.255.255") == asns.asn_of("9.2.0.0") == Asn(64501)
    assert asns.asn_of("9.1.2.3") == UNKNOWN_ASN
    assert asns.name_of(UNKNOWN_ASN) == ""


def test_comments_blank_lines_and_crlf_are_accepted() -> None:
    """A table edited by hand or on another system is the same table."""
    asns = table("# range_start\trange_end\n", "\n", ROUTED.replace("\n", "\r\n"), "#\n", "   \n")

    assert (asns.ranges, asns.name_of(Asn(64500))) == (1, "EXAMPLE example network")


def test_name_is_printable_and_bounded() -> None:
    """The table is other people's text: no escape codes, no direction marks, no long lines reach a terminal."""
    dirty = "8.0.0.0\t8.0.0.9\t64501\tNone\t\x1b[31mRED\x00\u202e\tTAB \ud800" + "x" * 500 + "\n"
    name = table(dirty, "8.0.0.10\t8.0.0.11\t64502\n", "8.0.0.12\t8.0.0.13\t64502\tNone\tLATER").name_of

    assert name(Asn(64501)) == ("[31mREDTAB " + "x" * 500)[:NAME_MAX_CHARS]
    assert name(Asn(64502)) == "LATER"
    assert name(Asn(64503)) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("8.8.8.0\t8.8.8.255\n", "too few columns, 2"),
        ("8.8.8.0 8.8.8.255 64500\n", "too few columns, 1"),
        ("8.8.8.0\t8.8.8.256\t64500\n", "'8.8.8.256' is no IP address"),
        ("134744064\t134744319\t64500\n", "'134744064' is no IP address"),
        ("\t8.8.8.255\t64500\n", "'' is no IP address"),
        ("2600::\t2600::g\t64500\n", "'2600::g' is no IP address"),
        ("8.8.8.255\t8.8.8.0\t64500\n", "the range ends before it starts: 8.8.8.0 is below 8.8.8.255"),
        ("8.8.8.0\t2600::\t64500\n", "the range mixes IPv4 and IPv6"),
        ("8.8.8.0\t8.8.8.255\tAS64500\n", "'AS64500' is no AS number: write digits only"),
        ("8.8.8.0\t8.8.8.255\t4294967296\n", "'4294967296' is no AS number"),
        ("8.8.8.0\t8.8.8.255\t-1\n", "'-1' is no AS number"),
        ("8.8.8.0\t8.8.8.255\t٣\n", "'٣' is no AS number"),
        ("8.8.8.0\t8.8.8.255\t\n", "'' is no AS number"),
    ],
)
def test_bad_line_is_named(line: str, said: str) -> None:
    """A bad line refuses the table, with the file and the line: half a table would misattribute traffic in silence."""
    with pytest.raises(ConfigError) as caught:
        table("# header\n", ROUTED, line)

    assert (caught.value.path, caught.value.line) == ("asn.tsv", 3)
    assert str(caught.value).startswith(f"asn.tsv:3: {said}")


@pytest.mark.parametrize("lines", [[], ["# only a comment\n"], ["8.8.8.0\t8.8.8.255\t0\tNone\tNot routed\n"]])
def test_table_without_a_routed_range_is_an_error(lines: list[str]) -> None:
    """A download that came out empty never replaces a good table."""
    with pytest.raises(ConfigError, match="the ASN table is empty") as caught:
        table(*lines)

    assert (caught.value.path, caught.value.line) == ("asn.tsv", 0)


@pytest.mark.parametrize(
    ("host", "asn", "words"),
    [
        ("8.8.8.8", 64500, "AS64500"),
        ("10.1.2.3", 64501, "AS64501"),
        ("192.168.1.1", 0, "private"),
        ("172.31.255.255", 0, "private"),
        ("172.32.0.0", 0, "unknown"),
        ("100.127.0.1", 0, "private"),
        ("127.0.0.1", 0, "private"),
        ("::ffff:192.168.1.1", 0, "private"),
        ("fd00::1", 0, "private"),
        ("fe80::1%eth0", 0, "private"),
        ("::1", 0, "private"),
        ("0.0.0.0", 0, "bogon"),
        ("192.0.2.1", 0, "bogon"),
        ("255.255.255.255", 0, "bogon"),
        ("::", 0, "bogon"),
        ("2001:db8::1", 0, "bogon"),
        ("2001::1", 0, "bogon"),
        ("ff02::1", 0, "bogon"),
        ("1.1.1.1", 0, "unknown"),
        ("2600::1", 0, "unknown"),
        ("no address", 0, "unknown"),
    ],
)
def test_address_outside_the_table_says_why(host: str, asn: int, words: str) -> None:
    """ASN 0 alone hides the difference between a private address, a bogon and a gap; the table goes first."""
    asns = table(ROUTED, "10.0.0.0\t10.255.255.255\t64501\tNone\tOUR OWN\n")

    assert asns.describe(host) == (Asn(asn), words)


@pytest.mark.parametrize(
    ("host", "asn", "name"),
    [
        ("127.0.0.1", 64510, "CARRIER-A demo carrier"),
        ("127.0.0.2", 64496, "ACME demo customer"),
        ("127.0.0.3", 64497, "GLOBEX demo customer"),
        ("127.0.0.4", 64498, "INITECH demo gateway site"),
        ("127.0.0.9", 64511, "SCANNER demo unknown source"),
        ("::1", 64510, "CARRIER-A demo carrier"),
        ("127.0.0.5", 0, ""),
        ("203.0.113.255", 0, ""),
    ],
)
def test_sample_names_the_peers_of_the_demo(host: str, asn: int, name: str) -> None:
    """The sample gives every demo peer an AS of its own."""
    asns = sample()

    assert (asns.asn_of(host), asns.name_of(asns.asn_of(host))) == (Asn(asn), name)


def test_sample_holds_documentation_numbers_only() -> None:
    """The sample names nobody's network: every AS is reserved by RFC 5398."""
    rows = [line.split("\t") for line in SAMPLE.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    asns = {int(row[2]) for row in rows} - {0}

    assert asns == {*range(64496, 64512), *range(65536, 65552)}
    assert sample().ranges == len(rows)
    assert all(len(row) == 5 for row in rows)
