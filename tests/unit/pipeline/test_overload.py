"""Our own load: from turns to a share of new requests that is shed."""

from __future__ import annotations

from edge_proxy.addr import NEVER, Monotonic
from edge_proxy.pipeline.overload import FULL_TURN, INTERVAL_S, Overload
from edge_proxy.transport.udp import _DATAGRAMS_A_TURN


def turns(overload: Overload, start: float, seconds: float, *, length_s: float, count: int = 1, slot: int = 0) -> float:
    """Turn after turn without a pause; when they are over."""
    at = start
    while at < start + seconds:
        overload.observe(slot, count, Monotonic(at), Monotonic(at + length_s), 1000.0)
        at += length_s
    return at


def test_full_turn_is_what_a_udp_socket_gives_at_once() -> None:
    """The bound below which a socket is known to be empty."""
    assert FULL_TURN == _DATAGRAMS_A_TURN


def test_one_long_turn_is_no_overload() -> None:
    """A pause of the collector, or of the machine."""
    overload = Overload(0.05)
    at = turns(overload, 10.0, 1.0, length_s=0.001)
    overload.observe(0, 5, Monotonic(at), Monotonic(at + 0.2), 0.0)
    turns(overload, at + 0.2, 2.0, length_s=0.001)
    assert not overload.is_active


def test_long_turns_raise_the_share_and_short_ones_lower_it_to_nothing() -> None:
    """Step by step, never to all; the feedback says what is in force, with a growing number."""
    overload = Overload(0.05)
    at = turns(overload, 10.0, 1.0, length_s=0.1)
    early, params = overload.percent, overload.params
    assert overload.is_active
    at = turns(overload, at, 10.0, length_s=0.1)
    assert early < overload.percent == 95
    assert params.startswith(b';oc=%d;oc-algo="loss";oc-validity=1000;oc-seq=' % early)
    assert overload.params.rpartition(b"=")[2] > params.rpartition(b"=")[2]
    turns(overload, at, 6.0, length_s=0.001)
    assert (overload.is_active, overload.percent, overload.params) == (False, 0, b"")


def test_standing_queue_of_one_socket_is_overload_though_each_turn_is_short() -> None:
    """A turn takes a bounded number: who always finds so many does not keep up; the other socket's turns are short."""
    overload = Overload(0.05)
    at = 10.0
    while at < 12.0:
        at = turns(overload, at, 0.004, length_s=0.005, count=FULL_TURN, slot=0)
        at = turns(overload, at, 0.0005, length_s=0.001, count=1, slot=1)
    assert overload.is_active


def test_full_turns_with_an_emptied_queue_between_are_no_overload() -> None:
    """Bursts that are worked off at once."""
    overload = Overload(0.05)
    at = 10.0
    while at < 12.0:
        at = turns(overload, at, 0.02, length_s=0.005, count=FULL_TURN)
        at = turns(overload, at, 0.0005, length_s=0.001, count=3)
    assert not overload.is_active


def test_share_shrinks_by_the_timer_when_nothing_comes_any_more() -> None:
    """No turn tells that all is well."""
    overload = Overload(0.05)
    turns(overload, 10.0, 3.0, length_s=0.1)
    while (deadline := overload.next_deadline()) != NEVER:
        overload.settle(deadline, 0.0)
        assert overload.next_deadline() in {NEVER, deadline + INTERVAL_S}
    assert overload.percent == 0


def test_threshold_of_zero_switches_it_off() -> None:
    """Whatever the turns take."""
    overload = Overload(0.0)
    turns(overload, 10.0, 3.0, length_s=0.5, count=FULL_TURN)
    assert not overload.is_active
