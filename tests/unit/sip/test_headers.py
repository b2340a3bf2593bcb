"""The values of the headers that a proxy reads: what they mean, and that no bytes make their readers stumble."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar, headers
from edge_proxy.sip.headers import (
    find_param,
    first_of_list,
    parse_cseq,
    parse_name_addr,
    parse_retry_after,
    parse_tag,
    split_list,
)
from edge_proxy.sip.via import parse_via, readable_via, stamp_via
from tests.kit.header_values import outcome, usual_pieces

SOURCE = Address("198.51.100.10", 5062)
pieces = st.text('ab,;<>"\\ =@:sip', max_size=60).map(str.encode)

NASTY = [
    b'"',
    b"<",
    b">",
    b",",
    b"\\",
    b'\\"',
    b";",
    b"=",
    b" ",
    b"a",
    b'"<',
    b'a"',
    b";a",
    b";a=",
    b';a="',
    b"@",
    b":",
]
WORST = [
    *(piece * (8192 // len(piece)) for piece in NASTY),
    *(b"<" + piece * (8190 // len(piece)) for piece in NASTY),
    *(b'"' + piece * (8190 // len(piece)) for piece in NASTY),
    *(piece * (8190 // len(piece)) + b"<sip:a@b>" for piece in NASTY),
]


@pytest.mark.parametrize(
    ("value", "split"),
    [
        (b"a", [b"a"]),
        (b" a , b ", [b"a", b"b"]),
        (b'"x, y" <sip:a@b>, <sip:c,d@e>', [b'"x, y" <sip:a@b>', b"<sip:c,d@e>"]),
        (b'"x\\", y" <sip:a@b>,c', [b'"x\\", y" <sip:a@b>', b"c"]),
        (b"a,,b,", [b"a", b"", b"b", b""]),
        (b'a, "b, c', [b"a", b'"b, c']),
        (b"a, <b, c", [b"a", b"<b, c"]),
        (b"", [b""]),
    ],
)
def test_list_splits_at_its_own_commas_only(value: bytes, split: list[bytes]) -> None:
    """§7.3.1: commas in quotes or angle brackets belong to the piece; what is not closed is one piece to the end."""
    assert split_list(value) == split


@given(pieces)
def test_split_loses_nothing(value: bytes) -> None:
    """Joined again, all that is no blank is there, in order."""
    assert b"".join(b",".join(split_list(value)).split()) == b"".join(value.split())


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (b"<sip:a@b>;tag=1", (b"", b"sip:a@b", b";tag=1")),
        (b'"A, <B>" <sip:a@b> ; x', (b'"A, <B>"', b"sip:a@b", b" ; x")),
        (b"A Bell<sip:a@b;lr>", (b"A Bell", b"sip:a@b;lr", b"")),
        (b"sip:a@b;tag=1", (b"", b"sip:a@b", b";tag=1")),
        (b"< sip:a@b >", (b"", b"sip:a@b", b"")),
        (b'"a\\"b" <tel:+1>', (b'"a\\"b"', b"tel:+1", b"")),
    ],
)
def test_name_addr_reads_what_stands_where(value: bytes, parsed: tuple[bytes, bytes, bytes]) -> None:
    """§20.10: without brackets the parameters are the header's."""
    found = parse_name_addr(value, "From")
    assert (found.display, found.uri, found.params) == parsed


@pytest.mark.parametrize(
    "value",
    [
        b'"a <sip:a@b>',
        b"<sip:a@b",
        b"sip:a@b>",
        b"",
        b"   ",
        b"sip:a@b?x=y",
        b"sip:a @b",
        b"a, b <sip:a@b>",
        b"sip:a@b, sip:c@d",
        b"<sip:good@b> <sip:evil@b>",
        b"<sip:good@b>, <sip:evil@b>;tag=1",
        b"<sip:good@b>evil@b",
        b'<sip:good@b>"evil"',
        b"<<sip:a@b>>",
        b"<sip:good@b>;tag=1, <sip:evil@b>",
        b"<sip:good@b>;tag=1, sip:evil@b",
        b"sip:good@b;tag=1, sip:evil@b",
        b'<sip:good@b>;x="y, <sip:evil@b>',
        b'A <sip:good@b>;x="y, <sip:evil@b>',
        b'"A" <sip:good@b>;x="y", <sip:evil@b>;y="z"',
        b"<sip:good@b>;x=>, sip:evil@b",
    ],
)
def test_address_that_others_might_read_differently_is_refused(value: bytes) -> None:
    """Two readers that each take another part for the caller is how identity checks are walked around."""
    with pytest.raises(RemoteProtocolError, match=r"^From "):
        parse_name_addr(value, "From")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b"<sip:a@b>;tag=1", b"1"),
        (b"<sip:a@b>;tag=1 ", b"1"),
        (b'"A" <sip:a@b> ; x=y ; TAG = 1 ;z', b"1"),
        (b"sip:a@b;tag=1", b"1"),
        (b"<sip:a@b;tag=not>", b""),
        (b'"x;tag=no" <sip:a@b>', b""),
        (b'<sip:a@b>;x="<>;tag=no";tag=1', b"1"),
        (b'"\\"" <sip:a@b>;tag=1', b"1"),
        (b"<sip:a@b>;tag", b""),
        (b'"A:;" <sip:a@b>;tag=1', b"1"),
        (b"J\xc3\xbcrgen, Dr. (Tel) <sip:a@b>;tag=1", b"1"),
        (b"J\xc3\xbcrgen <sip:a@b>;x;tag=1", b"1"),
    ],
)
def test_tag_is_the_headers_own_parameter(value: bytes, tag: bytes) -> None:
    """Neither the URI's parameters nor what stands in quotes counts."""
    assert parse_tag(value, "To") == tag


