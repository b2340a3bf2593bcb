"""The Q.850 cause in a Reason header (RFC 3326)."""

from __future__ import annotations

import pytest

from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.reason import q850_cause


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([], None),
        (['Reason: Q.850;cause=16;text="Terminated"'], 16),
        (["reason: q.850 ; cause = 127"], 127),
        (['Reason: SIP;cause=600;text="Busy, everywhere", Q.850;cause=17'], 17),
        (["Reason: SIP;cause=200", "Reason: Q.850;text=x;cause=31"], 31),
        (["Reason: Q.850;cause=128"], None),
        (["Reason: Q.850;cause=abc", "Reason: Q.850;cause=19"], 19),
        (["Reason: Q.850"], None),
        (["Reason: Q.8500;cause=16"], None),
        (["Reason:"], None),
        (["Reason: Q.850;cause=0"], 0),
    ],
)
def test_cause_is_the_first_readable_q850_reason(lines: list[str], cause: int | None) -> None:
    """Other protocols, unreadable values and values that Q.850 does not have are passed over."""
    head = (
        "BYE sip:a@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx",
        "From: <sip:b@example.com>;tag=1",
        "To: <sip:a@example.com>;tag=2",
        "Call-ID: c",
        "CSeq: 1 BYE",
    )
    message = parse_message("\r\n".join((*head, *lines, "", "")).encode(), Limits())
    assert q850_cause(message) == cause
