"""Read from a request who it claims to come from: each header's values as claims, each with the number it names.

From, P-Asserted-Identity and P-Preferred-Identity (RFC 3325 §9, RFC 5876 §4.5) and Remote-Party-ID
(draft-ietf-sip-privacy-04 §5); PASSporTs are read in passports.py. Nothing here raises, and the work on one header is
bounded by `MAX_CLAIMS` and by the length of a header line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from edge_proxy.addr import E164
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.native import mypyc_attr
from edge_proxy.numbers.e164 import MAX_TEXT, MIN_DIGITS, DialPlan, Reading, ReadingRule, read_number
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import find_param, may_hide_more, parse_name_addr
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri, parse_uri, recall_uri

_COMMA: Final = 0x2C  # asking for a byte by its number costs a tenth of asking for bytes
MAX_CLAIMS: Final = 16
"""More identity values than this in one header are not read; `CallFacts.has_excess_claims` then says so."""

_ANONYMOUS_USERS: Final = frozenset({"anonymous", "unavailable", "unknown", "restricted", ""})
_IDENTITY_SCHEMES: Final = frozenset({"sip", "sips", "tel"})
_ASSERTED: Final = "P-Asserted-Identity"
_ASSERTED_BEGINS: Final = b"P-Asserted-Identity: <"
_ASSERTED_CHARS: Final = len(_ASSERTED_BEGINS)
_FROM_BEGINS: Final = b"From: <"
_FROM_CHARS: Final = len(_FROM_BEGINS)
_SEMICOLON: Final = 0x3B
_LESS: Final = 0x3C
_GREATER: Final = 0x3E
_TAG_CHARS: Final = len(b">;tag=")
_OUTSIDE_URIS: Final = bytes.maketrans(b"<>, \t\r\n\v\f", b"><>>>>>>>")
"""Changes a text that holds what ends a URI, or a comma, which may stand between two."""
NO_PRIVACY: Final[frozenset[bytes]] = frozenset()
_COMMON: Final = re.compile(
    rb"[ \t]*+(?:\"[^\"\\]*+\"|[A-Za-z0-9\-.!%*_+`'~ \t]*+)[ \t]*+<([^<>\s]*+)>(?:;[^\",<>]*+)?+\Z"
)
"""What nearly every address looks like: its URI, read to the same result as by `parse_name_addr`."""
_ONE_URI: Final = grammar.all_but(b"<> \t\r\n\v\f")
"""Changes no text that stands in angle brackets as a whole."""
_CONTEXT: Final = b"phone-context"
_CONTEXTS: Final = re.compile(rb"phone-context[ \t]*+=[ \t]*+([^;]*+)")
_DIGITS: Final = re.compile(rf"(?:[\W_]*+\d){{{MIN_DIGITS}}}[\W\d_]*+\Z")
_PARTIES: Final = re.compile(rb"party[ \t]*+=", re.IGNORECASE)


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Claim:
    """One identity that a message claims. `uri` is None when it could not be read."""

    header: str
    text: str
    uri: Uri | None
    reading: Reading | None
    number: E164 | None
    """Of the reading."""

    def __init__(self, header: str, text: str, uri: Uri | None, reading: Reading | None) -> None:
        self.header = header
        self.text = text
        self.uri = uri
        self.reading = reading
        self.number = None if reading is None else reading.number

    @property
    def user(self) -> str:
        """What stands where a number would: as sent, never more than 64 characters of it."""
        return (self.text if self.uri is None else self.uri.user)[:64]

    @property
    def is_anonymous(self) -> bool:
        """The caller withholds its number (RFC 3323 §4.1.1.3). A number that is there is not withheld by its host."""
        uri = self.uri
        if uri is None or self.number is not None or self.may_name_number:
            return False
        return uri.host.endswith(".invalid") or uri.user.lower() in _ANONYMOUS_USERS

    @property
    def may_name_number(self) -> bool:
        """Whether others may read a number in it where none was read here: it is no address, or in place of a name
        there are as many digits as a number has, and no letter. Some take a host without a user for the user."""
        uri = self.uri
        if uri is None or self.number is not None:
            return uri is None
        return _DIGITS.match(uri.user or (uri.host if uri.host.isdigit() else "")) is not None

    def names(self, other: Reading | None) -> bool:
        """Whether it is that number, or the same text of which no number was read."""
        reading = self.reading
        if reading is None or other is None:
            return False
        return reading.raw == other.raw if reading.number is None else reading.number == other.number


@mypyc_attr(acyclic=True)
class Claims:
    """The claims of one header: those that were read, and whether there are more."""

    __slots__ = ("has_excess", "read")

    def __init__(self, read: tuple[Claim, ...], has_excess: bool) -> None:
        self.read = read
        self.has_excess = has_excess


NO_CLAIMS: Final = Claims((), False)


def from_claim(message: Message, plan: DialPlan | None) -> Claim:
    """From. Its usual form is read where it stands in the message."""
    index = message.first[grammar.FROM]
    if index >= 0:
        uri_text = _usual_uri(message.headers[index].raw, message.from_tag)
        if uri_text:
            try:
                uri = parse_uri(uri_text)
            except RemoteProtocolError:
                return _unread_claim(message.value(grammar.FROM) or b"", "From")
            text = uri_text[:512].decode("utf-8", "replace")
            return Claim("From", text, uri, read_user(uri, plan))
    return read_claim(message.value(grammar.FROM) or b"", "From", plan)


def _usual_uri(line: bytes, tag: bytes) -> bytes:
    """The URI of a From line as nearly everybody writes it; b"" of another one."""
    # Behind the URI most have the tag and nothing else: where that would begin is looked at, not looked for.
    end = len(line) - len(tag) - _TAG_CHARS
    if end >= _FROM_CHARS and line[end] == _GREATER and line[end + 1] == _SEMICOLON and line.startswith(_FROM_BEGINS):
        text = line[_FROM_CHARS:end]
        if text.translate(_OUTSIDE_URIS) == text:
            return text
    common = _COMMON.match(line, line.find(b":") + 1)
    return b"" if common is None else common[1]


def listed_claims(message: Message, kind: int, plan: DialPlan | None, beside: Claim | None = None) -> Claims:
    """Every value of every line of a header that lists addresses. `beside` names, very often, the same URI."""
    pieces, has_excess = pieces_of(message, kind)
    header = grammar.HEADER_NAMES[kind]
    return Claims(tuple([read_claim(piece, header, plan, beside) for piece in pieces]), has_excess)


def asserted_claims(message: Message, plan: DialPlan | None, beside: Claim) -> Claims:
    """P-Asserted-Identity, very often From's URI. URIs of a scheme that it cannot have do not count (RFC 5876 §4.5).

    A second URI of a scheme does not count there either, but does here: it leaves with no message (see
    routing/identity.py), and a number that is not the caller's own is not excused by standing behind another.
    """
    line = message.headers[message.first[grammar.P_ASSERTED_IDENTITY]].raw
    is_alone = line.startswith(_ASSERTED_BEGINS) and message.count(grammar.P_ASSERTED_IDENTITY) == 1
    # The end is asked for first: compiled, a slice that would end before it begins raises.
    if is_alone and line.endswith(b">"):
        claim = _usual_asserted(line[_ASSERTED_CHARS:-1], plan, beside)
        if claim is not None:
            return Claims((claim,), False)
    claims = listed_claims(message, grammar.P_ASSERTED_IDENTITY, plan, beside)
    for one in claims.read:
        if one.uri is not None and one.uri.scheme not in _IDENTITY_SCHEMES:
            counted = (claim for claim in claims.read if claim.uri is None or claim.uri.scheme in _IDENTITY_SCHEMES)
            return Claims(tuple(counted), claims.has_excess)
    return claims


def _usual_asserted(text: bytes, plan: DialPlan | None, beside: Claim) -> Claim | None:
    """The one value that nearly all have, a sip URI; None: it is to be read otherwise."""
    uri = recall_uri(text)
    if uri is None or uri is not beside.uri:
        if text.translate(_OUTSIDE_URIS) != text:
            return None
        try:
            uri = parse_uri(text)
        except RemoteProtocolError:
            return None
    if not uri.host:
        return None
    reading = beside.reading
    if uri is beside.uri:
        return Claim(_ASSERTED, beside.text, uri, reading)
    # Of another host, but very often of the same number: that is not read again.
    is_known = beside.number is not None and beside.uri is not None and uri.user == beside.uri.user
    if not is_known or uri.user_params or (beside.uri is not None and beside.uri.user_params):
        reading = read_user(uri, plan)
    return Claim(_ASSERTED, text[:512].decode("utf-8", "replace"), uri, reading)


def remote_party_claims(message: Message, plan: DialPlan | None, dialled: Reading | None) -> Claims:
    """Remote-Party-ID values that are about the caller, as those without `party` are.

    `dialled`, of a customer's call: one that says that it is about who is called, and names another number, counts
    too, since many take any for the caller.
    """
    pieces, has_excess = pieces_of(message, grammar.REMOTE_PARTY_ID)
    calling: list[Claim] = []
    for piece in pieces:
        claim = read_claim(piece, "Remote-Party-ID", plan)
        is_called = dialled is None or claim.names(dialled) or (claim.number is None and not claim.may_name_number)
        if not is_called or not _is_about_the_called(piece):
            calling.append(claim)
    return Claims(tuple(calling), has_excess)


def privacy_of(message: Message) -> frozenset[bytes]:
    """The values of Privacy, in lower case (RFC 3323 §4.2)."""
    if message.first[grammar.PRIVACY] < 0:
        return NO_PRIVACY
    values = b";".join(message.values(grammar.PRIVACY)).replace(b",", b";").lower()
    return frozenset(value.strip(b" \t") for value in values.split(b";", 16)[:16])


def pieces_of(message: Message, kind: int) -> tuple[list[bytes], bool]:
    """The values of all lines of a header, at most `MAX_CLAIMS`, and whether there are more."""
    first = message.value(kind)
    if first is not None and _COMMA not in first and message.count(kind) == 1:
        return [first], False
    pieces = message.list_values(kind, MAX_CLAIMS)
    return (pieces[:MAX_CLAIMS], True) if len(pieces) > MAX_CLAIMS else (pieces, False)


def read_claim(value: bytes, header: str, plan: DialPlan | None, beside: Claim | None = None) -> Claim:
    """One address of a header as what it claims; one that cannot be read is a claim of no number.

    `beside` was read by the same plan: of the same URI nothing is read again.
    """
    try:
        uri_text = _common_uri(value)
        if uri_text is None:
            uri_text = parse_name_addr(value, header).uri
        uri = parse_uri(uri_text)
    except RemoteProtocolError:
        return _unread_claim(value, header)
    if beside is not None and uri is beside.uri:
        return Claim(header, beside.text, uri, beside.reading)
    return Claim(header, uri_text[:512].decode("utf-8", "replace"), uri, read_user(uri, plan))


def _unread_claim(value: bytes, header: str) -> Claim:
    return Claim(header, value[:512].decode("utf-8", "replace"), None, None)


def _common_uri(value: bytes) -> bytes | None:
    """The URI of an address as nearly all are written; None: it is another."""
    if value and value[0] == _LESS:
        text, found, behind = value[1:].partition(b">")
        is_common = not behind or (behind[0] == _SEMICOLON and not may_hide_more(behind))
        return text if found and is_common and text.translate(_ONE_URI) is text else None
    common = _COMMON.match(value)
    return None if common is None else common[1]


def read_user(uri: Uri, plan: DialPlan | None) -> Reading:
    """The number that a URI names, by the plan. A `phone-context` of another country, or of a part of this one where
    that makes a number, says that the plan is not meant (RFC 3966 §5.1.5): then it stands in front. With two there is
    no number."""
    if not uri.user_params or uri.user[:1] == "+":
        return read_number(uri.user, plan)
    params = unquote_to_bytes(uri.user_params).lower()
    if params.find(_CONTEXT) < 0:
        return read_number(uri.user, plan)
    contexts = {found.translate(None, b"-.()") for found in _CONTEXTS.findall(params)}
    code = b"+%d" % (0 if plan is None else plan.country_code)
    if all(not context.startswith(b"+") or context == code for context in contexts):
        return read_number(uri.user, plan)
    if len(contexts) > 1:
        return Reading(uri.user[:MAX_TEXT], ReadingRule.NOT_A_NUMBER, None)
    context = contexts.pop()
    reading = read_number(context.decode("utf-8", "replace") + uri.user, plan)
    return read_number(uri.user, plan) if reading.number is None and context.startswith(code) else reading


def _is_about_the_called(value: bytes) -> bool:
    """Whether it says so, and nothing else beside it."""
    try:
        params = parse_name_addr(value, "Remote-Party-ID").params
    except RemoteProtocolError:
        return False
    if (find_param(params, b"party") or b"").strip(b'"').lower() != b"called":
        return False
    return len(_PARTIES.findall(params)) == 1
