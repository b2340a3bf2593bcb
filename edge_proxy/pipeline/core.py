"""The one sequence every datagram runs through: gate, parse, transaction, policy, routing, out.

`Pipeline.receive(data, source, listener, now)` takes a datagram, `handle_timer(now)` lets time pass, `collect()` hands
over what is to be recorded and then sent, in that order. It sees no socket, no loop, no clock and no disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from edge_proxy.addr import NEVER, TLS, UDP, Address, Listener, Monotonic, Side, Wall
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.numbers.emergency import is_emergency
from edge_proxy.pipeline.admission import Admission, Challenge
from edge_proxy.pipeline.aliases import Alias, alias_of, reply_address
from edge_proxy.pipeline.calls import Call, CallBook
from edge_proxy.pipeline.counters import Cause, Counters, Disposition
from edge_proxy.pipeline.deciding import Decider
from edge_proxy.pipeline.identity_border import (
    ResponseBorder,
    attempt_identity,
    dialog_identity,
    names_another,
    verified_from,
    verified_from_in_dialog,
)
from edge_proxy.pipeline.output import Output
from edge_proxy.pipeline.overload import RETRY_AFTER_S, Overload
from edge_proxy.pipeline.own_tags import OwnTags
from edge_proxy.pipeline.peers import Peer, Peers
from edge_proxy.pipeline.probing import Prober
from edge_proxy.pipeline.proxying import FORWARDED, ForwardContext, Outcome, Proxy
from edge_proxy.pipeline.records import Attempt, EndCause, Party, Record, show_id
from edge_proxy.pipeline.refusing import announced_route, refuse, shed_lines, warning_line, with_tag
from edge_proxy.pipeline.scanners import IGNORED, Scanners
from edge_proxy.pipeline.session_timer import REFRESHES, SMALLEST_INTERVAL_S, ask_for_timer, is_too_short
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.pipeline.target_book import TargetBook
from edge_proxy.pipeline.validation import flaw_of, is_ping
from edge_proxy.policy.facts import is_callback
from edge_proxy.policy.parties import Source
from edge_proxy.routing.dialog_token import DialogSigner, DialogState
from edge_proxy.routing.forward import OwnUris, Routed, RouteRecord, preprocess_routes
from edge_proxy.routing.loops import LoopMarks
from edge_proxy.routing.names import Names
from edge_proxy.routing.reductions import falls_into
from edge_proxy.routing.targets import Egress
from edge_proxy.routing.topology import Inward, TopologyVeil
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import MalformedMessageError, parse_message
from edge_proxy.sip.reason import q850_cause
from edge_proxy.sip.serializer import build_response, phrase_about, stamp_top_via
from edge_proxy.sip.via import response_address
from edge_proxy.traffic.ledger import TrafficLedger
from edge_proxy.transaction.derive import OWN_LIMITS
from edge_proxy.transaction.keys import key_of_transaction, server_key, transaction_key
from edge_proxy.transaction.layer import Send, ServerTransaction, TransactionLayer
from edge_proxy.transaction.timers import TimerSettings

_SHORTEST_SIP_BYTES: Final = 16
_BEGIN_DIALOGS: Final = frozenset({b"INVITE", b"SUBSCRIBE", b"REFER"})
_NOTHING: Final = Output([], [], (), ())
_MIN_SE: Final = b"Min-SE: %d" % SMALLEST_INTERVAL_S
_ALLOW: Final = b"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE"


class PipelineSettings(NamedTuple):
    """What stays the same from start to end of a worker."""

    node: str
    worker: int
    listeners: Sequence[Listener]
    timers: TimerSettings
    secret: bytes
    """32 random bytes, kept over restarts: signs dialog tokens and keys branches and tags."""
    max_breadth: int = 60
    """The largest Max-Breadth that a request leaves with (RFC 5393 §5.3.3); 0 leaves the header alone."""
    session_expires_s: int = 1800
    """The session interval that calls are asked to agree on (RFC 4028 §8.1); 0 asks for none."""
    max_call_s: int = 14_400
    """How long a call without a session timer is believed to be up."""
    overload_delay_s: float = 0.0
    """From which delay on new requests are shed (see overload.py); 0: never."""


class Pipeline:
    """One worker's core."""

    def __init__(self, settings: PipelineSettings, snapshot: Snapshot) -> None:
        self.settings = settings
        self.snapshot = snapshot
        self.counters = Counters()
        self.ledger = TrafficLedger()
        self.calls = CallBook(settings.max_call_s, settings.timers.timeout_s)
        self.wall_offset_s = 0.0
        self.has_evidence_room = True
        self._records: list[Record] = []
        self._sends: list[Send] = []
        self._sides = [listener.side for listener in settings.listeners]
        self._counts = [self.counters.sides[side] for side in self._sides]
        self._tags = OwnTags(settings.secret)
        self._marks = LoopMarks(settings.secret)
        self._aliases: list[Alias] = []
        self.layer: TransactionLayer[ForwardContext] = TransactionLayer(settings.timers, self._sends)
        egress = Egress(settings.listeners)
        self.targets = TargetBook(egress, snapshot)
        self.prober = Prober(self.layer, self.targets.health, egress, settings.secret)
        self.overload = Overload(settings.overload_delay_s)
        self._veil = TopologyVeil(settings.secret, settings.listeners)
        self._own = OwnUris(settings.listeners)
        self.signer = DialogSigner(settings.secret)
        self._peers = Peers(snapshot, self.ledger)
        border = ResponseBorder(self._peers, settings.listeners, snapshot.rulebook)
        self._proxy = Proxy(
            self.layer, self.calls, self.counters, settings.secret, self.targets, self._veil, border, self._tags
        )
        self.scanners = Scanners(self._own, self.signer, snapshot)
        self._admission = Admission(settings.secret, settings.worker, snapshot)
        self.decider = Decider(settings.worker, self.counters, self.calls)
        self._use_targets()

    def use_snapshot(self, snapshot: Snapshot) -> list[object]:
        """Decide from now on by `snapshot`; calls that are up go on as they were let through.

        Returns what was remembered of the old one, which takes long to free when it was much: the caller lets go of
        it where no call waits. The rest costs the same for many customers as for few.
        """
        self.snapshot = snapshot
        old = self._peers.use_snapshot(snapshot)
        self._proxy.border.use_book(snapshot.rulebook)
        self._admission.use_snapshot(snapshot)
        self.scanners.use_snapshot(snapshot)
        old += self.targets.use_snapshot(snapshot)
        self._use_targets()
        return old

    def use_names(self, names: Names) -> None:
        """Send to these addresses from now on where a target, or a peer inside a dialog, is given by name."""
        self.targets.use_names(names)
        self._use_targets()

    def _use_targets(self) -> None:
        fixed, named = self.snapshot.destinations, self.targets.named
        self.prober.use(fixed.probed, named.probed)
        self.scanners.use_targets(fixed.hosts, named.hosts)
        # The AS of a target has its own series from the start.
        table = self.snapshot.asn_table
        self.ledger.reserve(sorted({*self.snapshot.target_asns, *[table.asn_of(host) for host in named.hosts]}))

    def receive(self, data: bytes, source: Address, listener: Listener, now: Monotonic) -> None:
        """Take in one datagram. Whatever it holds, it is counted once and never raises."""
        counts = self._counts[listener.slot]
        counts.received += 1
        counts.received_bytes += len(data)
        is_tls = listener.transport is TLS
        peer = self._peers.find_connected(source, listener) if is_tls else self._peers.find(source.host, listener.side)
        row = peer.row
        row.packets_in += 1
        row.bytes_in += len(data) + peer.header_bytes
        ignored = peer.is_stranger and self.scanners.ignores(source.host, data, now)
        disposition, cause = IGNORED if ignored else self._run(data, source, listener, peer, now)
        if cause is None:
            counts.forwarded += 1
            return
        counts.by_cause[disposition, cause] += 1
        if peer.is_stranger:
            self.scanners.observe(source.host, cause, now)

    def peer_identity(self, listener: Listener, address: Address, identities: tuple[str, ...]) -> None:
        """The peer at this address has proved to be these on its TLS connection; (): that connection has ended."""
        self._peers.identify(listener, address, identities)

    def count_internal_error(self, side: Side) -> None:
        """A bug ended the work on a datagram of this side: it counts as dropped, so that the books still balance."""
        self.counters.sides[side].by_cause[Disposition.DROPPED, Cause.INTERNAL_ERROR] += 1

    def unreachable(self, slot: int, address: Address, message: bytes, now: Monotonic) -> None:
        """A message of ours could not be sent, since no connection to its address could be had (§16.9, §18.4).

        A request goes to its next hop. A response, whose connection is gone, goes once more to where its Via asks
        for it (§18.2.2).
        """
        try:
            ours = parse_message(message, OWN_LIMITS)
        except MalformedMessageError:
            return
        if ours.is_request and ours.via is not None:
            if self.prober.unreachable(ours.via.branch, now):
                return
            self._proxy.wall_offset_s = self.wall_offset_s
            self._proxy.hop_unreachable(ours.via.branch, ours.method, now)
        elif ours.via is not None:
            again = response_address(ours.via, None)
            if again is not None and again != address:
                self._sends.append(Send(slot, again, message))

    @property
    def has_pending_requests(self) -> bool:
        """Whether a request is still waiting for its final response: what a stopping worker waits for."""
        return any(server.request is not None for server in self.layer.servers.values())

    def next_timer(self) -> Monotonic | None:
        """When `handle_timer` must be called at the latest; None when nothing is waiting."""
        earliest = _earlier(self.layer.next_deadline(), self._proxy.next_deadline())
        earliest = _earlier(earliest, self.prober.next_deadline())
        earliest = _earlier(earliest, self.calls.next_deadline())
        earliest = _earlier(earliest, self.targets.reductions.next_deadline())
        earliest = _earlier(earliest, self.overload.next_deadline())
        return earliest if earliest < NEVER else None

    def handle_timer(self, now: Monotonic) -> None:
        """Let time pass: retransmissions, time-outs, probes, calls whose end was lost."""
        self._proxy.wall_offset_s = self.wall_offset_s
        self._proxy.handle_timer(now)
        self.scanners.forgive()
        self.prober.handle_timer(now)
        self.targets.reductions.expire(now)
        if self.overload.is_active:
            self.overload.settle(now, self.wall_offset_s)
        self._proxy.endings.extend(self.calls.expire(now, self._wall(now)))

    def collect(self) -> Output:
        """What has to be recorded and sent since the last call."""
        endings = self._proxy.endings
        if endings:
            self._records.extend(endings)
            endings.clear()
        sends = self._sends
        wanted = self.targets.take_wanted() if self.targets.wanted else ()
        if not sends and not self._records and not wanted and not self._aliases:
            return _NOTHING
        output = Output(self._records, sends, wanted, self._aliases)
        self._records = []
        self._sends = self.layer.out = []
        if self._aliases:
            self._aliases = []
        if self.overload.is_active:
            self.overload.tell(sends)
        for send in sends:
            counts = self._counts[send.slot]
            length = len(send.data)
            counts.sent += 1
            counts.sent_bytes += length
            peer = self._peers.find(send.address.host, self._sides[send.slot])
            row = peer.row
            row.packets_out += 1
            row.bytes_out += length + peer.header_bytes
        return output

    def _run(self, data: bytes, source: Address, listener: Listener, peer: Peer, now: Monotonic) -> Outcome:
        if len(data) < _SHORTEST_SIP_BYTES:
            if not data.strip(b"\r\n\0 "):
                return Disposition.ABSORBED, Cause.KEEPALIVE
            return Disposition.DROPPED, Cause.TOO_SHORT
        counts = self._counts[listener.slot]
        try:
            message = parse_message(data, self.snapshot.limits, is_stream=listener.transport is not UDP)
        except MalformedMessageError as error:
            return self._answer_malformed(error, source, listener)
        if message.status:
            counts.responses_by_class[message.status // 100].count += 1
            if message.via is None or not self._own.has_sent(message.via):
                return Disposition.DROPPED, Cause.RESPONSE_NOT_OURS
            if message.method == grammar.METHOD_OPTIONS and self.prober.receive_response(message, now):
                return Disposition.ABSORBED, Cause.PROBE_RESPONSE
            self._proxy.wall_offset_s = self.wall_offset_s
            return self._proxy.receive_response(message, now)
        counted = counts.requests_by_method.get(message.method)
        (counts.other_requests if counted is None else counted).count += 1
        return self._receive_request(message, source, listener, peer, now)

    def _answer_malformed(self, error: MalformedMessageError, source: Address, listener: Listener) -> Outcome:
        message = error.partial
        if message is None:
            return Disposition.DROPPED, Cause.NOT_SIP
        if message.status:
            return Disposition.DROPPED, Cause.MALFORMED_RESPONSE
        if message.via is None or message.method == grammar.METHOD_ACK:
            return Disposition.DROPPED, Cause.UNANSWERABLE
        stamp_top_via(message, source)
        where = f" at byte {error.offset}" if error.offset >= 0 else ""
        warning = warning_line(self.settings.node, f"{error}{where}")
        phrase = phrase_about(error.sip_status, str(error))
        self._answer(message, source, listener, error.sip_status, phrase=phrase, extra=[warning])
        return Disposition.ANSWERED, Cause.MALFORMED

    def _receive_request(
        self, message: Message, source: Address, listener: Listener, peer: Peer, now: Monotonic
    ) -> Outcome:
        method = message.method
        key = transaction_key(server_key(message), method)
        known = self.layer.find_server(key)
        if known is not None and not self.layer.receive_again(known, method, now):
            is_ack = method == grammar.METHOD_ACK
            return Disposition.ABSORBED, Cause.ACK_OF_REFUSAL if is_ack else Cause.RETRANSMISSION
        stamp_top_via(message, source)
        if listener.transport is not UDP:
            alias = alias_of(message, source, listener, peer)
            if alias is not None:
                self._aliases.append(alias)
        if method == grammar.METHOD_CANCEL:
            return self._cancel(message, key, source, listener, now)
        mark = b"" if message.to_tag else self._marks.of(message, peer.loop_seed)
        routed, phrase = None, ""
        try:
            refusal = flaw_of(message, mark, self._own, self.settings.max_breadth)
            if refusal is None:
                routed = preprocess_routes(message, self._own, mark, has_target=not message.to_tag)
                if routed.called.scheme not in grammar.SUPPORTED_SCHEMES:
                    refusal = 416, Cause.UNSUPPORTED_SCHEME, []
        except RemoteProtocolError as error:
            phrase = phrase_about(error.sip_status, str(error))
            refusal = error.sip_status, Cause.MALFORMED, [warning_line(self.settings.node, str(error))]
        if refusal is not None or routed is None:
            status, cause, extra = refusal or (400, Cause.MALFORMED, [])
            if method == grammar.METHOD_ACK:
                return self._leave_ack(message, cause)
            self._answer(message, source, listener, status, phrase=phrase, extra=extra)
            return Disposition.ANSWERED, cause
        is_guarded = self._admission.is_active and listener.side is Side.CUSTOMERS
        answer = self._admission.take_answer(message) if is_guarded else None
        if message.to_tag:
            return self._in_dialog(message, routed, key, source, listener, now)
        if method == grammar.METHOD_ACK:
            return Disposition.DROPPED, Cause.STRAY_ACK
        challenge = None
        if is_guarded:
            origin = peer.origin
            found = self._admission.admit(message, answer, routed.called, origin, listener.transport, self._wall(now))
            if isinstance(found, Challenge):
                challenge = found
            else:
                if peer.is_stranger and found.customer is not None:
                    self.scanners.vouch(source.host, now)
                peer = peer._replace(origin=found)
        if self.overload.is_active:
            shed = self._shed(message, routed, source, listener, peer, now)
            if shed is not None:
                return shed
        if challenge is not None:
            self._answer(message, source, listener, 407, extra=challenge.lines)
            return Disposition.ANSWERED, challenge.cause
        if not routed.routes and is_ping(message, self._own):
            return self._answer_options(message, source, listener, peer)
        return self._attempt(message, routed, key, source, listener, peer, now)

    def _shed(
        self, message: Message, routed: Routed, source: Address, listener: Listener, peer: Peer, now: Monotonic
    ) -> Outcome | None:
        """While we are overloaded: what becomes of a request that would begin something; None: it is let in.

        Who is unknown goes first and gets no answer, then customers that have used up their limits, then a share of
        all. Emergency calls are never shed. It costs little: no transaction, no verdict, one record for many.
        """
        customer = peer.origin.customer
        uri = routed.called
        if listener.side is Side.CUSTOMERS:
            plan = self.snapshot.rulebook.fallback_emergency if customer is None else customer.emergency
            if is_emergency(uri.user, uri.scheme, plan):
                return None
        elif peer.origin.trunk is not None and peer.origin.trunk.trusted_identity and is_callback(message):
            return None
        if customer is None and peer.origin.trunk is None:
            return Disposition.DROPPED, Cause.UNKNOWN_SHED
        if not routed.routes and is_ping(message, self._own):
            return None  # a sign of life that says, in its Via, how we are
        has_room = customer is None or self.decider.has_room(customer, now)
        if has_room and not falls_into(self.overload.percent, message.call_id, self.settings.secret):
            return None
        sender = Source(peer.origin, source, listener.transport)
        evidence_id, first = self.decider.shed.note(self.snapshot, message, uri, sender, self._wall(now))
        if first is not None:
            self._records.append(first)
        extra = [b"Retry-After: %d" % RETRY_AFTER_S, *shed_lines(self.settings.node, evidence_id)]
        self._answer(message, source, listener, 503, extra=extra)
        return Disposition.ANSWERED, Cause.OVERLOADED

    def _leave_ack(self, ack: Message, cause: Cause) -> Outcome:
        """An ACK that goes no further: to an answer of ours without a transaction, which its tag shows, or dropped."""
        if ack.to_tag and ack.to_tag == self._tags.without_transaction(ack):
            return Disposition.ABSORBED, Cause.ACK_OF_REFUSAL
        return Disposition.DROPPED, cause

    def _answer_options(self, message: Message, source: Address, listener: Listener, peer: Peer) -> Outcome:
        """OPTIONS to ourselves (§11.2): alive for those we know, 403 for those we do not."""
        if peer.origin.customer is None and peer.origin.trunk is None and not peer.origin.candidates:
            self._answer(message, source, listener, 403)
            return Disposition.ANSWERED, Cause.REFUSED
        accept = b"Accept: application/sdp"
        self._answer(message, source, listener, 200, extra=[_ALLOW, accept, b"Supported:"])
        return Disposition.ANSWERED, Cause.OPTIONS

    def _cancel(self, message: Message, key: bytes, source: Address, listener: Listener, now: Monotonic) -> Outcome:
        """CANCEL (§9.2, §16.10): 200 at once when there is something to cancel, then on to the far end."""
        invite = self.layer.find_server(transaction_key(key_of_transaction(key), grammar.METHOD_INVITE))
        server = self._open_server(message, key, source, listener)
        if invite is None:
            self.layer.respond(server, 481, build_response(message, 481, to_tag=self._tags.of_transaction(key)), now)
            return Disposition.ANSWERED, Cause.UNKNOWN_DIALOG
        self.layer.respond(server, 200, build_response(message, 200, to_tag=self._tags.of_transaction(key)), now)
        if invite.user is not None:
            reasons = [line.raw for line in message.headers if line.kind == grammar.REASON]
            self._proxy.cancel(invite.user, reasons, now, q850_cause(message))
        return Disposition.ANSWERED, Cause.CANCEL

    def _in_dialog(
        self, message: Message, routed: Routed, key: bytes, source: Address, listener: Listener, now: Monotonic
    ) -> Outcome:
        """A request inside a dialog goes by what its Route says, if the token there proves the dialog to be ours."""
        is_ack = message.method == grammar.METHOD_ACK
        received = message
        crossing: Inward | None = None
        token = routed.token
        if token is not None and routed.veil is not None and listener.side is Side.CARRIERS:
            opened = self._veil.open_request(message, routed, listener)
            if opened is None:
                routed.token = None
            else:
                message, routed, crossing = opened
        state = None if routed.token is None else self.signer.read(routed.token, message.call_id)
        if state is None:
            cause = Cause.UNKNOWN_DIALOG if token is None else Cause.FORGED_TOKEN
            if is_ack:
                return self._leave_ack(received, cause)
            self._answer(received, source, listener, 481 if token is None else 403)
            return Disposition.ANSWERED, cause
        call = self.calls.find(state.evidence_id)
        from_caller = listener.side is state.caller_side
        known = None if call is None else call.callee if from_caller else call.caller
        hops = self.targets.hops_for_dialog(routed.next_hop, listener.side.other, known, message.call_id)
        if hops is None and (is_ack or listener.transport is UDP):
            return Disposition.DROPPED, Cause.RESOLVING  # it comes again in a moment, and then the name is known
        if not hops:
            cause = Cause.NO_TARGET if hops is not None else Cause.RESOLVING
            if is_ack:
                return Disposition.DROPPED, cause
            self._answer(received, source, listener, 503, extra=[] if hops is not None else [b"Retry-After: 1"])
            return Disposition.ANSWERED, cause
        if routed.veil is not None:
            for hop in hops:
                hop.veiled_caller = state.caller_side
        account = None if state.is_emergency else state.customer
        whose, book = (source, listener, account), self.snapshot.rulebook
        from_line = verified_from_in_dialog(message, whose, self._peers, book)
        if is_ack:
            ack = self._proxy.forward_ack(
                message, routed, hops[0], key_of_transaction(key), is_unverified=bool(from_line)
            )
            self._sends.append(ack)
            return FORWARDED
        server = self._open_server(received, key, source, listener)
        if from_caller and names_another(message, whose, call, self._peers, book):
            self.layer.respond(server, 403, build_response(received, 403), now)
            return Disposition.ANSWERED, Cause.REFUSED
        message = dialog_identity(message, whose, hops, self._peers, book)
        context = ForwardContext(server, message, routed, hops, None, None, crossing, account)
        context.from_line = from_line
        if message.method in REFRESHES:
            # Before the call is answered there is no session whose life an UPDATE could prolong.
            is_early = call is not None and call.answered_at is None
            context.offer = ask_for_timer(message, 0 if is_early else self.settings.session_expires_s)
            context.dialog_call = call
        server.user = context
        if message.method == grammar.METHOD_BYE:
            self._end_call(state, call, message, Party.CALLER if from_caller else Party.CALLEE, now)
        self._proxy.forward(context, now)
        return FORWARDED

    def _end_call(self, state: DialogState, call: Call | None, bye: Message, by: Party, now: Monotonic) -> None:
        wall, q850 = self._wall(now), q850_cause(bye)
        if call is None:
            ending = self.calls.end_unseen(state, bye.call_id.decode("utf-8", "replace"), by, wall, q850)
        else:
            ending = self.calls.hang_up(call, by, now, wall, q850)
        if ending is not None:
            self._records.append(ending)

    def _attempt(
        self,
        message: Message,
        routed: Routed,
        key: bytes,
        source: Address,
        listener: Listener,
        peer: Peer,
        now: Monotonic,
    ) -> Outcome:
        """A request that begins something: decide, record, then refuse it or send it on."""
        uri = routed.called
        attempt, callee = self.decider.decide(
            self.snapshot,
            message,
            uri,
            Source(peer.origin, source, listener.transport),
            peer.row,
            now,
            self._wall(now),
            has_evidence_room=self.has_evidence_room,
        )
        self._records.append(attempt)
        verdict = attempt.verdict
        if not verdict.passes and not verdict.status:
            return Disposition.DROPPED, Cause.REFUSED_SILENTLY
        server = self._open_server(message, key, source, listener)
        if not verdict.passes:
            data = refuse(message, attempt, self.settings.node, self._tags.of_transaction(key))
            self.layer.respond(server, verdict.status, data, now)
            return Disposition.ANSWERED, Cause.REFUSED
        is_invite = message.method == grammar.METHOD_INVITE
        if is_invite and not verdict.is_emergency and is_too_short(message):
            self._turn_back(server, message, attempt, source, 422, [_MIN_SE], now)
            return Disposition.ANSWERED, Cause.SESSION_TOO_SHORT
        announced = announced_route(routed, verdict)
        if announced is not None:
            routed = announced
            hops, pause_s = self.targets.hops_to(routed.next_hop, listener.side.other, message.call_id), 0.0
        else:
            hops, pause_s = self.targets.hops_for_attempt(
                listener.side.other,
                None if callee is None else callee.ordinal,
                message.call_id,
                now,
                renames_uri=self._own.has(uri),
                is_emergency=verdict.is_emergency,
            )
        if not hops:
            status, extra = (503, [b"Retry-After: %d" % (pause_s + 1)]) if pause_s else (480, [])
            self._turn_back(server, message, attempt, source, status, extra, now)
            return Disposition.ANSWERED, Cause.OVERLOADED if pause_s else Cause.NO_TARGET
        call = self.calls.begin(attempt, now, source)
        account = None if verdict.is_emergency else attempt.customer
        record: RouteRecord | None = None
        if message.method in _BEGIN_DIALOGS:
            state = DialogState(listener.side, attempt.customer, attempt.evidence_id, int(attempt.at), account is None)
            record = RouteRecord(listener, self.signer.sign(state, message.call_id))
        crossing: Inward | None = None
        if peer.origin.trunk is not None and peer.origin.trunk.hides_topology:
            crossing = self._veil.accept_request(message, listener)
        if not verdict.is_emergency:
            message = attempt_identity(message, attempt.facts, hops[0].listener, self.snapshot.rulebook)
            message = with_tag(message, attempt, self.snapshot.rulebook.tag_headers)
        context = ForwardContext(server, message, routed, hops, record, call, crossing, account)
        if not verdict.is_emergency:
            context.from_line = verified_from(message, attempt.facts.source.origin, attempt.facts.from_claim)
        if is_invite:
            context.offer = ask_for_timer(message, self.settings.session_expires_s)
        server.user = context
        self._proxy.forward(context, now)
        return FORWARDED

    def _turn_back(
        self,
        server: ServerTransaction[ForwardContext],
        message: Message,
        attempt: Attempt,
        source: Address,
        status: int,
        extra: Sequence[bytes],
        now: Monotonic,
    ) -> None:
        """An attempt that was let through goes nowhere: it is answered, and its end recorded like any other."""
        warning = warning_line(self.settings.node, f"the call goes no further; ref {show_id(attempt.evidence_id)}")
        data = build_response(message, status, to_tag=self._tags.of_transaction(server.key), extra=[*extra, warning])
        self.layer.respond(server, status, data, now)
        call = self.calls.begin(attempt, now, source)
        ending = self.calls.end(call, EndCause.REJECTED, Party.PROXY, status, now, self._wall(now))
        if ending is not None:
            self._records.append(ending)

    def _answer(
        self,
        message: Message,
        source: Address,
        listener: Listener,
        status: int,
        *,
        phrase: str = "",
        extra: Sequence[bytes] = (),
    ) -> None:
        """Answer without a transaction: what the same request, sent again, gets again (§8.2.7)."""
        address = reply_address(message, source, listener)
        if address is not None:
            tag = self._tags.without_transaction(message)
            data = build_response(message, status, phrase=phrase, to_tag=tag, extra=extra)
            self._sends.append(Send(listener.slot, address, data))

    def _open_server(
        self, message: Message, key: bytes, source: Address, listener: Listener
    ) -> ServerTransaction[ForwardContext]:
        address = reply_address(message, source, listener) or source
        return self.layer.open_server(key, message, listener.slot, address, is_reliable=listener.transport is not UDP)

    def _wall(self, now: Monotonic) -> Wall:
        return Wall(now + self.wall_offset_s)


def _earlier(one: Monotonic, other: Monotonic) -> Monotonic:
    return other if other < one else one
