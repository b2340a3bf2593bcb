"""`Message` back to bytes: responses of our own (RFC 3261 §8.2.6), and lines joined again for what is passed on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message, line_value

_TAG: Final = re.compile(rb";[ \t\r\n]*tag[ \t\r\n]*=", re.IGNORECASE)


def join_message(start_line: bytes, lines: Sequence[bytes], body: bytes) -> bytes:
    """Start line, header lines and body as one message; the lines go out as they are, folds included."""
    return b"\r\n".join((start_line, *lines, b"", body))


def build_response(
    request: Message, status: int, *, phrase: str = "", to_tag: bytes = b"", extra: Sequence[bytes] = ()
) -> bytes:
    """A response of our own to `request`: every Via, From, To, Call-ID and CSeq line copied as received.

    `to_tag` is added when the request's To has none (§8.2.6.2; leave it empty for 100). Works on a message that the
    parser refused, as far as it was read. `extra` are whole header lines.
    """
    phrase = phrase or grammar.REASON_PHRASES.get(status, "Unknown")
    out = [b"SIP/2.0 %d %s" % (status, phrase.encode())]
    first = request.first
    for index, (line, kind) in enumerate(zip(request.lines, request.kinds, strict=True)):
        if kind == grammar.VIA:
            out.append(line)
        elif kind in {grammar.FROM, grammar.CALL_ID, grammar.CSEQ}:
            if index == first[kind]:  # a request that has two of them is answered once
                out.append(line)
        elif kind == grammar.TO:
            if index == first[kind]:
                # Where it was not read so far, its tag may be there all the same.
                has_tag = request.to_tag or _TAG.search(line) is not None
                out.append(line if has_tag or not to_tag else line + b";tag=" + to_tag)
        elif kind == grammar.TIMESTAMP and status == 100:
            out.append(line)
    out.extend(extra)
    out.append(b"Content-Length: 0")
    out.append(b"")
    out.append(b"")
    return b"\r\n".join(out)


def phrase_about(status: int, what: str) -> str:
    """The phrase of an answer, and in brackets what it is about."""
    return f"{grammar.REASON_PHRASES[status]} ({what})"


def replace_first_value(message: Message, kind: int, old: bytes, new: bytes) -> None:
    """Put `new` in place of `old`, the first value in the first line of this kind; further values stay."""
    index = message.first[kind]
    line = message.lines[index]
    rest = line_value(line)[len(old) :]
    message.lines[index] = line[: line.find(b":") + 1] + b" " + new + rest


def quote(text: str) -> str:
    """`text` as a quoted-string (RFC 3261 §25.1); control characters become blanks."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
