"""Change a request as RFC 3261 §16.4 and §16.6 demand, and nothing else of it; take our Via off a response (§16.7).

Only lines that a proxy must touch are touched: Via and Record-Route are put in front, Max-Forwards is counted down,
our own Route values are taken out. All other lines, and the body, leave as they came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, final

from edge_proxy.addr import Listener, Transport
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.native import mypyc_attr
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_name_addr
from edge_proxy.sip.message import HeaderLine, Message
from edge_proxy.sip.serializer import join
from edge_proxy.sip.uri import Uri, parse_uri
from edge_proxy.sip.via import Via

TOKEN_PARAM: Final = b"ep"
"""The URI parameter of our Record-Route that carries the dialog token."""

VEIL_PARAM: Final = b"er"
"""The URI parameter of our Record-Route in a dialog that is hidden from the carrier (see topology.py)."""

_DEFAULT_MAX_FORWARDS: Final = b"Max-Forwards: 70"
_MAX_FORWARDS: Final = [b"Max-Forwards: %d" % number for number in range(256)]
MOST_ROUTES: Final = 70
"""Every hop that a Route names takes one of Max-Forwards, which begins at 70: more is nobody's way."""
_SEMICOLON: Final = 0x3B
_COMMA: Final = 0x2C
_QUOTE: Final = 0x22
_LESS: Final = 0x3C
_BLANK: Final = 0x20
_TOKEN_BEGINS: Final = b";lr;ep="
_TOKEN_ONLY: Final = grammar.only(grammar.ALPHANUMERIC + b"-_")
_NO_ROUTES: Final[tuple[bytes, ...]] = ()
_ROUTING_NUMBER: Final = re.compile(
    rb"(?:;|%3B)(?:(?:rn|cic|rn-context|cic-context|npdi)(?:(?:=|%3D)(?:(?!%3B)[^;@?])*+)?"
    rb"|phone-context(?:=|%3D)(?:\+|%2B)(?:[-.()]*+[0-9]){4}(?:(?!%3B)[^;@?])*+)(?=;|%3B|[@?]|\Z)",
    re.IGNORECASE,
)
_MOST_KEPT: Final = 64


@final
class _Begins:
    """What one listener always writes."""

    __slots__ = ("listener", "record", "uri", "via")

    def __init__(self, listener: Listener) -> None:
        transport = listener.transport.value
        named = "" if listener.transport is Transport.UDP else f";transport={transport}"
        self.listener = listener
        self.via = f"Via: SIP/2.0/{transport.upper()} {listener.advertised};branch=".encode()
        self.uri = f"<sip:{listener.advertised}{named}".encode()
        """The URI of its Record-Route up to the parameters."""
        self.record = b"Record-Route: " + self.uri + _TOKEN_BEGINS
        """Its Record-Route up to the token."""


_begins_kept: Final[list[_Begins]] = []
"""Those of the listeners in use: the same few objects for as long as a worker runs."""


@mypyc_attr(acyclic=True)
@final
class Routed:
    """A request after route preprocessing (§16.4) and, where the next hop is a strict router, §16.6 step 6."""

    __slots__ = ("called", "mark", "next_hop", "request_uri", "routes", "token", "veil")

    def __init__(
        self,
        request_uri: bytes,
        routes: Sequence[bytes] | None,
        called: Uri,
        next_hop: Uri,
        token: bytes | None,
        mark: bytes = b"",
        veil: bytes | None = None,
    ) -> None:
        self.request_uri = request_uri
        self.routes = routes
        """Route values that are left; None when the Route lines leave as they came."""
        self.called = called
        """The Request-URI as it is after §16.4: who is called, whatever Route leads there."""
        self.next_hop = next_hop
        self.token = token
        """The dialog token in a Route of ours, when there was one."""
        self.mark = mark
        """The second part of our branch for this request (see loops.py)."""
        self.veil = veil
        """What was sealed into a Route of ours: b"" as customers see it, None when the dialog is not hidden."""


