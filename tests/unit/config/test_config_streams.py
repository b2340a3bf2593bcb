"""Listeners over streams: bounds on their connections, and certificates by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.config import ConfigErrors, ListenerSettings, parse_settings
from edge_proxy.worker import _stream_settings

BASE = (Path(__file__).parent / "base.yaml").read_text()
LISTENER = '  customers: {bind: "127.0.0.1:5060", transports: [udp, tcp]}'


def customers_with(more: str) -> ListenerSettings:
    """The customers' listener with `more` keys."""
    assert LISTENER in BASE
    text = BASE.replace(LISTENER, f"{LISTENER[:-1]}, {more}}}")
    return parse_settings(text.encode(), "f.yaml").listeners.customers


def tls_with(names: str) -> ListenerSettings:
    return customers_with(f'tls: {{bind: "127.0.0.1:5061", certificate: a, key: b, certificates_by_name: {names}}}')


def test_streams_bounds_reach_the_port() -> None:
    """What is written holds, and what is not keeps its default."""
    settings = _stream_settings(customers_with("streams: {max_connections: 7, idle_s: 60, message_s: 0.5}"))
    assert (settings.max_connections, settings.max_connections_per_source) == (7, 256)
    assert (settings.idle_s, settings.message_s) == (60, 0.5)


def test_streams_default_to_the_ports_own_defaults() -> None:
    """One set of defaults, in two places that must agree."""
    from edge_proxy.transport.stream import StreamSettings

    assert _stream_settings(parse_settings(BASE.encode(), "f.yaml").listeners.carriers) == StreamSettings()


@pytest.mark.parametrize("bound", ["max_connections: 0", "max_connections_per_source: 0", "idle_s: 0", "message_s: 0"])
def test_bound_that_lets_nobody_in_is_refused(bound: str) -> None:
    """Zero is no way to write "no limit": it would close every connection."""
    with pytest.raises(ConfigErrors, match=rf"listeners\.customers\.streams\.{bound.partition(':')[0]}"):
        customers_with(f"streams: {{{bound}}}")


def test_certificates_by_name_are_kept_in_lower_case() -> None:
    """Host names do not differ by case."""
    listener = tls_with("[{name: SIP.example.NET, certificate: c, key: d}]")
    assert listener.tls is not None
    (one,) = listener.tls.certificates_by_name
    assert (one.name, one.certificate, one.key) == ("sip.example.net", Path("c"), Path("d"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ('[{name: "*.example.net", certificate: c, key: d}]', "is no host name that a client can ask for"),
        ('[{name: "a..b", certificate: c, key: d}]', "is no host name"),
        ('[{name: "m\\u00fcnchen.example", certificate: c, key: d}]', "is no host name"),
        ("[{name: a.b, certificate: c, key: d}, {name: A.B, certificate: e, key: f}]", '"a.b" has two certificates'),
        ("[{name: a.b, certificate: c}]", 'the key "key" is missing'),
    ],
)
def test_certificate_by_name_that_cannot_be_asked_for_is_refused(names: str, expected: str) -> None:
    """Wildcards, broken names, a name twice, a file left out: each is told, with what would be right."""
    with pytest.raises(ConfigErrors, match=r"tls\.certificates_by_name") as caught:
        tls_with(names)
    assert expected in str(caught.value)
