"""The values of the headers a proxy uses: name-addr with tag, lists with commas, parameters (RFC 3261 §20, §25.1).

Each function takes the bytes of a value (unfolded) and returns plain data; a value that breaks the grammar raises
`RemoteProtocolError` that names the header.
"""

from __future__ import annotations

import re
from typing import Final, final

from edge_proxy.errors import RemoteProtocolError
from edge_proxy.native import mypyc_attr
from edge_proxy.sip import grammar

# One top-level piece of a list: quoted strings and <...> may hold commas (§7.3.1).
# Possessive quantifiers throughout: no input makes these patterns backtrack.
_QUOTED: Final = grammar.QUOTED
_LIST_PIECE: Final = re.compile(rb"(?:" + _QUOTED + rb"|<[^<>]*+>|[^\",<>]++)++", re.DOTALL)
_ANY_NUMBER: Final = 1 << 30
PARAM: Final = re.compile(
    rb"[ \t]*;[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)(?:[ \t]*=[ \t]*(" + _QUOTED + rb"|\[[^\]\"]*\]|[^\s;,\"<>]*))?",
    re.DOTALL,
)
_TAG_END: Final = grammar.all_but(b'>;",<')
"""Changes no tag behind which the value ends."""
_IN_NAMES: Final = grammar.all_but(b"\\>:;")
"""Changes no display name with nothing in it that could be taken for more than a name."""
SIMPLE: Final = grammar.only(grammar.TOKEN_BYTES + b";=")
"""Changes no parameters that are tokens throughout."""
_NAME_ADDR: Final = re.compile(rb"((?:" + _QUOTED + rb"|[A-Za-z0-9\-.!%*_+`'~ \t]++)*+)<([^<>\r\n]*+)>", re.DOTALL)
_ANY_ADDRESS: Final = re.compile(rb"(?:" + _QUOTED + rb"|[^\"<>:;]++)*+<[^<>]*+>", re.DOTALL)
_PARAMS: Final = re.compile(rb"(?:" + _QUOTED + rb"|[^\",<>]++)*+", re.DOTALL)
_PARAMS_OF_ONE: Final = re.compile(rb"(?:" + _QUOTED + rb"|[^\"<>]++)*+", re.DOTALL)
"""Behind an address that is no piece of a list: a comma there ends what everybody reads, and no call is lost for it."""
_COMMA: Final = 0x2C  # asking for a byte by its number costs a tenth of asking for bytes
_CR: Final = 0x0D
_LF: Final = 0x0A
_QUOTE: Final = 0x22
_SEMICOLON: Final = 0x3B
_EQUALS: Final = 0x3D
_BLANK: Final = 0x20
_QUESTION: Final = 0x3F
_BACKSLASH: Final = 0x5C
_LESS: Final = 0x3C
_GREATER: Final = 0x3E
_PARAMS_BEGIN: Final = (b";", b"")
MOST_PARAMS: Final = 100
"""Of a Via, From or To; some fifteen are registered of a Via. Counted as semicolons, wherever they stand."""
MOST_ESCAPES: Final = 100
"""Of a name-addr or Via; a display name has one or two, if any. Counted as backslashes, wherever they stand."""
_SECONDS: Final = re.compile(rb"[ \t]*([0-9]{1,9})(?![0-9])")
_DIGITS_AND_METHOD: Final = re.compile(rb"([0-9]{1,10})[ \t]+([A-Za-z0-9\-.!%*_+`'~]+)")


def trimmed(value: bytes) -> bytes:
    """`value.strip(b" \\t")`, at a tenth of the cost where nothing is to be taken off."""
    if value and (value[0] <= _BLANK or value[-1] <= _BLANK):
        return value.strip(b" \t")
    return value


