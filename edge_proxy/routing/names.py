"""What is known of host names (RFC 3263): a question, the endpoints that answer it, and a table that never changes.

Nothing here asks anybody: `transport/resolver.py` looks names up off the call path and hands over a new table. A
request reads the table and goes on, whatever it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from edge_proxy.addr import Address, Side, Transport


class NameQuery(NamedTuple):
    """A host name with what its URI settles: the port and the transport where it names them (RFC 3263 §4.1, §4.2).

    `side` is the network it is reached through: which transports and address families can be used is that side's.
    """

    host: str
    port: int | None
    transport: Transport | None
    side: Side


class Endpoint(NamedTuple):
    """One address that a name stands for; `priority` (lower first) and `weight` are the SRV record's (RFC 2782)."""

    address: Address
    transport: Transport
    priority: int = 0
    weight: int = 0


class Names:
    """The answers there are now. Replaced whole, never changed in place."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Mapping[NameQuery, tuple[Endpoint, ...]]) -> None:
        self._answers = dict(answers)

    def find(self, query: NameQuery) -> tuple[Endpoint, ...] | None:
        """The endpoints of a name; empty when it has none; None when nothing has been heard about it yet."""
        return self._answers.get(query)

    def items(self) -> Iterable[tuple[NameQuery, tuple[Endpoint, ...]]]:
        """Every name with its endpoints."""
        return self._answers.items()

    def __len__(self) -> int:
        return len(self._answers)


NO_NAMES: Final = Names({})
