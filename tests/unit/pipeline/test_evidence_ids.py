"""Evidence ids: what names an attempt in the journal, in the log and to the caller."""

from __future__ import annotations

from edge_proxy.addr import Wall
from edge_proxy.pipeline.records import EvidenceIds, worker_of

NOON = 1_800_000_000.0


def test_id_says_its_second_and_its_worker() -> None:
    """The first 8 hexadecimal digits are the second; the worker can be read from the rest."""
    evidence_id = EvidenceIds(5).next(Wall(NOON + 0.5))
    assert evidence_id >> 32 == int(NOON)
    assert worker_of(evidence_id) == 5


def test_ids_of_two_lives_in_one_second_differ() -> None:
    """A worker that is restarted within a second gives no id again, and its ids come after those of the life before."""
    before, after = EvidenceIds(0), EvidenceIds(0)
    first = [before.next(Wall(NOON + 0.001 * step)) for step in range(300)]
    second = [after.next(Wall(NOON + 0.4 + 0.001 * step)) for step in range(300)]
    assert max(first) < min(second)


def test_ids_grow_also_in_one_moment_and_when_the_clock_is_set_back() -> None:
    """One batch of datagrams shares one time, and an operator may set the clock."""
    ids = EvidenceIds(63)
    given = [ids.next(Wall(at)) for at in (NOON, NOON, NOON, NOON - 5.0, NOON + 1.0, NOON + 1.0)]
    assert given == sorted(set(given))


def test_id_at_the_end_of_a_second_goes_over_into_the_next() -> None:
    """The part of the second never spills into the worker."""
    ids = EvidenceIds(7)
    given = [ids.next(Wall(NOON + 1 - 2**-22)) for _ in range(40)]
    assert given == sorted(set(given))
    assert {worker_of(evidence_id) for evidence_id in given} == {7}
    assert {evidence_id >> 32 for evidence_id in given} == {int(NOON), int(NOON) + 1}
