"""What settings hold when the file is right: canonical addresses, defaults, and where each was written."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_proxy.addr import Address
from edge_proxy.config import (
    CustomerSettings,
    Settings,
    parse_settings,
    settings_error,
)
from edge_proxy.sip.limits import Limits

BASE = Path(__file__).with_name("base.yaml").read_text()


def settings_with(line: int, text: str) -> Settings:
    lines = BASE.splitlines()
    lines[line - 1] = text
    return parse_settings("\n".join(lines).encode(), "f.yaml")


@pytest.mark.parametrize(
    "listener",
    ['{bind: "127.0.0.1:5070", transports: [tcp]}', '{bind: "127.0.0.2:5070"}', '{bind: "[::1]:5070"}'],
)
def test_listeners_that_differ_in_transport_or_address_may_share_a_port(listener: str) -> None:
    """UDP and TCP ports are counted apart, and so are addresses."""
    settings_with(5, f"  customers: {listener}")


def test_free_ports_never_clash() -> None:
    """Port 0 asks for a free port each time; tests and short-lived instances use it."""
    text = BASE.replace("127.0.0.1:5060", "127.0.0.1:0").replace("127.0.0.1:5070", "127.0.0.1:0")
    assert parse_settings(text.encode(), "f.yaml").listeners.customers.address == Address("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("listener", "address", "advertised"),
    [
        ('{bind: "127.0.0.1:6000"}', "127.0.0.1:6000", "127.0.0.1:6000"),
        ('{bind: "[2001:DB8:0::1]:6000"}', "[2001:db8::1]:6000", "[2001:db8::1]:6000"),
        ('{bind: "0.0.0.0:6000", advertise: "192.0.2.1"}', "0.0.0.0:6000", "192.0.2.1:6000"),
        ('{bind: "0.0.0.0:6000", advertise: "192.0.2.1:5060"}', "0.0.0.0:6000", "192.0.2.1:5060"),
        ('{bind: "[::]:6000", advertise: "[2001:db8::1]"}', "[::]:6000", "[2001:db8::1]:6000"),
        ('{bind: "0.0.0.0:6000", advertise: "SIP.example.net"}', "0.0.0.0:6000", "sip.example.net:6000"),
    ],
)
def test_listener_has_a_canonical_address_and_what_peers_are_told(listener: str, address: str, advertised: str) -> None:
    """The core compares addresses as text: there is one text for one address."""
    customers = settings_with(5, f"  customers: {listener}").listeners.customers
    assert (str(customers.address), str(customers.advertised)) == (address, advertised)


@pytest.mark.parametrize(
    ("targets", "sources"),
    [
        ('["sip:192.0.2.1:5060"]', ["192.0.2.1/32"]),
        ('["sip:[2001:DB8::1]", "sip:192.0.2.1", "sip:192.0.2.1:5070"]', ["2001:db8::1/128", "192.0.2.1/32"]),
        ('["sip:trunk.example.net;transport=tcp"]', []),
    ],
)
def test_trunk_sources_default_to_its_numeric_targets(targets: str, sources: list[str]) -> None:
    """A carrier calls from where it is called, unless it is said otherwise; a name is no address."""
    assert settings_with(20, f"    targets: {targets}").trunks[0].sources == sources


def test_key_without_a_value_is_a_key_not_written() -> None:
    """Commenting out all children of a section leaves `limits:`; that is no error, and the defaults hold."""
    settings = settings_with(13, "    limits:\n      # calls_per_second: 5")
    assert settings.customers[0].limits.calls_per_second is None
    assert settings_with(26, "admin:").admin is None


def test_ranges_are_available_parsed() -> None:
    """What others build their tables from, by the same readers that checked the text."""
    customer = parse_settings(BASE.encode(), "f.yaml").customers[0]
    assert customer.ranges == [(12025550100, 12025550199)]
    assert customer.prefixes == [(0x7F000002, 0x7F000002, 4)]


def test_sip_section_makes_the_parsers_limits() -> None:
    """One set of numbers, one name each."""
    limits = settings_with(
        27, "sip: {max_message_bytes: 4096, max_headers: 64, max_vias: 9, max_body_bytes: 3000}"
    ).sip.limits
    assert limits == Limits(
        max_message_bytes=4096, max_headers=64, max_header_bytes=8192, max_vias=9, max_body_bytes=3000
    )


def test_where_tells_file_and_line_of_a_key() -> None:
    """Other code reports a port in use at the line that asked for it; a default at its section."""
    settings = parse_settings(BASE.encode(), "f.yaml")
    assert settings.where("listeners.carriers.bind") == ("f.yaml", 6)
    assert settings.where("trunks[0].committed_rate_bps") == ("f.yaml", 21)
    assert settings.where("evidence.buffer_dir") == ("f.yaml", 24)


def test_later_error_carries_the_line_of_its_key() -> None:
    """`settings_error` is for what only shows when the setting is used."""
    error = settings_error(parse_settings(BASE.encode(), "f.yaml"), "asn.table", "no such file; write another")
    assert str(error) == "f.yaml:22: asn.table: no such file; write another"


def test_settings_are_equal_wherever_they_were_written() -> None:
    """A reload that only moved lines or comments changes nothing."""
    moved = parse_settings(("# a comment\n\n" + BASE).encode(), "other.yaml")
    assert moved == parse_settings(BASE.encode(), "f.yaml")
    assert moved != settings_with(1, "node: edge-2")


def test_settings_are_frozen_and_strict() -> None:
    """Nothing changes settings after the check, and code gets no looser check than a file."""
    settings = parse_settings(BASE.encode(), "f.yaml")
    with pytest.raises(ValidationError):
        settings.workers = 2
    with pytest.raises(ValidationError):
        CustomerSettings.model_validate({"id": "a", "sources": ["10.0.0.1"], "country": "US", "mode": 5})


def test_settings_survive_pickling_with_their_lines() -> None:
    """A worker process that gets them from its parent reports errors at the same lines."""
    settings = parse_settings(BASE.encode(), "f.yaml")
    copy = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes
    assert copy == settings
    assert copy.where("workers") == ("f.yaml", 3)
