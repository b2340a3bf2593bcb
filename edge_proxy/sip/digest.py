"""Digest authentication on the wire (RFC 3261 §22, RFC 8760): the value of a Proxy-Authorization to its parameters, and
a challenge to a Proxy-Authenticate line. What the parameters prove is worked out in policy/digest.py.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from edge_proxy.sip.serializer import quote

_SCHEME: Final = re.compile(rb"[ \t]*Digest[ \t]+", re.IGNORECASE)
_PARAM: Final = re.compile(
    rb"[ \t]*([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*=[ \t]*(?:\"((?:[^\"\\]++|\\.)*+)\"|([^\s,;\"]*+))[ \t]*(,|$)", re.DOTALL
)
_HEX_COUNT: Final = re.compile(rb"[0-9A-Fa-f]{8}")
_MOST_PARAMS: Final = 32


class DigestAnswer(NamedTuple):
    """What a client answered a challenge with. Quotes are taken off, escapes inside them stay (RFC 7616 §3.3)."""

    username: bytes
    realm: bytes
    nonce: bytes
    uri: bytes
    response: bytes
    algorithm: bytes
    cnonce: bytes
    qop: bytes
    count_text: bytes
    flaw: str = ""
    """Why it cannot be used at all; "" when it can be checked."""

    @property
    def nonce_count(self) -> int:
        """The nonce count, 0 when there is none."""
        return int(self.count_text, 16) if _HEX_COUNT.fullmatch(self.count_text) else 0


def parse_digest_answer(value: bytes) -> DigestAnswer | None:
    """The value of one Proxy-Authorization line; None when it is of another scheme or names no realm."""
    match = _SCHEME.match(value)
    if match is None:
        return None
    params: dict[bytes, bytes] = {}
    flaw = ""
    position = match.end()
    while position < len(value):
        param = _PARAM.match(value, position)
        if param is None or len(params) >= _MOST_PARAMS:
            flaw = "it cannot be read to its end"
            break
        name = param[1].lower()
        if name in params:
            flaw = "it names a parameter twice"
        params.setdefault(name, param[3] if param[2] is None else param[2])
        position = param.end()
    if b"realm" not in params:
        return None
    answer = DigestAnswer(
        username=params.get(b"username", b""),
        realm=params[b"realm"],
        nonce=params.get(b"nonce", b""),
        uri=params.get(b"uri", b""),
        response=params.get(b"response", b""),
        algorithm=params.get(b"algorithm", b""),
        cnonce=params.get(b"cnonce", b""),
        qop=params.get(b"qop", b""),
        count_text=params.get(b"nc", b""),
    )
    return answer._replace(flaw=flaw or _flaw_of(answer))


def _flaw_of(answer: DigestAnswer) -> str:
    if not (answer.username and answer.nonce and answer.uri and answer.response):
        return "username, nonce, uri or response is missing"
    if answer.qop.lower() != b"auth":
        return "its qop is not auth"
    if not answer.cnonce or answer.nonce_count == 0:
        return "cnonce or nonce count is missing"
    return ""


def challenge_line(realm: str, nonce: bytes, algorithm: str, *, is_stale: bool) -> bytes:
    """One Proxy-Authenticate line (RFC 8760 §2.4: one for each algorithm, the best first)."""
    stale = ", stale=true" if is_stale else ""
    text = f'Digest realm={quote(realm)}, nonce="{nonce.decode()}", algorithm={algorithm}, qop="auth"{stale}'
    return b"Proxy-Authenticate: " + text.encode()