@final
class OwnUris:
    """Recognises our own addresses in URIs, by listener (host and port, any transport)."""

    __slots__ = ("_addresses", "_latest", "_ports", "_recorded", "_sent_by")

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._addresses = {(listener.advertised.host, listener.advertised.port) for listener in listeners}
        self._ports: dict[str, list[int]] = {}
        for host, port in self._addresses:
            self._ports.setdefault(host, []).append(port)
        self._recorded = [*dict.fromkeys(_begins(listener).uri + _TOKEN_BEGINS for listener in listeners)]
        self._latest = b""
        """The token that was found last: mostly a request brings the same one in two Routes."""
        self._sent_by = {str(listener.advertised).lower().encode() for listener in listeners}

    def has(self, uri: Uri) -> bool:
        ports = self._ports.get(uri.host)
        return ports is not None and (uri.port or (5061 if uri.scheme == "sips" else 5060)) in ports

    def has_sent(self, via: Via) -> bool:
        """Whether a response's top Via is ours (§18.1.2); any other response is not for us to pass on."""
        return via.sent.key in self._sent_by or via.sent.place in self._addresses

    def token_in(self, route: bytes) -> bytes:
        """The token in a Route value that is spelt as our Record-Route is; b"" for any other value, ours or not."""
        for begin in self._recorded:
            if route.startswith(begin) and route.endswith(b">"):
                token = route[len(begin) : -1]
                if token == self._latest:
                    return token
                if token.translate(_TOKEN_ONLY) is not token:
                    return b""
                self._latest = token
                return token
        return b""


def preprocess_routes(message: Message, own: OwnUris, mark: bytes = b"", *, has_target: bool = False) -> Routed:
    """Take out the Route values that brought the request here and find where it goes next; `mark` is only kept.

    `has_target`: the next hop will be a target of ours, which is a loose router, so that no Route of the sender's goes
    into the Request-URI (§16.6 step 6). Nor does one behind that hop: those without `lr` are left out, since whoever
    comes to one would call it in place of who was judged to be called.

    Raises `RemoteProtocolError` for a Request-URI or Route that cannot be read.
    """
    request_uri = message.uri
    uri = _read_uri(request_uri, "Request-URI")
    if uri.headers:
        raise RemoteProtocolError("Request-URI has headers", rfc="3261 §19.1.1")
    if message.first[grammar.ROUTE] < 0:
        return Routed(request_uri, None, uri, uri, None, mark)
    named = uri.param(TOKEN_PARAM)
    if named is None and (common := _common_token(message, own)):
        return Routed(request_uri, _NO_ROUTES, uri, uri, common, mark)
    routes = message.list_values(grammar.ROUTE, MOST_ROUTES)
    count = len(routes)
    if count > MOST_ROUTES:
        raise RemoteProtocolError(f"more than {MOST_ROUTES} Routes", sip_status=513, rfc="3261 §21.5.11")
    token: bytes | None = None
    veil: bytes | None = None
    if named is not None and own.has(uri):
        # A strict router put our Record-Route URI into the Request-URI and the real one last (§16.4).
        token, veil = named, uri.param(VEIL_PARAM)
        request_uri = parse_name_addr(routes[-1], "Route").uri
        routes = routes[:-1]
        uri = _read_uri(request_uri, "Route")
    position = 0
    for text in routes:
        named = own.token_in(text)
        if named:
            if token and named != token:
                break
            token = named
        else:
            route = _read_uri(parse_name_addr(text, "Route").uri, "Route")
            named = route.param(TOKEN_PARAM)
            if not own.has(route) or (token and named and named != token):
                break  # not ours, or ours for another passage of the same dialog: it comes through here twice
            token = token or named
            sealed = route.param(VEIL_PARAM)
            if sealed is not None:
                veil = veil or sealed
        position += 1
    if position:
        routes = routes[position:]
    routed = route_onwards(request_uri, routes, token, mark, veil, has_target=has_target)
    left = routed.routes
    if position == 0 and left is not None and len(left) == count and routed.request_uri == request_uri:
        routed.routes = None
    return routed


