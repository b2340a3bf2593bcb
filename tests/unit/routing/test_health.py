"""Which addresses are used: thresholds, pauses, and the way back."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Address, Monotonic
from edge_proxy.routing.health import MAX_RETRY_AFTER_S, Standing, TargetHealth, Thresholds

A = Address("192.0.2.1", 5060)
B = Address("192.0.2.2", 5060)
PROBED = Thresholds(down_after=3, up_after=2, retry_s=None)
UNPROBED = Thresholds(down_after=3, up_after=1, retry_s=30.0)


def at(seconds: float) -> Monotonic:
    return Monotonic(1000.0 + seconds)


@pytest.fixture
def health() -> TargetHealth:
    health = TargetHealth()
    health.watch({A: PROBED, B: UNPROBED})
    return health


def test_address_is_down_after_bad_signs_in_a_row(health: TargetHealth) -> None:
    """Two bad signs change nothing, the third one does."""
    for second in range(2):
        health.note_bad(A, at(second))
    assert health.standing(A, at(2)) is Standing.READY
    health.note_bad(A, at(2))
    assert health.standing(A, at(2)) is Standing.DOWN
    assert health.is_down(A)


def test_good_sign_starts_the_count_anew(health: TargetHealth) -> None:
    """Bad signs add up only when nothing good comes between them."""
    for sign in (False, False, True, False, False):
        if sign:
            health.note_good(A)
        else:
            health.note_bad(A, at(0))
    assert health.standing(A, at(0)) is Standing.READY


def test_probed_address_comes_back_after_good_signs_in_a_row(health: TargetHealth) -> None:
    """A probed address stays down, however long, until it has answered `up_after` times without a bad sign between."""
    for _ in range(3):
        health.note_bad(A, at(0))
    assert health.standing(A, at(10_000)) is Standing.DOWN
    health.note_good(A)
    health.note_bad(A, at(1))
    health.note_good(A)
    assert health.standing(A, at(2)) is Standing.DOWN
    health.note_good(A)
    assert health.standing(A, at(2)) is Standing.READY
    assert not health.is_down(A)


def test_unprobed_address_is_tried_again_and_falls_at_once(health: TargetHealth) -> None:
    """Nobody asks it, so after `retry_s` a request may; one more bad sign and it is down for another `retry_s`."""
    for _ in range(3):
        health.note_bad(B, at(0))
    assert health.standing(B, at(29.9)) is Standing.DOWN
    assert health.standing(B, at(30)) is Standing.READY
    assert health.is_down(B)
    health.note_bad(B, at(31))
    assert health.standing(B, at(60.9)) is Standing.DOWN
    assert health.standing(B, at(61)) is Standing.READY
    health.note_good(B)
    assert not health.is_down(B)


def test_pause_that_was_asked_for_is_kept_and_ends(health: TargetHealth) -> None:
    """Retry-After: closed for so long, whatever good signs come, then as before."""
    health.close(A, 10, at(0))
    health.note_good(A)
    assert health.standing(A, at(9.9)) is Standing.CLOSED
    assert health.pause_left_s(A, at(4)) == 6.0
    assert health.standing(A, at(10)) is Standing.READY


def test_shorter_pause_does_not_shorten_a_longer_one(health: TargetHealth) -> None:
    """Two responses under way at once: the longer wish holds."""
    health.close(A, 20, at(0))
    health.close(A, 5, at(1))
    assert health.standing(A, at(19)) is Standing.CLOSED


def test_absurd_pause_is_cut(health: TargetHealth) -> None:
    """A wrong number in one response does not close a trunk for a day."""
    health.close(A, 86_400, at(0))
    assert health.standing(A, at(MAX_RETRY_AFTER_S - 1)) is Standing.CLOSED
    assert health.standing(A, at(MAX_RETRY_AFTER_S)) is Standing.READY


def test_signs_that_contradict_the_standing_are_doubt(health: TargetHealth) -> None:
    """Up with a bad sign, or down with a good one: the next sign should come soon. Settled is settled."""
    assert not health.is_doubtful(A)
    health.note_bad(A, at(0))
    assert health.is_doubtful(A)
    health.note_bad(A, at(0))
    health.note_bad(A, at(0))
    assert not health.is_doubtful(A)
    health.note_good(A)
    assert health.is_doubtful(A)
    health.note_good(A)
    assert not health.is_doubtful(A)


def test_address_that_is_not_watched_leaves_nothing_behind(health: TargetHealth) -> None:
    """Peers choose addresses inside dialogs; memory is for targets only."""
    stranger = Address("198.51.100.9", 5060)
    for _ in range(9):
        health.note_bad(stranger, at(0))
    health.close(stranger, 60, at(0))
    assert health.standing(stranger, at(0)) is Standing.READY
    assert health.bad_signs(stranger) == 0


def test_watching_anew_keeps_what_is_known(health: TargetHealth) -> None:
    """A reload or a new DNS answer does not make a dead address look alive; what is gone is forgotten."""
    for address in (A, B):
        for _ in range(3):
            health.note_bad(address, at(0))
    health.watch({A: PROBED})
    health.watch({A: PROBED, B: UNPROBED})
    assert health.standing(A, at(1)) is Standing.DOWN
    assert health.standing(B, at(1)) is Standing.READY
