"""Change the identity headers of a request as it crosses a border of trust (RFC 3325 §5 to §7, RFC 5876 §4.5).

P-Preferred-Identity ends here, what an untrusted sender asserts is kept, cleaned, replaced or taken out, and what is
asserted does not reach an untrusted peer when the caller asks for privacy. From keeps all but `verstat`, and its sender
gets it back as it was. A request of which nothing is to be changed is returned as the same object, and so leaves byte
for byte as it came.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_name_addr
from edge_proxy.sip.message import HeaderLine, Message, with_headers
from edge_proxy.sip.uri import parse_uri

_ONE_PLAIN_VALUE: Final = re.compile(rb"[^\",<>:]*+<?+[ \t]*+(?:sips?|tel):[^,]*+", re.IGNORECASE)
_QUOTED_OR_PARAM: Final = re.compile(
    grammar.QUOTED + rb'|;[ \t]*+([^;=<>@?,"\s]++)(?:[ \t]*+=[ \t]*+[^;<>@?,"\s]*+)?+', re.DOTALL
)
_PERCENT: Final = 0x25
_COMMA: Final = 0x2C  # asking for a byte by its number costs a tenth of asking for bytes
_V: Final = 0x76
_CAPITAL_V: Final = 0x56
_ASSERTED: Final = frozenset({grammar.P_ASSERTED_IDENTITY})
_SHOWS_THE_CALLER: Final = frozenset({grammar.P_ASSERTED_IDENTITY, grammar.REMOTE_PARTY_ID})


def with_identity(message: Message, *, is_trusted: bool, keeps: bool, asserts: bytes = b"") -> Message:
    """The request with what may go on of the identity that its sender gave it.

    Not `keeps`: nothing that it asserts. `asserts`: the header line that stands there instead. Of what is kept,
    values that RFC 5876 §4.5 tells to ignore are left out, and `verstat` too, there and in Remote-Party-ID, unless the
    sender `is_trusted`.
    """
    first = message.first
    has_asserted = first[grammar.P_ASSERTED_IDENTITY] >= 0
    is_cleaned = not is_trusted and first[grammar.REMOTE_PARTY_ID] >= 0
    is_less = first[grammar.P_PREFERRED_IDENTITY] >= 0 or is_cleaned
    if not has_asserted and not is_less and not asserts:
        return message
    kept = None
    if keeps and has_asserted:
        if not is_less and not asserts and _is_plain(message, is_trusted=is_trusted):
            return message
        kept = _kept_values(message)
    headers: list[HeaderLine] = []
    is_changed = False
    place = -1
    for line in message.headers:
        kind = line.kind
        if kind == grammar.P_PREFERRED_IDENTITY:
            is_changed = True
            continue
        if kind == grammar.P_ASSERTED_IDENTITY:
            if place < 0:
                place = len(headers)
            if not keeps or kept is not None:
                is_changed = True
                continue
        if not is_trusted and kind in _SHOWS_THE_CALLER and (clean := without_verstat(line.raw)) != line.raw:
            is_changed = True
            line = HeaderLine(kind, clean)
        headers.append(line)
    instead = asserts
    if kept:
        instead = b"P-Asserted-Identity: " + b", ".join(kept)
        instead = instead if is_trusted else without_verstat(instead)
    if instead:
        is_changed = True
        headers.insert(len(headers) if place < 0 else place, HeaderLine(grammar.P_ASSERTED_IDENTITY, instead))
    return with_headers(message, headers) if is_changed else message


def concealed(message: Message) -> Message:
    """The request as an untrusted peer may see it: without what is asserted, if the caller asks for that (§7)."""
    if not asks_for_concealment(message):
        return message
    return with_headers(message, [line for line in message.headers if line.kind not in _SHOWS_THE_CALLER])


def without_remote_party(message: Message) -> Message:
    """The message without Remote-Party-ID."""
    return with_headers(message, [line for line in message.headers if line.kind != grammar.REMOTE_PARTY_ID])


def private(message: Message) -> Message:
    """The request with the wish that what is asserted in it stays private (RFC 3325 §9.3), unless it has one, or says
    `none`."""
    index = message.first[grammar.PRIVACY]
    if index < 0:
        return with_headers(message, [*message.headers, HeaderLine(grammar.PRIVACY, b"Privacy: id")])
    wishes = {value.strip(b" \t") for value in _privacy(message).split(b";")}
    if b"id" in wishes or b"none" in wishes:
        return message
    headers = message.headers[:]
    headers[index] = HeaderLine(grammar.PRIVACY, headers[index].raw + b";id")
    return with_headers(message, headers)


def asks_for_concealment(message: Message) -> bool:
    """Whether it asserts an identity and has `id` among its Privacy values (RFC 3325 §9.3)."""
    if message.first[grammar.PRIVACY] < 0:
        return False
    if all(message.first[kind] < 0 for kind in _SHOWS_THE_CALLER):
        return False
    return any(value.strip(b" \t") == b"id" for value in _privacy(message).split(b";"))


def _privacy(message: Message) -> bytes:
    """All Privacy values, in lower case with semicolons between."""
    return b";".join(message.values(grammar.PRIVACY)).replace(b",", b";").lower()


def without_verstat(line: bytes) -> bytes:
    """The line without `verstat` parameters: whether a number was verified is for a trusted network to say
    (3GPP TS 24.229 §7.2A.20)."""
    if _PERCENT not in line and (not (_V in line or _CAPITAL_V in line) or line.lower().find(b"verstat") < 0):
        return line
    return _QUOTED_OR_PARAM.sub(_unless_verstat, line)


def says_verstat(line: HeaderLine) -> bool:
    """Whether there is anything in a From line for `without_verstat` to take out; once known, it stays with the line,
    which all requests of a dialog bring."""
    if line.number < 0:
        line.number = 1 if without_verstat(line.raw) != line.raw else 0
    return line.number == 1


def unverified_from(message: Message) -> Message:
    """The request with a From that says nothing of verification (see `without_verstat`). A dialog knows its ends by
    their tags (RFC 3261 §12), so that From may differ on both sides of us as long as each sees the one it knows."""
    index = message.first[grammar.FROM]
    if index < 0:
        return message
    headers = message.headers[:]
    headers[index] = HeaderLine(grammar.FROM, without_verstat(headers[index].raw))
    return with_headers(message, headers)


def _unless_verstat(match: re.Match[bytes]) -> bytes:
    name = match[1]
    return b"" if name is not None and unquote_to_bytes(name).lower() == b"verstat" else match[0]


def _is_plain(message: Message, *, is_trusted: bool) -> bool:
    """Whether what is asserted is one value of which nothing has to be taken out: what most calls have."""
    line = message.line(grammar.P_ASSERTED_IDENTITY)
    if line is None or message.count(grammar.P_ASSERTED_IDENTITY) > 1:
        return False
    value = line.value
    is_usual = value[:5] == b"<sip:" and _COMMA not in value
    if not is_usual and _ONE_PLAIN_VALUE.fullmatch(value) is None:
        return False
    return is_trusted or without_verstat(line.raw) is line.raw


def _kept_values(message: Message) -> list[bytes] | None:
    """The values that count (RFC 5876 §4.5): one sip or sips URI and one tel URI, the first of each. None: all do."""
    values = message.list_values(grammar.P_ASSERTED_IDENTITY)
    kept: list[bytes] = []
    seen: set[str] = set()
    for value in values:
        try:
            scheme = parse_uri(parse_name_addr(value, "P-Asserted-Identity").uri).scheme.removesuffix("s")
        except RemoteProtocolError:
            scheme = ""  # no URI: not one that counts
        if scheme in {"sip", "tel"} and scheme not in seen:
            seen.add(scheme)
            kept.append(value)
    return None if len(kept) == len(values) else kept
