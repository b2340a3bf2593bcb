"""Header values as property tests make them, and what a reader makes of one."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip.via import Via

usual_pieces = st.lists(
    st.one_of(
        st.sampled_from([b";rport", b";branch=z9hG4bK1", b";received=192.0.2.1", b";rport=5", b";tag=", b";maddr=h"]),
        st.sampled_from([b";ttl=1", b";RPORT", b";Branch=z9", b";Received=h", b";alias", b";x=a:b", b";x:y", b";=z"]),
        st.sampled_from([b";", b"=", b" ", b",", b'"', b"<", b">", b"[", b"]", b"a", b"A", b"/", b"\x00", b"\xff"]),
    ),
    max_size=6,
).map(b"".join)
"""Parameters as nearly everybody writes them, and what comes near to them."""


def outcome(read: Callable[[], object]) -> object:
    """What it returns, or the error that it raises."""
    try:
        found = read()
    except RemoteProtocolError as error:
        return str(error), error.rfc
    if isinstance(found, Via):
        return found.transport, found.host, found.port, found.branch, found.rport, found.received, found.maddr
    return found
