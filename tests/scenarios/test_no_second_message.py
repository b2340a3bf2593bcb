"""What comes as one message leaves as one, whatever transport it leaves by (RFC 3261 §16.6 step 9, §18.3)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side, Transport
from edge_proxy.sip.framing import StreamFramer
from edge_proxy.sip.limits import Limits
from tests.kit.messages import CARRIER, CUSTOMER, FOREIGN, answer, invite, value, values
from tests.kit.playbook import Playbook, make_snapshot

HIDDEN = invite(from_=f"<sip:{FOREIGN}@x>;tag=hidden")
TCP_CARRIER = make_snapshot(old=f'"sip:{CARRIER}"', new=f'"sip:{CARRIER};transport=tcp"')


def without_length(data: bytes, body: bytes) -> bytes:
    """RFC 3261 §18.3 allows that in a datagram: the body ends with it."""
    lines = [line for line in data.removesuffix(b"\r\n\r\n").split(b"\r\n") if not line.startswith(b"Content-Length")]
    return b"\r\n".join([*lines, b"", body])


@pytest.mark.parametrize("body", [HIDDEN, b""])
def test_body_of_a_datagram_is_no_second_request_on_a_stream(body: bytes) -> None:
    """It came from us, and nobody would have checked it."""
    play = Playbook(snapshot=TCP_CARRIER, has_streams=True)
    carrier = play.peer(CARRIER, Side.CARRIERS, Transport.TCP)
    play.customer.sends(without_length(invite(), body)).gets(100)
    left = carrier.gets("INVITE")
    assert StreamFramer(Limits()).feed(left) == [left]
    assert left.endswith(b"\r\n\r\n" + body)
    assert values(left, "Content-Length")[0] == str(len(body))


@pytest.mark.parametrize(
    "fold",
    [
        "\r\n Content-Length: 0",
        "\r\n\tl:0",
        "\r\n \r\n  CONTENT-LENGTH : 0",
        "\r\n b\r\n l\r\n : 0",
        "\r\n Content-Length\r\n \r\n\t\r\n \r\n : 0",
        "\r\n Content_Length: 0",
    ],
)
def test_fold_that_others_take_for_the_length_is_refused(fold: str) -> None:
    """Kamailio's reader of streams does: it sees two requests where we see one and its body."""
    sent = invite(f"Subject: a{fold}", body=HIDDEN.decode())
    play = Playbook(snapshot=TCP_CARRIER, has_streams=True)
    play.reads_what_leaves = False
    play.customer.sends(sent).gets(400)
    play.peer(CARRIER, Side.CARRIERS, Transport.TCP).gets_nothing()


@pytest.mark.parametrize("name", ["Content_Length", "CONTENT_length "])
def test_length_with_an_underscore_is_refused(name: str) -> None:
    """It is the length to Kamailio's reader of streams, and no header that anybody knows to all others."""
    play = Playbook(snapshot=TCP_CARRIER, has_streams=True)
    play.reads_what_leaves = False
    play.customer.sends(invite(f"{name}: 0", body=HIDDEN.decode())).gets(400)
    play.customer.sends(invite(body="x").replace(b"Content-Length", name.encode())).gets(400)
    play.peer(CARRIER, Side.CARRIERS, Transport.TCP).gets_nothing()


def test_folded_length_leaves_in_one_line() -> None:
    """Kamailio closes a connection, which other calls share, for one that is folded."""
    play = Playbook(snapshot=TCP_CARRIER, has_streams=True)
    carrier = play.peer(CARRIER, Side.CARRIERS, Transport.TCP)
    play.customer.sends(invite(body="body").replace(b"Content-Length: 4", b"l :\r\n 04\r\n\t")).gets(100)
    left = carrier.gets("INVITE")
    assert values(left, "Content-Length") == ["04"]
    assert left.endswith(b"\r\nContent-Length: 04\r\n\r\nbody")


@pytest.mark.parametrize("fold", ["\r\n b: Content-Length: 0\r\n call: 0", "\r\n :", "\r\n \r\n : 0", "l\r\n : 0"])
def test_other_folds_pass(fold: str) -> None:
    """A continuation may begin as it likes."""
    play = Playbook()
    play.customer.sends(invite(f"Subject:{fold}")).gets(100)
    assert f"\r\nSubject:{fold}\r\n".encode() in play.carrier.gets("INVITE")


def test_body_of_a_datagram_is_no_second_response_on_a_stream() -> None:
    """The same for who is called."""
    play = Playbook(has_streams=True)
    caller = play.peer(CUSTOMER, Side.CUSTOMERS, Transport.TCP)
    caller.sends(invite(via=f"SIP/2.0/TCP {CUSTOMER};branch=z9hG4bK-stream")).gets(100)
    invited = play.carrier.gets("INVITE")
    hidden = answer(invited, 200, tag="hidden")
    play.carrier.sends(without_length(answer(invited, 180), hidden))
    left = caller.gets(180)
    assert StreamFramer(Limits()).feed(left) == [left]
    assert values(left, "Content-Length")[0] == str(len(hidden))
    assert value(left.removesuffix(hidden), "CSeq") == "1 INVITE"
