"""Whatever stands in headers that a proxy has no business with leaves as it came: byte for byte, and in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.messages import answer, invite
from tests.kit.playbook import Playbook

_NAMES = st.one_of(
    st.sampled_from(
        ["Subject", "s", "ALLOW", "k", "User-Agent", "Accept", "Alert-Info", "Date", "u", "P-Charging-Vector"]
    ),
    st.from_regex(r"X-[A-Za-z0-9.!%*_+`'~-]{1,12}", fullmatch=True),
)
_BLANKS = st.sampled_from(["", " ", "  ", "\t", "\r\n ", " \r\n\t"])
_TEXT = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=40)


@st.composite
def _lines(draw: st.DrawFn) -> list[bytes]:
    """Header lines: long and compact names, blanks and folds anywhere, empty values, text of any script."""
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        pieces = [draw(_NAMES), draw(st.sampled_from(["", " ", "\t"])), ":"]
        for _ in range(draw(st.integers(0, 3))):
            pieces += [draw(_BLANKS), draw(_TEXT).strip()]
        lines.append("".join(pieces).encode())
    return lines


def _with(message: bytes, lines: list[bytes], places: list[int]) -> bytes:
    """The message with these lines among its headers, in order."""
    head, end, body = message.partition(b"\r\n\r\n")
    there = head.split(b"\r\n")
    for line, place in zip(
        reversed(lines), sorted((place % len(there) + 1 for place in places), reverse=True), strict=True
    ):
        there.insert(place, line)
    return b"\r\n".join(there) + end + body


def _assert_kept(data: bytes, lines: list[bytes]) -> None:
    at = 0
    for line in lines:
        at = data.index(b"\r\n" + line + b"\r\n", at) + len(line)


@settings(max_examples=150, deadline=None)
@given(_lines(), _lines(), st.lists(st.integers(0, 20), min_size=6, max_size=6))
def test_unknown_business_passes_byte_for_byte(asked: list[bytes], answered: list[bytes], places: list[int]) -> None:
    """RFC 3261 §16.6: a proxy must not reorder, nor change what it was not told to; both ways."""
    play = Playbook()
    sent = _with(invite(), asked, places[: len(asked)])
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    _assert_kept(invited, asked)
    play.carrier.sends(_with(answer(invited, 200), answered, places[: len(answered)]))
    _assert_kept(play.customer.gets(200), answered)
