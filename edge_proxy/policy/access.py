"""How a customer may come to us, and how strongly it then is known: what the rules of origin go by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_proxy.addr import Asn


class Proof(StrEnum):
    """How strongly the origin is known. A UDP source address can be forged; the words are ordered weak to strong."""

    NONE = "none"
    ADDRESS_UDP = "address-udp"
    ADDRESS_TCP = "address-tcp"
    DIGEST = "digest"
    TLS_MUTUAL = "tls-mutual"

    @property
    def strength(self) -> int:
        """0 for the weakest."""
        return _STRENGTH[self]

    def reaches(self, minimum: Proof) -> bool:
        """Whether this is as strong as `minimum`, or stronger."""
        return _STRENGTH[self] >= _STRENGTH[minimum]


_STRENGTH: Final = {proof: strength for strength, proof in enumerate(Proof)}


@dataclass(frozen=True, slots=True)
class Discriminator:
    """What a customer's requests show beside an address that it shares; all that is not "" must fit."""

    trunk_group: str = ""
    """The `tgrp` of the Contact (RFC 4904), and its `trunk-context`; in lower case."""
    trunk_context: str = ""
    header: str = ""
    """The name of a header, in lower case."""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What one customer has to show. The default asks for nothing but a source that is its own."""

    has_credentials: bool = False
    minimum_proof: Proof = Proof.NONE
    asns: frozenset[Asn] = frozenset()
    """The autonomous systems it may come from; empty: any."""
    match: Discriminator | None = None
    """What tells it apart from others at its addresses; None: the address alone."""

    def can_be_helped(self, proof: Proof) -> bool:
        """Whether digest credentials would make good what `proof` lacks."""
        minimum = self.minimum_proof
        return self.has_credentials and not proof.reaches(minimum) and Proof.DIGEST.reaches(minimum)


OPEN_ACCESS: Final = Access()
