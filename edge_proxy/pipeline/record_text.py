"""How evidence and log write in JSON (RFC 8259) what records hold: one value to its bytes, without building an object.

The same value to the same bytes as msgspec's encoder gives, in a fraction of the time. Nothing here raises on any text.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from edge_proxy.addr import Address

_COLON: Final = 0x3A  # asking for a byte by its number costs a tenth of asking for bytes
_MAX_WORDS: Final = 4096
_SMALLEST: Final = 0.0001
"""Below it the shortest form may be one with an exponent."""
_MOST_SCALED: Final = 1e12
"""Up to here the product with a power of ten is right to far less than what is looked at."""
_NEAR_HALF: Final = 0.001

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_encode: Final = msgspec.json.Encoder().encode
_words: Final[dict[str, bytes]] = {}


def quote(text: str) -> bytes:
    """A JSON string; a lone surrogate, which JSON cannot carry, becomes U+FFFD."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return _encode(_SURROGATE.sub("\ufffd", text))


def quote_word(text: str) -> bytes:
    """As `quote`, remembered: for what takes few different values. Their number is bounded all the same."""
    found = _words.get(text)
    if found is None:
        if len(_words) >= _MAX_WORDS:
            _words.clear()
        found = _words[text] = quote(text)
    return found


def write_decimal(value: float, digits: int) -> bytes:
    """A number rounded to 3 or 6 decimal places, as short as it can be written."""
    scale = 1_000_000 if digits == 6 else 1000
    scaled = value * scale
    if not (value >= _SMALLEST and scaled < _MOST_SCALED):
        return _encode(round(value, digits))
    units = int(scaled)
    rest = scaled - units
    if 0.5 - _NEAR_HALF < rest < 0.5 + _NEAR_HALF:  # which way it is rounded, only the exact value tells
        return _encode(round(value, digits))
    if rest > 0.5:
        units += 1
    whole = units // scale
    part = units - whole * scale
    if not part:
        return b"%d.0" % whole
    while part % 10 == 0:
        part //= 10
        scale //= 10
    # The one in front keeps the zeros behind the point; it goes again.
    return b"%d.%b" % (whole, (b"%d" % (scale + part))[1:])


def write_fraction(microseconds: int) -> bytes:
    """The six digits behind the point of a second."""
    return (b"%d" % (1_000_000 + microseconds))[1:]


def write_address(address: Address) -> bytes:
    """As `str` writes it."""
    host = address.host.encode()
    return b"[%b]:%d" % (host, address.port) if _COLON in host else b"%b:%d" % (host, address.port)
