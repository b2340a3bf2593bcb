"""Weigh what a message shows about where its call began: on IP, on the switched network, or unknown.

SIP alone proves neither; each signal is a hint with a weight. The strongest hint each way counts, and decides only when
what is left of the two is strong enough: to say a thing twice makes it no truer.
"""

from __future__ import annotations

import re
from typing import Final

from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.verdict import IpOrigin, Signal

PSTN_AT: Final = 50
IP_AT: Final = -50

_SWITCHED_ACCESS: Final = frozenset({"gstn"})
_IP_ACCESS: Final = (
    "ieee-802.", "adsl", "radsl", "sdsl", "hdsl", "vdsl", "g.shdsl", "idsl", "docsis", "gpon", "xgpon", "dvb-rcs2",
    "3gpp-e-utran", "3gpp-nr", "3gpp-wlan", "wlan", "untrusted-non-3gpp",
)  # fmt: skip
_CIRCUIT_BODIES: Final = re.compile(rb"application/(isup|qsig|x-q931|gtd)\b", re.IGNORECASE)
_PART_TYPE: Final = re.compile(rb"^(?:content-type|c)[ \t]*:[ \t]*([^\r\n;]*)", re.IGNORECASE | re.MULTILINE)


def weigh_ip_origin(facts: CallFacts) -> tuple[IpOrigin, tuple[Signal, ...]]:
    """The verdict on where the call began, and every signal that took part in it."""
    signals: list[Signal] = []
    for value in facts.access_network:
        signals.extend(_access_network(value))
    if facts.content_type:
        body_signal = _circuit_body(facts)
        if body_signal is not None:
            signals.append(body_signal)
    if not signals:
        return IpOrigin.UNKNOWN, ()
    weights = [signal.weight for signal in signals]
    score = max(0, *weights) + min(0, *weights)
    if score >= PSTN_AT:
        return IpOrigin.PSTN, tuple(signals)
    return (IpOrigin.IP if score <= IP_AT else IpOrigin.UNKNOWN), tuple(signals)


def _access_network(value: str) -> list[Signal]:
    """P-Access-Network-Info (RFC 7315 §5.4): GSTN is circuit-switched access; a type is a claim unless from a network.

    A marker for the switched network counts in full whoever wrote it: nobody gains by adding one to a good call.
    """
    found: list[Signal] = []
    for spec in value.split(",", 8)[:8]:
        access_type, _, info = spec.strip().lower().partition(";")
        access_type = access_type.strip()
        if access_type in _SWITCHED_ACCESS or "gstn-location" in info:
            found.append(Signal("pani_gstn", 100, spec.strip()[:64]))
        elif access_type.startswith(_IP_ACCESS):
            weight = -50 if "network-provided" in info or info.strip() == "np" else -20
            found.append(Signal("pani_ip_access", weight, spec.strip()[:64]))
    return found


def _circuit_body(facts: CallFacts) -> Signal | None:
    """An ISUP or QSIG body, alone or in a multipart (RFC 3204, RFC 3372): a circuit exchange made the call."""
    content_type = facts.content_type.lower().encode("utf-8", "replace")
    match = _CIRCUIT_BODIES.match(content_type)
    if match is None and content_type.startswith(b"multipart/"):
        for part_type in _PART_TYPE.finditer(facts.body):
            match = _CIRCUIT_BODIES.match(part_type[1])
            if match is not None:
                break
    if match is None:
        return None
    return Signal(f"body_{match[1].decode().lower().replace('-', '_')}", 100, match[0].decode())
