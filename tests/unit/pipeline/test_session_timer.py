"""What a proxy may and must do to session timers in requests and their 2xx (RFC 4028 §8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.pipeline.session_timer import SessionOffer, ask_for_timer, is_too_short, settle_session
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message

_COMMON = (
    "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx",
    "From: <sip:a@example.com>;tag=1",
    "To: <sip:b@example.com>",
    "Call-ID: c",
    "CSeq: 1 INVITE",
    "Content-Length: 0",
)


def request(*lines: str) -> Message:
    return parse_message("\r\n".join(("INVITE sip:b@example.com SIP/2.0", *_COMMON, *lines, "", "")).encode(), Limits())


def answer(*lines: str) -> Message:
    return parse_message("\r\n".join(("SIP/2.0 200 OK", *_COMMON, *lines, "", "")).encode(), Limits())


def added(message: Message) -> list[str]:
    """The lines beside those that every message here has."""
    return [text for line in message.lines if (text := line.decode()) not in _COMMON]


@pytest.mark.parametrize(
    ("sent", "leaves", "interval_s", "supports"),
    [
        # Nothing asked for: the proxy asks, whether or not the caller knows session timers.
        ([], ["Session-Expires: 1800"], 1800, False),
        (["Supported: timer"], ["Supported: timer", "Session-Expires: 1800"], 1800, True),
        (["k: 100rel, TIMER"], ["k: 100rel, TIMER", "Session-Expires: 1800"], 1800, True),
        # ... but never below the caller's Min-SE.
        (["Min-SE: 3600"], ["Min-SE: 3600", "Session-Expires: 3600"], 3600, False),
        # A longer one is lowered; its refresher is not touched.
        (["x: 7200;refresher=uac"], ["x: 1800;refresher=uac"], 1800, False),
        (["Session-Expires:   7200"], ["Session-Expires:   1800"], 1800, False),
        (["Session-Expires: 7200", "Min-SE: 2400"], ["Session-Expires: 2400", "Min-SE: 2400"], 2400, False),
        # A shorter one is left, down to Min-SE, which is 90 when it is not there.
        (["Session-Expires: 600"], ["Session-Expires: 600"], 600, False),
        (["Session-Expires: 90"], ["Session-Expires: 90"], 90, False),
        (["Session-Expires: 600", "Min-SE: 900"], ["Session-Expires: 900", "Min-SE: 900"], 900, False),
        # Too short from one who cannot be told by a 422: Min-SE is put in or raised, the interval follows.
        (["Session-Expires: 60"], ["Session-Expires: 90", "Min-SE: 90"], 90, False),
        (["Session-Expires: 60", "Min-SE: 30"], ["Session-Expires: 90", "Min-SE: 90"], 90, False),
        (["Session-Expires: 60", "Min-SE: 120"], ["Session-Expires: 120", "Min-SE: 120"], 120, False),
        # From one who can: its Min-SE is never touched (§8.1, §11).
        (["Supported: timer", "Session-Expires: 60"], ["Supported: timer", "Session-Expires: 90"], 90, True),
        (
            ["Supported: timer", "Session-Expires: 60", "Min-SE: 60"],
            ["Supported: timer", "Session-Expires: 60", "Min-SE: 60"],
            60,
            True,
        ),
        # What cannot be read is left, and nothing is asked.
        (["Session-Expires: soon"], ["Session-Expires: soon"], 0, False),
        (["Min-SE: -1"], ["Min-SE: -1"], 0, False),
    ],
)
def test_request_leaves_with_what_a_proxy_may_ask(
    sent: list[str], leaves: list[str], interval_s: int, supports: bool
) -> None:
    """RFC 4028 §8.1, rule by rule, for a proxy that wants 1800 s."""
    message = request(*sent)
    assert ask_for_timer(message, 1800) == SessionOffer(interval_s, supports)
    assert added(message) == leaves


def test_proxy_that_asks_for_nothing_changes_nothing() -> None:
    """With `sip.session_expires_s` at 0 a request leaves as it came."""
    message = request("Supported: timer", "Session-Expires: 60")
    assert ask_for_timer(message, 0) == SessionOffer(0, True)
    assert added(message) == ["Supported: timer", "Session-Expires: 60"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Supported: timer", "Session-Expires: 89"], True),
        (["Supported: timer", "Session-Expires: 90"], False),
        (["Session-Expires: 89"], False),
        (["Supported: timer"], False),
        (["Supported: timers", "Session-Expires: 1"], False),
    ],
)
def test_422_is_only_for_those_who_understand_it(lines: list[str], expected: bool) -> None:
    """RFC 4028 §8.1: below 90 s, and only when the caller supports `timer`."""
    assert is_too_short(request(*lines)) is expected


@pytest.mark.parametrize(
    ("sent", "offer", "leaves", "interval_s"),
    [
        # The far end answered: nothing is changed, and its interval is the session's.
        (["x: 600;refresher=uas"], SessionOffer(1800, True), ["x: 600;refresher=uas"], 600),
        # It did not, and the caller understands: the proxy answers in its place.
        ([], SessionOffer(1800, True), ["Session-Expires: 1800;refresher=uac", "Require: timer"], 1800),
        (
            ["Require: 100rel"],
            SessionOffer(900, True),
            ["Require: 100rel, timer", "Session-Expires: 900;refresher=uac"],
            900,
        ),
        (
            ["Require: timer"],
            SessionOffer(900, True),
            ["Require: timer", "Session-Expires: 900;refresher=uac"],
            900,
        ),
        # Nobody understands, or nobody asked: the session does not expire.
        ([], SessionOffer(1800, False), [], 0),
        ([], SessionOffer(0, True), [], 0),
    ],
)
def test_2xx_goes_back_as_the_rfc_demands(
    sent: list[str], offer: SessionOffer, leaves: list[str], interval_s: int
) -> None:
    """RFC 4028 §8.2: the first proxy that knows session timers answers for a far end that does not."""
    message = answer(*sent)
    assert settle_session(message, offer) == interval_s
    assert added(message) == leaves


@given(
    st.lists(st.sampled_from(["Session-Expires", "Min-SE", "x", "Supported", "k", "Require"]), max_size=6),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.integers(0, 86_400),
)
def test_any_values_give_an_interval_not_below_min_se(names: list[str], value: str, desired_s: int) -> None:
    """Whatever peers write, nothing raises, and what we ask for is never below 90 s unless the sender said so."""
    message = request(*(f"{name}: {value}" for name in names))
    before = len(message.lines)
    offer = ask_for_timer(message, desired_s)
    assert len(message.lines) - before <= 2
    assert len(message.lines) == len(message.kinds)
    if not names and desired_s:
        assert offer.interval_s == max(90, desired_s)
    settle_session(answer(*(f"{name}: {value}" for name in names)), offer)
