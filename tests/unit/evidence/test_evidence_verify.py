"""The verifier finds every change to a journal, says what it is, and is silent on a sound one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence import verify as verify_module
from edge_proxy.evidence.journal import Journal
from edge_proxy.evidence.segments import segments_in
from edge_proxy.evidence.verify import FindingKind, verify

MakeJournal = Callable[..., Journal]
RECORDS = 12
ATTEMPT = b'{"kind":"attempt","customer":"acme","at":"%s"}' % (b"x" * 400)
END = b'{"kind":"end","customer":"acme","at":"%s"}' % (b"x" * 100)


def fill(journal: Journal, records: int = RECORDS) -> None:
    journal.open()
    for number in range(records):
        assert journal.put(END if number % 3 == 2 else ATTEMPT)
    journal.close()


@cache
def sound_lines() -> tuple[tuple[bytes, ...], tuple[int, str]]:
    """The lines of a sound journal of one segment, with their newlines, and its head."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        journal = Journal(data_dir=root, worker=0, ring_dir=root, ring_bytes=65536)
        fill(journal)
        data = (journal.directory / "000000000001.jsonl").read_bytes()
        return tuple(data.splitlines(keepends=True)), journal.head


def kinds(path: Path, data: bytes) -> list[FindingKind]:
    segment = path / "000000000001.jsonl"
    segment.write_bytes(data)
    return [finding.kind for finding in verify(path).findings]


def test_sound_journal_is_reported_with_its_counts(make_journal: MakeJournal) -> None:
    """Records, attempts, ends, first and last number and the head, over several segments."""
    journal = make_journal(segment_bytes=1500)
    fill(journal)
    assert len(segments_in(journal.directory)) > 2
    report = verify(journal.directory, expected_head=journal.head)
    assert report.ok
    assert (report.records, report.attempts, report.ends) == (12, 8, 4)
    assert (report.first_seq, report.last_seq, report.head) == (1, 12, journal.head[1])


def test_several_workers_are_summed(make_journal: MakeJournal, tmp_path: Path) -> None:
    """A data directory, or its evidence directory, is verified worker by worker."""
    fill(make_journal(worker=0))
    fill(make_journal(worker=1), 3)
    for path in (tmp_path / "data", tmp_path / "data" / "evidence"):
        report = verify(path)
        assert report.ok
        assert report.records == 15
        assert [worker.records for worker in report.workers] == [12, 3]
    with pytest.raises(EvidenceError, match="belongs to one worker"):
        verify(tmp_path / "data", expected_head=(1, ""))
    (tmp_path / "data" / "evidence" / "worker-1" / "000000000001.jsonl").write_bytes(b"x\n")
    assert [len(worker.findings) for worker in verify(tmp_path / "data").workers] == [0, 1]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_byte_flipped_is_found(data: st.DataObject) -> None:
    """In any line but the newest without help; in the newest, against a head noted elsewhere."""
    whole, head = sound_lines()
    line = data.draw(st.integers(0, RECORDS - 1))
    offset = data.draw(st.integers(0, len(whole[line]) - 1))
    flip = data.draw(st.integers(1, 255))
    altered = bytearray(whole[line])
    altered[offset] ^= flip
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "000000000001.jsonl").write_bytes(b"".join(whole[:line]) + bytes(altered) + b"".join(whole[line + 1 :]))
        assert not verify(path, expected_head=head).ok
        if line < RECORDS - 1:
            assert not verify(path).ok


@pytest.mark.parametrize("line", range(RECORDS - 1))
def test_any_line_removed_is_found(tmp_path: Path, line: int) -> None:
    """The finding names the missing number. (The newest line is the expected head's affair.)"""
    whole, _ = sound_lines()
    assert kinds(tmp_path, b"".join(whole[:line] + whole[line + 1 :]))[-1] is FindingKind.MISSING
    assert f"missing: record {line + 1}" in verify(tmp_path).findings[-1].text


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(range(0, RECORDS, 3), 2)])
def test_any_two_lines_swapped_are_found(tmp_path: Path, first: int, second: int) -> None:
    """A record after one with a higher number is out of order."""
    swapped = list(sound_lines()[0])
    swapped[first], swapped[second] = swapped[second], swapped[first]
    assert FindingKind.OUT_OF_ORDER in kinds(tmp_path, b"".join(swapped))


