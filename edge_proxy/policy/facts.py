"""What one attempt claims and shows, read from its message once: the input of every rule.

Every claim of identity is read, none hides another (see claims.py), and so is who is said to have forwarded the call
(RFC 5806, RFC 7044, RFC 8946). A claim that cannot be read is still a claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_proxy.addr import E164
from edge_proxy.native import mypyc_attr
from edge_proxy.numbers.e164 import DialPlan, Reading
from edge_proxy.policy.claims import (
    NO_CLAIMS,
    NO_PRIVACY,
    Claim,
    asserted_claims,
    from_claim,
    listed_claims,
    privacy_of,
    read_claim,
    read_user,
    remote_party_claims,
)
from edge_proxy.policy.parties import Source
from edge_proxy.policy.passports import NO_PASSPORTS, read_passports
from edge_proxy.policy.reach import NOWHERE_ELSE, may_reach
from edge_proxy.policy.traces import Traces, read_description, read_headers
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri

_SDP: Final = "application/sdp"
_SDP_LINE: Final = b"Content-Type: application/sdp"
_SEMICOLON: Final = 0x3B
_NOTHING_UNUSUAL: Final = [-1] * (grammar.KIND_COUNT - grammar.FIRST_UNUSUAL)
_REGISTER: Final = b"REGISTER"
_METHODS: Final = {b"INVITE": "INVITE", b"MESSAGE": "MESSAGE"}


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class CallFacts:
    """One attempt. Header texts are cut to 512 characters; nothing here is trusted because it is here."""

    source: Source
    method: str
    call_id: str
    cseq: int
    request_uri: Uri
    request_uri_text: str
    dialled: Reading | None
    """The called number by the caller's plan (calls from a customer only)."""
    may_reach: tuple[E164, ...]
    """Other numbers that whoever dials it may come to (reach.py); nearly always none."""
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
    is_callback: bool
    """It is marked as the call of an emergency centre that calls back (calls from a carrier only)."""
    reads_608: bool
    """Whoever sent it, or a proxy on the way, can tell the caller what a 608 says (RFC 8688 §3.3). Only read where
    something depends on it."""
    is_usual: bool
    """Nothing but From and P-Asserted-Identity says who calls, and nothing that somebody passed the call on."""
    access_network: tuple[str, ...]
    content_type: str
    body: bytes
    user_agent: str
    traces: Traces

    def __init__(
        self,
        source: Source,
        method: str,
        call_id: str,
        cseq: int,
        request_uri: Uri,
        request_uri_text: str,
        from_claim: Claim,
        body: bytes,
    ) -> None:
        self.source = source
        self.method = method
        self.call_id = call_id
        self.cseq = cseq
        self.request_uri = request_uri
        self.request_uri_text = request_uri_text
        self.dialled = None
        self.may_reach = NOWHERE_ELSE
        self.from_claim = from_claim
        self.asserted = ()
        self.preferred = ()
        self.remote_party = ()
        self.passports = ()
        self.attestations = ()
        self.forwarders = ()
        self.last_forwarders = ()
        self.privacy = NO_PRIVACY
        self.has_excess_claims = False
        self.is_callback = False
        self.reads_608 = False
        self.is_usual = True
        self.access_network = ()
        self.content_type = ""
        self.body = body
        self.user_agent = ""
        self.traces = Traces()

    @property
    def hinted(self) -> E164 | None:
        """The number that P-Preferred-Identity asks to be known by, where From is withheld and nothing is asserted:
        what an untrusted user agent has to say it with (RFC 3325 §6)."""
        if self.asserted or not self.preferred or not self.from_claim.is_anonymous:
            return None
        for claim in self.preferred:
            if claim.number is not None:
                return claim.number
        return None

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
    caller = from_claim(message, plan)
    facts = CallFacts(
        source,
        _METHODS.get(message.method) or message.method.decode("ascii", "replace"),
        message.call_id.decode("utf-8", "replace"),
        message.cseq,
        request_uri,
        message.uri.decode("utf-8", "replace")[:512],
        caller,
        message.body,
    )
    if source.origin.customer is not None:
        dialled = facts.dialled = read_user(request_uri, plan)
        if dialled.number is None or request_uri.user_params:
            facts.may_reach = may_reach(request_uri, dialled, plan)
    else:
        facts.is_callback = is_callback(message)
    if first[grammar.P_ASSERTED_IDENTITY] >= 0:
        asserted = asserted_claims(message, plan, caller)
        facts.asserted = asserted.read
        if asserted.has_excess:
            facts.has_excess_claims = True
            facts.is_usual = False
    if message.method == _REGISTER:
        # To is who is called there from now on, and From only who says so (RFC 3261 §10.2).
        facts.asserted = (*facts.asserted, read_claim(message.value(grammar.TO) or b"", "To", plan))
    index = first[grammar.CONTACT]
    if index >= 0 and _SEMICOLON in message.headers[index].raw:
        facts.traces.headers = read_headers(message)
    if first[grammar.FIRST_UNUSUAL :] != _NOTHING_UNUSUAL:
        _read_unusual(message, facts, plan)
    if message.body:
        read_description(message.body, facts.traces)
    index = first[grammar.CONTENT_TYPE]
    if index >= 0:
        facts.content_type = (
            _SDP if message.headers[index].raw == _SDP_LINE else message.text(grammar.CONTENT_TYPE)[:512]
        )
    # Many calls come from one equipment: its line is read once.
    line = message.line(grammar.USER_AGENT)
    agent = "" if line is None else line.text
    if not agent:
        line = message.line(grammar.SERVER)
        agent = "" if line is None else line.text
    facts.user_agent = agent[:512]
    return facts


