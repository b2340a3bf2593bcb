"""Turn records in sequence into chained JSON lines in segment files, and find where a journal left off.

A line is `{"seq":N,"prev":"<hex>",` followed by the record without its opening brace, and a newline. `prev` is the
SHA-256 of the line before it, without its newline; the first line of a chain has 64 zeros. The chain goes on across
segments and restarts. A segment is named after its first record: `000000000001.jsonl`.

Every write states its offset, so writing again after an error lays the same bytes in the same place. State moves on
only when a write, or a sync, was whole; after a failed sync it falls back to what is known to be on disk, because
the kernel may have dropped the pages it could not write. Used by one thread at a time; never waits on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from binascii import hexlify
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from edge_proxy.evidence.ring import MOST_RECORDS, EvidenceRing, Frame, RingDamaged

try:
    from edge_proxy.evidence import _journal
except ImportError:
    HAS_CHAIN = False
else:
    HAS_CHAIN = _journal.CAN_CHAIN

NO_PREVIOUS: Final = b"0" * 64
SEGMENT_NAME: Final = re.compile(r"(\d{12,15})\.jsonl")
LINE_PREFIX: Final = re.compile(rb'\{"seq":([1-9]\d{0,14}),"prev":"([0-9a-f]{64})",')
MAX_LINE_BYTES = 1024 * 1024
"""Longer than any record's; whoever reads a journal reads no further for one line."""
_BLOCK_BYTES: Final = 64 * 1024
# By name in the module they are there at once, and each record asks for them.
_sha256: Final = hashlib.sha256
_hexlify: Final = hexlify
_FILE_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


def segment_name(first_seq: int) -> str:
    return f"{first_seq:012d}.jsonl"


def segments_in(directory: Path) -> list[tuple[int, Path]]:
    """Every segment of a journal with the number in its name, oldest first. Raises OSError."""
    named = ((SEGMENT_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1]), path) for match, path in named if match)


class _State(NamedTuple):
    """Where the chain stands."""

    seq: int
    prev: bytes
    offset: int
    missing: int


