"""Every error in a file: one line each, with file, line, key, what is wrong and what would be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_proxy.addr import Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import (
    ConfigErrors,
    parse_settings,
)

# Most tests change one line of this file, which is right as it stands.
BASE = Path(__file__).with_name("base.yaml").read_text()


def errors_of(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse_settings(text.encode(), "f.yaml")
    return [str(error) for error in caught.value.errors]


def with_line(line: int, text: str) -> str:
    lines = BASE.splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


def test_base_file_loads() -> None:
    """The ground of all other tests here: with no line changed there is no error."""
    settings = parse_settings(BASE.encode(), "f.yaml")
    assert settings.trunks[0].committed_rate_bps == 100_000_000
    assert settings.listeners.carriers.transports == [Transport.UDP]


ONE_ERROR = [
    # line, what it is changed to, key path, part of the text
    (1, "", 2, "node", 'the key "node" is missing; write `node: edge-1`'),
    (1, "node:", 1, "node", "the key has no value; write one, such as edge-1"),
    (1, 'node: "edge 1"', 1, "node", '"edge 1" is no identifier'),
    (1, f"node: {'e' * 65}", 1, "node", "is no identifier; write 1 to 64"),
    (1, "node: 5", 1, "node", '5 without quotes is a number to YAML, and text is meant; write it in quotes: "5"'),
    (1, "node: [a]", 1, "node", "a list is no text; write one value, such as edge-1"),
    (2, 'data_dir: ""', 2, "data_dir", '"" is no path'),
    (2, "data_dir: {a: b}", 2, "data_dir", "a mapping is no text"),
    (2, "date_dir: data", 2, "date_dir", 'unknown key; did you mean "data_dir"?'),
    (2, "t1_ms: 500", 2, "t1_ms", "unknown key here; it belongs under sip"),
    (2, "quux: 1", 2, "quux", "unknown key; known here are node, data_dir, workers"),
    (2, "emergency: refuse", 2, "emergency", "emergency calls are never refused"),
    (3, "workers: 0", 3, "workers", "0 is out of range; write 1 to 64"),
    (3, "workers: 65", 3, "workers", "65 is out of range; write 1 to 64"),
    (3, 'workers: "2"', 3, "workers", 'the text "2" is no whole number; write 1 to 64, without quotes'),
    (3, "workers: yes", 3, "workers", "the bare word yes (YAML reads it as true) is no whole number; write 1 to 64"),
    (3, "workers: 1.5", 3, "workers", "1.5 is no whole number; write 1 to 64"),
    (3, "workers: 08", 3, "workers", 'the text "08" is no whole number'),
    (3, "workers: 010", 3, "workers", '"010" is no plain decimal number'),
    (3, "node: edge-2", 3, "node", "the key is written twice, first on line 1"),
    (5, "", 4, "listeners.customers", 'the key "customers" is missing; write `customers: {bind:'),
    (5, "  customers: 127.0.0.1:5060", 5, "listeners.customers", "is no mapping; write `key: value` pairs"),
    (5, "  customers: {transports: [udp]}", 5, "listeners.customers.bind", 'the key "bind" is missing'),
    (5, "  customers: {bind: localhost:5060}", 5, "listeners.customers.bind", '"localhost" is no IP address'),
    (5, "  customers: {bind: 127.0.0.1}", 5, "listeners.customers.bind", "has no port; write one after a colon"),
    (5, '  customers: {bind: "\\b"}', 5, "listeners.customers.bind", '"\\b" has no port; write one after a colon'),
    (5, "  customers: {bind: '::1:5060'}", 5, "listeners.customers.bind", "an IPv6 address needs brackets"),
    (5, "  customers: {bind: '[127.0.0.1]:5060'}", 5, "listeners.customers.bind", "between brackets goes an IPv6"),
    (5, "  customers: {bind: 'a b:5060'}", 5, "listeners.customers.bind", "is no address; write 192.0.2.10:5060"),
    (5, "  customers: {bind: 127.0.0.1:65536}", 5, "listeners.customers.bind", "port 65536 does not exist"),
    (5, "  customers: {bind: 0.0.0.0:5060}", 5, "listeners.customers.advertise", "write the address they reach"),
    (5, "  customers: {bind: '[::]:5060'}", 5, "listeners.customers.advertise", "listens on every address"),
    (
        5,
        "  customers: {bind: 0.0.0.0:5060, advertise: 0.0.0.0}",
        5,
        "listeners.customers.advertise",
        "means every address",
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, advertise: 192.0.2.1:0}",
        5,
        "listeners.customers.advertise",
        "has port 0, which nobody can send to",
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, advertise: -x.example}",
        5,
        "listeners.customers.advertise",
        "is neither an IP address nor a host name",
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, transports: []}",
        5,
        "listeners.customers.transports",
        "the list is empty; write at least one item, such as [udp]",
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, transports: udp}",
        5,
        "listeners.customers.transports",
        'the text "udp" is no list; write it in brackets: ["udp"]',
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, transports: [udp, udp]}",
        5,
        "listeners.customers.transports",
        "a transport is listed twice",
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, transports: [tls]}",
        5,
        "listeners.customers.transports[0]",
        "tls has an address and certificates of its own",
    ),
    (
        5,
        "  customers: {bind: 127.0.0.1:5060, transports: [udp, UPD]}",
        5,
        "listeners.customers.transports[1]",
        'the text "UPD" is not offered; write udp or tcp; did you mean "udp"?',
    ),
    (6, "  carriers: {bind: 127.0.0.1:5060}", 6, "listeners.carriers.bind", "is already taken by listeners.customers"),
    (8, "  - id:", 8, "customers[0].id", "the key has no value"),
    (8, "  - id: a/b", 8, "customers[0].id", '"a/b" is no identifier'),
    (9, "", 8, "customers[0].sources", 'the key "sources" is missing; write `sources: ["192.0.2.0/28"]`'),
    (9, "    sources: []", 9, "customers[0].sources", "the list is empty"),
    (9, "    sources: [127.0.0.2/8]", 9, "customers[0].sources[0]", "127.0.0.0/8"),
    (9, "    sources: [127.0.0.2/33]", 9, "customers[0].sources[0]", "prefix length"),
    (9, "    sources: [127.0.0.2, acme]", 9, "customers[0].sources[1]", "is no IP address"),
    (9, "    sources: [127.0.0.3/32]", 15 + 1, "customers[1].sources[0]", 'overlaps "127.0.0.3/32" of customer "acme"'),
    (10, '    targets: ["sip:x@127.0.0.2"]', 10, "customers[0].targets[0]", "names a user or headers"),
    (10, '    targets: ["sips:127.0.0.2"]', 10, "customers[0].targets[0]", "is no sip URI"),
    (10, '    targets: ["127.0.0.2"]', 10, "customers[0].targets[0]", "URI has no scheme"),
    (10, '    targets: ["sip:127.0.0.2;lr"]', 10, "customers[0].targets[0]", "has parameters other than transport"),
    (10, '    targets: ["sip:127.0.0.2:99999"]', 10, "customers[0].targets[0]", "has a port that is none"),
    (10, '    targets: ["sip:127.0.2"]', 10, "customers[0].targets[0]", "is neither an IP address nor a host name"),
    (10, '    targets: ["sip:0.0.0.0"]', 10, "customers[0].targets[0]", "is no address to send to"),
    (
        11,
        "    country: NO",
        11,
        "customers[0].country",
        '(YAML reads it as false) is no text; write it in quotes: "NO"',
    ),
    (11, "    country: UK", 11, "customers[0].country", 'write "GB"'),
    (11, "    country: us", 11, "customers[0].country", 'write "US"'),
    (11, "    country: USA!", 11, "customers[0].country", 'write two capital letters, such as "US" or "GB"'),
    (12, "    numbers: [+12025550100]", 12, "customers[0].numbers[0]", 'write it in quotes: "+12025550100"'),
    (12, '    numbers: ["2025550100"]', 12, "customers[0].numbers[0]", "write + and digits only"),
    (12, '    numbers: ["+12025550199-+12025550100"]', 12, "customers[0].numbers[0]", "swap them"),
    (12, "    numbers: [[]]", 12, "customers[0].numbers[0]", 'a list is no text; write one value, such as "+1202'),
    (13, "    limits: {calls_per_second: 0}", 13, "customers[0].limits.calls_per_second", "write more than 0, and at"),
    (
        13,
        "    limits: {calls_per_second: fast}",
        13,
        "customers[0].limits.calls_per_second",
        "is no number; write more",
    ),
    (13, "    limits: {concurrent_calls: 0}", 13, "customers[0].limits.concurrent_calls", "out of range; write 1 to"),
    (
        13,
        "    limits: 50",
        13,
        "customers[0].limits",
        "50 is no mapping; write `key: value` pairs: known here are calls",
    ),
    (14, "    mode: monitr", 14, "customers[0].mode", 'write enforce or monitor; did you mean "monitor"?'),
    (14, "    mode: off", 14, "customers[0].mode", "the bare word off (YAML reads it as false) is not offered"),
    (15, "  - id: acme", 15, "customers[1].id", '"acme" is already the id on line 8'),
    (20, "    targets: []", 20, "trunks[0].targets", "the list is empty; write at least one item"),
    (20, "    sources: [10.0.0.0/8]", 19, "trunks[0].targets", 'the key "targets" is missing'),
    (21, "    sources: [10.0.0.1/8]", 21, "trunks[0].sources[0]", "10.0.0.0/8"),
    (21, "    committed_rate_bps: 100M", 21, "trunks[0].committed_rate_bps", 'the text "100M" is no whole number'),
    (22, "asn: {}", 22, "asn.table", 'the key "table" is missing; write `table: config/asn-sample.tsv`'),
    (23, "policy: {unknown_ip_origin: no}", 23, "policy.unknown_ip_origin", "is not offered; write allow or reject"),
    (24, "evidence: {retention_days: 30}", 24, "evidence.retention_days", "one calendar year at least"),
    (24, "evidence: {retention_days: x}", 24, "evidence.retention_days", "is no whole number; write 365 to 36500"),
    (24, "evidence: {when_full: drop}", 24, "evidence.when_full", "is not offered; write pass or refuse"),
    (25, "telemetry: {max_asn_labels: 5000}", 25, "telemetry.max_asn_labels", "write 1 to 1000"),
    (25, "telemetry: {call_log: some}", 25, "telemetry.call_log", "write all, refused or none"),
    (
        25,
        'telemetry: {listen: "127.0.0.1:5060"}',
        25,
        "telemetry.listen",
        "over tcp is already taken by listeners.cust",
    ),
    (26, "admin: {listen: 127.0.0.1:9464}", 26, "admin.listen", "is already taken by telemetry.listen on line 25"),
    (27, "sip: {timer_c_s: 180}", 27, "sip.timer_c_s", "180 is out of range; write more than 180, and at most 3600"),
    (27, "sip: {t1_ms: 5000}", 27, "sip.t2_ms", "4000 is below t1_ms, 5000"),
    (27, "sip: []", 27, "sip", "a list is no mapping"),
]


@pytest.mark.parametrize(
    ("line", "text", "error_line", "key", "what"), ONE_ERROR, ids=[f"{case[3]}-{case[1]}" for case in ONE_ERROR]
)
def test_wrong_line_is_one_error_at_that_line(line: int, text: str, error_line: int, key: str, what: str) -> None:
    """`file:line: key.path: what is wrong; what would be right`, on one line, and nothing else with it."""
    (error,) = errors_of(with_line(line, text))
    assert error.startswith(f"f.yaml:{error_line}: {key}: ")
    assert what in error
    assert "\n" not in error
    assert re.search(r"; |: write", error), "it does not say what would be right"


def test_missing_sections_are_reported_at_the_top() -> None:
    """A file with nothing but a comment's worth of keys says all that is required, at once."""
    assert [error.split(": ")[1] for error in errors_of("\nworkers: 2\n")] == [
        "customers",
        "listeners",
        "node",
        "trunks",
    ]


