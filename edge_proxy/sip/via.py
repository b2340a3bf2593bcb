"""Via: where an answer goes, and which transaction a request is of (RFC 3261 §18.2, §20.42, RFC 3581).

Each function takes the bytes of a value (unfolded) and returns plain data; a value that breaks the grammar raises
`RemoteProtocolError`, unless its own text says otherwise.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final, final

from edge_proxy.addr import Address
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.native import mypyc_attr
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import MOST_ESCAPES, MOST_PARAMS, PARAM, SIMPLE, find_param, has_many_escapes

_VIA: Final = re.compile(
    rb"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)(?:[ \t]*:[ \t]*([0-9]{1,5}))?",
    re.IGNORECASE,
)
_COMMON_SENDER: Final = re.compile(rb"SIP/2\.0/(UDP|TCP|TLS) (\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)(?::([0-9]{1,5}))?")
"""What nearly every Via begins with: read to the same result as by `_VIA`."""
_READABLE_VIA: Final = re.compile(
    rb"[^\s/,;]+[ \t]*/[ \t]*[^\s/,;]+[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)(?:[ \t]*:[ \t]*([0-9]{1,5})(?![0-9]))?"
)
_PARAMS_OF_VIA: Final = frozenset((b"branch", b"rport", b"received", b"maddr", b"alias"))
_NOT_OF_VIA: Final = re.compile(
    rb"(?>(?:[ \t]*;[ \t]*(?!(?:branch|rport|received|maddr|alias)(?![A-Za-z0-9\-.!%*_+`'~]))[A-Za-z0-9\-.!%*_+`'~]++"
    rb"(?:[ \t]*=[ \t]*(?:" + grammar.QUOTED + rb"|\[[^\]\"]*\]|[^\s;,\"<>]*))?)*)",
    re.DOTALL | re.IGNORECASE,
)
"""Any number of parameters that nobody asks of a Via: passed over in one step, however many a sender writes.

