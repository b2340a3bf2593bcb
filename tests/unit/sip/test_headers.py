"""The values of the headers that a proxy reads: what they mean, and that no bytes make their readers stumble."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Address
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar, headers
from edge_proxy.sip.headers import (
    Via,
    find_param,
    first_of_list,
    parse_cseq,
    parse_name_addr,
    parse_retry_after,
    parse_tag,
    parse_via,
    readable_via,
    response_address,
    split_list,
    stamp_via,
)

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
    ],
)
def test_tag_is_the_headers_own_parameter(value: bytes, tag: bytes) -> None:
    """Neither the URI's parameters nor what stands in quotes counts."""
    assert parse_tag(value, "To") == tag


@pytest.mark.parametrize(
    "value", [b'"a <sip:a@b>;tag=1', b"sip:a@b>;tag=1", b"<sip:a@b> x;tag=1", b"<sip:a@b>, <sip:c@d> y", b"<sip:a@b>,x"]
)
def test_tag_of_a_malformed_address_is_refused(value: bytes) -> None:
    """From and To are parts that a proxy uses (§16.3 step 1)."""
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


def test_via_is_read_with_everything_a_response_needs() -> None:
    """§20.42, RFC 3581."""
    via = parse_via(b"SIP / 2.0 / udp Host.example : 5070 ;branch=z9hG4bKx;RPORT;maddr=1.2.3.4;received=[::1];x")
    assert (via.transport, via.host, via.port) == (b"UDP", b"Host.example", 5070)
    assert (via.branch, via.rport, via.received, via.maddr) == (b"z9hG4bKx", b"", b"[::1]", b"1.2.3.4")
    assert via.sent_by == b"host.example:5070"
    assert parse_via(b"SIP/2.0/TCP [2001:DB8::1]").sent_by == b"[2001:db8::1]"


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b"SIP/2.0/UDP",
            b"SIP/2.0/UDP  ",
            b"SIP/3.0/UDP a",
            b"SIP/2.0 a",
            b"SIP/2.0/UDP a:b",
            b"SIP/2.0/UDP a:0",
        ),
        *(
            b"SIP/2.0/UDP a:65536",
            b"SIP/2.0/UDP a;;x",
            b"SIP/2.0/UDP a;x y",
            b"SIP/2.0/UDP 2001:db8::1",
            b"SIP/2.0/UDP a b",
        ),
        *(b"SIP/2.0/UDP a;branch=<>", b'SIP/2.0/UDP a;x="', b"SIP/2.0/UDP a:123456"),
    ],
)
def test_malformed_via_is_refused(value: bytes) -> None:
    """Every part of Via is used: nothing of it may be guessed."""
    with pytest.raises(RemoteProtocolError, match=r"^Via "):
        parse_via(value)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"SIP/2.0/UDP 192.0.2.15;;,;,,", b"192.0.2.15", None),
        (b"SIP/7.0/UDP c.example.com:5070;branch=x", b"c.example.com", 5070),
        (b"SIP/2.0/UDP a:123456", b"a", None),
        (b"SIP/2.0/UDP a:0;x y", b"a", None),
    ],
)
def test_refused_via_still_says_where_its_answer_goes(value: bytes, host: bytes, port: int | None) -> None:
    """A request with a bad Via can be told so as long as its sent-by is readable."""
    via = readable_via(value)
    assert via is not None
    assert (via.host, via.port) == (host, port)
    stamped = stamp_via(value, via, SOURCE)
    assert b";received=198.51.100.10" in stamped
    assert stamped.replace(b";received=198.51.100.10", b"") == value


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


def test_via_with_parameters_without_end_is_neither_read_nor_answered() -> None:
    """Reading them, and bringing them all back, would be the sender's to order."""
    value = b"SIP/2.0/UDP h.example" + b";a=b" * 99 + b";branch=x"
    assert parse_via(value).branch == b"x"
    with pytest.raises(RemoteProtocolError, match="more than 100 parameters"):
        parse_via(value + b";c")
    assert readable_via(value + b";c") is None


