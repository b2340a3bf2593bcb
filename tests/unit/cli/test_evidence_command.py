"""`edge-proxy evidence verify` as an operator runs it: what to note elsewhere, and what to hand in again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_proxy.evidence.journal import Journal
from tests.kit.proxy_process import run_command

ATTEMPT = b'{"kind":"attempt","customer":"acme"}'


@pytest.fixture
def heads(tmp_path: Path) -> list[tuple[int, str]]:
    """Two workers' journals in the directory, of two records and of three."""
    found = []
    for worker in range(2):
        journal = Journal(data_dir=tmp_path, worker=worker, ring_dir=tmp_path, ring_bytes=65536)
        journal.open()
        for _ in range(2 + worker):
            assert journal.put(ATTEMPT)
        journal.close()
        found.append(journal.head)
    return found


def test_each_worker_of_several_has_its_head_told(tmp_path: Path, heads: list[tuple[int, str]]) -> None:
    """One line each and the sum; the heads are what removal of the newest lines is found against."""
    done = run_command("evidence", "verify", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    evidence = tmp_path / "evidence"
    assert done.stdout.splitlines() == [
        f"{evidence / 'worker-0'}: intact, 2 records (2 attempts, 0 ends), head 2:{heads[0][1]}",
        f"{evidence / 'worker-1'}: intact, 3 records (3 attempts, 0 ends), head 3:{heads[1][1]}",
        f"{tmp_path}: intact, 5 records (5 attempts, 0 ends)",
    ]
    said = json.loads(run_command("evidence", "verify", "--json", tmp_path).stdout)
    assert [(one["last_seq"], one["head"]) for one in said["workers"]] == heads


def test_head_of_one_worker_is_handed_in_with_its_journal(tmp_path: Path, heads: list[tuple[int, str]]) -> None:
    """With all of them it is refused, and the text says which to name."""
    head = f"{heads[1][0]}:{heads[1][1]}"
    done = run_command("evidence", "verify", "--head", head, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    journal = tmp_path / "evidence/worker-1"
    assert done.stderr.rstrip().endswith(f" or {journal}")
    assert run_command("evidence", "verify", "--head", head, journal).returncode == 0
    segment = journal / "000000000001.jsonl"
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
    assert run_command("evidence", "verify", journal).returncode == 0
    done = run_command("evidence", "verify", "--head", head, journal)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        1,
        f"{journal}: 1 finding in 2 records (2 attempts, 0 ends)",
    )
