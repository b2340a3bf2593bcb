"""What one attempt claims and shows, read from its message once: the input of every rule.

Every claim of identity is read, none hides another: From, each value of each P-Asserted-Identity line, and who is
said to have forwarded the call (RFC 3325 §9.1, RFC 5806, RFC 7044). A claim that cannot be read is still a claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from edge_proxy.addr import E164
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.numbers.e164 import DialPlan, Reading, read_number
from edge_proxy.policy.parties import Source
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_name_addr, split_list
from edge_proxy.sip.message import Message
from edge_proxy.sip.uri import Uri, parse_uri

MAX_CLAIMS: Final = 16
"""More identity values than this in one header are not read; `CallFacts.has_excess_claims` then says so."""

_ANONYMOUS_USERS: Final = frozenset({"anonymous", "unavailable", "unknown", "restricted", ""})


class Claim(NamedTuple):
    """One identity that a message claims. `uri` is None when it could not be read."""

    header: str
    text: str
    uri: Uri | None
    reading: Reading | None

    @property
    def number(self) -> E164 | None:
        return None if self.reading is None else self.reading.number

    @property
    def user(self) -> str:
        """What stands where a number would: as sent, never more than 64 characters of it."""
        return (self.text if self.uri is None else self.uri.user)[:64]

    @property
    def is_anonymous(self) -> bool:
        """The caller withholds its number (RFC 3323 §4.1.1.3)."""
        uri = self.uri
        return uri is not None and (uri.host.endswith(".invalid") or uri.user.lower() in _ANONYMOUS_USERS)


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
    forwarders: tuple[Claim, ...]
    has_excess_claims: bool
    access_network: tuple[str, ...]
    content_type: str
    body: bytes
    user_agent: str


def extract_facts(message: Message, source: Source, request_uri: Uri, plan: DialPlan | None) -> CallFacts:
    """Read an initial request. `plan` says how national numbers are meant; None reads international forms only."""
    from_value = message.value(grammar.FROM) or b""
    asserted, excess_asserted = _claims(message, grammar.P_ASSERTED_IDENTITY, plan)
    forwarders, excess_diversion = _claims(message, grammar.DIVERSION, plan)
    history, excess_history = _claims(message, grammar.HISTORY_INFO, plan)
    if len(history) > 1:
        # Of a history, the last entry is who is called now; those before it passed the call on (RFC 7044 §5).
        forwarders += history[:-1]
    return CallFacts(
        source=source,
        method=message.method.decode("ascii", "replace"),
        call_id=message.call_id.decode("utf-8", "replace"),
        cseq=message.cseq,
        request_uri=request_uri,
        request_uri_text=message.uri.decode("utf-8", "replace")[:512],
        from_claim=_claim(from_value, "From", plan),
        asserted=asserted,
        forwarders=forwarders,
        has_excess_claims=excess_asserted or excess_diversion or excess_history,
        access_network=tuple(
            value.decode("utf-8", "replace")[:512] for value in message.values(grammar.P_ACCESS_NETWORK_INFO)
        ),
        content_type=message.text(grammar.CONTENT_TYPE)[:512],
        body=message.body,
        user_agent=(message.text(grammar.USER_AGENT) or message.text(grammar.SERVER))[:512],
    )


def _claims(message: Message, kind: int, plan: DialPlan | None) -> tuple[tuple[Claim, ...], bool]:
    if message.first[kind] < 0:
        return (), False
    header = grammar.HEADER_NAMES[kind]
    claims: list[Claim] = []
    for value in message.values(kind):
        for piece in split_list(value):
            if len(claims) == MAX_CLAIMS:
                return tuple(claims), True
            claims.append(_claim(piece, header, plan))
    return tuple(claims), False


def _claim(value: bytes, header: str, plan: DialPlan | None) -> Claim:
    try:
        address = parse_name_addr(value, header)
        uri = parse_uri(address.uri)
    except RemoteProtocolError:
        return Claim(header, value[:512].decode("utf-8", "replace"), None, None)
    text = address.uri[:512].decode("utf-8", "replace")
    return Claim(header, text, uri, read_number(uri.user, plan))
