"""The tokens of RFC 3261 §25: header names with their compact forms, and the character classes the parsers share.

A header's *kind* is a small integer, so that a message keeps one integer per line and a look-up is a list index.
Kinds below `FIRST_REPEATABLE` may stand in a message once only (RFC 3261 §7.3.1); a second one is refused, since two
elements that each believe a different one is how checks are walked around.
"""

from __future__ import annotations

import re
from typing import Final

OTHER: Final = 0
FROM: Final = 1
TO: Final = 2
CALL_ID: Final = 3
CSEQ: Final = 4
MAX_FORWARDS: Final = 5
CONTENT_LENGTH: Final = 6
CONTENT_TYPE: Final = 7
FIRST_REPEATABLE: Final = 8
VIA: Final = 8
ROUTE: Final = 9
RECORD_ROUTE: Final = 10
CONTACT: Final = 11
PROXY_REQUIRE: Final = 12
P_ASSERTED_IDENTITY: Final = 13
USER_AGENT: Final = 14
SERVER: Final = 15
TIMESTAMP: Final = 16
RETRY_AFTER: Final = 17
MAX_BREADTH: Final = 18
SESSION_EXPIRES: Final = 19
MIN_SE: Final = 20
SUPPORTED: Final = 21
REQUIRE: Final = 22
PROXY_AUTHORIZATION: Final = 23
FIRST_UNUSUAL: Final = 24
P_PREFERRED_IDENTITY: Final = 24
P_ACCESS_NETWORK_INFO: Final = 25
DIVERSION: Final = 26
HISTORY_INFO: Final = 27
PRIVACY: Final = 28
REASON: Final = 29
REMOTE_PARTY_ID: Final = 30
IDENTITY: Final = 31
P_CHARGE_INFO: Final = 32
P_CHARGING_VECTOR: Final = 33
P_EARLY_MEDIA: Final = 34
KIND_COUNT: Final = 35
"""From `FIRST_UNUSUAL` on they are what most requests have none of."""

HEADER_NAMES: Final[dict[int, str]] = {
    FROM: "From",
    TO: "To",
    CALL_ID: "Call-ID",
    CSEQ: "CSeq",
    MAX_FORWARDS: "Max-Forwards",
    CONTENT_LENGTH: "Content-Length",
    CONTENT_TYPE: "Content-Type",
    VIA: "Via",
    ROUTE: "Route",
    RECORD_ROUTE: "Record-Route",
    CONTACT: "Contact",
    PROXY_REQUIRE: "Proxy-Require",
    P_ASSERTED_IDENTITY: "P-Asserted-Identity",
    P_PREFERRED_IDENTITY: "P-Preferred-Identity",
    P_ACCESS_NETWORK_INFO: "P-Access-Network-Info",
    DIVERSION: "Diversion",
    HISTORY_INFO: "History-Info",
    PRIVACY: "Privacy",
    USER_AGENT: "User-Agent",
    SERVER: "Server",
    REASON: "Reason",
    TIMESTAMP: "Timestamp",
    RETRY_AFTER: "Retry-After",
    MAX_BREADTH: "Max-Breadth",
    SESSION_EXPIRES: "Session-Expires",
    MIN_SE: "Min-SE",
    SUPPORTED: "Supported",
    REQUIRE: "Require",
    REMOTE_PARTY_ID: "Remote-Party-ID",
    IDENTITY: "Identity",
    PROXY_AUTHORIZATION: "Proxy-Authorization",
    P_CHARGE_INFO: "P-Charge-Info",
    P_CHARGING_VECTOR: "P-Charging-Vector",
    P_EARLY_MEDIA: "P-Early-Media",
}

COMPACT_FORMS: Final[dict[bytes, int]] = {
    b"f": FROM,
    b"t": TO,
    b"i": CALL_ID,
    b"l": CONTENT_LENGTH,
    b"c": CONTENT_TYPE,
    b"v": VIA,
    b"m": CONTACT,
    b"x": SESSION_EXPIRES,
    b"k": SUPPORTED,
    b"y": IDENTITY,
}

