"""Weigh what a message shows about where its call began: on IP, on the switched network, or unknown.

SIP alone proves neither; each signal is a hint with a name and a weight (see weights.py), and every one that took part
is told with what it was read from. What a customer writes is a claim; a marker of the switched network counts in full
whoever wrote it, since nobody gains by adding one to a good call.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from edge_proxy.addr import UNKNOWN_ASN
from edge_proxy.policy.access import Proof
from edge_proxy.policy.circuit_body import find_circuit_body
from edge_proxy.policy.facts import CallFacts
from edge_proxy.policy.fingerprints import Meaning
from edge_proxy.policy.isup import CallingNumber, Iam, decode_iam
from edge_proxy.policy.traces import HeaderTraces
from edge_proxy.policy.verdict import IpOrigin, Signal
from edge_proxy.policy.weights import DEFAULT_TERMS, TOLD, IpOriginPolicy, IpOriginTerms
from edge_proxy.sip.uri import Uri

_SWITCHED_ACCESS: Final = frozenset({"gstn"})
_IP_ACCESS: Final = (
    "ieee-802.", "adsl", "radsl", "sdsl", "hdsl", "vdsl", "g.shdsl", "idsl", "docsis", "gpon", "xgpon", "dvb-rcs2",
    "3gpp-e-utran", "3gpp-nr", "3gpp-wlan", "wlan", "untrusted-non-3gpp",
)  # fmt: skip
_MOST_CALLER_PARAMS: Final = 16
"""Of one URI; each becomes a signal, and a network writes one or two."""
_CALLER_PARAMS: Final = re.compile(
    rb";(?=[iocpvIOCPV])(isup-oli|oli|cpc|pstn-params|verstat)=([^;\s]{0,32})", re.IGNORECASE
)
_CIRCUIT_LINES: Final = {
    "02": "number not identified", "07": "operator handled", "25": "toll-free from a coin line", "27": "coin line",
    "30": "intercept", "31": "intercept", "32": "intercept", "34": "operator handled", "52": "OUTWATS",
    "70": "private pay station",
}  # fmt: skip
"""The digits of the originating line (ANI II) that only a line of a circuit exchange or an operator has. Not here: 00,
an ordinary line, which IP equipment writes too; 61 to 63, mobile; 24, toll-free; 20 and 23, which may be either."""
_CIRCUIT_CATEGORIES: Final = {"payphone": "payphone", "operator": "operator"}
_TRUNK_GROUP: Final = re.compile(rb";tgrp=([^;@>\s]{1,64})")
_TRUNK_CONTEXT: Final = re.compile(rb";trunk-context=([^;@>\s]{1,64})")
_VENDOR_TRUNK_GROUP: Final = re.compile(rb";([od]tg)=([^;@>\s]{1,64})")
_NATURE: Final = re.compile(rb";[ \t]*(?:noa|npi)[ \t]*=[ \t]*[^;\s]{1,16}")
_ORIGINATING_NETWORK: Final = re.compile(rb"orig-ioi[ \t]*=[ \t]*\"?([^\";]{1,64})")
_ORDINARY: Final = frozenset({0x00, 0x0A, 0x0B})
_CATEGORIES: Final = {0x0C: "data call", 0x0D: "test call", 0x0F: "payphone"}
_VERIFIED: Final = frozenset({1, 3})
_DIGEST: Final = Proof.DIGEST
_TLS_MUTUAL: Final = Proof.TLS_MUTUAL
_GATEWAY: Final = Meaning.GATEWAY
_PSTN: Final = IpOrigin.PSTN
_IP: Final = IpOrigin.IP
_UNKNOWN: Final = IpOrigin.UNKNOWN


def weigh_ip_origin(facts: CallFacts, policy: IpOriginPolicy) -> tuple[IpOrigin, tuple[Signal, ...]]:
    """The verdict on where the call began, and every signal that took part in it."""
    found: list[tuple[str, str]] = []
    customer = facts.source.origin.customer
    terms = DEFAULT_TERMS if customer is None else customer.ip_origin
    traces = facts.traces
    for value in facts.access_network:
        _access_network(value, terms, found)
    if facts.content_type and facts.content_type != "application/sdp":
        _circuit_body(facts, found)
    _identities(facts, found)
    if facts.attestations:
        _attestations(facts, found)
    if traces.headers is not None:
        _trunk_group(traces.headers.contact, found)
        _headers(traces.headers, found)
    _equipment(facts, policy, terms, found)
    if customer is not None:
        _sender(facts, found)
    if not found:
        return _UNKNOWN, ()
    weights = policy.weights
    signals = tuple([Signal(name, weights[name], detail) for name, detail in found if weights[name] or name in TOLD])
    return _weigh({signal.name: signal.weight for signal in signals}, policy), signals


def _weigh(weights: dict[str, int], policy: IpOriginPolicy) -> IpOrigin:
    """Each name once: all of one side, less the strongest of the other."""
    for_pstn = for_ip = strongest_pstn = strongest_ip = 0
    for weight in weights.values():
        if weight > 0:
            for_pstn += weight
            strongest_pstn = max(strongest_pstn, weight)
        else:
            for_ip += weight
            strongest_ip = min(strongest_ip, weight)
    if for_pstn + strongest_ip >= policy.pstn_at:
        return _PSTN
    return _IP if for_ip + strongest_pstn <= policy.ip_at else _UNKNOWN


def _access_network(value: str, terms: IpOriginTerms, found: list[tuple[str, str]]) -> None:
    """P-Access-Network-Info (RFC 7315 §5.4): GSTN is circuit-switched access; an IP type is a claim."""
    for spec in value.split(",", 8)[:8]:
        access_type, _, info = spec.strip().lower().partition(";")
        access_type = access_type.strip()
        if access_type in _SWITCHED_ACCESS or "gstn-location" in info:
            found.append(("pani_gstn", spec.strip()[:64]))
        elif access_type.startswith(_IP_ACCESS):
            is_networks = "network-provided" in info or info.strip() == "np"
            name = "pani_ip_access_trusted" if is_networks and terms.trusts_access_network else "pani_ip_access"
            found.append((name, spec.strip()[:64]))


def _circuit_body(facts: CallFacts, found: list[tuple[str, str]]) -> None:
    """An ISUP or QSIG body, alone or in a multipart (RFC 3204, RFC 3372): a circuit exchange made the call."""
    body = find_circuit_body(facts.content_type, facts.body)
    if body is None:
        return
    found.append((f"body_{body.kind.replace('-', '_')}", body.type_text))
    if body.kind != "isup":
        return
    iam = decode_iam(body.content, body.base)
    if iam is None:
        found.append(("iam_unreadable", "the ISUP body holds no IAM that can be read"))
    else:
        _iam(iam, facts, found)


def _iam(iam: Iam, facts: CallFacts, found: list[tuple[str, str]]) -> None:
    if iam.is_switched_throughout:
        found.append(("iam_switched_throughout", "ISUP all the way, no interworking"))
    elif iam.has_interworking:
        found.append(("iam_interworking", "interworking encountered"))
    if iam.has_isdn_access:
        found.append(("iam_isdn_access", "originating access ISDN"))
    if iam.category not in _ORDINARY:
        found.append(("iam_category", _CATEGORIES.get(iam.category, f"category {iam.category:#04x}")))
    if iam.originating_line is not None:
        found.append(("iam_originating_line", f"originating line {iam.originating_line:02d}"))
    calling = iam.calling
    if calling is None or not calling.is_shown:
        return
    if calling.screening in _VERIFIED:
        found.append(("iam_network_number", f"screening {calling.screening}"))
    number = facts.from_claim.number
    if number is not None and not any(_means(one, number) for one in (calling, iam.additional)):
        found.append(("iam_number_differs", f"the IAM calls from {calling.digits}, From says +{number}"))


def _means(calling: CallingNumber | None, number: int) -> bool:
    return calling is not None and calling.is_number(number)


def _identities(facts: CallFacts, found: list[tuple[str, str]]) -> None:
    """Parameters that networks write into the URI of the caller: ANI II digits, category, Sonus' own, verification."""
    uri = facts.from_claim.uri
    if uri is not None and (uri.params or uri.user_params):
        _caller_params(uri, facts, found)
    for claim in facts.asserted:
        uri = claim.uri
        if uri is not None and (uri.params or uri.user_params):
            _caller_params(uri, facts, found)


