"""Bytes to `Message` (RFC 3261 §7, §16.3 step 1, §18.3): one pass over the lines, then the parts a proxy uses.

What it refuses, it refuses with the answer it deserves: the error carries the status, the offset and, when enough of
the message was readable to answer it, the message so far. It never raises anything else, whatever the bytes.
"""

from __future__ import annotations

import re
from typing import Final

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar
from edge_proxy.sip.grammar import FIRST_REPEATABLE, HEADER_NAMES
from edge_proxy.sip.headers import parse_cseq, parse_tag
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.line_memo import LINES
from edge_proxy.sip.message import NO_LINES, HeaderLine, Message, StartLine
from edge_proxy.sip.via import parse_via, readable_via

_REQUEST_LINE: Final = re.compile(rb"([A-Za-z0-9\-.!%*_+`'~]+) ([^ \t\r\n<>\"]+) (?i:SIP)/([0-9]+)\.([0-9]+)")
_STATUS_LINE: Final = re.compile(rb"(?i:SIP)/([0-9]+)\.([0-9]+) ([1-6][0-9][0-9]) ([^\r\n]*)")
_USUAL_METHODS: Final = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS PRACK UPDATE INFO REFER NOTIFY SUBSCRIBE MESSAGE REGISTER PUBLISH".split()
)
_AFTER_URI: Final = b" SIP/2.0"
_STATUSES: Final = {b"%d" % status: status for status in range(100, 700)}
_URI_ONLY: Final = grammar.all_but(b' \t\r\n<>"')
"""Changes nothing that may stand where the Request-URI stands."""
_FOLDED_LENGTHS: Final = (b"\nl:", b"\ncontent-length:", b"\nl\n:", b"\ncontent-length\n:")
"""How a continuation begins, without its blanks, that looks like Content-Length: its colon may be folded too."""
_IN_LOWER_CASE: Final = bytes(range(256)).lower().replace(b"_", b"-")  # an underscore is a hyphen to that reader
_LF: Final = 0x0A
_BLANK: Final = 0x20  # asking for a byte by its number costs a tenth of asking for bytes
_cut: Final = LINES.cut
_keep: Final = LINES.keep
_NONE: Final = -1
_SIPPISH: Final = re.compile(rb"(?i:SIP)/[0-9]|[^\r\n]* (?i:SIP)/[0-9]")


class MalformedMessageError(RemoteProtocolError):
    """A message that cannot be used. `partial` is what could be read of it; None when it does not look like SIP."""

    def __init__(
        self, text: str, *, partial: Message | None, sip_status: int = 400, rfc: str = "", offset: int = -1
    ) -> None:
        super().__init__(text, sip_status=sip_status, rfc=rfc, offset=offset)
        self.partial = partial


def parse_message(data: bytes, limits: Limits, *, is_stream: bool = False) -> Message:
    """Parse one whole message as a datagram brings it: start line, headers, body to Content-Length or the end.

    On a stream a message without Content-Length is refused: only that header says where it ends (§18.3). A datagram
    without one is given it, since it may go on by a stream (§16.6 step 9), where its body would be other messages.
    Raises `MalformedMessageError`.
    """
    message = _read_usual(data, limits)
    if message is not None:
        problem = _read_mandatory(message, limits)
    else:
        start_line, lines, names, body, has_end, has_bare = LINES.split(data, limits.max_headers)
        message = Message(start_line, len(data), [], NO_LINES[:])
        problem = _read_any(message, lines, names, limits, has_end=has_end, has_bare=has_bare)
        if problem is None:
            message.body = body
        later = _read_mandatory(message, limits)
        problem = problem or later
    if problem is None and message.first[grammar.CONTENT_LENGTH] < 0:
        if is_stream:
            problem = _problem(message, "Content-Length is missing", "3261 §18.3")
        else:
            message.add_line(HeaderLine(grammar.CONTENT_LENGTH, b"Content-Length: %d" % len(message.body)))
    if problem is not None:
        raise problem
    return message


