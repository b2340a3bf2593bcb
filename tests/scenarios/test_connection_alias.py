"""RFC 5923: a peer lets us use the connection that it opened, also for requests of our own to its port."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Address, Monotonic, Side, Transport
from edge_proxy.pipeline.aliases import Alias
from tests.kit.messages import CUSTOMER, invite
from tests.kit.playbook import STRANGER, Playbook

PORT_OF_THE_CONNECTION = 40_001


@pytest.mark.parametrize(
    ("sender", "transport", "is_noted"),
    [
        (CUSTOMER, Transport.TCP, True),
        (STRANGER, Transport.TCP, False),  # who it is nobody knows
        (CUSTOMER, Transport.UDP, False),  # no connection to speak of
    ],
    ids=["known peer", "stranger", "datagram"],
)
def test_alias_in_the_top_via_is_noted_for_known_peers_on_streams(
    sender: Address, transport: Transport, is_noted: bool
) -> None:
    """The alias is the peer's own address with the port that its Via names; never another host's."""
    play = Playbook(has_streams=True)
    listener = next(one for one in play.listeners if one[1:3] == (Side.CUSTOMERS, transport))
    source = Address(sender.host, PORT_OF_THE_CONNECTION)
    data = invite().replace(b";branch=", b";alias;branch=", 1)
    play.pipeline.receive(data, source, listener, Monotonic(play.now))
    aliases = play.pipeline.collect().aliases
    assert list(aliases) == ([Alias(listener.slot, source, sender)] if is_noted else [])
    assert not play.pipeline.collect().aliases
