"""A layout writes each value as JSON has it: with `_layout` as without it, whatever a text holds."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address, Side
from edge_proxy.pipeline.record_text import HAS_LAYOUT, MAX_TEXT_CHARS, Fill, layout, quote

needs_layout = pytest.mark.needs(HAS_LAYOUT, "_layout is not built here (no compiler): make engine")
WAYS = [pytest.param(False, id="plain"), pytest.param(True, id="native", marks=needs_layout)]

CHARS = st.text(st.characters(), max_size=40) | st.text(
    st.sampled_from('"\\\x00\x1f\x7f\x80\xff a\ud800\u20ac\U0001f600')
)
TEXT = CHARS.flatmap(lambda text: st.sampled_from([text, "plain text " + text, text * 60, (text or "x") * 512]))
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**70), 2**70) | st.integers(-9, 9)
SECONDS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1e6) | st.floats(0, 0.001)
HOSTS = st.sampled_from(["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "h\u00f6st", "x" * 500])
ADDRESSES = st.builds(Address, HOSTS, st.integers(0, 65535))
TIMES = st.floats(0, 2e11) | st.floats(0, 4e9) | st.integers(0, 2**32).map(float)
WEIGHTED = st.lists(st.tuples(TEXT, st.integers(-99, 99) | INTEGERS, st.just("detail")), max_size=5)


@pytest.fixture(params=WAYS)
def is_native(request: pytest.FixtureRequest) -> bool:
    return cast("bool", request.param)


def both(template: bytes, *values: object) -> bytes:
    """The line as both ways write it."""
    line = layout(template, is_native=False)(*values)
    if HAS_LAYOUT:
        assert layout(template, is_native=True)(*values) == line
    return line


def without_surrogates(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


@given(TEXT)
def test_text_is_json_within_its_bound(text: str) -> None:
    line = both(b"[%s]", text)
    (read,) = msgspec.json.decode(line)
    clean = without_surrogates(text)
    assert read == clean or (read.startswith(clean[:488]) and read.endswith(f"\u2026(+{len(text) - 488})"))
    assert len(read) <= MAX_TEXT_CHARS
    assert line == b"[%b]" % quote(text) == msgspec.json.encode([read])


@given(st.lists(TEXT, max_size=40))
def test_texts_of_a_list(texts: list[str]) -> None:
    assert both(b"[%l]", texts) == both(b"[%l]", tuple(texts)) == b"[%b]" % b",".join(map(quote, texts))


@given(WEIGHTED)
def test_weighted_names_bear_their_sign(weighted: list[tuple[str, int, str]]) -> None:
    assert both(b"%w", weighted) == b",".join(quote(f"{name}{weight:+d}") for name, weight, _ in weighted)


@given(INTEGERS, st.integers(0, 2**64 - 1) | INTEGERS.filter(lambda number: number >= 0))
def test_integers(number: int, identity: int) -> None:
    assert both(b"%d %x", number, identity) == f"{number} {identity:016x}".encode()
    assert both(b"%d", None) == b"null"


@given(SECONDS)
def test_seconds_are_those_of_the_rounded_number(value: float) -> None:
    """Also where rounding is a matter of the last bit, in exponents' reach, and below zero."""
    assert both(b"[%f,%m]", value, value) == msgspec.json.encode([round(value, 6), round(value, 3)])


@pytest.mark.parametrize("digits", [3, 6])
@given(units=st.integers(0, 10**9), nudge=st.integers(-3, 3))
def test_seconds_next_to_a_half_are_rounded_exactly(units: int, nudge: int, digits: int) -> None:
    """The numbers that lie half-way between two, and their neighbours of a bit more or less."""
    value = (units + 0.5) / 10**digits
    for _ in range(abs(nudge)):
        value = math.nextafter(value, math.inf if nudge > 0 else 0.0)
    assert both(b"%m" if digits == 3 else b"%f", value) == msgspec.json.encode(round(value, digits))


@given(TIMES)
def test_time_is_that_of_the_calendar(at: float) -> None:
    second = math.floor(at)
    shown = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert both(b"%t", at) == f"{shown}.{int((at - second) * 1e6):06d}Z".encode()


def test_every_day_of_a_century_and_a_half() -> None:
    """The last days of months and years, and the days that some years have more, on both ways."""
    fill = layout(b"%t")
    for day in range(55_000):
        shown = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
        assert fill(day * 86_400.0) == f"{shown}T00:00:00.000000Z".encode()


@given(ADDRESSES)
def test_address_is_written_as_it_is_shown(address: Address) -> None:
    assert both(b"%a", address) == str(address).encode()


