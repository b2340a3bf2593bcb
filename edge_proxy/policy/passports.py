"""Read Identity headers: each PASSporT as what it claims of caller, diverter and attestation (RFC 8224 §4, RFC 8225).

The signature is not looked at and no certificate is fetched: whatever stands here anybody could have written, so all of
it is a claim, and worth no more than the side that it came from. Read are `orig`, with SHAKEN's `attest` (RFC 8588 §4)
and the `div` of a call that was passed on (RFC 8946 §4). Nothing raises; the work is bounded by `MAX_CLAIMS` tokens,
`_MAX_CHARS` of them together and `_MAX_BRACKETS` in each part. What is beyond that, and what two readers could read in
two ways (a name twice in one object, characters that base64 does not have), is not read at all: it is a claim of no
number.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Final, NamedTuple

from edge_proxy.numbers.e164 import DialPlan, read_number
from edge_proxy.policy.claims import Claim, pieces_of, read_claim
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri

_MAX_CHARS: Final = 8192
_MAX_BRACKETS: Final = 256
_SHAKEN: Final = "shaken"
_DIVERTED: Final = frozenset({"div", "div-o"})
_LEVELS: Final = frozenset({"A", "B", "C"})


class Passports(NamedTuple):
    """What all of them claim."""

    callers: tuple[Claim, ...]
    """The `orig` of each."""
    diverters: tuple[Claim, ...]
    """The `div` of each that has one."""
    last_diverters: tuple[Claim, ...]
    """Who passed the call on last, by which of them was sent on to whom."""
    attestations: tuple[str, ...]
    """`A`, `B` and `C`, as far as SHAKEN tokens say so."""
    has_excess: bool


class _Diversion(NamedTuple):
    by: Claim
    number: str
    dest: frozenset[str]


NO_PASSPORTS: Final = Passports((), (), (), (), False)


def read_passports(message: Message, plan: DialPlan | None) -> Passports:
    """The PASSporTs of all Identity headers. The compact form says nothing that the message does not (RFC 8225 §7)."""
    pieces, has_excess = pieces_of(message, grammar.IDENTITY)
    callers: list[Claim] = []
    diversions: list[_Diversion] = []
    levels: list[str] = []
    left = _MAX_CHARS
    for piece in pieces:
        parts = piece.partition(b";")[0].strip(b' \t"').split(b".")
        if len(parts) == 1 or not parts[1]:
            continue  # the compact form, or what RFC 4474 had under the same name
        left -= len(parts[0]) + len(parts[1])
        if left < 0:
            callers.append(_unreadable(parts[1]))
            continue
        claims = _object(parts[1])
        callers.append(_party(claims.get("orig"), plan) or _unreadable(parts[1]))
        ppt = _object(parts[0]).get("ppt")
        if ppt == _SHAKEN:
            level = claims.get("attest")
            if isinstance(level, str) and level in _LEVELS and level not in levels:
                levels.append(level)
        elif isinstance(ppt, str) and ppt in _DIVERTED:
            div = claims.get("div")
            by = _party(div, plan) or _unreadable(parts[1])
            diversions.append(_Diversion(by, _tn(div), _tns(claims.get("dest"))))
    diverters = tuple([one.by for one in diversions])
    return Passports(tuple(callers), diverters, _last(diversions), tuple(levels), has_excess)


def _last(diversions: list[_Diversion]) -> tuple[Claim, ...]:
    """Those whose destination did not pass the call on itself (RFC 8946 §4.2); all, where that leaves nobody."""
    if len(diversions) > 1:
        passed_on = frozenset([one.number for one in diversions])
        last = tuple([one.by for one in diversions if not one.dest & passed_on])
        if last:
            return last
    return tuple([one.by for one in diversions])


def _object(encoded: bytes) -> dict[str, object]:
    """A part of a token; empty for what is no JSON object in base64url."""
    try:
        # RFC 8224's grammar has "+" and "/" where RFC 7515 has "-" and "_"; both are seen.
        data = b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        if data.count(b"{") + data.count(b"[") > _MAX_BRACKETS:
            return {}
        found: object = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _party(value: object, plan: DialPlan | None) -> Claim | None:
    """`orig` or `div`: one number or one URI (RFC 8225 §5.2.1); None for anything else."""
    if not isinstance(value, dict):
        return None
    number, uri_text = value.get("tn"), value.get("uri")
    if isinstance(number, str) and uri_text is None:
        # Canonical (RFC 8224 §8.3): the full number without "+"; some write it all the same.
        text = "+" + number[:64].removeprefix("+")
        return Claim("Identity", text, Uri("tel", text, "", None, b"", b""), read_number(text, plan))
    if isinstance(uri_text, str) and number is None:
        return read_claim(b"<" + uri_text[:512].encode("utf-8", "replace") + b">", "Identity", plan)
    return None


def _unreadable(payload: bytes) -> Claim:
    return Claim("Identity", payload[:64].decode("ascii", "replace"), None, None)


def _tn(value: object) -> str:
    number = value.get("tn") if isinstance(value, dict) else None
    return number[:64].removeprefix("+") if isinstance(number, str) else ""


def _tns(dest: object) -> frozenset[str]:
    numbers = dest.get("tn") if isinstance(dest, dict) else None
    if not isinstance(numbers, list):
        return frozenset()
    return frozenset([one[:64].removeprefix("+") for one in numbers if isinstance(one, str)])
