"""The journal holds every accepted record once, in order, chained, through kills, torn lines and failing disks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.journal import IDENTITY_FILE, Journal
from edge_proxy.evidence.ring import HEADER_BYTES
from edge_proxy.evidence.segments import segments_in
from edge_proxy.evidence.verify import verify

MakeJournal = Callable[..., Journal]


def payload(number: int, size: int = 0) -> bytes:
    return b'{"kind":"attempt","n":%d,"fill":"%s"}' % (number, b"x" * size)


def lines(journal: Journal) -> list[bytes]:
    return b"".join(path.read_bytes() for _, path in segments_in(journal.directory)).splitlines()


def numbers(journal: Journal) -> list[int]:
    return [json.loads(line)["n"] for line in lines(journal)]


def kill(journal: Journal) -> None:
    """End a journal as kill -9 ends its process: nothing more is written, descriptors are closed."""
    ring_file = journal.ring_path.read_bytes()
    journal._ring.release(journal._ring.head, 0)  # so that close() has nothing to move
    journal._written = journal._ring.head
    journal.close()
    journal.ring_path.write_bytes(ring_file)


def failing(error: int, *, times: int = 10**9) -> Callable[..., Any]:
    """A system call that fails so many times, each time after a part was written where it writes."""
    real, left = os.pwrite, [times]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if left[0] > 0:
            left[0] -= 1
            if len(data) > 10:
                left[0] += 1
                return real(fd, bytes(data[: len(data) // 2]), offset)
            raise OSError(error, os.strerror(error))
        return real(fd, data, offset)

    return pwrite


def test_lines_are_the_records_with_number_and_hash_in_front(make_journal: MakeJournal) -> None:
    """The format is fixed: seq, prev, then the caller's bytes; prev is the SHA-256 of the line before."""
    journal = make_journal()
    journal.open()
    assert journal.put(payload(1))
    assert journal.put(payload(2))
    assert journal.flush()
    first = b'{"seq":1,"prev":"' + b"0" * 64 + b'",' + payload(1)[1:]
    second = b'{"seq":2,"prev":"' + hashlib.sha256(first).hexdigest().encode() + b'",' + payload(2)[1:]
    assert (journal.directory / "000000000001.jsonl").read_bytes() == first + b"\n" + second + b"\n"
    assert journal.head == (2, hashlib.sha256(second).hexdigest())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.one_of(st.integers(0, 6000), st.sampled_from(["flush", "reopen"])), max_size=60),
    st.sampled_from([300, 5000, 1 << 20]),
)
def test_any_sequence_of_puts_comes_out_in_order(steps: list[int | str], segment_bytes: int) -> None:
    """Whatever the sizes, wherever segments end, across restarts: every accepted record, once, in order."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)

        def make() -> Journal:
            journal = Journal(
                data_dir=root / "data", worker=3, ring_dir=root, ring_bytes=65536, segment_bytes=segment_bytes
            )
            journal.open()
            return journal

        journal, accepted = make(), []
        for number, step in enumerate(steps):
            if step == "flush":
                assert journal.flush()
            elif step == "reopen":
                journal.close()
                journal = make()
            elif journal.put(payload(number, int(step))):
                accepted.append(number)
        journal.close()
        assert numbers(journal) == accepted
        if accepted:
            report = verify(root / "data", expected_head=journal.head)
            assert report.ok
            assert (report.records, report.first_seq, report.last_seq) == (len(accepted), 1, len(accepted))


def test_drainer_moves_records_while_the_call_path_puts(make_journal: MakeJournal) -> None:
    """With the thread at work nothing is lost, doubled or reordered, over many rounds of the ring."""
    journal = make_journal(segment_bytes=100_000)
    journal.open()
    journal.start()
    for number in range(3000):
        while not journal.put(payload(number, 100)):
            assert journal.flush()
    assert journal.flush()
    assert journal.backlog_bytes == 0
    journal.close()
    assert numbers(journal) == list(range(3000))
    assert verify(journal.directory).ok
    stats = journal.stats
    assert stats.records_put == stats.records_written == 3000
    assert stats.bytes_written == sum(path.stat().st_size for _, path in segments_in(journal.directory))
    assert stats.records_missing == stats.write_errors == stats.recovered == 0
    assert stats.records_lost == stats.records_refused


def test_segments_end_past_their_size_and_are_named_after_their_first_record(make_journal: MakeJournal) -> None:
    """A segment is closed by the line that takes it to segment_bytes."""
    journal = make_journal(segment_bytes=400)
    journal.open()
    for number in range(10):
        journal.put(payload(number, 100))
    journal.close()
    named = segments_in(journal.directory)
    assert [first for first, _ in named] == [1, 3, 5, 7, 9]
    assert all(path.read_bytes().startswith(b'{"seq":%d,' % first) for first, path in named)
    assert verify(journal.directory).ok


def test_killed_before_any_drain_loses_nothing(make_journal: MakeJournal) -> None:
    """What the ring holds at a kill is in the journal before open() returns."""
    journal = make_journal()
    journal.open()
    for number in range(50):
        journal.put(payload(number))
    kill(journal)
    successor = make_journal()
    successor.open()
    assert numbers(successor) == list(range(50))
    assert successor.stats.recovered == 50
    assert successor.backlog_bytes == 0


def test_killed_between_write_and_release_doubles_nothing(make_journal: MakeJournal) -> None:
    """Records that are both in the journal and in the ring are known by their number."""
    journal = make_journal()
    journal.open()
    for number in range(50):
        journal.put(payload(number))
    in_ring = journal.ring_path.read_bytes()
    journal.close()
    journal.ring_path.write_bytes(in_ring)
    successor = make_journal()
    successor.open()
    successor.put(payload(50))
    successor.close()
    assert numbers(successor) == list(range(51))
    assert successor.stats.recovered == 0
    assert verify(successor.directory).ok


@pytest.mark.parametrize("kept_bytes", [1, 40, 105])
def test_torn_last_line_is_cut_off_and_recovered_from_the_ring(make_journal: MakeJournal, kept_bytes: int) -> None:
    """A write cut short by a kill costs nothing: the record is still in the ring."""
    journal = make_journal()
    journal.open()
    for number in range(3):
        journal.put(payload(number))
    in_ring = journal.ring_path.read_bytes()
    journal.close()
    journal.ring_path.write_bytes(in_ring)
    (_, segment) = segments_in(journal.directory)[0]
    whole = segment.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    segment.write_bytes(whole[: last + kept_bytes])
    successor = make_journal()
    successor.open()
    assert segment.read_bytes() == whole
    assert (successor.stats.torn_lines, successor.stats.recovered) == (1, 1)


def test_torn_line_that_the_ring_no_longer_has_shows_as_a_gap(make_journal: MakeJournal) -> None:
    """Lines that were on disk and are gone are counted, and the verifier names their numbers."""
    journal = make_journal()
    journal.open()
    for number in range(3):
        journal.put(payload(number))
    journal.close()
    (_, segment) = segments_in(journal.directory)[0]
    segment.write_bytes(segment.read_bytes()[:-1])
    successor = make_journal()
    successor.open()
    successor.put(payload(3))
    assert successor.flush()
    assert (successor.stats.torn_lines, successor.stats.records_missing) == (1, 1)
    assert successor.stats.records_written == 1
    (finding,) = verify(successor.directory).findings
    assert "record 3;" in finding.text


def test_segment_with_nothing_but_a_torn_line_is_begun_again(make_journal: MakeJournal) -> None:
    """A kill just after a segment was opened leaves a file without a line; the chain goes on from the one before."""
    journal = make_journal(segment_bytes=100)
    journal.open()
    journal.put(payload(0))
    journal.put(payload(1))
    in_ring = journal.ring_path.read_bytes()
    journal.close()
    journal.ring_path.write_bytes(in_ring)
    second = segments_in(journal.directory)[1][1]
    second.write_bytes(second.read_bytes()[:30])
    successor = make_journal(segment_bytes=100)
    successor.open()
    assert numbers(successor) == [0, 1]
    assert verify(successor.directory).ok


def test_last_line_that_is_no_record_is_chained_over_not_fatal(make_journal: MakeJournal) -> None:
    """A tampered journal must not keep the proxy from starting; it shows in the counter and to the verifier."""
    journal = make_journal()
    journal.open()
    for number in range(3):
        journal.put(payload(number))
    journal.close()
    (_, segment) = segments_in(journal.directory)[0]
    data = segment.read_bytes()
    segment.write_bytes(data[: data.rindex(b"\n", 0, -1) + 1] + b"x" * 70_000 + b"\n")
    successor = make_journal()
    successor.open()
    successor.put(payload(3))
    successor.close()
    assert successor.stats.damaged_lines == 1
    assert json.loads(lines(successor)[-1])["seq"] == 4
    assert [finding.line for finding in verify(successor.directory).findings] == [3]


def test_last_line_with_a_number_beyond_all_is_chained_over(make_journal: MakeJournal) -> None:
    """What came after it would have numbers that neither names of segments nor lines have room for."""
    journal = make_journal(segment_bytes=100)
    journal.open()
    for number in range(2):
        journal.put(payload(number))
    journal.close()
    (_, segment) = segments_in(journal.directory)[-1]
    segment.write_bytes(segment.read_bytes().replace(b'"seq":2,', b'"seq":999999999999999,'))
    for number in range(2, 4):
        successor = make_journal(segment_bytes=100)
        successor.open()
        successor.put(payload(number))
        successor.close()
    assert numbers(successor) == [0, 1, 2, 3]
    assert json.loads(lines(successor)[-1])["seq"] == 4
    assert not verify(successor.directory).ok


def test_second_process_on_the_same_journal_is_refused(make_journal: MakeJournal) -> None:
    """Two writers would fork the chain; another worker's journal is another matter."""
    first, second, other = make_journal(), make_journal(), make_journal(worker=1)
    first.open()
    with pytest.raises(EvidenceError, match="another process writes it"):
        second.open()
    other.open()
    first.close()
    second.open()