def test_all_errors_are_reported_at_once_sorted_by_line() -> None:
    """From the parser, the models and the conflicts between sections alike: one look, one edit."""
    text = (
        BASE.replace("workers: 1", "workers: 0\nworkers: 1")
        .replace("id: globex", "id: acme")
        .replace("mode: enforce", "mode: x")
        .replace("127.0.0.3", "127.0.0.2")
        .replace("node: edge-1", "nod: edge-1")
    )
    places = [error.split(": ")[:2] for error in errors_of(text)]
    assert places == [
        ["f.yaml:1", "nod"],
        ["f.yaml:1", "node"],
        ["f.yaml:3", "workers"],
        ["f.yaml:4", "workers"],
        ["f.yaml:15", "customers[0].mode"],
        ["f.yaml:16", "customers[1].id"],
        ["f.yaml:17", "customers[1].sources[0]"],
    ]


def test_duplicate_key_error_hides_no_value_error() -> None:
    """The kept value is the first; what is wrong with it is said beside the repetition."""
    assert len(errors_of(BASE.replace("workers: 1", "workers: 0\nworkers: 1"))) == 2


def test_source_of_two_customers_names_both_and_both_lines() -> None:
    """Whose call it is must be clear: two customers never have the same prefix."""
    (error,) = errors_of(with_line(16, '    sources: ["10.0.0.0/8", "127.0.0.2"]'))
    assert error == (
        'f.yaml:16: customers[1].sources[1]: "127.0.0.2" of customer "globex" overlaps "127.0.0.2/32" of customer '
        '"acme" on line 9; an address can send as one customer only: take it from one of the two'
    )


