"""kill -9 in the middle of everything: whatever was acknowledged is in the journal once, and the chain verifies.

The child is this file run as a program: it puts records as fast as it can and acknowledges each over a pipe after
`put` said yes. The parent kills it after a random number of acknowledgements, in places nobody chose: between a
write and its sync, in a rotation, in the recovery of the round before.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from edge_proxy.evidence.journal import Journal
from edge_proxy.evidence.segments import segments_in
from edge_proxy.evidence.verify import verify

RING_BYTES = 256 * 1024
SEGMENT_BYTES = 200_000
ROUNDS = 8


def make_journal(root: Path, sync_interval_s: float) -> Journal:
    return Journal(
        data_dir=root / "data",
        worker=0,
        ring_dir=root,
        ring_bytes=RING_BYTES,
        segment_bytes=SEGMENT_BYTES,
        sync_interval_s=sync_interval_s,
    )


def payload(mark: int) -> bytes:
    return b'{"kind":"attempt","id":"%016x","fill":"%s"}' % (mark, b"x" * (mark * 37 % 900))


def put_and_acknowledge(root: Path, first_mark: int, sync_interval_s: float) -> None:
    """The child: put for ever, and write each accepted record's mark to stdout."""
    journal = make_journal(root, sync_interval_s)
    os.write(1, bytes(8))  # from here on the parent may kill: also in the middle of a recovery
    journal.open()
    journal.start()
    mark = first_mark
    while True:
        if journal.put(payload(mark)):
            os.write(1, mark.to_bytes(8, "big"))
            mark += 1
        else:
            os.sched_yield()


def put_past_the_size_limit(root: Path) -> None:
    """The child: let the kernel refuse the journal's growth in the middle of a write, then give way again."""
    journal = make_journal(root, 0.01)
    journal.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_007, hard))
    accepted = [mark for mark in range(100) if journal.put(payload(mark))]
    refused_sync = not journal.flush()
    (_, segment) = segments_in(journal.directory)[0]
    data = segment.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    back = journal.flush()
    journal.close()
    print(json.dumps([len(accepted), refused_sync, data[-1:] in (b"", b"\n"), journal.stats.write_errors, back]))


def ids(root: Path) -> Counter[int]:
    found: Counter[int] = Counter()
    for _, path in segments_in(root / "data" / "evidence" / "worker-0"):
        found.update(int(json.loads(line)["id"], 16) for line in path.read_bytes().splitlines())
    return found


@pytest.mark.parametrize("sync_interval_s", [0.0, 0.005, 0.2])
def test_killed_process_loses_no_acknowledged_record(tmp_path: Path, sync_interval_s: float) -> None:
    """Over several rounds of kill -9: every acknowledged record exactly once, in one chain that verifies."""
    chance = random.Random(f"crash {sync_interval_s}")
    acknowledged: list[int] = []
    for round_number in range(1, ROUNDS + 1):
        child = subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(round_number << 32), str(sync_interval_s)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        wanted = chance.choice([0, chance.randrange(1, 300), chance.randrange(300, 4000)])
        acks = child.stdout.read(8 + 8 * wanted)
        child.send_signal(signal.SIGKILL)
        acks += child.stdout.read()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        # A mark cut short by the kill was never acknowledged.
        acknowledged += [int.from_bytes(acks[at : at + 8], "big") for at in range(8, len(acks) - 7, 8)]

    journal = make_journal(tmp_path, sync_interval_s)
    journal.open()
    journal.close()
    found = ids(tmp_path)
    assert set(acknowledged) - set(found) == set()
    assert max(found.values()) == 1
    # At most one record a round was accepted and not yet acknowledged.
    assert len(found) <= len(acknowledged) + ROUNDS
    report = verify(tmp_path / "data", expected_head=journal.head)
    assert report.findings == []
    assert (report.first_seq, report.last_seq, report.records) == (1, len(found), len(found))
    assert journal.stats.records_missing == journal.stats.rings_set_aside == 0


def test_kernel_refusing_growth_in_mid_write_costs_nothing(tmp_path: Path) -> None:
    """A real short write, then EFBIG: taken back to the last whole line, and written once there is room again."""
    output = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout
    accepted, refused_sync, ends_whole, write_errors, back = json.loads(output)
    assert (accepted, refused_sync, ends_whole, write_errors, back) == (100, True, True, 1, True)
    assert ids(tmp_path) == Counter(range(100))
    assert verify(tmp_path / "data").ok


if __name__ == "__main__":
    if len(sys.argv) > 2:
        put_and_acknowledge(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    else:
        put_past_the_size_limit(Path(sys.argv[1]))
