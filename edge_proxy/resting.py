"""Work beside the calls, and where it may rest: whoever does much calls `rest` every few steps, in whatever process.

A thread that shares its interpreter with calls says what resting is, mostly a `Pace`; for every other thread it is
nothing. The interpreter is one thread's at a time, and one that only computes keeps it for as long as it is let: a
message that comes meanwhile waits. So such a thread works for a tenth of a millisecond at most, lets go, and takes up
its work only when the loop has nothing left to do: a loop that was woken late, as the processor was busy, would
otherwise find the interpreter taken again, and again.

A hook that the interpreter calls (`sys.setprofile`) would need no places to rest at, and makes all work take four times
as long. Between two of them there should be less than a millisecond.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from typing import Final, TypeVar

from edge_proxy.errors import EdgeProxyError

_RUN: Final = 256
_WORK_S: Final = 0.0001
_REST_S: Final = 0.0001
"""Long enough for a thread that waits for the interpreter to be woken and take it."""
_LONGEST_REST_S: Final = 0.0008
_LATE: Final = 8
_WORK_LATE_S: Final = 0.0004
"""Beside a loop that carries all it can and is never done, other work must go on too. Getting the interpreter back
takes longer there than any rest, so it is time that counts; and after some rests in a row that came to nothing, more
is done."""
_T = TypeVar("_T")


class GivenUpError(EdgeProxyError):
    """What is being done is not wanted any more."""


class Pace:
    """Makes the thread that it is on rest now and then, until the loop has come to all that waits for it.

    `is_wanted` says whether the loop has something to do. Once `is_over`, the work is not to go on: wherever it would
    rest, GivenUpError is raised.
    """

    def __init__(self, is_wanted: Callable[[], bool], is_over: Callable[[], bool] = lambda: False) -> None:
        self._is_wanted = is_wanted
        self._is_over = is_over
        self._late = 0
        self._until = 0.0
        """When it is to rest: the first time as soon as it can, since nobody knows for how long it was at work."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever this thread does here is done at this pace, wherever it comes by a place to rest."""
        with resting(self.step):
            yield

    def step(self) -> None:
        """A little was done."""
        if time.monotonic() < self._until:
            return
        if self._is_over():
            raise GivenUpError("the process is ending")
        longest = time.monotonic() + _LONGEST_REST_S
        while True:
            time.sleep(_REST_S)
            if time.monotonic() >= longest:
                self._late += 1
                break
            if not self._is_wanted():
                self._late = 0
                break
        self._until = time.monotonic() + (_WORK_S if self._late < _LATE else _WORK_LATE_S)


class _OfThread(threading.local):
    step: Callable[[], None] | None = None


_this = _OfThread()


def rest() -> None:
    """A little was done."""
    step = _this.step
    if step is not None:
        step()


def one_by_one(things: Iterable[_T]) -> Iterator[_T]:
    """The same, with a rest before each."""
    for thing in things:
        rest()
        yield thing


def in_order(things: Iterable[_T], key: Callable[[_T], tuple[int, ...]]) -> Iterator[_T]:
    """As `sorted`, with rests: a hundred thousand that come in no order would take a tenth of a second in one piece."""
    coming = iter(things)
    runs: list[list[_T]] = []
    while run := list(islice(coming, _RUN)):
        rest()
        run.sort(key=key)
        run.reverse()
        runs.append(run)
    return one_by_one(merge(*map(_taken, runs), key=key))


def _taken(run: list[_T]) -> Iterator[_T]:
    """From its end, and out of it: freed at once, many would hold up others too."""
    while run:
        yield run.pop()


@contextmanager
def resting(step: Callable[[], None]) -> Iterator[None]:
    """On this thread, `rest` is `step` meanwhile."""
    before = _this.step
    _this.step = step
    try:
        yield
    finally:
        _this.step = before
