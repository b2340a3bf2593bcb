"""`Message` back to bytes: responses of our own (RFC 3261 §8.2.6), and lines joined again for what is passed on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from edge_proxy.addr import Address
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.via import stamp_via

try:
    from edge_proxy.sip._joined import joined
except ImportError:
    HAS_JOINED = False
else:
    HAS_JOINED = True

_BEFORE_VIA: Final = b"Via: "
_BRANCH: Final = b";branch="
_ASKING: Final = b";rport"
_START_LINES: Final = {
    status: b"SIP/2.0 %d %s" % (status, phrase.encode()) for status, phrase in grammar.REASON_PHRASES.items()
}
_COPIED: Final = {grammar.VIA, grammar.FROM, grammar.TO, grammar.CALL_ID, grammar.CSEQ}
_IS_COPIED: Final = [kind in _COPIED for kind in range(grammar.KIND_COUNT)]
_IS_COPIED_TO_100: Final = [kind in _COPIED or kind == grammar.TIMESTAMP for kind in range(grammar.KIND_COUNT)]
_NO_BODY: Final = (b"Content-Length: 0",)
_MOST_ANSWERS: Final = 1024
_answers: Final[dict[Address, bytes]] = {}
_TAG: Final = re.compile(rb";[ \t\r\n]*tag[ \t\r\n]*=", re.IGNORECASE)


def join_plainly(start_line: bytes, begin: Sequence[bytes], lines: Sequence[bytes], body: bytes, /) -> bytes:
    """What `_joined.c` does, where it is not built."""
    return b"\r\n".join((start_line, *begin, *lines, b"", body))


join: Final = joined if HAS_JOINED else join_plainly
"""`join(start_line, begin, lines, body)`: one message with the lines of both lists or tuples, `begin` first."""


def join_message(start_line: bytes, lines: Sequence[bytes], body: bytes) -> bytes:
    """Start line, header lines and body as one message; the lines go out as they are, folds included."""
    return join(start_line, (), lines, body)


def build_response(
    request: Message, status: int, *, phrase: str = "", to_tag: bytes = b"", extra: Sequence[bytes] = ()
) -> bytes:
    """A response of our own to `request`: every Via, From, To, Call-ID and CSeq line copied as received.

    `to_tag` is added when the request's To has none (§8.2.6.2; leave it empty for 100). Works on a message that the
    parser refused, as far as it was read. `extra` are whole header lines.
    """
    known = None if phrase else _START_LINES.get(status)
    start_line = b"SIP/2.0 %d %s" % (status, (phrase or "Unknown").encode()) if known is None else known
    out: list[bytes] = []
    first = request.first
    is_copied = _IS_COPIED_TO_100 if status == 100 else _IS_COPIED
    for index, line in enumerate(request.headers):
        kind = line.kind
        # A request that has two of what there is one of is answered once.
        if is_copied[kind] and (kind >= grammar.FIRST_REPEATABLE or index == first[kind]):
            raw = line.raw
            if kind == grammar.TO and to_tag and not request.to_tag and not _has_tag(raw):
                raw += b";tag=" + to_tag
            out.append(raw)
    if extra:
        out.extend(extra)
    return join(start_line, out, _NO_BODY, b"")


def _has_tag(line: bytes) -> bool:
    """Whether a To line has a tag: where To was not read, it may be there all the same."""
    return line.lower().find(b"tag") >= 0 and _TAG.search(line) is not None


def phrase_about(status: int, what: str) -> str:
    """The phrase of an answer, and in brackets what it is about."""
    return f"{grammar.REASON_PHRASES[status]} ({what})"


def replace_first_value(message: Message, kind: int, old: bytes, new: bytes) -> None:
    """Put `new` in place of `old`, the first value in the first line of this kind; further values stay."""
    index = message.first[kind]
    line = message.headers[index]
    rest = line.value[len(old) :]
    message.replace_line(index, line.raw[: line.raw.find(b":") + 1] + b" " + new + rest)


def stamp_top_via(message: Message, source: Address) -> None:
    """Write into the top Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4)."""
    via = message.via
    index = message.first[grammar.VIA]
    if via is None or index < 0:
        return
    header = message.headers[index]
    line = header.raw
    if via.rport == b"" and via.received is None and line.startswith(_BEFORE_VIA):
        # Nearly all ask before the branch or behind it; of the length that makes, the line can hold nothing else.
        known = len(_BEFORE_VIA) + via.sent.length
        if len(line) == known + len(_BRANCH) + len(via.branch) + len(_ASKING):
            kept = b""
            if line.endswith(_ASKING):
                kept = line[: -len(_ASKING)]
            elif via.branch and line[known : known + len(_ASKING)] == _ASKING:
                kept = line[:known] + line[known + len(_ASKING) :]
            if kept:
                message.replace_line(index, kept + _answer_to(source))
                return
    top = header.first_value
    stamped = stamp_via(top, via, source)
    if stamped is not top:
        replace_first_value(message, grammar.VIA, top, stamped)


def _answer_to(source: Address) -> bytes:
    """What a Via that asks for it is told of its source (RFC 3581 §4)."""
    answer = _answers.get(source)
    if answer is None:
        answer = b";received=%b;rport=%d" % (source.host.encode(), source.port)
        if len(_answers) >= _MOST_ANSWERS:
            _answers.clear()
        _answers[source] = answer
    return answer


def quote(text: str) -> str:
    """`text` as a quoted-string (RFC 3261 §25.1); control characters become blanks."""
    clean = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