@pytest.mark.parametrize("is_first_wider", [False, True])
def test_longest_prefix_that_holds_an_address_says_whose_it_is(is_first_wider: bool) -> None:
    """One within another is clear, in whatever order they are written; those that a `match` tells apart are not."""
    wide, narrow = '"10.0.0.0/8", "2001:db8::/32"', '"10.1.0.0/16", "2001:db8:1::/48"'
    first, second = (wide, narrow) if is_first_wider else (narrow, wide)
    text = with_line(9, f"    sources: [{first}]").replace('sources: ["127.0.0.3"]', f"sources: [{second}]")
    snapshot = compile_snapshot(parse_settings(text.encode(), "f.yaml"))
    for host, is_narrow in (
        ("10.1.2.3", True), ("10.0.255.255", False), ("10.2.0.0", False), ("::ffff:10.1.0.1", True),
        ("2001:db8:1::9", True), ("2001:db8:2::9", False),
    ):  # fmt: skip
        customer = snapshot.origin_of(host, Side.CUSTOMERS).customer
        assert customer is not None
        assert customer.ordinal == (is_narrow is is_first_wider)
    marked = text.replace("    country", "    match: {trunk_group: one}\n    country")
    assert len([error for error in errors_of(marked) if "overlaps" in error]) == 2


