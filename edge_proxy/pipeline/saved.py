"""A request that is not live, from its bytes and where it is said to come from to a judgement, as if it were.

For `diff` and the operator's assertions: the functions that judge live traffic, and nothing else.
"""

from __future__ import annotations

from edge_proxy.addr import Address, Side, Transport
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.pipeline.admission import Challenge, admit_saved
from edge_proxy.pipeline.judgement import Judgement, judge
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.engine import Step
from edge_proxy.policy.parties import Source
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri


def judge_saved(
    snapshot: Snapshot,
    data: bytes,
    transport: Transport,
    address: Address,
    side: Side | None = None,
    trace: list[Step] | None = None,
) -> Judgement:
    """The verdict on a request; without a side, on that which knows the address. Raises RemoteProtocolError.

    One that would be challenged for a password is judged by its address alone, as `explain` does.
    """
    if b"\r\n" not in data:
        data = data.replace(b"\n", b"\r\n")  # an editor saved it
    message = parse_message(data, snapshot.limits)
    if not message.is_request:
        raise RemoteProtocolError("it is a response; only requests are judged")
    side = side or likely_side(snapshot, address)
    known = snapshot.origin_of(address.host, side)
    found = admit_saved(snapshot, message, known, transport)
    source = Source(known if isinstance(found, Challenge) else found, address, transport)
    return judge(snapshot, message, parse_uri(message.uri), source, trace)


def likely_side(snapshot: Snapshot, address: Address) -> Side:
    """Carriers for an address that is a trunk's and no customer's."""
    is_trunk = snapshot.trunk_sources.find(address.host) >= 0
    is_customer = snapshot.customer_sources.find(address.host) >= 0
    return Side.CARRIERS if is_trunk and not is_customer else Side.CUSTOMERS
