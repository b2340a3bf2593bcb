"""Take encoded records from the call path into a ring in memory, and move them to a hash-chained journal on disk.

`put` costs a copy and never waits. A thread of the same process, the drainer, moves what the ring holds to
`<data_dir>/evidence/worker-<n>/`, in chunks small enough not to hold the interpreter for long, syncs every
`sync_interval_s`, and only then gives the ring's place back. So a killed process loses nothing that `put` accepted:
`open` moves the ring's remainder into the journal first, and a record that is already there is known by its number.
A power cut loses at most what was accepted since the last sync.

A disk that is full or failing costs nothing while the ring has room; the drainer tries again, less and less often.
Then `put` says no and `has_room` has said so before: whether calls go on without evidence is the caller's decision.
Number gaps in the journal are records that nobody could give back; the verifier names them.

This never decides about a call, never encodes, never deletes a record.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.ring import IDENTITY_BYTES, EvidenceRing, RingDamaged
from edge_proxy.evidence.segments import HAS_CHAIN, SegmentWriter, free_name, sync_directory

DEFAULT_RING_DIR = Path("/dev/shm")  # noqa: S108 - the ring checks owner, type and links of what it opens
DEFAULT_RING_BYTES = 16 * 1024 * 1024
DEFAULT_SEGMENT_BYTES = 64 * 1024 * 1024
IDENTITY_FILE = "journal.id"

_BRACE: Final = 0x7B
_QUOTE: Final = 0x22
_NEWLINE: Final = 0x0A  # asking for a byte by its number costs a tenth of asking for bytes
_POLL_S: Final = 0.05
_LONGEST_POLL_S: Final = 0.2
_ROOMY_BYTES: Final = 4 * 1024 * 1024  # what a ring has to have for the drainer to come as seldom as that
_CHUNK_BYTES: Final = 16 * 1024  # about 25 records: the interpreter is held for less than 0.1 ms
_CATCH_UP_CHUNK_BYTES: Final = 64 * 1024  # once the backlog passes a quarter of the ring, throughput comes first
_UNLOCKED_CHUNK_BYTES: Final = 256 * 1024  # where the interpreter is not held meanwhile
_FIRST_RETRY_S: Final = 0.05
_LAST_RETRY_S: Final = 2.0


@dataclass(slots=True)
class JournalStats:
    """Counters since the journal was made. The first two belong to the call path, the rest to the drainer."""

    records_put: int = 0
    records_refused: int = 0
    """The ring was full, or the record larger than any may be."""
    records_missing: int = 0
    """Numbers the journal had to jump over: accepted once, but neither ring nor journal has them."""
    records_written: int = 0
    """On disk and synced."""
    bytes_written: int = 0
    syncs: int = 0
    write_errors: int = 0
    recovered: int = 0
    """Records found in the ring at `open`, left there by a process that was killed or whose disk was full."""
    torn_lines: int = 0
    damaged_lines: int = 0
    """The journal's last line was no journal line when it was opened."""
    rings_set_aside: int = 0

    @property
    def records_lost(self) -> int:
        return self.records_refused + self.records_missing


