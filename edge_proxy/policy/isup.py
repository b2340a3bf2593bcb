"""Decode the Initial Address Message of an ISUP body (ITU-T Q.763 §3; carried as RFC 3204 §3.1 has it), bounded.

Bytes of a body part in, `Iam` or None out; whatever the bytes, it does not raise and reads 1024 of them at most. The
layout is ITU's, or ANSI's (T1.113: user service information in place of the transmission medium) where the part says
so, or says nothing and it shows. Some senders write the octets as hexadecimal or base64 text: both are understood.
"""

from __future__ import annotations

import binascii
import re
from typing import Final, NamedTuple

MAX_BODY_BYTES: Final = 1024
MAX_OPTIONAL_PARAMETERS: Final = 64
MAX_DIGITS: Final = 32

# Message type, and the codes of the optional parameters that are read (Q.763 tables 4 and 5).
_IAM: Final = 0x01
_END: Final = 0x00
_CALLING_NUMBER: Final = 0x0A
_GENERIC_NUMBER: Final = 0xC0
_ORIGINATING_LINE: Final = 0xEA
_ADDITIONAL_CALLING_NUMBER: Final = 0x06
_STOP: Final = 0xF

SUBSCRIBER, UNKNOWN, NATIONAL, INTERNATIONAL = 1, 2, 3, 4
"""Nature of address (Q.763 §3.10 b)."""

_ALLOWED: Final = 0
"""Address presentation (Q.763 §3.10 e): 0 allowed, 1 restricted, 2 not available."""

# Possessive: what one piece takes, no other could, so that nothing is tried twice.
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\s]++={0,2}+\s*+")
_BLANKS: Final = b" \t\n\r\f\v"


class CallingNumber(NamedTuple):
    """A number as the circuit network carried it (Q.763 §3.10)."""

    digits: str
    nature: int
    plan: int
    """1: E.164."""
    presentation: int
    screening: int
    """0 user provided, unverified; 1 verified and passed; 2 verified and failed; 3 provided by the network."""

    @property
    def is_shown(self) -> bool:
        """The caller may be shown it, and it is a whole telephone number."""
        return self.presentation == _ALLOWED and self.plan == 1 and self.digits.isdigit()

    def is_number(self, number: int) -> bool:
        """Whether it means this E.164 number; a national or shorter form may leave out what stands in front."""
        text = str(number)
        if self.nature == INTERNATIONAL:
            return text == self.digits
        missing = len(text) - len(self.digits)
        if not text.endswith(self.digits) or len(self.digits) < 3:
            return False
        return missing <= 3 if self.nature == NATIONAL else True


class Iam(NamedTuple):
    """What an Initial Address Message says of where its call came from."""

    is_ansi: bool
    category: int
    """Calling party's category (Q.763 §3.11): 0x0A ordinary, 0x0B priority, 0x0C data, 0x0D test, 0x0F payphone."""
    has_interworking: bool
    """A part of the way was not Signalling System No. 7."""
    is_isup_all_the_way: bool
    has_isdn_access: bool
    """The caller's own line is ISDN."""
    calling: CallingNumber | None
    additional: CallingNumber | None
    """The generic number that an end point gave itself (ITU only)."""
    originating_line: int | None
    """ANI II digits of an ANSI network, such as 61 for a mobile telephone."""

    @property
    def is_switched_throughout(self) -> bool:
        return self.is_isup_all_the_way and not self.has_interworking


def decode_iam(body: bytes, base: str = "") -> Iam | None:
    """The IAM in an ISUP body part; None when it holds another message or none. `base` is what its type names."""
    octets = _octets(body)
    if len(octets) < 9 or octets[0] != _IAM:
        return None
    named = base.lower()
    is_ansi = named.startswith(("ansi", "gr")) or (not named and _has_service_information(octets))
    return _read(octets, is_ansi=is_ansi)


