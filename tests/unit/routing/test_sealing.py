"""What is sealed opens as it was, in its own call and for its own purpose, and in no other."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.routing.sealing import Purpose, Seal

SEAL = Seal(b"k" * 32)


@given(plain=st.binary(min_size=1, max_size=300), call_id=st.binary(max_size=80))
def test_seal_opens_as_it_was(plain: bytes, call_id: bytes) -> None:
    """Any bytes, any call; the text needs no escaping in a URI's user or parameter (RFC 3261 §25.1)."""
    text = SEAL.seal(plain, Purpose.CONTACT, call_id)
    assert re.fullmatch(rb"[A-Za-z0-9_-]+", text)
    assert SEAL.open(text, Purpose.CONTACT, call_id) == plain


def test_seal_of_the_same_is_the_same() -> None:
    """A retransmission seals to the same bytes, also by another worker with the same key."""
    text = SEAL.seal(b"sip:a@10.0.0.1", Purpose.CONTACT, b"one")
    assert Seal(b"k" * 32).seal(b"sip:a@10.0.0.1", Purpose.CONTACT, b"one") == text


def test_seal_differs_from_call_to_call() -> None:
    """Two calls from one phone cannot be told to be from one phone by their Contacts."""
    assert SEAL.seal(b"sip:a@b", Purpose.CONTACT, b"one") != SEAL.seal(b"sip:a@b", Purpose.CONTACT, b"two")


@given(position=st.integers(0, 40), by=st.binary(min_size=1, max_size=1))
def test_altered_seal_does_not_open(position: int, by: bytes) -> None:
    """One character changed anywhere, and it is nobody's."""
    text = SEAL.seal(b"sip:a@10.0.0.1:5060", Purpose.CONTACT, b"one")
    altered = text[:position] + by + text[position + 1 :]
    assert altered == text or SEAL.open(altered, Purpose.CONTACT, b"one") is None


@pytest.mark.parametrize("length", range(60))
def test_cut_seal_does_not_open(length: int) -> None:
    """Nor does any part of one, nor nothing at all."""
    text = SEAL.seal(b"sip:a@10.0.0.1:5060;transport=tcp", Purpose.CONTACT, b"one")
    assert SEAL.open(text[:length], Purpose.CONTACT, b"one") is None


def test_second_spelling_of_a_seal_does_not_open() -> None:
    """Padding, and bits that base64 ignores, make another text of the same bytes: not what we wrote."""
    text = SEAL.seal(b"1", Purpose.CALL_ID)
    assert len(text) % 4 != 0
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(text[-1:]) ^ 1 :][:1]
    for other in (text + b"=", text[:-1] + last, text[:5] + b"\n" + text[5:], b"\xff" + text):
        assert SEAL.open(other, Purpose.CALL_ID) is None


def test_seal_opens_neither_elsewhere_nor_for_something_else() -> None:
    """Another call, another purpose, another node's key."""
    text = SEAL.seal(b"sip:a@b", Purpose.CONTACT, b"one")
    assert SEAL.open(text, Purpose.CONTACT, b"two") is None
    assert SEAL.open(text, Purpose.BEHIND, b"one") is None
    assert Seal(b"x" * 32).open(text, Purpose.CONTACT, b"one") is None


def test_endless_text_is_not_looked_at() -> None:
    """Work is bounded, whatever is sent."""
    assert SEAL.open(b"A" * 100_000, Purpose.CONTACT, b"one") is None
