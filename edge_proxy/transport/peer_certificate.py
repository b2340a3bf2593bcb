"""What a checked peer certificate says of its holder, as the words that a configuration names it by (RFC 5922 §7).

`dns:`, `uri:` and `ip:` are its subject alternative names, in lower case; `sha256:` is the hash of the certificate.
The common name is not read: it is no name of a SIP entity (RFC 5922 §7.1).
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

_MAX_NAMES: Final = 64
_KINDS: Final = {"DNS": "dns", "URI": "uri", "IP Address": "ip"}


def identities_of(tls: ssl.SSLObject | ssl.SSLSocket | None) -> tuple[str, ...]:
    """Who the other end has proved to be; () when it showed no certificate or one that was not checked."""
    checked = None if tls is None else tls.getpeercert()
    if tls is None or not checked:
        return ()
    der = tls.getpeercert(binary_form=True) or b""
    return (*names_in(checked), f"sha256:{hashlib.sha256(der).hexdigest()}")


def names_in(checked: Mapping[str, object]) -> list[str]:
    """The alternative names in a certificate as the ssl module tells it."""
    entries = checked.get("subjectAltName", ())
    names: list[str] = []
    if isinstance(entries, tuple):
        for entry in entries[:_MAX_NAMES]:
            kind, text = entry
            word = _KINDS.get(kind)
            if word == "ip":
                try:
                    text = str(ip_address(text.strip()))
                except ValueError:
                    continue
            if word is not None:
                names.append(f"{word}:{text.lower()}")
    return names
