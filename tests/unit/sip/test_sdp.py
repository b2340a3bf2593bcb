"""Session descriptions read as far as media address, port, codecs, ptime, bandwidth and direction (RFC 8866)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.sip.sdp import (
    MAX_BODY_BYTES,
    MAX_FORMATS,
    MAX_MEDIA,
    Codec,
    Direction,
    Media,
    parse_sdp,
)

HEAD = ("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")
CALL = (
    *HEAD,
    "m=audio 40000 RTP/AVP 8 0 96 101",
    "a=rtpmap:96 opus/48000/2",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-16",
    "a=ptime:20",
    "a=sendrecv",
)


def body(*lines: str, line_end: str = "\r\n") -> bytes:
    return "".join(line + line_end for line in lines).encode()


def only(*lines: str) -> Media:
    """The one medium of a description with these lines after its head."""
    sdp = parse_sdp(body(*HEAD, *lines))
    assert sdp is not None
    (media,) = sdp.media
    return media


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_ordinary_call_is_read(line_end: str) -> None:
    """What a phone sends, with any of the line ends that are met."""
    sdp = parse_sdp(body(*CALL, line_end=line_end))
    assert sdp is not None
    assert sdp.address == "192.0.2.1"
    assert sdp.media == (
        Media(
            kind="audio",
            port=40000,
            port_count=1,
            protocol="RTP/AVP",
            address="192.0.2.1",
            codecs=(
                Codec(8, "PCMA", 8000),
                Codec(0, "PCMU", 8000),
                Codec(96, "opus", 48000, 2),
                Codec(101, "telephone-event", 8000),
            ),
            ptime_ms=20,
            bandwidth_bps=None,
            direction=Direction.SENDRECV,
        ),
    )


def test_media_level_outranks_the_session_level() -> None:
    """Connection, bandwidth, direction and ptime of a section are its own; what it leaves out is the session's."""
    sdp = parse_sdp(
        body(
            *HEAD,
            "b=AS:80",
            "a=recvonly",
            "a=ptime:30",
            "m=audio 4000 RTP/SAVP 18",
            "c=IN IP6 2001:DB8::7",
            "b=TIAS:8000",
            "b=AS:999",
            "a=inactive",
            "a=ptime:40",
            "m=video 0 RTP/AVP 31",
        )
    )
    assert sdp is not None
    audio, video = sdp.media
    assert (audio.address, audio.bandwidth_bps, audio.ptime_ms) == ("2001:db8::7", 8000, 40)
    assert audio.direction is Direction.INACTIVE
    assert (video.address, video.bandwidth_bps, video.ptime_ms, video.port) == ("192.0.2.1", 80_000, 30, 0)
    assert video.direction is Direction.RECVONLY
    assert video.codecs == (Codec(31, "H261", 90000),)


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("c=IN IP4 224.2.36.42/127", "224.2.36.42"),
        ("c=IN IP4 0.0.0.0", "0.0.0.0"),
        ("c=IN IP4 Media.Example.com", "media.example.com"),
        ("c=IN IP4", "192.0.2.1"),
        ("c=ATM NSAP 47.0091", "192.0.2.1"),
    ],
)
def test_connection_line_gives_the_address(line: str, address: str) -> None:
    """TTL and count are cut off; a line that cannot be read leaves the session's."""
    assert only("m=audio 4000 RTP/AVP 0", line).address == address


def test_dynamic_type_without_rtpmap_has_no_name() -> None:
    """A dynamic payload type that nothing explains is kept: there is a stream, of an unknown codec."""
    assert only("m=audio 4000 RTP/AVP 97").codecs == (Codec(97, "", 0),)


def test_rtpmap_outranks_the_static_table() -> None:
    """RFC 3551's numbers are a default."""
    assert only("m=audio 4000 RTP/AVP 9", "a=rtpmap:9 G722/16000").codecs == (Codec(9, "G722", 16000),)


