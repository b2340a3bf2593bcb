"""A source that one worker ignores is ignored by all, and what was seen of it by each counts together."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Monotonic
from edge_proxy.admin.questions import Questions
from edge_proxy.pipeline.counters import Cause
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.transport.shared_limits import LimitTables
from edge_proxy.transport.shared_sources import SourceTables
from tests.kit.messages import OURS_FOR_CUSTOMERS, outgoing_uri, request
from tests.kit.playbook import STRANGER, make_snapshot
from tests.kit.two_workers import Worker, two_workers


def scanning(settings: str = "requests: 4, window_s: 60, ignore_s: 600") -> Snapshot:
    return make_snapshot(old="trunks:\n", new=f"policy: {{scanners: {{{settings}}}}}\ntrunks:\n")


def probe() -> bytes:
    return request("INVITE", f"sip:100@{OURS_FOR_CUSTOMERS}", source=STRANGER)


def is_ignored(play: Worker) -> bool:
    before = play.count(Cause.SCANNER_IGNORED)
    play.stranger.sends(probe())
    play.stranger.ignores()
    return play.count(Cause.SCANNER_IGNORED) > before


def test_requests_count_together_and_all_ignore_at_once() -> None:
    """Two here and two there make four; the fifth is dropped unread by either, for ten minutes."""
    one, two = workers = two_workers(scanning())
    for turn in (0, 1, 1, 0):
        assert not is_ignored(workers[turn])
    assert is_ignored(one)
    assert is_ignored(two)
    assert one.pipeline.scanners.found + two.pipeline.scanners.found == 1
    assert len(one.pipeline.scanners) == len(two.pipeline.scanners) == 1
    for play in workers:
        play.waits(599.9)
        play.stranger.ignores("403")  # again and again, since nobody acknowledges them
        assert is_ignored(play)
    for play in workers:
        play.waits(0.2)
        assert not is_ignored(play)


def test_worker_that_takes_anothers_place_ignores_them_too() -> None:
    one, two = two_workers(scanning())
    for _ in range(4):
        one.refuses(probe(), 403, by=one.stranger)
    two.restart()
    assert is_ignored(two)
    two.stranger.sends(request("INVITE", outgoing_uri("911"), source=STRANGER)).gets(100)
    two.carrier.gets("INVITE")


@pytest.mark.parametrize("settings", [f'requests: 4, never: ["{STRANGER.host}/32"]', "requests: 0"])
def test_reload_of_one_lifts_it_from_all(settings: str) -> None:
    """All of them reload; the first to do so already ends it."""
    one, two = two_workers(scanning())
    for _ in range(4):
        one.refuses(probe(), 403, by=one.stranger)
    assert is_ignored(two)
    one.pipeline.use_snapshot(scanning(settings))
    assert not is_ignored(one)
    assert not is_ignored(two)


def test_unban_is_seen_by_all() -> None:
    """After it the source begins anew: it takes as many requests as at first to be ignored again."""
    tables = LimitTables(2)
    sources = SourceTables(tables.lock)
    workers = [Worker(tables, sources, number, scanning()) for number in range(2)]
    one = workers[0]
    for _ in range(4):
        one.refuses(probe(), 403, by=one.stranger)
    assert all(is_ignored(play) for play in workers)
    answer = Questions(sources.ignored, sources.lock, lambda: one.now).answer(
        {"ask": "unban", "address": STRANGER.host}
    )
    assert answer == {"was_ignored": True}
    assert [is_ignored(workers[n % 2]) for n in range(6)] == [False] * 4 + [True] * 2


def test_source_that_a_customer_logged_in_from_is_no_stranger_to_any() -> None:
    one, two = two_workers(scanning())
    one.pipeline.scanners.vouch(STRANGER.host, Monotonic(one.now))
    assert not any(is_ignored(two) for _ in range(10))


def test_login_lifts_it_for_all() -> None:
    one, two = two_workers(scanning())
    for _ in range(4):
        one.refuses(probe(), 403, by=one.stranger)
    two.pipeline.scanners.vouch(STRANGER.host, Monotonic(two.now))
    assert not is_ignored(one)
    assert not is_ignored(two)
