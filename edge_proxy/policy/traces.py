"""What a request shows, beside its identities, of the way it came: read only where the header is there.

Contact's trunk group (RFC 4904), P-Charge-Info (RFC 8496), P-Charging-Vector (RFC 7315 §5.6), P-Early-Media
(RFC 5009), Reason (RFC 3326), and of a session description who wrote it and where its media goes (RFC 8866).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_proxy.native import mypyc_attr
from edge_proxy.policy.parties import Origin
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message

MAX_MEDIA_HOSTS: Final = 8
_MAX_BYTES: Final = 512
_SLASH: Final = 0x2F  # asking for a byte by its number costs a tenth of asking for bytes
_MAX_BODY_BYTES: Final = 16_384
"""As much of a body is read: a call's description is a tenth of it."""
_MOST_CONNECTIONS: Final = 32
"""How many `c=` lines are looked at: no caller's equipment writes as many."""
_MOST_NAMES: Final = 8
"""How many `o=` lines, and `s=` lines, are looked at for one that says something."""
_MAX_VALUE_BYTES: Final = 128
_USUAL_BEGINS: Final = b"v=0\r\no="
_USUAL_CHARS: Final = len(_USUAL_BEGINS)
_MOST_HEADS: Final = 1024
_LONGEST_HEAD: Final = 512
_NOWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what `c=` says of media on hold


@dataclass(frozen=True, slots=True)
class HeaderTraces:
    """Header values in lower case, cut to 512 bytes; b"" for what is not there."""

    contact: bytes = b""
    charge_info: bytes = b""
    charging_vector: bytes = b""
    early_media: bytes = b""
    reasons: tuple[bytes, ...] = ()


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Traces:
    """What stands in headers and in the session description; "" for what is not there."""

    headers: HeaderTraces | None
    """None: there is nothing in them that tells anything."""
    sdp_origin: str
    sdp_session: str
    media_hosts: tuple[str, ...]
    """The different addresses of the `c=` lines."""
    media_origins: tuple[Origin, ...]
    """Whose each of them is: looked up by whoever has the tables."""

    def __init__(self) -> None:
        self.headers = None
        self.sdp_origin = ""
        self.sdp_session = ""
        self.media_hosts = ()
        self.media_origins = ()


@mypyc_attr(acyclic=True)
class _Head:
    """What was found in what stands between `o=` and the first `m=`, and whether that may not have been all."""

    __slots__ = ("has_more", "media_hosts", "sdp_session")

    def __init__(self, traces: Traces) -> None:
        self.sdp_session = traces.sdp_session
        self.media_hosts = traces.media_hosts
        self.has_more = len(traces.media_hosts) == MAX_MEDIA_HOSTS


_heads: Final[dict[str, _Head]] = {}


def read_headers(message: Message) -> HeaderTraces:
    """The headers, for a message that has one of them; a Contact without parameters tells of no trunk group."""
    return HeaderTraces(
        _value(message, grammar.CONTACT),
        _value(message, grammar.P_CHARGE_INFO),
        _value(message, grammar.P_CHARGING_VECTOR),
        _value(message, grammar.P_EARLY_MEDIA),
        tuple([value[:_MAX_BYTES].lower() for value in message.values(grammar.REASON)]),
    )


def _value(message: Message, kind: int) -> bytes:
    return (message.value(kind) or b"")[:_MAX_BYTES].lower()


def read_description(body: bytes, traces: Traces) -> None:
    """The first session description, also as one part of several; one pass over no more than 16 kB."""
    if not body.startswith(_USUAL_BEGINS) or not _read_usual(body, traces):
        _read_lines(body[:_MAX_BODY_BYTES], traces)


def _read_usual(body: bytes, traces: Traces) -> bool:
    """A body that is one description with all addresses in front of its first `m=`: whether it is.

    What stands there behind `o=` is the same in most calls of one equipment, and is not read again.
    """
    if len(body) > _MAX_BODY_BYTES:
        return False
    text = body.decode("latin-1")  # a byte a character: it cannot fail
    end = text.find("\r", _USUAL_CHARS)
    blank = text.find(" ", _USUAL_CHARS)
    if not _USUAL_CHARS < blank < end or blank > _USUAL_CHARS + _MAX_VALUE_BYTES or not text.isascii():
        return False
    media = text.find("\r\nm=", end)
    if media < 0 or text.find("\n", _USUAL_CHARS) != end + 1 or text.find("c=", media) >= 0:
        return False
    known = text[end:media]
    found = _heads.get(known)
    if found is None:
        found = _remember_head(known)
    if found.has_more or (not found.sdp_session and text.find("s=", media) >= 0):
        return False
    traces.sdp_origin = text[_USUAL_CHARS:blank]
    traces.sdp_session = found.sdp_session
    traces.media_hosts = found.media_hosts
    return True


def _remember_head(text: str) -> _Head:
    if len(_heads) >= _MOST_HEADS:
        _heads.clear()
    traces = Traces()
    _read_lines(text.encode("ascii"), traces)
    found = _Head(traces)
    if len(text) <= _LONGEST_HEAD:
        _heads[text] = found
    return found


def forget_descriptions() -> None:
    """Give back what is remembered."""
    _heads.clear()


def _read_lines(body: bytes, traces: Traces) -> None:
    """Only lines of the three kinds are looked at, however many others there are, and some of each kind."""
    text = body.replace(b"\r", b"\n")
    end = len(text)
    hosts: list[str] = []
    at = -1
    for _ in range(_MOST_CONNECTIONS):
        # Whatever the first line of a body is, a description begins with none of these.
        at = text.find(b"\nc=", at + 1)
        if at < 0:
            break
        value = _value_behind(text, at + 3)
        if not value:
            continue
        if len(hosts) == MAX_MEDIA_HOSTS:
            end = at
            break
        host = _host(value)
        if host and host not in hosts and host not in _NOWHERE:
            hosts.append(host)
    traces.media_hosts = tuple(hosts)
    at = -1
    for _ in range(_MOST_NAMES):
        at = text.find(b"\no=", at + 1, end)
        if at < 0:
            break
        traces.sdp_origin = _value_behind(text, at + 3).partition(b" ")[0].decode("utf-8", "replace")
        if traces.sdp_origin:
            break
    at = -1
    for _ in range(_MOST_NAMES):
        at = text.find(b"\ns=", at + 1, end)
        if at < 0:
            break
        traces.sdp_session = _value_behind(text, at + 3).decode("utf-8", "replace").rstrip()
        if traces.sdp_session:
            break


def _value_behind(text: bytes, start: int) -> bytes:
    end = text.find(b"\n", start, start + _MAX_VALUE_BYTES)
    return text[start : end if end >= 0 else start + _MAX_VALUE_BYTES]


def _host(connection: bytes) -> str:
    """`IN IP4 192.0.2.1/127` without the time to live."""
    words = connection.split()
    if len(words) != 3:
        return ""
    host = words[2]
    return (host.partition(b"/")[0] if _SLASH in host else host).decode("ascii", "replace")
