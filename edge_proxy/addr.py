"""The words every floor shares: addresses, sides, and the units that must not be mixed up.

`Monotonic` is seconds on a clock that never goes back; `Wall` is seconds since 1970 (UTC). Both are passed in:
nothing on these floors reads a clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, NewType

Asn = NewType("Asn", int)
"""An autonomous system number; 0 means that the table knows none for the address."""

E164 = NewType("E164", int)
"""A full international number without `+`: country code first, at most 15 digits (ITU-T E.164)."""

Monotonic = NewType("Monotonic", float)
Wall = NewType("Wall", float)

UNKNOWN_ASN = Asn(0)

NEVER: Final = Monotonic(float("inf"))
"""A deadline of nothing."""


class Transport(StrEnum):
    """How a message travelled; the values are the Via transport tokens in lower case (RFC 3261 §20.42)."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class Side(StrEnum):
    """Which network a listener faces."""

    CUSTOMERS = "customers"
    CARRIERS = "carriers"

    @property
    def other(self) -> Side:
        return _CARRIERS if self is _CUSTOMERS else _CUSTOMERS


# Members that every message asks for: through their class each costs as much as a call (CPython 3.11).
UDP: Final = Transport.UDP
TLS: Final = Transport.TLS
_CUSTOMERS: Final = Side.CUSTOMERS
_CARRIERS: Final = Side.CARRIERS


class Address(NamedTuple):
    """A numeric IP address in its canonical text form (IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener(NamedTuple):
    """One bound socket as the core sees it: what peers read in our Via and Record-Route.

    `slot` is its place among the worker's listeners: what the core names when it asks for a message to be sent.
    """

    slot: int
    side: Side
    transport: Transport
    advertised: Address
