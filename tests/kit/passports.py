"""Identity headers as signers write them (RFC 8224 §4, RFC 8225 §4), but for the signature, which is nobody's."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping


def token(head: Mapping[str, object], claims: object) -> str:
    """A PASSporT in its full form. A text for `claims` stands there as it is."""
    return f"{_part({'alg': 'ES256', 'typ': 'passport', **head})}.{_part(claims)}.c2ln"


def identity(head: Mapping[str, object], claims: object) -> str:
    """The header line with that PASSporT in it."""
    ppt = f";ppt={head['ppt']}" if "ppt" in head else ""
    return f"Identity: {token(head, claims)};info=<https://cert.example.org/p.cer>;alg=ES256{ppt}"


def _part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
