"""Change a request as RFC 3261 §16.4 and §16.6 demand, and nothing else of it; take our Via off a response (§16.7).

Only lines that a proxy must touch are touched: Via and Record-Route are put in front, Max-Forwards is counted down,
our own Route values are taken out. All other lines, and the body, leave as they came.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple

from edge_proxy.addr import Address, Listener, Transport
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import Via, parse_name_addr, split_list
from edge_proxy.sip.message import Message, line_value
from edge_proxy.sip.serializer import join_message
from edge_proxy.sip.uri import Uri, parse_uri

TOKEN_PARAM: Final = b"ep"
"""The URI parameter of our Record-Route that carries the dialog token."""

VEIL_PARAM: Final = b"er"
"""The URI parameter of our Record-Route in a dialog that is hidden from the carrier (see topology.py)."""

_DEFAULT_MAX_FORWARDS: Final = 70


class Routed(NamedTuple):
    """A request after route preprocessing (§16.4) and, where the next hop is a strict router, §16.6 step 6."""

    request_uri: bytes
    routes: tuple[bytes, ...] | None
    """Route values that are left; None when the Route lines leave as they came."""
    called: Uri
    """The Request-URI as it is after §16.4: who is called, whatever Route leads there."""
    next_hop: Uri
    token: bytes | None
    """The dialog token in a Route of ours, when there was one."""
    mark: bytes = b""
    """The second part of our branch for this request (see loops.py)."""
    veil: bytes | None = None
    """What was sealed into a Route of ours: b"" as customers see it, None when the dialog is not hidden."""


class OwnUris:
    """Recognises our own addresses in URIs, by listener (host and port, any transport)."""

    __slots__ = ("_addresses",)

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._addresses = {(listener.advertised.host, listener.advertised.port) for listener in listeners}

    def has(self, uri: Uri) -> bool:
        default_port = 5061 if uri.scheme == "sips" else 5060
        return (uri.host, uri.port or default_port) in self._addresses

    def has_sent(self, via: Via) -> bool:
        """Whether a response's top Via is ours (§18.1.2); any other response is not for us to pass on."""
        return via.sent.place in self._addresses


def preprocess_routes(message: Message, own: OwnUris, mark: bytes = b"", *, has_target: bool = False) -> Routed:
    """Take out the Route values that brought the request here and find where it goes next; `mark` is only kept.

    `has_target`: the next hop will be a target of ours, which is a loose router, so that no Route of the sender's goes
    into the Request-URI (§16.6 step 6).

    Raises `RemoteProtocolError` for a Request-URI or Route that cannot be read.
    """
    request_uri = message.uri
    uri = _read_uri(request_uri, "Request-URI")
    if uri.headers:
        raise RemoteProtocolError("Request-URI has headers", rfc="3261 §19.1.1")
    if message.first[grammar.ROUTE] < 0:
        return Routed(request_uri, None, uri, uri, None, mark)
    routes = [piece for value in message.values(grammar.ROUTE) for piece in split_list(value)]
    count = len(routes)
    token = veil = None
    if uri.param(TOKEN_PARAM) is not None and own.has(uri):
        # A strict router put our Record-Route URI into the Request-URI and the real one last (§16.4).
        token, veil = uri.param(TOKEN_PARAM), uri.param(VEIL_PARAM)
        request_uri = parse_name_addr(routes.pop(), "Route").uri
        uri = _read_uri(request_uri, "Route")
    position = 0
    while position < len(routes):
        route = _read_uri(parse_name_addr(routes[position], "Route").uri, "Route")
        named = route.param(TOKEN_PARAM)
        if not own.has(route) or (token and named and named != token):
            break  # not ours, or ours for another passage of the same dialog: it comes through here twice
        token = token or named
        if VEIL_PARAM in route.params and (found := route.param(VEIL_PARAM)) is not None:
            veil = veil or found
        position += 1
    routed = route_onwards(request_uri, routes[position:], token, mark, veil, has_target=has_target)
    if position == 0 and len(routes) == count and routed.request_uri == request_uri:
        return routed._replace(routes=None)
    return routed


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
        return Routed(request_uri, (), called, called, token, mark, veil)
    first = parse_name_addr(routes[0], "Route").uri
    next_hop = parse_uri(first)
    if next_hop.param(b"lr") is None and not has_target:
        # The next hop is a strict router: it wants to find itself in the Request-URI (§16.6 step 6).
        return Routed(first, (*routes[1:], b"<" + request_uri + b">"), called, next_hop, token, mark, veil)
    return Routed(request_uri, tuple(routes), called, next_hop, token, mark, veil)


