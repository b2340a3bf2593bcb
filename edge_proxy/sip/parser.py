"""Bytes to `Message` (RFC 3261 §7, §16.3 step 1, §18.3): one pass over the lines, then the parts a proxy uses.

What it refuses, it refuses with the answer it deserves: the error carries the status, the offset and, when enough of
the message was readable to answer it, the message so far. It never raises anything else, whatever the bytes.
"""

from __future__ import annotations

import re
from typing import Final

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar
from edge_proxy.sip.grammar import FIRST_REPEATABLE, HEADER_NAMES, KIND_BY_NAME
from edge_proxy.sip.headers import first_of_list, parse_cseq, parse_tag, parse_via, readable_via
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import NO_LINES, Message

_REQUEST_LINE: Final = re.compile(rb"([A-Za-z0-9\-.!%*_+`'~]+) ([^ \t\r\n<>\"]+) SIP/([0-9]+)\.([0-9]+)", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(rb"SIP/([0-9]+)\.([0-9]+) ([1-6][0-9][0-9]) ([^\r\n]*)", re.IGNORECASE)
_USUAL_METHODS: Final = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS PRACK UPDATE INFO REFER NOTIFY SUBSCRIBE MESSAGE REGISTER PUBLISH".split()
)
_STATUSES: Final = {b"%d" % status: status for status in range(100, 700)}
_UP_TO_255: Final = {b"%d" % number: number for number in range(256)}
_URI_ONLY: Final = grammar.all_but(b' \t\r\n<>"')
"""Changes nothing that may stand where the Request-URI stands."""
_MANDATORY: Final = (
    grammar.FROM, grammar.TO, grammar.CALL_ID, grammar.CSEQ, grammar.MAX_FORWARDS, grammar.CONTENT_LENGTH, grammar.VIA
)  # fmt: skip
_NO_VALUES: Final[list[bytes | None]] = [None] * grammar.KIND_COUNT
_BLANK: Final = 0x20  # asking for a byte by its number costs a tenth of asking for bytes
_COLON: Final = 0x3A
_LF: Final = 0x0A
_CR: Final = 0x0D
_LINE_END: Final = re.compile(rb"\r\n(?![ \t])")
_SIPPISH: Final = re.compile(rb"SIP/[0-9]|[^\r\n]* SIP/[0-9]", re.IGNORECASE)


class MalformedMessageError(RemoteProtocolError):
    """A message that cannot be used. `partial` is what could be read of it; None when it does not look like SIP."""

    def __init__(
        self, text: str, *, partial: Message | None, sip_status: int = 400, rfc: str = "", offset: int = -1
    ) -> None:
        super().__init__(text, sip_status=sip_status, rfc=rfc, offset=offset)
        self.partial = partial


