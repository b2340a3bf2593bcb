"""What SIPp plays in the interop tests: both halves of each case, put together from a few building blocks.

Nothing here depends on how many hops a call takes: a callee that must answer an INVITE late keeps every Via and
Record-Route line of it, and a caller's transactions have names, so that what is lost and repeated finds its own.
SIPp repeats messages over UDP only, also a 2xx to an INVITE, which RFC 3261 §13.3.1.4 has repeated over any transport.
So where one end is on TCP, the other must not lose what only that end could repeat: see `write`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEWAIT_MS: Final = 1500
"""How long an end stays to repeat its last message, should that have been lost."""

_REPEATED: Final = ' retrans="100"'
"""Sent again, ever more slowly, until the next message comes."""

_END_TO_END: Final = ' lost="END-TO-END"'
"""Stands where nobody on the way repeats the message: a 2xx to an INVITE, its ACK, a reliable provisional response."""

_ACCEPTED: Final = _REPEATED + _END_TO_END
"""For a 2xx to an INVITE. SIPp stops, for good, when it gets one twice over TCP: then it is not repeated either."""

_NEVER_LOST: Final = ' lost="0"'
"""For an answer that the same end follows up with a request: SIPp would repeat that instead of the answer."""

_INVITE_BRANCH: Final = "z9hG4bK-[pid]-[call_number]-begin"
_TOP: Final = "Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch="
_CALLER: Final = "From: [from];tag=[pid]-caller-[call_number]"
_CALLEE_TAG: Final = ";tag=[pid]-callee-[call_number]"
_SDP: Final = ("Content-Type: application/sdp", "Content-Length: [len]", "", "[body]")
_EMPTY: Final = ("Content-Length: 0",)


def _send(lines: list[str], attributes: str) -> str:
    text = "\n".join(f"    {line}" if line else "" for line in lines)
    return f"  <send{attributes}><![CDATA[\n\n{text}\n\n  ]]></send>\n"


def _attributes(method: str, txn: str) -> str:
    if method == "ACK":
        return f'{_END_TO_END} ack_txn="{txn}"'
    return f'{_REPEATED} start_txn="{txn}"'


def begin(method: str = "INVITE", headers: tuple[str, ...] = (), *, body: bool = True) -> str:
    """The first request of a case, from the caller. Via first and From next: `keep` relies on it."""
    return _send(
        [
            f"{method} [ruri] SIP/2.0",
            _TOP + _INVITE_BRANCH,
            _CALLER,
            "To: [to]",
            "Call-ID: [call_id]",
            f"CSeq: 1 {method}",
            "Contact: <[contact]>",
            "Max-Forwards: 70",
            *headers,
            *(_SDP if body else _EMPTY),
        ],
        _attributes(method, "begin"),
    )


def hop_by_hop(method: str, *, is_sure: bool = False) -> str:
    """CANCEL of the first request, or ACK to its refusal: both have its branch (RFC 3261 §9.1, §17.1.1.3)."""
    is_ack = method == "ACK"
    return _send(
        [
            f"{method} [ruri] SIP/2.0",
            _TOP + _INVITE_BRANCH,
            _CALLER,
            "To: [to]" + ("[peer_tag_param]" if is_ack else ""),
            "Call-ID: [call_id]",
            f"CSeq: 1 {method}",
            "Max-Forwards: 70",
            *_EMPTY,
        ],
        (' ack_txn="begin"' if is_ack else _attributes(method, "cancel")) + (_NEVER_LOST if is_sure else ""),
    )


def caller_sends(
    method: str, cseq: int, txn: str, headers: tuple[str, ...] = (), *, body: bool = False, to: str = "[to]"
) -> str:
    """A request of the caller inside the dialog; an ACK names the transaction that it belongs to."""
    return _send(
        [
            f"{method} [next_url] SIP/2.0",
            _TOP + "[branch]",
            "[routes]",
            "Max-Forwards: 70",
            _CALLER,
            f"To: {to}[peer_tag_param]",
            "Call-ID: [call_id]",
            f"CSeq: {cseq} {method}",
            "Contact: <[contact]>",
            *headers,
            *(_SDP if body else _EMPTY),
        ],
        _attributes(method, txn),
    )


def callee_sends(method: str, cseq: int, txn: str, headers: tuple[str, ...] = (), *, body: bool = False) -> str:
    """A request of the callee inside the dialog; needs `keep` before."""
    return _send(
        [
            f"{method} [next_url] SIP/2.0",
            _TOP + "[branch]",
            "[routes]",
            "Max-Forwards: 70",
            f"From:[$callee]{_CALLEE_TAG}",
            "To:[$caller]",
            "Call-ID: [call_id]",
            f"CSeq: {cseq} {method}",
            "Contact: <[contact]>",
            *headers,
            *(_SDP if body else _EMPTY),
        ],
        _attributes(method, txn),
    )


def get(status: int, txn: str, *, optional: bool = False, routes: bool = False, is_sure: bool = False) -> str:
    """Wait for a response to the transaction of this name; the INVITEs are called "begin" and "again"."""
    extra = ' optional="true"' if optional else ""
    extra += ' rrs="true"' if routes else ""
    if is_sure:
        extra += _NEVER_LOST
    if txn in {"begin", "again"}:
        if status in {183, 200}:
            extra += _END_TO_END
        elif status in {100, 180} and not optional:
            extra += _NEVER_LOST  # nobody repeats it over any transport, and the scenario waits for it
    return f'  <recv response="{status}" response_txn="{txn}"{extra}/>\n'


def take(method: str, *, optional: bool = False) -> str:
    """Wait for a request."""
    extra = ' optional="true"' if optional else ""
    extra += _END_TO_END if method in {"ACK", "INVITE"} else ""
    return f'  <recv request="{method}"{extra}/>\n'


def keep(method: str = "INVITE") -> str:
    """Wait for the first request and keep its From, its To, its path (all Via and Record-Route) and its routes."""
    return f"""  <recv request="{method}" rrs="true">
    <action>
      <ereg regexp=".*" search_in="hdr" header="From:" check_it="true" assign_to="caller"/>
      <ereg regexp=".*" search_in="hdr" header="To:" check_it="true" assign_to="callee"/>
      <ereg regexp="((Via|Record-Route):.*)From:" search_in="msg" check_it="true" assign_to="whole,path"/>
    </action>
  </recv>
  <Reference variables="caller,callee,whole,path"/>
