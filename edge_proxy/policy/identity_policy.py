"""What a customer may claim to be, and what becomes of its claims when its calls go on (RFC 3323, RFC 3325)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_proxy.addr import E164


class AssertedIdentity(StrEnum):
    """What becomes of the P-Asserted-Identity of a call that passed."""

    KEEP = "keep"
    REPLACE = "replace"
    """The customer's main number stands there instead."""
    STRIP = "strip"


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """One customer's choices. Whatever they are, every number it claims is checked."""

    allows_forwarded: bool = False
    """A From that is not its own passes when a number of its own is named as having passed the call on."""
    allows_anonymous: bool = True
    """It may withhold its number from the called party."""
    is_trusted: bool = False
    """It is part of the trust domain of RFC 3325: what it says of verification goes on, what is private reaches it."""
    asserted: AssertedIdentity = AssertedIdentity.KEEP
    main_number: E164 | None = None


DEFAULT_IDENTITY: Final = IdentityPolicy()
