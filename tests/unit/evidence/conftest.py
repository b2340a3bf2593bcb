"""Journals in a temporary directory, closed when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_proxy.evidence.journal import Journal
from edge_proxy.evidence.ring import HEADER_BYTES

MakeJournal = Callable[..., Journal]


@pytest.fixture
def make_journal(tmp_path: Path) -> Iterator[MakeJournal]:
    """Make journals of worker 0 on one data directory, with a small ring; not opened."""
    made: list[Journal] = []

    def make(*, segment_bytes: int = 1 << 20, ring_bytes: int = 16 * HEADER_BYTES, worker: int = 0) -> Journal:
        journal = Journal(
            data_dir=tmp_path / "data",
            worker=worker,
            ring_dir=tmp_path,
            ring_bytes=ring_bytes,
            segment_bytes=segment_bytes,
            sync_interval_s=0.01,
        )
        made.append(journal)
        return journal

    yield make
    for journal in made:
        journal.close()