def _common_token(message: Message, own: OwnUris) -> bytes:
    """The token that all Routes have, if each is spelt as our Record-Route is, as nearly all requests inside a dialog
    bring them; b"" otherwise."""
    token = b""
    count = 0
    headers = message.headers
    for index in range(message.first[grammar.ROUTE], len(headers)):
        line = headers[index]
        if line.kind == grammar.ROUTE:
            for value in line.list_values:
                count += 1
                named = own.token_in(value)
                if not named or (token and named != token) or count > MOST_ROUTES:
                    return b""
                token = named
    return token


def _read_uri(uri: bytes, where: str) -> Uri:
    """The URI, or an error that says where it stood."""
    try:
        return parse_uri(uri)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{where}: {error}", sip_status=error.sip_status, rfc=error.rfc) from error


def route_onwards(
    request_uri: bytes,
    routes: list[bytes],
    token: bytes | None = None,
    mark: bytes = b"",
    veil: bytes | None = None,
    *,
    has_target: bool = False,
) -> Routed:
    """Where a request goes that has these Route values left (§16.6 steps 6 and 7)."""
    called = parse_uri(request_uri)
    if not routes:
        return Routed(request_uri, _NO_ROUTES, called, called, token, mark, veil)
    first = parse_name_addr(routes[0], "Route").uri
    next_hop = parse_uri(first)
    if has_target:
        return Routed(
            request_uri, tuple([route for route in routes if _is_loose(route)]), called, next_hop, token, mark, veil
        )
    if next_hop.param(b"lr") is None:
        # The next hop is a strict router: it wants to find itself in the Request-URI (§16.6 step 6).
        return Routed(first, (*routes[1:], b"<" + request_uri + b">"), called, next_hop, token, mark, veil)
    return Routed(request_uri, tuple(routes), called, next_hop, token, mark, veil)


def _is_loose(route: bytes) -> bool:
    try:
        return parse_uri(parse_name_addr(route, "Route").uri).param(b"lr") is not None
    except RemoteProtocolError:
        return False


def retarget(request_uri: bytes, place: bytes) -> bytes:
    """A sip Request-URI that named us, now naming `place`, a host and port (§16.5): user and parameters stay, transport
    does not."""
    if _SEMICOLON not in request_uri:
        named, at, _ = request_uri.rpartition(b"@")
        if at:
            return named + at + place
    scheme, _, rest = request_uri.partition(b":")
    user, at, host_on = rest.rpartition(b"@")
    params = host_on[host_on.find(b";") :] if _SEMICOLON in host_on else b""
    kept = b"".join(
        b";" + param for param in params.split(b";")[1:] if not param.lower().startswith((b"transport=", b"maddr="))
    )
    return scheme + b":" + user + at + place + kept


def without_routing_number(request_uri: bytes) -> bytes:
    """A Request-URI without what would lead its telephone number elsewhere: `rn`, `cic` and `npdi` (RFC 4694), and a
    `phone-context` of more digits than a country has, which with a short number makes another (RFC 3966 §5.1.5).

    >>> without_routing_number(b"sip:911;rn=+19005550100@edge.example;user=phone")
    b'sip:911@edge.example;user=phone'
    >>> without_routing_number(b"tel:112;phone-context=+19005551")
    b'tel:112'
    """
    number, at, rest = request_uri.rpartition(b"@")
    if at:
        return _ROUTING_NUMBER.sub(b"", number) + at + rest
    return _ROUTING_NUMBER.sub(b"", request_uri)


def via_line(listener: Listener, branch: bytes, params: bytes = b"") -> bytes:
    """Our Via for a request that leaves by this listener; `params` are further parameters of it."""
    line = _begins(listener).via + branch + b";rport"
    return line + params if params else line