def _caller_params(uri: Uri, facts: CallFacts, found: list[tuple[str, str]]) -> None:
    # A tel URI's parameters stand in both places.
    for text in (uri.user_params, uri.params) if uri.host else (uri.params,):
        for match in islice(_CALLER_PARAMS.finditer(text), _MOST_CALLER_PARAMS):
            name, value = match[1].lower().decode("ascii"), match[2].decode("utf-8", "replace")
            if name == "verstat":
                _verstat(value, facts, found)
                continue
            detail = f"{name}={value}"
            if name != "pstn-params":
                line = _CIRCUIT_CATEGORIES.get(value.lower()) if name == "cpc" else _CIRCUIT_LINES.get(value)
                if line is not None:
                    found.append(("circuit_line", f"{detail} ({line})"))
            found.append((name.replace("-", "_"), detail))


def _verstat(value: str, facts: CallFacts, found: list[tuple[str, str]]) -> None:
    """What the network that sends found out about the number; some add the level, and how it came."""
    if not _is_trusted(facts):
        return
    verdict = value.lower()
    if verdict.startswith("tn-validation-passed"):
        rest = verdict.removeprefix("tn-validation-passed").split("-")
        found.append(("attest_c_claimed" if "c" in rest else "verstat_passed", f"verstat={value}"))
    elif verdict.startswith("tn-validation-failed"):
        found.append(("verstat_failed", f"verstat={value}"))
    elif verdict.startswith("no-tn-validation"):
        found.append(("verstat_absent", f"verstat={value}"))


