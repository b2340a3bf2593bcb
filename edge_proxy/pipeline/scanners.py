"""Unknown sources that scan or flood: after so many requests that led nowhere, what they send is dropped unread.

Known peers are never asked about here, and an address that is a customer's or a trunk's is no scanner's, whichever side
it sends to. Of a source that is ignored, calls for help still pass, all that belongs to a call that is up, and what
bears a customer's right password, which ends it; the rest costs a look at its first line. For IPv6 a source is its /64,
since whoever has one has all of it. The tables are bounded: when one is full an entry goes, and that is counted. With
several workers the tables are those of all (transport/shared_sources.py), so who is ignored by one is ignored by all.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import islice
from typing import Final

from edge_proxy.addr import Monotonic
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.numbers.emergency import EmergencyPlan, is_emergency
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.pipeline.sources import Lock, SourceEntry, Sources, SourceTable, source_of
from edge_proxy.policy.call_limits import ScannerLimits
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

_VOUCHED_AGAIN_S: Final = 60.0
_AT_ONCE: Final = 256
"""Of those that are ignored, how many are looked at in one turn to find who must not be."""
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
    """The strangers that a worker meets; who is ignored stays so over reloads, unless the new data says otherwise."""

    __slots__ = (
        "_doubted",
        "_limits",
        "_lock",
        "_more_targets",
        "_own",
        "_plan",
        "_seen",
        "_signer",
        "_snapshot",
        "_targets",
        "_vouched",
        "found",
        "ignored",
    )

    def __init__(self, own: OwnUris, signer: DialogSigner, snapshot: Snapshot, most: int = MOST_SOURCES) -> None:
        self._own = own
        self._signer = signer
        self._lock: Lock | None = None
        # Sources that requests led nowhere from, that are ignored, and that a customer has logged in from.
        self._seen: SourceTable = Sources(most)
        self.ignored: SourceTable = Sources(most)
        self._vouched: SourceTable = Sources(most)
        self._targets: Set[str] = frozenset()
        self._more_targets: Set[str] = frozenset()
        self._doubted: Iterator[SourceEntry] | None = None
        self.found = 0
        """Times that a source began to be ignored."""
        self.use_snapshot(snapshot)

    def __len__(self) -> int:
        return len(self.ignored)

    @property
    def forgotten(self) -> int:
        """Sources that are no longer ignored, counted or vouched for, since a table was full."""
        return self._seen.forgotten + self.ignored.forgotten + self._vouched.forgotten

    def share(self, seen: SourceTable, ignored: SourceTable, vouched: SourceTable, lock: Lock) -> None:
        """Keep all there from now on; others have the same tables and the same lock."""
        self._seen, self.ignored, self._vouched, self._lock = seen, ignored, vouched, lock

    def use_snapshot(self, snapshot: Snapshot) -> None:
        """Nobody at all is ignored any longer when the new data asks for none of it. Who must never be is found out
        when `use_targets` says the rest, as it has to."""
        self._snapshot = snapshot
        self._plan: EmergencyPlan = snapshot.rulebook.fallback_emergency
        self._limits = snapshot.scanners
        if self._limits is None:
            for table in (self._seen, self.ignored):
                if self._lock is None:
                    table.clear()
                else:
                    with self._lock:
                        table.clear()

    def use_targets(self, hosts: Set[str], more: Set[str] = frozenset()) -> None:
        """Where calls are sent to: nobody there is a scanner either."""
        self._targets, self._more_targets = hosts, more
        self._doubted = self.ignored.entries() if len(self.ignored) else None
        self.forgive()

    def forgive(self) -> None:
        """Take off the list who must never be on it, some at each call: a full one takes longer than calls may wait.
        What such a source sends is read in any case."""
        doubted = self._doubted
        if doubted is None:
            return
        some = list(islice(doubted, _AT_ONCE))
        for entry in some:
            if self._is_exempt(entry.host):
                self._remove(self.ignored, source_of(entry.host))
        if len(some) < _AT_ONCE:
            self._doubted = None

    def ignores(self, host: str, data: bytes, now: Monotonic) -> bool:
        """Whether a datagram of this stranger is to be dropped unread."""
        if not len(self.ignored):
            return False
        source = source_of(host)
        entry = self.ignored.get(source)
        if entry is None:
            return False
        if now >= entry.until:
            self._remove(self.ignored, source)
            return False
        return not data.startswith(_UNANSWERED) and not self._may_matter(data) and not self._is_exempt(host)

    def observe(self, host: str, cause: Cause, now: Monotonic) -> None:
        """What became of a datagram of this stranger."""
        limits = self._limits
        if limits is None or cause not in _LEADS_NOWHERE:
            return
        if self._is_exempt(host):
            return
        lock = self._lock
        if lock is None:
            self._count(host, limits, now)
        else:
            with lock:
                self._count(host, limits, now)

    def vouch(self, host: str, now: Monotonic) -> None:
        """A customer without a fixed address proved who it is from here."""
        source = source_of(host)
        before = self._vouched.get(source)
        if before is not None and now < before.since + _VOUCHED_AGAIN_S and self.ignored.get(source) is None:
            return
        self._remove(self._seen, source)
        self._remove(self.ignored, source)
        entry = SourceEntry(host, 0, now, now + VOUCHED_S)
        lock = self._lock
        if lock is None:
            self._vouched.put(source, entry, now)
        else:
            with lock:
                self._vouched.put(source, entry, now)

    def _count(self, host: str, limits: ScannerLimits, now: Monotonic) -> None:
        source = source_of(host)
        vouched = self._vouched.get(source)
        if vouched is not None and vouched.until > now:
            return
        ignored = self.ignored.get(source)
        if ignored is not None and ignored.until > now:
            return  # another worker has just found it out
        seen = self._seen.get(source)
        if seen is None or now - seen.since > limits.window_s:
            seen = SourceEntry(host, 0, now, now + limits.window_s)
        if seen.requests + 1 < limits.requests:
            self._seen.put(source, seen._replace(requests=seen.requests + 1), now)
            return
        self._seen.remove(source)
        self.ignored.put(source, SourceEntry(host, seen.requests + 1, now, now + limits.ignore_s), now)
        self.found += 1

    def _remove(self, table: SourceTable, source: str) -> None:
        if table.get(source) is None:
            return
        lock = self._lock
        if lock is None:
            table.remove(source)
        else:
            with lock:
                table.remove(source)

    def _is_exempt(self, host: str) -> bool:
        """It is never to be ignored, or known: as the source of a customer or a trunk, or as where calls are sent."""
        snapshot = self._snapshot
        return (
            (self._limits is not None and self._limits.never.find(host) >= 0)
            or host in self._targets
            or host in self._more_targets
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
