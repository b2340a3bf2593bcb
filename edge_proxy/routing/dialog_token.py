"""What a request inside a dialog must tell us, carried by the peers themselves, signed, in our Record-Route URI.

So no dialog is stored: a worker that has just started, or another node with the same key, serves a call that it never
saw begin. The signature covers the Call-ID, so that a token taken from one call is worth nothing in another, and a
token has one spelling only: altered in any byte it is none. The latest that were signed or read are remembered, since
the ACK, and the BYE of a short call, bring one that was at hand a moment before.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, final

from edge_proxy.addr import Side
from edge_proxy.native import mypyc_attr
from edge_proxy.routing.keyed import digests

_FIXED: Final = struct.Struct(">BQI")
_MAC_BYTES: Final = 9
_LONGEST_TOKEN: Final = 256
_MOST_KNOWN: Final = 4096
"""Of twice as many, those before the latest are forgotten together."""
_VERSION: Final = 2
_EMERGENCY: Final = 0x80
"""In the head, above version and side: tokens from before it had a meaning do not have it."""
_CUSTOMERS: Final = Side.CUSTOMERS
_CARRIERS: Final = Side.CARRIERS


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False, unsafe_hash=True)
class DialogState:
    """Who called (`caller_side`), on whose account, the evidence id of the attempt and when it came (unix seconds)."""

    caller_side: Side
    customer: str
    evidence_id: int
    started_s: int
    is_emergency: bool

    def __init__(
        self, caller_side: Side, customer: str, evidence_id: int, started_s: int, is_emergency: bool = False
    ) -> None:
        self.caller_side = caller_side
        self.customer = customer
        self.evidence_id = evidence_id
        self.started_s = started_s
        self.is_emergency = is_emergency


@mypyc_attr(acyclic=True)
@final
class _Known:
    """What a token says, in which call."""

    __slots__ = ("call_id", "state")

    def __init__(self, state: DialogState, call_id: bytes) -> None:
        self.state = state
        self.call_id = call_id


class DialogSigner:
    """Signs and checks tokens with one secret key (32 bytes), the node's."""

    __slots__ = ("_keyed", "_known", "_known_before")

    def __init__(self, key: bytes) -> None:
        self._keyed = digests(_MAC_BYTES, key=key)
        self._known: dict[bytes, _Known] = {}
        self._known_before: dict[bytes, _Known] = {}

    def sign(self, state: DialogState, call_id: bytes) -> bytes:
        """The token, as characters that a URI parameter may hold."""
        head = _VERSION << 1 | (state.caller_side is _CARRIERS) | (_EMERGENCY if state.is_emergency else 0)
        payload = _FIXED.pack(head, state.evidence_id, state.started_s) + state.customer.encode()
        token = self._keyed.sign(payload, call_id)
        self._remember(token, _Known(state, call_id))
        return token

    def read(self, token: bytes, call_id: bytes) -> DialogState | None:
        """The state in a token of ours for this very call; None for any other bytes."""
        known = self._known.get(token)
        if known is None:
            known = self._known_before.get(token)
        if known is not None and known.call_id == call_id:
            return known.state
        state = self._open(token, call_id)
        if state is not None:
            self._remember(token, _Known(state, call_id))
        return state

    @property
    def remembered(self) -> int:
        """How many tokens are."""
        return len(self._known) + len(self._known_before)

    def forget(self) -> None:
        """Give back what is remembered."""
        self._known.clear()
        self._known_before.clear()

    def _remember(self, token: bytes, known: _Known) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known, self._known_before = {}, self._known
        self._known[token] = known

    def _open(self, token: bytes, call_id: bytes) -> DialogState | None:
        if len(token) > _LONGEST_TOKEN:
            return None
        payload = self._keyed.open(token, call_id)
        if payload is None or len(payload) < _FIXED.size:
            return None
        head, evidence_id, started_s = _FIXED.unpack_from(payload)
        if (head & ~_EMERGENCY) >> 1 != _VERSION:
            return None
        side = _CARRIERS if head & 1 else _CUSTOMERS
        customer = payload[_FIXED.size :].decode("utf-8", "replace")
        return DialogState(side, customer, evidence_id, started_s, bool(head & _EMERGENCY))
