"""Targets as the operator writes them, and what a worker makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, Settings, TargetSettings, dump, parse_settings
from edge_proxy.routing.names import NameQuery
from edge_proxy.routing.targets import Probe, Target

BASE = Path(__file__).with_name("base.yaml").read_text().replace("asn: {table: config/asn-sample.tsv}\n", "")


def settings_with(trunk: str, customer: str = "", sip: str = "{t1_ms: 500}") -> Settings:
    """The base file with these targets (and what follows) of the trunk, of acme, and this `sip` section."""
    text = BASE.replace('targets: ["sip:127.0.0.1:5090"]', trunk)
    text = text.replace('targets: ["sip:127.0.0.2:5080"]', customer or 'targets: ["sip:127.0.0.2:5080"]')
    return parse_settings(text.replace("sip: {t1_ms: 500}", f"sip: {sip}").encode(), "f.yaml")


def trunk_targets(trunk: str) -> tuple[Target, ...]:
    return compile_snapshot(settings_with(trunk)).trunk_targets[0]


def test_uri_and_mapping_stand_in_one_list() -> None:
    """A bare URI is a target of which nothing else is said; dumped and read again, both are the same."""
    settings = settings_with('targets: ["sip:192.0.2.1", {uri: "sip:192.0.2.2", priority: 7, weight: 3, drain: true}]')
    assert settings.trunks[0].targets == [
        TargetSettings(uri="sip:192.0.2.1"),
        TargetSettings(uri="sip:192.0.2.2", priority=7, weight=3, drain=True),
    ]
    assert settings.trunks[0].sources == ["192.0.2.1/32", "192.0.2.2/32"]
    assert parse_settings(dump(settings).encode(), "dump") == settings


def test_priority_is_the_place_in_the_list_unless_written() -> None:
    """A list of bare URIs is in order of preference."""
    targets = trunk_targets('targets: ["sip:192.0.2.1", {uri: "sip:192.0.2.2", priority: 1}, "sip:192.0.2.3"]')
    assert [(target.priority, target.weight, target.is_draining) for target in targets] == [
        (1, 1, False),
        (1, 1, False),
        (3, 1, False),
    ]
    assert {target.trunk for target in targets} == {"carrier-a"}


def test_trunks_are_probed_and_customers_are_not_unless_asked_for() -> None:
    """A carrier expects OPTIONS; a customer's PBX gets them when the operator says so."""
    plain = compile_snapshot(settings_with('targets: ["sip:192.0.2.1"]'))
    assert plain.trunk_targets[0][0].probe == Probe(30, 4, 2, 3)
    assert plain.customer_targets[0][0].probe is None
    changed = compile_snapshot(
        settings_with(
            'targets: ["sip:192.0.2.1"]\n    probe: {interval_s: 0}',
            'targets: ["sip:127.0.0.2:5080"]\n    probe: {interval_s: 10, up_after: 1}',
        )
    )
    assert changed.trunk_targets[0][0].probe is None
    assert changed.customer_targets[0][0].probe == Probe(10, 4, 1, 3)


@pytest.mark.parametrize(
    ("uri", "port", "transport"),
    [
        ("sip:sbc.example.net", None, None),
        ("sip:SBC.Example.NET.", None, None),
        ("sip:sbc.example.net:5080", 5080, None),
        ("sip:sbc.example.net;transport=udp", None, Transport.UDP),
    ],
)
def test_name_becomes_a_question(uri: str, port: int | None, transport: Transport | None) -> None:
    """What the URI settles is not asked for (RFC 3263 §4.1, §4.2)."""
    (target,) = trunk_targets(f'targets: ["{uri}"]')
    assert target.address is None
    assert target.query == NameQuery("sbc.example.net", port, transport, Side.CARRIERS)


def test_address_is_no_question() -> None:
    """Numeric targets never wait for DNS."""
    (target,) = trunk_targets('targets: ["sip:[2001:db8::1]:5080"]')
    assert (target.address, target.query) == (Address("2001:db8::1", 5080), None)


@pytest.mark.parametrize("uri", ["sip:192.0.2.1;transport=tcp", "sip:sbc.example.net;transport=tcp"])
def test_transport_that_no_listener_has_is_an_error(uri: str) -> None:
    """It is found when the file is read, not when a call fails."""
    with pytest.raises(ConfigErrors, match=r"trunks\[0\]\.targets\[0\]: no listener of the carriers side has tcp"):
        compile_snapshot(settings_with(f'targets: ["{uri}"]'))


@pytest.mark.parametrize(
    ("target", "key", "text"),
    [
        ("5090", "trunks[0].targets[0]", '"5090" is no target; write a URI in quotes'),
        ("{priority: 1}", "trunks[0].targets[0].uri", 'the key "uri" is missing'),
        ('{uri: "sip:x@192.0.2.1"}', "trunks[0].targets[0].uri", "names a user or headers"),
        ('{uri: "sip:192.0.2.1", weigth: 1}', "trunks[0].targets[0].weigth", 'did you mean "weight"?'),
        ('{uri: "sip:192.0.2.1", weight: -1}', "trunks[0].targets[0].weight", "write 0 to 65535"),
        ('{uri: "sip:192.0.2.1", priority: 0}', "trunks[0].targets[0].priority", "write 1 to 65535"),
    ],
)
def test_wrong_target_is_told_by_its_key(target: str, key: str, text: str) -> None:
    """Each error names the key and what would be right."""
    with pytest.raises(ConfigErrors) as caught:
        settings_with(f"targets: [{target}]")
    (error,) = [error for error in caught.value.errors if error.key.startswith("trunks")]
    assert (error.key, error.line) == (key, 20)
    assert text in str(error)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.53", Address("192.0.2.53", 53)),
        ("127.0.0.1:5353", Address("127.0.0.1", 5353)),
        ("[2001:db8::53]", Address("2001:db8::53", 53)),
    ],
)
def test_nameserver_is_an_address_with_or_without_a_port(text: str, address: Address) -> None:
    """Port 53 unless written."""
    settings = settings_with('targets: ["sip:192.0.2.1"]', sip=f'{{nameservers: ["{text}"]}}')
    assert settings.sip.nameserver_addresses == [address]


@pytest.mark.parametrize("text", ["dns.example.net", "0.0.0.0", "192.0.2.53:0"])
def test_nameserver_that_cannot_be_asked_is_an_error(text: str) -> None:
    """A name server by name would have to be looked up."""
    with pytest.raises(ConfigErrors, match="is no address of a name server"):
        settings_with('targets: ["sip:192.0.2.1"]', sip=f'{{nameservers: ["{text}"]}}')
