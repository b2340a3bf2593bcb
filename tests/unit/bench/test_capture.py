"""A capture is read as the time between a message's arrival and its first departure."""

from __future__ import annotations

import struct

import pytest

from tests.bench.capture import read_delays

PROXY_IN, PROXY_OUT, CALLER, CARRIER = 5060, 5070, 5080, 5090


def packet(at_ns: int, source: int, target: int, payload: bytes) -> bytes:
    """One record of a capture file: Ethernet, IPv4, UDP."""
    ip = bytes([0x45]) + bytes(19)
    udp = struct.pack("!HHHH", source, target, 8 + len(payload), 0)
    frame = bytes(14) + ip + udp + payload
    return struct.pack("<IIII", at_ns // 10**9, at_ns % 10**9, len(frame), len(frame)) + frame


def capture(*packets: bytes) -> bytes:
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1) + b"".join(packets)


def message(start: bytes, call_id: bytes, cseq: bytes = b"1 INVITE") -> bytes:
    return start + b"\r\nCall-ID: " + call_id + b"\r\nCSeq: " + cseq + b"\r\n\r\n"


def test_delay_is_from_arrival_to_departure() -> None:
    """INVITE and 200 of two calls that overlap; what comes or leaves again does not count."""
    invite, ok = b"INVITE sip:a SIP/2.0", b"SIP/2.0 200 OK"
    found = read_delays(
        capture(
            packet(1_000_000_000, CALLER, PROXY_IN, message(invite, b"a")),
            packet(1_000_050_000, CALLER, PROXY_IN, message(invite, b"b")),
            packet(1_000_100_000, PROXY_OUT, CARRIER, message(invite, b"a")),
            packet(1_000_110_000, CALLER, PROXY_IN, message(invite, b"a")),
            packet(1_000_200_000, PROXY_OUT, CARRIER, message(invite, b"a")),
            packet(1_000_350_000, PROXY_OUT, CARRIER, message(invite, b"b")),
            packet(1_999_999_000, CARRIER, PROXY_OUT, message(ok, b"a")),
            packet(2_000_019_000, PROXY_IN, CALLER, message(ok, b"a")),
        ),
        {PROXY_IN, PROXY_OUT},
    )
    assert found.invite == pytest.approx([0.0001, 0.0003])
    assert found.ok == pytest.approx([0.00002])
    assert found.quantile_us("INVITE", 0.99) == pytest.approx(300)


def test_only_what_is_measured_counts() -> None:
    """Other messages, the 200 to a BYE, and what is cut off at the end of the file are passed over."""
    data = capture(
        packet(1, CALLER, PROXY_IN, message(b"BYE sip:a SIP/2.0", b"a", b"2 BYE")),
        packet(2, CARRIER, PROXY_OUT, message(b"SIP/2.0 200 OK", b"a", b"2 BYE")),
        packet(3, PROXY_IN, CALLER, message(b"SIP/2.0 200 OK", b"a", b"2 BYE")),
        packet(4, CALLER, PROXY_IN, b"INVITE without a Call-ID"),
    )
    found = read_delays(data + b"\0\0\0", {PROXY_IN, PROXY_OUT})
    assert (found.invite, found.ok) == ([], [])
