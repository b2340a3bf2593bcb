"""Lines that came before are read as they were read before, and nothing else changes by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_proxy.addr import Address
from edge_proxy.routing.forward import OwnUris, forwarded_response, preprocess_routes
from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.line_memo import LINES, LineMemo
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.serializer import replace_first_value, stamp_top_via
from tests.kit.core_rig import CARRIERS, CUSTOMERS
from tests.kit.engine_probe import show
from tests.kit.hostile_bytes import SEEDS, mutated

LIMITS = Limits()
MOST_LINES = 4096
REQUEST = (
    b"BYE sip:+13105550199@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 198.51.100.10;branch=z9hG4bK-1;rport\r\n"
    b"From: <sip:+12025550100@acme.example>;tag=9\r\n"
    b"To: <sip:+13105550199@192.0.2.1>;tag=8\r\n"
    b"Call-ID: 1\r\n"
    b"CSeq: 2 BYE\r\n"
    b"Max-Forwards: 70\r\n"
    b"Route: <sip:127.0.0.1:5060;lr>, <sip:198.51.100.20;lr>\r\n"
    b"Route: <sip:198.51.100.21;lr>\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    LINES.forget()
    yield
    LINES.forget()


def read(data: bytes) -> str:
    """All that comes of the bytes, as text."""
    try:
        message = parse_message(data, LIMITS)
    except MalformedMessageError as error:
        return f"{error} {error.sip_status} {error.rfc} {error.offset} {show(error.partial)}"
    return show(message) + shown_lines(message)


def shown_lines(message: Message) -> str:
    return repr([(line.raw, line.kind, line.value, line.first_value, line.list_values) for line in message.headers])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(mutated(SEEDS), min_size=2, max_size=4))
def test_what_is_remembered_changes_nothing(parts: list[bytes]) -> None:
    """Read first, read again, read among the lines of others, read when there is no more room: always the same."""
    cold = []
    for part in parts:
        LINES.forget()
        cold.append(read(part))
    LINES.forget()
    assert [read(part) for part in parts] == cold
    assert [read(part) for part in reversed(parts)] == cold[::-1]
    for number in range(MOST_LINES // 2 - len(LINES.young)):
        LINES.read(b"X: %d" % number)
    assert [read(part) for part in parts] == cold
    assert len(LINES) <= MOST_LINES


def test_memory_is_bounded() -> None:
    """Whatever is sent: not more lines than there is room for, and no long ones."""
    memo = LineMemo()
    for number in range(10_000):
        assert memo.read(b"From: <sip:%d@x>" % number) is not None
        assert len(memo) <= MOST_LINES
    for number in range(10_000):
        assert memo.read(b"Subject: %d%s" % (number, b"x" * 300)) is not None
    held = {*memo.young, *memo._old}
    assert max(map(len, held)) < 300
    memo.forget()
    assert len(memo) == 0


def test_lines_in_use_stay() -> None:
    """What every message brings outlives any number of lines that none brings again."""
    memo = LineMemo()
    usual = memo.read(b"Max-Forwards: 70")
    for number in range(20_000):
        memo.read(b"Via: SIP/2.0/UDP h;branch=z%d" % number)
        if number % 1000 == 0:
            assert (memo.young.get(b"Max-Forwards: 70") or memo.read(b"Max-Forwards: 70")) is usual


@pytest.mark.parametrize("line", [b"", b"no colon", b" folded: x", b"a b: c", b": v", b"Via: a\rb", b"X: a\nFrom: b"])
def test_what_is_no_plain_line_is_not_remembered(line: bytes) -> None:
    """§7.3.1: a fold, a lone CR or LF, and a line without a name are judged with the whole message before one."""
    memo = LineMemo()
    assert memo.read(line) is None
    assert len(memo) == 0


def test_a_message_that_is_changed_changes_no_other() -> None:
    """Lines are shared: stamping, replacing, adding and taking out concern one message alone."""
    first = parse_message(REQUEST, LIMITS)
    stamp_top_via(first, Address("192.0.2.7", 9))
    replace_first_value(first, grammar.TO, b"<sip:+13105550199@192.0.2.1>", b"<sip:a@b>")
    first.add_line(grammar.CONTACT, b"Contact: <sip:c@d>")
    first.remove_lines([0])
    own = OwnUris([CUSTOMERS, CARRIERS])
    for _ in range(2):
        second = parse_message(REQUEST, LIMITS)
        assert b"\r\n".join([second.start_line, *second.lines, b"", b""]) == REQUEST
        assert len(second.list_values(grammar.ROUTE)) == 3
        routed = preprocess_routes(second, own)
        assert routed.routes == (b"<sip:198.51.100.20;lr>", b"<sip:198.51.100.21;lr>")


def test_one_of_two_equal_vias_is_taken_out() -> None:
    """§16.7 step 3: the top one, also where the next is the very same."""
    via = b"Via: SIP/2.0/UDP 198.51.100.10;branch=z9hG4bK-1;rport\r\n"
    response = REQUEST.replace(b"BYE sip:+13105550199@192.0.2.1 SIP/2.0", b"SIP/2.0 200 OK").replace(via, via + via)
    passed = parse_message(forwarded_response(parse_message(response, LIMITS)), LIMITS)
    assert passed.count(grammar.VIA) == 1