def _read_usual(data: bytes, limits: Limits) -> Message | None:
    """Read a message up to the mandatory headers, as nearly all are: no folds, a usual start line, nothing wrong.

    None: it is another, and for `_read_any` to read.
    """
    size = len(data)
    head = _cut(data, limits.max_headers, limits.max_header_bytes)
    if head is None or size > limits.max_message_bytes:
        return None
    start, headers, first, body, unknown, raws = head
    if isinstance(start, bytes):
        line = _read_usual_start_line(start)
        if line is None:
            return None
        LINES.keep_start(start, line)
    else:
        line = start
    status = line.status
    if unknown is not None and raws is not None:
        # Behind a provisional response come others with its Vias; those of other messages come once, mostly.
        once = _NONE if 100 <= status < 200 else grammar.VIA
        if not _read_lines(headers, first, unknown, raws, once):
            return None
    message = Message(line.raw, size, headers, first)
    message.method = line.method
    message.uri = line.uri
    message.body = body
    if status:
        message.status = status
        message.reason = line.reason
        message.received = data
    return message


def _read_lines(headers: list[HeaderLine], first: list[int], unknown: list[int], raws: list[bytes], once: int) -> bool:
    """Read the lines that did not come before (see `Lines.cut`, and for `once` `Lines.keep`).

    False: one has no name, or one is there twice.
    """
    at = 0
    for raw in raws:
        index = unknown[at]
        kind = unknown[at + 1]
        colon = unknown[at + 2]
        if kind < 0:
            kind = _read_name(raw, colon)
            if kind < 0:
                return False
            unknown[at + 1] = kind
            if kind:
                known = first[kind]
                if known >= 0 and kind < FIRST_REPEATABLE:
                    return False
                if known < 0 or known > index:
                    first[kind] = index
        headers[index] = HeaderLine(kind, raw, colon)
        at += 3
    _keep(unknown, raws, headers, once)
    return True


def _read_name(line: bytes, colon: int) -> int:
    """The kind of a line whose name did not come before; -1: it has none."""
    if colon < 0:
        return -1
    name = line[:colon]
    kind = grammar.header_kind(name)
    if kind >= 0:
        LINES.keep_name(name, kind)
    return kind


def _read_any(
    message: Message, lines: list[bytes], names: list[int], limits: Limits, *, has_end: bool, has_bare: bool
) -> MalformedMessageError | None:
    """Read, up to the mandatory headers, a message that has folds, an unusual start line, or something wrong with it.

    Returns the first thing found, or raises it when the message does not look like SIP.
    """
    start_line = message.start_line
    problem = _read_start_line(message)
    if problem is not None and _SIPPISH.match(start_line) is None:
        raise MalformedMessageError("start line is not SIP", partial=None, rfc="3261 §7", offset=0)
    if problem is None and len(start_line) > limits.max_header_bytes:
        text = f"start line is longer than {limits.max_header_bytes} bytes"
        problem = _problem(message, text, "3261 §21.4.15", 414, offset=0)
    # In any case the headers are read, and the mandatory ones too: the answer goes where Via says.
    header_problem = _read_headers(message, lines, names, limits)
    problem = problem or header_problem
    if problem is None and message.size > limits.max_message_bytes:
        problem = _problem(message, f"message is longer than {limits.max_message_bytes} bytes", "3261 §21.5.11", 513)
    if problem is None and not has_end:
        problem = _problem(message, "header block has no end", "3261 §7", offset=message.size)
    if problem is None and has_bare:
        # An element that takes a lone CR or LF for a line end would see other headers than we checked.
        problem = _problem(message, "bare CR or LF among the headers", "3261 §7")
    return problem or _read_folds(message, lines, limits)


def _problem(
    message: Message, text: str, rfc: str, sip_status: int = 400, *, offset: int = -1
) -> MalformedMessageError:
    return MalformedMessageError(text, partial=message, sip_status=sip_status, rfc=rfc, offset=offset)


def _read_usual_start_line(line: bytes) -> StartLine | None:
    """Read a start line in the spelling that nearly all have, with no CR or LF in it; None: it is another."""
    if line.endswith(_AFTER_URI):
        method, _, rest = line.partition(b" ")
        if len(rest) <= len(_AFTER_URI):
            return None
        uri = rest[: -len(_AFTER_URI)]
        if method not in _USUAL_METHODS or uri.translate(_URI_ONLY) is not uri:
            return None
        return StartLine(line, method, uri, 0, b"")
    words = line.split(b" ", 2)
    if len(words) != 3:
        return None
    version, code, phrase = words
    status = _STATUSES.get(code)
    if version != b"SIP/2.0" or status is None:
        return None
    return StartLine(line, b"", b"", status, phrase)