_BY_LOWER_NAME: Final[dict[bytes, int]] = {
    **{name.lower().encode(): kind for kind, name in HEADER_NAMES.items()},
    **COMPACT_FORMS,
    b"content_length": CONTENT_LENGTH,  # to Kamailio's reader of streams; whoever writes it so is refused
}

# Names seen in nearly every message that a proxy passes on unread; listed so that they cost one dict look-up.
_PASSED_ON: Final = (
    b"Allow", b"Accept", b"Date", b"Expires", b"Allow-Events", b"Event", b"RSeq", b"RAck", b"Subject", b"Organization",
    b"Content-Disposition",
)  # fmt: skip

KIND_BY_NAME: Final[dict[bytes, int]] = {
    **{name.encode(): kind for kind, name in HEADER_NAMES.items()},
    **{name.lower().encode(): kind for kind, name in HEADER_NAMES.items()},
    **COMPACT_FORMS,
    **{compact.upper(): kind for compact, kind in COMPACT_FORMS.items()},
    **dict.fromkeys(_PASSED_ON, OTHER),
}
"""Exact spellings to kind: the fast path. A miss goes through `header_kind`."""


def all_but(forbidden: bytes) -> bytes:
    """A table: `text.translate(table) is text`, the same object, exactly if none of the bytes is forbidden.

    It costs a fraction of what the same question costs as a pattern.
    """
    return bytes(byte ^ 1 if byte in forbidden else byte for byte in range(256))


def only(allowed: bytes) -> bytes:
    """A table like that of `all_but` for text in which nothing but these bytes is allowed."""
    return all_but(bytes(byte for byte in range(256) if byte not in allowed))


ALPHANUMERIC: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
TOKEN_BYTES: Final[bytes] = ALPHANUMERIC + b"-.!%*_+`'~"

TOKEN_ONLY: Final = only(TOKEN_BYTES)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+")

is_token = _TOKEN.fullmatch

QUOTED: Final[bytes] = rb'"(?:[^"]*+(?<!\\)"|[^"\\]*+(?:\\.[^"\\]*+)*+")'
"""A quoted string, as part of a pattern with `re.DOTALL`: up to the first quote that is not escaped.

A quote with no backslash before it is that one, and is found at a few instructions a byte.
"""


def header_kind(name: bytes) -> int:
    """The kind of a header name as received (any case, blanks before the colon); -1 when it is no token (§7.3.1)."""
    if name.translate(TOKEN_ONLY) is not name:
        size = len(name)
        name = name.rstrip(b" \t")
        if len(name) == size or name.translate(TOKEN_ONLY) is not name:
            return -1
    if not name:
        return -1
    return _BY_LOWER_NAME.get(name.lower(), OTHER)


METHOD_INVITE: Final = b"INVITE"
METHOD_ACK: Final = b"ACK"
METHOD_BYE: Final = b"BYE"
METHOD_CANCEL: Final = b"CANCEL"
METHOD_OPTIONS: Final = b"OPTIONS"
METHOD_UPDATE: Final = b"UPDATE"

SUPPORTED_SCHEMES: Final = frozenset({"sip", "sips", "tel", "urn"})
"""Request-URI schemes a call may be sent to; another is answered 416 (RFC 3261 §16.3). urn: RFC 5031 services."""

MAGIC_COOKIE: Final = b"z9hG4bK"

REASON_PHRASES: Final[dict[int, str]] = {
    # What one header of a request brings about names it.
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    416: "Unsupported URI Scheme (Request-URI)",
    420: "Bad Extension (Proxy-Require)",
    422: "Session Interval Too Small",
    433: "Anonymity Disallowed",
    440: "Max-Breadth Exceeded",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected (Via)",
    483: "Too Many Hops (Max-Forwards)",
    484: "Address Incomplete",
    487: "Request Terminated",
    500: "Server Internal Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    603: "Decline",
    607: "Unwanted",
    608: "Rejected",
}
