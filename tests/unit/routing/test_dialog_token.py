"""Tokens that peers carry for us: they say what was put in, for their own call only; no altered one says anything."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Side
from edge_proxy.routing.dialog_token import DialogSigner, DialogState

SIGNER = DialogSigner(bytes(range(32)))
STATE = DialogState(Side.CUSTOMERS, "acme", 0x6553F10000000001, 1_700_000_000)
CALL_ID = b"3848276298220188511@acme.example"

states = st.builds(
    DialogState,
    st.sampled_from(Side),
    st.text(st.characters(codec="utf-8"), max_size=32),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)


@given(states, st.binary(max_size=80))
def test_token_says_what_was_signed(state: DialogState, call_id: bytes) -> None:
    """What comes back is what went out, in characters that a URI parameter may hold."""
    token = SIGNER.sign(state, call_id)
    assert SIGNER.read(token, call_id) == state
    assert token.replace(b"-", b"").replace(b"_", b"").isalnum()


@given(st.data())
def test_token_with_any_byte_changed_is_none(data: st.DataObject) -> None:
    """Every single byte counts, the last one's unused bits too."""
    token = SIGNER.sign(data.draw(states), CALL_ID)
    at = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != token[at]))
    assert SIGNER.read(token[:at] + bytes([byte]) + token[at + 1 :], CALL_ID) is None


@given(st.data())
def test_token_with_anything_put_in_or_cut_out_is_none(data: st.DataObject) -> None:
    """A lenient decoder would skip characters that are none of its own."""
    token = SIGNER.sign(STATE, CALL_ID)
    at = data.draw(st.integers(0, len(token)))
    more = data.draw(st.binary(min_size=1, max_size=8))
    assert SIGNER.read(token[:at] + more + token[at:], CALL_ID) is None
    end = data.draw(st.integers(0, len(token) - 1))
    assert SIGNER.read(token[:end], CALL_ID) is None


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_random_bytes_are_no_token(token: bytes, call_id: bytes) -> None:
    """Whatever comes, nothing is raised."""
    assert SIGNER.read(token, call_id) is None


@given(st.binary(max_size=80).filter(lambda call_id: call_id != CALL_ID))
def test_token_of_one_call_opens_no_other(call_id: bytes) -> None:
    """The Call-ID is signed too."""
    assert SIGNER.read(SIGNER.sign(STATE, CALL_ID), call_id) is None


@pytest.mark.parametrize("moved", range(1, len(CALL_ID)))
def test_letters_cannot_move_from_call_id_to_customer(moved: int) -> None:
    """A peer chooses its Call-ID: its first letters must not be readable as the end of a customer's name."""
    token = SIGNER.sign(STATE, CALL_ID)
    raw = urlsafe_b64decode(token + b"=" * (-len(token) % 4))
    longer = urlsafe_b64encode(raw + CALL_ID[:moved]).rstrip(b"=")
    assert SIGNER.read(longer, CALL_ID[moved:]) is None


def test_token_of_another_key_is_none() -> None:
    """Each node's key is its own."""
    assert DialogSigner(b"k" * 32).read(SIGNER.sign(STATE, CALL_ID), CALL_ID) is None


def test_token_fits_into_a_header() -> None:
    """What is added to every call is short."""
    assert len(SIGNER.sign(STATE, CALL_ID)) <= 40


def test_token_that_is_remembered_opens_in_its_own_call_only() -> None:
    """What was signed or read a moment ago is at hand; nothing else is taken for it, and much of it is forgotten."""
    signer = DialogSigner(bytes(range(32)))
    token = signer.sign(STATE, CALL_ID)
    assert signer.read(token, b"another") is None
    assert signer.read(token, CALL_ID) == STATE
    for number in range(10_000):
        signer.sign(STATE, b"%d" % number)
    assert signer.read(token, CALL_ID) == STATE
    assert signer.remembered <= 8192
    signer.forget()
    assert signer.remembered == 0
    assert signer.read(token, CALL_ID) == STATE
