"""Session descriptions as far as media traffic can be told from them (RFC 8866): where to, which codecs, how often.

Bytes of a body in, plain data out, or None when there is no session description in them. It is tolerant: a line that
cannot be read counts for nothing, and the rest is read. It does bounded work, whatever the bytes, and changes no body.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

MAX_BODY_BYTES: Final = 65_535
MAX_MEDIA: Final = 32
MAX_FORMATS: Final = 64
MAX_LINES: Final = 2048
MAX_TEXT_CHARS: Final = 64

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_START: Final = re.compile(rb"(?:\A|[\r\n])v=")


class Direction(StrEnum):
    """Which way media flows, as the sender of the description sees it (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


class Codec(NamedTuple):
    """One RTP payload type. `name` is as written; "" for a dynamic type that nothing explains."""

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int = 1


class Media(NamedTuple):
    """One `m=` section; what it leaves out is taken from the session level."""

    kind: str
    """`audio`, `video`, `image`, `application` ..., in lower case."""
    port: int
    """0: the stream is refused or switched off."""
    port_count: int
    protocol: str
    address: str
    """Of the `c=` line, an IP address or a name; "" when there is none."""
    codecs: tuple[Codec, ...]
    """In order of preference; none for what is not RTP."""
    ptime_ms: int
    """Media in one packet; 0 when it is not said."""
    bandwidth_bps: int | None
    """What is allowed: TIAS (RFC 3890), or else AS, which counts headers too; None when neither is said."""
    direction: Direction


class Sdp(NamedTuple):
    """A whole description. `address` is the session level's."""

    address: str
    media: tuple[Media, ...]


# RFC 3551 §6: what the numbers mean that need no rtpmap.
_STATIC: Final[dict[int, Codec]] = {
    codec.payload_type: codec
    for codec in (
        Codec(0, "PCMU", 8000),
        Codec(3, "GSM", 8000),
        Codec(4, "G723", 8000),
        Codec(5, "DVI4", 8000),
        Codec(6, "DVI4", 16000),
        Codec(7, "LPC", 8000),
        Codec(8, "PCMA", 8000),
        Codec(9, "G722", 8000),
        Codec(10, "L16", 44100, 2),
        Codec(11, "L16", 44100),
        Codec(12, "QCELP", 8000),
        Codec(13, "CN", 8000),
        Codec(14, "MPA", 90000),
        Codec(15, "G728", 8000),
        Codec(16, "DVI4", 11025),
        Codec(17, "DVI4", 22050),
        Codec(18, "G729", 8000),
        Codec(25, "CelB", 90000),
        Codec(26, "JPEG", 90000),
        Codec(28, "nv", 90000),
        Codec(31, "H261", 90000),
        Codec(32, "MPV", 90000),
        Codec(33, "MP2T", 90000),
        Codec(34, "H263", 90000),
    )
}


class _Section:
    """What the lines of one level said so far."""

    __slots__ = ("address", "as_bps", "direction", "ptime_ms", "rtpmaps", "tias_bps")

    def __init__(self) -> None:
        self.address = ""
        self.as_bps: int | None = None
        self.tias_bps: int | None = None
        self.ptime_ms = 0
        self.direction: Direction | None = None
        self.rtpmaps: dict[int, Codec] = {}

    @property
    def bandwidth_bps(self) -> int | None:
        return self.as_bps if self.tias_bps is None else self.tias_bps

    def read(self, kind: bytes, value: bytes) -> None:
        """Take in one line that is not `m=`."""
        if kind == b"c":
            self._read_connection(value)
        elif kind == b"b":
            self._read_bandwidth(value)
        elif kind == b"a":
            self._read_attribute(value)

    def _read_connection(self, value: bytes) -> None:
        words = value.split()
        if len(words) == 3 and words[0].upper() == b"IN" and not self.address:
            self.address = _text(words[2].partition(b"/")[0]).lower()

    def _read_bandwidth(self, value: bytes) -> None:
        modifier, _, amount = value.partition(b":")
        number = _number(amount.strip(), 10)
        if number is None:
            return
        name = modifier.strip().upper()
        if name == b"AS":
            self.as_bps = number * 1000
        elif name == b"TIAS":
            self.tias_bps = number

    def _read_attribute(self, value: bytes) -> None:
        name, _, rest = value.partition(b":")
        name = name.strip().lower()
        if name == b"rtpmap":
            codec = _codec(rest)
            if codec is not None:
                self.rtpmaps.setdefault(codec.payload_type, codec)
        elif name == b"ptime":
            self.ptime_ms = _number(rest.strip().partition(b".")[0], 4) or self.ptime_ms
        elif name in _DIRECTIONS:
            self.direction = _DIRECTIONS[name]


_DIRECTIONS: Final = {direction.value.encode(): direction for direction in Direction}


def parse_sdp(body: bytes) -> Sdp | None:
    """The session description in a body, also when it is one part of several; None when there is none."""
    start = _START.search(body[:MAX_BODY_BYTES])
    if start is None:
        return None
    session = _Section()
    sections: list[tuple[list[bytes], _Section]] = []
    current: _Section | None = session
    for line in _LINE_END.split(body[start.end() - 2 : MAX_BODY_BYTES], maxsplit=MAX_LINES)[:MAX_LINES]:
        if line[:2] == b"--":
            break  # the boundary of a multipart body
        if line[1:2] != b"=":
            continue
        kind, value = line[:1].lower(), line[2:]
        if kind == b"m":
            current = None  # what follows a line that cannot be read belongs to nobody
            words = value.split(maxsplit=3 + MAX_FORMATS)
            if len(words) >= 3 and len(sections) < MAX_MEDIA:
                current = _Section()
                sections.append((words, current))
        elif current is not None:
            current.read(kind, value)
    media = (_media(words, section, session) for words, section in sections)
    return Sdp(session.address, tuple(one for one in media if one is not None))


def _media(words: list[bytes], section: _Section, session: _Section) -> Media | None:
    port_text, _, count_text = words[1].partition(b"/")
    port = _number(port_text, 5)
    if port is None or port > 65_535:
        return None
    protocol = _text(words[2]).upper()
    return Media(
        kind=_text(words[0]).lower(),
        port=port,
        port_count=_number(count_text, 4) or 1,
        protocol=protocol,
        address=section.address or session.address,
        codecs=_codecs(words[3 : 3 + MAX_FORMATS], section) if "RTP/" in protocol else (),
        ptime_ms=section.ptime_ms or session.ptime_ms,
        bandwidth_bps=session.bandwidth_bps if section.bandwidth_bps is None else section.bandwidth_bps,
        direction=section.direction or session.direction or Direction.SENDRECV,
    )


def _codecs(formats: list[bytes], section: _Section) -> tuple[Codec, ...]:
    """The formats of an `m=` line by what rtpmap, or else RFC 3551, says of them; each one once."""
    codecs: dict[int, Codec] = {}
    for text in formats:
        number = _number(text, 3)
        if number is not None and number < 128 and number not in codecs:
            codecs[number] = section.rtpmaps.get(number) or _STATIC.get(number) or Codec(number, "", 0)
    return tuple(codecs.values())


def _codec(value: bytes) -> Codec | None:
    """`<payload type> <name>/<clock rate>[/<channels>]` (RFC 8866 §6.6)."""
    words = value.split(maxsplit=2)
    if len(words) < 2:
        return None
    number = _number(words[0], 3)
    name, _, rest = words[1].partition(b"/")
    clock_text, _, channels_text = rest.partition(b"/")
    clock_rate_hz = _number(clock_text, 7)
    if number is None or number > 127 or not name or not clock_rate_hz:
        return None
    return Codec(number, _text(name), clock_rate_hz, _number(channels_text, 2) or 1)


def _number(text: bytes, max_digits: int) -> int | None:
    return int(text) if text.isdigit() and len(text) <= max_digits else None


def _text(value: bytes) -> str:
    return value[:MAX_TEXT_CHARS].decode("utf-8", "replace")