def _read_start_line(message: Message) -> MalformedMessageError | None:
    line = message.start_line
    usual = _read_usual_start_line(line) if line.endswith(_AFTER_URI) else None
    if usual is not None:
        message.method = usual.method
        message.uri = usual.uri
        return None
    request = _REQUEST_LINE.fullmatch(line)
    if request is not None:
        message.method = request[1]
        message.uri = request[2]
        if request[3] != b"2" or request[4] != b"0":
            return _problem(message, "SIP version is not 2.0", "3261 §7.1", 505, offset=0)
        return None
    status = _STATUS_LINE.fullmatch(line)
    if status is not None:
        message.status = int(status[3])
        message.reason = status[4]
        if status[1] != b"2" or status[2] != b"0":
            return _problem(message, "SIP version is not 2.0", "3261 §7.2", 505, offset=0)
        return None
    if line[:4].upper() == b"SIP/":
        message.status = 999  # some response, for those who ask whether it can be answered
        return _problem(message, "status line is malformed", "3261 §7.2", offset=0)
    message.method = line.partition(b" ")[0]
    return _problem(message, "request line is malformed", "3261 §7.1", offset=0)


def _read_headers(
    message: Message, lines: list[bytes], names: list[int], limits: Limits
) -> MalformedMessageError | None:
    """Sort the header lines by kind. Lines that no proxy needs are only checked for having a name."""
    problem: MalformedMessageError | None = None
    if len(lines) > limits.max_headers:
        problem = _problem(message, f"more than {limits.max_headers} headers", "3261 §21.5.11", 513)
        del lines[limits.max_headers :]
    headers: list[HeaderLine] = []
    first = message.first = NO_LINES[:]
    longest = limits.max_header_bytes
    for index, line in enumerate(lines):
        kind = names[2 * index]
        colon = names[2 * index + 1]
        if kind < 0:
            kind = _read_name(line, colon)
            if kind < 0:
                kind = grammar.OTHER
                if problem is None:
                    problem = _problem(
                        message,
                        f"header line {index + 1} has no name",
                        "3261 §7.3.1",
                        offset=_offset(message, lines, index),
                    )
        headers.append(HeaderLine(kind, line))
        if kind:
            if first[kind] < 0:
                first[kind] = index
            elif kind < FIRST_REPEATABLE and problem is None:
                problem = _problem(
                    message,
                    f"two {HEADER_NAMES[kind]} headers",
                    "3261 §7.3.1",
                    offset=_offset(message, lines, index),
                )
        if len(line) > longest and problem is None:
            named = HEADER_NAMES.get(kind) or line[:colon][:40].decode("ascii", "replace")
            problem = _problem(
                message,
                f"{named} is longer than {longest} bytes",
                "3261 §21.5.11",
                513,
                offset=_offset(message, lines, index),
            )
    message.headers = headers
    return problem


def _read_folds(message: Message, lines: list[bytes], limits: Limits) -> MalformedMessageError | None:
    """Refuse more continuations than there may be headers, and one that looks like Content-Length: Kamailio reads it
    from a stream as that header, and what we take for the body as further messages."""
    text = b"\0".join(lines)
    folds = text.count(b"\n")
    if folds > limits.max_headers:
        return _problem(message, f"more than {limits.max_headers} continuation lines", "3261 §21.5.11", 513)
    if not folds or not _has_folded_length(text):
        return None
    for index, line in enumerate(lines):
        if _has_folded_length(line):
            where = _offset(message, lines, index)
            return _problem(
                message, "what looks like Content-Length is part of another header", "3261 §18.3", offset=where
            )
    return None


def _has_folded_length(text: bytes) -> bool:
    text = text.translate(_IN_LOWER_CASE, b" \t\r")
    while text.find(b"\n\n") >= 0:  # continuations that are only blanks
        text = text.replace(b"\n\n", b"\n")
    return any(text.find(length) >= 0 for length in _FOLDED_LENGTHS)


def _offset(message: Message, lines: list[bytes], index: int) -> int:
    return len(message.start_line) + 2 + sum(len(line) + 2 for line in lines[:index])


