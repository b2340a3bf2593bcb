"""Unknown sources that scan or flood: after so many requests that led nowhere, what they send is dropped unread.

Known peers are never asked about here, and an address that is a customer's or a trunk's is no scanner's, whichever side
it sends to. Of a source that is ignored, calls for help still pass, all that belongs to a call that is up, and what
bears a customer's right password, which ends it; the rest costs a look at its first line. For IPv6 a source is its /64,
since whoever has one has all of it. Both tables are bounded: when one is full the oldest entry goes, and that is
counted.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from itertools import islice
from typing import Final

from edge_proxy.addr import Monotonic
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.numbers.emergency import EmergencyPlan, is_emergency
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.routing.dialog_token import DialogSigner
from edge_proxy.routing.forward import OwnUris, preprocess_routes
from edge_proxy.sip import grammar
from edge_proxy.sip.digest import parse_digest_answer
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.uri import Uri, parse_uri
from edge_proxy.transaction.derive import OWN_LIMITS

MOST_SOURCES: Final = 16_384
VOUCHED_S: Final = 3600.0
"""How long a source from which a customer proved its identity is no stranger."""

IGNORED: Final = (Disposition.DROPPED, Cause.SCANNER_IGNORED)

_MOST_CREDENTIALS: Final = 4

_UNANSWERED: Final = (b"SIP/2.0 ", b"ACK ")
"""What never has an answer, and ends what would otherwise be sent again and again."""

_LEADS_NOWHERE: Final = frozenset(
    {
        Cause.REFUSED,
        Cause.CHALLENGED,
        Cause.MALFORMED,
        Cause.UNSUPPORTED_SCHEME,
        Cause.UNSUPPORTED_EXTENSION,
        Cause.TOO_MANY_HOPS,
        Cause.LOOP,
        Cause.UNKNOWN_DIALOG,
        Cause.FORGED_TOKEN,
        Cause.NOT_SIP,
        Cause.TOO_SHORT,
        Cause.MALFORMED_RESPONSE,
        Cause.UNANSWERABLE,
        Cause.RESPONSE_NOT_OURS,
        Cause.STRAY_RESPONSE,
        Cause.STRAY_ACK,
        Cause.UNKNOWN_SHED,
        Cause.REFUSED_SILENTLY,
    }
)


class Scanners:
    """The strangers of one worker; who is ignored stays so over reloads, unless the new data says otherwise."""

    __slots__ = (
        "_ignored",
        "_limits",
        "_most",
        "_own",
        "_plan",
        "_seen",
        "_signer",
        "_snapshot",
        "_targets",
        "_vouched",
        "forgotten",
        "found",
    )

    def __init__(self, own: OwnUris, signer: DialogSigner, snapshot: Snapshot, most: int = MOST_SOURCES) -> None:
        self._own = own
        self._signer = signer
        self._most = most
        # How many led nowhere, since when; until when it is ignored, and its address; until when it is vouched for.
        self._seen: dict[str, tuple[int, Monotonic]] = {}
        self._ignored: dict[str, tuple[float, str]] = {}
        self._vouched: dict[str, float] = {}
        self._targets: frozenset[str] = frozenset()
        self.found = 0
        """Times that a source began to be ignored."""
        self.forgotten = 0
        """Sources that are no longer ignored, or counted, since the table was full."""
        self.use_snapshot(snapshot)

    def __len__(self) -> int:
        return len(self._ignored)

    def use_snapshot(self, snapshot: Snapshot) -> None:
        """Nobody is ignored any longer who must never be, and nobody at all when the new data asks for none of it."""
        self._snapshot = snapshot
        self._plan: EmergencyPlan = snapshot.rulebook.fallback_emergency
        limits = self._limits = snapshot.scanners
        if limits is None:
            self._seen.clear()
            self._ignored.clear()
            return
        for source in [one for one, (_, host) in self._ignored.items() if self._is_exempt(host)]:
            del self._ignored[source]

    def use_targets(self, hosts: frozenset[str]) -> None:
        """Where calls are sent to: nobody there is a scanner either."""
        self._targets = hosts
        for host in hosts:
            self._ignored.pop(_source_of(host), None)

    def ignores(self, host: str, data: bytes, now: Monotonic) -> bool:
        """Whether a datagram of this stranger is to be dropped unread."""
        if not self._ignored:
            return False
        source = _source_of(host)
        entry = self._ignored.get(source)
        if entry is None:
            return False
        if now >= entry[0]:
            del self._ignored[source]
            return False
        return not data.startswith(_UNANSWERED) and not self._may_matter(data) and not self._is_exempt(host)

    def observe(self, host: str, cause: Cause, now: Monotonic) -> None:
        """What became of a datagram of this stranger."""
        limits = self._limits
        if limits is None or cause not in _LEADS_NOWHERE:
            return
        source = _source_of(host)
        if self._is_exempt(host) or self._vouched.get(source, now) > now:
            return
        count, since = self._seen.pop(source, (0, now))
        if now - since > limits.window_s:
            count, since = 0, now
        if count + 1 < limits.requests:
            self._make_room(self._seen)
            self._seen[source] = count + 1, since
            return
        self._drop_expired(now)
        self._make_room(self._ignored)
        self._ignored[source] = now + limits.ignore_s, host
        self.found += 1

    def vouch(self, host: str, now: Monotonic) -> None:
        """A customer without a fixed address proved who it is from here."""
        source = _source_of(host)
        self._seen.pop(source, None)
        self._ignored.pop(source, None)
        self._vouched.pop(source, None)
        if len(self._vouched) >= self._most:
            del self._vouched[next(iter(self._vouched))]
        self._vouched[source] = now + VOUCHED_S

    def _is_exempt(self, host: str) -> bool:
        """It is never to be ignored, or known: as the source of a customer or a trunk, or as where calls are sent."""
        snapshot = self._snapshot
        return (
            (self._limits is not None and self._limits.never.find(host) >= 0)
            or host in self._targets
            or snapshot.customer_sources.find(host) >= 0
            or snapshot.trunk_sources.find(host) >= 0
            or (snapshot.shared_sources is not None and snapshot.shared_sources.find(host) >= 0)
        )

    def _may_matter(self, data: bytes) -> bool:
        """A call for help (its CANCEL and the ACK of a refusal say the same), a request inside a call of ours, or one
        with a customer's right credentials."""
        words = data.partition(b"\n")[0].split()
        if len(words) > 1 and self._calls_help(words[1]):
            return True
        lowered = data.lower()
        has_credentials = self._snapshot.realm is not None and b"proxy-authorization" in lowered
        if b"route" not in lowered and not has_credentials:
            return False
        try:
            message = parse_message(data, OWN_LIMITS)
            if has_credentials and self._is_customers(message):
                return True
            routed = preprocess_routes(message, self._own)
        except (MalformedMessageError, RemoteProtocolError):
            return False
        if self._is_for_help(routed.called):
            return True
        return routed.token is not None and self._signer.read(routed.token, message.call_id) is not None

    def _is_customers(self, message: Message) -> bool:
        """Whether it bears credentials of a customer, be their nonce of yesterday: its sender is no scanner."""
        realm = self._snapshot.realm
        if realm is None:
            return False
        for value in islice(message.values(grammar.PROXY_AUTHORIZATION), _MOST_CREDENTIALS):
            answer = parse_digest_answer(value)
            if answer is not None and answer.realm == realm.name.encode():
                return realm.check(answer, message.method)[0] is not None
        return False

    def _calls_help(self, request_uri: bytes) -> bool:
        try:
            return self._is_for_help(parse_uri(request_uri))
        except RemoteProtocolError:
            return False

    def _is_for_help(self, uri: Uri) -> bool:
        return is_emergency(uri.user, uri.scheme, self._plan)

    def _drop_expired(self, now: Monotonic) -> None:
        for source in [one for one, (until, _) in self._ignored.items() if until <= now]:
            del self._ignored[source]

    def _make_room(self, table: dict[str, tuple[int, Monotonic]] | dict[str, tuple[float, str]]) -> None:
        if len(table) >= self._most:
            del table[next(iter(table))]
            self.forgotten += 1


def _source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return host if address.ipv4_mapped is not None else f"{int(address) >> 64:x}/64"
