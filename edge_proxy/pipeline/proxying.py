"""Forward requests and bring their responses back (RFC 3261 §16.6 to §16.10), one context for each.

It knows nothing of policy: who may call was decided before. Targets are tried one after the other, each with a branch
of its own, until one answers; what the last one said (or 408) goes upstream, but 500 for a 503 (§16.7 step 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_proxy.addr import UDP, Monotonic, Wall
from edge_proxy.native import mypyc_attr
from edge_proxy.pipeline.calls import Call, CallBook
from edge_proxy.pipeline.counters import Cause, Counters, Disposition
from edge_proxy.pipeline.identity_border import ResponseBorder
from edge_proxy.pipeline.own_tags import OwnTags
from edge_proxy.pipeline.records import EndCause, Ending, Party
from edge_proxy.pipeline.session_timer import SessionOffer, settle_session
from edge_proxy.pipeline.target_book import Hop, HopResult, TargetBook
from edge_proxy.routing.branches import Branches
from edge_proxy.routing.forward import (
    Routed,
    RouteRecord,
    forwarded_request,
    forwarded_response,
    retarget,
    turn_into_500,
    via_line,
    without_routing_number,
)
from edge_proxy.routing.identity import concealed, unverified_from
from edge_proxy.routing.topology import Crossing, Inward, Outward, TopologyVeil, names_another_host
from edge_proxy.sip import grammar
from edge_proxy.sip.headers import parse_retry_after
from edge_proxy.sip.message import Message
from edge_proxy.sip.overload import ASK
from edge_proxy.sip.reason import q850_cause
from edge_proxy.sip.serializer import build_response
from edge_proxy.transaction.derive import build_cancel
from edge_proxy.transaction.layer import ClientTransaction, Send, ServerTransaction, TransactionLayer
from edge_proxy.transaction.tables import State
from edge_proxy.transaction.timers import WaitingLine

_LARGEST_DATAGRAM_BYTES: Final = 1300
_FAILS_OVER: Final = frozenset({503})

Outcome = tuple[Disposition, Cause | None]

FORWARDED: Final[Outcome] = (Disposition.FORWARDED, None)
_HOP_BY_HOP: Final[Outcome] = (Disposition.ABSORBED, Cause.HOP_BY_HOP_RESPONSE)


@mypyc_attr(acyclic=True)
class ForwardContext:
    """A request on its way: what came, where it may still go, and what has become of it (§16's response context)."""

    __slots__ = (
        "account",
        "attempt_number",
        "call",
        "cancel_lines",
        "client",
        "crossing",
        "dialog_call",
        "from_line",
        "has_sent_cancel",
        "hop",
        "hops",
        "is_cancelled",
        "is_invite",
        "offer",
        "q850",
        "record",
        "request",
        "routed",
        "server",
    )

    def __init__(
        self,
        server: ServerTransaction[ForwardContext],
        request: Message,
        routed: Routed,
        hops: Sequence[Hop],
        record: RouteRecord | None,
        call: Call | None,
        crossing: Crossing | None = None,
        account: str | None = None,
    ) -> None:
        self.server = server
        self.request: Message | None = request
        self.routed: Routed | None = routed
        self.hops = list(hops)
        self.hop = self.hops[0]
        self.record = record
        """What our Record-Route says, on whichever hop; None when later requests need not come through us."""
        self.call = call
        self.client: ClientTransaction[ForwardContext] | None = None
        self.attempt_number = 0
        self.is_invite = request.method == grammar.METHOD_INVITE
        self.is_cancelled = False
        self.has_sent_cancel = False
        self.cancel_lines: Sequence[bytes] = ()
        self.q850: int | None = None
        self.offer: SessionOffer | None = None
        """What a request that sets up or refreshes a session asked for; None for any other."""
        self.dialog_call: Call | None = None
        """The call that a request inside its dialog refreshes; `call` is one that the request began."""
        self.crossing = crossing
        """What the responses need in a call whose topology is hidden; None in any other."""
        self.from_line = b""
        """What responses say in From where the request left with another one (see routing/identity.py)."""
        self.account = account
        """The customer that it is booked on; None: what responses say of identities is left as it is."""

    @property
    def received(self) -> Message | None:
        """The request as it came, which our own answers are made from; `request` is what goes on."""
        return self.server.request or self.request


class Proxy:
    """The forwarding half of the core; `endings` collects the calls that ended while it worked."""

    __slots__ = (
        "_branches",
        "_calls",
        "_cancels",
        "_counters",
        "_layer",
        "_tags",
        "_targets",
        "_timers_c",
        "_veil",
        "border",
        "endings",
        "wall_offset_s",
    )

    def __init__(
        self,
        layer: TransactionLayer[ForwardContext],
        calls: CallBook,
        counters: Counters,
        secret: bytes,
        targets: TargetBook,
        veil: TopologyVeil,
        border: ResponseBorder,
        tags: OwnTags,
    ) -> None:
        self._layer = layer
        self._tags = tags
        self.border = border
        self._calls = calls
        self._counters = counters
        self._branches = Branches(secret)
        self._targets = targets
        self._veil = veil
        self._timers_c: WaitingLine[ForwardContext] = WaitingLine(layer.timers.timer_c_s)
        self._cancels: WaitingLine[ForwardContext] = WaitingLine(layer.timers.timeout_s)
        """Those whose far end has been sent a CANCEL, for as long as it may take to answer (§9.1)."""
        self.endings: list[Ending] = []
        self.wall_offset_s = 0.0

    def forward(self, context: ForwardContext, now: Monotonic) -> None:
        """Send the request to its first hop; an INVITE is answered 100 at once, any other when it takes long."""
        received = context.received
        if context.is_invite and received is not None:
            self._layer.respond(context.server, 100, build_response(received, 100), now)
        else:
            self._layer.wait_for_answer(context.server, now)
        self._try_next_hop(context, now)

    def forward_ack(self, request: Message, routed: Routed, hop: Hop, key: bytes, *, is_unverified: bool) -> Send:
        """An ACK to a 2xx as it leaves: on its own, without a transaction (§17.1.1.2, §13.2.2.4).

        `is_unverified`: its From leaves as that of the INVITE did, without `verstat`.
        """
        branch = self._branches.of(request, key, 0, routed.mark)
        if hop.veiled_caller is not None:
            request = self._veil.hide_request(request, routed, hop.listener, (), hop.veiled_caller).request
        if is_unverified:
            request = unverified_from(request)
        data = forwarded_request(request, routed, via_line(hop.listener, branch))
        return Send(hop.listener.slot, hop.address, data)

    def receive_response(self, response: Message, now: Monotonic) -> Outcome:
        """A response with our Via on top: to its transaction, and from there upstream when it is to be passed on."""
        via = response.via
        client = None if via is None else self._layer.find_client(via.branch, response.method)
        if client is None:
            return Disposition.DROPPED, Cause.STRAY_RESPONSE  # RFC 6026 §8.9: never sent on without a transaction
        context = client.user  # read first: a response that ends the transaction takes its context away
        if context is not None and context.hop.gives_feedback:
            self._targets.heed(client.address, response, now)
        if not self._layer.receive_response(client, response, now):
            return Disposition.ABSORBED, Cause.RETRANSMISSION
        if context is None:
            return _HOP_BY_HOP
        if context.client is not client:
            return Disposition.ABSORBED, Cause.FAILED_OVER
        if response.status < 200:
            return self._pass_provisional(context, response, now)
        return self._pass_final(context, response, now)

    def cancel(self, context: ForwardContext, extra: Sequence[bytes], now: Monotonic, q850: int | None = None) -> None:
        """The caller gave up (§16.10): tell the far end, at once or as soon as it has said that it is there (§9.1)."""
        if context.is_cancelled or context.request is None:
            return
        context.is_cancelled = True
        context.cancel_lines = context.crossing.lines(extra) if type(context.crossing) is Outward else extra
        context.q850 = q850
        client = context.client
        if client is not None and client.state == State.PROCEEDING:
            self._send_cancel(context, client, now)

    def hop_unreachable(self, branch: bytes, method: bytes, now: Monotonic) -> None:
        """No connection to the hop: as if it had answered 503 (§16.9), which is 500 upstream (§16.7 step 6)."""
        client = self._layer.find_client(branch, method)
        context = None if client is None else client.user
        if client is None or context is None or context.client is not client or context.request is None:
            return  # nothing waits for an answer from there any more
        self._layer.give_up(client)
        self._targets.observe(context.hop, HopResult.UNREACHABLE, now)
        if context.hops and not context.is_cancelled:
            self._try_next_hop(context, now)
            return
        received = context.received
        if received is not None:
            self._answer(context, received, 500, now)
        self._finish(context, EndCause.REJECTED, Party.PROXY, 500, now)

    def next_deadline(self) -> Monotonic:
        timer_c, cancel = self._timers_c.next_deadline(), self._cancels.next_deadline()
        return timer_c if timer_c < cancel else cancel

    def handle_timer(self, now: Monotonic) -> None:
        """Timer C (§16.8) and the transactions that waited in vain."""
        for client, context in self._layer.handle_timer(now):
            if context is not None and context.client is client:
                self._hop_failed(context, now)
        while (due := self._timers_c.take_due(now)) is not None:
            self._timer_c(due, now)
        while (due := self._cancels.take_due(now)) is not None:
            self._timer_c(due, now)

    def _try_next_hop(self, context: ForwardContext, now: Monotonic) -> None:
        request, routed = context.request, context.routed
        if request is None or routed is None:
            return
        hop = context.hops.pop(0)
        layer = self._layer
        branch = self._branches.of(request, context.server.key, context.attempt_number, routed.mark)
        while layer.find_client(branch, request.method) is not None:
            # The same request a second time, after its server transaction was over: it needs another branch.
            context.attempt_number += 1
            branch = self._branches.of(request, context.server.key, context.attempt_number, routed.mark)
        context.attempt_number += 1
        data = self._as_sent(context, request, routed, hop, branch)
        if hop.for_large is not None and len(data) > _LARGEST_DATAGRAM_BYTES and hop.listener.transport is UDP:
            # §18.1.1: a large request goes by a congestion-controlled transport; by UDP again if that is not to be had.
            context.hops.insert(0, hop.by(hop.listener))
            hop = hop.by(hop.for_large)
            data = self._as_sent(context, request, routed, hop, branch)
        is_reliable = hop.listener.transport is not UDP
        client = layer.open_client(
            branch, request.method, data, hop.listener.slot, hop.address, now, is_reliable=is_reliable
        )
        client.user = context
        context.client = client
        context.hop = hop
        if context.is_invite:
            self._timers_c.start(context, now)  # each branch has its own (§16.6 step 11)
        if context.call is not None:
            context.call.callee = hop.address
            if hop.target is not None and hop.target.trunk:
                self._calls.use_trunk(context.call, hop.target.trunk)

    def _as_sent(self, context: ForwardContext, request: Message, routed: Routed, hop: Hop, branch: bytes) -> bytes:
        """The request as it leaves for this hop."""
        uri = retarget(routed.request_uri, hop.place) if hop.renames_uri else None
        if context.call is not None and context.call.attempt.is_emergency:
            # Whoever calls for help passes; what stands beside the number must not lead that call to another.
            uri = without_routing_number(uri or routed.request_uri)
        elif not hop.trusts_identity:
            request = concealed(request)
        added: Sequence[bytes] = () if context.record is None else context.record.lines(hop.listener)
        if hop.veiled_caller is not None:
            request, added, context.crossing = self._veil.hide_request(
                request, routed, hop.listener, added, hop.veiled_caller
            )
            if uri is None and hop.target is not None and names_another_host(routed.request_uri, hop.target.uri):
                uri = retarget(routed.request_uri, hop.place)
        elif type(context.crossing) is Outward:
            context.crossing = None  # the hop before was another trunk's
        if context.from_line:
            request = unverified_from(request)  # last, so that what a crossing puts back is what came
        if added and type(context.crossing) is Inward:
            added = context.crossing.mark(added)
        via = via_line(hop.listener, branch, ASK if hop.gives_feedback else b"")
        return forwarded_request(request, routed, via, added, uri)

    def _as_returned(self, context: ForwardContext, response: Message) -> bytes:
        """A response as it goes on upstream."""
        if context.account is not None:
            server = context.server
            response = self.border.cross(response, context.hop, server.slot, server.address, context.account)
        crossing = context.crossing
        if context.from_line and crossing is None and (index := response.first[grammar.FROM]) >= 0:
            response.replace_line(index, context.from_line)
        return forwarded_response(response) if crossing is None else crossing.response(response, context.hop.address)

    def _pass_provisional(self, context: ForwardContext, response: Message, now: Monotonic) -> Outcome:
        client = context.client
        if response.status > 100:
            self._targets.saw_life(context.hop)
        if context.is_invite and context.request is not None:
            if context.is_cancelled:
                if client is not None and not context.has_sent_cancel:
                    self._send_cancel(context, client, now)
            elif response.status > 100:
                self._timers_c.start(context, now)
        if response.status == 100 or context.request is None or not context.is_invite:
            # To a non-INVITE nothing but 100 may be said before the final response (RFC 4320 §4.1).
            return _HOP_BY_HOP
        if context.call is not None and 180 <= response.status < 190:
            self._calls.ring(context.call, now)
        self._layer.respond(context.server, response.status, self._as_returned(context, response), now)
        return FORWARDED

    def _pass_final(self, context: ForwardContext, response: Message, now: Monotonic) -> Outcome:
        status = response.status
        if context.request is not None:  # not a 2xx once more
            self._observe_final(context.hop, response, now)
        if status >= 300:
            if status in _FAILS_OVER and context.hops and not context.is_cancelled:
                self._try_next_hop(context, now)
                return Disposition.ABSORBED, Cause.FAILED_OVER
            if status == 408 and not context.is_invite:
                # RFC 4320 §4.2: a 408 to a non-INVITE only makes the caller's side fail later and worse.
                self._layer.stay_silent(context.server, now)
                self._finish(context, EndCause.TIMED_OUT, Party.PROXY, status, now)
                return _HOP_BY_HOP
        if status < 300 and context.offer is not None:
            self._settle_session(context, context.offer, response, now)
        elif status >= 300 and context.q850 is None:
            context.q850 = q850_cause(response)
        if status == 503:
            turn_into_500(response)  # in the books it stays what the target said
        self._layer.respond(context.server, response.status, self._as_returned(context, response), now)
        if status < 300 and context.is_invite:
            self._let_go(context)
        elif status < 300:
            self._finish(context, EndCause.COMPLETED, Party.CALLEE, status, now)
        elif context.is_cancelled:
            self._finish(context, EndCause.CANCELLED, Party.CALLER, status, now)
        else:
            self._finish(context, EndCause.REJECTED, Party.CALLEE, status, now)
        return FORWARDED

    def _settle_session(self, context: ForwardContext, offer: SessionOffer, response: Message, now: Monotonic) -> None:
        """A 2xx begins a call or keeps one alive, for as long as it says (RFC 4028 §8.2)."""
        interval_s = settle_session(response, offer)
        if context.call is not None:
            self._calls.answer(context.call, interval_s, now)
        elif context.dialog_call is not None:
            self._calls.refresh(context.dialog_call, interval_s, now)

    def _observe_final(self, hop: Hop, response: Message, now: Monotonic) -> None:
        if response.status != 503:
            self._targets.observe(hop, HopResult.ANSWERED, now)
            return
        retry_after = response.value(grammar.RETRY_AFTER)
        pause_s = 0.0 if retry_after is None else parse_retry_after(retry_after)
        self._targets.observe(hop, HopResult.UNAVAILABLE, now, pause_s)

    def _hop_failed(self, context: ForwardContext, now: Monotonic) -> None:
        """No answer from a hop (timer B or F): the next one, or 408 upstream for an INVITE (§16.7 step 6, RFC 4320)."""
        self._targets.observe(context.hop, HopResult.TIMED_OUT, now)
        if context.hops and not context.is_cancelled:
            self._try_next_hop(context, now)
            return
        self._answer_408(context, now)

    def _timer_c(self, context: ForwardContext, now: Monotonic) -> None:
        if context.request is None:
            return
        self._counters.timer_c_fired += 1
        client = context.client
        if client is None or context.has_sent_cancel or client.state != State.PROCEEDING:
            # It had its time to answer a CANCEL too (§9.1), or has not said a word that one could follow: it is dead.
            if client is not None:
                self._layer.give_up(client)
            self._answer_408(context, now)
            return
        context.is_cancelled = True
        self._send_cancel(context, client, now)

    def _answer_408(self, context: ForwardContext, now: Monotonic) -> None:
        received = context.received
        if not context.is_invite:
            self._layer.stay_silent(context.server, now)
        elif received is not None:
            self._answer(context, received, 408, now)
        self._finish(context, EndCause.TIMED_OUT, Party.PROXY, 408, now)

    def _answer(self, context: ForwardContext, received: Message, status: int, now: Monotonic) -> None:
        """With a final response of our own."""
        tag = self._tags.of_transaction(context.server.key)
        self._layer.respond(context.server, status, build_response(received, status, to_tag=tag), now)

    def _send_cancel(self, context: ForwardContext, client: ClientTransaction[ForwardContext], now: Monotonic) -> None:
        context.has_sent_cancel = True
        branch = client.branch
        if self._layer.find_client(branch, grammar.METHOD_CANCEL) is None:
            data = build_cancel(client.request, context.cancel_lines)
            self._layer.open_client(
                branch,
                grammar.METHOD_CANCEL,
                data,
                client.slot,
                client.address,
                now,
                is_reliable=client.is_reliable,
            )
        self._timers_c.stop(context)
        self._cancels.start(context, now)

    def _finish(self, context: ForwardContext, cause: EndCause, by: Party, status: int, now: Monotonic) -> None:
        self._let_go(context)
        if context.call is not None:
            wall = Wall(now + self.wall_offset_s)
            ending = self._calls.end(context.call, cause, by, status, now, wall, context.q850)
            if ending is not None:
                self.endings.append(ending)

    def _let_go(self, context: ForwardContext) -> None:
        """Its final response is through: nothing waits for it any more, and what only the request needs can go."""
        context.request = context.routed = context.record = None
        context.hops = []
        if context.is_invite:
            self._timers_c.stop(context)
            self._cancels.stop(context)