def test_via_with_escapes_without_end_is_neither_read_nor_answered() -> None:
    value = b'SIP/2.0/UDP h.example;branch=x;a="' + b"\\a" * 99
    assert parse_via(value + b'\\a"').branch == b"x"
    with pytest.raises(RemoteProtocolError, match="Via has more than 100 escapes"):
        parse_via(value + b'\\a\\a"')
    assert readable_via(value + b'\\a\\a"') is None


def test_from_with_parameters_without_end_is_refused_unread() -> None:
    value = b"<sip:a@x>" + b";a=b" * 99 + b";tag=t"
    assert parse_tag(value, "From") == b"t"
    with pytest.raises(RemoteProtocolError, match="From has more than 100 parameters"):
        parse_tag(value + b";c", "From")


@pytest.mark.parametrize("value", [b"", b"x", b"SIP/2.0 host", b"a/b/c", b"SIP/2.0/UDP [x"])
def test_via_without_sent_by_is_unreadable(value: bytes) -> None:
    """Then there is nobody to answer."""
    assert readable_via(value) is None


@pytest.mark.parametrize(
    ("value", "stamped"),
    [
        (b"SIP/2.0/UDP 198.51.100.10:5060;branch=x", b"SIP/2.0/UDP 198.51.100.10:5060;branch=x"),
        (b"SIP/2.0/UDP h.example;branch=x", b"SIP/2.0/UDP h.example;branch=x;received=198.51.100.10"),
        (
            b"SIP/2.0/UDP 198.51.100.10;rport;branch=x",
            b"SIP/2.0/UDP 198.51.100.10;branch=x;received=198.51.100.10;rport=5062",
        ),
        (
            b"SIP/2.0/UDP 10.0.0.1;received=1.2.3.4;rport=99;branch=x",
            b"SIP/2.0/UDP 10.0.0.1;branch=x;received=198.51.100.10;rport=5062",
        ),
        (
            b"SIP/2.0/UDP 198.51.100.10;received=9.9.9.9;branch=x",
            b"SIP/2.0/UDP 198.51.100.10;branch=x;received=198.51.100.10",
        ),
        (
            b'SIP/2.0/UDP h ; a=1; B="x;received=y" ;Received=1.2.3.4;receivedx=2 ;ttl=1;rport ;c;maddr=[::1];d=[::2]',
            b'SIP/2.0/UDP h ; a=1; B="x;received=y";receivedx=2 ;ttl=1 ;c;maddr=[::1];d=[::2]'
            b";received=198.51.100.10;rport=5062",
        ),
    ],
)
def test_via_is_stamped_with_where_it_really_came_from(value: bytes, stamped: bytes) -> None:
    """RFC 3261 §18.2.1, RFC 3581 §4; a sender's own claim does not survive."""
    assert stamp_via(value, parse_via(value), SOURCE) == stamped


def test_stamped_via_of_ipv6_has_no_brackets() -> None:
    """RFC 5118 §4.5: received takes the bare address."""
    value = b"SIP/2.0/UDP [2001:db8::9];rport"
    assert stamp_via(value, parse_via(value), Address("2001:db8::7", 5)).endswith(b";received=2001:db8::7;rport=5")


@pytest.mark.parametrize(
    ("value", "source", "address"),
    [
        (b"SIP/2.0/UDP h.example:5070;rport", SOURCE, SOURCE),
        (b"SIP/2.0/UDP h.example:5070", SOURCE, Address("198.51.100.10", 5070)),
        (b"SIP/2.0/UDP h.example", SOURCE, Address("198.51.100.10", 5060)),
        (b"SIP/2.0/TLS h.example", SOURCE, Address("198.51.100.10", 5061)),
        (b"SIP/2.0/UDP h.example;received=1.2.3.4;rport=99", None, Address("1.2.3.4", 99)),
        (b"SIP/2.0/UDP 1.2.3.4", None, Address("1.2.3.4", 5060)),
        (b"SIP/2.0/UDP [2001:db8::1]:7", None, Address("2001:db8::1", 7)),
        (b"SIP/2.0/UDP h.example", None, None),
    ],
)
def test_response_goes_where_the_request_came_from(value: bytes, source: Address | None, address: Address) -> None:
    """RFC 3261 §18.2.2, RFC 3581 §4."""
    assert response_address(parse_via(value), source) == address


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