@pytest.mark.parametrize("line", range(RECORDS))
def test_any_line_repeated_is_found(tmp_path: Path, line: int) -> None:
    """The same record twice is one record too many, even as the newest."""
    whole = sound_lines()[0]
    assert kinds(tmp_path, b"".join(whole[: line + 1] + whole[line:]))[0] is FindingKind.OUT_OF_ORDER


def test_altered_line_is_named_itself(tmp_path: Path) -> None:
    """The finding points at the line whose bytes changed, not at the one that gives it away."""
    whole = list(sound_lines()[0])
    whole[4] = whole[4].replace(b"acme", b"evil")
    assert kinds(tmp_path, b"".join(whole)) == [FindingKind.ALTERED]
    (finding,) = verify(tmp_path).findings
    assert (finding.line, finding.seq) == (5, 5)
    assert str(finding).startswith(f"{tmp_path / '000000000001.jsonl'}:5: altered")


def test_line_from_elsewhere_is_named_once(tmp_path: Path) -> None:
    """A line that is no record is one finding, not two."""
    whole = list(sound_lines()[0])
    whole[4] = b"not json\n"
    assert kinds(tmp_path, b"".join(whole)) == [FindingKind.NOT_A_RECORD]
    whole[4] = whole[5].replace(b"}\n", b"\n").replace(b'"seq":6', b'"seq":5')
    assert kinds(tmp_path, b"".join(whole)) == [FindingKind.NOT_A_RECORD]


def test_torn_line_is_found(tmp_path: Path) -> None:
    """A file that ends inside a record, at any place, is torn."""
    data = b"".join(sound_lines()[0])
    for cut in (1, 2, 100):
        assert kinds(tmp_path, data[:-cut]) == [FindingKind.TORN]


def test_cut_off_tail_is_found_against_a_noted_head_only(tmp_path: Path) -> None:
    """What a hash chain cannot know by itself is known with a head noted elsewhere."""
    whole, head = sound_lines()
    assert kinds(tmp_path, b"".join(whole[:-3])) == []
    (finding,) = verify(tmp_path, expected_head=head).findings
    assert finding.kind is FindingKind.HEAD
    assert "the journal ends at 9: cut off" in finding.text


def test_head_noted_before_the_journal_grew_still_proves(tmp_path: Path) -> None:
    """An old note vouches for everything up to its record."""
    whole, _ = sound_lines()
    (tmp_path / "000000000001.jsonl").write_bytes(b"".join(whole[:5]))
    report = verify(tmp_path)
    noted = (report.last_seq, report.head.upper())
    (tmp_path / "000000000001.jsonl").write_bytes(b"".join(whole))
    assert verify(tmp_path, expected_head=noted).ok
    (finding,) = verify(tmp_path, expected_head=(6, report.head)).findings
    assert "not the one whose hash was noted" in finding.text
    (finding,) = verify(tmp_path, expected_head=(0, "0" * 64)).findings
    assert "is not in the journal" in finding.text


def test_missing_segment_is_found(make_journal: MakeJournal) -> None:
    """Its records' numbers are named; a missing first segment too, unless it was retired on purpose."""
    journal = make_journal(segment_bytes=1500)
    fill(journal)
    (_, first), (second_seq, second), (third_seq, _), *_ = segments_in(journal.directory)
    saved = second.read_bytes()
    second.unlink()
    (finding,) = verify(journal.directory).findings
    assert f"missing: records {second_seq} to {third_seq - 1}; removed" in finding.text
    second.write_bytes(saved)
    first.unlink()
    (finding,) = verify(journal.directory).findings
    assert f"records 1 to {second_seq - 1}, before the first" in finding.text
    assert verify(journal.directory, first_seq=second_seq).ok


