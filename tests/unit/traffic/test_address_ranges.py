"""Rules of the range map: most specific wins, both families exact to one address, and no text is trusted."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_proxy.traffic.address_ranges import NOT_FOUND, RangeMap, group_overlaps, parse_address, parse_prefix

Entry = tuple[int, int, int, int]

V4_MAX = 2**32 - 1
V6_MAX = 2**128 - 1


def brute_force(entries: list[Entry], number: int, version: int) -> int:
    """The documented rule, word by word: narrowest range that covers the address, the later one on a tie."""
    best = NOT_FOUND
    best_width = -1
    for first, last, entry_version, value in entries:
        if entry_version == version and first <= number <= last and (best_width < 0 or last - first <= best_width):
            best, best_width = value, last - first
    return best


def probes(entries: list[Entry], version: int) -> set[int]:
    """Every address where an answer can change, its neighbours, and the ends of the space."""
    top = V4_MAX if version == 4 else V6_MAX
    edges = {0, top}
    for first, last, entry_version, _ in entries:
        if entry_version == version:
            edges |= {first - 1, first, first + 1, last - 1, last, last + 1}
    return {edge for edge in edges if 0 <= edge <= top}


def host_text(number: int, version: int) -> str:
    return str(IPv4Address(number)) if version == 4 else str(IPv6Address(number))


@st.composite
def prefix_entries(draw: st.DrawFn) -> list[Entry]:
    """Nested prefixes: few distinct leading bits, so that inner and outer ones meet often."""
    entries: list[Entry] = []
    for value in range(draw(st.integers(0, 12))):
        version = draw(st.sampled_from([4, 6]))
        bits = 32 if version == 4 else 128
        length = draw(st.integers(0, bits))
        pattern = draw(st.sampled_from([0, (1 << bits) - 1, 0xA5A5 << (bits - 16), 1 << (bits - 1)]))
        low_bits = draw(st.integers(0, 3))
        host_mask = (1 << (bits - length)) - 1
        first = (pattern ^ low_bits) & ~host_mask
        entries.append((first, first | host_mask, version, value))
    return entries


@st.composite
def any_entries(draw: st.DrawFn) -> list[Entry]:
    """Ranges that overlap in every way, in a small window where they cannot avoid each other."""
    entries: list[Entry] = []
    for value in range(draw(st.integers(0, 10))):
        version = draw(st.sampled_from([4, 6]))
        # Around a change of the upper 64 bits, where the two columns of an IPv6 start must agree.
        base = draw(st.sampled_from([0, V4_MAX - 40] if version == 4 else [0, (7 << 64) - 20, V6_MAX - 40]))
        ends = sorted((draw(st.integers(0, 40)), draw(st.integers(0, 40))))
        entries.append((base + ends[0], base + ends[1], version, value % 4))
    return entries


def assert_agrees_with_brute_force(entries: list[Entry]) -> None:
    ranges = RangeMap.build(iter(entries))
    for version in (4, 6):
        find = ranges.find_v4 if version == 4 else ranges.find_v6
        for number in probes(entries, version):
            expected = brute_force(entries, number, version)
            assert find(number) == expected
            # Mapped addresses are looked up as IPv4, so only the others must agree through text.
            if version == 4 or number >> 32 != 0xFFFF:
                assert ranges.find(host_text(number, version)) == expected


@given(prefix_entries())
def test_nested_prefixes_agree_with_brute_force(entries: list[Entry]) -> None:
    """The most specific prefix wins at every edge, in both families."""
    assert_agrees_with_brute_force(entries)


@given(any_entries())
@example([(0, 9, 4, 0), (5, 14, 4, 1)])  # equally wide: the later wins on 5-9
@example([(0, 30, 4, 0), (20, 29, 4, 1), (25, 33, 4, 2)])
@example([(0, V6_MAX, 6, 0), ((7 << 64) - 1, 7 << 64, 6, 1)])
def test_overlapping_ranges_agree_with_brute_force(entries: list[Entry]) -> None:
    """Where ranges overlap without nesting, the narrower one wins, and the later one of two equally wide."""
    assert_agrees_with_brute_force(entries)


@given(any_entries())
def test_order_of_entries_matters_only_on_a_tie(entries: list[Entry]) -> None:
    """Input need not be sorted: with widths all different, any order gives the same answers."""
    widths = {(last - first, version): (first, last, version, value) for first, last, version, value in entries}
    distinct = list(widths.values())
    shuffled = distinct[::-1]
    one, two = RangeMap.build(distinct), RangeMap.build(shuffled)
    for number in probes(distinct, 4):
        assert one.find_v4(number) == two.find_v4(number)
    for number in probes(distinct, 6):
        assert one.find_v6(number) == two.find_v6(number)


def test_single_addresses_are_told_from_their_neighbours() -> None:
    """A /32 and a /128 match exactly one address."""
    ranges = RangeMap.build([(*parse_prefix("127.0.0.2/32"), 3), (*parse_prefix("2001:db8::2"), 5)])

    assert [ranges.find(f"127.0.0.{last}") for last in (1, 2, 3)] == [-1, 3, -1]
    assert [ranges.find(f"2001:db8::{last}") for last in (1, 2, 3)] == [-1, 5, -1]


def test_empty_map_knows_nothing() -> None:
    """No entries: every address is answered with -1."""
    ranges = RangeMap.build([])

    assert ranges.find("0.0.0.0") == ranges.find("255.255.255.255") == NOT_FOUND
    assert ranges.find("::") == ranges.find(str(IPv6Address(V6_MAX))) == NOT_FOUND


def test_whole_space_covers_both_ends() -> None:
    """A default route answers for the first and the last address, of its own family only."""
    ranges = RangeMap.build([(0, V4_MAX, 4, 1), (0, V6_MAX, 6, 2)])

    assert ranges.find("0.0.0.0") == ranges.find("255.255.255.255") == 1
    assert ranges.find("::") == ranges.find(str(IPv6Address(V6_MAX))) == 2
    assert ranges.find("::ffff:192.0.2.1") == 1


def test_mapped_ipv6_is_looked_up_as_ipv4() -> None:
    """A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d: same peer, same answer, in entries as in questions."""
    written_as_v4 = RangeMap.build([(*parse_prefix("192.0.2.0/24"), 7)])
    mapped = int(IPv6Address("::ffff:192.0.2.0"))
    written_as_v6 = RangeMap.build([(mapped, mapped + 255, 6, 7)])

    for ranges in (written_as_v4, written_as_v6):
        assert ranges.find("::ffff:192.0.2.9") == ranges.find("::ffff:c000:209") == ranges.find("192.0.2.9") == 7
        assert ranges.find("::ffff:192.0.3.9") == NOT_FOUND


def test_zone_id_is_ignored_in_lookups() -> None:
    """The interface a link-local peer came in by is not part of its address."""
    ranges = RangeMap.build([(*parse_prefix("fe80::/10"), 1)])

    assert ranges.find("fe80::1%eth0") == ranges.find("fe80::1%") == ranges.find("fe80::1") == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "...", "1.2.3", "1.2.3.4.5", "256.1.1.1", "-1.2.3.4", "+1.2.3.4", "1.2.3.4 ", " 1.2.3.4"),
        *("01.2.3.4", "1_0.2.3.4", "١.2.3.4", "0x1.2.3.4", "1.2.3.4%eth0", "1.2.3.4/32", "16909060", "localhost"),
        *(":", ":::", "::g", "1::2::3", "[::1]", "::1/128", "12345::", "1:2:3:4:5:6:7:8:9", "::ffff:1.2.3.256"),
    ],
)
def test_text_that_is_no_address_is_not_found(text: str) -> None:
    """What is no canonical address is nobody's, even with a default route; as configuration it is an error."""
    ranges = RangeMap.build([(0, V4_MAX, 4, 1), (0, V6_MAX, 6, 2)])

    assert ranges.find(text) == NOT_FOUND
    with pytest.raises(ValueError, match="is no IP address: write one such as"):
        parse_address(text)


