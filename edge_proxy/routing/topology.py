"""Topology hiding: what lies behind us on the customers' side does not reach the carrier, yet requests find back.

A request to the carrier leaves with our Via alone. The Record-Route values of the customers' proxies travel sealed in
our own Record-Route URI (RFC 3261 §16.6 step 4 leaves its parameters to us), the Contact as the sealed user of a URI
of ours, the Call-ID as a sealed word; From and To name our host. Whatever comes back is put right again: a response
from what its transaction keeps, a request from the seals alone, so a restart loses nothing. The seals open in their
own call only; a request from the carrier whose seals do not open is forged.

Bodies leave as they came. Since the Vias of others are gone, a loop through the carrier is not found by its Vias (RFC
5393 §4.2.4); it ends by Max-Forwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.routing import hosts
from edge_proxy.routing.forward import VEIL_PARAM, Routed, route_onwards
from edge_proxy.routing.sealing import Purpose, Seal
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import split_list
from edge_proxy.sip.message import HeaderLine, Message, line_value, with_headers
from edge_proxy.sip.serializer import join_message
from edge_proxy.sip.uri import parse_uri

_IDENTITIES: Final = frozenset(
    {
        grammar.P_ASSERTED_IDENTITY,
        grammar.P_PREFERRED_IDENTITY,
        grammar.REMOTE_PARTY_ID,
        grammar.DIVERSION,
        grammar.HISTORY_INFO,
    }
)
_IDENTITY_NAMES: Final = frozenset({b"reply-to"})
_UNTOUCHED: Final = frozenset(
    {grammar.CSEQ, grammar.MAX_FORWARDS, grammar.CONTENT_LENGTH, grammar.CONTENT_TYPE, grammar.ROUTE}
)
_SIGNED_NAMES: Final = frozenset({b"authorization", b"proxy-authorization"})
"""A changed byte would spoil these and Identity; what they name, their sender chose to show to whoever checks them."""

Lines = Mapping[int, Sequence[bytes]]
"""Header lines by kind, to stand where the first line of that kind stands, in place of all of them."""


class Behind(NamedTuple):
    """What the carrier carries for us, sealed: the customers' hosts in From and To of a call that a customer began
    (host[:port]; b"" in other calls), and the routes to the customer, nearest first."""

    near: bytes
    far: bytes
    routes: tuple[bytes, ...]


class Outward:
    """What is kept of a request that left for the carrier, to put its responses right for the customer."""

    __slots__ = ("_added", "_kept", "_original_routes", "_sealed", "_secret", "_to_line", "_veil")

    def __init__(
        self, veil: TopologyVeil, original: Message, added: Sequence[bytes], sealed: bytes, secret: set[bytes]
    ) -> None:
        self._veil = veil
        self._secret = secret
        self._added = [marked(line) for line in added]
        self._sealed = sealed
        self._kept = _lines_of(original, grammar.VIA, grammar.FROM, grammar.CALL_ID)
        self._to_line = _to_line(original)
        self._original_routes = _lines_of(original, grammar.RECORD_ROUTE).get(grammar.RECORD_ROUTE, [])

    def lines(self, lines: Sequence[bytes]) -> list[bytes]:
        """Header lines of the CANCEL that follows, as the carrier may see them."""
        return [hosts.without_hosts(line, self._secret, self._veil.host) for line in lines]

    def response(self, response: Message, _source: Address) -> bytes:
        """The carrier's response as it goes on: with the request's own Via, From, To, Call-ID and Record-Route."""
        put: dict[int, Sequence[bytes]] = dict(self._kept)
        put[grammar.TO] = [_tagged(self._to_line, response)]
        if response.first[grammar.RECORD_ROUTE] >= 0:
            values = response.list_values(grammar.RECORD_ROUTE)
            ours = len(values)
            if self._sealed:
                ours = next((i for i, value in enumerate(values) if self._sealed in value), ours)
            above = [b"Record-Route: " + value for value in values[:ours]]
            put[grammar.RECORD_ROUTE] = [*above, *self._added, *self._original_routes]
        return join_message(response.start_line, [line.raw for line in _replaced(response, put)], response.body)


class Inward:
    """What is kept of a request that came from the carrier, to hide what its responses say of the customers' side."""

    __slots__ = (
        "_call_id",
        "_ingress",
        "_kept",
        "_marked",
        "_original_routes",
        "_ours",
        "_secret",
        "_to_line",
        "_veil",
    )

    def __init__(
        self,
        veil: TopologyVeil,
        original: Message,
        call_id: bytes,
        ingress: Listener,
        secret: set[bytes],
    ) -> None:
        self._secret = secret
        self._ours: Sequence[bytes] = ()
        self._marked: Sequence[bytes] = ()
        self._call_id = call_id
        self._veil = veil
        self._ingress = ingress
        self._kept = _lines_of(original, grammar.VIA, grammar.FROM, grammar.CALL_ID)
        self._to_line = _to_line(original)
        self._original_routes = _lines_of(original, grammar.RECORD_ROUTE).get(grammar.RECORD_ROUTE, [])

    def mark(self, added: Sequence[bytes]) -> Sequence[bytes]:
        """Our Record-Route lines as the customer's side gets them on the hop that is tried now."""
        self._ours = added
        self._marked = [marked(line) for line in added]
        return self._marked

    def response(self, response: Message, source: Address) -> bytes:
        """The customer's response as the carrier may see it; `source` is where it comes from."""
        put: dict[int, Sequence[bytes]] = dict(self._kept)
        put[grammar.TO] = [_tagged(self._to_line, response)]
        behind: list[bytes] = []
        if response.first[grammar.RECORD_ROUTE] >= 0:
            own: Sequence[bytes] = ()
            if self._marked:
                values = response.list_values(grammar.RECORD_ROUTE)
                top = line_value(self._marked[0])
                behind = values[: next((i for i, value in enumerate(values) if top in value), 0)]
                # Going back, the carrier takes the routes in the other order (§12.1.2).
                sealed = self._veil.seal_behind(Behind(b"", b"", tuple(reversed(behind))), self._call_id)
                own = [_with_param(self._ours[-1], sealed)]
            put[grammar.RECORD_ROUTE] = [*own, *self._original_routes]
        secret = hosts.hosts_in_addresses([*behind, *response.values(grammar.CONTACT)])
        secret = self._veil.guarded(secret | {source.host.encode(), *self._secret})
        lines = [line.raw for line in self._veil.hidden(response, put, secret, self._ingress, self._call_id)]
        start_line = hosts.without_hosts(response.start_line, secret, self._veil.host)
        return join_message(start_line, lines, response.body)


