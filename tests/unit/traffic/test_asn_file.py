"""The ASN table as a file: it says what the table in memory says, and a damaged one is refused."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Asn
from edge_proxy.traffic.address_ranges import RangeMap
from edge_proxy.traffic.asn_file import AsnFileError, pack_asn_table, read_asn_table
from edge_proxy.traffic.asn_table import AsnTable

LINES = (
    "8.8.8.0\t8.8.8.255\t64500\tUS\tEXAMPLE Grüße\n",
    "9.0.0.0\t9.255.255.255\t7\tNone\tWIDE\n",
    "9.1.0.0\t9.1.255.255\t0\tNone\tNot routed\n",
    "9.2.0.0\t9.2.0.255\t4294967295\tNone\t\n",
    "2600::\t2600:0:ffff:ffff:ffff:ffff:ffff:ffff\t64501\tNone\tV6\n",
)


def file_of(lines: tuple[str, ...] = LINES) -> bytes:
    return b"".join(pack_asn_table(AsnTable.from_lines(lines, "asn.tsv")))


def test_file_says_what_the_table_says() -> None:
    """Every end and its neighbours, both families, holes, names of several bytes a character and none."""
    table, mapped = AsnTable.from_lines(LINES, "asn.tsv"), read_asn_table(file_of())
    hosts = [
        *("8.8.7.255", "8.8.8.0", "8.8.8.255", "8.8.9.0", "9.0.0.1", "9.1.2.3", "9.2.0.9", "9.255.255.255", "10.0.0.0"),
        *("2600::1", "2600:1::", "::ffff:8.8.8.8", "no address"),
    ]
    assert [mapped.describe(host) for host in hosts] == [table.describe(host) for host in hosts]
    assert [mapped.asn_of(host) for host in hosts][:8] == [0, 64500, 64500, 0, 7, 0, 4294967295, 7]
    names = [mapped.name_of(Asn(asn)) for asn in (0, 6, 7, 64500, 64501, 64502, 4294967295)]
    assert names == ["", "", "WIDE", "EXAMPLE Grüße", "V6", "", ""]
    assert mapped.ranges == 5
    assert read_asn_table(b"".join(pack_asn_table(mapped))).columns[1].tolist() == table.columns[1].tolist()


def test_large_map_is_searched_by_the_upper_half_of_an_address() -> None:
    """With a directory the answers are those without: at every edge, at both ends of the space, in empty parts."""
    entries = [(place * 40_000, place * 40_000 + 9_999, 4, place) for place in range(100_000)]
    large = RangeMap.build(entries)
    starts4, values4, high6, low6, values6, tops4 = large.columns
    assert len(tops4) == 65_537
    plain = RangeMap(starts4, values4, high6, low6, values6, tops4[:0])
    edges = {edge + step for first, last, _, _ in entries[::97] for edge in (first, last) for step in (-1, 0, 1)}
    for number in sorted((edges | {0, 65_535, 65_536, 2**32 - 1}) - {-1}):
        assert large.find_v4(number) == plain.find_v4(number) == large.find(str(IPv4Address(number)))


@given(st.data())
def test_damaged_file_is_refused(data: st.DataObject) -> None:
    """Any byte changed, any byte missing, anything appended: an AsnFileError, never another AS."""
    whole = file_of()
    match data.draw(st.sampled_from(["changed", "cut", "longer"])):
        case "changed":
            broken = bytearray(whole)
            broken[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            broken = bytearray(whole[: data.draw(st.integers(0, len(whole) - 1))])
        case _:
            broken = bytearray(whole + data.draw(st.binary(min_size=1, max_size=9)))
    with pytest.raises(AsnFileError):
        read_asn_table(bytes(broken))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no compiled ASN table"),
        (b"1.0.0.0\t1.0.0.255\t1\n" * 20, "no compiled ASN table"),
        (file_of()[:-8], "cut short"),
        (file_of()[:-1] + b"\xff", "checksum"),
        (b"EPASNTAB\x09" + file_of()[9:], "layout is 9"),
    ],
)
def test_refusal_says_what_is_wrong(data: bytes, text: str) -> None:
    """A person who reads the error knows whether to look for another file or for a bad disk."""
    with pytest.raises(AsnFileError, match=text):
        read_asn_table(data)
