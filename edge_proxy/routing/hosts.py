"""Take hosts out of header values: in a URI, in a list of addresses, in a parameter, or wherever a line names them.

For topology hiding (topology.py). Each function returns new bytes for what it changed and the same bytes otherwise;
none raises on what it cannot read, and none knows which hosts are to be hidden: the caller says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip.headers import NameAddr, parse_name_addr, split_list
from edge_proxy.sip.via import parse_via

_SIP_URI: Final = re.compile(
    rb"(sips?:(?:[^@\s<>\"]*+@)?)(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-._]++)(:[0-9]{1,5})?(?=[;?]|\Z)(.*)",
    re.IGNORECASE | re.DOTALL,
)
_MADDR: Final = re.compile(rb";maddr=[^;?]*", re.IGNORECASE)
_PARAM: Final = re.compile(
    rb";[ \t]*+([A-Za-z0-9\-.!%*_+`'~]++)(?:[ \t]*+=[ \t]*+(\"(?:[^\"\\]|\\.)*+\"|[^;\"]*+))?+[ \t]*+"
)
_HARMLESS_VALUE: Final = re.compile(rb"[0-9]+(?:\.[0-9]+)?|[^.:@\"]*|\"[^.:@\"]*\"|\"<urn:uuid:[0-9A-Fa-f\-]+>\"")
_WARN_AGENT: Final = re.compile(rb"(^[^:]*:|,)([ \t]*[0-9]{3}[ \t]+)[^ \t\",]+")


def host_and_port(uri: bytes) -> bytes:
    """`host[:port]` of a sip or sips URI as written; b"" for any other."""
    match = _SIP_URI.fullmatch(uri)
    return b"" if match is None else match[2] + (match[3] or b"")


def host_of(uri: bytes) -> bytes:
    """The host of a sip or sips URI, in lower case and without brackets; b"" for any other."""
    match = _SIP_URI.fullmatch(uri)
    return b"" if match is None else match[2].strip(b"[]").lower()


def with_host(uri: bytes, host: bytes) -> bytes:
    """A sip or sips URI with `host` (or host:port) in place of its own and without maddr.

    One whose host says that it names nobody (anonymous.invalid, RFC 3323 §4.1.1.3) stays, as does any other scheme.
    """
    match = _SIP_URI.fullmatch(uri)
    if match is None or match[2].lower().endswith(b".invalid"):
        return uri
    return match[1] + host + _MADDR.sub(b"", match[4])


def read_address(value: bytes) -> NameAddr | None:
    """One address; None when it cannot be read. A display name that should have been quoted is no hindrance."""
    try:
        return parse_name_addr(value, "address")
    except RemoteProtocolError:
        start, end = value.find(b"<"), value.find(b">")
        if 0 <= start < end and value.count(b"<") == value.count(b">") == 1:
            return NameAddr(value[:start].strip(b" \t"), value[start + 1 : end].strip(b" \t"), value[end + 1 :])
        return None


def map_uri(value: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """One address with its URI changed; b"" when it cannot be read."""
    name_addr = read_address(value)
    if name_addr is None:
        return b""
    uri = change(name_addr.uri)
    if uri == name_addr.uri:
        return value
    start = value.rfind(b"<", 0, len(value) - len(name_addr.params))
    if start < 0:
        return uri + name_addr.params
    return value[: start + 1] + uri + b">" + name_addr.params


def map_uris(value: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A list of addresses with each URI changed. What cannot be read may name anything, and is left out."""
    return b", ".join(filter(None, (map_uri(piece, change) for piece in split_list(value))))


def harmless_params(params: bytes) -> bytes:
    """Of a Contact's header parameters, those whose values cannot be hosts: q, expires, flags, an instance's UUID."""
    return b"".join(
        b";" + match[1] + (b"" if match[2] is None else b"=" + match[2].strip(b" \t"))
        for match in _PARAM.finditer(params)
        if match[2] is None or _HARMLESS_VALUE.fullmatch(match[2].strip(b" \t"))
    )


def hosts_in_addresses(values: Iterable[bytes]) -> set[bytes]:
    """The hosts of all addresses in these header values."""
    addresses = (read_address(piece) for value in values for piece in split_list(value))
    return {host_of(address.uri) for address in addresses if address is not None}


def hosts_in_vias(values: Iterable[bytes]) -> set[bytes]:
    """The hosts that Via values name: sent-by, received and maddr."""
    found: set[bytes] = set()
    for value in values:
        for piece in split_list(value):
            try:
                via = parse_via(piece)
            except RemoteProtocolError:
                continue  # it leaves with nothing: no Via of others does
            found.update(host.strip(b"[]").lower() for host in (via.host, via.received, via.maddr) if host)
    return found


def with_warn_agent(line: bytes, host: bytes) -> bytes:
    """A Warning line in which `host` gives every warning (RFC 3261 §20.43)."""
    return _WARN_AGENT.sub(lambda match: match[1] + match[2] + host, line)


def without_hosts(line: bytes, hosts: Iterable[bytes], instead: bytes) -> bytes:
    """A header line in which none of `hosts` (lower case) is named any more, nor anything in their domains.

    A host without a dot or a colon is passed over: it is a word like any other, and nobody can tell which it is.
    """
    lower = line.lower()
    for host in hosts:
        if host in lower and (b"." in host or b":" in host):
            line = _pattern(host).sub(lambda _match: instead, line)
            lower = line.lower()
    return line


@lru_cache(maxsize=1024)
def _pattern(host: bytes) -> re.Pattern[bytes]:
    escaped = re.escape(host)
    if b":" in host:
        return re.compile(rb"\[?(?<![0-9A-Fa-f:])" + escaped + rb"(?![0-9A-Fa-f:])\]?", re.IGNORECASE)
    labels = b"" if host.replace(b".", b"").isdigit() else rb"(?:[A-Za-z0-9\-]+\.)*"
    return re.compile(rb"(?<![A-Za-z0-9.\-])" + labels + escaped + rb"(?![A-Za-z0-9\-]|\.[A-Za-z0-9])", re.IGNORECASE)