"""


def answer(status: int, phrase: str, headers: tuple[str, ...] = (), *, body: bool = False, then: str = "") -> str:
    """Answer the request that came last, outside a dialog: the callee's tag is added. `then`: see `_REPEATED`."""
    return _answer(status, phrase, "[last_To:]" + _CALLEE_TAG, headers, body=body, then=then)


def answer_inside(status: int, phrase: str, *, body: bool = False, then: str = "") -> str:
    """Answer the request that came last, inside a dialog."""
    return _answer(status, phrase, "[last_To:]", (), body=body, then=then)


def _answer(status: int, phrase: str, to: str, headers: tuple[str, ...], *, body: bool, then: str) -> str:
    lines = [f"SIP/2.0 {status} {phrase}", "[last_Via:]", "[last_Record-Route:]", "[last_From:]", to]
    lines += ["[last_Call-ID:]", "[last_CSeq:]", "Contact: <[contact]>", *headers, *(_SDP if body else _EMPTY)]
    return _send(lines, then)


def answer_first(status: int, phrase: str, *, body: bool = False) -> str:
    """Answer the INVITE that was kept with a final response, whatever has come since."""
    lines = [f"SIP/2.0 {status} {phrase}", "[$path]From:[$caller]", f"To:[$callee]{_CALLEE_TAG}", "Call-ID: [call_id]"]
    lines += ["CSeq: 1 INVITE", "Contact: <[contact]>", *(_SDP if body else _EMPTY)]
    return _send(lines, _ACCEPTED if status == 200 else _REPEATED)


def pause(milliseconds: int) -> str:
    return f'  <pause milliseconds="{milliseconds}"/>\n'


