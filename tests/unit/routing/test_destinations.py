"""Targets seen from their addresses: what is compiled once, and what names add to it (RFC 3263)."""

from __future__ import annotations

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.routing.destinations import TRUNKS, Destinations, Named
from edge_proxy.routing.health import Thresholds
from edge_proxy.routing.names import Endpoint, NameQuery, Names
from edge_proxy.routing.targets import Probe, Target

A = Address("192.0.2.1", 5060)
B = Address("192.0.2.2", 5060)
QUERY = NameQuery("sbc.example", None, None, Side.CUSTOMERS)
PROBE = Probe(10.0, 4.0, 2, 5)


def test_targets_of_one_address_are_one_place_and_the_first_probe_names_it() -> None:
    """How it is watched is what a probe needs, whoever of them is probed."""
    found = Destinations()
    found.add(Side.CARRIERS, TRUNKS, Target("sip:one", A))
    found.add(Side.CARRIERS, TRUNKS, Target("sip:two", A, probe=PROBE, controls_overload=True))
    found.add(Side.CARRIERS, TRUNKS, Target("sip:three", A, probe=PROBE))
    found.add(Side.CARRIERS, TRUNKS, Target("sip:four", A))
    assert (found.hosts, found.giving_feedback) == ({A.host}, {A})
    assert found.thresholds == {A: Thresholds(5, 2, None)}
    assert [one.uri for one in found.probed.values()] == ["sip:two"]


def test_same_address_is_probed_on_each_side_and_transport() -> None:
    found = Destinations()
    for side in Side:
        for transport in (Transport.UDP, Transport.TCP):
            found.add(side, 0, Target("sip:a", A, transport, probe=PROBE))
    assert [(one.side, one.transport, one.address) for one in found.probed.values()] == [
        (side, transport, A) for side in Side for transport in (Transport.UDP, Transport.TCP)
    ]


def test_named_targets_are_where_their_names_are_now() -> None:
    """They are noted where all are compiled, and placed by what is known of names; a name unknown is nowhere."""
    fixed = Destinations()
    target = Target("sip:sbc.example", None, query=QUERY, probe=PROBE)
    fixed.add(Side.CUSTOMERS, 7, target)
    fixed.add(Side.CUSTOMERS, 8, Target("sip:192.0.2.1", A))
    assert (fixed.names, fixed.named) == ({QUERY}, [Named(Side.CUSTOMERS, 7, target)])
    assert fixed.hosts == {A.host}
    named = fixed.placed(Names({QUERY: (Endpoint(B, Transport.TCP),)}))
    assert (named.hosts, list(named.thresholds), len(named.probed)) == ({B.host}, [B], 1)
    assert not fixed.placed(Names({})).hosts