@pytest.mark.parametrize(
    "value",
    [
        b'"a <sip:a@b>;tag=1',
        b"sip:a@b>;tag=1",
        b"<sip:a@b> x;tag=1",
        b"<sip:a@b>, <sip:c@d> y",
        b"<sip:a@b>,x",
        b"<sip:a@b>, <sip:c@d>;tag=1",
        b"<sip:a@b>;x=1, <sip:c@d>;tag=1",
        b"A <sip:a@b>, B <sip:c@d>;tag=1",
        b'"A" <sip:a@b>, "B" <sip:c@d>;tag=1',
        b"sip:a@b, <sip:c@d>;tag=1",
        b"sip:a@b;x=1, <sip:c@d>;tag=1",
        b"sip:a@b, <>;tag=1",
        b"<sip:a@b> <c>;tag=1",
        b"<sip:a@b>>;tag=1",
        b"<sip:a@b>;x=<>;tag=1",
        b"<sip:a@b>;x>;tag=1",
        b'<sip:a@b>;x="\\">;tag=1',
        b'"A\\" <sip:a@b>, "B" <sip:c@d>;tag=1',
        b"A>B <sip:a@b>;tag=1",
    ],
)
def test_tag_of_a_malformed_address_is_refused(value: bytes) -> None:
    """From and To are parts that a proxy uses (§16.3 step 1), and whether there is a tag others must see as we do."""
    with pytest.raises(RemoteProtocolError, match=r"^To "):
        parse_tag(value, "To")


@pytest.mark.parametrize(
    ("params", "name", "value"),
    [
        (b";lr", b"lr", b""),
        (b";a=1;lr;b", b"lr", b""),
        (b";A=1", b"a", b"1"),
        (b' ; a = "x;b=2" ; b = 3', b"b", b"3"),
        (b";a=[2001:db8::1]:5;b=2", b"a", b"[2001:db8::1]"),
        (b";lrx", b"lr", None),
        (b"lr", b"lr", None),
        (b"", b"lr", None),
    ],
)
def test_param_is_found_by_its_whole_name(params: bytes, name: bytes, value: bytes | None) -> None:
    """In any case, with blanks around, after quoted values."""
    assert find_param(params, name) == value


@pytest.mark.parametrize("behind", [b"", b', "B" <sip:c@d>'])
def test_address_with_escapes_without_end_is_refused_unread(behind: bytes) -> None:
    """Nobody's name has them, and each costs as much as thirty other bytes. As a list it is one piece."""
    readable = b'"' + b'\\"' * 98 + b'\\\\" <sip:a@b>'
    assert parse_name_addr(readable, "From").uri == b"sip:a@b"
    value = b'"' + b'\\"' * 99 + b'\\\\" <sip:a@b>' + behind
    (piece,) = split_list(value)
    assert first_of_list(value) == piece
    with pytest.raises(RemoteProtocolError, match="From has more than 100 escapes"):
        parse_name_addr(piece, "From")
    hidden = b'<sip:a@b>;x="' + b"\\x" * 101 + b'", <sip:evil@d>'
    with pytest.raises(RemoteProtocolError, match="From has more than 100 escapes"):
        parse_name_addr(split_list(hidden)[0], "From")


def test_from_with_parameters_without_end_is_refused_unread() -> None:
    value = b"<sip:a@x>" + b";a=b" * 99 + b";tag=t"
    assert parse_tag(value, "From") == b"t"
    with pytest.raises(RemoteProtocolError, match="From has more than 100 parameters"):
        parse_tag(value + b";c", "From")


@pytest.mark.parametrize(("value", "cseq"), [(b"0 A", (0, b"A")), (b"0009  INVITE", (9, b"INVITE"))])
def test_cseq_is_a_number_and_a_method(value: bytes, cseq: tuple[int, bytes]) -> None:
    """§20.16."""
    assert parse_cseq(value) == cseq


