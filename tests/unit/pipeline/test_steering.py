"""The Call-ID as it stands in the bytes, and who owns the call."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Side
from edge_proxy.pipeline.steering import (
    HAS_STEERING,
    Steering,
    call_id_in,
    owner_of,
    plain_steering_hash,
    plain_usual_call_id,
)

if HAS_STEERING:
    from edge_proxy.pipeline._steering import steering_hash, usual_call_id

START = b"INVITE sip:a@b SIP/2.0\r\n"


@pytest.mark.parametrize(
    ("head", "call_id"),
    [
        (b"Call-ID: a@b\r\n\r\n", b"a@b"),
        (b"CALL-id:a@b\r\n\r\n", b"a@b"),
        (b"Call-ID  :\t a@b  \r\n\r\n", b"a@b"),
        (b"i: a@b\r\n\r\n", b"a@b"),
        (b"I:a@b\r\n\r\n", b"a@b"),
        (b"Call-ID:\r\n a@b\r\n\r\n", b"a@b"),
        (b"Call-ID: a@b\r\nX-Call-ID: c@d\r\n\r\n", b"a@b"),
        (b"X-Call-ID: c@d\r\nCall-ID: a@b\r\n\r\n", b"a@b"),
        (b"Via: x\r\nCall-ID: a@b", b"a@b"),
        (b"Call-ID:\r\nVia: x\r\n\r\n", b""),
        (b"Via: x\r\n\r\nCall-ID: in-the-body@b\r\n", None),
        (b"i: a@b\r\n\r\nCall-ID: in-the-body@b\r\n", b"a@b"),
        (b"Call-ID: a@b\nVia: x\r\n\r\n", b"a@b"),
        (b"Call-ID: a@b \r\n\r\n", b"a@b"),
        (b"Via: x\r\n\r\n", None),
    ],
)
def test_call_id_is_found_as_the_parser_would_find_it(head: bytes, call_id: bytes | None) -> None:
    assert call_id_in(START + head) == call_id


PIECES = (b"\nCall-ID: ", b"Call-ID:", b"\r\n", b"\r", b"\n", b" ", b"\t", b"\v", b"\0", b"\xff", b"a@b", b"i: ", START)


@pytest.mark.needs(HAS_STEERING, "_steering is not built here (no compiler): make engine")
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_both_ways_to_look_find_the_same(pieces: list[bytes]) -> None:
    """Whatever is sent, the module in C says what the Python beside it says."""
    data = b"".join(pieces)
    assert usual_call_id(data) == plain_usual_call_id(data)
    with pytest.raises(TypeError):
        usual_call_id(bytearray(data))  # type: ignore[arg-type]  # nothing but bytes arrives


@pytest.mark.needs(HAS_STEERING, "_steering is not built here (no compiler): make engine")
@given(st.binary(max_size=40))
def test_both_hash_alike(call_id: bytes) -> None:
    """And as the kernel does (test_reuseport.py), whose filter is made of the same numbers."""
    assert steering_hash(call_id) == plain_steering_hash(call_id)
    with pytest.raises(TypeError):
        steering_hash(call_id.hex())  # type: ignore[arg-type]  # nothing but bytes is asked for


def test_owner_is_the_same_for_every_spelling_and_side() -> None:
    seven = Steering(7, unveil=lambda call_id: call_id)
    forms = (b"Call-ID: a@b", b"i:a@b", b"Call-ID:\r\n\ta@b")
    owners = {seven.owner(START + form + b"\r\n\r\n", side) for form in forms for side in Side}
    assert owners == {owner_of(b"a@b", 7)}
    assert seven.owner(b"\r\n\r\n", Side.CUSTOMERS) is None


def test_sealed_call_id_is_owned_by_the_call_behind_it() -> None:
    """A carrier that sees no Call-ID of ours sends the sealed one; on the customers' side nothing is sealed."""
    seven = Steering(7, unveil={b"sealed": b"a@b"}.get)  # type: ignore[arg-type]  # asked for these only
    assert seven.owner(START + b"Call-ID: sealed\r\n\r\n", Side.CARRIERS) == owner_of(b"a@b", 7)
    assert seven.owner(START + b"Call-ID: sealed\r\n\r\n", Side.CUSTOMERS) == owner_of(b"sealed", 7)


@pytest.mark.parametrize("side", Side)
def test_long_call_ids_are_not_kept(side: Side) -> None:
    """Anybody can send them, before anything else is looked at: thousands of the longest must not fill the memory."""
    steering = Steering(7, unveil=lambda call_id: call_id)
    tracemalloc.start()
    try:
        for number in range(200):
            call_id = b"%d@" % number + b"x" * 60_000
            assert steering.owner(START + b"Call-ID: " + call_id + b"\r\n\r\n", side) == owner_of(call_id, 7)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 200 * 1_000
