"""A customer's own limits over several workers: exact, whoever asks, and free again when a worker is replaced."""

from __future__ import annotations

import os
import time

from edge_proxy.addr import Monotonic
from edge_proxy.transport.shared_limits import LimitTable, SharedBuckets, SharedLimits

KEY = ("customer", "acme", 0)
NOW = Monotonic(1000.0)


def test_workers_see_each_others_calls_but_not_their_own() -> None:
    table = LimitTable(3, rows=16)
    one, two, three = (SharedLimits(table, worker) for worker in range(3))
    for hand, active in ((one, 2), (two, 3), (three, 4)):
        with hand:
            hand.enter("acme", active)
            hand.enter("globex", 0)
    assert [hand.others("acme") for hand in (one, two, three)] == [7, 6, 5]
    assert one.others("globex") == 0
    two.publish("acme", 1)
    assert one.others("acme") == 5


def test_customer_without_limits_takes_no_row() -> None:
    table = LimitTable(2, rows=16)
    SharedLimits(table, 0).publish("acme", 5)
    assert list(table.names) == [0] * 16


def test_replaced_worker_begins_with_no_calls() -> None:
    table = LimitTable(2, rows=16)
    one, two = SharedLimits(table, 0), SharedLimits(table, 1)
    with two:
        two.enter("acme", 9)
    assert one.others("acme") == 9
    SharedLimits(table, 1)
    assert one.others("acme") == 0


def test_one_bucket_for_all_workers() -> None:
    """What one takes, the others lack; time gives it back to all; other kinds of buckets are each worker's own."""
    table = LimitTable(2, rows=16)
    one, two = (SharedBuckets(SharedLimits(table, worker)) for worker in range(2))
    for bucket in (one, two, one):
        assert bucket.wait_s(KEY, 3.0, 3.0, NOW) == 0.0
        bucket.charge(KEY, 3.0, 3.0, NOW)
    assert one.wait_s(KEY, 3.0, 3.0, NOW) == two.wait_s(KEY, 3.0, 3.0, NOW) == 1 / 3
    assert two.wait_s(KEY, 3.0, 3.0, Monotonic(NOW + 0.34)) == 0.0
    own = ("number", "acme", 12025550100)
    one.charge(own, 1.0, 1.0, NOW)
    assert (one.wait_s(own, 1.0, 1.0, NOW), two.wait_s(own, 1.0, 1.0, NOW)) == (1.0, 0.0)


def test_full_table_limits_each_worker_by_itself() -> None:
    table = LimitTable(2, rows=1)
    one, two = (SharedLimits(table, worker) for worker in range(2))
    with one:
        one.enter("acme", 1)
        one.enter("globex", 1)
    assert (two.others("acme"), two.others("globex")) == (1, 0)
    buckets = SharedBuckets(two)
    buckets.charge(("customer", "globex", 0), 1.0, 1.0, NOW)
    assert buckets.wait_s(("customer", "globex", 0), 1.0, 1.0, NOW) == 1.0


def test_limit_is_exact_between_processes() -> None:
    """Four processes ask as fast as they can: exactly as many get in as may, and a dead holder frees the lock."""
    table = LimitTable(4, rows=64)
    pids = []
    for worker in range(4):
        pid = os.fork()
        if not pid:
            hand, mine = SharedLimits(table, worker), 0
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with hand:
                    if mine + hand.others("acme") >= 1000:
                        break
                    mine += 1
                    hand.publish("acme", mine)
            hand.__enter__()
            os._exit(0)  # with the lock held
        pids.append(pid)
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sum(sum(counts) for counts in table.active) == 1000