def test_emptied_torn_and_renamed_segments_are_found(make_journal: MakeJournal) -> None:
    """A segment's file is checked too: empty, cut, or under a name that is not its first record's."""
    journal = make_journal(segment_bytes=1500)
    fill(journal)
    (_, first), (second_seq, second), *_ = segments_in(journal.directory)
    saved = second.read_bytes()
    second.write_bytes(b"")
    assert [f.kind for f in verify(journal.directory).findings] == [FindingKind.SEGMENT, FindingKind.MISSING]
    second.write_bytes(saved[:-1])
    assert [f.kind for f in verify(journal.directory).findings] == [FindingKind.TORN, FindingKind.MISSING]
    second.write_bytes(saved)
    renamed = second.rename(second.with_name(f"{second_seq + 1:012d}.jsonl"))
    assert [f.kind for f in verify(journal.directory).findings] == [FindingKind.SEGMENT]
    assert not verify(renamed).ok
    assert verify(first).ok


def test_newest_segment_may_be_empty(make_journal: MakeJournal) -> None:
    """A worker killed just after it opened a segment has done nothing wrong."""
    journal = make_journal()
    fill(journal)
    (journal.directory / "000000000013.jsonl").touch()
    assert verify(journal.directory).ok


def test_single_segment_in_the_middle_may_begin_anywhere(make_journal: MakeJournal) -> None:
    """One file on its own is checked for what it holds."""
    journal = make_journal(segment_bytes=1500)
    fill(journal)
    second_seq, second = segments_in(journal.directory)[1]
    report = verify(second)
    assert report.ok
    assert report.first_seq == second_seq


def test_first_record_that_claims_a_predecessor_is_found(tmp_path: Path) -> None:
    """Record 1 begins the chain."""
    whole = list(sound_lines()[0])
    whole[0] = whole[0].replace(b"0" * 64, b"f" * 64)
    assert FindingKind.ALTERED in kinds(tmp_path, b"".join(whole))


def test_endless_line_and_endless_findings_take_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made to exhaust the verifier is one finding per line, and no more findings than the bound."""
    whole = list(sound_lines()[0])
    monkeypatch.setattr(verify_module, "MAX_LINE_BYTES", 5000)
    assert kinds(tmp_path, b"".join([*whole[:4], b"x" * 12_000 + b"\n", *whole[5:]])) == [FindingKind.NOT_A_RECORD]
    assert kinds(tmp_path, b"x" * 12_000) == [FindingKind.NOT_A_RECORD]
    monkeypatch.setattr(verify_module, "MAX_FINDINGS", 10)
    (tmp_path / "000000000001.jsonl").write_bytes(b"x\n" * 25)
    report = verify(tmp_path)
    assert (len(report.findings), report.findings_left_out, report.ok) == (10, 15, False)


@pytest.mark.parametrize("value", [b"[" * 100_000, b'{"a":' * 100_000, b'"\xff"', b'"\xed\xa0\x80"', b"1e999"])
def test_value_made_to_trip_the_verifier_is_a_finding(tmp_path: Path, value: bytes) -> None:
    """Nested so deeply that no parser follows, no UTF-8, no number: the line is named, and those around it are read."""
    whole = list(sound_lines()[0])
    whole[4] = whole[4].replace(b'"acme"', value)
    assert kinds(tmp_path, b"".join(whole))[0] in {FindingKind.NOT_A_RECORD, FindingKind.ALTERED}
    report = verify(tmp_path)
    assert (report.findings[0].line, report.last_seq) == (5, RECORDS)


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    """An absent or empty path is not a sound journal."""
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(EvidenceError, match="cannot verify"):
            verify(path)


def test_line_being_written_is_read_to_its_end(make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that meets the worker in the middle of a write reads on instead of crying torn."""
    journal = make_journal()
    fill(journal)
    (_, segment) = segments_in(journal.directory)[0]
    data = segment.read_bytes()

    class Growing:
        """A file whose last line arrives in two parts."""

        def __init__(self) -> None:
            self.parts = [
                *data.splitlines(keepends=True)[:-1],
                *(data.splitlines(keepends=True)[-1].partition(b'"at"')),
            ]

        def readline(self, size: int) -> bytes:
            return self.parts.pop(0) if self.parts else b""

        def __enter__(self) -> Growing:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

    monkeypatch.setattr(Path, "open", lambda self, mode: Growing())
    assert verify(segment).ok
