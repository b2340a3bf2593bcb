"""Session timers as a proxy asks for them and reads them (RFC 4028 §8), so that calls whose end was lost end here too.

`ask_for_timer` edits a request that sets up or refreshes a session before it leaves, `settle_session` its 2xx before it
goes back. Neither touches a `refresher` that a peer wrote, and no BYE is ever sent for a peer (§8.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edge_proxy.native import mypyc_attr
from edge_proxy.sip import grammar
from edge_proxy.sip.message import HeaderLine, Message

SMALLEST_INTERVAL_S: Final = 90
"""What Min-SE means when it is absent, and the least that any element may ask for (§5)."""

REFRESHES: Final = frozenset({grammar.METHOD_INVITE, grammar.METHOD_UPDATE})
"""The methods that set up or refresh a session."""

_SECONDS: Final = re.compile(rb"([0-9]{1,10})[ \t]*(?:;|\Z)")
_NUMBER_IN_LINE: Final = re.compile(rb"\A([^:]*+:\s*+)[0-9]++")
_TIMER: Final = b"timer"
_REQUIRED: Final = HeaderLine(grammar.REQUIRE, b"Require: timer")


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False, unsafe_hash=True)
class SessionOffer:
    """What a request left with, to be remembered until its final response is through (§8.1)."""

    interval_s: int
    """Its Session-Expires; 0 when we asked for none."""
    caller_supports: bool

    def __init__(self, interval_s: int, caller_supports: bool) -> None:
        self.interval_s = interval_s
        self.caller_supports = caller_supports


NO_OFFER: Final = SessionOffer(0, False)


def is_too_short(request: Message) -> bool:
    """Whether the interval is below what we accept and the sender can be told so with a 422 (§8.1)."""
    interval_s = _seconds(request, grammar.SESSION_EXPIRES)
    return interval_s is not None and interval_s < SMALLEST_INTERVAL_S and _has_timer(request, grammar.SUPPORTED)


def ask_for_timer(request: Message, desired_s: int) -> SessionOffer:
    """Make sure that the request asks for a session interval of at most `desired_s`, in place. 0: ask for nothing.

    It never goes below Min-SE. Min-SE itself is only raised for a sender that does not know session timers, since a
    422 would end its call (§8.1). What cannot be read is left as it is, and then nothing is asked.
    """
    supports = _has_timer(request, grammar.SUPPORTED)
    if not desired_s:
        return SessionOffer(0, supports)
    smallest_s = SMALLEST_INTERVAL_S
    if request.first[grammar.MIN_SE] >= 0:
        stated_s = _seconds(request, grammar.MIN_SE)
        if stated_s is None:
            return SessionOffer(0, supports)
        smallest_s = stated_s
    if request.first[grammar.SESSION_EXPIRES] < 0:
        interval_s = max(desired_s, smallest_s)
        request.add_line(HeaderLine(grammar.SESSION_EXPIRES, b"Session-Expires: %d" % interval_s))
        return SessionOffer(interval_s, supports)
    sent_s = _seconds(request, grammar.SESSION_EXPIRES)
    if sent_s is None:
        return SessionOffer(0, supports)
    interval_s = sent_s
    if sent_s < SMALLEST_INTERVAL_S and not supports:
        interval_s = max(smallest_s, SMALLEST_INTERVAL_S)
        _set_number(request, grammar.MIN_SE, b"Min-SE: %d" % interval_s, interval_s)
    elif sent_s < smallest_s:
        interval_s = smallest_s
    elif sent_s > desired_s:
        interval_s = max(desired_s, smallest_s)
    if interval_s != sent_s:
        _set_number(request, grammar.SESSION_EXPIRES, b"", interval_s)
    return SessionOffer(interval_s, supports)


def settle_session(response: Message, offer: SessionOffer) -> int:
    """The session interval that a 2xx sets, in seconds; 0: none, the session does not expire.

    Where the far end knows no session timers and the near end does, the answer it would have given is put in (§8.2).
    """
    if response.first[grammar.SESSION_EXPIRES] >= 0:
        return _seconds(response, grammar.SESSION_EXPIRES) or 0
    if not offer.interval_s or not offer.caller_supports:
        return 0
    answer = b"Session-Expires: %d;refresher=uac" % offer.interval_s
    response.add_line(HeaderLine(grammar.SESSION_EXPIRES, answer))
    required = response.value(grammar.REQUIRE)
    if not required:
        response.add_line(_REQUIRED)
    elif not _has_timer(response, grammar.REQUIRE):
        index = response.first[grammar.REQUIRE]
        response.replace_line(index, response.headers[index].raw + b", timer")
    return offer.interval_s


def _seconds(message: Message, kind: int) -> int | None:
    value = message.value(kind)
    match = None if value is None else _SECONDS.match(value)
    return None if match is None else int(match[1])


def _has_timer(message: Message, kind: int) -> bool:
    index = message.first[kind]
    if index < 0:
        return False
    headers = message.headers
    for place in range(index, len(headers)):
        line = headers[place]
        if line.kind == kind:
            if line.number < 0:
                line.number = 1 if _names_timer(line.value) else 0
            if line.number:
                return True
    return False


def _names_timer(value: bytes) -> bool:
    tags = value.lower()
    return tags.find(_TIMER) >= 0 and _TIMER in tags.translate(None, b" \t").split(b",")


def _set_number(message: Message, kind: int, line: bytes, number: int) -> None:
    """Change the number of a header and nothing else of it; `line` is added where there is no such header."""
    index = message.first[kind]
    if index < 0:
        message.add_line(HeaderLine(kind, line))
        return
    message.replace_line(index, _NUMBER_IN_LINE.sub(rb"\g<1>%d" % number, message.headers[index].raw))
