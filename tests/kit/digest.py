"""A client's side of digest authentication (RFC 7616 §3.4), written apart from the product's."""

from __future__ import annotations

import hashlib
import re

from tests.kit.messages import values

CNONCE = "0a4f113b"


def challenges(response: bytes) -> list[dict[str, str]]:
    """The parameters of each Proxy-Authenticate line, in order."""
    return [
        {name.lower(): value.strip('"') for name, value in re.findall(r'(\w+)=("[^"]*"|[^\s,]+)', line)}
        for line in values(response, "Proxy-Authenticate")
    ]


def authorization(
    challenge: dict[str, str],
    *,
    username: str,
    word: str,
    method: str = "INVITE",
    uri: str = "sip:edge.example",
    count: int = 1,
    qop: str = "auth",
) -> str:
    """The Proxy-Authorization line that answers this challenge."""
    algorithm = challenge["algorithm"]

    def h(text: str) -> str:
        return (hashlib.md5 if algorithm == "MD5" else hashlib.sha256)(text.encode()).hexdigest()

    ha1 = h(f"{username}:{challenge['realm']}:{word}")
    response = h(f"{ha1}:{challenge['nonce']}:{count:08x}:{CNONCE}:{qop}:{h(f'{method}:{uri}')}")
    return (
        f'Proxy-Authorization: Digest username="{username}", realm="{challenge["realm"]}", '
        f'nonce="{challenge["nonce"]}", uri="{uri}", response="{response}", algorithm={algorithm}, '
        f'cnonce="{CNONCE}", qop={qop}, nc={count:08x}'
    )