@given(st.lists(st.none() | TEXT, min_size=3, max_size=3), st.none() | st.integers(0, 9), st.lists(TEXT, max_size=2))
def test_group_is_left_out_when_its_value_is_empty(
    texts: list[str | None], number: int | None, more: list[str]
) -> None:
    """What is left is the object without these fields; zero is no empty value."""
    line = both(b'{"x":0<,"a":%s><,"b":%s><,"c":%s><,"n":"+%d"><,"l":[%l]>}', *texts, number, more)
    wanted = {name: without_surrogates(text) for name, text in zip("abc", texts, strict=True) if text}
    read = msgspec.json.decode(line)
    assert set(read) - {"n", "l", "x"} == set(wanted)
    assert all(read[name] == text for name, text in wanted.items() if len(text) <= MAX_TEXT_CHARS)
    assert read.get("n") == (None if number is None else f"+{number}")
    assert ("l" in read) == bool(more)


def test_long_lines_are_whole(is_native: bool) -> None:
    """Beyond what is on the stack, by texts, bytes and what stands between."""
    fill = layout(b"x" * 5000 + b"<" + b"y" * 5000 + b"%b" + b"z" * 5000 + b">%l|%b" + b"e" * 300, is_native=is_native)
    texts = ["\x00" * 512] * 40
    line = fill(b"b" * 20_000, texts, b"c" * 70_000)
    assert line == (
        b"x" * 5000 + b"y" * 5000 + b"b" * 20_000 + b"z" * 5000 + b",".join(map(quote, texts)) + b"|" + b"c" * 70_000
        + b"e" * 300
    )  # fmt: skip


@pytest.mark.parametrize("template", [b"%", b"%q", b"100% sure", b"<no value>", b"<%s", b"a<b%s", b"x%d%"])
def test_what_is_no_template_is_refused(template: bytes, is_native: bool) -> None:
    with pytest.raises(ValueError, match="no layout"):
        layout(template, is_native=is_native)


def test_template_without_values(is_native: bool) -> None:
    assert layout(b"", is_native=is_native)() == b""
    assert layout(b"plain", is_native=is_native)() == b"plain"


@pytest.mark.parametrize(
    ("template", "values"),
    [
        (b"%s", ()),
        (b"%s", ("a", "b")),
        (b"%s", (1,)),
        (b"%d", ("1",)),
        (b"%x", ("1",)),
        (b"%f", ("1.0",)),
        (b"%t", (None,)),
        (b"%a", (("host",),)),
        (b"%a", (7,)),
        (b"%b", ("text",)),
        (b"%l", (3,)),
        (b"%w", (["ab"],)),
        (b"%w", ([("a",)],)),
        (b"%w", ([(1, "a")],)),
    ],
)
def test_wrong_values_raise(template: bytes, values: tuple[object, ...], is_native: bool) -> None:
    """And nothing of what came before them is written."""
    with pytest.raises((TypeError, ValueError, IndexError)):
        layout(b'{"before":%s,' + template, is_native=is_native)("text", *values)


def test_subclasses_are_what_they_are(is_native: bool) -> None:
    """Texts that are members, numbers that are truths: as Python sees them."""
    assert layout(b"%s %d", is_native=is_native)(Side.CARRIERS, True) == b'"carriers" 1'


@needs_layout
class TestLayout:
    """The C module by itself."""

    def test_made_whole_or_not_at_all(self) -> None:
        from edge_proxy.pipeline._layout import Layout

        with pytest.raises(TypeError, match="missing required"):
            Layout.__new__(Layout)
        made = Layout(b"%s", layout(b"%s", is_native=False))
        made.__init__(b"%d", layout(b"%d", is_native=False))  # type: ignore[misc]
        assert made.fill("x") == b'"x"'

    @pytest.mark.parametrize("template", [b"%\0", b"a<b%\0c>", b"%\0%s"])
    def test_zero_is_the_letter_of_no_value(self, template: bytes) -> None:
        """Where the list of letters ends is no letter of it."""
        from edge_proxy.pipeline._layout import Layout

        with pytest.raises(ValueError, match="no layout"):
            Layout(template, layout(b"%s", is_native=False))

    def test_too_many_values_are_no_layout(self) -> None:
        assert layout(b"%d" * 64, is_native=True)(*range(64)) == "".join(map(str, range(64))).encode()
        with pytest.raises(ValueError, match="no layout"):
            layout(b"%d" * 65, is_native=True)

    def test_no_reference_leaks(self) -> None:
        fill: Fill = layout(b"%s%d%b<%s><[%l]>%w", is_native=True)
        values = ("text", 10**9, b"bytes" * 2000, None, ["x" * 100, "long" * 200], (("name", 3),))
        entry = values[4][1]
        before = [sys.getrefcount(value) for value in (*values, entry)]
        for _ in range(200):
            fill(*values)
            with pytest.raises(TypeError):
                fill(*values[:5], 7)
        assert [sys.getrefcount(value) for value in (*values, entry)] == before
