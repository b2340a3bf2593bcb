"""Find what no single section can see: ids used twice, overlapping sources and numbers, one socket asked for twice.

Works on the document rather than on Settings, so that these errors are reported together with all others: whatever
does not parse is skipped here, since models.py has already said why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_proxy.addr import Address, Transport
from edge_proxy.config.document import Document, KeyPath, Scalar, Sequence, quote
from edge_proxy.config.endpoints import is_wildcard, parse_listen_address
from edge_proxy.config.models import TELEMETRY_LISTEN
from edge_proxy.config.origins import find_origin_conflicts, match_of
from edge_proxy.numbers.ownership import parse_range
from edge_proxy.resting import in_order, one_by_one, rest
from edge_proxy.traffic.address_ranges import parse_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_proxy.errors import ConfigError


def find_conflicts(document: Document) -> Iterator[ConfigError]:
    """Every error between sections, in no particular order."""
    for section in ("customers", "trunks", "lists"):
        yield from _repeated_ids(document, section)
    for claims, advice in (
        (_source_claims(document), "an address can send as one customer only"),
        (_number_claims(document), "a number belongs to one customer only"),
    ):
        for claim, earlier in _overlaps(claims):
            text = (
                f"{quote(claim.text)} of customer {_name(document, claim.customer)} overlaps {quote(earlier.text)} "
                f"of customer {_name(document, earlier.customer)} on line {document.line_of(earlier.keys)}; "
                f"{advice}: take it from one of the two"
            )
            yield document.error(claim.keys, text)
    yield from _shared_sockets(document)
    yield from find_origin_conflicts(document)


def _repeated_ids(document: Document, section: str) -> Iterator[ConfigError]:
    first_use: dict[str, KeyPath] = {}
    for index in one_by_one(range(_length(document, (section,)))):
        keys = (section, index, "id")
        text = _text(document, keys)
        if text is None:
            continue
        if text in first_use:
            line = document.line_of(first_use[text])
            yield document.error(
                keys, f"{quote(text)} is already the id on line {line}; write another id, or merge the two entries"
            )
        first_use.setdefault(text, keys)
    while first_use:  # freed at once, ten thousand would hold up the calls beside a reload
        first_use.popitem()
        rest()


@dataclass(frozen=True, slots=True)
class _Claim:
    """A range that one customer (by place in the file) says is his. Ranges of different kinds never meet."""

    kind: int
    first: int
    last: int
    customer: int
    item: int
    keys: KeyPath
    text: str


def _source_claims(document: Document) -> Iterator[_Claim]:
    """Customers that their requests tell apart may share addresses: each way to be told is a kind of its own.

    So is each prefix of those that the address alone tells: of prefixes within one another the longest holds.
    """
    kinds: dict[tuple[str, ...], int] = {}
    for customer, item, keys, text in _customer_items(document, "sources"):
        try:
            first, last, version = parse_prefix(text)
        except ValueError:
            continue
        told_by = match_of(document, customer) or (str(first), str(last))
        kind = kinds.setdefault(told_by, len(kinds)) * 8 + version
        yield _Claim(kind, first, last, customer, item, keys, text)


def _number_claims(document: Document) -> Iterator[_Claim]:
    for customer, item, keys, text in _customer_items(document, "numbers"):
        try:
            first, last = parse_range(text)
        except ValueError:
            continue
        yield _Claim(0, first, last, customer, item, keys, text)


def _customer_items(document: Document, key: str) -> Iterator[tuple[int, int, KeyPath, str]]:
    for customer in one_by_one(range(_length(document, ("customers",)))):
        for item in one_by_one(range(_length(document, ("customers", customer, key)))):
            keys = ("customers", customer, key, item)
            text = _text(document, keys)
            if text is not None:
                yield customer, item, keys, text


def _place(claim: _Claim) -> tuple[int, int, int]:
    return claim.kind, claim.first, claim.last


def _overlaps(claims: Iterator[_Claim]) -> Iterator[tuple[_Claim, _Claim]]:
    """Pairs (later in the file, earlier in the file) of different customers.

    One sweep by first value, at most one pair for each claim. Two claims are remembered: the one that reaches
    furthest, and the furthest of any other customer. What overlaps neither of them overlaps no rival at all.
    """
    furthest: _Claim | None = None
    other: _Claim | None = None
    for claim in in_order(claims, _place):
        if furthest is not None and furthest.kind != claim.kind:
            furthest = other = None
        for rival in (furthest, other):
            if rival is not None and rival.customer != claim.customer and rival.last >= claim.first:
                earlier, later = sorted((rival, claim), key=lambda one: (one.customer, one.item))
                yield later, earlier
                break
        if furthest is None or claim.last > furthest.last:
            if furthest is not None and furthest.customer != claim.customer:
                other = furthest
            furthest = claim
        elif claim.customer != furthest.customer and (other is None or claim.last > other.last):
            other = claim


class _Socket(NamedTuple):
    keys: KeyPath
    address: Address
    protocols: frozenset[str]


_TCP: Final = frozenset({Transport.TCP.value})


def _shared_sockets(document: Document) -> Iterator[ConfigError]:
    sockets = list(_sockets(document))
    for index, later in enumerate(sockets):
        for earlier in sockets[:index]:
            common = later.protocols & earlier.protocols
            if common and _same_socket(later.address, earlier.address):
                yield document.error(
                    later.keys,
                    f"{later.address} over {' and '.join(sorted(common))} is already taken by "
                    f"{'.'.join(map(str, earlier.keys))} on line {document.line_of(earlier.keys)}; "
                    "write another port or address",
                )
                break


def _sockets(document: Document) -> Iterator[_Socket]:
    """In the order in which they would be bound."""
    for side in ("customers", "carriers"):
        section: KeyPath = ("listeners", side)
        transports: KeyPath = (*section, "transports")
        names = [_text(document, (*transports, item)) for item in range(_length(document, transports))]
        protocols = frozenset(name for name in names if name) or frozenset({Transport.UDP.value})
        yield from _socket(document, (*section, "bind"), None, protocols)
        yield from _socket(document, (*section, "tls", "bind"), None, _TCP)
    yield from _socket(document, ("telemetry", "listen"), TELEMETRY_LISTEN, _TCP)
    yield from _socket(document, ("admin", "listen"), None, _TCP)


def _socket(document: Document, keys: KeyPath, default: str | None, protocols: frozenset[str]) -> Iterator[_Socket]:
    text = _text(document, keys) or default
    if text is None:
        return
    try:
        yield _Socket(keys, parse_listen_address(text), protocols)
    except ValueError:
        return


def _same_socket(one: Address, two: Address) -> bool:
    if one.port != two.port or not one.port:  # port 0: the system picks a free one
        return False
    same_family = (":" in one.host) == (":" in two.host)
    return one.host == two.host or (same_family and (is_wildcard(one.host) or is_wildcard(two.host)))


def _name(document: Document, customer: int) -> str:
    text = _text(document, ("customers", customer, "id"))
    return f"number {customer + 1}" if text is None else quote(text)


def _length(document: Document, keys: KeyPath) -> int:
    entry = document.find(keys)
    return len(entry.node.items) if entry and isinstance(entry.node, Sequence) else 0


def _text(document: Document, keys: KeyPath) -> str | None:
    entry = document.find(keys)
    value = entry.node.value if entry and isinstance(entry.node, Scalar) else None
    return value if isinstance(value, str) else None
