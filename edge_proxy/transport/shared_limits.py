"""What several workers have seen together, and what is up with each of them: every limit holds over all workers.

Whoever admits an attempt holds the lock from the first question to the last charge, so each limit is exact to the
call. Calls that are up are counted in a column for each worker, which only that worker writes, without the lock: a
hang-up waits for nobody. The column of a worker that ended is emptied by the supervisor, so that nothing is held for
calls that nobody will see end; rates and what was seen of behaviour stay. Everything survives a reload.

Windows (an hour's calls, short calls, refusals for spoofing) are counted in 240 parts: never more than allowed within
the window, and room again up to a 240th of it late. The tables are of a fixed size (shared_table.py). Calls that find
no row, since so many numbers have calls up, are counted by each worker for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from edge_proxy.addr import E164, Monotonic
from edge_proxy.pipeline.calls import CallBook
from edge_proxy.pipeline.records import Attempt, Record
from edge_proxy.policy.behaviour import HOUR_S, Run, next_run, short_calls_excess, span_around
from edge_proxy.policy.call_limits import SequenceLimits, ShortCallLimits, SpoofLimits
from edge_proxy.policy.parties import Customer
from edge_proxy.policy.token_buckets import Key
from edge_proxy.transport.shared_table import WAYS, SharedLock, SharedTable, name_of, shared_floats, shared_integers

PARTS: Final = 240
_RING: Final = PARTS + 1
_OF_CUSTOMERS: Final = frozenset({"customer", "messages"})


@lru_cache(maxsize=16_384)
def _name(key: Key, more: str = "") -> int:
    kind, customer, number = key
    return name_of(f"{kind} {number} {more} {customer}")


class LimitTables:
    """The memory, made by the supervisor before there are workers."""

    def __init__(
        self,
        workers: int,
        *,
        customers: int = 16_384,
        rates: int = 131_072,
        runs: int = 16_384,
        spans: int = 65_536,
        windows: int = 16_384,
        held: int = 65_536,
    ) -> None:
        self.lock = SharedLock()
        self.buckets = SharedBuckets(customers, rates)
        self.runs = SharedRuns(runs)
        self.spans = SharedSpans(spans)
        self.windows = SharedWindows(windows)
        self.held = HeldCalls(workers, held)

    def forget_calls(self, worker: int) -> None:
        """This worker has ended: no call is up with it."""
        self.held.clear(worker)


class WorkerLimits:
    """One worker's hand in the tables (policy.limits.SharedLimits). As a context it is the lock."""

    def __init__(self, tables: LimitTables, worker: int) -> None:
        self.buckets = tables.buckets
        self.runs = tables.runs
        self.spans = tables.spans
        self.hours = SharedHours(tables.windows)
        self.bursts = SharedBursts(tables.windows)
        self._tables = tables
        self._lock = tables.lock
        self._held = tables.held
        self._own = tables.held.counts[worker]
        self._others = [counts for number, counts in enumerate(tables.held.counts) if number != worker]
        self._rows: dict[Key, int] = {}
        """Of what has calls up here: nobody else takes such a row."""

    def __enter__(self) -> None:
        self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()

    @property
    def missed(self) -> int:
        return self._lock.missed

    @property
    def forgotten(self) -> int:
        tables = self._tables
        kept = tables.buckets.forgotten + tables.runs.forgotten + tables.spans.forgotten
        return kept + tables.windows.forgotten + tables.held.refused

    def short_calls(self, customer: str, limits: ShortCallLimits) -> SharedShortCalls:
        return SharedShortCalls(self._tables.windows, self._lock, customer, limits)

    def others(self, key: Key) -> int:
        row = self._rows.get(key, -1)
        if row < 0:
            row = self._held.find(_name(key))
        return 0 if row < 0 else sum(counts[row] for counts in self._others)

    def hold(self, key: Key, count: int) -> None:
        row = self._rows.get(key, -1)
        if row < 0:
            row = self._held.claim(_name(key))
            if row < 0:
                return
            self._rows[key] = row
        self._own[row] = count

    def settle(self, key: Key, count: int) -> None:
        """So many calls count against this key here now; needs no lock, and does nothing for what is not held."""
        row = self._rows.get(key, -1)
        if row >= 0:
            self._own[row] = count
            if not count:
                del self._rows[key]

    def hold_customers(self, customers: Iterable[Customer], calls: CallBook) -> None:
        """New data: some customers may be held to a number of calls only now, while they have calls up."""
        limited = [one.id for one in customers if one.limits.concurrent_calls is not None]
        active = {customer: count for customer in limited if (count := calls.active_of(customer))}
        with self:
            for customer, count in active.items():
                self.hold(("customer", customer, 0), count)

    def follow(self, records: Sequence[Record], calls: CallBook) -> None:
        """Calls have begun and ended here: tell the others how many there are now, of what limits ask for."""
        if not self._rows:
            return
        for record in records:
            self.settle(("customer", record.customer, 0), calls.active_of(record.customer))
            attempt = record if isinstance(record, Attempt) else record.attempt
            for key in () if attempt is None else attempt.holds:
                self.settle(key, calls.held.get(key, 0))


