"""What tells customers apart that send from one address: a trunk group (RFC 4904) or a header of the operator's choice.

Both are claims of whoever sends from that address, and worth no more than the address itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.policy.parties import Customer, Origin
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import find_param, parse_name_addr
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import parse_uri


@dataclass(frozen=True, slots=True)
class Marks:
    """What one request shows. A header that stands in it twice shows nothing: which one would hold?"""

    trunk_group: str
    trunk_context: str
    headers: dict[str, str]


def marks_of(message: Message) -> Marks:
    """The originating trunk group in Contact (RFC 4904 §5), and every header by its name in lower case."""
    headers: dict[str, str] = {}
    twice: set[str] = set()
    for line in message.headers:
        name = line.raw[: line.raw.find(b":")].strip(b" \t").lower().decode("ascii", "replace")
        if name in headers:
            twice.add(name)
        headers[name] = line.value.decode("utf-8", "replace")
    for name in twice:
        del headers[name]
    group, context = _trunk_group(message)
    return Marks(group, context, headers)


def _trunk_group(message: Message) -> tuple[str, str]:
    line = message.line(grammar.CONTACT)
    if line is None:
        return "", ""
    try:
        uri = parse_uri(parse_name_addr(line.first_value, "Contact").uri)
    except RemoteProtocolError:
        return "", ""
    texts = [find_param(uri.user_params, name) or b"" for name in (b"tgrp", b"trunk-context")]
    group, context = (text.decode("utf-8", "replace").lower() for text in texts)
    return group, context


def tell_apart(origin: Origin, message: Message) -> Origin:
    """The origin with that customer of the address whose marks the request shows; the address's own when none fits."""
    marks = marks_of(message)
    found = [one for one in origin.candidates if is_marked(one, marks)]
    if len(found) == 1:
        return replace(origin, customer=found[0], candidates=())
    if found:
        names = " and ".join(customer.id for customer in found)
        return replace(origin, customer=None, doubt=f"the request shows the marks of {names}")
    if origin.customer is None:
        return replace(origin, doubt="several customers send from this address, and the request shows no mark of any")
    return origin


def is_marked(customer: Customer, marks: Marks) -> bool:
    """Whether the request shows all that this customer is told by."""
    match = customer.access.match
    if match is None:
        return False
    if match.trunk_group and marks.trunk_group != match.trunk_group:
        return False
    if match.trunk_context and marks.trunk_context != match.trunk_context:
        return False
    return not match.header or marks.headers.get(match.header) == match.value