Crossing = Outward | Inward


class Hidden(NamedTuple):
    """A request for the carrier: the message, our Record-Route lines, and what its responses need."""

    request: Message
    added: Sequence[bytes]
    crossing: Outward


class Opened(NamedTuple):
    """A request from the carrier, put right again, and where it goes."""

    request: Message
    routed: Routed
    crossing: Inward


class TopologyVeil:
    """Hides and reveals. `listeners` are all of the worker's: the carriers' side is what peers there may know."""

    __slots__ = ("_seal", "host", "internal")

    def __init__(self, secret: bytes, listeners: Sequence[Listener]) -> None:
        self._seal = Seal(secret)
        own = [_host(listener) for listener in listeners if listener.side is Side.CARRIERS]
        self.host = own[0] if own else b"anonymous.invalid"
        self.internal = {_host(listener).strip(b"[]").lower() for listener in listeners} - {
            host.strip(b"[]").lower() for host in own
        }
        """Our own hosts on the customers' side."""

    def hide_request(
        self, request: Message, routed: Routed, egress: Listener, added: Sequence[bytes], caller_side: Side
    ) -> Hidden:
        """A request from a customer as the carrier may see it. `added` are our Record-Route lines, egress on top;
        `caller_side` is who began the dialog: the names in a call that the carrier began are the carrier's own.
        """
        near = far = b""
        recorded = tuple(request.list_values(grammar.RECORD_ROUTE))
        named = hosts.hosts_in_vias(request.values(grammar.VIA))
        named |= hosts.hosts_in_addresses([*recorded, *request.values(grammar.CONTACT)])
        if caller_side is Side.CUSTOMERS:
            near, far = _address_host(request, grammar.FROM), _address_host(request, grammar.TO)
            named |= {hosts.host_of(b"sip:" + host) for host in (near, far)}
            named.add(request.call_id.partition(b"@")[2].lower())
        if request.to_tag:
            named -= {routed.next_hop.host.encode(), hosts.host_of(routed.request_uri)}  # the carrier gave us these
        secret = self.guarded(named)
        put: dict[int, Sequence[bytes]] = {grammar.VIA: (), grammar.RECORD_ROUTE: ()}
        if caller_side is Side.CUSTOMERS:
            put[grammar.CALL_ID] = [b"Call-ID: " + self._seal.seal(request.call_id, Purpose.CALL_ID)]
            for kind in (grammar.FROM, grammar.TO):
                put[kind] = [hosts.without_hosts(_with_uri_host(request, kind, self.host), secret, self.host)]
        hidden = with_headers(request, self.hidden(request, put, secret, egress, request.call_id))
        if not added:
            return Hidden(hidden, (), Outward(self, request, (), b"", secret))
        sealed = self.seal_behind(Behind(near, far, recorded), request.call_id)
        return Hidden(hidden, [_with_param(added[0], sealed)], Outward(self, request, added, sealed, secret))

    def accept_request(self, request: Message, ingress: Listener) -> Inward:
        """A request with which the carrier begins something: it goes on as it is, what it is answered is hidden."""
        return Inward(self, request, request.call_id, ingress, set())

    def open_request(self, request: Message, routed: Routed, ingress: Listener) -> Opened | None:
        """A request from the carrier inside a dialog that we hide.

        None when anything in it is not what we sealed for this call, or was sealed and is no address.
        """
        call_id = request.call_id
        behind = self._open_behind(routed.veil, call_id)
        put: dict[int, Sequence[bytes]] = {}
        if behind is None:
            opened = self._seal.open(call_id, Purpose.CALL_ID)
            if opened is None:
                return None
            call_id = opened
            behind = self._open_behind(routed.veil, call_id)
            if behind is None:
                return None
            put[grammar.CALL_ID] = [b"Call-ID: " + call_id]
            # The caller is a customer: it is To here, and From is who was called.
            for kind, original in ((grammar.FROM, behind.far), (grammar.TO, behind.near)):
                if original and _address_host(request, kind).lower() == self.host.lower():
                    put[kind] = [_with_uri_host(request, kind, original)]
        if routed.routes:
            return None
        user = parse_uri(routed.request_uri).user
        contact = self._seal.open(user.encode("ascii", "replace"), Purpose.CONTACT, call_id)
        if contact is None:
            return None
        try:
            onwards = route_onwards(contact, list(behind.routes), routed.token, routed.mark)
        except RemoteProtocolError:
            return None
        opened_request = with_headers(request, _replaced(request, put))
        opened_request.call_id = call_id
        secret = {hosts.host_of(contact), *hosts.hosts_in_addresses(behind.routes)}
        return Opened(opened_request, onwards, Inward(self, request, call_id, ingress, secret))

    def call_id_behind(self, call_id: bytes) -> bytes:
        """The Call-ID that a carrier knows as this one: another one if we sealed it."""
        return self._seal.open(call_id, Purpose.CALL_ID) or call_id

    def seal_behind(self, behind: Behind, call_id: bytes) -> bytes:
        return self._seal.seal(b"\n".join((behind.near, behind.far, *behind.routes)), Purpose.BEHIND, call_id)

    def _open_behind(self, sealed: bytes | None, call_id: bytes) -> Behind | None:
        plain = None if sealed is None else self._seal.open(sealed, Purpose.BEHIND, call_id)
        if plain is None:
            return None
        near, far, *routes = plain.split(b"\n")
        return Behind(near, far, tuple(routes))

    def hidden(
        self, message: Message, put: Lines, secret: set[bytes], listener: Listener, call_id: bytes
    ) -> list[HeaderLine]:
        """The header lines as the carrier may see them: `put` as given, Contact sealed, identities at our host, and
        none of the hosts in `secret` named anywhere else."""
        host = self.host
        kept: list[HeaderLine] = []
        for header in _replaced(message, put):
            kind, line = header.kind, header.raw
            if kind == grammar.CONTACT:
                line = hosts.without_hosts(self._hidden_contact(message, line, listener, call_id), secret, host)
            elif kind not in put and kind not in _UNTOUCHED:
                name = b"" if kind else line[: line.find(b":")].rstrip(b" \t").lower()
                if kind in _IDENTITIES or name in _IDENTITY_NAMES:
                    value = hosts.map_uris(line_value(line), lambda uri: hosts.with_host(uri, host))
                    line = line[: line.find(b":")] + b": " + value if value else b""
                elif name == b"warning":
                    line = hosts.with_warn_agent(line, host)
                if name not in _SIGNED_NAMES and kind != grammar.IDENTITY:
                    line = hosts.without_hosts(line, secret, host)
            if line:
                kept.append(HeaderLine(kind, line))
        return kept

    def guarded(self, named: set[bytes]) -> set[bytes]:
        """Of the hosts that a message names, those to be kept from the carrier, and our own on the customers' side."""
        ours = self.host.strip(b"[]").lower()
        return {host for host in named | self.internal if host not in {b"", ours} and not host.endswith(b".invalid")}

    def _hidden_contact(self, message: Message, line: bytes, listener: Listener, call_id: bytes) -> bytes:
        """A Contact line in which every URI is sealed and stands at our address; b"" when none can be read.

        A redirection (3xx) keeps its users, for the carrier is to call them, and it calls them through us.
        """
        value = line_value(line)
        if value == b"*":
            return line
        at = str(listener.advertised).encode()
        transport = b"" if listener.transport is Transport.UDP else b";transport=" + listener.transport.value.encode()
        shown: list[bytes] = []
        for piece in split_list(value):
            contact = hosts.read_address(piece)
            if contact is None:
                continue  # it may name anything
            uri = contact.uri
            if 300 <= message.status < 400:
                uri = hosts.with_host(uri, at)
            elif uri[:4].lower() != b"tel:":
                scheme = b"sips:" if uri[:5].lower() == b"sips:" else b"sip:"
                uri = scheme + self._seal.seal(uri, Purpose.CONTACT, call_id) + b"@" + at + transport
            shown.append(b"<" + uri + b">" + hosts.harmless_params(contact.params))
        return b"Contact: " + b", ".join(shown) if shown else b""


