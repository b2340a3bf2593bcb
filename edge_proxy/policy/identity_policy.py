"""What a customer may claim to be, and what becomes of its claims when its calls go on (RFC 3323, RFC 3325)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """One customer's choices. Whatever they are, every number it claims is checked."""

    allows_forwarded: bool = False
    """A From that is not its own passes when a number of its own is named as having passed the call on."""
    allows_anonymous: bool = True
    """It may withhold its number from the called party."""


DEFAULT_IDENTITY: Final = IdentityPolicy()