def test_corrupt_ring_is_set_aside_and_kept(make_journal: MakeJournal) -> None:
    """A ring whose header does not check costs its records, not the start; the file is there to be looked into."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    kill(journal)
    damaged = b"garbage" + journal.ring_path.read_bytes()[7:]
    journal.ring_path.write_bytes(damaged)
    successor = make_journal()
    successor.open()
    assert successor.put(payload(1))
    assert successor.flush()
    assert numbers(successor) == [1]
    assert successor.stats.rings_set_aside == 1
    aside = journal.ring_path.with_name(journal.ring_path.name + ".set-aside-1")
    assert aside.read_bytes() == damaged
    assert str(aside) in successor.last_error


def test_ring_with_a_corrupt_record_gives_those_before_it_and_a_gap(make_journal: MakeJournal) -> None:
    """Records that check are recovered; from the first that does not, nothing, and the journal shows it."""
    journal = make_journal()
    journal.open()
    for number in range(3):
        journal.put(payload(number))
    kill(journal)
    data = bytearray(journal.ring_path.read_bytes())
    data[data.index(payload(1))] ^= 1
    journal.ring_path.write_bytes(data)
    successor = make_journal()
    successor.open()
    successor.put(payload(3))
    assert successor.flush()
    assert numbers(successor) == [0, 3]
    assert (successor.stats.rings_set_aside, successor.stats.records_missing) == (1, 1)
    (finding,) = verify(successor.directory).findings
    assert "missing: record 2;" in finding.text


def test_ring_overwritten_while_running_is_set_aside_and_the_journal_goes_on(make_journal: MakeJournal) -> None:
    """The drainer survives memory written into from elsewhere, and counts how many records that cost."""
    journal = make_journal()
    journal.open()
    for number in range(3):
        journal.put(payload(number))
    with journal.ring_path.open("r+b") as file:
        file.seek(HEADER_BYTES + 20)
        file.write(b"garbage")
    journal.flush()
    assert journal.stats.rings_set_aside == 1
    journal.put(payload(3))
    assert journal.flush()
    assert numbers(journal) == [3]
    assert journal.stats.records_missing == 3


def test_who_waits_is_told_when_a_ring_is_given_up(make_journal: MakeJournal) -> None:
    """A flush ends with the damage that it met, not with its time-out."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    journal.put(payload(1))
    with journal.ring_path.open("r+b") as file:
        file.seek(HEADER_BYTES + 20)
        file.write(b"garbage")
    waiting = threading.Thread(target=journal.flush, args=(60.0,), daemon=True)
    with journal._drain_lock:
        journal.start()
        waiting.start()
        while not journal._flush_target:
            time.sleep(0.001)
        time.sleep(0.1)
    waiting.join(20.0)
    assert not waiting.is_alive()
    assert journal.stats.rings_set_aside == 1


