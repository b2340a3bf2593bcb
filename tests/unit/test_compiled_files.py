"""Files that a process of its own makes: how that is scheduled, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from edge_proxy import compiled_files
from edge_proxy.compiled_files import KEPT, ask, remove_old, write_whole
from edge_proxy.errors import EdgeProxyError
from edge_proxy.resting import resting

ASKED = "tests.kit.asked"
LONG_S = 300.0
HANGS_S = 10.0


def children() -> str:
    """The processes that this thread has started and not waited for."""
    return Path("/proc/thread-self/children").read_text()


def test_who_is_asked_takes_only_time_that_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """From before it reads what it is asked; all of it arrives."""
    monkeypatch.setattr(compiled_files, "LOOKS_S", LONG_S)
    request = {"looks_s": 0, "makes_s": 0, "more": ["x" * 70, {"y": None}] * 5_000}
    answer = ask(ASKED, request)
    assert (answer["is_idle"], answer["nice"]) == (True, 10)
    assert answer["asked"] == request


@pytest.mark.parametrize(("limit", "slow"), [("LOOKS_S", "looks_s"), ("MAKES_S", "makes_s")])
def test_machine_without_an_idle_moment_gets_one_that_is_merely_nicer(
    monkeypatch: pytest.MonkeyPatch, limit: str, slow: str
) -> None:
    """Whether the first did not find out in time what is to be done, or did not get it done."""
    monkeypatch.setattr(compiled_files, limit, 0.01)
    answer = ask(ASKED, {"looks_s": 0, "makes_s": 0} | {slow: LONG_S})
    assert (answer["is_idle"], answer["nice"]) == (False, 10)


def test_who_does_not_answer_is_told_with_its_last_words() -> None:
    """Not what it said before them."""
    with pytest.raises(ValueError, match="KeyError: 'looks_s'"):
        ask(ASKED, {})


def test_who_hangs_is_ended_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked would be kept from asking anything else, and nobody would know."""
    monkeypatch.setattr(compiled_files, "LOOKS_S", 0.01)
    monkeypatch.setattr(compiled_files, "LONGEST_S", 0.01)
    with pytest.raises(ValueError, match="it was not done after"):
        ask(ASKED, {"looks_s": 0, "makes_s": 0, "hangs_s": HANGS_S})
    assert children() == ""


def test_fork_meanwhile_does_not_keep_who_is_asked_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is forked just then holds open what its parent had open: the question has an end all the same."""
    monkeypatch.setattr(compiled_files, "LOOKS_S", LONG_S)
    give_way = compiled_files._give_way
    forks: list[int] = []

    def fork(pid: int, *, is_idle: bool) -> bool:
        forked = os.fork()
        if not forked:
            time.sleep(LONG_S)
            os._exit(0)
        forks.append(forked)
        return give_way(pid, is_idle=is_idle)

    monkeypatch.setattr(compiled_files, "_give_way", fork)
    try:
        request = {"looks_s": 0, "makes_s": 0, "more": "x" * 1_000_000}
        assert ask(ASKED, request)["asked"] == request
        assert os.waitid(os.P_PID, forks[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    finally:
        os.kill(forks[0], signal.SIGKILL)
        os.waitpid(forks[0], 0)


def test_who_is_not_to_wait_any_more_ends_who_was_asked() -> None:
    """Where a thread would rest it may be told not to go on, and it comes by such a place while it waits."""

    def step() -> None:
        if children():
            raise EdgeProxyError("no more")

    with resting(step), pytest.raises(EdgeProxyError, match="no more"):
        ask(ASKED, {"looks_s": LONG_S, "makes_s": 0})
    assert children() == ""


def test_newest_files_stay_and_what_was_given_up_goes(tmp_path: Path) -> None:
    """What somebody may still be writing is left alone, and so is what is of another kind."""
    for age in range(6):
        write_whole(tmp_path / f"asn-{age}.idx", [b"x"])
        os.utime(tmp_path / f"asn-{age}.idx", (time.time() - age, time.time() - age))
    for name, age_s in {"asn-a.1.new": 7200, "asn-b.2.new": 60, "numbers-a.1.new": 7200, "notes.new": 7200}.items():
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s, time.time() - age_s))
    remove_old(tmp_path / "asn-5.idx", "asn-*.idx")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["asn-0.idx", "asn-1.idx", "asn-5.idx", "asn-b.2.new", "notes.new", "numbers-a.1.new"]
    assert len([name for name in left if name.endswith(".idx")]) == KEPT