def split_list(value: bytes, most: int = _ANY_NUMBER) -> list[bytes]:
    """The pieces of a comma-separated header value, trimmed; commas in quotes or angle brackets do not split.

    Of more than `most` pieces there is one more than that, and what it holds is of no use. A value with more escapes
    than anybody writes is one piece, which `parse_name_addr` refuses.
    """
    if _COMMA not in value:
        return [trimmed(value)]
    if _LESS not in value and _QUOTE not in value and _GREATER not in value:
        return [trimmed(piece) for piece in value.split(b",", most)]
    pieces: list[bytes] = []
    if _QUOTE not in value:
        # Route values are an address in angle brackets each, with no comma in it.
        for piece in value.split(b",", most):
            if len(pieces) == most:
                pieces.append(b"")
                return pieces
            text = trimmed(piece)
            if len(text) < 2 or text[0] != _LESS or text[-1] != _GREATER:
                break
            inside = text[1:-1]
            if _LESS in inside or _GREATER in inside:
                break
            pieces.append(text)
        else:
            return pieces
        pieces.clear()
    if has_many_escapes(value):
        return [value.strip(b" \t")]
    position = 0
    while len(pieces) < most:
        match = _LIST_PIECE.match(value, position)
        end = match.end() if match else position
        pieces.append(value[position:end].strip(b" \t"))
        if end >= len(value):
            return pieces
        if value[end] != _COMMA:
            # An unbalanced quote or bracket: what is left is one piece, for the piece's own parser to refuse.
            pieces[-1] = value[position:].strip(b" \t")
            return pieces
        position = end + 1
    pieces.append(b"")
    return pieces


def first_of_list(value: bytes) -> bytes:
    """The first of the pieces that `split_list` finds, whatever follows it."""
    if _COMMA not in value:
        return trimmed(value)
    first = value.partition(b",")[0]
    if _LESS not in first and _QUOTE not in first and _GREATER not in first:
        return trimmed(first)
    if has_many_escapes(value):
        return value.strip(b" \t")
    match = _LIST_PIECE.match(value)
    end = match.end() if match else 0
    if end < len(value) and value[end] != _COMMA:
        return value.strip(b" \t")
    return value[:end].strip(b" \t")


def has_many_escapes(value: bytes) -> bool:
    return _BACKSLASH in value and value.count(b"\\") > MOST_ESCAPES


def find_param(params: bytes, name: bytes) -> bytes | None:
    """The value of `;name=value` (b"" when it has no value), None when absent. `name` is in lower case."""
    if not params or params.lower().find(name) < 0:
        return None
    if params.translate(SIMPLE) is params and params[0] == _SEMICOLON:
        for text in params[1:].split(b";"):
            key, _, found = text.partition(b"=")
            if not key:
                return None
            if key == name or key.lower() == name:
                return found
        return None
    position = 0
    while match := PARAM.match(params, position):
        if match[1].lower() == name:
            return match[2] or b""
        position = match.end()
    return None


@mypyc_attr(acyclic=True)
@final
class NameAddr:
    """`"Display" <uri>;params` or `uri;params` (RFC 3261 §20.10: without brackets the parameters are the header's)."""

    __slots__ = ("display", "params", "uri")

    def __init__(self, display: bytes, uri: bytes, params: bytes) -> None:
        self.display = display
        self.uri = uri
        self.params = params

    def __repr__(self) -> str:
        return f"NameAddr(display={self.display!r}, uri={self.uri!r}, params={self.params!r})"


def may_hide_more(params: bytes) -> bool:
    """Whether there may be more than parameters in what stands behind an address: one could be another address for who
    takes the end of a quoted string for its beginning."""
    return _QUOTE in params or _LESS in params or _GREATER in params or _COMMA in params


