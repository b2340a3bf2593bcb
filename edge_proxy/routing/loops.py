"""Tell a request that loops from one that only spirals (RFC 5393 §4.2), and keep its Max-Breadth in bounds (§5.3).

A request that begins something leaves with a Via of ours that ends in a mark: a hash over all that decides where it
goes. When it comes back with the same mark it would take the same way again, so it is refused; changed, it goes on.

A request inside a dialog has no mark, and is not searched for one. Looking for loops is an option (RFC 3261 §16.3 step
4) for who does not send one request to several places at once (RFC 5393 §4.2), and inside a dialog there is nothing to
find: it only goes on with a Route of ours that bears the dialog's token, and each passage takes that Route out.
"""

from __future__ import annotations

from typing import Final, final

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.routing.forward import MOST_ROUTES, OwnUris
from edge_proxy.routing.keyed import keyed
from edge_proxy.sip import grammar
from edge_proxy.sip.message import HeaderLine, Message
from edge_proxy.sip.via import parse_via

_MARK_BYTES: Final = 6
_COMMA: Final = 0x2C  # asking for a byte by its number costs a tenth of asking for bytes
_MAX_BREADTH: Final = [HeaderLine(grammar.MAX_BREADTH, b"Max-Breadth: %d" % most) for most in range(256)]


@final
class LoopMarks:
    """Makes marks with the node's secret: those of a hidden caller's requests tell the carrier nothing."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        self._keyed = keyed(secret, b"loops", _MARK_BYTES)

    def of(self, request: Message, origin: bytes) -> bytes:
        """The second part of our branch (§4.2.1), 8 characters: equal only if nothing that decides the way has changed.

        That is the Request-URI and the Route values as received, and `origin`, the side and party a request came from.
        Call-ID and CSeq number keep an unlucky collision from happening again on the next attempt (§4.2.4). The method
        is left out: a CANCEL has its INVITE's mark.
        """
        text = b"%b\0%b\0%d\0%b" % (request.uri, request.call_id, request.cseq, origin)
        if request.first[grammar.ROUTE] >= 0:
            text += b"\0" + b"\0".join(request.list_values(grammar.ROUTE, MOST_ROUTES))
        return self._keyed.base64(text)


def has_looped(request: Message, mark: bytes, own: OwnUris) -> bool:
    """Whether a Via of ours, anywhere in the request, ends in this very mark (§4.2.2).

    The Vias of others are not judged: what of them cannot be read is passed over (§4.2.4).
    """
    suffix = b"." + mark
    top = request.via
    if top is not None and top.branch.endswith(suffix) and own.has_sent(top):
        return True
    is_top = True
    for line in request.headers:
        if line.kind != grammar.VIA:
            continue
        raw = line.raw
        if is_top:
            is_top = False
            if _COMMA not in raw:
                continue  # that was all of it
        if raw.find(suffix) < 0:
            continue
        for value in line.list_values:
            try:
                via = parse_via(value)
            except RemoteProtocolError:
                continue
            if via.branch.endswith(suffix) and own.has_sent(via):
                return True
    return False


def bound_breadth(request: Message, most: int) -> bool:
    """Give the request the one Max-Breadth that it must leave with (§5.3.3): its own, at most `most`, which is also
    what one without gets. Changes the request in place.

    False when it has none left to spend (440). Raises `RemoteProtocolError` when the value is not one number.
    """
    index = request.first[grammar.MAX_BREADTH]
    if index < 0:
        is_usual = 0 <= most < len(_MAX_BREADTH)
        request.add_line(_MAX_BREADTH[most] if is_usual else HeaderLine(grammar.MAX_BREADTH, b"Max-Breadth: %d" % most))
        return True
    value = request.headers[index].value
    if not value.isdigit() or len(value) > 10 or request.count(grammar.MAX_BREADTH) > 1:
        raise RemoteProtocolError("Max-Breadth is not one number", rfc="5393 §5.8")
    breadth = int(value)
    if breadth > most:
        request.replace_line(index, b"Max-Breadth: %d" % most)
    return breadth > 0
