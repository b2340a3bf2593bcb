"""Raw header line to `HeaderLine` (RFC 3261 §7.3), each read once as long as it is remembered.

Of the lines of a message most came before: those of its own call a moment ago (From, Call-ID, Contact, the Via of ours
that a 100, a 180 and a 200 bring back), those that a peer always sends (Allow, User-Agent, Supported) and those that
everybody sends (Max-Forwards, CSeq, Content-Length). What is remembered are the lines seen last, some thousands: what
a call's INVITE brought is gone when its BYE comes, unless the call was short or the proxy has little to do.
"""

from __future__ import annotations

from typing import Final, final

from edge_proxy.sip.grammar import KIND_BY_NAME, header_kind
from edge_proxy.sip.message import HeaderLine

_MOST_YOUNG: Final = 2048
_LONGEST_BYTES: Final = 300
_LF: Final = 0x0A  # asking for a byte by its number costs a tenth of asking for bytes
_CR: Final = 0x0D
_BLANK: Final = 0x20


@final
class LineMemo:
    """The lines that were seen last, as they were read: it carries no meaning, and may be emptied at any time.

    Two generations: when the young one is full it becomes the old one, and what was not asked for since is let go.
    Twice `_MOST_YOUNG` lines of at most `_LONGEST_BYTES` are held: some 2.5 MB in traffic as it is, 6.5 MB if somebody
    sends only lines as long as they may be and none twice. A line that never comes again costs two look-ups and a place
    more than if nothing were remembered, about a third of what it costs to read.
    """

    __slots__ = ("_old", "young")

    def __init__(self) -> None:
        self.young: dict[bytes, HeaderLine] = {}
        """By the line as it stands in a message, with its CRLF: to be looked at before `read` is asked."""
        self._old: dict[bytes, HeaderLine] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def read(self, text: bytes) -> HeaderLine | None:
        """A line that is not among the young; None when it has no name or holds a lone CR or LF.

        It is asked for with its CRLF, but for the last of a message that has a body. One that is None, a folded one
        among them, is for those to judge who see the whole message.
        """
        line = self._old.get(text)
        if line is None:
            line = _read(text[:-2] if text.endswith(b"\r\n") else text)
            if line is None or len(text) > _LONGEST_BYTES:
                return line
        young = self.young
        if len(young) >= _MOST_YOUNG:
            self._old = young
            young = self.young = {}
        young[text] = line
        return line

    def forget(self) -> None:
        """Let go of all lines."""
        self.young = {}
        self._old = {}


LINES: Final = LineMemo()
"""The lines that this process saw last."""


def _read(raw: bytes) -> HeaderLine | None:
    if _LF in raw or _CR in raw:
        return None
    name, colon, value = raw.partition(b":")
    if not colon:
        return None
    kind = KIND_BY_NAME.get(name)
    if kind is None:
        kind = header_kind(name)
        if kind < 0:
            return None
    if not kind:
        return HeaderLine(kind, raw)
    if value and value[0] == _BLANK:
        value = value[1:]
    if value and (value[0] <= _BLANK or value[-1] <= _BLANK):
        value = value.strip(b" \t")
    return HeaderLine(kind, raw, value)
