"""The values of the headers a proxy uses: Via, name-addr with tag, lists with commas (RFC 3261 §20, §25.1).

Each function takes the bytes of a value (unfolded) and returns plain data; a value that breaks the grammar raises
`RemoteProtocolError` that names the header.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from edge_proxy.addr import Address
from edge_proxy.errors import RemoteProtocolError

# One top-level piece of a list: quoted strings and <...> may hold commas (§7.3.1).
# Possessive quantifiers throughout: no input makes these patterns backtrack.
_QUOTED: Final = rb'"(?:[^"\\]++|\\.)*+"'
_LIST_PIECE: Final = re.compile(rb"(?:" + _QUOTED + rb"|<[^<>]*+>|[^\",<>]++)++", re.DOTALL)
_PARAM: Final = re.compile(
    rb"[ \t]*;[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)(?:[ \t]*=[ \t]*(" + _QUOTED + rb"|\[[^\]\"]*\]|[^\s;,\"<>]*))?",
    re.DOTALL,
)
_VIA: Final = re.compile(
    rb"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)(?:[ \t]*:[ \t]*([0-9]{1,5}))?",
    re.IGNORECASE,
)
_COMMON_VIA: Final = re.compile(
    rb"SIP/2\.0/(UDP|TCP|TLS) (\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)(?::([0-9]{1,5}))?"
    rb"(;rport)?;branch=([^\s;,\"<>\[]+)(;rport(?:=([0-9]+))?)?(?:;received=([0-9.]+))?"
)
"""What nearly every Via looks like: read in one step, to the same result as by `_VIA` and its parameters."""
_READABLE_VIA: Final = re.compile(
    rb"[^\s/,;]+[ \t]*/[ \t]*[^\s/,;]+[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)(?:[ \t]*:[ \t]*([0-9]{1,5})(?![0-9]))?"
)
_NAME_ADDR: Final = re.compile(rb"((?:" + _QUOTED + rb"|[A-Za-z0-9\-.!%*_+`'~ \t]++)*+)<([^<>\r\n]*+)>", re.DOTALL)
_PARAMS_BEGIN: Final = (b";", b"")
_SECONDS: Final = re.compile(rb"[ \t]*([0-9]{1,9})(?![0-9])")
_DIGITS_AND_METHOD: Final = re.compile(rb"([0-9]{1,10})[ \t]+([A-Za-z0-9\-.!%*_+`'~]+)")


def split_list(value: bytes) -> list[bytes]:
    """The pieces of a comma-separated header value, trimmed; commas in quotes or angle brackets do not split."""
    if b"," not in value:
        return [value.strip(b" \t")]
    pieces: list[bytes] = []
    position = 0
    while True:
        match = _LIST_PIECE.match(value, position)
        end = match.end() if match else position
        pieces.append(value[position:end].strip(b" \t"))
        if end >= len(value):
            return pieces
        if value[end : end + 1] != b",":
            # An unbalanced quote or bracket: what is left is one piece, for the piece's own parser to refuse.
            pieces[-1] = value[position:].strip(b" \t")
            return pieces
        position = end + 1


def find_param(params: bytes, name: bytes) -> bytes | None:
    """The value of `;name=value` (b"" when it has no value), None when absent. `name` is in lower case."""
    position = 0
    while match := _PARAM.match(params, position):
        if match[1].lower() == name:
            return match[2] or b""
        position = match.end()
    return None


class Via(NamedTuple):
    """The top Via: where the response goes (RFC 3261 §18.2.2) and which transaction it is (§17.2.3)."""

    transport: bytes
    host: bytes
    port: int | None
    branch: bytes
    rport: bytes | None
    """None: no `rport` parameter; b"": asked for (RFC 3581); digits: filled in."""
    received: bytes | None
    maddr: bytes | None
    has_alias: bool = False
    """The sender lets us send requests to its sent-by port over this connection (RFC 5923 §6)."""

    @property
    def sent_by(self) -> bytes:
        """host and port as one key, in lower case; the port is spelt out as given or not at all."""
        return self.host.lower() if self.port is None else b"%s:%d" % (self.host.lower(), self.port)


def parse_via(value: bytes) -> Via:
    """One Via value (no comma list)."""
    rport: bytes | None
    received: bytes | None
    common = _COMMON_VIA.fullmatch(value)
    if common is not None:
        transport, host, port, asked, branch, given, rport, received = common.groups()
        if rport is None and (asked is not None or given is not None):
            rport = b""
        return Via(transport, host, None if port is None else _port(port), branch, rport, received, None, False)
    match = _VIA.match(value)
    if match is None:
        raise RemoteProtocolError("Via is not SIP/2.0/transport host[:port]", rfc="3261 §20.42")
    branch = b""
    rport = received = maddr = None
    has_alias = False
    position = match.end()
    while param := _PARAM.match(value, position):
        name = param[1].lower()
        if name == b"branch":
            branch = param[2] or b""
        elif name == b"rport":
            rport = param[2] or b""
        elif name == b"received":
            received = param[2] or b""
        elif name == b"maddr":
            maddr = param[2] or b""
        elif name == b"alias":
            has_alias = True
        position = param.end()
    if value[position:].strip(b" \t"):
        raise RemoteProtocolError("Via has something after its parameters", rfc="3261 §20.42")
    port_number = None if match[3] is None else _port(match[3])
    return Via(match[1].upper(), match[2], port_number, branch, rport, received, maddr, has_alias)


def _port(text: bytes) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise RemoteProtocolError("Via has a port that is none", rfc="3261 §20.42")
    return port


def readable_via(value: bytes) -> Via | None:
    """What can be read of a Via that `parse_via` refused: enough to know where an answer goes; None when it is not."""
    match = _READABLE_VIA.match(value)
    if match is None:
        return None
    port = int(match[3] or 0)
    rport = find_param(value[match.end() :], b"rport")
    return Via(match[1].upper(), match[2], port if 0 < port < 65536 else None, b"", rport, None, None)


def stamp_via(value: bytes, via: Via, source: Address) -> bytes:
    """The same Via value with `received` and `rport` filled in for where it really came from (RFC 3261 §18.2.1, 3581).

    Returned unchanged (the same object) when nothing is to be added.
    """
    host = source.host.encode()
    sent_host = via.host.strip(b"[]")
    if via.rport is None and via.received is None and sent_host == host:
        return value
    head = _VIA.match(value) or _READABLE_VIA.match(value)
    if head is None:
        return value
    pieces = [value[: head.end()]]
    position = head.end()
    while param := _PARAM.match(value, position):
        # A sender's own claim of where it is does not survive: we saw the packet, it did not.
        if param[1].lower() not in (b"received", b"rport"):
            pieces.append(param[0])
        position = param.end()
    pieces.append(b";received=" + host)
    if via.rport is not None:
        pieces.append(b";rport=%d" % source.port)
    pieces.append(value[position:])  # nothing, but in a Via that was refused and is sent back
    return b"".join(pieces)


def response_address(via: Via, source: Address | None) -> Address | None:
    """Where a response with this top Via goes over UDP (RFC 3261 §18.2.2, RFC 3581 §4).

    `source` is where the request came from, when that is known: it outranks what the Via says, rport or not, except
    for the port a sender without rport asked for. None when only a name is there, which needs a resolver.
    """
    default_port = 5061 if via.transport == b"TLS" else 5060
    if source is not None:
        return source if via.rport is not None else Address(source.host, via.port or default_port)
    host = via.maddr or via.received or via.host.strip(b"[]")
    if not (host.replace(b".", b"").isdigit() or b":" in host):
        return None
    port = int(via.rport) if via.rport and via.rport.isdigit() else via.port or default_port
    return Address(host.decode("ascii", "replace"), port)


class NameAddr(NamedTuple):
    """`"Display" <uri>;params` or `uri;params` (RFC 3261 §20.10: without brackets the parameters are the header's)."""

    display: bytes
    uri: bytes
    params: bytes


def parse_name_addr(value: bytes, header: str) -> NameAddr:
    """One name-addr or addr-spec; `header` is named in the error."""
    match = _NAME_ADDR.match(value)
    if match is not None:
        params = value[match.end() :]
        if params and params.lstrip(b" \t")[:1] not in _PARAMS_BEGIN:
            raise RemoteProtocolError(f"{header} has something behind its address", rfc="3261 §20.10")
        return NameAddr(match[1].strip(b" \t"), match[2].strip(b" \t"), params)
    if b"<" in value or b">" in value or b'"' in value:
        raise RemoteProtocolError(f"{header} has unbalanced quotes or angle brackets", rfc="3261 §20.10")
    uri, semicolon, params = value.partition(b";")
    uri = uri.strip(b" \t")
    if not uri or b" " in uri or b"," in uri or b"?" in uri:
        raise RemoteProtocolError(f"{header} is not an address", rfc="3261 §20.10")
    return NameAddr(b"", uri, semicolon + params)


def parse_tag(value: bytes, header: str) -> bytes:
    """The tag of a From or To value; b"" when it has none."""
    end = value.rfind(b">")
    if end >= 0 and value.count(b'"') & 1 == 0:
        params = value[end + 1 :]
        if b'"' not in params:
            if b"<" not in value:
                raise RemoteProtocolError(f"{header} has unbalanced quotes or angle brackets", rfc="3261 §20.10")
            if params[:5] == b";tag=" and params.find(b";", 1) < 0:
                return params[5:].strip(b" \t")
            if not params:
                return b""
            if params.lstrip(b" \t")[:1] not in _PARAMS_BEGIN:
                raise RemoteProtocolError(f"{header} has something behind its address", rfc="3261 §20.10")
            return find_param(params, b"tag") or b""
    return find_param(parse_name_addr(value, header).params, b"tag") or b""


def parse_cseq(value: bytes) -> tuple[int, bytes]:
    """CSeq's number (below 2**31, RFC 3261 §8.1.1.5) and method."""
    match = _DIGITS_AND_METHOD.fullmatch(value)
    if match is None:
        raise RemoteProtocolError("CSeq is not a number and a method", rfc="3261 §20.16")
    number = int(match[1])
    if number >= 1 << 31:
        raise RemoteProtocolError("CSeq is 2**31 or more", rfc="3261 §8.1.1.5")
    return number, match[2]


def parse_retry_after(value: bytes) -> float:
    """Retry-After's seconds, without its comment and parameters (RFC 3261 §20.33); 0 for what is no such value."""
    match = _SECONDS.match(value)
    return 0.0 if match is None else float(match[1])