def test_fax_has_no_codecs() -> None:
    """What is not RTP has formats of its own."""
    media = only("m=image 5004 udptl t38")
    assert (media.kind, media.protocol, media.codecs) == ("image", "UDPTL", ())


def test_port_count_is_read() -> None:
    """`port/count` names several pairs of ports."""
    media = only("m=video 49170/2 RTP/AVP 31")
    assert (media.port, media.port_count) == (49170, 2)


@pytest.mark.parametrize("line", ["m=audio", "m=audio x RTP/AVP 0", "m=audio 70000 RTP/AVP 0", "m=audio -1 RTP/AVP 0"])
def test_unreadable_media_line_counts_for_nothing(line: str) -> None:
    """Its attributes are not taken for the section before or after it."""
    sdp = parse_sdp(body(*HEAD, "m=audio 4000 RTP/AVP 0", line, "a=sendonly", "m=audio 4002 RTP/AVP 8"))
    assert sdp is not None
    assert [(media.port, media.direction) for media in sdp.media] == [
        (4000, Direction.SENDRECV),
        (4002, Direction.SENDRECV),
    ]


def test_description_without_media_is_one() -> None:
    """A session without media sections is valid; there is just nothing to carry."""
    sdp = parse_sdp(body(*HEAD))
    assert sdp is not None
    assert sdp.media == ()


@pytest.mark.parametrize("text", [b"", b"hello", b"m=audio 4000 RTP/AVP 0\r\n", b"xv=0\r\n", b"<xml>v=0</xml>"])
def test_other_bodies_are_none(text: bytes) -> None:
    """Without a `v=` line there is no description."""
    assert parse_sdp(text) is None


def test_description_in_a_multipart_body_is_found() -> None:
    """SDP beside an ISUP part (RFC 3204) is read up to the boundary, and the other part is not."""
    sdp = parse_sdp(
        b"--b\r\nContent-Type: application/sdp\r\n\r\n" + body(*CALL) + b"--b\r\n\r\nm=audio 9 RTP/AVP 0\r\n--b--\r\n"
    )
    assert sdp is not None
    assert [media.port for media in sdp.media] == [40000]


def test_work_is_bounded() -> None:
    """However much is sent: so many sections and formats are read, and no more of the body than a datagram holds."""
    many = body(*HEAD, *(["m=audio 4000 RTP/AVP " + " ".join(str(n % 128) for n in range(200))] * 50))
    sdp = parse_sdp(many)
    assert sdp is not None
    assert len(sdp.media) == MAX_MEDIA
    assert all(len(media.codecs) <= MAX_FORMATS for media in sdp.media)
    assert parse_sdp(b"x" * MAX_BODY_BYTES + body("", *CALL)) is None


@given(st.binary(max_size=400))
def test_random_bytes_never_raise(junk: bytes) -> None:
    """Whatever follows a `v=` line, the outcome is plain data within the bounds."""
    sdp = parse_sdp(b"v=0\r\n" + junk)
    assert sdp is not None
    for media in sdp.media:
        assert 0 <= media.port <= 65_535
        assert all(0 <= codec.payload_type <= 127 for codec in media.codecs)


@given(st.lists(st.sampled_from([*CALL, "b=AS:x", "a=rtpmap:", "c=", "m=", "", "a=ptime:0", "z"]), max_size=30))
def test_lines_in_any_order_never_raise(lines: list[str]) -> None:
    """Lines out of order, missing or doubled are read as far as they make sense."""
    sdp = parse_sdp(body("v=0", *lines))
    assert sdp is not None
    assert len(sdp.media) == lines.count("m=audio 40000 RTP/AVP 8 0 96 101")


@given(st.integers(0, 65_535), st.lists(st.integers(0, 127), min_size=1, max_size=20, unique=True))
def test_port_and_payload_types_are_read_as_written(port: int, types: list[int]) -> None:
    """Every port and every list of payload types comes out as it went in, in order."""
    media = only(f"m=audio {port} RTP/AVP {' '.join(map(str, types))}")
    assert media.port == port
    assert [codec.payload_type for codec in media.codecs] == types