An atomic group, no possessive repeat: CPython before 3.11.5 leaves that in the midst of a turn that fails."""
_PLAIN: Final = grammar.all_but(b' \t\r\n\f\v,"<>[]')
"""Changes no parameter value that is neither quoted nor bracketed, and has no blank in it."""
_SEMICOLON: Final = 0x3B  # asking for a byte by its number costs a tenth of asking for bytes
_EQUALS: Final = 0x3D
_A: Final = 0x61
_B: Final = 0x62
_M: Final = 0x6D
_R: Final = 0x72
_CAPITAL_R: Final = 0x52
_WHERE_FROM: Final = (b"received", b"rport")


def _simple_params(params: bytes) -> list[bytes]:
    """The parameters, without their semicolons, where all are tokens; else none."""
    if not params or params[0] != _SEMICOLON or params.translate(SIMPLE) is not params:
        return []
    texts = params[1:].split(b";")
    for text in texts:
        if not text or text[0] == _EQUALS:
            return []
    return texts


@mypyc_attr(acyclic=True)
@final
class SentBy:
    """How a Via value begins, up to its parameters: made once for a peer, whose Vias all begin alike."""

    __slots__ = ("begins", "host", "key", "length", "place", "port", "transport")

    def __init__(self, transport: bytes, host: bytes, port: int | None, text: bytes = b"") -> None:
        self.length = len(text)
        """How long it is where it is spelt as nearly all spell it, else 0."""
        self.begins = text + b";"
        """What a Via of this sender begins with, spelt so."""
        self.transport = transport
        self.host = host
        self.port = port
        self.key = host.lower() if port is None else b"%s:%d" % (host.lower(), port)
        """host and port as one key, in lower case; the port is spelt out as given or not at all."""
        self.place = host.strip(b"[]").decode("ascii", "replace").lower(), port or 5060
        """Host and port as text and number, as listeners have them."""


@mypyc_attr(acyclic=True)
@final
class Via:
    """The top Via: where the response goes (RFC 3261 §18.2.2) and which transaction it is (§17.2.3)."""

    __slots__ = ("branch", "has_alias", "maddr", "received", "rport", "sent")

    def __init__(
        self,
        sent: SentBy,
        branch: bytes,
        rport: bytes | None,
        received: bytes | None,
        maddr: bytes | None = None,
        has_alias: bool = False,
    ) -> None:
        self.sent = sent
        self.branch = branch
        self.rport = rport
        """None: no `rport` parameter; b"": asked for (RFC 3581); digits: filled in."""
        self.received = received
        self.maddr = maddr
        self.has_alias = has_alias
        """The sender lets us send requests to its sent-by port over this connection (RFC 5923 §6)."""

    @property
    def transport(self) -> bytes:
        return self.sent.transport

    @property
    def host(self) -> bytes:
        return self.sent.host

    @property
    def port(self) -> int | None:
        return self.sent.port

    @property
    def sent_by(self) -> bytes:
        return self.sent.key


_senders: Final[dict[bytes, SentBy]] = {}
"""What the Vias of the latest peers begin with, as read; few and short, whoever sends."""
_MOST_SENDERS: Final = 64
_PLACES: Final = 16
_latest: Final[list[SentBy | None]] = [None] * _PLACES
"""The latest of them, each at a place that some bytes of its address and port make: found without a slice."""
_LONGEST_SENDER_BYTES: Final = 80


def forget_senders() -> None:
    """Let go of what is only kept to be read faster."""
    _senders.clear()
    _latest[:] = [None] * _PLACES


def _common_sender(head: bytes) -> SentBy | None:
    """The sender of a Via value that begins in the usual way; None for any other."""
    match = _COMMON_SENDER.fullmatch(head)
    if match is None:
        return None
    port = None if match[3] is None else int(match[3])
    if port is not None and not 0 < port < 65536:
        return None
    sent = SentBy(match[1], match[2], port, head)
    if len(head) <= _LONGEST_SENDER_BYTES:
        if len(_senders) >= _MOST_SENDERS:
            _senders.clear()
        _senders[head] = sent
    return sent


def parse_via(value: bytes) -> Via:
    """One Via value (no comma list)."""
    place = (value[17] + 3 * value[20] + 5 * value[22] + 7 * value[24]) & (_PLACES - 1) if len(value) > 24 else 0
    sent = _latest[place]
    if sent is not None and value.startswith(sent.begins):
        params = value[sent.length + 1 :]
    else:
        head, found, params = value.partition(b";")
        sent = _senders.get(head) or _common_sender(head)
        if not found or sent is None:
            return _any_via(value)
        if sent.length <= _LONGEST_SENDER_BYTES:
            _latest[place] = sent
    if params.translate(_PLAIN) is not params:
        return _any_via(value)
    branch = b""
    rport: bytes | None = None
    received: bytes | None = None
    if params.startswith(b"branch="):
        # Alone or with `rport` behind it: what nearly all senders write.
        if params.endswith(b";rport"):
            rport = b""
            branch = params[7:-6]
        else:
            branch = params[7:]
        if _SEMICOLON not in branch:
            return Via(sent, branch, rport, None)
        branch, rport = b"", None
    texts = params.split(b";", MOST_PARAMS)
    if len(texts) > MOST_PARAMS:
        return _any_via(value)
    if params.translate(SIMPLE) is params:
        via = _via_of_tokens(sent, texts, params.lower().split(b";"))
        return _any_via(value) if via is None else via
    for text in texts:
        if text == b"rport":
            rport = b""
        elif text.startswith(b"branch="):
            branch = text[7:]
        elif text.startswith(b"received="):
            received = text[9:]
        elif text.startswith(b"rport="):
            rport = text[6:]
        elif not _is_of_no_via(text):
            return _any_via(value)
    return Via(sent, branch, rport, received)


def _via_of_tokens(sent: SentBy, texts: list[bytes], lowered: list[bytes]) -> Via | None:
    """A Via with these parameters, all tokens, given also in lower case; None: one of them has no name.

    Of each name the last one counts, and only that is taken out: they may be many.
    """
    branch = rport = received = maddr = -1
    has_alias = False
    for place, text in enumerate(lowered):
        initial = text[0] if text else _EQUALS
        if initial == _EQUALS:
            return None
        if initial == _R:
            if _is_named(text, b"rport"):
                rport = place
            elif _is_named(text, b"received"):
                received = place
        elif initial == _B:
            if _is_named(text, b"branch"):
                branch = place
        elif initial == _M:
            if _is_named(text, b"maddr"):
                maddr = place
        elif initial == _A and _is_named(text, b"alias"):
            has_alias = True
    return Via(
        sent,
        _value_of(texts, branch) or b"",
        _value_of(texts, rport),
        _value_of(texts, received),
        _value_of(texts, maddr),
        has_alias,
    )


def _is_named(text: bytes, name: bytes) -> bool:
    """Whether a parameter in lower case has this name."""
    size = len(name)
    return text.startswith(name) and (len(text) == size or text[size] == _EQUALS)


def _value_of(texts: list[bytes], place: int) -> bytes | None:
    """The value of the parameter at a place: b"" when it has none, None when it is nowhere (-1)."""
    return None if place < 0 else texts[place].partition(b"=")[2]


def _is_of_no_via(text: bytes) -> bool:
    """Whether this is a parameter that nobody asks of a Via; its value is plain."""
    name = text.partition(b"=")[0]
    return name != b"" and name.translate(grammar.TOKEN_ONLY) is name and name.lower() not in _PARAMS_OF_VIA


def _any_via(value: bytes) -> Via:
    """A Via value however it is spelt; to the same result as `parse_via` reads the usual ones."""
    if value.count(b";") > MOST_PARAMS:
        raise RemoteProtocolError(f"Via has more than {MOST_PARAMS} parameters", rfc="3261 §20.42")
    if has_many_escapes(value):
        raise RemoteProtocolError(f"Via has more than {MOST_ESCAPES} escapes", rfc="3261 §25.1")
    match = _VIA.match(value)
    if match is None:
        raise RemoteProtocolError("Via is not SIP/2.0/transport host[:port]", rfc="3261 §20.42")
    branch = b""
    rport: bytes | None = None
    received: bytes | None = None
    maddr: bytes | None = None
    has_alias = False
    position = match.end()
    while True:
        others = _NOT_OF_VIA.match(value, position)
        param = PARAM.match(value, position if others is None else others.end())
        if param is None:
            break
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
    if others is not None:
        position = others.end()
    if value[position:].strip(b" \t"):
        raise RemoteProtocolError("Via has something after its parameters", rfc="3261 §20.42")
    port = None if match[3] is None else _port(match[3])
    return Via(SentBy(match[1].upper(), match[2], port), branch, rport, received, maddr, has_alias)


def _port(text: bytes) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise RemoteProtocolError("Via has a port that is none", rfc="3261 §20.42")
    return port


def readable_via(value: bytes) -> Via | None:
    """What can be read of a Via that `parse_via` refused: enough to know where an answer goes; None when it is not.

    One with more in it than anybody has use for is not worth an answer, which would have to bring it all back.
    """
    match = _READABLE_VIA.match(value)
    if match is None or value.count(b";") > MOST_PARAMS or has_many_escapes(value):
        return None
    port = int(match[3] or 0)
    rport = find_param(value[match.end() :], b"rport")
    return Via(SentBy(match[1].upper(), match[2], port if 0 < port < 65536 else None), b"", rport, None)


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
    plain = _simple_params(value[position:])
    if plain:
        pieces += [b";" + text for text in plain if not _says_where_from(text)]
        position = len(value)
    while position < len(value):
        others = _NOT_OF_VIA.match(value, position)
        if others is not None:
            pieces.append(others[0])
            position = others.end()
        param = PARAM.match(value, position)
        if param is None:
            break
        # A sender's own claim of where it is does not survive: we saw the packet, it did not.
        if param[1].lower() not in _WHERE_FROM:
            pieces.append(param[0])
        position = param.end()
    pieces.append(b";received=" + host)
    if via.rport is not None:
        pieces.append(b";rport=%d" % source.port)
    pieces.append(value[position:])  # nothing, but in a Via that was refused and is sent back
    return b"".join(pieces)


def _says_where_from(text: bytes) -> bool:
    """Whether a parameter of tokens is `received` or `rport`."""
    initial = text[0]
    if initial != _R and initial != _CAPITAL_R:
        return False
    lowered = text.lower()
    return _is_named(lowered, b"rport") or _is_named(lowered, b"received")


def response_address(via: Via, source: Address | None) -> Address | None:
    """Where a response with this top Via goes over UDP (RFC 3261 §18.2.2, RFC 3581 §4).

    `source` is where the request came from, when that is known: it outranks what the Via says, rport or not, except
    for the port a sender without rport asked for. None when only a name is there, which needs a resolver, or what is
    nobody's address.
    """
    default_port = 5061 if via.transport == b"TLS" else 5060
    if source is not None:
        return source if via.rport is not None else Address(source.host, via.port or default_port)
    host = (via.maddr or via.received or via.host).strip(b"[]")
    rport = via.rport
    port = int(rport) if rport and rport.isdigit() and len(rport) <= 5 else via.port or default_port
    try:
        address = ip_address(host.decode("ascii", "replace"))
    except ValueError:
        return None
    if b"%" in host or address.is_multicast or address.is_unspecified or not 0 < port < 65536:
        return None
    return Address(str(address), port)