def _read_mandatory(message: Message, limits: Limits) -> MalformedMessageError | None:
    """Read the six headers that every message must have and a proxy lives by (§8.1.1).

    What was read of a line stays with it: one that came before is not read again.
    """
    headers = message.headers
    first = message.first
    try:
        index = first[grammar.VIA]
        if index < 0:
            raise RemoteProtocolError("Via is missing", rfc="3261 §8.1.1.7")
        line = headers[index]
        if line.via is None:
            try:
                line.via = parse_via(line.first_value)
            except RemoteProtocolError:
                message.via = readable_via(line.first_value)
                raise
        message.via = line.via
        index = first[grammar.CALL_ID]
        if index < 0:
            raise RemoteProtocolError("Call-ID is missing or empty", rfc="3261 §20.8")
        line = headers[index]
        if line.word is None:
            line.word = _read_call_id(line.value)
        message.call_id = line.word
        index = first[grammar.CSEQ]
        if index < 0:
            raise RemoteProtocolError("CSeq is missing", rfc="3261 §20.16")
        line = headers[index]
        method = line.word
        if method is None:
            line.number, method = _read_cseq(line.value)
            line.word = method
        message.cseq = line.number
        if message.status:
            message.method = method
        elif method != message.method:
            raise RemoteProtocolError("CSeq names another method than the request line", rfc="3261 §8.1.1.5")
        index = first[grammar.FROM]
        if index < 0:
            raise RemoteProtocolError("From is missing", rfc="3261 §20.20")
        line = headers[index]
        if line.word is None:
            line.word = parse_tag(line.value, "From")
        message.from_tag = line.word
        index = first[grammar.TO]
        if index < 0:
            raise RemoteProtocolError("To is missing", rfc="3261 §20.39")
        line = headers[index]
        if line.word is None:
            line.word = parse_tag(line.value, "To")
        message.to_tag = line.word
        index = first[grammar.MAX_FORWARDS]
        if index >= 0:
            line = headers[index]
            if line.number < 0:
                line.number = _read_max_forwards(line.value)
            message.max_forwards = line.number
        if len(headers) > limits.max_vias and message.count(grammar.VIA) > limits.max_vias:
            raise RemoteProtocolError(f"more than {limits.max_vias} Vias", sip_status=513, rfc="3261 §16.3")
        index = first[grammar.CONTENT_LENGTH]
        if index >= 0:
            line = headers[index]
            if line.number < 0:
                line = headers[index] = _read_content_length(line)
            if line.number != len(message.body):
                _cut_body(message, line.number)
        if len(message.body) > limits.max_body_bytes:
            text = f"body is longer than {limits.max_body_bytes} bytes"
            raise RemoteProtocolError(text, sip_status=413, rfc="3261 §21.4.11")
    except RemoteProtocolError as error:
        return _problem(message, str(error), error.rfc, error.sip_status)
    return None


def _read_call_id(value: bytes) -> bytes:
    if not value:
        raise RemoteProtocolError("Call-ID is missing or empty", rfc="3261 §20.8")
    if _BLANK in value:
        raise RemoteProtocolError("Call-ID is not one word", rfc="3261 §20.8")
    return value


def _read_cseq(value: bytes) -> tuple[int, bytes]:
    number, _, method = value.partition(b" ")
    if method in _USUAL_METHODS and number.isdigit() and len(number) < 10:
        return int(number), method
    return parse_cseq(value)


def _read_max_forwards(value: bytes) -> int:
    if not value.isdigit() or len(value) > 10 or int(value) > 255:
        raise RemoteProtocolError("Max-Forwards is not a number from 0 to 255", rfc="3261 §20.22")
    return int(value)


def _read_content_length(line: HeaderLine) -> HeaderLine:
    """The line with its number; one without folds in place of one that has any: not everybody reads a length there."""
    value = line.value
    raw = line.raw
    if not value.isdigit() or len(value) > 10:
        raise RemoteProtocolError("Content-Length is not a number", rfc="3261 §20.14")
    if raw[7:8] == b"_":
        raise RemoteProtocolError("Content-Length is written with an underscore", rfc="3261 §20.14")
    if _LF in raw:
        line = HeaderLine(grammar.CONTENT_LENGTH, b"Content-Length: " + value)
    line.number = int(value)
    return line


def _cut_body(message: Message, length: int) -> None:
    """Hold the body to another Content-Length as a datagram demands (§18.3): more is cut off, less is an error."""
    if length > len(message.body):
        raise RemoteProtocolError("Content-Length is more than the datagram holds", rfc="3261 §18.3")
    message.body = message.body[:length]
    message.received = b""
