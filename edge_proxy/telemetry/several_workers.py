"""One page of metrics for several workers: each has a page of its own, and this adds them up.

Counters and histograms are summed, and never go down when a worker is replaced: what was last read of a life that is
over stays in the sum. Gauges are summed over the workers that are up, but for those where the sum says nothing, such
as versions. What only the supervisor knows (who is up, how often one was replaced, reloads) it writes on a board in
shared memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Key = tuple[str, tuple[tuple[str, str], ...]]
Page = dict[str, Metric]

_FETCH_S: Final = 3.0
_LIFE: Final = "process_start_time_seconds"
"""Two lives of a worker differ in it."""

_RECEIVED: Final = "edge_proxy_messages_received"
_ADDED_UP: Final = frozenset({"counter", "histogram", "summary"})
_SMALLEST: Final = frozenset(
    {"edge_proxy_snapshot_loaded_timestamp_seconds", "edge_proxy_target_up", "process_max_fds", _LIFE}
)
_LARGEST: Final = frozenset(
    {
        "edge_proxy_build_info",
        "edge_proxy_snapshot_info",
        "edge_proxy_asn_info",
        "edge_proxy_asn_table_ranges",
        "edge_proxy_owned_numbers",
        "edge_proxy_trunk_committed_rate_bytes_per_second",
        "edge_proxy_target_draining",
        "edge_proxy_target_reduction_ratio",
        "edge_proxy_overload_reduction_ratio",
        "edge_proxy_limit_entries",
        "edge_proxy_scanners_ignored",
        "edge_proxy_names",
        "edge_proxy_names_stale",
        "python_info",
    }
)
_OF_THE_SUPERVISOR: Final = frozenset({"edge_proxy_ready", "edge_proxy_reloads"})


class HandOvers(Protocol):
    """What a worker counts of the messages that landed with one and belonged to another (see transport/mesh.py)."""

    handed_over: int
    taken_over: int
    carried: int
    lost: int


class HandOverCollector(Collector):
    """On the page of one worker of several."""

    def __init__(self, counts: HandOvers) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "edge_proxy_hand_overs",
            "Messages that landed with a worker that does not own their call: sent on, received so, lost on the way; "
            "carried are those sent for another over a connection that this one holds.",
            labels=["result"],
        )
        for result, count in (
            ("sent", self._counts.handed_over),
            ("received", self._counts.taken_over),
            ("carried", self._counts.carried),
            ("lost", self._counts.lost),
        ):
            family.add_metric([result], count)
        yield family


class Board:
    """What the supervisor tells the process that answers scrapes: a row of integers in memory that both have."""

    def __init__(self, memory: memoryview, workers: int) -> None:
        """`memory` is at least `size(workers)` bytes, all zero at first."""
        self._words = memory.cast("Q")
        self.workers = workers

    @staticmethod
    def size(workers: int) -> int:
        return 8 * (2 + 3 * workers)

    def count_reload(self, *, is_good: bool) -> None:
        self._words[0 if is_good else 1] += 1

    def set_ready(self, worker: int, *, is_ready: bool) -> None:
        self._words[2 + 3 * worker] = is_ready

    def count_replacement(self, worker: int) -> None:
        self._words[3 + 3 * worker] += 1

    def set_refusing(self, worker: int, *, is_refusing: bool) -> None:
        """Told by the worker itself: its evidence has no room, and so it refuses calls."""
        self._words[4 + 3 * worker] = is_refusing

    @property
    def reloads(self) -> dict[str, int]:
        return {"ok": self._words[0], "failed": self._words[1]}

    def is_ready(self, worker: int) -> bool:
        return bool(self._words[2 + 3 * worker])

    def replacements(self, worker: int) -> int:
        return self._words[3 + 3 * worker]

    @property
    def all_ready(self) -> bool:
        return all(self.is_ready(worker) for worker in range(self.workers))

    @property
    def all_serve(self) -> bool:
        """Every worker is up, and none refuses calls: each gets its share of them."""
        return self.all_ready and not any(self._words[4 + 3 * worker] for worker in range(self.workers))


class _Lives:
    """The counters of one worker over all its lives, as far as they were read."""

    def __init__(self) -> None:
        self.latest: dict[str, dict[Key, float]] = {}
        """By the name of the family."""
        self.before: dict[str, dict[Key, float]] = {}
        self._life = -1.0

    def read(self, page: Page) -> None:
        """Take the counters of a page; a new life's begin at nothing."""
        life = next((sample.value for metric in _of(page, _LIFE) for sample in metric.samples), 0.0)
        if life != self._life:
            self._life = life
            for name, values in self.latest.items():
                _add(self.before.setdefault(name, {}), values)
            self.latest = {}
        for metric in page.values():
            if metric.type in _ADDED_UP:
                values = {(sample.name, tuple(sample.labels.items())): sample.value for sample in metric.samples}
                self.latest[metric.name] = values

    def add_to(self, totals: dict[Key, float], name: str) -> None:
        """Add the counters of one family."""
        _add(totals, self.before.get(name, {}))
        _add(totals, self.latest.get(name, {}))