@given(st.text(max_size=50))
def test_any_text_is_answered_without_an_exception(text: str) -> None:
    """A lookup never raises, whatever a peer wrote."""
    assert RangeMap.build([]).find(text) == NOT_FOUND


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_parse_address_agrees_with_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    """Our own IPv4 arithmetic gives the number that ipaddress gives."""
    assert parse_address(str(address)) == (int(address), address.version)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 128))
def test_parse_prefix_agrees_with_the_standard_library(address: IPv4Address | IPv6Address, length: int) -> None:
    """First and last address of a prefix are the network and broadcast addresses."""
    network = ip_network((address, min(length, address.max_prefixlen)), strict=False)
    first, last = int(network[0]), int(network[-1])
    if network.version == 6 and first >> 32 == last >> 32 == 0xFFFF:
        return  # mapped: returned as IPv4, proven below
    assert parse_prefix(str(network)) == (first, last, network.version)


def test_parse_prefix_takes_a_bare_address_as_one_host() -> None:
    """ "127.0.0.2" and "127.0.0.2/32" are the same source."""
    assert parse_prefix("127.0.0.2") == parse_prefix("127.0.0.2/32") == parse_prefix("::ffff:127.0.0.2/128")
    assert parse_prefix("::1") == (1, 1, 6)
    assert parse_prefix("::ffff:192.0.2.0/120") == parse_prefix("192.0.2.0/24")
    assert parse_prefix("::/0") == (0, V6_MAX, 6)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("192.0.2.9/24", "write 192.0.2.0/24 (the network) or 192.0.2.9/32 (one address)"),
        ("2001:db8::1/32", "write 2001:db8::/32 (the network) or 2001:db8::1/128 (one address)"),
        ("::1/32", "write ::/32 (the network) or ::1/128 (one address)"),
        ("192.0.2.0/33", "write /0 to /32"),
        ("2001:db8::/129", "write /0 to /128"),
        ("192.0.2.0/", "write /0 to /32"),
        ("192.0.2.0/255.255.255.0", "write /0 to /32"),
        ("192.0.2.0/-1", "write /0 to /32"),
        ("192.0.2.0/٨", "write /0 to /32"),
        ("fe80::1%eth0", "leave it out"),
        ("192.0.2/24", "write one such as"),
        ("[::1]", "write one such as"),
        ("example.com", "write one such as"),
    ],
)
def test_wrong_prefix_says_what_would_be_right(text: str, right: str) -> None:
    """An operator who mistypes a source reads what to write instead."""
    with pytest.raises(ValueError, match=re.escape(right)) as caught:
        parse_prefix(text)

    assert text.partition("/")[0] in str(caught.value)