@pytest.mark.parametrize("value", [b"", b"1", b"INVITE", b"-1 A", b"1 A B", b"2147483648 A", b"36893488147419103232 A"])
def test_cseq_out_of_bounds_is_refused(value: bytes) -> None:
    """§8.1.1.5: below 2**31."""
    with pytest.raises(RemoteProtocolError, match=r"^CSeq "):
        parse_cseq(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"120", 120.0), (b"18000;duration=3600", 18000.0), (b"5 (in a meeting)", 5.0), (b"soon", 0.0), (b"", 0.0)],
)
def test_retry_after_is_its_seconds(value: bytes, seconds: float) -> None:
    """§20.33; what is no number asks for no pause."""
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize("value", WORST, ids=range(len(WORST)))
@pytest.mark.timeout(5)
def test_worst_values_are_read_in_bounded_time(value: bytes) -> None:
    """8 kB of anything: an answer or a refusal, at once. The test's own time limit is the proof."""
    split_list(value)
    find_param(value, b"x")
    readable_via(b"SIP/2.0/UDP a" + value)
    for parse in (
        lambda: parse_name_addr(value, "From"),
        lambda: parse_tag(value, "From"),
        lambda: parse_via(b"SIP/2.0/UDP a" + value),
        lambda: parse_cseq(value),
    ):
        try:
            parse()
        except RemoteProtocolError:
            continue


@given(st.one_of(pieces, st.binary(max_size=80)))
def test_readers_raise_nothing_undeclared(value: bytes) -> None:
    """Whatever the bytes: a value or a `RemoteProtocolError`."""
    errors: list[RemoteProtocolError] = []
    split_list(value)
    find_param(value, b"tag")
    parse_retry_after(value)
    via = readable_via(value)
    if via is not None:
        stamp_via(value, via, SOURCE)
    for parse in (
        lambda: parse_name_addr(value, "From"),
        lambda: parse_tag(value, "From"),
        lambda: parse_via(value),
        lambda: parse_cseq(value),
    ):
        try:
            parse()
        except RemoteProtocolError as error:
            errors.append(error)
    assert all(error.sip_status == 400 and error.rfc for error in errors)


lists = st.lists(
    st.sampled_from([b",", b",", b"<", b">", b"<sip:a;lr>", b"<sip:a,b>", b'"', b'"A, B"', b" ", b"\t", b"a", b";p=1"]),
    max_size=8,
).map(b"".join)


@given(lists)
def test_a_list_is_split_where_its_commas_are_its_own(value: bytes) -> None:
    """§7.3.1: not in quotes or angle brackets; what follows one that is never closed is one piece."""
    pieces = []
    rest = value
    while (found := re.match(rb'(?:"(?:[^"\\]|\\.)*"|<[^<>]*>|[^",<>])*', rest, re.DOTALL)) is not None:
        end = found.end()
        if rest[end : end + 1] not in {b"", b","}:
            end = len(rest)
        pieces.append(rest[:end].strip(b" \t"))
        if end == len(rest):
            break
        rest = rest[end + 1 :]
    assert split_list(value) == pieces
    assert headers.first_of_list(value) == pieces[0]


@given(usual_pieces)
def test_first_of_a_list_is_the_first_of_its_pieces(value: bytes) -> None:
    assert headers.first_of_list(value) == split_list(value)[0]


@given(
    st.lists(st.sampled_from([b",", b" ", b"\t", b"a", b"SIP/2.0/UDP h;branch=z", b";x=1"]), max_size=8).map(b"".join)
)
def test_pieces_of_a_plain_list_are_those_beside_one_in_brackets(value: bytes) -> None:
    """Without quotes and brackets a list is split at every comma; a piece with some has it read the long way."""
    assert split_list(value) == split_list(value + b",<,>")[:-1]


@given(
    st.sampled_from([b"<sip:a@b>", b'"A" <sip:a@b>', b'"A <sip:a@b>', b"sip:a@b", b"<sip:a@b", b"sip:a>"]), usual_pieces
)
def test_usual_tag_means_what_it_means_in_any_other_spelling(address: bytes, params: bytes) -> None:
    value = (address + params).strip()
    if params.count(b'"') & 1 or b"=" in params[-1:] or b" " in params:
        return
    assert outcome(lambda: parse_tag(value, "To")) == outcome(lambda: parse_tag(value + b";x", "To"))


@given(usual_pieces, st.sampled_from([b"rport", b"branch", b"tag", b"a"]))
def test_params_of_tokens_mean_what_they_mean_among_others(params: bytes, name: bytes) -> None:
    if params.count(b'"') & 1 or b" " in params or b"=" in params[-1:]:
        return
    assert find_param(params, name) == find_param(params + b';x="<>"', name)


def _end_of_quoted(text: bytes) -> int:
    """Behind the first quote that is not escaped; -1 when there is none."""
    at = 1
    while at < len(text):
        if text[at : at + 1] == b'"':
            return at + 1
        at += 2 if text[at : at + 1] == b"\\" else 1
    return -1


@given(
    st.lists(
        st.sampled_from([b"\\", b'"', b"a", b",", b"\n", b"\\\\", b'\\"', b"\\a", b"\\\\" * 7, b"longer than few"])
    )
)
def test_quoted_string_ends_at_its_first_quote_that_is_not_escaped(pieces: list[bytes]) -> None:
    text = b'"' + b"".join(pieces)
    match = re.match(grammar.QUOTED, text, re.DOTALL)
    assert (-1 if match is None else match.end()) == _end_of_quoted(text)
