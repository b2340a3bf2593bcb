"""Branches of our own: the same for the same request, another for any other, and told beforehand by nobody."""

from __future__ import annotations

import re

from edge_proxy.routing.branches import Branches
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.transaction.keys import server_key
from tests.kit.messages import request

KEY = b"k" * 32


def branch_of(message: Message, attempt: int = 0, secret: bytes = KEY, mark: bytes = b"m") -> bytes:
    return Branches(secret).of(message, server_key(message), attempt, mark)


def parsed(branch: str = "one", call_id: str = "c", cseq: int = 1, via: str | None = None) -> Message:
    data = request("INVITE", "sip:b@h", branch=branch, call_id=call_id, cseq=cseq, via=via)
    return parse_message(data, Limits())


def test_branch_is_the_same_for_the_same_request_on_any_worker() -> None:
    """RFC 3261 §16.11: a retransmission that meets another worker leaves as the first one did."""
    assert branch_of(parsed()) == branch_of(parsed())
    assert re.fullmatch(rb"z9hG4bK[0-9a-f]{24}\.m", branch_of(parsed()))
    assert re.fullmatch(rb"z9hG4bK[0-9a-f]{24}", branch_of(parsed(), mark=b""))


def test_branch_is_another_for_any_other_request_or_attempt() -> None:
    """§8.1.1.7. Another secret makes another one too: who does not know it cannot answer what he did not see."""
    others = [
        branch_of(parsed(), 1),
        branch_of(parsed(), secret=b"x" * 32),
        branch_of(parsed(branch="two")),
        branch_of(parsed(via="SIP/2.0/UDP 198.51.100.77:5060;branch=z9hG4bKone")),
        branch_of(parsed(call_id="d")),
        branch_of(parsed(cseq=2)),
    ]
    assert len({branch_of(parsed()), *others}) == 7


def test_requests_without_the_cookie_have_branches_of_their_own() -> None:
    """RFC 2543 clients name no transaction: what else §16.11 lists tells their requests apart."""
    via = "SIP/2.0/UDP 198.51.100.10:5060"
    assert branch_of(parsed(via=via)) == branch_of(parsed(via=via))
    assert branch_of(parsed(via=via)) != branch_of(parsed(via=via, cseq=2))


def test_every_attempt_ends_in_the_same_mark() -> None:
    """RFC 5393 §4.2.1: its second part is the request's."""
    first, second = branch_of(parsed(), 0), branch_of(parsed(), 1)
    assert first != second
    assert first.partition(b".")[2] == second.partition(b".")[2] == b"m"