def _begins(listener: Listener) -> _Begins:
    for begins in _begins_kept:
        if begins.listener is listener:
            return begins
    for begins in _begins_kept:
        if begins.listener == listener:
            begins.listener = listener
            return begins
    if len(_begins_kept) >= _MOST_KEPT:
        _begins_kept.clear()
    begins = _Begins(listener)
    _begins_kept.append(begins)
    return begins


@mypyc_attr(acyclic=True)
@final
class RouteRecord:
    """What makes later requests of a dialog come through us: the side that the first one came in by, and the token."""

    __slots__ = ("ingress", "token")

    def __init__(self, ingress: Listener, token: bytes) -> None:
        self.ingress = ingress
        self.token = token

    def lines(self, egress: Listener) -> list[bytes]:
        """Two Record-Route lines for a hop that is reached by `egress`, that side on top (RFC 5658 §5.1).

        Each side sees the address and the transport by which it can reach us.
        """
        end = self.token + b">"
        return [_begins(egress).record + end, _begins(self.ingress).record + end]


def forwarded_request(
    message: Message, routed: Routed, via: bytes, added: Sequence[bytes] = (), request_uri: bytes | None = None
) -> bytes:
    """The request as it leaves: `via` and the `added` lines in front, one hop less, its routes as `routed` says."""
    headers = message.headers
    first = message.first
    routes = routed.routes
    left = message.max_forwards - 1
    if routes is None or first[grammar.ROUTE] < 0:
        raws = [line.raw for line in headers]
        if left >= -1:
            raws[first[grammar.MAX_FORWARDS]] = _MAX_FORWARDS[left]
    else:
        raws = []
        for line in headers:
            kind = line.kind
            if kind == grammar.MAX_FORWARDS:
                raws.append(_MAX_FORWARDS[left])
            elif kind != grammar.ROUTE:
                raws.append(line.raw)
    if routes:
        raws.append(b"Route: " + b", ".join(routes))
    if left < -1:
        raws.append(_DEFAULT_MAX_FORWARDS)
    start_line = b"%b %b SIP/2.0" % (message.method, request_uri or routed.request_uri)
    return join(start_line, (via, *added) if added else (via,), raws, message.body)


def turn_into_500(response: Message) -> None:
    """Make a target's 503 the 500 that goes upstream in its place (§16.7 step 6).

    A 503 would say that we serve nobody, and its Retry-After would close us to all the sender's calls (§21.5.4). What
    else the target said (Reason, Warning, its To tag) goes on.
    """
    response.set_headers([line for line in response.headers if line.kind != grammar.RETRY_AFTER])
    response.start_line, response.status, response.reason = b"SIP/2.0 500 Server Internal Error", 500, b""


def forwarded_response(message: Message) -> bytes:
    """The response as it goes on upstream: without its top Via value, all else as it came (§16.7 step 3)."""
    top = message.first[grammar.VIA]
    if top == 0 and message.received:
        via = message.headers[0]
        rest = _behind_first_value(via)
        # Behind the first line, all is as it came.
        others = message.received[len(message.start_line) + 2 + len(via.raw) :]
        return message.start_line + (b"\r\nVia: " + rest + others if rest else others)
    raws = [line.raw for line in message.headers]
    if top >= 0:
        rest = _behind_first_value(message.headers[top])
        if rest:
            raws[top] = b"Via: " + rest
        else:
            del raws[top]
    return join(message.start_line, (), raws, message.body)


def _behind_first_value(via: HeaderLine) -> bytes:
    """What stands in a Via line behind its first value."""
    raw = via.raw
    if _COMMA not in raw:
        return b""
    if _QUOTE in raw or _LESS in raw:
        return b", ".join(via.list_values[1:])
    rest = raw.partition(b",")[2]
    if rest and rest[0] == _BLANK:
        rest = rest[1:]
    if rest and (rest[0] <= _BLANK or rest[-1] <= _BLANK):
        rest = rest.strip(b" \t\r\n")
    return rest
