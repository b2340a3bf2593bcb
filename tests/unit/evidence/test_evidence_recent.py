"""Which calls' ends the newest lines of a journal hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.evidence import recent
from edge_proxy.evidence.journal import Journal
from edge_proxy.evidence.recent import recent_ends


def put(journal: Journal, kind: str, number: int, more: str = "") -> None:
    assert journal.put(f'{{"kind":"{kind}","id":"{number:016x}"{more}}}'.encode())


def journal_at(tmp_path: Path, segment_bytes: int = 1 << 20) -> Journal:
    return Journal(data_dir=tmp_path, worker=0, ring_dir=tmp_path, segment_bytes=segment_bytes)


def test_ends_are_told_oldest_first_and_attempts_are_not(tmp_path: Path) -> None:
    """Over several segments, those of a process that was killed included."""
    journal = journal_at(tmp_path, 4096)
    journal.open()
    for number in range(60):
        put(journal, "attempt", number, ',"call_id":"\\n{\\"seq\\":1,\\"kind\\":\\"end\\"}"')
        put(journal, "end", number + 1000)
    journal.close()
    assert len(list(journal.directory.glob("*.jsonl"))) > 2
    assert recent_ends(journal.directory) == list(range(1000, 1060))


def test_only_a_bounded_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_NEWEST_BYTES", 2000)
    journal = journal_at(tmp_path)
    journal.open()
    for number in range(1000):
        put(journal, "end", number)
    journal.close()
    ends = recent_ends(journal.directory)
    assert 5 < len(ends) < 20
    assert ends == list(range(1000 - len(ends), 1000))


def test_no_journal_no_ends(tmp_path: Path) -> None:
    assert recent_ends(tmp_path / "nowhere") == []
    assert recent_ends(tmp_path) == []
    (tmp_path / "000000000001.jsonl").mkdir()
    assert recent_ends(tmp_path) == []
    (tmp_path / "000000000001.jsonl").rmdir()
    (tmp_path / "000000000001.jsonl").write_bytes(b"\0" * 1000 + b'\n{"seq":1,"prev":"x"')
    assert recent_ends(tmp_path) == []