class Journal:
    """The evidence of one worker. Inert until `open`; `start` sets the drainer to work; `close` ends both."""

    __slots__ = (
        "_condition",
        "_directory",
        "_drain_lock",
        "_drainer",
        "_flush_target",
        "_lock_fd",
        "_next_sync",
        "_retry_s",
        "_ring",
        "_ring_bytes",
        "_stopping",
        "_sync_interval_s",
        "_wake",
        "_worker",
        "_writer",
        "_written",
        "last_error",
        "stats",
    )

    def __init__(
        self,
        *,
        data_dir: Path,
        worker: int,
        ring_dir: Path | None = None,
        ring_bytes: int = DEFAULT_RING_BYTES,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        sync_interval_s: float = 0.2,
    ) -> None:
        data_dir = Path(os.path.abspath(data_dir))  # noqa: PTH100 - resolve() would read the disk
        name = hashlib.sha256(f"{data_dir}\0{worker}".encode(errors="surrogateescape")).hexdigest()[:16]
        self._directory = data_dir / "evidence" / f"worker-{worker}"
        self._worker = worker
        self._ring = EvidenceRing((ring_dir or DEFAULT_RING_DIR) / f"edge-proxy-{name}-worker-{worker}.ring")
        self._ring_bytes = ring_bytes
        self._writer = SegmentWriter(self._directory, segment_bytes)
        self._sync_interval_s = sync_interval_s
        self._written = 0  # ring position up to which records are in the file, synced or not
        self._next_sync = 0.0
        self._retry_s = 0.0
        self._flush_target = 0
        self._lock_fd = -1
        self._drain_lock = threading.Lock()
        self._condition = threading.Condition()
        self._wake = threading.Event()
        self._stopping = False
        self._drainer: threading.Thread | None = None
        self.stats = JournalStats()
        self.last_error = ""

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def ring_path(self) -> Path:
        return self._ring.path

    # -- the call path -------------------------------------------------------------------------------------------

    def put(self, payload: bytes) -> bool:
        """Accept one encoded record (a JSON object with at least one field, on one line); False: no room for it.

        Raises EvidenceError on bytes that would break the journal: a bug in the caller.
        """
        if len(payload) < 2 or payload[0] != _BRACE or payload[1] != _QUOTE or _NEWLINE in payload:
            raise EvidenceError("cannot keep a record: not one JSON object on one line")
        if self._ring.put(payload):
            self.stats.records_put += 1
            return True
        self.stats.records_refused += 1
        return False

    @property
    def has_room(self) -> bool:
        """The next record will be accepted, whatever its size."""
        return self._ring.has_room

    @property
    def backlog_bytes(self) -> int:
        """What the ring holds that is not yet known to be on disk."""
        return self._ring.backlog_bytes

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the newest record on disk: note it elsewhere, and `verify` can prove that none newer
        was cut off since."""
        return self._writer.durable_head

    # -- life ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the journal, cut off a torn line, and move what a former process left in the ring to disk.

        A disk that takes nothing now is no error: the remainder stays in the ring, in front of new records.
        Raises EvidenceError when another process has the journal or it cannot be read or created.
        """
        if self._lock_fd >= 0:
            raise EvidenceError(f"cannot open journal {self._directory}: it is open already")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._ring.identity = self._lock()
            self._writer.open()
            self._open_ring()
        except OSError as error:
            self._release()
            raise EvidenceError(f"cannot open journal {self._directory}: {error}") from error
        except EvidenceError:
            self._release()
            raise
        self.stats.torn_lines += self._writer.torn_lines
        self.stats.damaged_lines += self._writer.damaged_lines
        self._drain_counting_errors(must_sync=True)
        if self._ring.data_bytes != self._ring_bytes and not self._ring.backlog_bytes:
            try:
                self._ring.resize(self._ring_bytes)
            except EvidenceError:
                self._release()
                raise
            self._written = self._ring.tail

    def start(self) -> None:
        """Set the drainer to work."""
        if self._lock_fd < 0 or self._drainer is not None:
            raise EvidenceError(f"cannot start journal {self._directory}: not open, or started already")
        self._stopping = False
        self._drainer = threading.Thread(target=self._run, name=f"evidence-{self._worker}", daemon=True)
        self._drainer.start()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything put so far is on disk; False when the disk did not take it in time."""
        target = self._ring.head
        if self._drainer is None:
            self._drain_counting_errors(must_sync=True)
            return self._ring.tail >= target
        self._flush_target = target
        self._wake.set()
        with self._condition:
            return self._condition.wait_for(lambda: self._ring.tail >= target, timeout_s)

    def close(self) -> None:
        """Move the rest to disk, once, and let go. What the disk does not take stays in the ring for `open`."""
        if self._lock_fd < 0:
            return
        if self._drainer is not None:
            self._stopping = True
            self._wake.set()
            self._drainer.join()
            self._drainer = None
        self._drain_counting_errors(must_sync=True)
        self._release()

    def _release(self) -> None:
        self._ring.close()
        self._writer.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _lock(self) -> bytes:
        """Take the journal for this process; return the identity that its ring must carry. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock_fd = os.open(self._directory / IDENTITY_FILE, flags, 0o640)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EvidenceError(
                f"cannot open journal {self._directory}: another process writes it; "
                "stop that one, or give this one a data_dir of its own"
            ) from error
        try:
            identity = bytes.fromhex(os.pread(self._lock_fd, 2 * IDENTITY_BYTES, 0).decode("ascii"))
        except ValueError:
            identity = b""
        if len(identity) != IDENTITY_BYTES:
            identity = secrets.token_bytes(IDENTITY_BYTES)
            os.pwrite(self._lock_fd, identity.hex().encode() + b"\n", 0)
            os.fsync(self._lock_fd)
            sync_directory(self._directory)
        return identity

    def _open_ring(self) -> None:
        """Map the ring and number the next record. Raises EvidenceError, OSError."""
        ring = self._ring
        try:
            ring.open(self._ring_bytes)
        except RingDamaged as error:
            aside = free_name(ring.path, "set-aside")
            ring.path.rename(aside)
            self.stats.rings_set_aside += 1
            self.last_error = f"{error}; kept as {aside}"
            ring.open(self._ring_bytes)
        self._written = ring.tail
        # Beyond the journal's last record when lines that were on disk have gone since: the gap must show.
        last_seq = max(self._writer.seq, ring.durable_seq)
        position = ring.tail
        try:
            while frames := ring.read(position, _CATCH_UP_CHUNK_BYTES):
                self.stats.recovered += sum(frame.seq > last_seq for frame in frames)
                last_seq = max(last_seq, frames[-1].seq)
                position = frames[-1].end
        except RingDamaged:
            # The drainer will set it aside when it gets there. How many records it held cannot be known: leave a
            # gap of one, so that the journal says that something is missing here.
            last_seq += 1
        ring.next_seq = last_seq + 1

    # -- the drainer ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._retry_s or self._until_next_visit_s())
            self._wake.clear()
            self._drain_counting_errors(must_sync=False)

    def _until_next_visit_s(self) -> float:
        """Whoever comes when a sync is due writes all in one piece. A small ring must not fill meanwhile."""
        if self._ring_bytes < _ROOMY_BYTES:
            return _POLL_S
        return min(_LONGEST_POLL_S, max(self._next_sync - monotonic(), _POLL_S))

    def _drain_counting_errors(self, *, must_sync: bool) -> None:
        with self._drain_lock:
            try:
                self._drain()
                if must_sync or self._flush_target > self._ring.tail or monotonic() >= self._next_sync:
                    self._sync()
                self._retry_s = 0.0
            except (OSError, MemoryError) as error:
                self.stats.write_errors += 1
                self.last_error = f"cannot write to {self._directory}: {error}"
                self._retry_s = min(max(2 * self._retry_s, _FIRST_RETRY_S), _LAST_RETRY_S)

    def _drain(self) -> None:
        """Write what the ring holds now, chunk by chunk. Raises OSError with everything still in the ring."""
        ring, writer = self._ring, self._writer
        goal = ring.head  # a producer faster than the disk must not keep us here for ever
        while self._written < goal:
            try:
                if writer.needs_segment:
                    frame = ring.read(self._written, 1)[0]
                    if frame.seq <= writer.seq:
                        self._written = frame.end
                        continue
                    self._sync()
                    writer.start_segment(frame.seq)
                self._written = writer.take(ring, self._written, self._chunk_bytes())
            except RingDamaged as error:
                self._abandon(error)
                return
            if monotonic() >= self._next_sync or 4 * (self._written - ring.tail) > ring.data_bytes:
                self._sync()

    def _chunk_bytes(self) -> int:
        if HAS_CHAIN:
            return _UNLOCKED_CHUNK_BYTES
        is_behind = 4 * (self._ring.head - self._written) > self._ring.data_bytes
        return _CATCH_UP_CHUNK_BYTES if is_behind else _CHUNK_BYTES

    def _sync(self) -> None:
        """Wait for the disk, then give the ring's place back. Raises OSError with the place still taken."""
        ring, writer, stats = self._ring, self._writer, self.stats
        self._next_sync = monotonic() + self._sync_interval_s
        if self._written == ring.tail:
            return
        last_seq, missing = writer.durable_seq, writer.durable_missing
        if writer.seq != last_seq:
            try:
                stats.bytes_written += writer.sync()
            except OSError:
                self._written = ring.tail
                raise
            stats.syncs += 1
            stats.records_missing += writer.durable_missing - missing
            stats.records_written += writer.seq - last_seq - (writer.durable_missing - missing)
        self._give_back(self._written)

    def _give_back(self, position: int) -> None:
        """The ring's place before this position, to whoever puts; and tell who waits for it."""
        self._ring.release(position, self._writer.seq)
        if self._flush_target:  # otherwise nobody has ever waited
            with self._condition:
                self._condition.notify_all()

    def _abandon(self, error: RingDamaged) -> None:
        """Keep a copy of a ring that was written into from elsewhere, and go on after it. Raises OSError."""
        self._sync()
        aside = free_name(self._ring.path, "set-aside")
        goal = self._ring.head
        self.stats.rings_set_aside += 1
        self.last_error = f"{error}; kept as {aside}"
        try:
            self._ring.copy_to(aside)
        finally:
            self._written = goal
            self._give_back(goal)
