"""Where log lines go: to stderr, without anybody who writes one waiting for whoever reads them.

Before `start` a line is written at once. Afterwards it is handed to a thread, which writes all that has gathered in a
short while with one system call: a pipe that nobody empties, or a disk that stalls under a redirected stderr, holds up
that thread and no call. What waits is bounded; what does not fit is counted and lost, as evidence never is.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import Final

_MOST_LINES: Final = 16_384
_GATHER_S: Final = 0.01
_LAST_LINES_S: Final = 2.0


class LogSink:
    """A stream of whole lines. One is made for the process; a fork of a process that has not started it is as fresh."""

    def __init__(self) -> None:
        self.lost = 0
        """Lines that nobody took."""
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write by a thread from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(sys.stderr.fileno(),), name="log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let what waits be written, for a bounded time; write at once again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._lines.put(None)
            thread.join(_LAST_LINES_S)

    def write(self, line: bytes) -> int:
        """Take one line, with its end; never raises."""
        if self._thread is None:
            self._write_now(line)
        elif self._lines.qsize() < _MOST_LINES:
            self._lines.put(line)
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
        is_over = False
        while not is_over:
            lines = [self._lines.get()]
            if lines[0] is not None:
                time.sleep(_GATHER_S)
            try:
                while len(lines) < _MOST_LINES and lines[-1] is not None:
                    lines.append(self._lines.get_nowait())
            except Empty:
                pass
            if lines[-1] is None:
                is_over = True
                lines.pop()
            if not _write_all(fd, b"".join(line for line in lines if line is not None)):
                self.lost += len(lines)


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
