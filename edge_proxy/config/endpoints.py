"""Read the addresses an operator writes: where to listen, what to tell peers, where to send calls.

"192.0.2.1:5060" and "[2001:db8::1]:5060" -> Address; "sip:host[:port][;transport=udp]" -> Uri (RFC 3261 §19.1).
ValueError says what would be right. Names are checked for shape (RFC 1123 §2.1) and never resolved.
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from edge_proxy.addr import Address, Transport
from edge_proxy.config.document import quote
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip.uri import Uri, parse_uri
from edge_proxy.traffic.address_ranges import parse_address

_HOST_PORT: Final = re.compile(r"(?P<host>\[[^\]\s]*\]|[^:\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NAME_MAX: Final = 253
_TARGET_PARAM: Final = re.compile(rb";(?i:transport)=(?i:udp|tcp|tls)")


def parse_listen_address(text: str) -> Address:
    """A numeric address and a port to bind; port 0 lets the system choose."""
    host, port = _split(text, "192.0.2.10:5060 or [2001:db8::1]:5060")
    if port is None:
        raise ValueError(f"{quote(text)} has no port; write one after a colon, such as {quote(text + ':5060')}")
    numeric = _canonical(host)
    if numeric is None:
        raise ValueError(f"{quote(host)} is no IP address; write one of this machine, such as 127.0.0.1 or [::1]")
    return Address(numeric, port)


def parse_advertised(text: str, default_port: int) -> Address:
    """A host, numeric or a name, with or without a port, as peers are to read it."""
    host, port = _split(text, "192.0.2.10, [2001:db8::1] or sip.example.net, with or without :port")
    numeric = _canonical(host)
    if numeric is not None and is_wildcard(numeric):
        raise ValueError(f"{quote(text)} means every address; write the one that peers reach")
    if port == 0:
        raise ValueError(f"{quote(text)} has port 0, which nobody can send to; write 1 to 65535, or no port")
    return Address(numeric or _checked_name(host), default_port if port is None else port)


def parse_nameserver(text: str) -> Address:
    """A numeric address, with or without a port; 53 is the default."""
    example = "192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]"
    host, port = _split(text, example)
    numeric = _canonical(host)
    if numeric is None or is_wildcard(numeric) or port == 0:
        raise ValueError(f"{quote(text)} is no address of a name server; write one such as {example}")
    return Address(numeric, 53 if port is None else port)


def parse_target(text: str) -> Uri:
    """Where calls are sent: a SIP URI without a user."""
    example = 'write one such as "sip:192.0.2.20:5060" or "sip:sbc.example.net;transport=tcp"'
    try:
        uri = parse_uri(text.encode("utf-8"))
    except RemoteProtocolError as error:
        raise ValueError(f"{quote(text)}: {error}; {example}") from error
    if uri.scheme != "sip":
        raise ValueError(f"{quote(text)} is no sip URI; {example}")
    if "@" in text or "?" in text:
        raise ValueError(f"{quote(text)} names a user or headers, but a target is a host; {example}")
    if uri.params and not _TARGET_PARAM.fullmatch(uri.params):
        raise ValueError(f"{quote(text)} has parameters other than transport=udp, tcp or tls; {example}")
    numeric = _canonical(uri.host)
    if numeric is not None and is_wildcard(numeric):
        raise ValueError(f"{quote(text)} is no address to send to; {example}")
    return replace(uri, host=numeric or _checked_name(uri.host))


def numeric_prefix(target: str) -> str | None:
    """A target's host as a prefix of one address; None for a name."""
    host = _canonical(parse_target(target).host)
    if host is None:
        return None
    return f"{host}/128" if ":" in host else f"{host}/32"


def is_wildcard(host: str) -> bool:
    return host in {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound


def _split(text: str, example: str) -> tuple[str, int | None]:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            raise ValueError(f'{quote(text)}: an IPv6 address needs brackets; write "[address]:port"')
        raise ValueError(f"{quote(text)} is no address; write {example}")
    host = match["host"]
    if host.startswith("["):
        host = host[1:-1]
        if ":" not in host or _canonical(host) is None:
            raise ValueError(f"{quote(text)}: between brackets goes an IPv6 address; write {example}")
    if match["port"] is None:
        return host, None
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f"{quote(text)}: port {port} does not exist; write 1 to 65535")
    return host, port


def _canonical(host: str) -> str | None:
    """The canonical text of a numeric address, None for anything else."""
    try:
        parse_address(host)
    except ValueError:
        return None
    return str(ip_address(host))


def _checked_name(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if len(host) > _NAME_MAX or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError(f"{quote(host)} is neither an IP address nor a host name; write 192.0.2.20 or sbc.example.net")
    return host.lower()


def parse_source(text: str) -> tuple[Transport, Address]:
    """ "udp:192.0.2.1:5060" or "tcp:[2001:db8::1]:5060": where a message came from. Raises ValueError."""
    transport_text, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    try:
        transport = Transport(transport_text.lower())
        parse_address(host)
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(port)
    except ValueError as error:
        raise ValueError(f"{quote(text)} is no source; write udp:192.0.2.1:5060 or tcp:[2001:db8::1]:5060") from error
    return transport, Address(host, int(port))
