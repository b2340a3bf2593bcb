"""What the log says of a disk that does not take the evidence: once when it begins, once when it is over."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from edge_proxy.evidence.journal import JournalStats
from edge_proxy.telemetry.journal_watch import JournalWatch


class Disk:
    """A journal's counters, and the watch that looks at them every tenth of a second."""

    def __init__(self) -> None:
        self.stats = JournalStats()
        self.now = 100.0
        self.watch = JournalWatch(self.stats, structlog.get_logger())

    def look(self, seconds: float = 0.1, backlog_bytes: int = 500, *, has_room: bool = True) -> list[str]:
        """What is said within these seconds."""
        with capture_logs() as lines:
            for _ in range(round(seconds * 10)):
                self.now += 0.1
                self.watch.look(self.now, backlog_bytes=backlog_bytes, has_room=has_room, last_error="disk full")
        return [
            " ".join(str(line[key]) for key in ("event", "error", "after_s", "lost") if key in line) for line in lines
        ]


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_failing_disk_is_told_once_and_so_is_its_end(disk: Disk) -> None:
    assert disk.look(5.0, 0) == []
    disk.stats.write_errors += 1
    assert disk.look(1.0) == ["evidence is not written disk full"]
    disk.stats.write_errors += 3
    assert disk.look(4.0) == []
    disk.stats.records_written += 7
    assert disk.look(0.1, 0) == ["evidence is written again 5.0"]
    assert disk.look(5.0, 0) == []


def test_disk_that_stalls_is_told_after_two_seconds(disk: Disk) -> None:
    """Nothing fails, and nothing comes back. A backlog that is being written is no stall."""
    for _ in range(50):
        disk.stats.records_written += 1
        assert disk.look() == []
    assert disk.look(1.8) == []
    assert disk.look(0.3) == ["evidence is not written the disk has taken nothing for 2 s"]
    assert disk.look(30.0) == []
    disk.stats.records_written += 1
    assert disk.look() == ["evidence is written again 30.1"]


def test_full_buffer_says_afterwards_how_many_records_were_lost(disk: Disk) -> None:
    disk.stats.records_refused = 5
    assert disk.look(1.0, has_room=False) == ["evidence buffer is full"]
    disk.stats.records_refused = 12
    assert disk.look(0.1) == ["evidence buffer has room again 7"]
