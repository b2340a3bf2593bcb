"""The overload control parameters of a Via (RFC 7339 §4)."""

from __future__ import annotations

import pytest

from edge_proxy.sip.overload import Feedback, feedback_params, read_feedback, with_feedback

OURS = b"SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bKx;rport"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (b';oc=20;oc-algo="loss";oc-validity=500;oc-seq=1282321615.782', Feedback(20, 0.5, (1282321615, 78200))),
        (b';oc=100;oc-algo="loss";oc-validity=2000;oc-seq=1.5', Feedback(100, 2.0, (1, 50000))),
        (b';OC=0;oc-algo="loss";oc-validity=0;oc-seq=2.00001', Feedback(0, 0.0, (2, 1))),
        (b";oc=7;oc-seq=x", Feedback(7, 0.5, None)),
        (b";oc=7;oc-validity=soon", Feedback(7, 0.5, None)),
    ],
)
def test_feedback_is_read_with_its_defaults(params: bytes, expected: Feedback) -> None:
    """500 ms hold where no validity can be read (§4.3); oc-seq is a decimal number (§4.4)."""
    assert read_feedback(OURS + params) == expected


@pytest.mark.parametrize(
    "params", [b"", b';oc;oc-algo="loss"', b";oc=101", b";oc=-1", b";oc=many", b';oc=20;oc-algo="rate"', b";xoc=20"]
)
def test_what_is_no_feedback_says_nothing(params: bytes) -> None:
    """Our question come back, values out of range, another algorithm than the one that was offered."""
    assert read_feedback(OURS + params) is None


def test_what_we_write_can_be_read() -> None:
    """The two directions speak the same language."""
    via = OURS + feedback_params(35, 1.0, 1_700_000_000.25)
    assert read_feedback(via) == Feedback(35, 1.0, (1_700_000_000, 25_000))


def response(*vias: bytes) -> bytes:
    return b"\r\n".join([b"SIP/2.0 100 Trying", *vias, b"Call-ID: a", b"Content-Length: 0", b"", b""])


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (b'Via: SIP/2.0/UDP a;branch=b;oc;oc-algo="loss";rport=5', b"Via: SIP/2.0/UDP a;branch=b;rport=5;oc=1"),
        (b'v : SIP/2.0/UDP a;oc;oc-algo="rate,loss";branch=b', b"v : SIP/2.0/UDP a;branch=b;oc=1"),
        (b"VIA: SIP/2.0/UDP a;oc;branch=b, SIP/2.0/UDP c;oc", b"VIA: SIP/2.0/UDP a;branch=b;oc=1, SIP/2.0/UDP c;oc"),
        (b"Via: SIP/2.0/UDP a;oc=9;ocean=1;oc-validity=5", b"Via: SIP/2.0/UDP a;ocean=1;oc=1"),
    ],
)
def test_feedback_goes_into_the_top_via_that_asks(asked: bytes, answered: bytes) -> None:
    """Only there, once, with everything else as it was."""
    below = b"Via: SIP/2.0/UDP d;oc"
    assert with_feedback(response(asked, below), b";oc=1") == response(answered, below)


@pytest.mark.parametrize("via", [b"Via: SIP/2.0/UDP a", b"Via: SIP/2.0/UDP a;ocean", b'Via: a b;oc;oc-algo="rate"'])
def test_nobody_is_told_who_did_not_ask(via: bytes) -> None:
    """A top Via without `oc`, or for another algorithm, leaves as it is."""
    data = response(via, b"Via: SIP/2.0/UDP d;oc")
    assert with_feedback(data, b";oc=1") is data