def test_damaged_ring_that_cannot_be_kept_is_given_up_all_the_same(make_journal: MakeJournal) -> None:
    """Where there is no room for a copy, no half of one stays behind, and the next record is written."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    with journal.ring_path.open("r+b") as file:
        file.seek(HEADER_BYTES + 20)
        file.write(b"garbage")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        journal.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.strerror(errno.EFBIG) in journal.last_error
    assert [path.name for path in journal.ring_path.parent.iterdir() if "set-aside" in path.name] == []
    journal.put(payload(1))
    assert journal.flush()
    assert numbers(journal) == [1]


def test_a_journal_wiped_with_its_directory_begins_anew(make_journal: MakeJournal, tmp_path: Path) -> None:
    """A ring is bound to one journal: a new one on the same path takes nothing over, neither records nor numbers."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    journal.flush()
    journal.put(payload(1))
    kill(journal)
    shutil.rmtree(tmp_path / "data")
    successor = make_journal()
    successor.open()
    successor.put(payload(9))
    successor.close()
    assert numbers(successor) == [9]
    assert verify(successor.directory).ok
    assert successor.stats.rings_set_aside == 1


def test_segments_removed_under_a_stopped_worker_leave_a_gap(make_journal: MakeJournal) -> None:
    """The ring remembers the last number that was on disk, so a cut-off tail shows even without a noted head."""
    journal = make_journal()
    journal.open()
    for number in range(3):
        journal.put(payload(number))
    journal.close()
    segments_in(journal.directory)[0][1].unlink()
    successor = make_journal()
    successor.open()
    successor.put(payload(3))
    successor.close()
    assert json.loads(lines(successor)[0])["seq"] == 4
    assert "records 1 to 3" in verify(successor.directory).findings[0].text


