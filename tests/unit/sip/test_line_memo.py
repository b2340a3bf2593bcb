"""Lines that came before are read as they were read before, and nothing else changes by it; in C as in Python."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_proxy.addr import Address
from edge_proxy.routing.forward import OwnUris, forwarded_response, preprocess_routes
from edge_proxy.sip import grammar
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.line_memo import HAS_TABLE, LINES, Head, Lines, lines_of
from edge_proxy.sip.message import HeaderLine, Message, StartLine
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.serializer import replace_first_value, stamp_top_via
from tests.kit.core_rig import CARRIERS, CUSTOMERS
from tests.kit.engine_probe import show
from tests.kit.failing_memory import HAS_FAILING_MEMORY, fail_each_allocation
from tests.kit.hostile_bytes import SEEDS, mutated

needs_table = pytest.mark.needs(HAS_TABLE, "_lines is not built here (no compiler): make engine")

LIMITS = Limits()
MOST_LINES = 512
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
PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\r\n ", b"\0", b":", b" ", b"\t", b"To: a", b"Via: a", b"v: b", b"x", b"y:"]
)
"""What a head is cut at and told apart by."""


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    LINES.forget()
    yield
    LINES.forget()


@pytest.fixture(params=[pytest.param(False, id="plain"), pytest.param(True, id="table", marks=needs_table)])
def memo(request: pytest.FixtureRequest) -> Lines:
    return lines_of(is_table=request.param, seed=1)  # with which all names of headers have room


def read(data: bytes) -> str:
    """All that comes of the bytes, as text."""
    try:
        message = parse_message(data, LIMITS)
    except MalformedMessageError as error:
        return f"{error} {error.sip_status} {error.rfc} {error.offset} {show(error.partial)}"
    return show(message) + shown_lines(message)


def shown_lines(message: Message) -> str:
    return repr([(line.raw, line.kind, line.value, line.first_value, line.list_values) for line in message.headers])


def head_of(*lines: bytes) -> bytes:
    return b"\r\n".join((b"INVITE sip:a@b SIP/2.0", *lines, b"", b""))


def cut(memo: Lines, data: bytes, most_lines: int = 256, most_bytes: int = 8192, once: int = -1) -> Head | None:
    """Cut, and keep what was not held but is not `once`, each kind of a name that is not known being OTHER."""
    head = memo.cut(data, most_lines, most_bytes)
    if head is not None:
        start, lines, _, _, unknown, raws = head
        if isinstance(start, bytes):
            memo.keep_start(start, StartLine(start, b"", b"", 0, b""))
        if unknown is not None and raws is not None:
            for place, raw in enumerate(raws):
                kind = max(unknown[3 * place + 1], grammar.OTHER)
                unknown[3 * place + 1] = kind
                lines[unknown[3 * place]] = HeaderLine(kind, raw, unknown[3 * place + 2])
            memo.keep(unknown, raws, lines, once)
    return head


def shown(head: Head | None) -> object:
    if head is None:
        return None
    start, lines, *rest = head
    return (start if isinstance(start, bytes) else start.raw, [(line.raw, line.kind) for line in lines], *rest)


@needs_table
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(mutated(SEEDS), st.binary(max_size=80), st.lists(PIECES, max_size=30).map(b"".join)), max_size=6
    ),
    st.sampled_from([-1, 0, 1, 2, 5, 256, 10_000]),
    st.sampled_from([-1, 0, 10, 100, 8192, 1 << 40]),
    st.sampled_from([-1, grammar.OTHER, grammar.TO, grammar.VIA]),
)
def test_both_cut_alike(parts: list[bytes], most_lines: int, most_bytes: int, once: int) -> None:
    """Whatever the bytes and the bounds, seen before or not: the same lines, kinds, places and body, or none."""
    from edge_proxy.sip._lines import LineTable

    # So large that no five of the lines meet in one set.
    table, plain = LineTable(1, 1 << 18, 300, grammar.KIND_COUNT, grammar.FIRST_REPEATABLE), lines_of(is_table=False)
    for name, kind in grammar.KIND_BY_NAME.items():
        table.keep_name(name, kind)
    for data in (*parts, *parts, *(part[:50] for part in parts)):
        bounds = most_lines, most_bytes, once
        assert shown(cut(table, data, *bounds)) == shown(cut(plain, data, *bounds))
        assert len(table) == len(plain)
        whole, same = table.split(data, most_lines), plain.split(data, most_lines)
        bound = max(most_lines, 0)
        assert (whole[0], whole[1][:bound], len(whole[1]), *whole[3:5]) == (
            same[0],
            same[1][:bound],
            len(same[1]),
            *same[3:5],
        )
        if len(same[1]) <= bound:
            assert whole[1:3] == same[1:3]
        assert whole[5] == same[5]


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
    for number in range(20):
        read(head_of(*[b"X: %d" % (200 * number + line) for line in range(200)]))
    assert [read(part) for part in parts] == cold
    assert len(LINES) <= MOST_LINES


def test_a_head_is_cut(memo: Lines) -> None:
    """First nothing is known but the names; the second time all is, and the objects are those that were kept."""
    first = cut(memo, REQUEST + b"body")
    assert first is not None
    start, lines, places, body, unknown, raws = first
    assert (start, body) == (b"BYE sip:+13105550199@192.0.2.1 SIP/2.0", b"body")
    assert raws == [line.raw for line in lines] == REQUEST.split(b"\r\n")[1:-2]
    assert unknown is not None
    kinds = [grammar.VIA, grammar.FROM, grammar.TO, grammar.CALL_ID, grammar.CSEQ, grammar.MAX_FORWARDS]
    assert unknown[1::3] == [*kinds, grammar.ROUTE, grammar.ROUTE, grammar.CONTENT_LENGTH]
    assert unknown[2::3] == [raw.index(b":") for raw in raws]
    assert (places[grammar.ROUTE], places[grammar.CONTENT_LENGTH], places[grammar.CONTACT]) == (6, 8, -1)
    again = cut(memo, REQUEST)
    assert again is not None
    assert isinstance(again[0], StartLine)
    assert all(line is kept for line, kept in zip(again[1], lines, strict=True))
    assert again[2:] == (places, b"", None, None)


def test_a_name_is_learnt(memo: Lines) -> None:
    first = memo.cut(head_of(b"X-Sort: a"), 9, 999)
    memo.keep_name(b"X-Sort", grammar.REASON)
    second = memo.cut(head_of(b"X-Sort: a"), 9, 999)
    assert first is not None
    assert second is not None
    assert (first[4], second[4]) == ([0, -1, 6], [0, grammar.REASON, 6])
    for number in range(10_000):
        memo.keep_name(b"X-%d" % number, grammar.OTHER)
    third = memo.cut(head_of(b"X-Long" * 30 + b": a", b"no colon"), 9, 999)
    assert third is not None
    assert third[4] == [0, -1, 180, 1, -1, -1]


@pytest.mark.parametrize(
    "line", [b" folded: x", b"\tx", b"Via: a\rb", b"X: a\nFrom: b", b"X: a\r", b"\nX: a", b"To: a\r\nTo: b"]
)
def test_what_is_no_usual_head_is_not_cut(memo: Lines, line: bytes) -> None:
    """§7.3.1: a fold, a lone CR or LF, a line that may stand there once and is there twice: for others to judge."""
    for known in ((), (b"X: a", b"Via: a", b"To: a")):
        assert not known or cut(memo, head_of(*known)) is not None
        assert memo.cut(head_of(b"From: c", line, b"CSeq: d"), 9, 999) is None
        assert memo.cut(head_of(line), 9, 999) is None
    assert len(memo) == 4


@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"a", b"a\r\n", b"a\r\n\r\n", b"\r\n\r\n", b"\na: b\r\n\r\n", b"a\r\nb: c\r\n"]
)
def test_a_head_without_its_parts_is_not_cut(memo: Lines, data: bytes) -> None:
    """§7: a start line, a header line and the empty line that ends it."""
    assert memo.cut(data, 9, 999) is None


def test_a_start_line_is_no_header_line(memo: Lines) -> None:
    """What was kept for the one is not found for the other."""
    for _ in range(2):
        assert cut(memo, b"a: b\r\nc: d\r\n\r\n") is not None
        head = memo.cut(b"c: d\r\na: b\r\n\r\n", 9, 999)
        assert head is not None
        assert (head[0], head[5]) == (b"c: d", [b"a: b"])


def test_memory_is_bounded(memo: Lines) -> None:
    """Whatever is sent: not more lines than there is room for, and no long ones."""
    for number in range(100):
        lines = [b"From%d: <sip:%d@x>" % (line, number) for line in range(200)]
        assert cut(memo, head_of(*lines)) is not None
        assert len(memo) <= MOST_LINES + 1
    held = len(memo)
    assert held > MOST_LINES // 2
    for number in range(100):
        assert cut(memo, head_of(b"Subject: %d%s" % (number, b"x" * 300))) is not None
    assert len(memo) == held
    memo.forget()
    assert len(memo) == 0
    head = memo.cut(head_of(*lines), 256, 8192)
    assert head is not None
    assert head[5] == lines


def test_lines_in_use_stay(memo: Lines) -> None:
    """What every message brings outlives any number of lines that none brings again."""
    usual = b"Max-Forwards: 70"
    first = cut(memo, head_of(usual))
    assert first is not None
    for number in range(2_000):
        head = cut(memo, head_of(*[b"X: %d" % (10 * number + line) for line in range(10)], usual))
        assert head is not None
        assert head[1][-1] is first[1][0]


def test_a_kind_that_comes_once_is_passed_over(memo: Lines) -> None:
    data = head_of(b"Via: a", b"To: b", b"Via: c", b"X: d")
    for _ in range(2):
        head = cut(memo, data, once=grammar.VIA)
        assert head is not None
        found = head[5]
    assert found == [b"Via: a", b"Via: c"]
    assert len(memo) == 3


@pytest.mark.parametrize(
    ("start", "is_kept"),
    [
        (b"BYE sip:+13105550199@192.0.2.1 SIP/2.0", False),
        (b"SIP/2.0 180 Ringing", True),
        (b"SIP/2.0 200 OK", False),
        (b"SIP/2.0 486 Busy Here", False),
    ],
)
def test_a_via_is_kept_where_more_responses_follow(start: bytes, is_kept: bool) -> None:
    """§17.1.1.2: behind a provisional response come others with its Vias; those of other messages come once, mostly."""
    parse_message(start + REQUEST[REQUEST.index(b"\r\n") :], LIMITS)
    assert len(LINES) == 9 + is_kept  # the start line and eight others


def test_a_message_that_is_changed_changes_no_other() -> None:
    """Lines are shared: stamping, replacing, adding and taking out concern one message alone."""
    first = parse_message(REQUEST, LIMITS)
    stamp_top_via(first, Address("192.0.2.7", 9))
    replace_first_value(first, grammar.TO, b"<sip:+13105550199@192.0.2.1>", b"<sip:a@b>")
    first.add_line(HeaderLine(grammar.CONTACT, b"Contact: <sip:c@d>"))
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


@needs_table
class TestTable:
    """The C module by itself: wrong arguments raise, what is let go may call back, and nothing leaks."""

    def table(self, most: int = 16) -> Any:  # wrong types are given to it
        from edge_proxy.sip._lines import LineTable

        return LineTable(1, most, 300, 8, 4)

    @pytest.mark.parametrize("most", [-4, 0, 3, 12, 1 << 21])
    def test_bounds_of_the_table(self, most: int) -> None:
        with pytest.raises(ValueError, match="power of two"):
            self.table(most)

    @pytest.mark.parametrize(("longest", "kinds"), [(-1, 8), (300, 0), (300, 65)])
    def test_bounds_of_lines(self, longest: int, kinds: int) -> None:
        from edge_proxy.sip._lines import LineTable

        with pytest.raises(ValueError, match="longest"):
            LineTable(1, 16, longest, kinds, 4)

    def test_made_once(self) -> None:
        with pytest.raises(TypeError, match="once"):
            self.table().__init__(1, 16, 300, 8, 4)

    def test_unmade_raises(self) -> None:
        from edge_proxy.sip._lines import LineTable

        empty: Any = LineTable.__new__(LineTable)
        for name, arguments in (
            ("cut", (b"", 1, 1)),
            ("split", (b"", 1)),
            ("keep", ([], [], [], -1)),
            ("keep_start", (b"a", None)),
            ("keep_name", (b"a", 0)),
        ):
            with pytest.raises(ValueError, match="never initialised"):
                getattr(empty, name)(*arguments)
        empty.forget()
        assert len(empty) == 0

    @pytest.mark.parametrize(
        "arguments", [(), (b"a",), ("a", 1, 1), (b"a", "1", 1), (b"a", 1, None), (bytearray(b"a"), 1, 1)]
    )
    def test_cut_of_wrong_types_raises(self, arguments: tuple[object, ...]) -> None:
        with pytest.raises(TypeError):
            self.table().cut(*arguments)

    def test_cut_of_wrong_numbers_raises(self) -> None:
        for numbers in ((1 << 70, 1), (1, -1 << 70)):
            with pytest.raises(OverflowError):
                self.table().cut(b"a", *numbers)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ((), TypeError),
            (([], [], []), TypeError),
            (((), [], [], -1), TypeError),
            (([], [], [], None), TypeError),
            (([0, 1, 1], ["x: y"], [None], -1), TypeError),
            (([0, "1", 1], [b"x: y"], [None], -1), TypeError),
            (([0, 1], [b"x: y"], [None], -1), ValueError),
            (([1, 1, 1], [b"x: y"], [None], -1), ValueError),
            (([-1, 1, 1], [b"x: y"], [None], -1), ValueError),
            (([0, 8, 1], [b"x: y"], [None], -1), ValueError),
            (([0, -1, 1], [b"x: y"], [None], -1), ValueError),
            (([0, 1, 1], [b"x: y"], [None], 1 << 70), OverflowError),
            (([1 << 70, 1, 1], [b"x: y"], [None], -1), OverflowError),
        ],
    )
    def test_keep_of_what_cannot_be_kept_raises(self, arguments: tuple[object, ...], error: type[Exception]) -> None:
        table = self.table()
        with pytest.raises(error):
            table.keep(*arguments)
        assert len(table) == 0

    @pytest.mark.parametrize("arguments", [(), (b"a",), ("a", 1), (b"a", "1"), (None, 1)])
    def test_split_of_wrong_types_raises(self, arguments: tuple[object, ...]) -> None:
        with pytest.raises(TypeError):
            self.table().split(*arguments)

    @pytest.mark.parametrize("kind", [-1, 8])
    def test_a_name_of_no_kind_raises(self, kind: int) -> None:
        with pytest.raises(ValueError, match="no such"):
            self.table().keep_name(b"x", kind)

    @pytest.mark.parametrize("raw", [b"", b" a: b", b"\ta: b", b"a: b\r", b"a:\nb", b"x" * 301])
    def test_what_is_no_line_is_not_kept(self, raw: bytes) -> None:
        table = self.table()
        table.keep([0, 0, 0], [raw], [None], -1)
        table.keep_start(raw, None)
        assert len(table) == 0

    def test_what_is_let_go_may_call_back(self) -> None:
        """Its last words empty the very table, or fill it, or cut with it."""
        table = self.table(4)
        data = b"a\r\n" + b"".join(b"x: %d\r\n" % number for number in range(20)) + b"\r\n"

        class Last:
            def __del__(self) -> None:
                table.cut(data, 99, 999)
                table.keep([0, 0, 0], [b"x: 1"], [None], -1)
                table.forget()

        lines: list[object] = []
        for turn in range(50):
            lines[:] = [Last() for _ in range(20)]
            numbers = [number for index in range(20) for number in (index, 0, 0)]
            table.keep(numbers, [b"x: %d" % (index + turn) for index in range(20)], lines, -1)
            table.keep_start(b"a", Last())
        lines.clear()
        table.forget()
        assert len(table) == 0

    def test_numbers_run_no_code_of_their_own(self) -> None:
        """What is no int is refused before it can change the lists that it stands in."""
        table = self.table()
        unknown: list[object] = []
        raws: list[bytes] = []

        class Kind:
            def __index__(self) -> int:
                unknown.clear()
                raws.clear()
                return 0

        unknown += [0, Kind(), 0]
        raws.append(b"x: 1")
        with pytest.raises(TypeError):
            table.keep(unknown, raws, [None], -1)
        assert len(raws) == 1

    def test_what_is_kept_is_bytes_alone(self) -> None:
        """Of a class of its own it could hold the table, and the collector would not see it there."""
        table = self.table()

        class Text(bytes):
            pass

        for text in (Text(b"a"), bytearray(b"a"), "a", None):
            for keep, arguments in (
                (table.keep, ([0, 0, 0], [text], [None], -1)),
                (table.keep_start, (text, None)),
                (table.keep_name, (text, 0)),
            ):
                with pytest.raises(TypeError, match="bytes"):
                    keep(*arguments)
        assert len(table) == 0

    @pytest.mark.needs(HAS_FAILING_MEMORY, "this Python has no _testcapi")
    def test_without_memory_nothing_is_lost(self) -> None:
        table = self.table()
        table.keep_name(b"x", 6)
        table.keep([0, 6, 0], [b"x: 1"], ["one"], -1)
        head = b"s\r\nx: 1\r\n" + b"".join(b"y: %d\r\n" % number for number in range(80)) + b"\r\nthe body"
        whole, split = table.cut(head, 99, 9999), table.split(head, 99)
        assert whole[4][-1] == 1
        assert fail_each_allocation(lambda: table.cut(head, 99, 9999), whole) > 80
        assert fail_each_allocation(lambda: table.cut(head[:-8], 99, 9999), table.cut(head[:-8], 99, 9999)) > 80
        fail_each_allocation(lambda: table.cut(head[:-12], 99, 9999), None)
        assert fail_each_allocation(lambda: table.split(head, 99), split) > 80
        fail_each_allocation(lambda: table.split(b"s", 99), (b"s", [], [], b"", False, False))
        fail_each_allocation(lambda: len(self.table()), 0)

    def test_a_cycle_through_the_table_is_collected(self) -> None:
        class Holder:
            table: object

        gc.collect()
        alive = len([1 for one in gc.get_objects() if type(one).__name__ == "LineTable"])
        holder = Holder()
        holder.table = table = self.table()
        table.keep([0, 0, 0], [b"x: y"], [holder], -1)
        del table, holder
        gc.collect()
        assert len([1 for one in gc.get_objects() if type(one).__name__ == "LineTable"]) == alive

    def test_no_reference_leaks(self) -> None:
        """Every way out of `cut`, and what is kept again, replaced or let go."""
        table = self.table()
        table.keep_name(b"x", 1)
        raw, line, start = b"x: %d" % 1, HeaderLine(1, b""), object()
        good = b"s\r\nx: 1\r\n"
        datas = [good + b"y: 2\r\n\r\nb", good + b"y: 2\r\n", good + b"y: 2\r\nx: 3\r\n\r\n", good + b"\r\n", b"s"]

        def turn() -> None:
            table.keep([0, 1, 0], [raw], [line], -1)
            table.keep_start(b"s", start)
            for data in datas:
                for bounds in ((9, 999), (1, 999), (9, 5)):
                    table.cut(data, *bounds)
            for data in datas:
                table.split(data, 1)
            table.keep([0, 1, 0], [raw], [line], -1)
            for number in range(20):
                table.keep([0, 1, 0], [b"x: %d" % number], [line], -1)
            table.forget()

        turn()
        held = [raw, line, start, -1, None]
        before = [sys.getrefcount(one) for one in held], sys.getallocatedblocks()
        for _ in range(200):
            turn()
        after = [sys.getrefcount(one) for one in held], sys.getallocatedblocks()
        assert after[0][:3] == before[0][:3]
        assert abs(after[0][3] - before[0][3]) < 20
        assert after[1] - before[1] < 50
