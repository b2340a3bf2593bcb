"""Where log lines go: to stderr, without anybody who writes one waiting for whoever reads them.

Before `start` a line is written at once. Afterwards it is left for a thread, which writes all that has gathered in a
short while with one system call: a pipe that nobody empties, or a disk that stalls under a redirected stderr, holds up
that thread and no call. While lines come, and for a second after the last one, the thread looks by its own clock: to
be woken would cost whoever writes a line a system call, and the interpreter at the very moment it is needed. What waits
is bounded; what does not fit is counted and lost, as evidence never is.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import Final

_MOST_LINES: Final = 16_384
_GATHER_S: Final = 0.1
_VAIN_LOOKS: Final = 10
"""After so many without a line the thread waits to be woken."""
_LAST_LINES_S: Final = 2.0


class LogSink:
    """A stream of whole lines. One is made for the process; a fork of the process has a fresh one."""

    def __init__(self) -> None:
        self.lost = 0
        """Lines that nobody took."""
        self._lines: deque[bytes] = deque()  # its ends are taken from and added to by any thread, without a lock
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._is_idle = False
        """The thread has seen nothing to write, and waits to be woken."""
        self._is_stopping = False

    def start(self) -> None:
        """Write by a thread from now on."""
        if self._thread is None:
            self._is_stopping = False
            self._thread = threading.Thread(target=self._run, args=(sys.stderr.fileno(),), name="log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let what waits be written, for a bounded time; write at once again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._is_stopping = True
            self._wake.set()
            thread.join(_LAST_LINES_S)

    def forget(self) -> None:
        """In a fork: the thread, and what waits for it, are those of the process that it was forked from."""
        self._lines.clear()
        self._thread = None
        self._wake = threading.Event()
        self._is_idle = self._is_stopping = False
        self.lost = 0

    def write(self, line: bytes) -> int:
        """Take one line, with its end; never raises."""
        if self._thread is None:
            self._write_now(line)
        elif len(self._lines) < _MOST_LINES:
            self._lines.append(line)
            if self._is_idle:
                self._wake.set()
        else:
            self.lost += 1
        return len(line)

    def flush(self) -> None:
        """Nothing is kept back that could be written."""

    def _write_now(self, line: bytes) -> None:
        stream = sys.stderr.buffer
        try:
            stream.write(line)
            stream.flush()
        except OSError:
            self.lost += 1  # nobody reads: that is no reason to stop

    def _run(self, fd: int) -> None:
        waiting = self._lines
        vain_looks = _VAIN_LOOKS
        while True:
            is_over = self._is_stopping
            if not is_over and vain_looks >= _VAIN_LOOKS:
                self._wait()
            if not self._is_stopping:
                time.sleep(_GATHER_S)
            lines = [waiting.popleft() for _ in range(len(waiting))]
            vain_looks = 0 if lines else vain_looks + 1
            if lines and not _write_all(fd, b"".join(lines)):
                self.lost += len(lines)
            if is_over:
                return

    def _wait(self) -> None:
        """Until there is a line, or the end."""
        self._wake.clear()
        self._is_idle = True
        if not self._lines and not self._is_stopping:  # since that was said, whoever writes a line wakes us
            self._wake.wait()
        self._is_idle = False


def _write_all(fd: int, data: bytes) -> bool:
    """Whether all of it was taken."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        return False
    return True


sink: Final = LogSink()
os.register_at_fork(after_in_child=sink.forget)