class SegmentWriter:
    """Append to the newest segment of one journal directory. Inert until `open`."""

    __slots__ = (
        "_directory",
        "_durable",
        "_fd",
        "_is_native",
        "_now",
        "_segment_bytes",
        "damaged_lines",
        "torn_lines",
    )

    def __init__(self, directory: Path, segment_bytes: int, *, is_native: bool = HAS_CHAIN) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._is_native = is_native
        self._fd = -1
        self._now = self._durable = _State(0, NO_PREVIOUS, 0, 0)
        self.torn_lines = 0
        self.damaged_lines = 0

    @property
    def seq(self) -> int:
        """The newest record written, on disk or on its way; 0 when there is none."""
        return self._now.seq

    @property
    def durable_seq(self) -> int:
        """The newest record known to be on disk."""
        return self._durable.seq

    @property
    def durable_head(self) -> tuple[int, str]:
        """The number and the hash of the newest record known to be on disk; (0, zeros) when there is none."""
        return self._durable.seq, self._durable.prev.decode("ascii")

    @property
    def durable_missing(self) -> int:
        """How many numbers the journal jumped over since `open`: records the ring could not give back."""
        return self._durable.missing

    @property
    def needs_segment(self) -> bool:
        return self._fd < 0 or self._now.offset >= self._segment_bytes

    def open(self) -> None:
        """Cut off a torn last line and take up the chain after the last whole one. Raises OSError."""
        self._now = self._durable = _State(0, NO_PREVIOUS, 0, 0)
        self.torn_lines = self.damaged_lines = 0
        for first_seq, path in reversed(segments_in(self._directory)):
            fd = os.open(path, _FILE_FLAGS)
            try:
                end, start = _last_line(fd)
                if os.fstat(fd).st_size > end:
                    self.torn_lines += 1
                    os.ftruncate(fd, end)
                # The process before us may have been killed between its last write and its sync.
                os.fsync(fd)
                if end:
                    self._now = self._durable = self._state_after(fd, first_seq, start, end)
                    self._fd, fd = fd, -1
                    return
            finally:
                if fd >= 0:
                    os.close(fd)
            path.unlink()  # no whole line in it: its name says nothing that still holds
            self._sync_directory()

    def start_segment(self, first_seq: int) -> None:
        """Open the segment the next record begins. The one before must be synced. Raises OSError."""
        self.close()
        path = self._directory / segment_name(first_seq)
        fd = os.open(path, _FILE_FLAGS | os.O_CREAT, 0o640)
        try:
            if os.fstat(fd).st_size:
                # Not ours: a record that does not exist yet cannot be in a segment. Keep it under another name.
                path.rename(free_name(path, "set-aside"))
                raise FileExistsError(17, "a segment of that name was there; set aside", str(path))
            self._sync_directory()
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self._now = self._durable = self._now._replace(offset=0)

    def take(self, ring: EvidenceRing, position: int, budget_bytes: int) -> int:
        """Write what the ring holds from `position` on and the journal does not have yet: about `budget_bytes`, and no
        more than the segment takes. Return the position behind it.

        Raises OSError with nothing written, RingDamaged when what lies at `position` does not check.
        """
        if not self._is_native:
            frames = ring.read(position, budget_bytes)
            new = [frame for frame in frames if frame.seq > self.seq]
            return new[self.append(new) - 1].end if new else frames[-1].end
        seq, prev, offset, missing = self._now
        end, seq, prev, jumped, lines = _journal.chain(
            ring.memory, position, ring.head, budget_bytes, seq, prev, self._segment_bytes - offset
        )
        if end == position:
            ring.read(position, 1)  # says what is wrong with it
            raise RingDamaged(f"{ring.path}: frame at {position} is too long")
        if lines:
            self._write(lines, _State(seq, prev, offset + len(lines), missing + jumped))
        return end

    def append(self, frames: list[Frame]) -> int:
        """Write frames until the segment is full; return how many. Raises OSError with nothing written."""
        seq, prev, start, missing = self._now
        room_bytes = self._segment_bytes - start
        lines: list[bytes] = []
        taken = 0
        for frame in frames:
            if room_bytes <= 0:
                break
            missing += frame.seq - seq - 1
            seq = frame.seq
            line = b'{"seq":%d,"prev":"%b",%b' % (seq, prev, frame.payload[1:])
            prev = _hexlify(_sha256(line).digest())
            lines.append(line)
            room_bytes -= len(line) + 1
            taken += 1
        lines.append(b"")
        chunk = b"\n".join(lines)
        self._write(chunk, _State(seq, prev, start + len(chunk), missing))
        return taken

    def _write(self, lines: bytes, then: _State) -> None:
        """Lines to the end of the segment. Raises OSError with nothing written."""
        start = offset = self._now.offset
        chunk = memoryview(lines)
        try:
            while chunk:
                written = os.pwrite(self._fd, chunk, offset)
                offset += written
                chunk = chunk[written:]
        except OSError:
            # A reader must not meet half a line. Should this fail too, the next attempt writes over it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, start)
            raise
        self._now = then

    def sync(self) -> int:
        """Wait until everything written is on disk; return its bytes since the last sync. Raises OSError."""
        try:
            os.fdatasync(self._fd)
        except OSError:
            self._now = self._durable
            raise
        synced_bytes = self._now.offset - self._durable.offset
        self._durable = self._now
        return synced_bytes

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _state_after(self, fd: int, first_seq: int, start: int, end: int) -> _State:
        match = LINE_PREFIX.match(os.pread(fd, 128, start))
        if match and int(match[1]) <= MOST_RECORDS:
            seq = int(match[1])
        else:
            # Somebody wrote into it. A refusal to start would not repair it: go on after it, and let the verifier
            # name the line.
            self.damaged_lines += 1
            seq = first_seq + sum(block.count(b"\n") for block in _blocks(fd, 0, end)) - 1
        digest = hashlib.sha256()
        for block in _blocks(fd, start, end - 1):
            digest.update(block)
        return _State(seq, hexlify(digest.digest()), end, 0)

    def _sync_directory(self) -> None:
        sync_directory(self._directory)


def sync_directory(directory: Path) -> None:
    """Make a new or removed name in a directory survive a power cut. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def free_name(path: Path, why: str) -> Path:
    """A name beside `path` that nothing has yet."""
    number = 1
    while True:
        candidate = path.with_name(f"{path.name}.{why}-{number}")
        if not candidate.exists():
            return candidate
        number += 1


def _last_line(fd: int) -> tuple[int, int]:
    """Where the last whole line ends (after its newline) and starts; 0, 0 when there is none."""
    end = _newline_before(fd, os.fstat(fd).st_size)
    return (end, _newline_before(fd, end - 1)) if end else (0, 0)


def _newline_before(fd: int, position: int) -> int:
    """The offset after the last newline in front of `position`; 0 when there is none."""
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        found = os.pread(fd, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _blocks(fd: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a stretch of a file, block by block."""
    for offset in range(start, end, _BLOCK_BYTES):
        yield os.pread(fd, min(_BLOCK_BYTES, end - offset), offset)