usual_pieces = st.lists(
    st.one_of(
        st.sampled_from([b";rport", b";branch=z9hG4bK1", b";received=192.0.2.1", b";rport=5", b";tag=", b";maddr=h"]),
        st.sampled_from([b";ttl=1", b";RPORT", b";Branch=z9", b";Received=h", b";alias", b";x=a:b", b";x:y", b";=z"]),
        st.sampled_from([b";", b"=", b" ", b",", b'"', b"<", b">", b"[", b"]", b"a", b"A", b"/", b"\x00", b"\xff"]),
    ),
    max_size=6,
).map(b"".join)


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


def outcome(read: Callable[[], object]) -> object:
    """What it returns, or the error that it raises."""
    try:
        found = read()
    except RemoteProtocolError as error:
        return str(error), error.rfc
    if isinstance(found, Via):
        return found.transport, found.host, found.port, found.branch, found.rport, found.received, found.maddr
    return found


@given(
    st.sampled_from([b"UDP a.example", b"TCP [::1]:5070", b"TLS 192.0.2.1:0", b"udp  a", b"UDP a:70000"]), usual_pieces
)
def test_usual_via_means_what_it_means_in_any_other_spelling(sender: bytes, params: bytes) -> None:
    """The parameter that is added keeps the value from being read in the quick way, and says nothing."""
    value = (b"SIP/2.0/" + sender + params).strip()
    if params.count(b'"') & 1 or b" " in params:
        return  # there it would be part of something else
    among_others = value + b';x=""'
    assert outcome(lambda: parse_via(value)) == outcome(lambda: parse_via(among_others))
    via = readable_via(value)
    if via is not None:
        stamped = stamp_via(among_others, via, SOURCE)
        assert stamp_via(value, via, SOURCE) == stamped.replace(b';x=""', b"")


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


def test_few_senders_are_remembered() -> None:
    """Peers that name themselves otherwise in every Via, or at length, do not fill our memory."""
    for number in range(1000):
        parse_via(b"SIP/2.0/UDP h%d;branch=x" % number)
        parse_via(b"SIP/2.0/UDP %s%d;branch=x" % (b"h" * 200, number))
    assert 0 < len(headers._senders) <= 64
    assert sum(map(len, headers._senders)) < 6000
    assert max(sent.length for sent in headers._latest if sent is not None) < 100
    headers.forget_senders()
    assert not headers._senders
    assert headers._latest == [None] * 16


def test_senders_that_share_a_place_are_told_apart() -> None:
    """All of what a Via begins with is compared, and the semicolon behind it."""
    for _ in range(2):
        for host in (b"192.0.2.11:5060", b"192.0.2.11:5061", b"192.0.2.11:506", b"192.0.2.11", b"192.0.2.110"):
            via = parse_via(b"SIP/2.0/UDP %s;branch=z9hG4bK1;rport" % host)
            assert (via.sent_by, via.branch, via.rport) == (host, b"z9hG4bK1", b"")
            assert parse_via(b"SIP/2.0/UDP %s" % host).sent_by == host


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


def test_via_of_many_parameters_that_begin_like_ours_is_read_and_stamped_like_one_of_few() -> None:
    begin = b"SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa"
    others = b"".join(b";rpor%d=x;recei=%d" % (number, number) for number in range(12))
    value = begin + b";Received=10.9.9.9" + others + b";rport"
    via = parse_via(value)
    assert (via.branch, via.rport, via.received) == (b"z9hG4bKa", b"", b"10.9.9.9")
    stamped = stamp_via(value, via, Address("192.0.2.1", 6000))
    assert stamped == begin + others + b";received=192.0.2.1;rport=6000"