def parse_message(data: bytes, limits: Limits, *, is_stream: bool = False) -> Message:
    """Parse one whole message as a datagram brings it: start line, headers, body to Content-Length or the end.

    On a stream a message without Content-Length is refused: only that header says where it ends (§18.3).
    Raises `MalformedMessageError`.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    together = b"".join(lines)
    is_clean = _LF not in together and _CR not in together
    start_line = lines.pop(0)
    message = Message(start_line, len(data))
    start_problem = None if is_clean and _read_usual_start_line(message) else _read_start_line(message)
    if start_problem is not None and _SIPPISH.match(start_line) is None:
        raise MalformedMessageError("start line is not SIP", partial=None, rfc="3261 §7", offset=0)
    if start_problem is None and len(start_line) > limits.max_header_bytes:
        text = f"start line is longer than {limits.max_header_bytes} bytes"
        start_problem = _problem(message, text, "3261 §21.4.15", 414, offset=0)
    if not end and lines and not lines[-1]:
        lines.pop()
    values: list[bytes | None] = _NO_VALUES[:]
    problem = start_problem
    is_short = len(lines) <= limits.max_headers and len(head) <= limits.max_header_bytes
    if not (is_clean and is_short and _sort_usual_lines(message, lines, values)):
        header_problem = _read_headers(
            message, head[len(start_line) + 2 :], limits
        )  # in any case: the answer goes where Via says
        problem = start_problem or header_problem
        for kind in _MANDATORY:
            values[kind] = message.value(kind)
    if problem is None and len(data) > limits.max_message_bytes:
        problem = _problem(message, f"message is longer than {limits.max_message_bytes} bytes", "3261 §21.5.11", 513)
    if problem is None and not end:
        problem = _problem(message, "header block has no end", "3261 §7", offset=len(data))
    if problem is None and not is_clean:
        # An element that takes a lone CR or LF for a line end would see other headers than we checked.
        problem = _problem(message, "bare CR or LF among the headers", "3261 §7")
    if problem is None:
        message.body = body
        problem = _read_mandatory(message, values, limits)
    else:
        _read_mandatory(message, values, limits)  # for the answer's sake; the first problem found is the one to tell
    if problem is None and is_stream and message.first[grammar.CONTENT_LENGTH] < 0:
        problem = _problem(message, "Content-Length is missing", "3261 §18.3")
    if problem is not None:
        raise problem
    return message


def _problem(
    message: Message, text: str, rfc: str, sip_status: int = 400, *, offset: int = -1
) -> MalformedMessageError:
    return MalformedMessageError(text, partial=message, sip_status=sip_status, rfc=rfc, offset=offset)


def _read_usual_start_line(message: Message) -> bool:
    """Read a start line without CR and LF in the spelling that nearly all have; False: it is another."""
    words = message.start_line.split(b" ", 2)
    if len(words) != 3:
        return False
    first, second, third = words
    if third == b"SIP/2.0":
        if first not in _USUAL_METHODS or not second or second.translate(_URI_ONLY) is not second:
            return False
        message.method = first
        message.uri = second
        return True
    status = _STATUSES.get(second)
    if first != b"SIP/2.0" or status is None:
        return False
    message.status = status
    message.reason = third
    return True


def _read_start_line(message: Message) -> MalformedMessageError | None:
    line = message.start_line
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


def _sort_usual_lines(message: Message, lines: list[bytes], values: list[bytes | None]) -> bool:
    """Sort the header lines by kind, and the first value of each into `values`, as long as nothing is wrong with them.

    A value may still have blanks around it. False: there are folds or a problem, and it is for `_read_headers` to say.
    """
    kinds: list[int] = []
    first = message.first
    for index, line in enumerate(lines):
        name, colon, value = line.partition(b": ")
        kind = KIND_BY_NAME.get(name)
        if kind is None or not colon:
            if not colon or _COLON in name:
                name, colon, value = line.partition(b":")
            kind = grammar.header_kind(name) if colon else -1
        if kind:
            if kind < 0:
                return False
            if first[kind] < 0:
                first[kind] = index
                values[kind] = value
            elif kind < FIRST_REPEATABLE:
                return False
        kinds.append(kind)
    message.lines = lines
    message.kinds = kinds
    return True


def _read_headers(message: Message, block: bytes, limits: Limits) -> MalformedMessageError | None:
    """Sort the header lines by kind. Lines that no proxy needs are only checked for having a name."""
    lines = split_header_lines(block)
    problem: MalformedMessageError | None = None
    if len(lines) > limits.max_headers:
        problem = _problem(message, f"more than {limits.max_headers} headers", "3261 §21.5.11", 513)
        del lines[limits.max_headers :]
    kinds: list[int] = []
    first = message.first = NO_LINES[:]
    longest = limits.max_header_bytes
    known = KIND_BY_NAME.get
    for index, line in enumerate(lines):
        colon = line.find(b":")
        kind = known(line[:colon]) if colon >= 0 else None
        if kind is None:
            kind = grammar.header_kind(line[:colon]) if colon >= 0 else -1
            if kind < 0:
                kind = grammar.OTHER
                if problem is None:
                    problem = _problem(
                        message,
                        f"header line {index + 1} has no name",
                        "3261 §7.3.1",
                        offset=_offset(message, lines, index),
                    )
        kinds.append(kind)
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
    message.lines = lines
    message.kinds = kinds
    return problem


def split_header_lines(block: bytes) -> list[bytes]:
    """The header lines of a head (without its start line), each with the folds that continue it (§7.3.1)."""
    has_folds = block.find(b"\r\n ") >= 0 or block.find(b"\r\n\t") >= 0
    lines = _LINE_END.split(block) if has_folds else block.split(b"\r\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines


def _offset(message: Message, lines: list[bytes], index: int) -> int:
    return len(message.start_line) + 2 + sum(len(line) + 2 for line in lines[:index])


def _read_mandatory(message: Message, values: list[bytes | None], limits: Limits) -> MalformedMessageError | None:
    """Read the six headers that every message must have and a proxy lives by (§8.1.1)."""
    try:
        via = values[grammar.VIA]
        if via is None:
            raise RemoteProtocolError("Via is missing", rfc="3261 §8.1.1.7")
        top = first_of_list(via)
        try:
            message.via = parse_via(top)
        except RemoteProtocolError:
            message.via = readable_via(top)
            raise
        call_id = (values[grammar.CALL_ID] or b"").strip(b" \t")
        if not call_id or _BLANK in call_id:
            raise RemoteProtocolError(
                "Call-ID is missing or empty" if not call_id else "Call-ID is not one word", rfc="3261 §20.8"
            )
        message.call_id = call_id
        cseq = values[grammar.CSEQ]
        if cseq is None:
            raise RemoteProtocolError("CSeq is missing", rfc="3261 §20.16")
        number, _, method = cseq.partition(b" ")
        if method in _USUAL_METHODS and number.isdigit() and len(number) < 10:
            small = _UP_TO_255.get(number)
            message.cseq = int(number) if small is None else small
        else:
            message.cseq, method = parse_cseq(cseq.strip(b" \t"))
        if message.status:
            message.method = method
        elif method != message.method:
            raise RemoteProtocolError("CSeq names another method than the request line", rfc="3261 §8.1.1.5")
        from_ = values[grammar.FROM]
        if from_ is None:
            raise RemoteProtocolError("From is missing", rfc="3261 §20.20")
        message.from_tag = parse_tag(from_, "From")
        to = values[grammar.TO]
        if to is None:
            raise RemoteProtocolError("To is missing", rfc="3261 §20.39")
        message.to_tag = parse_tag(to, "To")
        max_forwards = values[grammar.MAX_FORWARDS]
        if max_forwards is not None:
            message.max_forwards = _read_max_forwards(max_forwards)
        if len(message.kinds) > limits.max_vias and message.kinds.count(grammar.VIA) > limits.max_vias:
            raise RemoteProtocolError(f"more than {limits.max_vias} Vias", sip_status=513, rfc="3261 §16.3")
        length = values[grammar.CONTENT_LENGTH]
        if length is not None:
            _cut_body(message, length)
        if len(message.body) > limits.max_body_bytes:
            text = f"body is longer than {limits.max_body_bytes} bytes"
            raise RemoteProtocolError(text, sip_status=413, rfc="3261 §21.4.11")
    except RemoteProtocolError as error:
        return _problem(message, str(error), error.rfc, error.sip_status)
    return None


def _read_max_forwards(value: bytes) -> int:
    number = _UP_TO_255.get(value)
    if number is not None:
        return number
    value = value.strip(b" \t")
    if not value.isdigit() or len(value) > 10 or int(value) > 255:
        raise RemoteProtocolError("Max-Forwards is not a number from 0 to 255", rfc="3261 §20.22")
    return int(value)


def _cut_body(message: Message, value: bytes) -> None:
    """Hold the body to Content-Length as a datagram demands (§18.3): more is cut off, less is an error."""
    length = _UP_TO_255.get(value, -1)
    if length < 0:
        value = value.strip(b" \t")
        if not value.isdigit() or len(value) > 10:
            raise RemoteProtocolError("Content-Length is not a number", rfc="3261 §20.14")
        length = int(value)
    if length > len(message.body):
        raise RemoteProtocolError("Content-Length is more than the datagram holds", rfc="3261 §18.3")
    if length < len(message.body):
        message.body = message.body[:length]
