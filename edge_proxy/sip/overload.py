"""The overload control parameters of a Via value (RFC 7339 §4): feedback read from ours, ours written into a peer's.

Only the algorithm `loss` is spoken (§7). Nothing is decided here, and what cannot be read counts as not said.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from edge_proxy.sip.headers import find_param

ASK: Final = b';oc;oc-algo="loss"'
"""What a client's Via says that wants feedback (§4.1, §4.2)."""

_DEFAULT_VALIDITY_S: Final = 0.5
_SEQUENCE: Final = re.compile(rb"([0-9]{1,12})\.([0-9]{1,5})")
_MILLISECONDS: Final = re.compile(rb"[0-9]{1,9}")
_PERCENT: Final = re.compile(rb"[0-9]{1,3}")
_FIRST_VIA: Final = re.compile(rb"\r\n(?:via|v)[ \t]*:((?>(?:[^\r\n,\"]++|\"[^\"\r\n]*+\")*))", re.IGNORECASE)
_ANY_OC: Final = re.compile(
    rb"[ \t]*;[ \t]*oc(?:-algo|-validity|-seq)?+(?![A-Za-z0-9\-.!%*_+`'~])"
    rb"(?:[ \t]*=[ \t]*(?:\"[^\"]*+\"|[^\s;,\"]*+))?",
    re.IGNORECASE,
)


class Feedback(NamedTuple):
    """By what share a server wants fewer requests, for how long, and when it said so as it counts."""

    percent: int
    validity_s: float
    """0: no reduction any more, whatever `percent` says (§4.3)."""
    sequence: tuple[int, int] | None


def read_feedback(via: bytes) -> Feedback | None:
    """What a response's top Via value says; None when it says nothing, or not by `loss`."""
    params = via[via.find(b";") :]
    percent = find_param(params, b"oc")
    if not percent or _PERCENT.fullmatch(percent) is None or int(percent) > 100:
        return None  # the bare `oc` is our own question, come back from somebody who does not know it
    algorithm = find_param(params, b"oc-algo")
    if algorithm is not None and algorithm.strip(b'"').strip().lower() != b"loss":
        return None
    validity = find_param(params, b"oc-validity")
    is_readable = validity is not None and _MILLISECONDS.fullmatch(validity) is not None
    validity_s = int(validity) / 1000 if validity is not None and is_readable else _DEFAULT_VALIDITY_S
    sequence = _SEQUENCE.fullmatch(find_param(params, b"oc-seq") or b"")
    if sequence is None:
        return Feedback(int(percent), validity_s, None)
    return Feedback(int(percent), validity_s, (int(sequence[1]), int(sequence[2].ljust(5, b"0"))))


def feedback_params(percent: int, validity_s: float, sequence_s: float) -> bytes:
    """Our feedback as parameters; `sequence_s`, a time of day, must grow from one to the next (§4.4)."""
    return b';oc=%d;oc-algo="loss";oc-validity=%d;oc-seq=%.3f' % (percent, validity_s * 1000, sequence_s)


def with_feedback(response: bytes, params: bytes) -> bytes:
    """The response with `params` in its top Via, if that asks for feedback by `loss`; else the same object."""
    match = _FIRST_VIA.search(response)
    if match is None:
        return response
    via = match[1]
    semicolon = via.find(b";")
    if semicolon < 0 or find_param(via[semicolon:], b"oc") is None:
        return response
    offered = (find_param(via[semicolon:], b"oc-algo") or b"loss").strip(b'"').lower().split(b",")
    if b"loss" not in [name.strip() for name in offered]:
        return response
    answered = via[:semicolon] + _ANY_OC.sub(b"", via[semicolon:]) + params
    return response[: match.start(1)] + answered + response[match.end(1) :]
