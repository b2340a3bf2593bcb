"""Keyed digests: BLAKE2b as hashlib makes it, the same from either module, and nothing altered passes for signed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.routing.keyed import HAS_KEYED, PlainKeyed

if HAS_KEYED:
    from edge_proxy.routing._keyed import Keyed

pytestmark = pytest.mark.needs(HAS_KEYED, "_keyed is not built here (no compiler): make engine")

texts = st.binary(max_size=400) | st.sampled_from([b"", b"a" * 127, b"a" * 128, b"a" * 129, b"a" * 256])
sizes = st.integers(1, 64)
keys = st.binary(max_size=64)
halves = st.binary(max_size=16)


@given(sizes, keys, halves, halves, texts)
def test_digest_is_that_of_hashlib(size: int, key: bytes, salt: bytes, person: bytes, text: bytes) -> None:
    """RFC 7693, with every parameter and around every end of a block."""
    expected = blake2b(text, digest_size=size, key=key, salt=salt, person=person).digest()
    digests = Keyed(size, key=key, salt=salt, person=person)
    assert digests.hex(text) == expected.hex().encode()
    assert digests.base64(text) == urlsafe_b64encode(expected).rstrip(b"=")
    assert digests.hex(text) == expected.hex().encode(), "it is not used up"


@given(keys, texts, texts, st.integers(-(2**63), 2**63 - 1), st.integers(0, 99), st.binary(max_size=20))
def test_branch_is_the_same_from_either(
    key: bytes, name: bytes, call_id: bytes, cseq: int, attempt: int, mark: bytes
) -> None:
    """A node without a compiler gives a retransmission the branch that another one gave the request."""
    ours, plain = Keyed(12, key=key), PlainKeyed(12, key=key)
    assert ours.branch(name, call_id, cseq, attempt, mark) == plain.branch(name, call_id, cseq, attempt, mark)


@given(sizes, keys, texts, texts)
def test_signed_text_is_the_same_from_either_and_opens_in_both(
    size: int, key: bytes, text: bytes, about: bytes
) -> None:
    """What one node signed, the next one reads."""
    ours, plain = Keyed(size, key=key), PlainKeyed(size, key=key)
    signed = ours.sign(text, about)
    assert signed == plain.sign(text, about)
    assert ours.open(signed, about) == plain.open(signed, about) == text
    assert ours.open(signed, about + b"x") is plain.open(signed, about + b"x") is None


@given(st.data(), texts)
def test_altered_text_is_opened_by_neither(data: st.DataObject, text: bytes) -> None:
    """In any byte, also where that is only another spelling of the same bytes."""
    ours, plain = Keyed(9, key=b"k" * 32), PlainKeyed(9, key=b"k" * 32)
    signed = ours.sign(text, b"call")
    at = data.draw(st.integers(0, len(signed) - 1))
    put = data.draw(st.binary(max_size=2).filter(lambda put: put != signed[at : at + 1]))
    altered = signed[:at] + put + signed[at + 1 :]
    assert ours.open(altered, b"call") is plain.open(altered, b"call") is None


@given(st.binary(max_size=600) | st.text("AZaz09-_=+/", max_size=40).map(str.encode))
def test_any_bytes_are_judged_alike(signed: bytes) -> None:
    """Nothing that is sent to us is opened, and nothing is raised."""
    for digests in (Keyed(9, key=b"k"), PlainKeyed(9, key=b"k")):
        assert digests.open(signed, b"call") is None


def test_text_that_is_too_long_is_not_signed() -> None:
    """Its length would no longer be told."""
    for digests in (Keyed(9), PlainKeyed(9)):
        assert digests.open(digests.sign(b"x" * 65_535, b""), b"") == b"x" * 65_535
        with pytest.raises(OverflowError):
            digests.sign(b"x" * 65_536, b"")
    longer = urlsafe_b64encode(urlsafe_b64decode(Keyed(9).sign(b"x" * 65_535, b"")) + b"xxx")
    assert Keyed(9).open(longer, b"") is PlainKeyed(9).open(longer, b"") is None


def test_made_whole_or_not_at_all() -> None:
    """One without a size would take an empty digest for a right one."""
    with pytest.raises(TypeError):
        Keyed.__new__(Keyed)
    digests = Keyed(9, key=b"k")
    signed = digests.sign(b"text", b"call")
    digests.__init__(9, key=b"other")  # type: ignore[misc]
    assert digests.open(signed, b"call") == b"text"


def test_what_is_no_bytes_is_refused() -> None:
    """In C nobody else would look."""
    digests = Keyed(9)
    with pytest.raises(TypeError):
        digests.hex("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        digests.base64(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        digests.sign(b"", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        digests.open(b"")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        digests.branch(b"", b"", "1", 1, b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        digests.branch(b"", b"", 1, 1, "")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        digests.branch(b"", b"", 1, 1)  # type: ignore[call-arg]
    with pytest.raises(OverflowError):
        digests.branch(b"", b"", 2**70, 1, b"")
    for size, key, salt in ((0, b"", b""), (65, b"", b""), (9, b"k" * 65, b""), (9, b"", b"s" * 17)):
        with pytest.raises(ValueError):  # noqa: PT011
            Keyed(size, key=key, salt=salt)