@pytest.mark.parametrize("key", ["mode: monitor", "trusted_identity: false", "hide_topology: true"])
def test_trunks_of_one_address_must_not_differ_in_what_holds_for_its_calls(key: str) -> None:
    """Whose call it is would be unclear. Two trunks to one address that are alike are fine, or with other sources."""
    second = '  - id: carrier-b\n    targets: ["sip:127.0.0.1:5091"]\n'
    text = BASE.replace("asn: {table: config/asn-sample.tsv}\n", second)
    compile_snapshot(parse_settings(text.encode(), "f.yaml"))
    with pytest.raises(ConfigErrors) as caught:
        compile_snapshot(parse_settings(text.replace(second, f"{second}    {key}\n").encode(), "f.yaml"))
    (error,) = map(str, caught.value.errors)
    assert error.startswith("f.yaml:22: trunks[1].id: carrier-b sends from the same addresses as carrier-a, and ")
    told_apart = f'{second}    {key}\n    sources: ["127.0.0.9"]\n'
    compile_snapshot(parse_settings(text.replace(second, told_apart).encode(), "f.yaml"))


def test_number_overlap_names_both_customers_and_both_lines() -> None:
    """A number has one owner."""
    (error,) = errors_of(with_line(17, '    country: US\n    numbers: ["+13105550100", "+12025550150"]'))
    assert error == (
        'f.yaml:18: customers[1].numbers[1]: "+12025550150" of customer "globex" overlaps '
        '"+12025550100-+12025550199" of customer "acme" on line 12; a number belongs to one customer only: '
        "take it from one of the two"
    )


def test_overlap_within_one_customer_is_fine() -> None:
    """Nothing is unclear when a customer repeats himself."""
    text = with_line(9, '    sources: ["127.0.0.2/32", "127.0.0.2/31", "127.0.0.2"]')
    parse_settings(text.replace("127.0.0.3", "127.0.0.4").encode(), "f.yaml")


def test_ipv4_mapped_source_overlaps_its_ipv4_form() -> None:
    """Two spellings of one address are one address (RFC 4291 §2.5.5.2)."""
    (error,) = errors_of(with_line(16, '    sources: ["::ffff:127.0.0.2"]'))
    assert "overlaps" in error


def test_wildcard_listener_takes_the_port_on_every_address() -> None:
    """0.0.0.0:5070 and 127.0.0.1:5070 cannot both be bound."""
    (error,) = errors_of(with_line(5, '  customers: {bind: "0.0.0.0:5070", advertise: "192.0.2.1"}'))
    assert error.startswith("f.yaml:6: listeners.carriers.bind: 127.0.0.1:5070 over udp is already taken")


def test_unknown_key_without_a_value_is_still_an_error() -> None:
    """Emptiness excuses no misspelling."""
    (error,) = errors_of(with_line(26, "admn:"))
    assert error == 'f.yaml:26: admn: unknown key; did you mean "admin"?'
