"""Tables and the lock that several processes share: bounded, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from edge_proxy.transport.shared_table import LONGEST_WAIT_S, WAYS, SharedLock, SharedTable, name_of


def test_row_is_found_by_its_name_until_it_is_released() -> None:
    table = SharedTable(64)
    row, is_new = table.claim(name_of("acme"), 0.0)
    table.untils[row] = 10.0
    assert is_new
    assert table.claim(name_of("acme"), 0.0) == (row, False)
    assert table.find(name_of("acme")) == row
    assert table.find(name_of("globex")) == -1
    assert len(table) == 1
    table.release(row)
    table.release(row)
    assert (table.find(name_of("acme")), len(table)) == (-1, 0)


def test_what_is_over_first_gives_way_and_only_what_was_not_over_is_counted() -> None:
    table = SharedTable(WAYS)
    for n in range(1, WAYS + 1):
        row, _ = table.claim(n, 0.0)
        table.untils[row] = 100.0 + n
    assert (len(table), table.forgotten) == (WAYS, 0)
    row, is_new = table.claim(77, 101.5)
    table.untils[row] = 500.0
    assert (is_new, table.find(1), table.forgotten) == (True, -1, 0)
    table.claim(78, 101.5)
    assert (table.find(2), table.forgotten) == (-1, 1)
    assert table.find(77) >= 0
    assert len(table) == WAYS


def test_hostile_names_cost_no_more_room() -> None:
    """A hundred thousand of them: the table is as large as before, and each is found in a bounded number of rows."""
    table = SharedTable(1024)
    for n in range(100_000):
        row, is_new = table.claim(name_of(f"called {n}"), 0.0)
        table.untils[row] = 60.0
        assert is_new
    assert len(table) <= 1024
    assert table.forgotten == 100_000 - len(table)
    assert table.names.nbytes == 8 * 1024


def test_name_is_never_nobodys() -> None:
    assert name_of("") != 0
    assert 0 < name_of("number 12025550100 acme") < 2**64


def test_names_cannot_be_told_beforehand() -> None:
    """Not even with PYTHONHASHSEED set, by which Python's own hash is the same in every run."""
    code = "from edge_proxy.transport.shared_table import name_of; print(name_of('x'))"
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    runs = [subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True) for _ in "12"]
    assert runs[0].stdout != runs[1].stdout


def test_lock_is_free_when_its_holder_dies() -> None:
    lock = SharedLock()
    pid = os.fork()
    if not pid:
        lock.__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    with lock:
        assert lock.missed == 0


def test_stopped_holder_is_waited_for_once_and_briefly() -> None:
    """Whoever decides a call goes on without the lock, at once from the second time on, until it is free again."""
    lock = SharedLock()
    said, say = os.pipe()
    pid = os.fork()
    if not pid:
        lock.__enter__()
        os.write(say, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(said, 1)
        began = time.monotonic()
        with lock:
            took_s = time.monotonic() - began
        began = time.monotonic()
        for _ in range(100):
            with lock:
                pass
        again_s = time.monotonic() - began
        assert lock.missed == 101
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert took_s < LONGEST_WAIT_S + 1.0
    assert again_s < took_s + 0.5
    for _ in range(2):
        with lock:
            assert lock.missed == 101
