"""Why a call ended, in the words of the switched network: the Q.850 cause in a Reason header (RFC 3326 §2)."""

from __future__ import annotations

from typing import Final

from edge_proxy.sip import grammar
from edge_proxy.sip.headers import find_param, split_list
from edge_proxy.sip.message import Message

_LARGEST_CAUSE: Final = 127


def q850_cause(message: Message) -> int | None:
    """The cause value of the first readable `Q.850` reason, 0 to 127; None when there is none."""
    if message.first[grammar.REASON] < 0:
        return None
    for value in message.values(grammar.REASON):
        for reason in split_list(value):
            protocol, _, params = reason.partition(b";")
            if protocol.strip().upper() != b"Q.850":
                continue
            cause = find_param(b";" + params, b"cause")
            if cause and cause.isdigit() and len(cause) <= 3 and int(cause) <= _LARGEST_CAUSE:
                return int(cause)
    return None