def _attestations(facts: CallFacts, found: list[tuple[str, str]]) -> None:
    """Nobody verified a signature here, so that A and B say as much as whoever sends them is trusted with."""
    is_trusted = _is_trusted(facts)
    for level in facts.attestations:
        detail = f"attest {level} in a PASSporT, not verified"
        if is_trusted or level == "C":
            found.append((f"attest_{level.lower()}_claimed", detail))
        else:
            found.append(("attest_untrusted", f"{detail}, of a side that is not trusted"))


def _is_trusted(facts: CallFacts) -> bool:
    """Whether the side that sends is in the trust domain (RFC 3325 §2.3)."""
    origin = facts.source.origin
    if origin.customer is not None:
        return origin.customer.identity.is_trusted
    return origin.trunk is not None and origin.trunk.trusted_identity


def _trunk_group(contact: bytes, found: list[tuple[str, str]]) -> None:
    """In Contact: the group that the call came in by (RFC 4904 §4); without its context it counts as a vendor's."""
    if contact.find(b"tg") < 0:
        return
    group = _TRUNK_GROUP.search(contact)
    if group is not None:
        context = _TRUNK_CONTEXT.search(contact)
        name = "trunk_group" if context is not None else "trunk_group_vendor"
        found.append((name, group[0][1:].decode("utf-8", "replace")))
    vendor = _VENDOR_TRUNK_GROUP.search(contact)
    if vendor is not None:
        found.append(("trunk_group_vendor", vendor[0][1:].decode("utf-8", "replace")))


def _headers(traces: HeaderTraces, found: list[tuple[str, str]]) -> None:
    if traces.charge_info:
        nature = _NATURE.search(traces.charge_info)
        if nature is None:
            found.append(("charge_info", "P-Charge-Info"))
        else:
            found.append(("charge_info_noa", f"P-Charge-Info{nature[0].decode('utf-8', 'replace')}"))
    if traces.early_media:
        found.append(("early_media", f"P-Early-Media: {traces.early_media[:32].decode('utf-8', 'replace')}"))
    for reason in traces.reasons:
        if reason.startswith(b"q.850"):
            found.append(("q850_reason", f"Reason: {reason[:32].decode('utf-8', 'replace')}"))
            break
    if traces.charging_vector:
        network = _ORIGINATING_NETWORK.search(traces.charging_vector)
        if network is not None:
            found.append(("charging_vector", f"orig-ioi={network[1].decode('utf-8', 'replace')}"))


def _equipment(facts: CallFacts, policy: IpOriginPolicy, terms: IpOriginTerms, found: list[tuple[str, str]]) -> None:
    """What the equipment says it is: known by its words, and on the customer's list or not."""
    traces = facts.traces
    for known in policy.fingerprints.find(facts.user_agent, traces.sdp_origin, traces.sdp_session):
        name = "gateway_fingerprint" if known.meaning is _GATEWAY else "ip_fingerprint"
        found.append((name, f"{known.name} ({known.place})"))
    if terms.approved_equipment:
        if terms.approves(facts.user_agent):
            found.append(("equipment_approved", facts.user_agent[:64]))
        else:
            found.append(("equipment_unapproved", facts.user_agent[:64] or "names no equipment"))


def _sender(facts: CallFacts, found: list[tuple[str, str]]) -> None:
    """How surely the customer is known, and whether its media comes from where it is."""
    origin = facts.source.origin
    shown = origin.shown
    if shown is _DIGEST:
        found.append(("proof_digest", shown))
    elif shown is _TLS_MUTUAL:
        found.append(("proof_tls_mutual", shown))
    media = facts.traces.media_origins
    if not media:
        return
    is_inside, agrees = True, origin.asn != UNKNOWN_ASN
    for one in media:
        is_inside = is_inside and one.customer is origin.customer
        agrees = agrees and one.asn == origin.asn
    if is_inside:
        found.append(("media_in_network", ", ".join(facts.traces.media_hosts)[:64]))
    if agrees:
        found.append(("media_asn_agrees", f"AS{origin.asn}"))
