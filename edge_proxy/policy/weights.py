"""The signals of where a call began, by name, and what each weighs unless the operator says otherwise.

Positive speaks for the switched network, negative for IP. `pstn` needs `pstn_at`: all that speaks for the switched
network, less the strongest hint for IP. `ip` needs `ip_at`: all that speaks for IP, less the strongest hint against
it. A hint counts once however often it is given, so that no heap of claims outweighs one marker.

The defaults are such that what a session border controller, a PBX or a carrier's softswitch writes into a call that
never left IP (parameters and headers that it copies or always sets) does not come to `pstn_at`, all of it together and
with a gateway's name; tests/corpus has a call of each. What only a circuit exchange has to say comes to it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from edge_proxy.policy.fingerprints import Fingerprints
from edge_proxy.policy.wildcard import Wildcard

PSTN_AT: Final = 50
IP_AT: Final = -50
MAX_WEIGHT: Final = 100

DEFAULT_WEIGHTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        # P-Access-Network-Info (RFC 7315 §5.4); `trusted`: network-provided, by a customer whose word counts.
        "pani_gstn": 100,
        "pani_ip_access": -20,
        "pani_ip_access_trusted": -50,
        # A body that a circuit exchange wrote (RFC 3204).
        "body_isup": 100,
        "body_qsig": 100,
        "body_x_q931": 100,
        "body_gtd": 100,
        # What the IAM in it says (ITU-T Q.763). A gateway claims ISUP all the way also for calls born in SIP
        # (RFC 3398 §8.2.1.1), so that by itself is not everything.
        "iam_switched_throughout": 60,
        "iam_isdn_access": 30,
        "iam_interworking": -10,
        "iam_category": 40,
        "iam_network_number": 20,
        "iam_number_differs": 60,
        "iam_originating_line": 60,
        "iam_unreadable": 10,
        # Parameters of circuit networks in From and P-Asserted-Identity URIs. `circuit_line`: a value of them that only
        # a line of a circuit exchange has (a coin telephone, an operator's position). The rest is copied from leg to
        # leg by equipment that is IP on both sides, and says no more than that a circuit may have been on the way.
        "circuit_line": 60,
        "isup_oli": 2,
        "oli": 2,
        "cpc": 2,
        "pstn_params": 8,
        # Who pays (RFC 8496), and the nature of that number as ISUP has it.
        "charge_info_noa": 4,
        "charge_info": 2,
        # The trunk group that the call came in by, in Contact (RFC 4904), or as vendors write it.
        "trunk_group": 2,
        "trunk_group_vendor": 2,
        # What equipment writes about itself.
        "gateway_fingerprint": 20,
        "ip_fingerprint": -10,
        "equipment_unapproved": 10,
        "equipment_approved": -20,
        # Headers that are at home where networks meet (RFC 5009, RFC 3326, RFC 7315 §5.6).
        "early_media": 1,
        "q850_reason": 4,
        "charging_vector": 1,
        # What a SHAKEN PASSporT claims (RFC 8588 §4). No signature was verified: A and B count only where the side that
        # sends is trusted, and are told as `attest_untrusted` where not. C says itself that the call only entered the
        # network there, by a gateway, which nobody claims for gain.
        "attest_a_claimed": -20,
        "attest_b_claimed": -10,
        "attest_c_claimed": 30,
        "attest_untrusted": 0,
        # What a trusted side says came of its verification (3GPP TS 24.229 §7.2A.20); from others it is not read.
        "verstat_passed": -20,
        "verstat_failed": 10,
        "verstat_absent": 5,
        # Who sends, and where the media is.
        "proof_digest": -30,
        "proof_tls_mutual": -30,
        "media_in_network": -20,
        "media_asn_agrees": -10,
    }
)

TOLD: Final = frozenset({"attest_untrusted"})
"""What is told even if it weighs nothing."""


@dataclass(frozen=True, slots=True)
class IpOriginPolicy:
    """How signals are weighed, and the equipment that is known."""

    pstn_at: int = PSTN_AT
    ip_at: int = IP_AT
    weights: Mapping[str, int] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    """Every name of `DEFAULT_WEIGHTS`; 0: the signal is neither weighed nor told, but for `TOLD`."""
    fingerprints: Fingerprints = field(default_factory=Fingerprints)


@dataclass(frozen=True, slots=True)
class IpOriginTerms:
    """What holds for the calls of one customer."""

    refuses_unknown: bool | None = None
    """None: as the node does."""
    trusts_access_network: bool = False
    """`network-provided` in its P-Access-Network-Info is the word of a network, not of a caller."""
    approved_equipment: tuple[Wildcard, ...] = ()
    """What its User-Agent and Server may say; none: whatever they like."""

    def approves(self, agent: str) -> bool:
        return any(pattern.matches(agent) for pattern in self.approved_equipment)


DEFAULT_TERMS: Final = IpOriginTerms()
