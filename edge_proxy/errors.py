"""Every error the product raises on purpose. A text starts with what failed, then why, then what would be right."""

from __future__ import annotations


class EdgeProxyError(Exception):
    """The root: catch this to catch everything the product declares."""


class RemoteProtocolError(EdgeProxyError):
    """A peer broke the protocol.

    `sip_status` is the answer it deserves where an answer is possible, `rfc` the rule it broke (such as
    "3261 §20.16"), `offset` where in the message, in bytes from its start (-1: nowhere in particular).
    """

    def __init__(self, text: str, *, sip_status: int = 400, rfc: str = "", offset: int = -1) -> None:
        super().__init__(text)
        self.sip_status = sip_status
        self.rfc = rfc
        self.offset = offset


class LocalProtocolError(EdgeProxyError):
    """Our own code asked for something the protocol forbids: a bug, never a peer's fault."""


class ConfigError(EdgeProxyError):
    """A file the operator wrote is wrong. `line` counts from 1 (0: the whole file); `key` is the dotted path."""

    def __init__(self, text: str, *, path: str = "", line: int = 0, key: str = "") -> None:
        super().__init__(text)
        self.path = path
        self.line = line
        self.key = key

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}: " if self.line else f"{self.path}: " if self.path else ""
        key = f"{self.key}: " if self.key else ""
        return f"{place}{key}{self.args[0]}"


class EvidenceError(EdgeProxyError):
    """The evidence journal cannot be opened, read or trusted."""
