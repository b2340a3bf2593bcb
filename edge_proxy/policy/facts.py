"""What one attempt claims and shows, read from its message once: the input of every rule.

Every claim of identity is read, none hides another (see claims.py), and so is who is said to have forwarded the call
(RFC 5806, RFC 7044, RFC 8946). A claim that cannot be read is still a claim.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_proxy.numbers.e164 import DialPlan
from edge_proxy.policy.claims import (
    NO_CLAIMS,
    Claim,
    asserted_claims,
    from_claim,
    listed_claims,
    privacy_of,
    remote_party_claims,
)
from edge_proxy.policy.parties import Source
from edge_proxy.policy.passports import NO_PASSPORTS, read_passports
from edge_proxy.policy.traces import Traces, read_traces
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri


@dataclass(slots=True)
class CallFacts:
    """One attempt. Header texts are cut to 512 characters; nothing here is trusted because it is here."""

    source: Source
    method: str
    call_id: str
    cseq: int
    request_uri: Uri
    request_uri_text: str
    from_claim: Claim
    asserted: tuple[Claim, ...]
    preferred: tuple[Claim, ...]
    remote_party: tuple[Claim, ...]
    passports: tuple[Claim, ...]
    """Who the PASSporTs say is calling: what is claimed, since nobody has checked a signature here."""
    attestations: tuple[str, ...]
    """Which levels of attestation SHAKEN's PASSporTs claim (RFC 8588 §4): as above."""
    forwarders: tuple[Claim, ...]
    last_forwarders: tuple[Claim, ...]
    """Of the forwarders, who passed the call on last: one by each of Diversion, History-Info and PASSporTs."""
    privacy: frozenset[bytes]
    has_excess_claims: bool
    access_network: tuple[str, ...]
    content_type: str
    body: bytes
    user_agent: str
    traces: Traces

    @property
    def caller_claims(self) -> tuple[Claim, ...]:
        """Every claim of who is calling, beside From."""
        if self.preferred or self.remote_party or self.passports:
            return self.asserted + self.preferred + self.remote_party + self.passports
        return self.asserted


def extract_facts(message: Message, source: Source, request_uri: Uri, plan: DialPlan | None) -> CallFacts:
    """Read an initial request. `plan` says how national numbers are meant; None reads international forms only."""
    # Few messages have any of these headers: what is not there is not even asked for.
    first = message.first
    asserted = preferred = remote_party = diverters = history = NO_CLAIMS
    passports = NO_PASSPORTS
    caller = from_claim(message, plan)
    if first[grammar.P_ASSERTED_IDENTITY] >= 0:
        asserted = asserted_claims(message, plan, caller)
    if first[grammar.P_PREFERRED_IDENTITY] >= 0:
        preferred = listed_claims(message, grammar.P_PREFERRED_IDENTITY, plan)
    if first[grammar.REMOTE_PARTY_ID] >= 0:
        remote_party = remote_party_claims(message, plan)
    if first[grammar.IDENTITY] >= 0:
        passports = read_passports(message, plan)
    if first[grammar.DIVERSION] >= 0:
        diverters = listed_claims(message, grammar.DIVERSION, plan)
    if first[grammar.HISTORY_INFO] >= 0:
        history = listed_claims(message, grammar.HISTORY_INFO, plan)
    # Diversion names the most recent first (RFC 5806 §4). Of a history, the last entry is who is called now; those
    # before it passed the call on (RFC 7044 §5).
    return CallFacts(
        source=source,
        method=message.method.decode("ascii", "replace"),
        call_id=message.call_id.decode("utf-8", "replace"),
        cseq=message.cseq,
        request_uri=request_uri,
        request_uri_text=message.uri.decode("utf-8", "replace")[:512],
        from_claim=caller,
        asserted=asserted.read,
        preferred=preferred.read,
        remote_party=remote_party.read,
        passports=passports.callers,
        attestations=passports.attestations,
        forwarders=diverters.read + history.read[:-1] + passports.diverters,
        last_forwarders=diverters.read[:1] + history.read[-2:-1] + passports.last_diverters,
        privacy=privacy_of(message),
        has_excess_claims=asserted.has_excess
        or preferred.has_excess
        or remote_party.has_excess
        or passports.has_excess
        or diverters.has_excess
        or history.has_excess,
        access_network=tuple(
            value.decode("utf-8", "replace")[:512] for value in message.values(grammar.P_ACCESS_NETWORK_INFO)
        ),
        content_type=message.text(grammar.CONTENT_TYPE)[:512],
        body=message.body,
        user_agent=(message.text(grammar.USER_AGENT) or message.text(grammar.SERVER))[:512],
        traces=read_traces(message),
    )
