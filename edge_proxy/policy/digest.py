"""From a client's answer to a challenge to whose it is (RFC 3261 §22.4, RFC 7616 §3.4, RFC 8760).

No password is kept: what is compared is made from HA1, the hash of username, realm and password. Whether the nonce
is one of ours, young enough and not used before is not asked here (see pipeline/nonces.py).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_proxy.sip.digest import DigestAnswer


class Algorithm(StrEnum):
    """The hash algorithms of RFC 8760 that are offered. MD5 is for clients that know no other."""

    SHA_256 = "SHA-256"
    MD5 = "MD5"

    def hexdigest(self, data: bytes) -> bytes:
        if self is Algorithm.MD5:
            return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
        return hashlib.sha256(data).hexdigest().encode()


_BY_NAME: Final = {algorithm.value.encode().lower(): algorithm for algorithm in Algorithm}
_NOBODYS_HA1: Final = b"0" * 64


@dataclass(frozen=True, slots=True)
class Credential:
    """One user name of one customer (its ordinal), with HA1 in hexadecimal for each algorithm that is offered."""

    customer: int
    ha1: Mapping[Algorithm, bytes]


@dataclass(frozen=True, slots=True)
class Realm:
    """Whom we challenge as, how, and who can answer."""

    name: str
    algorithms: tuple[Algorithm, ...]
    """In order of preference; a client takes the first that it knows."""
    nonce_s: float
    """How long a nonce is good for."""
    users: Mapping[bytes, Credential]

    def check(self, answer: DigestAnswer, method: bytes) -> tuple[Credential | None, str]:
        """Whose answer it is; None with the reason, which does not tell whether the user or the password is wrong."""
        if answer.flaw:
            return None, f"the credentials cannot be used: {answer.flaw}"
        algorithm = _BY_NAME.get(answer.algorithm.lower() or b"md5")  # RFC 7616 §3.3: MD5 when it is not named
        if algorithm is None or algorithm not in self.algorithms:
            return None, "the credentials are of an algorithm that was not offered"
        credential = self.users.get(answer.username)
        # The same work for a user that does not exist, so that time does not tell who does.
        ha1 = _NOBODYS_HA1 if credential is None else credential.ha1[algorithm]
        is_right = hmac.compare_digest(response_of(algorithm, ha1, method, answer), answer.response.lower())
        if credential is None or not is_right:
            shown = answer.username[:64].decode("utf-8", "replace")
            return None, f"the credentials of user {shown} are not accepted"
        return credential, ""


def ha1_of(algorithm: Algorithm, username: str, realm: str, password: str) -> bytes:
    """H(username:realm:password) in hexadecimal."""
    return algorithm.hexdigest(f"{username}:{realm}:{password}".encode())


def response_of(algorithm: Algorithm, ha1: bytes, method: bytes, answer: DigestAnswer) -> bytes:
    """What the client must have answered, with qop=auth (RFC 7616 §3.4.1)."""
    ha2 = algorithm.hexdigest(method + b":" + answer.uri)
    parts = (ha1, answer.nonce, answer.count_text, answer.cnonce, answer.qop, ha2)
    return algorithm.hexdigest(b":".join(parts))
