"""ISUP bodies as circuit exchanges write them (ITU-T Q.763), octet by octet and not by a writer of the product."""

from __future__ import annotations

from typing import Final

_INTERNATIONAL: Final = 4
_NATIONAL: Final = 3


def number_parameter(digits: str, nature: int, indicators: int = 0x13) -> bytes:
    """Q.763 §3.10: nature with the odd bit, indicators (E.164, shown, network provided), BCD low half first."""
    odd = len(digits) & 1
    padded = digits + "0" * odd
    packed = bytes(int(padded[n + 1] + padded[n], 16) for n in range(0, len(padded), 2))
    return bytes([nature | odd << 7, indicators]) + packed


def optional(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def iam(*parameters: bytes, forward: bytes = b"\x20\x01", category: int = 0x0A, is_ansi: bool = False) -> bytes:
    """An IAM of one of the two layouts, its optional part as given."""
    called = number_parameter("13105550199", _NATIONAL)
    tail = b"".join(parameters) + b"\x00" if parameters else b""
    if is_ansi:
        service = b"\x80\x90\xa2"
        variable = bytes([len(service)]) + service + bytes([len(called)]) + called
        to_called = 2 + 1 + len(service)
        pointers = bytes([3, to_called, len(variable) + 1 if tail else 0])
        return b"\x01\x00" + forward + bytes([category]) + pointers + variable + tail
    variable = bytes([len(called)]) + called
    pointers = bytes([2, len(variable) + 1 if tail else 0])
    return b"\x01\x00" + forward + bytes([category, 3]) + pointers + variable + tail


CALLING = optional(0x0A, number_parameter("12025550100", _INTERNATIONAL))