_RINGS: Final = get(100, "begin", optional=True) + get(180, "begin", optional=True)
_LINGER: Final = f'  <timewait milliseconds="{_TIMEWAIT_MS}"/>\n'
_UP: Final = begin() + _RINGS + get(200, "begin", routes=True) + caller_sends("ACK", 1, "begin")
_ANSWERED: Final = keep() + answer(180, "Ringing") + answer(200, "OK", body=True, then=_ACCEPTED)
_CALLER_ENDS: Final = caller_sends("BYE", 9, "bye") + get(200, "bye")
_CALLEE_IS_LEFT: Final = take("BYE") + answer_inside(200, "OK") + _LINGER
_CALLEE_ENDS: Final = callee_sends("BYE", 9, "bye") + get(200, "bye")
_CALLER_IS_LEFT: Final = take("BYE") + answer_inside(200, "OK") + _LINGER
_CALLER_TAKES_REINVITE: Final = take("INVITE") + answer_inside(200, "OK", body=True, then=_ACCEPTED) + take("ACK")
_REINVITES: Final = (
    caller_sends("INVITE", 2, "again", body=True)
    + get(100, "again", optional=True)
    + get(200, "again")
    + caller_sends("ACK", 2, "again")
    + _CALLER_TAKES_REINVITE
)
_CALLEE_REINVITES: Final = (
    take("ACK")
    + _CALLER_TAKES_REINVITE
    + callee_sends("INVITE", 1, "again", body=True)
    + get(100, "again", optional=True)
    + get(200, "again")
    + callee_sends("ACK", 1, "again")
)
_IS_REFUSED: Final = (
    get(200, "cancel", optional=True)
    + get(180, "begin", optional=True)
    + get(487, "begin")
    + hop_by_hop("ACK")
    + _LINGER
)
_IS_CANCELLED: Final = (
    take("CANCEL")
    + answer_inside(200, "OK", then=_NEVER_LOST)
    + answer_first(487, "Request Terminated")
    + take("ACK")
    + _LINGER
)


@dataclass(frozen=True)
class Case:
    """A race: what the caller does, and what each callee does, the first one tried first."""

    caller: str
    callees: tuple[str, ...]


def _inside(method: str, headers: tuple[str, ...] = (), status: int = 200, notify: str = "") -> Case:
    """A call in which the caller sends one more request, and the callee a NOTIFY about it where that is its answer."""
    caller = _UP + caller_sends(method, 2, "inside", headers) + get(status, "inside")
    callee = _ANSWERED + take("ACK") + take(method)
    callee += answer_inside(status, "OK", then=_NEVER_LOST if notify else "")
    if notify:
        about = (f"Event: {notify}", "Subscription-State: terminated;reason=noresource")
        caller += take("NOTIFY") + answer_inside(200, "OK", then=_NEVER_LOST)
        callee += pause(400)  # by then the answer above has arrived, even when it was lost once
        callee += callee_sends("NOTIFY", 1, "notify", about) + get(200, "notify")
    return Case(caller + _CALLER_ENDS, (callee + _CALLEE_IS_LEFT,))


def _alone(method: str, headers: tuple[str, ...] = (), *, body: bool = False) -> Case:
    """A request that begins no dialog."""
    return Case(begin(method, headers, body=body) + get(200, "begin"), (take(method) + answer(200, "OK") + _LINGER,))


_REFUSES: Final = keep() + answer(503, "Service Unavailable", then=_REPEATED) + take("ACK") + _LINGER

