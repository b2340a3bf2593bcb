"""Two cores that share what workers share, each with its own conversation and the same clock."""

from __future__ import annotations

from edge_proxy.pipeline.core import Pipeline
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import Reason
from edge_proxy.transport.shared_limits import LimitTables, WorkerLimits
from edge_proxy.transport.shared_sources import SourceTables
from tests.kit.playbook import Playbook


class Worker(Playbook):
    """One of several: what it has seen of limits and of strangers is in tables that the others see."""

    def __init__(self, tables: LimitTables, sources: SourceTables, number: int, snapshot: Snapshot) -> None:
        self._tables, self._sources, self._number = tables, sources, number
        super().__init__(snapshot=snapshot)

    def _start(self) -> Pipeline:
        pipeline = super()._start()
        self._tables.forget_calls(self._number)  # as the supervisor does when it reaps a worker
        self.limits = WorkerLimits(self._tables, self._number)
        pipeline.decider.limiter.share(self.limits)
        sources = self._sources
        pipeline.scanners.share(sources.seen, sources.ignored, sources.vouched, sources.lock)
        return pipeline

    def _collect(self) -> None:
        seen = len(self.records)
        super()._collect()
        self.limits.follow(self.records[seen:], self.pipeline.calls)

    @property
    def reasons(self) -> list[Reason]:
        return [attempt.verdict.reason for attempt in self.attempts]


def two_workers(snapshot: Snapshot) -> tuple[Worker, Worker]:
    tables = LimitTables(2)
    sources = SourceTables(tables.lock)
    return Worker(tables, sources, 0, snapshot), Worker(tables, sources, 1, snapshot)