def is_callback(message: Message) -> bool:
    """Whether its Priority says that an emergency centre calls back (RFC 7090); who may say so is asked elsewhere."""
    for header in message.headers:
        if header.kind == grammar.OTHER and header.raw[:8].lower() == b"priority":
            name = header.raw[: header.raw.find(b":")].rstrip(b" \t")
            if len(name) == 8 and header.value.lower() == b"psap-callback":
                return True
    return False


def reads_608(message: Message) -> bool:
    """Whether it shows the feature-capability indicator `sip.608` (RFC 8688 §3.3, RFC 6809 §4.3)."""
    for header in message.headers:
        if header.kind == grammar.OTHER and header.raw[:12].lower() == b"feature-caps":
            name = header.raw[: header.raw.find(b":")].rstrip(b" \t")
            if len(name) == 12:
                params = header.value.lower().replace(b",", b";").split(b";")
                if any(param.partition(b"=")[0].strip(b" \t") == b"+sip.608" for param in params):
                    return True
    return False


def _read_unusual(message: Message, facts: CallFacts, plan: DialPlan | None) -> None:
    first = message.first
    preferred = remote_party = diverters = history = NO_CLAIMS
    passports = NO_PASSPORTS
    if first[grammar.P_PREFERRED_IDENTITY] >= 0:
        preferred = listed_claims(message, grammar.P_PREFERRED_IDENTITY, plan)
    if first[grammar.REMOTE_PARTY_ID] >= 0:
        remote_party = remote_party_claims(message, plan, facts.dialled)
    if first[grammar.IDENTITY] >= 0:
        passports = read_passports(message, plan)
    if first[grammar.DIVERSION] >= 0:
        diverters = listed_claims(message, grammar.DIVERSION, plan)
    if first[grammar.HISTORY_INFO] >= 0:
        history = listed_claims(message, grammar.HISTORY_INFO, plan)
    facts.preferred = preferred.read
    facts.remote_party = remote_party.read
    facts.passports = passports.callers
    facts.attestations = passports.attestations
    # Diversion names the most recent first (RFC 5806 §4). Of a history, the last entry is who is called now; those
    # before it passed the call on (RFC 7044 §5).
    facts.forwarders = diverters.read + history.read[:-1] + passports.diverters
    facts.last_forwarders = diverters.read[:1] + history.read[-2:-1] + passports.last_diverters
    facts.has_excess_claims = (
        facts.has_excess_claims
        or preferred.has_excess
        or remote_party.has_excess
        or passports.has_excess
        or diverters.has_excess
        or history.has_excess
    )
    facts.is_usual = not (
        facts.has_excess_claims
        or facts.preferred
        or facts.remote_party
        or facts.passports
        or facts.forwarders
        or facts.last_forwarders
    )
    if (
        max(
            first[grammar.P_CHARGE_INFO],
            first[grammar.P_CHARGING_VECTOR],
            first[grammar.P_EARLY_MEDIA],
            first[grammar.REASON],
        )
        >= 0
    ):
        facts.traces.headers = read_headers(message)
    facts.privacy = privacy_of(message)
    facts.access_network = tuple([_text(value) for value in message.values(grammar.P_ACCESS_NETWORK_INFO)])


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")[:512]
