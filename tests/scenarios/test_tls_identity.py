"""Customers known by the certificate on their TLS connection, from whatever address they come."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Address, Listener, Side, Transport
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.access import Proof
from edge_proxy.policy.verdict import Reason
from tests.kit.messages import CUSTOMER, OURS_FOR_CUSTOMERS, invite, request, value
from tests.kit.playbook import FOR_CARRIERS, FOR_CUSTOMERS, STRANGER, Peer, Playbook, make_snapshot

NUMBER = "+12025550250"
FROM = f"<sip:{NUMBER}@mobile.example>;tag=m"
NAME, HASH = "dns:sbc.mobile.example", "sha256:" + "ab" * 32
TLS = Listener(2, Side.CUSTOMERS, Transport.TLS, Address(OURS_FOR_CUSTOMERS.host, 5061))


def snapshot_with(acme: str = "mode: enforce") -> Snapshot:
    new = f"""    tls: {{bind: "192.0.2.1:5061", certificate: c, key: k, ca: a, client_certificate: optional}}
  carriers: {{bind: "192.0.2.2:5070", transports: [udp, tcp]}}
customers:
  - id: mobile
    tls_identities: ["DNS:SBC.mobile.example", "{HASH}"]
    country: US
    numbers: ["{NUMBER}"]
    minimum_proof: tls-mutual
  - id: acme
    {acme}
"""
    old = '  carriers: {bind: "192.0.2.2:5070", transports: [udp, tcp]}\ncustomers:\n  - id: acme\n'
    bind = '  customers: {bind: "192.0.2.1:5060", transports: [udp, tcp]}\n'
    block = '  customers:\n    bind: "192.0.2.1:5060"\n    transports: [udp, tcp]\n'
    return make_snapshot(old=bind + old, new=block + new)


class TlsPlaybook(Playbook):
    """A play with a TLS listener on the customers' side."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        super().__init__(snapshot=snapshot or snapshot_with())
        self.listeners[:] = [FOR_CUSTOMERS, FOR_CARRIERS, TLS]
        self.pipeline = self._start()

    def connected(self, address: Address, *identities: str) -> Peer:
        """A connection is up, and its far end has proved to be these."""
        if identities:
            self.pipeline.peer_identity(TLS, address, identities)
        peer = Peer(self, address, TLS)
        self.peers[address, Side.CUSTOMERS] = peer
        return peer


def tls_invite(source: Address, **fields: str) -> bytes:
    return invite(via=f"SIP/2.0/TLS {source};branch=z9hG4bK-{source.port}-{fields.get('branch', '1')}", **fields)


@pytest.mark.parametrize("identity", [NAME, HASH])
def test_certificate_names_the_customer(identity: str) -> None:
    """By a name in it or by its hash, beside others that mean nothing to us; the strongest proof there is."""
    play = TlsPlaybook()
    peer = play.connected(STRANGER, "dns:other.example", identity)
    peer.sends(tls_invite(STRANGER, from_=FROM)).gets(100)
    (attempt,) = play.attempts
    assert (attempt.customer, attempt.verdict.proof) == ("mobile", Proof.TLS_MUTUAL)
    assert attempt.facts.source.origin.identity == identity


def test_certificate_outranks_the_address() -> None:
    """At acme's address, with the certificate of another customer: the certificate is what cannot be forged."""
    play = TlsPlaybook()
    play.connected(CUSTOMER, NAME).sends(tls_invite(CUSTOMER, from_=FROM)).gets(100)
    assert play.attempts[-1].customer == "mobile"


def test_certificate_that_is_nobodys_leaves_the_address() -> None:
    """acme over TLS with a certificate that is bound to nobody is known by its address."""
    play = TlsPlaybook()
    play.connected(CUSTOMER, "dns:sbc.acme.example").sends(tls_invite(CUSTOMER)).gets(100)
    assert (play.attempts[-1].customer, play.attempts[-1].verdict.proof) == ("acme", Proof.ADDRESS_TCP)


def test_proof_ends_with_the_connection() -> None:
    """Whoever has the same address and port next has proved nothing."""
    play = TlsPlaybook()
    peer = play.connected(STRANGER, NAME)
    peer.sends(tls_invite(STRANGER, from_=FROM, branch="a")).gets(100)
    play.carrier.gets("INVITE")
    play.pipeline.peer_identity(TLS, STRANGER, ())
    refusal = peer.sends(tls_invite(STRANGER, from_=FROM, branch="b")).gets(403)
    assert "unknown_source" in value(refusal, "Reason")


def test_proof_holds_on_its_own_connection_only() -> None:
    """The same address over UDP, or from another port, is a stranger's."""
    play = TlsPlaybook()
    play.connected(STRANGER, NAME)
    Peer(play, STRANGER, FOR_CUSTOMERS)
    play.stranger = play.peers[STRANGER, Side.CUSTOMERS]
    play.pipeline.receive(invite(source=STRANGER, from_=FROM), STRANGER, FOR_CUSTOMERS, play.now)  # type: ignore[arg-type]
    play._collect()
    play.stranger.gets(403)
    other = Address(STRANGER.host, 40_000)
    play.connected(other).sends(tls_invite(other, from_=FROM)).gets(403)
    assert [one.verdict.reason for one in play.attempts] == [Reason.UNKNOWN_SOURCE] * 2


def test_certificate_of_two_customers_is_believed_for_neither() -> None:
    """Their names in one certificate: 403, and it says why."""
    snapshot = snapshot_with('tls_identities: ["dns:sbc.acme.example"]')
    play = TlsPlaybook(snapshot)
    refusal = play.connected(STRANGER, NAME, "dns:sbc.acme.example").sends(tls_invite(STRANGER, from_=FROM)).gets(403)
    assert "acme and mobile" in value(refusal, "Warning")
    assert play.attempts[-1].verdict.reason is Reason.AUTHENTICATION_FAILED


def test_reload_binds_a_connection_that_is_up_anew() -> None:
    """What the certificate says is kept, whose it is comes from the data in use."""
    play = TlsPlaybook(make_snapshot())
    peer = play.connected(STRANGER, NAME)
    peer.sends(tls_invite(STRANGER, from_=FROM, branch="a")).gets(403)
    play.pipeline.use_snapshot(snapshot_with())
    peer.sends(tls_invite(STRANGER, from_=FROM, branch="b")).gets(100)
    assert [one.customer for one in play.attempts] == ["", "mobile"]


def test_options_on_an_identified_connection_is_answered() -> None:
    """Its keep-alives are those of a customer."""
    play = TlsPlaybook()
    via = f"SIP/2.0/TLS {STRANGER};branch=z9hG4bK-o"
    play.connected(STRANGER, NAME).sends(request("OPTIONS", "sip:192.0.2.1:5061", via=via)).gets(200)