def parse_name_addr(value: bytes, header: str) -> NameAddr:
    """One name-addr or addr-spec; `header` is named in the error."""
    if value and value[0] == _LESS:
        # No display name: what most values begin with.
        uri, found, params = value[1:].partition(b">")
        is_plain = not params or (params[0] == _SEMICOLON and not may_hide_more(params))
        if found and is_plain and _LESS not in uri and _CR not in uri and _LF not in uri:
            return NameAddr(b"", trimmed(uri), params)
    if has_many_escapes(value):
        raise RemoteProtocolError(f"{header} has more than {MOST_ESCAPES} escapes", rfc="3261 §25.1")
    match = _NAME_ADDR.match(value)
    if match is not None:
        params = _params_behind(value, match.end(), header, _PARAMS)
        display = value[: match.end(1)]
        return NameAddr(display.strip(b" \t"), value[match.start(2) : match.end(2)].strip(b" \t"), params)
    if _LESS in value or _GREATER in value or _QUOTE in value:
        raise RemoteProtocolError(f"{header} has unbalanced quotes or angle brackets", rfc="3261 §20.10")
    uri, semicolon, params = value.partition(b";")
    uri = uri.strip(b" \t")
    if not uri or _BLANK in uri or _COMMA in value or _QUESTION in uri:
        raise RemoteProtocolError(f"{header} is not an address", rfc="3261 §20.10")
    return NameAddr(b"", uri, semicolon + params)


def _params_behind(value: bytes, end: int, header: str, well_formed: re.Pattern[bytes]) -> bytes:
    """The parameters behind an address that ends there, if nothing else stands behind it."""
    params = value[end:]
    if params and params.lstrip(b" \t")[:1] not in _PARAMS_BEGIN:
        raise RemoteProtocolError(f"{header} has something behind its address", rfc="3261 §20.10")
    if may_hide_more(params) and well_formed.fullmatch(params) is None:
        raise RemoteProtocolError(f"{header} has more than parameters behind its address", rfc="3261 §20.10")
    return params


def parse_tag(value: bytes, header: str) -> bytes:
    """The tag of a From or To value; b"" when it has none."""
    if value and value[-1] == _GREATER:
        if _LESS in value and _GREATER not in value[:-1] and (_QUOTE not in value or value.count(b'"') & 1 == 0):
            return b""
    elif value and value[0] == _LESS and _QUOTE not in value:
        # No display name: the first angle bracket that closes is the address's.
        params = value.partition(b">")[2]
        if params.startswith(b";tag="):
            tag = params[5:]
            if tag.translate(_TAG_END) is tag:
                return trimmed(tag)
    else:
        name, found, behind = value.partition(b"<")
        uri, _, params = behind.partition(b">")
        if found and params.startswith(b";tag=") and _LESS not in uri and name.translate(_IN_NAMES) is name:
            tag = params[5:]
            if tag.translate(_TAG_END) is tag and (_QUOTE not in name or name.count(b'"') & 1 == 0):
                return trimmed(tag)
    return _any_tag(value, header)


def _any_tag(value: bytes, header: str) -> bytes:
    """The tag of a value however it is spelt; what stands in front of its address need not be a display name.

    Where others read another tag, or none, a request would be inside a dialog for us and a new one for them.
    """
    if value.count(b";") > MOST_PARAMS:
        raise RemoteProtocolError(f"{header} has more than {MOST_PARAMS} parameters", rfc="3261 §20.10")
    value = value.strip(b" \t")
    match = None if has_many_escapes(value) else _ANY_ADDRESS.match(value)
    if match is None:
        params = parse_name_addr(value, header).params
    else:
        params = _params_behind(value, match.end(), header, _PARAMS_OF_ONE)
    return find_param(params, b"tag") or b""


def parse_cseq(value: bytes) -> tuple[int, bytes]:
    """CSeq's number (below 2**31, RFC 3261 §8.1.1.5) and method."""
    match = _DIGITS_AND_METHOD.fullmatch(value)
    if match is None:
        raise RemoteProtocolError("CSeq is not a number and a method", rfc="3261 §20.16")
    number = int(match[1])
    if number >= 1 << 31:
        raise RemoteProtocolError("CSeq is 2**31 or more", rfc="3261 §8.1.1.5")
    return number, match[2]


def parse_retry_after(value: bytes) -> float:
    """Retry-After's seconds, without its comment and parameters (RFC 3261 §20.33); 0 for what is no such value."""
    match = _SECONDS.match(value)
    return 0.0 if match is None else float(match[1])