def retarget(request_uri: bytes, address: Address) -> bytes:
    """A sip Request-URI that named us, now naming `address` (§16.5): user and parameters stay, transport does not."""
    scheme, _, rest = request_uri.partition(b":")
    user, at, host_on = rest.rpartition(b"@")
    params = host_on[host_on.find(b";") :] if b";" in host_on else b""
    kept = b"".join(
        b";" + param for param in params.split(b";")[1:] if not param.lower().startswith((b"transport=", b"maddr="))
    )
    return scheme + b":" + user + at + str(address).encode() + kept


def branch_of(request: Message, key: bytes, attempt: int, mark: bytes) -> bytes:
    """Our branch for this request's forwarding attempt: the same for the same request, on any worker, at any time.

    It has two parts: one that no other attempt has, and the `mark` by which loops are found (RFC 5393 §4.2.1). The
    first is computed from what RFC 3261 §16.11 names, so that a CANCEL (whatever its method) or a retransmission
    that meets a fresh worker still leaves with the branch that the next hop knows.
    """
    via = request.via
    if via is None:
        raise RemoteProtocolError("Via is missing", rfc="3261 §8.1.1.7")
    parts = (via.branch, via.sent_by, request.call_id, request.from_tag, request.uri)
    seed = b"%s %d %d" % (b"\0".join(parts), request.cseq, attempt)
    digest = hashlib.blake2b(seed, key=key, digest_size=15).digest()
    return grammar.MAGIC_COOKIE + urlsafe_b64encode(digest) + b"." + mark


def via_line(listener: Listener, branch: bytes, params: bytes = b"") -> bytes:
    """Our Via for a request that leaves by this listener; `params` are further parameters of it."""
    transport = listener.transport.value.upper()
    return f"Via: SIP/2.0/{transport} {listener.advertised};branch=".encode() + branch + b";rport" + params


class RouteRecord(NamedTuple):
    """What makes later requests of a dialog come through us: the side that the first one came in by, and the token."""

    ingress: Listener
    token: bytes

    def lines(self, egress: Listener) -> list[bytes]:
        """Two Record-Route lines for a hop that is reached by `egress`, that side on top (RFC 5658 §5.1).

        Each side sees the address and the transport by which it can reach us.
        """
        param = b";" + TOKEN_PARAM + b"=" + self.token
        return [_record_route(egress, param), _record_route(self.ingress, param)]


def _record_route(listener: Listener, params: bytes) -> bytes:
    transport = b"" if listener.transport is Transport.UDP else b";transport=" + listener.transport.value.encode()
    return b"Record-Route: <sip:%s%s;lr%s>" % (str(listener.advertised).encode(), transport, params)


def forwarded_request(
    message: Message, routed: Routed, via: bytes, added: Sequence[bytes] = (), request_uri: bytes | None = None
) -> bytes:
    """The request as it leaves: `via` and the `added` lines in front, one hop less, its routes as `routed` says."""
    lines = message.lines
    index = message.first[grammar.MAX_FORWARDS]
    if routed.routes is not None:
        kept = [line for line, kind in zip(lines, message.kinds, strict=True) if kind != grammar.ROUTE]
        index = next((i for i, line in enumerate(kept) if line is lines[index]), -1) if index >= 0 else -1
        if routed.routes:
            kept.append(b"Route: " + b", ".join(routed.routes))
        lines = kept
    else:
        lines = lines[:]
    if index >= 0:
        lines[index] = b"Max-Forwards: %d" % (message.max_forwards - 1)
    else:
        lines.append(b"Max-Forwards: %d" % _DEFAULT_MAX_FORWARDS)
    start_line = b"%s %s SIP/2.0" % (message.method, request_uri or routed.request_uri)
    return join_message(start_line, (via, *added, *lines), message.body)


def turn_into_500(response: Message) -> None:
    """Make a target's 503 the 500 that goes upstream in its place (§16.7 step 6).

    A 503 would say that we serve nobody, and its Retry-After would close us to all the sender's calls (§21.5.4). What
    else the target said (Reason, Warning, its To tag) goes on.
    """
    response.start_line, response.status, response.reason = b"SIP/2.0 500 Server Internal Error", 500, b""
    kept = [
        (line, kind) for line, kind in zip(response.lines, response.kinds, strict=True) if kind != grammar.RETRY_AFTER
    ]
    response.lines = [line for line, _ in kept]
    response.kinds = [kind for _, kind in kept]
    response.first = [
        response.kinds.index(kind) if kind in response.kinds else -1 for kind in range(grammar.KIND_COUNT)
    ]


def forwarded_response(message: Message) -> bytes:
    """The response as it goes on upstream: without its top Via value, all else as it came (§16.7 step 3)."""
    index = message.first[grammar.VIA]
    line = message.lines[index]
    values = split_list(line_value(line))
    if len(values) == 1:
        lines = message.lines[:index] + message.lines[index + 1 :]
    else:
        lines = message.lines[:]
        lines[index] = b"Via: " + b", ".join(values[1:])
    return join_message(message.start_line, lines, message.body)
