"""Whatever shape a customer's headers have, none of its hosts reaches the carrier, and nothing is an internal error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Side
from edge_proxy.sip import grammar
from tests.scenarios.topology_world import Phone, World, values

HOSTS = st.sampled_from(
    [
        b"10.20.30.41",
        b"10.20.30.41:5062",
        b"proxy.acme.internal",
        b"a.b.proxy.acme.internal:5061",
        b"PROXY.acme.internal",
    ]
)
DISPLAYS = st.sampled_from(
    [b"", b'"Desk" ', b'"a <b>, c" ', b"Desk at 10.20.30.41 ", "José ".encode(), b'"un\\"quoted" ']
)
PARAMS = st.sampled_from(
    [
        b"",
        b";q=0.5",
        b';x="10.20.30.41"',
        b";h=proxy.acme.internal",
        b";expires=60;isfocus",
        b' ; y = "a;b,c"',
        b";z=[::1]",
    ]
)
URI_PARAMS = st.sampled_from(
    [b"", b";lr", b";maddr=10.20.30.41", b";transport=tcp;user=phone", b"?Subject=10.20.30.41"]
)
USERS = st.sampled_from([b"", b"line12@", b"+12025550101;npdi@", b"a%40b:c@"])
SCHEMES = st.sampled_from([b"sip:", b"sips:", b"SIP:"])
URIS = st.builds(lambda *parts: b"".join(parts), SCHEMES, USERS, HOSTS, URI_PARAMS)
ADDRESSES = st.one_of(
    st.builds(lambda display, uri, params: display + b"<" + uri + b">" + params, DISPLAYS, URIS, PARAMS),
    st.builds(lambda user, host: b"sip:" + user + host, USERS, HOSTS),
    st.sampled_from([b"<tel:+12025550101>", b"*", b"<broken", b'"open <sip:a@10.20.30.41>', b"<a> <sip:10.20.30.41>"]),
)
LISTS = st.lists(ADDRESSES, min_size=1, max_size=3).map(b", ".join)
NAMES = st.sampled_from(
    [
        b"Record-Route", b"Contact", b"m", b"P-Asserted-Identity", b"Diversion", b"History-Info", b"Remote-Party-ID",
        b"Reply-To", b"Refer-To", b"Referred-By", b"X-Anything", b"Call-Info", b"User-Agent", b"Organization",
    ]
)  # fmt: skip
FOLDS = st.sampled_from([b": ", b":", b":\r\n ", b" :\t"])
LINES = st.lists(st.builds(lambda name, fold, value: name + fold + value, NAMES, FOLDS, LISTS), max_size=6)
FROMS = st.builds(lambda display, uri: display + b"<" + uri + b">", DISPLAYS, URIS)


@given(
    lines=LINES, from_=FROMS, to=FROMS, call_id=st.sampled_from([b"1@10.20.30.41", b"2@proxy.acme.internal:5060", b"3"])
)
def test_no_header_of_any_shape_leaks(lines: list[bytes], from_: bytes, to: bytes, call_id: bytes) -> None:
    """`World` holds what leaves against the list of secrets; what comes back is what the customer sent."""
    world = World(mode="monitor")
    via = b"SIP/2.0/UDP proxy.acme.internal:5060\nSIP/2.0/UDP 10.20.30.41:5062;branch=z9hG4bKpbx"
    phone = Phone(Side.CUSTOMERS, from_, b"near", b"<sip:line12@10.20.30.41>", via, call_id)
    data = phone.compose(b"INVITE", b"sip:+13035550100@10.20.30.1:5060", to, 1, b"\r\n".join(lines), b"")
    requests = [message for message in world.send(Side.CUSTOMERS, data) if message.is_request]
    assert all(counts.is_balanced() for counts in world.pipeline.counters.sides.values())
    if not requests:
        return  # refused for what it is, before it was hidden
    (request,) = requests
    carrier = Phone(Side.CARRIERS, b"", b"far", b"<sip:gw@203.0.113.10>", b"SIP/2.0/UDP 203.0.113.10:5060")
    answers = world.send(Side.CARRIERS, carrier.answer(request, b"180 Ringing"))
    (answer,) = [message for message in answers if message.status == 180]
    assert answer.call_id == call_id
    assert answer.value(grammar.FROM) == from_ + b";tag=near"
    assert len(values(answer, grammar.VIA)) == 2
