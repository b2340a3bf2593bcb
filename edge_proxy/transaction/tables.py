"""The four transaction state machines as tables (RFC 3261 §17.1, §17.2; Accepted and timers L, M from RFC 6026 §7;
the late 100 and the missing final of a non-INVITE from RFC 4320 §4).

A row reads: in this state, on this event, go to that state and do these things. What has no row is ignored: a late
timer, a retransmission that the state absorbs, a response out of turn.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


class State(IntEnum):
    CALLING = 0
    TRYING = 1
    PROCEEDING = 2
    COMPLETED = 3
    CONFIRMED = 4
    ACCEPTED = 5
    TERMINATED = 6


class Event(IntEnum):
    """What can happen to a transaction: a message from the network, one from the proxy core, or a timer."""

    REQUEST = 0  # a retransmission of the request
    ACK = 1
    PROVISIONAL = 2  # 1xx: received (client) or to be sent (server)
    SUCCESS = 3  # 2xx
    FAILURE = 4  # 3xx-6xx
    TIMER_A = 5
    TIMER_B = 6
    TIMER_D = 7
    TIMER_E = 8
    TIMER_F = 9
    TIMER_G = 10
    TIMER_H = 11
    TIMER_I = 12
    TIMER_J = 13
    TIMER_K = 14
    TIMER_L = 15
    TIMER_M = 16
    TIMER_100 = 17  # as long as a client's Timer E takes to reach T2 (RFC 4320 §4.1)
    SILENCE = 18  # the core has no final response and never will (RFC 4320 §4.2)


class Do(IntEnum):
    """What a row asks for. START_X on a reliable transport with no waiting time ends the transaction at once."""

    SEND_RESPONSE = 0  # send the response the core handed over, and keep it for retransmissions
    RESEND_RESPONSE = 1
    RESEND_REQUEST = 2
    SEND_ACK = 3  # for a 3xx-6xx to INVITE (§17.1.1.3)
    PASS_UP = 4  # the core gets the message
    TIME_OUT = 5  # the core learns that nothing (or no ACK) came
    START_A = 6  # the retransmit timers double what they waited
    START_D = 7
    START_E = 8
    START_E_AT_T2 = 9
    START_G = 10
    START_H = 11
    START_I = 12
    START_J = 13
    START_K = 14
    START_L = 15
    START_M = 16
    SEND_100 = 17  # of our own making: the core has nothing to say yet
    FORGET_RESPONSE = 18  # a retransmission is absorbed without an answer from now on


class Row(NamedTuple):
    next_state: State
    actions: tuple[Do, ...]


Table = dict[tuple[State, Event], Row]

_S, _E, _D = State, Event, Do

INVITE_CLIENT: Final[Table] = {
    (_S.CALLING, _E.TIMER_A): Row(_S.CALLING, (_D.RESEND_REQUEST, _D.START_A)),
    (_S.CALLING, _E.TIMER_B): Row(_S.TERMINATED, (_D.TIME_OUT,)),
    (_S.CALLING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.PASS_UP,)),
    (_S.CALLING, _E.SUCCESS): Row(_S.ACCEPTED, (_D.PASS_UP, _D.START_M)),
    (_S.CALLING, _E.FAILURE): Row(_S.COMPLETED, (_D.SEND_ACK, _D.PASS_UP, _D.START_D)),
    (_S.PROCEEDING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.PASS_UP,)),
    (_S.PROCEEDING, _E.SUCCESS): Row(_S.ACCEPTED, (_D.PASS_UP, _D.START_M)),
    (_S.PROCEEDING, _E.FAILURE): Row(_S.COMPLETED, (_D.SEND_ACK, _D.PASS_UP, _D.START_D)),
    (_S.COMPLETED, _E.FAILURE): Row(_S.COMPLETED, (_D.SEND_ACK,)),
    (_S.COMPLETED, _E.TIMER_D): Row(_S.TERMINATED, ()),
    (_S.ACCEPTED, _E.SUCCESS): Row(_S.ACCEPTED, (_D.PASS_UP,)),
    (_S.ACCEPTED, _E.TIMER_M): Row(_S.TERMINATED, ()),
}

NON_INVITE_CLIENT: Final[Table] = {
    (_S.TRYING, _E.TIMER_E): Row(_S.TRYING, (_D.RESEND_REQUEST, _D.START_E)),
    (_S.TRYING, _E.TIMER_F): Row(_S.TERMINATED, (_D.TIME_OUT,)),
    (_S.TRYING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.PASS_UP,)),
    (_S.TRYING, _E.SUCCESS): Row(_S.COMPLETED, (_D.PASS_UP, _D.START_K)),
    (_S.TRYING, _E.FAILURE): Row(_S.COMPLETED, (_D.PASS_UP, _D.START_K)),
    (_S.PROCEEDING, _E.TIMER_E): Row(_S.PROCEEDING, (_D.RESEND_REQUEST, _D.START_E_AT_T2)),
    (_S.PROCEEDING, _E.TIMER_F): Row(_S.TERMINATED, (_D.TIME_OUT,)),
    (_S.PROCEEDING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.PASS_UP,)),
    (_S.PROCEEDING, _E.SUCCESS): Row(_S.COMPLETED, (_D.PASS_UP, _D.START_K)),
    (_S.PROCEEDING, _E.FAILURE): Row(_S.COMPLETED, (_D.PASS_UP, _D.START_K)),
    (_S.COMPLETED, _E.TIMER_K): Row(_S.TERMINATED, ()),
}

INVITE_SERVER: Final[Table] = {
    (_S.PROCEEDING, _E.REQUEST): Row(_S.PROCEEDING, (_D.RESEND_RESPONSE,)),
    (_S.PROCEEDING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.SEND_RESPONSE,)),
    (_S.PROCEEDING, _E.SUCCESS): Row(_S.ACCEPTED, (_D.SEND_RESPONSE, _D.START_L)),
    (_S.PROCEEDING, _E.FAILURE): Row(_S.COMPLETED, (_D.SEND_RESPONSE, _D.START_G, _D.START_H)),
    (_S.COMPLETED, _E.REQUEST): Row(_S.COMPLETED, (_D.RESEND_RESPONSE,)),
    (_S.COMPLETED, _E.TIMER_G): Row(_S.COMPLETED, (_D.RESEND_RESPONSE, _D.START_G)),
    (_S.COMPLETED, _E.TIMER_H): Row(_S.TERMINATED, (_D.TIME_OUT,)),
    (_S.COMPLETED, _E.ACK): Row(_S.CONFIRMED, (_D.START_I,)),
    (_S.CONFIRMED, _E.TIMER_I): Row(_S.TERMINATED, ()),
    (_S.ACCEPTED, _E.SUCCESS): Row(_S.ACCEPTED, (_D.SEND_RESPONSE,)),
    (_S.ACCEPTED, _E.ACK): Row(_S.ACCEPTED, (_D.PASS_UP,)),
    (_S.ACCEPTED, _E.TIMER_L): Row(_S.TERMINATED, ()),
}

NON_INVITE_SERVER: Final[Table] = {
    (_S.TRYING, _E.TIMER_100): Row(_S.PROCEEDING, (_D.SEND_100,)),
    (_S.TRYING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.SEND_RESPONSE,)),
    (_S.TRYING, _E.SUCCESS): Row(_S.COMPLETED, (_D.SEND_RESPONSE, _D.START_J)),
    (_S.TRYING, _E.FAILURE): Row(_S.COMPLETED, (_D.SEND_RESPONSE, _D.START_J)),
    (_S.TRYING, _E.SILENCE): Row(_S.COMPLETED, (_D.FORGET_RESPONSE, _D.START_J)),
    (_S.PROCEEDING, _E.REQUEST): Row(_S.PROCEEDING, (_D.RESEND_RESPONSE,)),
    (_S.PROCEEDING, _E.PROVISIONAL): Row(_S.PROCEEDING, (_D.SEND_RESPONSE,)),
    (_S.PROCEEDING, _E.SUCCESS): Row(_S.COMPLETED, (_D.SEND_RESPONSE, _D.START_J)),
    (_S.PROCEEDING, _E.FAILURE): Row(_S.COMPLETED, (_D.SEND_RESPONSE, _D.START_J)),
    (_S.PROCEEDING, _E.SILENCE): Row(_S.COMPLETED, (_D.FORGET_RESPONSE, _D.START_J)),
    (_S.COMPLETED, _E.REQUEST): Row(_S.COMPLETED, (_D.RESEND_RESPONSE,)),
    (_S.COMPLETED, _E.TIMER_J): Row(_S.TERMINATED, ()),
}