def test_ring_takes_a_new_size_once_it_is_empty(make_journal: MakeJournal) -> None:
    """What a killed process left in a ring of the old size is recovered first."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    kill(journal)
    successor = make_journal(ring_bytes=32 * HEADER_BYTES)
    successor.open()
    assert successor.ring_path.stat().st_size == 33 * HEADER_BYTES
    successor.put(payload(1))
    successor.close()
    assert numbers(successor) == [0, 1]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_disk_that_fails_and_comes_back_loses_nothing(
    make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Partial writes are taken back, records wait in the ring, and all are written once the disk takes them."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    assert journal.flush()
    (_, segment) = segments_in(journal.directory)[0]
    before = segment.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(error))
        for number in range(1, 20):
            assert journal.put(payload(number))
        assert not journal.flush()
        assert not journal.flush()
        assert segment.read_bytes() == before
    assert journal.stats.write_errors == 2
    assert os.strerror(error) in journal.last_error
    assert journal.flush()
    assert numbers(journal) == list(range(20))
    assert verify(journal.directory).ok


def test_drainer_tries_again_by_itself(make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few failures the running drainer writes everything with nobody's help."""
    journal = make_journal()
    journal.open()
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC, times=3))
    journal.start()
    for number in range(20):
        assert journal.put(payload(number))
    assert journal.flush()
    journal.close()
    assert numbers(journal) == list(range(20))
    assert journal.stats.write_errors == 3


def test_drainer_survives_want_of_memory(make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be had for a chunk now can be had later; a drainer that is gone would never write again."""
    journal = make_journal()
    journal.open()
    real, left = os.pwrite, [2]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if left[0]:
            left[0] -= 1
            raise MemoryError
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    journal.start()
    for number in range(20):
        assert journal.put(payload(number))
    assert journal.flush()
    journal.close()
    assert numbers(journal) == list(range(20))
    assert journal.stats.write_errors == 2
    assert verify(journal.directory).ok


def test_full_disk_fills_the_ring_then_refuses(make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """has_room turns false before put refuses; both come back with the disk, and what was accepted is there."""
    journal = make_journal()
    journal.open()
    accepted = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.ENOSPC))
        for number in range(200):
            had_room = journal.has_room
            if journal.put(payload(number, 500)):
                accepted.append(number)
            else:
                assert not had_room
        assert not journal.flush()
        assert journal.stats.records_lost == 200 - len(accepted) > 0
    assert journal.flush()
    assert journal.has_room
    assert numbers(journal) == accepted
    assert verify(journal.directory).ok


def test_close_on_a_full_disk_leaves_the_rest_for_the_next_open(
    make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker stopped, and even started again, while the disk is full keeps what it accepted, in order."""
    journal, successor = make_journal(), make_journal()
    journal.open()
    journal.put(payload(0))
    journal.flush()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.ENOSPC))
        journal.start()
        journal.put(payload(1))
        journal.close()
        successor.open()
        assert successor.stats.recovered == 1
        assert successor.put(payload(2))
        assert successor.backlog_bytes > 0
    assert successor.flush()
    assert numbers(successor) == [0, 1, 2]
    assert verify(successor.directory).ok