def test_long_foreign_text_is_cut_in_the_error() -> None:
    """A line of megabytes or with control characters does not fill or rewrite the operator's terminal."""
    with pytest.raises(ValueError, match="is no IP address") as caught:
        parse_address("\x1b[2J" + "9" * 10_000)

    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        (0, 1, 5, 0),
        (2, 1, 4, 0),
        (-1, 1, 4, 0),
        (0, V4_MAX + 1, 4, 0),
        (0, V6_MAX + 1, 6, 0),
        (0, 1, 4, -1),
        (0, 1, 4, 2**31),
    ],
)
def test_entry_that_does_not_fit_is_refused(entry: Entry) -> None:
    """Nothing is stored that a search could not give back."""
    with pytest.raises(ValueError, match=r"write|must not"):
        RangeMap.build([entry])


def test_v4_range_takes_at_most_24_bytes_with_a_gap() -> None:
    """Its piece and the gap's, and their places in the directory, which does not grow with a large map: a million
    ranges take 17 MB. Neighbours alike are one piece."""
    count = 20_000
    apart = RangeMap.build((number * 512, number * 512 + 255, 4, number) for number in range(count))
    alike = RangeMap.build((number * 256, number * 256 + 255, 4, 1) for number in range(count))

    assert apart.size_bytes <= 24 * count + 100
    assert alike.size_bytes < 100
    assert apart.find_v4(512 * (count - 1) + 255) == count - 1
    assert apart.find_v4(512 * (count - 1) + 256) == NOT_FOUND


@given(
    st.lists(st.integers(0, 200) | st.integers(0, 2**32 - 1), min_size=20, max_size=80, unique=True),
    st.sampled_from((0, 167_772_160, 2**32 - 300)),
    st.lists(st.integers(0, 2**32 - 1)),
)
def test_directory_of_parts_changes_no_answer(offsets: list[int], base: int, others: list[int]) -> None:
    """Hosts side by side and far apart, at both ends of the space: as without one."""
    hosts = [(base + offset) % 2**32 for offset in offsets]
    made = RangeMap.build((host, host, 4, value) for value, host in enumerate(hosts))
    starts4, values4, high6, low6, values6, tops4 = made.columns
    plain = RangeMap(starts4, values4, high6, low6, values6, tops4[:0])
    other = made.renumbered(range(len(hosts)))
    near = {(host + step) % 2**32 for host in hosts for step in (-1, 0, 1)}
    for number in (0, 2**32 - 1, *near, *others):
        assert made.find_v4(number) == plain.find_v4(number) == other.find_v4(number)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from((4, 6)), st.integers(0, 5))))
def test_overlaps_become_groups(raw: list[tuple[int, int, int, int]]) -> None:
    """At every address, exactly the ordinals whose ranges hold it; the pieces do not overlap."""
    entries = [(min(a, b), max(a, b), version, ordinal) for a, b, version, ordinal in raw]
    pieces, groups = group_overlaps(entries)
    for version in (4, 6):
        for address in range(32):
            expected = {o for first, last, v, o in entries if v == version and first <= address <= last}
            found = [groups[g] for first, last, v, g in pieces if v == version and first <= address <= last]
            assert [set(group) for group in found] == ([expected] if expected else [])
