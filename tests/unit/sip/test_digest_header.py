"""Proxy-Authorization read and Proxy-Authenticate written (sip/digest.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.sip.digest import challenge_line, parse_digest_answer

GOOD = (
    b'Digest username="bob", realm="edge", nonce="abc", uri="sip:x@y", response="0f", algorithm=SHA-256, '
    b'cnonce="c", qop=auth, nc=0000000A'
)


def test_answer_is_read() -> None:
    """Quoted and unquoted parameters, any order and case, with blanks around."""
    for value in (GOOD, GOOD.replace(b", ", b" ,  ").replace(b"=", b" = ").replace(b"Digest", b"dIgEsT")):
        answer = parse_digest_answer(value)
        assert answer is not None
        assert answer.flaw == ""
        assert (answer.username, answer.realm, answer.nonce, answer.uri) == (b"bob", b"edge", b"abc", b"sip:x@y")
        assert (answer.algorithm, answer.qop, answer.nonce_count) == (b"SHA-256", b"auth", 10)


@pytest.mark.parametrize("value", [b"Basic Ym9i", b"Digest", b"", b'Digest username="bob"', b"Digestx realm=edge"])
def test_what_is_no_digest_answer_is_none(value: bytes) -> None:
    """Another scheme, or a realm that nobody can tell."""
    assert parse_digest_answer(value) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"qop=auth", b"qop=auth-int"),
        (b", qop=auth", b""),
        (b"nc=0000000A", b"nc=00000000"),
        (b"nc=0000000A", b"nc=1"),
        (b", nc=0000000A", b""),
        (b'cnonce="c"', b'cnonce=""'),
        (b'response="0f", ', b""),
        (b'username="bob"', b'username=""'),
        (b'nonce="abc"', b'nonce="abc", nonce="def"'),
        (b'uri="sip:x@y"', b'uri="sip:x@y" x'),
        (b"nc=0000000A", b'nc="00000001'),
    ],
)
def test_flawed_answer_says_so(old: bytes, new: bytes) -> None:
    """It is ours to refuse, since its realm can be read."""
    answer = parse_digest_answer(GOOD.replace(old, new))
    assert answer is not None
    assert answer.flaw


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_with_something(tail: bytes) -> None:
    """Nothing raises, whatever follows the realm."""
    answer = parse_digest_answer(b'Digest realm="edge", ' + tail)
    assert answer is not None


def test_many_parameters_are_not_read() -> None:
    """Bounded work."""
    answer = parse_digest_answer(GOOD + b"".join(b", p%d=1" % n for n in range(100)))
    assert answer is not None
    assert answer.flaw


def test_challenge_is_one_line() -> None:
    """With stale=true only where it is meant."""
    line = challenge_line("edge", b"n", "SHA-256", is_stale=False)
    assert line == b'Proxy-Authenticate: Digest realm="edge", nonce="n", algorithm=SHA-256, qop="auth"'
    assert challenge_line("edge", b"n", "MD5", is_stale=True).endswith(b'algorithm=MD5, qop="auth", stale=true')
