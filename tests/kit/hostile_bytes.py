"""Hostile bytes: real messages and values with pieces cut out, put in, doubled, swapped or made very long."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.kit import core_rig, messages
from tests.torture.load import torture_cases

TOKENS = [
    *b"\r\n\t \"<>,;:@%?=[]()'\\+-.*\x00\xff",
    *map(ord, "0189"),
]
WORDS = [
    *(
        b"\r\n\r\n",
        b"\r\n ",
        b"\n",
        b"\r",
        b"SIP/2.0",
        b"sip/2.0/",
        b"SIP/3.0",
        b";tag=",
        b";branch=z9hG4bK",
        b";rport",
    ),
    b"\r\nContent-Length: 0\r\n\r\n",
    *(b";received=", b";maddr=::1", b";lr", b";ep=", b"sip:", b"sips:", b"tel:", b"urn:service:sos", b"911", b"%00"),
    *(b"Via: SIP/2.0/UDP 127.0.0.2:5080;branch=x\r\n", b"v:", b"Route: <sip:127.0.0.1:5060;lr>\r\n", b"99999999999"),
    *(
        b"Max-Forwards: 0\r\n",
        b"Content-Length: 3\r\n",
        b"l:",
        b"CSeq: 2147483648 INVITE\r\n",
        b"\xc3\xa9",
        b"\xf0\x9f",
    ),
]
CALL = [
    core_rig.invite("P-Asserted-Identity: <sip:+12025550100@x>, <tel:+12025550100>", call_id="c1", branch="b1"),
    core_rig.request("BYE", "sip:+14155550999@127.0.0.1:5060", call_id="c1", branch="b2"),
    core_rig.request("OPTIONS", "sip:127.0.0.1:5060", call_id="c2", branch="b3"),
    core_rig.request("MESSAGE", "tel:+13105550199", call_id="c3", branch="b4"),
    messages.invite(
        body="v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    ),
]
SEEDS = [*CALL, core_rig.answer(CALL[0], 200), *(case.data for case in torture_cases())]
VALUES = [
    b"SIP/2.0/UDP 127.0.0.2:5080;branch=z9hG4bK1;rport",
    b'"A, B" <sip:+12025550100@x;user=phone>;tag=1',
    b"sip:+12025550100;ext=1@x.example:5060;transport=udp?Reason=SIP%3Bcause%3D302",
    b"tel:+1-202-555-0100;phone-context=example.com",
    b"1 INVITE",
    b"+1 (202) 555-0100",
    b"0112025550100",
    b"v=0\r\nc=IN IP4 192.0.2.2\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with pieces cut out, put in, doubled, swapped or made very long."""
    raw = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(raw)))
        end = min(len(raw), at + draw(st.integers(0, 24)))
        piece = draw(
            st.one_of(
                st.sampled_from(WORDS),
                st.sampled_from(TOKENS).map(lambda byte: bytes([byte])),
                st.binary(max_size=4),
                st.sampled_from([2, 40, 3000]).map(lambda times: bytes(raw[at:end]) * times),  # noqa: B023
            )
        )
        raw[at : draw(st.sampled_from([at, end]))] = piece
    return bytes(raw)