def test_failed_sync_is_written_again(make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fdatasync the kernel may have dropped the pages: they are written anew from the ring."""
    journal = make_journal()
    journal.open()
    journal.put(payload(0))
    assert journal.flush()
    (_, segment) = segments_in(journal.directory)[0]
    before = segment.read_bytes()

    def fdatasync(fd: int) -> None:
        os.ftruncate(fd, len(before))  # what a dropped page amounts to
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fdatasync)
        journal.put(payload(1))
        assert not journal.flush()
        assert journal.head[0] == 1
    assert journal.flush()
    assert numbers(journal) == [0, 1]
    assert verify(journal.directory).ok
    assert journal.stats.records_written == 2


def test_new_segment_that_cannot_be_opened_is_tried_again(
    make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor left at the moment of rotation costs nothing."""
    journal = make_journal(segment_bytes=100)
    journal.open()
    journal.put(payload(0))
    assert journal.flush()

    def no_descriptor(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        journal.put(payload(1))
        assert not journal.flush()
        assert not journal.flush()
    assert journal.flush()
    assert numbers(journal) == [0, 1]
    assert verify(journal.directory).ok


def test_foreign_file_under_a_new_segments_name_is_kept_aside(make_journal: MakeJournal) -> None:
    """A file that stands where the next segment goes is neither written over nor in the way for long."""
    journal = make_journal(segment_bytes=100)
    journal.open()
    journal.put(payload(0))
    assert journal.flush()
    foreign = journal.directory / "000000000002.jsonl"
    foreign.write_bytes(b"foreign\n")
    journal.put(payload(1))
    assert not journal.flush()
    assert journal.flush()
    assert numbers(journal) == [0, 1]
    assert foreign.with_name(foreign.name + ".set-aside-1").read_bytes() == b"foreign\n"


@pytest.mark.parametrize("broken", [b"", b"{}", b"[1]", b'{"a":1}\n', b'{"a":\n1}'])
def test_payload_that_would_break_the_journal_is_refused(make_journal: MakeJournal, broken: bytes) -> None:
    """One record is one JSON object on one line; anything else is a bug that must show at once."""
    journal = make_journal()
    journal.open()
    with pytest.raises(EvidenceError, match="not one JSON object on one line"):
        journal.put(broken)


def test_life_out_of_order_is_refused(make_journal: MakeJournal) -> None:
    """Nothing is accepted before open or after close; opening or starting twice is an error."""
    journal = make_journal()
    assert not journal.put(payload(0))
    assert not journal.has_room
    with pytest.raises(EvidenceError, match="not open"):
        journal.start()
    journal.close()
    journal.open()
    with pytest.raises(EvidenceError, match="open already"):
        journal.open()
    journal.start()
    with pytest.raises(EvidenceError, match="started already"):
        journal.start()
    journal.close()
    journal.close()
    assert not journal.put(payload(0))
    assert not any(thread.name.startswith("evidence-") for thread in threading.enumerate())


def test_failed_open_lets_everything_go(make_journal: MakeJournal, tmp_path: Path) -> None:
    """A start that fails, for want of a directory, can be tried again."""
    (tmp_path / "data").write_text("in the way")
    journal = make_journal()
    with pytest.raises(EvidenceError, match="cannot open journal"):
        journal.open()
    (tmp_path / "data").unlink()
    journal.open()
    assert (journal.directory / IDENTITY_FILE).is_file()


def test_constructor_touches_nothing(tmp_path: Path) -> None:
    """Inert: neither directory nor ring exists until open."""
    Journal(data_dir=tmp_path / "data", worker=0, ring_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
