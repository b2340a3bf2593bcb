"""The four state machines, row by row, against what figures 5 to 8 of RFC 3261, RFC 6026 §7 and RFC 4320 say.

Every state meets every event: what stands in the lists below happens, and everything else changes nothing.
"""

from __future__ import annotations

import pytest

from edge_proxy.transaction.tables import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Do,
    Event,
    Row,
    State,
    Table,
)

# state, event -> state, actions; from the figures, not from the code
FIGURES: dict[str, tuple[Table, str]] = {
    "figure 5, INVITE client": (
        INVITE_CLIENT,
        """
        CALLING    TIMER_A      CALLING     RESEND_REQUEST START_A
        CALLING    TIMER_B      TERMINATED  TIME_OUT
        CALLING    PROVISIONAL  PROCEEDING  PASS_UP
        CALLING    SUCCESS      ACCEPTED    PASS_UP START_M
        CALLING    FAILURE      COMPLETED   SEND_ACK PASS_UP START_D
        PROCEEDING PROVISIONAL  PROCEEDING  PASS_UP
        PROCEEDING SUCCESS      ACCEPTED    PASS_UP START_M
        PROCEEDING FAILURE      COMPLETED   SEND_ACK PASS_UP START_D
        COMPLETED  FAILURE      COMPLETED   SEND_ACK
        COMPLETED  TIMER_D      TERMINATED
        ACCEPTED   SUCCESS      ACCEPTED    PASS_UP
        ACCEPTED   TIMER_M      TERMINATED
        """,
    ),
    "figure 6, non-INVITE client": (
        NON_INVITE_CLIENT,
        """
        TRYING     TIMER_E      TRYING      RESEND_REQUEST START_E
        TRYING     TIMER_F      TERMINATED  TIME_OUT
        TRYING     PROVISIONAL  PROCEEDING  PASS_UP
        TRYING     SUCCESS      COMPLETED   PASS_UP START_K
        TRYING     FAILURE      COMPLETED   PASS_UP START_K
        PROCEEDING TIMER_E      PROCEEDING  RESEND_REQUEST START_E_AT_T2
        PROCEEDING TIMER_F      TERMINATED  TIME_OUT
        PROCEEDING PROVISIONAL  PROCEEDING  PASS_UP
        PROCEEDING SUCCESS      COMPLETED   PASS_UP START_K
        PROCEEDING FAILURE      COMPLETED   PASS_UP START_K
        COMPLETED  TIMER_K      TERMINATED
        """,
    ),
    "figure 7, INVITE server": (
        INVITE_SERVER,
        """
        PROCEEDING REQUEST      PROCEEDING  RESEND_RESPONSE
        PROCEEDING PROVISIONAL  PROCEEDING  SEND_RESPONSE
        PROCEEDING SUCCESS      ACCEPTED    SEND_RESPONSE START_L
        PROCEEDING FAILURE      COMPLETED   SEND_RESPONSE START_G START_H
        COMPLETED  REQUEST      COMPLETED   RESEND_RESPONSE
        COMPLETED  TIMER_G      COMPLETED   RESEND_RESPONSE START_G
        COMPLETED  TIMER_H      TERMINATED  TIME_OUT
        COMPLETED  ACK          CONFIRMED   START_I
        CONFIRMED  TIMER_I      TERMINATED
        ACCEPTED   SUCCESS      ACCEPTED    SEND_RESPONSE
        ACCEPTED   ACK          ACCEPTED    PASS_UP
        ACCEPTED   TIMER_L      TERMINATED
        """,
    ),
    "figure 8, non-INVITE server": (
        NON_INVITE_SERVER,
        """
        TRYING     PROVISIONAL  PROCEEDING  SEND_RESPONSE
        TRYING     SUCCESS      COMPLETED   SEND_RESPONSE START_J
        TRYING     FAILURE      COMPLETED   SEND_RESPONSE START_J
        TRYING     TIMER_100    PROCEEDING  SEND_100
        TRYING     SILENCE      COMPLETED   FORGET_RESPONSE START_J
        PROCEEDING REQUEST      PROCEEDING  RESEND_RESPONSE
        PROCEEDING PROVISIONAL  PROCEEDING  SEND_RESPONSE
        PROCEEDING SUCCESS      COMPLETED   SEND_RESPONSE START_J
        PROCEEDING FAILURE      COMPLETED   SEND_RESPONSE START_J
        PROCEEDING SILENCE      COMPLETED   FORGET_RESPONSE START_J
        COMPLETED  REQUEST      COMPLETED   RESEND_RESPONSE
        COMPLETED  TIMER_J      TERMINATED
        """,
    ),
}


def rows_of(text: str) -> Table:
    rows: Table = {}
    for line in text.split("\n"):
        words = line.split()
        if words:
            state, event, after, *actions = words
            rows[State[state], Event[event]] = Row(State[after], tuple(Do[action] for action in actions))
    return rows


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_state_meets_every_event_as_in_the_figure(figure: str, state: State, event: Event) -> None:
    """A row where the figure has an edge, no row where it has none."""
    table, text = FIGURES[figure]
    assert table.get((state, event)) == rows_of(text).get((state, event))


@pytest.mark.parametrize("figure", FIGURES)
def test_every_state_can_be_left(figure: str) -> None:
    """From every state that is reached there is a way to Terminated that needs no peer: timers alone lead there,
    but for Proceeding of an INVITE, which the core's Timer C ends, and of a server, which its core answers."""
    table, _ = FIGURES[figure]
    entered = {state for (state, _), _ in table.items()} | {row.next_state for row in table.values()}
    for state in entered - {State.TERMINATED}:
        leaves = {
            row.next_state
            for (at, event), row in table.items()
            if at is state and (event.name.startswith("TIMER_") or event is Event.SILENCE)
        } - {state}
        core_ends_it = state is State.PROCEEDING or (table is NON_INVITE_SERVER and state is State.TRYING)
        assert leaves or core_ends_it, state
    assert not [state for (state, _) in table if state is State.TERMINATED]
