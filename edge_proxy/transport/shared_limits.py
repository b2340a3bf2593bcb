"""What several workers know of their customers together: calls that are up, and the rate, in memory that all share.

Each customer with limits has a row: a token bucket, and for each worker how many calls it has up. Whoever admits a
call holds a lock from the question to the answer, so a limit holds exactly over all workers. The lock is the kernel's
(fcntl) and is released when its holder dies; it is held for microseconds. A worker's own count is written by that
worker only, anew with every record it keeps, and set to nothing when another takes its place.

What a table has no row for any more (more customers with limits than `ROWS`) is limited in each worker by itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from typing import Final

from edge_proxy.addr import Monotonic
from edge_proxy.policy.token_buckets import Key, TokenBuckets

ROWS: Final = 16_384
_SHARED_KINDS: Final = frozenset({"customer", "messages"})


class LimitTable:
    """The memory, made by the supervisor before there are workers."""

    def __init__(self, workers: int, rows: int = ROWS) -> None:
        self.rows = rows
        self.workers = workers
        self.fd = os.memfd_create("edge-proxy-limits")
        names, floats, counts = 8 * rows, 16 * rows, 4 * rows
        os.ftruncate(self.fd, names + floats + counts * workers)
        memory = memoryview(mmap.mmap(self.fd, 0))
        self.names = memory[:names].cast("Q")
        """The hash of the customer that has the row; 0: nobody."""
        self.levels = memory[names : names + floats // 2].cast("d")
        self.times = memory[names + floats // 2 : names + floats].cast("d")
        """When the level was written; 0: never, so the bucket is full."""
        self.active = [memory[at : at + counts].cast("I") for at in range(names + floats, len(memory), counts)]


class SharedLimits:
    """One worker's hand in the table. As a context it is the lock."""

    def __init__(self, table: LimitTable, worker: int) -> None:
        self._table = table
        self._own = table.active[worker]
        self._others = [counts for number, counts in enumerate(table.active) if number != worker]
        self._places: dict[tuple[str, str], int] = {}
        for row in range(table.rows):
            self._own[row] = 0

    def __enter__(self) -> None:
        fcntl.lockf(self._table.fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._table.fd, fcntl.LOCK_UN)

    def others(self, customer: str) -> int:
        """Calls that the customer has up with the other workers."""
        row = self._row("customer", customer)
        return 0 if row < 0 else sum(counts[row] for counts in self._others)

    def publish(self, customer: str, active: int) -> None:
        """Tell the others how many calls of the customer are up here. Only customers with limits have a row."""
        row = self._places.get(("customer", customer), -1)
        if row >= 0:
            self._own[row] = active

    def enter(self, customer: str, active: int) -> None:
        """Give a customer its row, if it has none yet, and publish; the lock must be held."""
        self._row("customer", customer)
        self.publish(customer, active)

    def level(self, key: Key, rate: float, depth: float, now: Monotonic) -> float | None:
        """The tokens in a customer's bucket; None: it has no row."""
        row = self._row(key[0], key[1])
        if row < 0:
            return None
        since = self._table.times[row]
        return depth if not since else min(depth, self._table.levels[row] + (now - since) * rate)

    def set_level(self, key: Key, level: float, now: Monotonic) -> None:
        row = self._row(key[0], key[1])
        self._table.levels[row] = level
        self._table.times[row] = now

    def _row(self, kind: str, customer: str) -> int:
        """The customer's row, given to it now if it has none; -1 when all are taken."""
        row = self._places.get((kind, customer))
        if row is None:
            name = int.from_bytes(hashlib.blake2b(f"{kind} {customer}".encode(), digest_size=8).digest()) or 1
            names, rows = self._table.names, self._table.rows
            row = next(
                (at % rows for at in range(name % rows, name % rows + rows) if names[at % rows] in {0, name}), -1
            )
            if row >= 0:
                names[row] = name
            self._places[kind, customer] = row
        return row


class SharedBuckets:
    """Token buckets of which the customers' own are shared by all workers, and the others are this worker's."""

    def __init__(self, shared: SharedLimits) -> None:
        self._shared = shared
        self._own = TokenBuckets()

    def __len__(self) -> int:
        return len(self._own)

    @property
    def forgotten(self) -> int:
        return self._own.forgotten

    def wait_s(self, key: Key, rate: float, depth: float, now: Monotonic) -> float:
        level = self._shared.level(key, rate, depth, now) if key[0] in _SHARED_KINDS else None
        if level is None:
            return self._own.wait_s(key, rate, depth, now)
        return 0.0 if level >= 1.0 else (1.0 - level) / rate

    def charge(self, key: Key, rate: float, depth: float, now: Monotonic) -> None:
        level = self._shared.level(key, rate, depth, now) if key[0] in _SHARED_KINDS else None
        if level is None:
            self._own.charge(key, rate, depth, now)
        else:
            self._shared.set_level(key, level - 1.0, now)