class AddedUpCollector(Collector):
    """Reads the workers' pages at each scrape. `fetch[n]` gives the text of worker n's, or raises OSError."""

    def __init__(self, fetch: Sequence[Callable[[], str]], board: Board) -> None:
        self._fetch = fetch
        self._board = board
        self._lives = [_Lives() for _ in fetch]
        self._known: Page = {}
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            pages = [page for number in range(len(self._fetch)) if (page := self._page(number)) is not None]
            families = [*self._own(), *self._added_up(pages)]
        yield from families

    def _page(self, number: int) -> Page | None:
        """A worker's page; None when it is not up: its counters are taken as they were last read."""
        if not self._board.is_ready(number):
            return None
        try:
            text = self._fetch[number]()
        except OSError:
            return None
        page = {metric.name: metric for metric in text_string_to_metric_families(text)}
        self._lives[number].read(page)
        self._known |= page
        return page

    def _added_up(self, pages: Sequence[Page]) -> Iterator[Metric]:
        for name, known in self._known.items():
            if name in _OF_THE_SUPERVISOR:
                continue
            family = Metric(name, known.documentation, known.type)
            keys: dict[Key, float] = {}
            if known.type in _ADDED_UP:
                for lives in self._lives:
                    lives.add_to(keys, name)
            else:
                for metric in (metric for page in pages for metric in _of(page, name)):
                    for sample in metric.samples:
                        key = (sample.name, tuple(sample.labels.items()))
                        keys[key] = sample.value if key not in keys else _together(name, keys[key], sample.value)
            for (sample_name, labels), value in keys.items():
                family.add_sample(sample_name, dict(labels), value)
            yield family

    def _own(self) -> Iterator[Metric]:
        board = self._board
        yield GaugeMetricFamily("edge_proxy_ready", "1 when every worker serves.", value=int(board.all_serve))
        reloads = CounterMetricFamily("edge_proxy_reloads", "Reloads of the configuration.", labels=["result"])
        for result, count in board.reloads.items():
            reloads.add_metric([result], count)
        up = GaugeMetricFamily("edge_proxy_worker_up", "Whether a worker is up.", labels=["worker"])
        replaced = CounterMetricFamily(
            "edge_proxy_worker_replacements", "How often a worker that had ended was replaced.", labels=["worker"]
        )
        received = CounterMetricFamily(
            "edge_proxy_worker_messages_received", "Messages received by the owner of their call.", labels=["worker"]
        )
        for number, lives in enumerate(self._lives):
            up.add_metric([str(number)], int(board.is_ready(number)))
            replaced.add_metric([str(number)], board.replacements(number))
            counts: dict[Key, float] = {}
            lives.add_to(counts, _RECEIVED)
            received.add_metric([str(number)], sum(counts.values()))
        yield from (reloads, up, replaced, received)


def page_reader(port: int) -> Callable[[], str]:
    """Reads the page that a worker serves on this port of loopback."""

    def read() -> str:
        connection = HTTPConnection("127.0.0.1", port, timeout=_FETCH_S)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except HTTPException as error:
            raise OSError(f"no page from port {port}: {error!r}") from error
        finally:
            connection.close()

    return read


def _of(page: Page, name: str) -> Iterator[Metric]:
    metric = page.get(name)
    if metric is not None:
        yield metric


def _add(totals: dict[Key, float], values: dict[Key, float]) -> None:
    for key, value in values.items():
        totals[key] = totals.get(key, 0.0) + value


def _together(name: str, one: float, other: float) -> float:
    if name in _SMALLEST:
        return min(one, other)
    return max(one, other) if name in _LARGEST else one + other
