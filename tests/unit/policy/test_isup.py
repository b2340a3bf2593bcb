"""The IAM in an ISUP body, decoded octet by octet, and hostile octets that only come back as None (policy/isup.py)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.policy.circuit_body import find_circuit_body
from edge_proxy.policy.isup import INTERNATIONAL, NATIONAL, SUBSCRIBER, CallingNumber, decode_iam
from tests.kit.isup_bodies import CALLING, iam, number_parameter, optional


@pytest.mark.parametrize("is_ansi", [False, True])
def test_iam_is_decoded(is_ansi: bool) -> None:
    """Both layouts, told apart where nothing names one."""
    decoded = decode_iam(iam(CALLING, is_ansi=is_ansi))
    assert decoded is not None
    assert decoded.is_ansi is is_ansi
    assert decoded.calling == CallingNumber("12025550100", INTERNATIONAL, 1, 0, 3)
    assert (decoded.category, decoded.has_interworking, decoded.is_isup_all_the_way) == (0x0A, False, True)
    assert decoded.has_isdn_access
    assert decoded.is_switched_throughout


def test_declared_base_goes_first() -> None:
    """RFC 3204 §3.1: the type names the layout."""
    octets = iam(CALLING, optional(0xEA, b"\x3d"), is_ansi=True)
    decoded = decode_iam(octets, "ansi88")
    assert decoded is not None
    assert decoded.is_ansi
    assert decoded.originating_line == 61


@pytest.mark.parametrize(
    ("forward", "interworking", "all_the_way", "isdn"),
    [(b"\x20\x01", False, True, True), (b"\x08\x00", True, False, False), (b"\x28\x00", True, True, False)],
)
def test_forward_call_indicators(forward: bytes, interworking: bool, all_the_way: bool, isdn: bool) -> None:
    """Q.763 §3.23: bits D, F and I."""
    decoded = decode_iam(iam(forward=forward))
    assert decoded is not None
    assert (decoded.has_interworking, decoded.is_isup_all_the_way, decoded.has_isdn_access) == (
        interworking,
        all_the_way,
        isdn,
    )
    assert decoded.calling is None


def test_generic_number_is_the_additional_calling_number_only_with_its_qualifier() -> None:
    """Q.763 §3.26: qualifier 6."""
    given_number = number_parameter("12025550101", INTERNATIONAL, 0x10)
    decoded = decode_iam(iam(CALLING, optional(0xC0, b"\x01" + given_number), optional(0xC0, b"\x06" + given_number)))
    assert decoded is not None
    assert decoded.additional == CallingNumber("12025550101", INTERNATIONAL, 1, 0, 0)


@pytest.mark.parametrize(
    ("digits", "nature", "number", "same"),
    [
        ("12025550100", INTERNATIONAL, 12025550100, True),
        ("2025550100", INTERNATIONAL, 12025550100, False),
        ("2025550100", NATIONAL, 12025550100, True),
        ("2079460000", NATIONAL, 442079460000, True),
        ("9460000", NATIONAL, 442079460000, False),
        ("5550100", SUBSCRIBER, 12025550100, True),
        ("5550101", SUBSCRIBER, 12025550100, False),
        ("0", SUBSCRIBER, 12025550100, False),
        ("", NATIONAL, 12025550100, False),
    ],
)
def test_number_is_compared_by_its_nature(digits: str, nature: int, number: int, same: bool) -> None:
    """A national number leaves out the country code, a subscriber number more."""
    assert CallingNumber(digits, nature, 1, 0, 3).is_number(number) is same


def test_number_that_is_withheld_or_no_telephone_number_is_not_shown() -> None:
    """Presentation, plan and digits all count."""
    assert CallingNumber("12", NATIONAL, 1, 0, 3).is_shown
    assert not CallingNumber("12", NATIONAL, 1, 1, 3).is_shown
    assert not CallingNumber("12", NATIONAL, 0, 0, 3).is_shown
    assert not CallingNumber("1b", NATIONAL, 1, 0, 3).is_shown
    assert not CallingNumber("", NATIONAL, 1, 0, 3).is_shown


@pytest.mark.parametrize(
    "write",
    [
        bytes.hex,
        lambda octets: octets.hex(" ").upper() + "\r\n",
        lambda octets: octets.hex(":"),
        lambda octets: base64.b64encode(octets).decode(),
        lambda octets: base64.encodebytes(octets).decode(),
    ],
)
def test_octets_written_as_text_are_understood(write: object) -> None:
    """Hexadecimal or base64, as some stacks send."""
    assert callable(write)
    octets = iam(CALLING)
    assert decode_iam(str(write(octets)).encode()) == decode_iam(octets)


@pytest.mark.parametrize(
    "octets", [b"", b"\x01", b"\x06" + bytes(20), b"\x01" + b"\xff" * 30, b"0", b"QUFB", b"\x01" * 8]
)
def test_what_is_no_iam_is_none(octets: bytes) -> None:
    """Other messages, cut ones, pointers that lead out."""
    assert decode_iam(octets) is None


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda tail: iam(CALLING)[:9] + tail)))
def test_any_octets_are_read_without_an_error(octets: bytes) -> None:
    """Whatever is in the body."""
    for body in (octets, octets.hex().encode(), base64.b64encode(octets)):
        for base in ("", "itu-t92+", "ansi00"):
            decode_iam(body, base)


@given(st.integers(0, 60), st.integers(0, 255))
def test_any_one_octet_changed_is_read_without_an_error(place: int, octet: int) -> None:
    """Lengths and pointers above all."""
    octets = bytearray(iam(CALLING, optional(0x3D, b"\x07")))
    octets[place % len(octets)] = octet
    decoded = decode_iam(bytes(octets))
    assert decoded is None or decoded.calling is None or len(decoded.calling.digits) <= 32


def test_part_is_cut_at_its_boundary() -> None:
    """RFC 2046 §5.1: only the boundary that is named ends a part, quoted or not."""
    octets = iam(CALLING)
    body = (
        b"--b-1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
        b"--b-1\r\ncontent-type: application/ISUP; version=itu-t92+;\r\n base=itu-t92+\r\n"
        b"Content-Disposition: signal;handling=optional\r\n\r\n" + octets + b"\r\n--b\r\n--b-1--\r\n"
    )
    for name in ("b-1", '"b-1"'):
        found = find_circuit_body(f"multipart/mixed; boundary={name}", body)
        assert found is not None
        assert (found.kind, found.base, found.content) == ("isup", "itu-t92+", octets + b"\r\n--b")
        assert found.type_text.lower() == "application/isup"
    assert find_circuit_body("application/sdp", body) is None
    assert find_circuit_body("multipart/mixed", b"no part at all") is None


def test_part_is_looked_for_in_the_first_lines_that_name_a_type() -> None:
    """Only as the first thing behind the header's name; but the 24th mention is one too many not to be one."""
    part, near = b"\r\nc: application/isup\r\n\r\n\x01", b"\r\nc: x application/isup, application/isup"
    found = find_circuit_body("multipart/mixed;boundary=b", near * 22 + part)
    assert found is not None
    assert found.content == b"\x01"
    assert find_circuit_body("multipart/mixed;boundary=b", near * 23) is None
    assert find_circuit_body("multipart/mixed;boundary=b", near * 24) is not None


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type:\r\n application/ISUP",
        b"Content-Type" + b" " * 40 + b":" + b" \r\n" * 40 + b"\tapplication/ISUP",
        b"Content-Type: application / ISUP",
        b"Content-Type: application/\r\n isup;version=itu-t92+",
        b"Content-Type: application/x-none\r\n" * 100 + b"c: application/isup",
    ],
)
@pytest.mark.parametrize("whole", ["multipart/mixed;boundary=b", "MULTIPART / mixed;boundary=b"])
def test_part_is_found_however_its_type_is_written(head: bytes, whole: str) -> None:
    """RFC 3261 §25.1 and RFC 2045 §5.1 allow blanks and folds there, and any number of other parts before it."""
    found = find_circuit_body(whole, b"--b\r\n" + head + b"\r\n\r\n\x01\r\n--b--\r\n")
    assert found is not None
    assert (found.kind, found.content) == ("isup", b"\x01")


@given(st.text("abAB\r\n:-=;/ isupcontent-type", max_size=300), st.binary(max_size=60))
def test_any_body_is_searched_without_an_error(text: str, tail: bytes) -> None:
    """Whatever stands there."""
    find_circuit_body("multipart/mixed;boundary=b", text.encode() + tail)
    find_circuit_body(text, tail)