RACES: Final[dict[str, Case]] = {
    "normal": Case(_UP + _REINVITES + pause(300) + _CALLER_ENDS, (_ANSWERED + _CALLEE_REINVITES + _CALLEE_IS_LEFT,)),
    "normal, callee hangs up": Case(
        _UP + _REINVITES + _CALLER_IS_LEFT, (_ANSWERED + _CALLEE_REINVITES + pause(300) + _CALLEE_ENDS,)
    ),
    "cancel before 180": Case(
        begin() + get(100, "begin") + pause(100) + hop_by_hop("CANCEL", is_sure=True) + _IS_REFUSED,
        (keep() + pause(400) + answer(180, "Ringing") + _IS_CANCELLED,),
    ),
    "cancel after 180": Case(
        begin() + get(100, "begin", optional=True) + get(180, "begin") + hop_by_hop("CANCEL") + _IS_REFUSED,
        (keep() + answer(180, "Ringing") + _IS_CANCELLED,),
    ),
    "cancel crosses 200": Case(
        begin()
        + get(100, "begin", optional=True)
        + get(180, "begin")
        + hop_by_hop("CANCEL")
        + get(200, "cancel", optional=True, is_sure=True)  # SIPp would lose the other 200 in its place
        + get(200, "begin", routes=True)
        + caller_sends("ACK", 1, "begin")
        + pause(300)
        + _CALLER_ENDS,
        (
            keep()
            + answer(180, "Ringing")
            + take("CANCEL")
            + answer_inside(200, "OK", then=_NEVER_LOST)
            + answer_first(200, "OK", body=True)
            + take("ACK", optional=True)
            + _CALLEE_IS_LEFT,
        ),
    ),
    "callee BYE": Case(_UP + _CALLER_IS_LEFT, (_ANSWERED + take("ACK") + _CALLEE_ENDS,)),
    "caller BYE": Case(_UP + _CALLER_ENDS, (_ANSWERED + take("ACK", optional=True) + _CALLEE_IS_LEFT,)),
    "486": Case(
        begin() + _RINGS + get(486, "begin") + hop_by_hop("ACK") + _LINGER,
        (keep() + answer(180, "Ringing") + answer(486, "Busy Here", then=_REPEATED) + take("ACK") + _LINGER,),
    ),
    "503 failover": Case(
        _UP + pause(300) + _CALLER_ENDS,
        (_REFUSES, _ANSWERED + take("ACK", optional=True) + _CALLEE_IS_LEFT),
    ),
}

METHODS: Final[dict[str, Case]] = {
    "OPTIONS": _alone("OPTIONS", ("Accept: application/sdp",)),
    "MESSAGE": _alone("MESSAGE", body=True),
    "SUBSCRIBE": Case(
        begin("SUBSCRIBE", ("Event: dialog", "Expires: 60"), body=False)
        + get(200, "begin", routes=True)
        + take("NOTIFY")
        + answer_inside(200, "OK")
        + _LINGER,
        (
            keep("SUBSCRIBE")
            + answer(200, "OK", ("Expires: 60",), then=_NEVER_LOST)
            + pause(300)
            + callee_sends("NOTIFY", 1, "notify", ("Event: dialog", "Subscription-State: active;expires=60"))
            + get(200, "notify"),
        ),
    ),
    "INFO": _inside("INFO"),
    "UPDATE": _inside("UPDATE"),
    "REFER": _inside("REFER", ("Refer-To: <sip:+14155550199@edge.example>",), 202, "refer"),
    "PRACK": Case(
        begin(headers=("Supported: 100rel",))
        + get(100, "begin", optional=True)
        + get(183, "begin", routes=True)
        + caller_sends("PRACK", 2, "prack", ("RAck: 1 1 INVITE",))
        + get(200, "prack")
        + get(200, "begin")
        + caller_sends("ACK", 1, "begin")
        + pause(300)
        + _CALLER_ENDS,
        (
            keep()
            + answer(183, "Session Progress", ("Require: 100rel", "RSeq: 1"), body=True, then=_REPEATED)
            + take("PRACK")
            + answer_inside(200, "OK", then=_NEVER_LOST)
            + pause(400)
            + answer_first(200, "OK", body=True)
            + take("ACK", optional=True)
            + _CALLEE_IS_LEFT,
        ),
    ),
}


def write(directory: Path, name: str, steps: str, *, loses_all: bool = True) -> Path:
    """The scenario file of this name. Without `loses_all`, what is repeated end to end only does not get lost."""
    path = directory / f"{name}.xml"
    if not loses_all:
        steps = steps.replace(_ACCEPTED, _NEVER_LOST)
    steps = steps.replace(_END_TO_END, "" if loses_all else _NEVER_LOST)
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{name}">\n{steps}</scenario>\n')
    return path
