"""The transaction layer (RFC 3261 §17): messages and the time in; messages to send, and what the core must know, out.

The tables say what happens in which state; this file only performs the rows. Everything to be sent is appended to
the list given at construction, in order.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from edge_proxy.addr import Address, Monotonic
from edge_proxy.errors import LocalProtocolError
from edge_proxy.native import mypyc_attr
from edge_proxy.sip import grammar
from edge_proxy.sip.message import Message
from edge_proxy.sip.serializer import build_response
from edge_proxy.transaction.derive import build_ack
from edge_proxy.transaction.tables import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Do,
    Event,
    State,
    Table,
)
from edge_proxy.transaction.timers import TimerSettings, TimerWheel

U = TypeVar("U")
"""What the core hangs on a transaction: its own context."""

_EVENTS: Final = len(Event)

_ENDS_LATE_S: Final = 1.0
"""How long transactions whose time is over may stay, so that none of them wakes anybody."""
_ENDS_AT_ONCE: Final = 256
"""As many of them end in one go: more of them could hold up a message for long."""

# What tables.py names, as plain integers: a member of an enumeration would be looked up each time it is compared with.
_TRYING: Final[int] = State.TRYING
_CALLING: Final[int] = State.CALLING
_PROCEEDING: Final[int] = State.PROCEEDING
_COMPLETED: Final[int] = State.COMPLETED
_ACCEPTED: Final[int] = State.ACCEPTED
_TERMINATED: Final[int] = State.TERMINATED

_REQUEST: Final[int] = Event.REQUEST
_ACK: Final[int] = Event.ACK
_PROVISIONAL: Final[int] = Event.PROVISIONAL
_SUCCESS: Final[int] = Event.SUCCESS
_FAILURE: Final[int] = Event.FAILURE
_SILENCE: Final[int] = Event.SILENCE
_TIMER_A: Final[int] = Event.TIMER_A
_TIMER_B: Final[int] = Event.TIMER_B
_TIMER_D: Final[int] = Event.TIMER_D
_TIMER_E: Final[int] = Event.TIMER_E
_TIMER_F: Final[int] = Event.TIMER_F
_TIMER_G: Final[int] = Event.TIMER_G
_TIMER_H: Final[int] = Event.TIMER_H
_TIMER_I: Final[int] = Event.TIMER_I
_TIMER_J: Final[int] = Event.TIMER_J
_TIMER_K: Final[int] = Event.TIMER_K
_TIMER_L: Final[int] = Event.TIMER_L
_TIMER_M: Final[int] = Event.TIMER_M
_TIMER_100: Final[int] = Event.TIMER_100

_SEND_RESPONSE: Final[int] = 1 << Do.SEND_RESPONSE
_RESEND_RESPONSE: Final[int] = 1 << Do.RESEND_RESPONSE
_RESEND_REQUEST: Final[int] = 1 << Do.RESEND_REQUEST
_SEND_ACK: Final[int] = 1 << Do.SEND_ACK
_PASS_UP: Final[int] = 1 << Do.PASS_UP
_TIME_OUT: Final[int] = 1 << Do.TIME_OUT
_SEND_100: Final[int] = 1 << Do.SEND_100
_FORGET_RESPONSE: Final[int] = 1 << Do.FORGET_RESPONSE
_START_A: Final[int] = 1 << Do.START_A
_START_D: Final[int] = 1 << Do.START_D
_START_E: Final[int] = 1 << Do.START_E
_START_E_AT_T2: Final[int] = 1 << Do.START_E_AT_T2
_START_G: Final[int] = 1 << Do.START_G
_START_H: Final[int] = 1 << Do.START_H
_START_I: Final[int] = 1 << Do.START_I
_START_J: Final[int] = 1 << Do.START_J
_START_K: Final[int] = 1 << Do.START_K
_START_L: Final[int] = 1 << Do.START_L
_START_M: Final[int] = 1 << Do.START_M

_ANY_SERVER_TIMER: Final[int] = _START_G | _START_H | _START_I | _START_J | _START_L
_ANY_CLIENT_TIMER: Final[int] = _START_A | _START_D | _START_E | _START_E_AT_T2 | _START_K | _START_M


class _Step:
    """A row of a table as it is performed: what it does is a set of bits, since their order makes no difference."""

    __slots__ = ("does", "next_state")

    def __init__(self, next_state: int, does: int) -> None:
        self.next_state = next_state
        self.does = does


def _flatten(table: Table) -> list[_Step | None]:
    """A table as a list, indexed by state * events + event: no tuple is built to look a row up."""
    steps: list[_Step | None] = [None] * (len(State) * _EVENTS)
    for (state, event), row in table.items():
        does = 0
        for action in row.actions:
            does |= 1 << action
        steps[state * _EVENTS + event] = _Step(int(row.next_state), does)
    return steps


_INVITE_CLIENT: Final = _flatten(INVITE_CLIENT)
_NON_INVITE_CLIENT: Final = _flatten(NON_INVITE_CLIENT)
_INVITE_SERVER: Final = _flatten(INVITE_SERVER)
_NON_INVITE_SERVER: Final = _flatten(NON_INVITE_SERVER)


@mypyc_attr(acyclic=True)
class Send:
    """One message to leave through the listener with this slot."""

    __slots__ = ("address", "data", "slot")

    def __init__(self, slot: int, address: Address, data: bytes) -> None:
        self.slot = slot
        self.address = address
        self.data = data


class ServerTransaction(Generic[U]):
    """A request that came to us, until its response can no longer be asked for again (§17.2)."""

    __slots__ = ("address", "interval_s", "is_reliable", "key", "request", "response", "rows", "slot", "state", "user")

    def __init__(self, key: bytes, request: Message, slot: int, address: Address, *, is_reliable: bool) -> None:
        self.key = key
        self.request: Message | None = request
        self.slot = slot
        self.address = address
        self.is_reliable = is_reliable
        is_invite = request.method == grammar.METHOD_INVITE
        self.rows = _INVITE_SERVER if is_invite else _NON_INVITE_SERVER
        self.state = _PROCEEDING if is_invite else _TRYING
        self.response: bytes | None = None
        self.interval_s = 0.0
        self.user: U | None = None


class ClientTransaction(Generic[U]):
    """A request we sent, until no response to it can come any more (§17.1)."""

    __slots__ = (
        "address",
        "branch",
        "interval_s",
        "is_reliable",
        "method",
        "request",
        "rows",
        "slot",
        "state",
        "times_out_at",
        "user",
    )

    def __init__(
        self, branch: bytes, method: bytes, request: bytes, slot: int, address: Address, *, is_reliable: bool
    ) -> None:
        self.branch = branch
        self.method = method
        self.request = request
        self.slot = slot
        self.address = address
        self.is_reliable = is_reliable
        is_invite = method == grammar.METHOD_INVITE
        self.rows = _INVITE_CLIENT if is_invite else _NON_INVITE_CLIENT
        self.state = _CALLING if is_invite else _TRYING
        self.interval_s = 0.0
        self.times_out_at = 0.0
        """When Timer B or F is due, as long as it has not been started."""
        self.user: U | None = None


class TransactionLayer(Generic[U]):
    """All transactions of one worker, by key, and the timers they share."""

    __slots__ = (
        "_ends",
        "_timed_out",
        "_timeout_s",
        "_timer_100_s",
        "_wheel",
        "cancels",
        "clients",
        "out",
        "requests_resent",
        "responses_resent",
        "server_timeouts",
        "servers",
        "timers",
    )

    def __init__(self, timers: TimerSettings, out: list[Send]) -> None:
        self.timers = timers
        self._timeout_s = timers.timeout_s
        self._timer_100_s = timers.timer_100_s
        self.out = out
        self.servers: dict[bytes, ServerTransaction[U]] = {}
        self.clients: dict[bytes, ClientTransaction[U]] = {}
        """By branch: no two requests of ours have the same (§8.1.1.7), but for a CANCEL and what it cancels."""
        self.cancels: dict[bytes, ClientTransaction[U]] = {}
        """The client transactions of CANCEL, by branch."""
        self.requests_resent = 0
        self.responses_resent = 0
        self.server_timeouts = 0
        self._wheel: TimerWheel[ServerTransaction[U] | ClientTransaction[U]] = TimerWheel()
        self._ends: TimerWheel[ServerTransaction[U] | ClientTransaction[U]] = TimerWheel()
        """Timers D and I to M: they only end a transaction, and nobody waits for that."""
        self._timed_out: list[tuple[ClientTransaction[U], U | None]] = []

    @property
    def under_way(self) -> int:
        """How many transactions there are now."""
        return len(self.servers) + len(self.clients) + len(self.cancels)

    def find_server(self, key: bytes) -> ServerTransaction[U] | None:
        """The server transaction with this `keys.transaction_key` (an ACK has its INVITE's)."""
        return self.servers.get(key)

    def open_server(
        self, key: bytes, request: Message, slot: int, address: Address, *, is_reliable: bool = False
    ) -> ServerTransaction[U]:
        """Begin a server transaction; responses to it go to `address` through the listener `slot`."""
        server: ServerTransaction[U] = ServerTransaction(key, request, slot, address, is_reliable=is_reliable)
        self.servers[key] = server
        return server

    def receive_again(self, server: ServerTransaction[U], method: bytes, now: Monotonic) -> bool:
        """A retransmission or an ACK came for `server`. True when the core must see it (an ACK to a 2xx)."""
        event = _ACK if method == grammar.METHOD_ACK else _REQUEST
        return self._run_server(server, event, b"", now)

    def respond(self, server: ServerTransaction[U], status: int, data: bytes, now: Monotonic) -> None:
        """Send a response of status class `status` through its transaction."""
        self._run_server(server, _class_of(status), data, now)

    def wait_for_answer(self, server: ServerTransaction[U], now: Monotonic) -> None:
        """The answer to this non-INVITE is somebody else's: say 100 when it takes too long, on any transport.

        Before that a 100 is forbidden over UDP and not asked for on streams (RFC 4320 §4.1).
        """
        self._wheel.start(now + self._timer_100_s, server, _TIMER_100)

    def stay_silent(self, server: ServerTransaction[U], now: Monotonic) -> None:
        """There will be no final response to this non-INVITE: a 408 would only come too late (RFC 4320 §4.2)."""
        self._run_server(server, _SILENCE, b"", now)

    def open_client(
        self,
        branch: bytes,
        method: bytes,
        data: bytes,
        slot: int,
        address: Address,
        now: Monotonic,
        *,
        is_reliable: bool = False,
    ) -> ClientTransaction[U]:
        """Send a request as a new client transaction; `branch` is the one in its top Via and is ours alone."""
        clients = self._clients_of(method)
        if branch in clients:
            raise LocalProtocolError(f"open_client: branch {branch!r} is in use")
        client: ClientTransaction[U] = ClientTransaction(branch, method, data, slot, address, is_reliable=is_reliable)
        clients[branch] = client
        self.out.append(Send(slot, address, data))
        timers = self.timers
        client.times_out_at = now + self._timeout_s
        if is_reliable:
            self._start_timeout(client)
        else:
            # Most are answered before they have to be sent again, and then need no Timer B or F.
            client.interval_s = timers.t1_s
            self._wheel.start(now + timers.t1_s, client, _TIMER_A if client.rows is _INVITE_CLIENT else _TIMER_E)
        return client

    def _start_timeout(self, client: ClientTransaction[U]) -> None:
        event = _TIMER_B if client.rows is _INVITE_CLIENT else _TIMER_F
        self._wheel.start(client.times_out_at, client, event)
        client.times_out_at = 0.0

    def find_client(self, branch: bytes, method: bytes) -> ClientTransaction[U] | None:
        """The client transaction that a response with this branch and method in CSeq belongs to (§17.1.3)."""
        client = self._clients_of(method).get(branch)
        return client if client is not None and client.method == method else None

    def _clients_of(self, method: bytes) -> dict[bytes, ClientTransaction[U]]:
        return self.cancels if method == grammar.METHOD_CANCEL else self.clients

    def receive_response(self, client: ClientTransaction[U], response: Message, now: Monotonic) -> bool:
        """A response came for `client`. True when the core must see it; False when the transaction absorbs it."""
        return self._run_client(client, _class_of(response.status), response, now)

    def give_up(self, client: ClientTransaction[U]) -> None:
        """Stop waiting for an answer to `client`; what comes late finds no transaction."""
        self._end_client(client)

    def next_deadline(self) -> Monotonic:
        """When `handle_timer` must be called at the latest."""
        wheel = self._wheel
        while (owner := wheel.first()) is not None and owner.rows[owner.state * _EVENTS + wheel.event] is None:
            wheel.pass_over()  # answered meanwhile, as most are: no state that follows has a use for this timer
        due_at, ends_at = wheel.next_deadline(), Monotonic(self._ends.next_deadline() + _ENDS_LATE_S)
        return ends_at if ends_at < due_at else due_at

    def handle_timer(self, now: Monotonic) -> list[tuple[ClientTransaction[U], U | None]]:
        """Run the timers that are due; return the client transactions that waited in vain (B, F), and their users.

        A server transaction whose ACK never came (H) is only counted: nobody is left to be told.
        """
        self._timed_out = []
        wheel = self._wheel
        while (owner := wheel.take_due(now)) is not None:
            self._fire(owner, wheel.event, now)
        self.end_some(now)
        return self._timed_out

    def end_some(self, now: Monotonic) -> None:
        """End transactions whose time is over. Whoever is at work calls this, since it needs no waking up."""
        ends = self._ends
        for _ in range(_ENDS_AT_ONCE):
            owner = ends.take_due(now)
            if owner is None:
                break
            self._fire(owner, ends.event, now)

    def _fire(self, owner: ServerTransaction[U] | ClientTransaction[U], event: int, now: Monotonic) -> None:
        if isinstance(owner, ServerTransaction):
            self._run_server(owner, event, b"", now)
        else:
            self._run_client(owner, event, None, now)

    def _run_server(self, server: ServerTransaction[U], event: int, data: bytes, now: Monotonic) -> bool:
        step = server.rows[server.state * _EVENTS + event]
        if step is None:
            return False
        state = server.state = step.next_state
        does = step.does
        if does & _SEND_RESPONSE:
            self.out.append(Send(server.slot, server.address, data))
            if state == _ACCEPTED:
                # The far end repeats its own 2xx (RFC 6026 §7.1): nothing of the call's messages is kept.
                server.response = server.request = None
            else:
                server.response = data
                if state == _COMPLETED:
                    server.request = None
        elif does & _RESEND_RESPONSE:
            if server.response is not None:
                self.responses_resent += 1
                self.out.append(Send(server.slot, server.address, server.response))
        elif does & _SEND_100:
            if server.request is not None:
                server.response = build_response(server.request, 100)
                self.out.append(Send(server.slot, server.address, server.response))
        elif does & _FORGET_RESPONSE:
            server.response = server.request = None
        elif does & _TIME_OUT:
            self.server_timeouts += 1
        if does & _ANY_SERVER_TIMER:
            self._start_server_timers(server, does, now)
        if server.state == _TERMINATED:
            if server.key in self.servers:
                del self.servers[server.key]
            server.key = b""
            server.user = None  # the context points back here: no cycle may outlive the transaction
        return does & _PASS_UP != 0

    def _start_server_timers(self, server: ServerTransaction[U], does: int, now: Monotonic) -> None:
        timers = self.timers
        if does & _START_G and not server.is_reliable:
            server.interval_s = min(2 * server.interval_s or timers.t1_s, timers.t2_s)
            self._wheel.start(now + server.interval_s, server, _TIMER_G)
        if does & _START_H:
            self._wheel.start(now + self._timeout_s, server, _TIMER_H)
        elif does & _START_I:
            self._wait_or_end(server, _TIMER_I, timers.t4_s, now)
        elif does & _START_J:
            self._wait_or_end(server, _TIMER_J, self._timeout_s, now)
        elif does & _START_L:
            self._ends.start(now + self._timeout_s, server, _TIMER_L)

    def _run_client(self, client: ClientTransaction[U], event: int, response: Message | None, now: Monotonic) -> bool:
        step = client.rows[client.state * _EVENTS + event]
        if step is None:
            return False
        client.state = step.next_state
        does = step.does
        if does & _RESEND_REQUEST:
            self.requests_resent += 1
            self.out.append(Send(client.slot, client.address, client.request))
            if client.times_out_at:
                self._start_timeout(client)
        elif does & _SEND_ACK and response is not None:
            self.out.append(Send(client.slot, client.address, build_ack(client.request, response)))
        if does & _ANY_CLIENT_TIMER:
            self._start_client_timer(client, does, now)
        if does & _TIME_OUT:
            self._timed_out.append((client, client.user))
        if client.state == _TERMINATED:
            self._end_client(client)
        return does & _PASS_UP != 0

    def _start_client_timer(self, client: ClientTransaction[U], does: int, now: Monotonic) -> None:
        timers = self.timers
        if does & _START_M:
            client.request = b""
            self._ends.start(now + self._timeout_s, client, _TIMER_M)
        elif does & _START_K:
            client.request = b""
            self._wait_or_end(client, _TIMER_K, timers.t4_s, now)
        elif does & _START_D:
            self._wait_or_end(client, _TIMER_D, timers.timer_d_s, now)
        elif does & _START_A:
            client.interval_s *= 2
            self._wheel.start(now + client.interval_s, client, _TIMER_A)
        elif does & _START_E:
            client.interval_s = min(2 * client.interval_s, timers.t2_s)
            self._wheel.start(now + client.interval_s, client, _TIMER_E)
        elif does & _START_E_AT_T2:
            self._wheel.start(now + timers.t2_s, client, _TIMER_E)

    def _wait_or_end(
        self, owner: ServerTransaction[U] | ClientTransaction[U], event: int, delay_s: float, now: Monotonic
    ) -> None:
        """On a reliable transport there is nothing to wait for."""
        if owner.is_reliable:
            owner.state = _TERMINATED
        else:
            self._ends.start(now + delay_s, owner, event)

    def _end_client(self, client: ClientTransaction[U]) -> None:
        client.state = _TERMINATED
        client.user = None
        clients = self._clients_of(client.method)
        if client.branch in clients:
            del clients[client.branch]
        client.branch = client.request = b""  # a timer may hold on to it for some time


def _class_of(status: int) -> int:
    if status < 200:
        return _PROVISIONAL
    return _SUCCESS if status < 300 else _FAILURE
