"""Credentials, proofs and ASNs of customers: what is accepted, and the errors with their lines (config/origins.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, parse_settings
from edge_proxy.policy.access import Proof
from edge_proxy.policy.digest import Algorithm, ha1_of

HASH = "a" * 64
BASE = """\
node: edge-1
listeners: {customers: {bind: "127.0.0.1:5060"}, carriers: {bind: "127.0.0.1:5070"}}
trunks: [{id: carrier-a, targets: ["sip:127.0.0.1:5090"]}]
"""


def text_with(*customers: str, more: str = "") -> bytes:
    lines = [f"  - {{id: c{n}, country: US, {keys}}}" for n, keys in enumerate(customers)]
    return (BASE + more + "customers:\n" + "\n".join(lines) + "\n").encode()


def errors_of(*customers: str, more: str = "") -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        compile_snapshot(parse_settings(text_with(*customers, more=more), "f.yaml"))
    return str(caught.value).splitlines()


def test_customer_needs_no_sources_when_it_has_credentials(tmp_path: Path) -> None:
    """HA1 as written, or made from the password in a file."""
    secret = tmp_path / "secret"
    secret.write_text("correct horse\nnot this\n")
    settings = parse_settings(
        text_with(
            f"credentials: [{{username: a, ha1_sha256: {HASH.upper()}}}], minimum_proof: digest",
            f"credentials: [{{username: b, password_file: {secret}}}]",
        ),
        "f.yaml",
    )
    snapshot = compile_snapshot(settings)
    assert snapshot.realm is not None
    assert (snapshot.realm.name, snapshot.realm.algorithms) == ("edge-1", (Algorithm.SHA_256,))
    assert snapshot.realm.users[b"a"].ha1 == {Algorithm.SHA_256: HASH.encode()}
    expected = ha1_of(Algorithm.SHA_256, "b", "edge-1", "correct horse")
    assert (snapshot.realm.users[b"b"].customer, snapshot.realm.users[b"b"].ha1) == (1, {Algorithm.SHA_256: expected})
    assert snapshot.customers[0].access.minimum_proof is Proof.DIGEST
    before = snapshot.version
    secret.write_text("another\n")
    assert compile_snapshot(settings).version != before


def test_nobody_is_challenged_without_credentials() -> None:
    """The default costs nothing."""
    assert compile_snapshot(parse_settings(text_with('sources: ["10.0.0.1"]'), "f.yaml")).realm is None


@pytest.mark.parametrize(
    ("customer", "said"),
    [
        ("credentials: []", "customers[0].sources: the key"),
        ("sources: null", "customers[0].sources: the key"),
        ("sources: []", "customers[0].sources: the list is empty"),
        ("credentials: [{username: a}]", "customers[0].credentials[0].password_file: nothing says the password"),
        ("credentials: [{username: a, ha1_sha256: hunter2}]", "ha1_sha256: it is no hash of 64"),
        (f"credentials: [{{username: a, ha1_md5: {HASH}}}]", "ha1_md5: it is no hash of 32"),
        (f"credentials: [{{username: a, ha1_md5: {'b' * 32}}}]", "credentials[0]: SHA-256 is offered"),
        (f"credentials: [{{username: a, ha1_sha256: {HASH}, ha1_md5: {'b' * 32}}}]", "ha1_md5 is of no use"),
        (f"credentials: [{{username: a, ha1_sha256: {HASH}, password_file: x}}]", "beside ha1_sha256"),
        ("credentials: [{username: a, password_file: /nonexistent/x}]", "cannot read /nonexistent/x"),
        (f"credentials: [{{username: 'a b', ha1_sha256: {HASH}}}]", "is no user name"),
        ('sources: ["10.0.0.1"], minimum_proof: digest', "customers[0].minimum_proof: digest needs credentials"),
        ('sources: ["10.0.0.1"], minimum_proof: tls-mutual', "minimum_proof: tls-mutual needs tls_identities"),
        ('sources: ["10.0.0.1"], minimum_proof: strong', "customers[0].minimum_proof:"),
        ('tls_identities: ["dns:a.example"]', "customers[0].tls_identities: nobody is asked for a certificate"),
        ('tls_identities: ["sbc.a.example"]', "customers[0].tls_identities[0]: "),
        ('tls_identities: ["sha256:abc"]', "customers[0].tls_identities[0]: "),
        ('sources: ["10.0.0.1"], asns: [64500]', "customers[0].asns: without a table"),
        ('sources: ["10.0.0.1"], asns: [0]', "customers[0].asns[0]:"),
    ],
)
def test_wrong_origin_is_an_error_with_its_place(customer: str, said: str) -> None:
    """File, line, key, and what would be right; a secret is never repeated."""
    errors = errors_of(customer)
    assert any(said in line and line.startswith("f.yaml:5: ") for line in errors), errors
    assert not any("hunter2" in line for line in errors)


def test_user_name_belongs_to_one_customer() -> None:
    """Else a password would name two."""
    one = f"credentials: [{{username: a, ha1_sha256: {HASH}}}]"
    (error,) = errors_of(one, one)
    assert error.startswith("f.yaml:6: customers[1].credentials[0].username: ")
    assert "line 5" in error


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{algorithms: []}", "authentication.algorithms: the list is empty"),
        ("{algorithms: [SHA-1]}", "authentication.algorithms[0]:"),
        ("{algorithms: [MD5, MD5]}", "authentication.algorithms: an algorithm is listed twice"),
        ("{nonce_s: 1}", "authentication.nonce_s: 1 is out of range"),
        ("{realm: 'a\"b'}", "authentication.realm:"),
    ],
)
def test_wrong_authentication_is_an_error(section: str, said: str) -> None:
    """The section's own keys."""
    errors = errors_of('sources: ["10.0.0.1"]', more=f"authentication: {section}\n")
    assert any(said in line for line in errors), errors


TLS = """\
node: edge-1
listeners:
  customers:
    bind: "127.0.0.1:5060"
    tls: {bind: "127.0.0.1:5061", certificate: c, key: k, ca: a, client_certificate: optional}
  carriers: {bind: "127.0.0.1:5070"}
trunks: [{id: carrier-a, targets: ["sip:127.0.0.1:5090"]}]
customers:
"""


def test_tls_identities_are_compared_in_one_spelling() -> None:
    """Upper case, colons in a hash and long IPv6 addresses are the same as without."""
    written = f'"DNS:Sbc.Acme.Example", "uri:sip:acme.example", "ip:2001:db8:0::1", "SHA256:{":".join(["AB"] * 32)}"'
    text = TLS + f"  - {{id: c0, country: US, tls_identities: [{written}]}}\n"
    snapshot = compile_snapshot(parse_settings(text.encode(), "f.yaml"))
    expected = ["dns:sbc.acme.example", "uri:sip:acme.example", "ip:2001:db8::1", f"sha256:{'ab' * 32}"]
    assert list(snapshot.tls_identities) == expected


def test_tls_identity_belongs_to_one_customer() -> None:
    """Else a certificate would name two."""
    lines = [f'  - {{id: c{n}, country: US, tls_identities: ["{text}"]}}' for n, text in enumerate(("dns:a", "DNS:A"))]
    with pytest.raises(ConfigErrors) as caught:
        parse_settings((TLS + "\n".join(lines) + "\n").encode(), "f.yaml")
    assert "f.yaml:10: customers[1].tls_identities[0]: " in str(caught.value)
    assert "line 9" in str(caught.value)
