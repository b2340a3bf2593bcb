"""What an answer to a challenge proves (policy/digest.py), against the example of RFC 7616 and an own client."""

from __future__ import annotations

import pytest

from edge_proxy.policy.digest import Algorithm, Credential, Realm, ha1_of, response_of
from edge_proxy.sip.digest import parse_digest_answer
from tests.kit.digest import authorization

REALM = "http-auth@example.org"
USERS = {
    b"Mufasa": Credential(
        7, {one: ha1_of(one, "Mufasa", REALM, "Circle of Life") for one in (Algorithm.MD5, Algorithm.SHA_256)}
    )
}
BOTH = Realm(REALM, (Algorithm.SHA_256, Algorithm.MD5), 300, USERS)
SHA_ONLY = Realm(REALM, (Algorithm.SHA_256,), 300, USERS)
EXAMPLE = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{}"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616_is_accepted(algorithm: str, response: str) -> None:
    """Section 3.9.1, both algorithms; one digit off is refused."""
    answer = parse_digest_answer(EXAMPLE.format(algorithm, response).encode())
    assert answer is not None
    credential, failure = BOTH.check(answer, b"GET")
    assert (credential, failure) == (USERS[b"Mufasa"], "")
    assert BOTH.check(answer._replace(response=b"0" + answer.response[1:]), b"GET")[0] is None


def test_algorithm_that_was_not_offered_is_refused() -> None:
    """MD5 named, MD5 by leaving the name out, and one that nobody knows."""
    answer = parse_digest_answer(EXAMPLE.format("MD5", "8ca523f5e9506fed4657c9700eebdbec").encode())
    assert answer is not None
    for name in (b"MD5", b"", b"SHA-256-sess", b"x"):
        credential, failure = SHA_ONLY.check(answer._replace(algorithm=name), b"GET")
        assert credential is None
        assert "not offered" in failure


def test_unknown_user_and_wrong_password_read_alike() -> None:
    """Who tries names does not learn which exist."""
    challenge = {"realm": REALM, "nonce": "n", "algorithm": "SHA-256"}
    said = []
    for username in ("Mufasa", "Scar"):
        line = authorization(challenge, username=username, word="wrong").partition(": ")[2]
        answer = parse_digest_answer(line.encode())
        assert answer is not None
        credential, failure = BOTH.check(answer, b"INVITE")
        assert credential is None
        said.append(failure.replace(username, "USER"))
    assert said[0] == said[1]


def test_response_covers_method_and_uri() -> None:
    """What was answered for INVITE is no answer for BYE."""
    answer = parse_digest_answer(EXAMPLE.format("MD5", "0").encode())
    assert answer is not None
    ha1 = USERS[b"Mufasa"].ha1[Algorithm.MD5]
    made = {
        response_of(Algorithm.MD5, ha1, method, answer._replace(uri=uri))
        for method in (b"INVITE", b"BYE")
        for uri in (b"sip:a", b"sip:b")
    }
    assert len(made) == 4
