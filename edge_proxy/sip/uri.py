"""sip, sips, tel and urn URIs (RFC 3261 §19.1, RFC 3966, RFC 5031), as far as a proxy reads them.

The user part is percent-decoded and cut at its first `;` (a telephone-subscriber carries its own parameters there,
RFC 3261 §19.1.6), so that `+1%32025550100;npdi` and `+12025550100` are the same user to whoever compares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.native import mypyc_attr
from edge_proxy.sip.headers import find_param

_SIP: Final = "sip"
_SIPS: Final = "sips"
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*+(?=:)")
_SIP_REST: Final = re.compile(
    rb"(?:([^@\s<>\"]*+)@)?(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-._]++)(?::([0-9]{1,5}))?(;[^\s<>\"?]*+)?(\?[^\s<>\"]*+)?"
)
_COMMON: Final = re.compile(rb"(sips?):(?:([A-Za-z0-9+\-._]++)@)?([a-z0-9\-._]++)(?::([0-9]{1,5}))?(;[^\s<>\"?@]*+)?")
"""What nearly every URI looks like: read in one step, to the same result as by the others."""
_PLAIN_BEGINS: Final = b"sip:"
_PLAIN_CHARS: Final = len(_PLAIN_BEGINS)
_NOT_PLAIN: Final = bytes.maketrans(
    bytes(set(range(256)) - set(b"abcdefghijklmnopqrstuvwxyz0123456789+-._@")),
    b"@" * (256 - 41),
)
"""Changes a text that holds anything but these."""
_PERCENT: Final = 0x25  # asking for a byte by its number costs a tenth of asking for bytes
_OPAQUE: Final = re.compile(rb"([^\s<>\";?]++)(;[^\s<>\"]*+)?")


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False, unsafe_hash=True)
class Uri:
    """A URI split into what routing and policy ask for. Nobody changes one that is made: they are shared.

    `scheme` is in lower case. For sip and sips: `user` (decoded, without its parameters and password; "" when there
    is none), `host` (lower case, IPv6 without brackets), `port`. For tel: `user` is the number. For any other scheme:
    `user` is all behind the colon. `user_params` and `params` are raw, each beginning with ";" or empty.
    """

    scheme: str
    user: str
    host: str
    port: int | None
    user_params: bytes
    params: bytes
    headers: bytes
    """What stands behind "?" in a sip or sips URI, with it: forbidden in a Request-URI (RFC 3261 §19.1.1)."""

    def __init__(
        self,
        scheme: str,
        user: str,
        host: str,
        port: int | None,
        user_params: bytes,
        params: bytes,
        headers: bytes = b"",
    ) -> None:
        self.scheme = scheme
        self.user = user
        self.host = host
        self.port = port
        self.user_params = user_params
        self.params = params
        self.headers = headers

    def param(self, name: bytes) -> bytes | None:
        """The value of a URI parameter (lower-case name); b"" when it has none, None when absent."""
        return find_param(self.params, name)


_MOST_REMEMBERED: Final = 64
_remembered: Final[dict[bytes, Uri]] = {}


def parse_uri(text: bytes) -> Uri:
    """Parse a URI; raises `RemoteProtocolError` when it is none.

    Remembered, since a message is asked for the same one several times. Few, since most hold the token of one call and
    are never seen again, peers may send long ones, and each lies among what a burst of calls left.
    """
    uri = _remembered.get(text)
    if uri is None:
        uri = _read_plain(text)
        if uri is None:
            uri = _read(text)
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[text] = uri
    return uri


def recall_uri(text: bytes) -> Uri | None:
    """The URI, if it is one of those that were read last."""
    return _remembered.get(text)


def forget_uris() -> None:
    """Give back what is remembered."""
    _remembered.clear()


def _read_plain(text: bytes) -> Uri | None:
    """`sip:user@host` in lower case and without anything else, as most callers are named; None: it is another one."""
    if not text.startswith(_PLAIN_BEGINS):
        return None
    plain = text[_PLAIN_CHARS:]
    if plain.translate(_NOT_PLAIN) != plain:
        return None
    shown = plain.decode("ascii")
    user, _, host = shown.partition("@")
    if not user or not host or "@" in host or "+" in host:
        return None
    return Uri(_SIP, user, host, None, b"", b"")


def _read(text: bytes) -> Uri:
    common = _COMMON.fullmatch(text)
    if common is not None:
        scheme_part, user_part, host, port_text, params = common.groups()
        port = None if port_text is None else _port(port_text, scheme_part)
        user = "" if user_part is None else user_part.decode("ascii")
        return Uri(_SIPS if scheme_part == b"sips" else _SIP, user, host.decode("ascii"), port, b"", params or b"")
    scheme_match = _SCHEME.match(text)
    if scheme_match is None:
        raise RemoteProtocolError("URI has no scheme", rfc="3261 §19.1.1")
    scheme = scheme_match[0].decode("ascii").lower()
    rest = text[scheme_match.end() + 1 :]
    if scheme in (_SIP, _SIPS):
        return _parse_sip(scheme, rest)
    match = _OPAQUE.fullmatch(rest)
    if match is None:
        raise RemoteProtocolError(f"{scheme} URI is malformed", rfc="3966 §3" if scheme == "tel" else "3986")
    user = _decode(match[1])
    params = match[2] or b""
    return Uri(scheme, user, "", None, params if scheme == "tel" else b"", params)


def _parse_sip(scheme: str, rest: bytes) -> Uri:
    match = _SIP_REST.fullmatch(rest)
    if match is None:
        raise RemoteProtocolError(f"{scheme} URI is malformed", rfc="3261 §19.1.1")
    user_part, host, port_text, params, headers = match.groups()
    port = None if port_text is None else _port(port_text, scheme.encode())
    user, user_params = "", b""
    if user_part is not None:
        if not user_part:
            raise RemoteProtocolError(f"{scheme} URI has an empty user", rfc="3261 §19.1.1")
        number, semicolon, tail = user_part.partition(b";")
        # Some write sip:urn:service:sos@..: what stands behind this colon is no password.
        user = _decode(number if number[:4].lower() == b"urn:" else number.partition(b":")[0])
        user_params = semicolon + tail
    bare_host = host.strip(b"[]").decode("ascii").lower()
    return Uri(scheme, user, bare_host, port, user_params, params or b"", headers or b"")


def _port(text: bytes, scheme: bytes) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise RemoteProtocolError(f"{scheme.decode()} URI has a port that is none", rfc="3261 §19.1.1")
    return port


def _decode(text: bytes) -> str:
    if _PERCENT in text:
        return unquote(text, errors="replace")
    return text.decode("utf-8", "replace")