class HeldCalls:
    """How many calls each worker has up for each name. A row with none is free; one with some is never taken away."""

    def __init__(self, workers: int, rows: int) -> None:
        self.counts = [shared_integers("I", rows) for _ in range(workers)]
        self.refused = 0
        """Times that this process found no row for a name."""
        self._table = SharedTable(rows)
        self.find = self._table.find

    def claim(self, name: int) -> int:
        """The row of this name, given to it now if it has none; -1: all that it may have are taken."""
        row = self.find(name)
        if row >= 0:
            return row
        names = self._table.names
        first = name % (len(names) // WAYS) * WAYS
        rows = range(first, first + WAYS)
        row = next((row for row in rows if not any(counts[row] for counts in self.counts)), -1)
        if row < 0:
            self.refused += 1
        else:
            names[row] = name
        return row

    def clear(self, worker: int) -> None:
        counts = self.counts[worker]
        counts.cast("B")[:] = bytes(counts.nbytes)


class SharedBuckets:
    """Token buckets (policy.token_buckets.Buckets). Those of customers have a table of their own, so that nobody who
    calls ever new numbers pushes them out."""

    def __init__(self, customers: int, rates: int) -> None:
        self._tables = (_BucketTable(rates), _BucketTable(customers))

    def __len__(self) -> int:
        return sum(len(table.rows) for table in self._tables)

    @property
    def forgotten(self) -> int:
        return sum(table.rows.forgotten for table in self._tables)

    def wait_s(self, key: Key, rate: float, depth: float, now: Monotonic) -> float:
        table = self._tables[key[0] in _OF_CUSTOMERS]
        row = table.rows.find(_name(key))
        if row < 0:
            return 0.0
        tokens = min(depth, table.levels[row] + (now - table.times[row]) * rate)
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / rate

    def charge(self, key: Key, rate: float, depth: float, now: Monotonic) -> None:
        table = self._tables[key[0] in _OF_CUSTOMERS]
        row, is_new = table.rows.claim(_name(key), now)
        level = depth if is_new else min(depth, table.levels[row] + (now - table.times[row]) * rate)
        table.levels[row] = level - 1.0
        table.times[row] = now
        table.rows.untils[row] = now + (depth - level + 1.0) / rate


class _BucketTable:
    def __init__(self, rows: int) -> None:
        self.rows = SharedTable(rows)
        self.levels = shared_floats(rows)
        self.times = shared_floats(rows)


class SharedRuns:
    """The runs of called numbers (policy.behaviour.Runs)."""

    def __init__(self, rows: int) -> None:
        self._table = SharedTable(rows)
        self._last = shared_integers("Q", rows)
        self._numbers = shared_integers("I", rows)
        self._steps = shared_integers("b", rows)
        self._times = shared_floats(rows)

    @property
    def forgotten(self) -> int:
        return self._table.forgotten

    def observe(self, caller: Key, called: E164, limits: SequenceLimits, now: Monotonic) -> Run:
        row, is_new = self._table.claim(_name(caller), now)
        before = None
        if not is_new:
            at = Monotonic(self._times[row])
            before = Run(E164(self._last[row]), self._numbers[row], self._steps[row], at)
        run = next_run(before, called, limits, now)
        self._last[row], self._numbers[row], self._steps[row], self._times[row] = run
        self._table.untils[row] = run.at + limits.within_s
        return run


class SharedSpans:
    """The spans of called numbers by the customer (policy.behaviour.Spans)."""

    def __init__(self, rows: int) -> None:
        self._table = SharedTable(rows)
        self._others = shared_integers("Q", rows)
        self._times = shared_floats(rows)

    @property
    def forgotten(self) -> int:
        return self._table.forgotten

    def observe(self, customer: str, called: E164, within_s: float, now: Monotonic) -> int:
        def other_end(number: E164) -> E164 | None:
            row = self._table.find(_called_by(customer, number))
            return None if row < 0 or now - self._times[row] > within_s else E164(self._others[row])

        low, high = span_around(called, other_end)
        for number, other in ((called, low), (low, high), (high, low)):
            row, _ = self._table.claim(_called_by(customer, number), now)
            self._others[row], self._times[row] = other, now
            self._table.untils[row] = now + within_s
        return high - low + 1


def _called_by(customer: str, number: E164) -> int:
    return name_of(f"called {number} {customer}")


class SharedWindows:
    """How often each name was met within its window, in parts of a 240th."""

    def __init__(self, rows: int) -> None:
        self._table = SharedTable(rows)
        self._newest = shared_integers("q", rows)
        self._counts = shared_integers("I", rows * _RING)

    @property
    def forgotten(self) -> int:
        return self._table.forgotten

    def add(self, name: int, window_s: float, now: Monotonic) -> None:
        row, is_new = self._table.claim(name, now)
        if is_new:
            self._newest[row] = -_RING  # all of it is old
        part = self._move_on(row, window_s, now)
        self._counts[row * _RING + part % _RING] += 1
        self._table.untils[row] = now + window_s

    def count(self, name: int, window_s: float, now: Monotonic) -> int:
        row = self._table.find(name)
        if row < 0:
            return 0
        self._move_on(row, window_s, now)
        return sum(self._counts[row * _RING : (row + 1) * _RING].tolist())

    def wait_s(self, name: int, most: int, window_s: float, now: Monotonic) -> float:
        """How long until there are fewer than `most`."""
        row = self._table.find(name)
        left = self.count(name, window_s, now)
        part = int(now / window_s * PARTS)
        for oldest in range(part - PARTS, part + 1):
            if left < most:
                break
            left -= self._counts[row * _RING + oldest % _RING]
            part = oldest + _RING
        return max(0.0, part * window_s / PARTS - now)

    def _move_on(self, row: int, window_s: float, now: Monotonic) -> int:
        """The part that is now; those that are older than the window are emptied."""
        part = int(now / window_s * PARTS)
        newest = self._newest[row]
        if part <= newest:
            return int(newest)
        first = row * _RING
        for old in range(max(newest + 1, part - PARTS), part + 1):
            self._counts[first + old % _RING] = 0
        self._newest[row] = part
        return part


class SharedHours:
    """Calls of the last hour (policy.behaviour.HourCounts)."""

    def __init__(self, windows: SharedWindows) -> None:
        self._windows = windows

    def count(self, key: Key, now: Monotonic) -> int:
        return self._windows.count(_name(key, "hour"), HOUR_S, now)

    def wait_s(self, key: Key, most: int, now: Monotonic) -> float:
        return self._windows.wait_s(_name(key, "hour"), most, HOUR_S, now)

    def charge(self, key: Key, now: Monotonic) -> None:
        self._windows.add(_name(key, "hour"), HOUR_S, now)


class SharedBursts:
    """Refusals for a claimed identity (policy.behaviour.Bursts)."""

    def __init__(self, windows: SharedWindows) -> None:
        self._windows = windows

    def observe(self, source: Key, limits: SpoofLimits, now: Monotonic) -> None:
        self._windows.add(_name(source, f"spoofed {limits.window_s}"), limits.window_s, now)

    def is_on(self, source: Key, limits: SpoofLimits, now: Monotonic) -> bool:
        name = _name(source, f"spoofed {limits.window_s}")
        return self._windows.count(name, limits.window_s, now) >= limits.refusals


class SharedShortCalls:
    """The answered calls of one customer (policy.behaviour.ShortCallWatch)."""

    def __init__(self, windows: SharedWindows, lock: SharedLock, customer: str, limits: ShortCallLimits) -> None:
        self.limits = limits
        self._windows = windows
        self._lock = lock
        self._answered, self._short = (
            name_of(f"{kind} {limits.window_s} {limits.shorter_than_s} {customer}") for kind in ("answered", "short")
        )

    def observe(self, duration_s: float, now: Monotonic) -> None:
        """An answered call is over: nobody holds the lock for that yet."""
        with self._lock:
            self._windows.add(self._answered, self.limits.window_s, now)
            if duration_s < self.limits.shorter_than_s:
                self._windows.add(self._short, self.limits.window_s, now)

    def excess(self, now: Monotonic) -> str:
        short, answered = (
            self._windows.count(name, self.limits.window_s, now) for name in (self._short, self._answered)
        )
        return short_calls_excess(self.limits, short, answered)