def _has_service_information(octets: bytes) -> bool:
    """Whether octet 5 is ANSI's pointer to a user service information that ends where the called number begins."""
    start, called = 5 + octets[5], 6 + octets[6]
    return start == 8 < called and start < len(octets) and start + 1 + octets[start] == called


def _octets(body: bytes) -> bytes:
    """The octets of the message, taken out of the text that some senders make of them."""
    body = body[:MAX_BODY_BYTES]
    if body[:1] == b"\x01":
        return body
    text = body.strip()
    if text.startswith(b"01"):
        try:
            return bytes.fromhex(text.replace(b":", b" ").decode("latin-1"))
        except ValueError:
            pass  # not hexadecimal throughout
    if _BASE64.fullmatch(body):
        packed = body.translate(None, _BLANKS)
        packed = packed.rstrip(b"=")[: len(packed) // 4 * 4]
        try:
            return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))
        except binascii.Error:
            return b""
    return b""


def _read(octets: bytes, *, is_ansi: bool) -> Iam | None:
    """Read by one of the two layouts; None where it does not fit: a pointer leads out, or a length passes the end."""
    # ITU: TMR at 5, pointers at 6 and 7. ANSI: pointers at 5 (user service information), 6 and 7.
    if is_ansi and _variable(octets, 5) is None:
        return None
    called = _variable(octets, 6)
    if called is None or len(called) < 2:
        return None
    calling = additional = None
    originating_line = None
    for code, value in _optional(octets, 7):
        if code == _CALLING_NUMBER and calling is None:
            calling = _number(value)
        elif code == _GENERIC_NUMBER and additional is None and not is_ansi:
            if value[:1] == bytes([_ADDITIONAL_CALLING_NUMBER]):
                additional = _number(value[1:])
        elif code == _ORIGINATING_LINE and len(value) == 1:
            originating_line = value[0]
        elif code < 0:
            return None
    return Iam(
        is_ansi=is_ansi,
        category=octets[4],
        has_interworking=bool(octets[2] & 0x08),
        is_isup_all_the_way=bool(octets[2] & 0x20),
        has_isdn_access=bool(octets[3] & 0x01),
        calling=calling,
        additional=additional,
        originating_line=originating_line,
    )


def _variable(octets: bytes, pointer_at: int) -> bytes | None:
    """The mandatory variable parameter that the pointer at `pointer_at` leads to; a pointer counts from itself."""
    start = pointer_at + octets[pointer_at]
    if start <= 7 or start >= len(octets):
        return None
    end = start + 1 + octets[start]
    return octets[start + 1 : end] if end <= len(octets) else None


def _optional(octets: bytes, pointer_at: int) -> list[tuple[int, bytes]]:
    """The optional parameters; the code -1 stands last when they do not fit into the message."""
    found: list[tuple[int, bytes]] = []
    if not octets[pointer_at]:
        return found
    at = pointer_at + octets[pointer_at]
    while len(found) < MAX_OPTIONAL_PARAMETERS:
        if at >= len(octets):
            return [*found, (-1, b"")]
        if octets[at] == _END:
            return found
        if at + 1 >= len(octets) or at + 2 + octets[at + 1] > len(octets):
            return [*found, (-1, b"")]
        end = at + 2 + octets[at + 1]
        found.append((octets[at], octets[at + 2 : end]))
        at = end
    return found


def _number(value: bytes) -> CallingNumber | None:
    if len(value) < 2:
        return None
    digits: list[str] = []
    for octet in value[2 : 2 + MAX_DIGITS // 2]:
        digits += (f"{octet & 0xF:x}", f"{octet >> 4:x}")
    if value[0] & 0x80 and digits:
        digits.pop()  # an odd count: the last half octet is filler
    text = "".join(digits).partition(f"{_STOP:x}")[0]
    return CallingNumber(text, value[0] & 0x7F, value[1] >> 4 & 7, value[1] >> 2 & 3, value[1] & 3)
