"""How much of a message is read before it is refused: named limits, so that bounded work is a setting, not a hope."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one message. Past one of them a request is answered 413, 414 or 513 and a response is dropped."""

    max_message_bytes: int = 65_535
    max_headers: int = 256
    max_header_bytes: int = 8_192
    max_vias: int = 70
    max_body_bytes: int = 65_535
