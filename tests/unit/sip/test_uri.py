"""URIs as routing and policy read them (RFC 3261 §19.1, RFC 3966, RFC 5031)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip.uri import Uri, forget_uris, parse_uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        (b"sip:alice@Example.COM", Uri("sip", "alice", "example.com", None, b"", b"")),
        (b"SIPS:a:secret@h:5061;lr", Uri("sips", "a", "h", 5061, b"", b";lr")),
        (b"sip:[2001:DB8::1]:5070", Uri("sip", "", "2001:db8::1", 5070, b"", b"")),
        (b"sip:+1202;npdi;rn=+1303@h;user=phone", Uri("sip", "+1202", "h", None, b";npdi;rn=+1303", b";user=phone")),
        (b"sip:+1%32025550100@h", Uri("sip", "+12025550100", "h", None, b"", b"")),
        (b"sip:a%40b@h", Uri("sip", "a@b", "h", None, b"", b"")),
        (b"sip:a?b/c@h", Uri("sip", "a?b/c", "h", None, b"", b"")),
        (b"sip:a@h;x?Subject=b@c", Uri("sip", "a", "h", None, b"", b";x", b"?Subject=b@c")),
        (b"tel:+1-202-555-0100;isub=1", Uri("tel", "+1-202-555-0100", "", None, b";isub=1", b";isub=1")),
        (b"sip:URN:service:sos@ims.example", Uri("sip", "URN:service:sos", "ims.example", None, b"", b"")),
        (b"sip:urns:secret@ims.example", Uri("sip", "urns", "ims.example", None, b"", b"")),
        (b"urn:service:sos.police", Uri("urn", "service:sos.police", "", None, b"", b"")),
        (b"nobodyKnowsThisScheme:what/ever", Uri("nobodyknowsthisscheme", "what/ever", "", None, b"", b"")),
    ],
)
def test_uri_is_split_into_what_is_asked_for(text: bytes, uri: Uri) -> None:
    """The user is decoded once and cut at its own parameters; the host is in lower case without brackets."""
    assert parse_uri(text) == uri


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"sip",
            b"sip:",
            b":a",
            b"sip:@h",
            b"sip:a@",
            b"sip:a@h:0",
            b"sip:a@h:65536",
            b"sip:a@h:x",
            b"sip:a b@h",
        ),
        *(b"sip:2001:db8::1", b"sip:[2001:db8::1", b"sip:<a@h>", b"1sip:a@h", b"sip:a@h;x y", b"tel:", b"tel:1 2"),
        *(b"sip:a@h\r\nX: y", b"sip:a@b@c"),
    ],
)
def test_what_is_no_uri_is_refused(text: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(RemoteProtocolError):
        parse_uri(text)


def test_parameters_are_found_by_name() -> None:
    """With and without a value, in any case."""
    uri = parse_uri(b"sip:h;LR;transport=TCP")
    assert (uri.param(b"lr"), uri.param(b"transport"), uri.param(b"maddr")) == (b"", b"TCP", None)


@given(st.one_of(st.binary(max_size=80), st.text('sip:tel@;?=%25+[]a1."<>', max_size=60).map(str.encode)))
def test_uri_reader_raises_nothing_undeclared(text: bytes) -> None:
    """Whatever the bytes: a URI or a `RemoteProtocolError`."""
    for start in (b"", b"sip:", b"tel:", b"urn:"):
        try:
            uri = parse_uri(start + text)
        except RemoteProtocolError:
            continue
        uri.param(b"lr")
        assert uri.scheme == uri.scheme.lower()


@pytest.mark.parametrize("piece", [b"a", b";", b"@", b":", b"%", b"[", b"?", b";a=", b"a@", b"%41", b".", b"a:"])
@pytest.mark.timeout(5)
def test_worst_uris_are_read_in_bounded_time(piece: bytes) -> None:
    """8 kB of anything."""
    for text in (b"sip:" + piece * (8192 // len(piece)), b"sip:a@h" + piece * (8192 // len(piece)), piece * 8192):
        try:
            parse_uri(text)
        except RemoteProtocolError:
            continue


def test_memory_for_uris_is_bounded() -> None:
    """A peer that sends long URIs, each another one, does not fill our memory with them."""
    texts = [b"sip:%d@h" % number for number in range(5000)]
    uris = [parse_uri(text) for text in texts]
    assert sum(parse_uri(text) is uri for text, uri in zip(texts, uris, strict=True)) <= 1024
    assert parse_uri(texts[-1]) is parse_uri(texts[-1])
    before = parse_uri(texts[-1])
    forget_uris()
    assert parse_uri(texts[-1]) is not before


@given(st.text("aZ09+-._@:;%[]? ", max_size=16).map(str.encode))
def test_plain_uri_is_read_as_any_other(rest: bytes) -> None:
    """What most callers are named by is read in a shorter way, which a scheme in capitals does not go."""

    def read(text: bytes) -> Uri | str:
        try:
            return parse_uri(text)
        except RemoteProtocolError as error:
            return str(error)

    assert read(b"sip:" + rest) == read(b"SIP:" + rest)