def names_another_host(request_uri: bytes, target_uri: str) -> bool:
    """Whether a sip Request-URI names a host that is not the target's: one that the carrier need not learn."""
    host = hosts.host_of(request_uri)
    return bool(host) and host != hosts.host_of(target_uri.encode())


def marked(line: bytes) -> bytes:
    """A Record-Route line of ours as the customer's side sees it in a call that we hide."""
    return _with_param(line, b"")


def _with_param(line: bytes, sealed: bytes) -> bytes:
    return line[: line.rfind(b">")] + b";" + VEIL_PARAM + (b"=" + sealed if sealed else b"") + b">"


def _host(listener: Listener) -> bytes:
    host = listener.advertised.host
    return (f"[{host}]" if ":" in host else host).encode()


def _lines_of(message: Message, *kinds: int) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for line in message.headers:
        if line.kind in kinds:
            found.setdefault(line.kind, []).append(line.raw)
    return found


def _to_line(request: Message) -> tuple[bytes, bool]:
    """The To line of a request, and whether it has a tag already."""
    return request.headers[request.first[grammar.TO]].raw, bool(request.to_tag)


def _tagged(to_line: tuple[bytes, bool], response: Message) -> bytes:
    line, has_tag = to_line
    return line if has_tag or not response.to_tag else line + b";tag=" + response.to_tag


def _address_host(message: Message, kind: int) -> bytes:
    """host[:port] of From or To."""
    address = hosts.read_address(message.value(kind) or b"")
    return b"" if address is None else hosts.host_and_port(address.uri)


def _with_uri_host(message: Message, kind: int, host: bytes) -> bytes:
    """The From or To line with another host in its URI; one that cannot be read keeps its tag alone."""
    line = message.headers[message.first[kind]]
    value = hosts.map_uri(line.value, lambda uri: hosts.with_host(uri, host))
    if not value:
        tag = message.from_tag if kind == grammar.FROM else message.to_tag
        value = b"<sip:" + host + b">" + (b";tag=" + tag if tag else b"")
    return line.raw[: line.raw.find(b":")] + b": " + value


def _replaced(message: Message, put: Lines) -> list[HeaderLine]:
    headers: list[HeaderLine] = []
    done: set[int] = set()
    for line in message.headers:
        kind = line.kind
        instead = put.get(kind)
        if instead is None:
            headers.append(line)
        elif kind not in done:
            done.add(kind)
            headers.extend([HeaderLine(kind, raw) for raw in instead])
    return headers
