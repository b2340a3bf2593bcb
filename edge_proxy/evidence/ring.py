"""Keep records between the call path and the disk: a ring in a shared-memory file that outlives the process.

One producer (the call path) copies a record in; one consumer (the drainer) reads it and moves the tail once the
record is on disk. The file lies on a memory file system and all its pages are there from the start, so a put waits
for no disk and cannot be ended by a bus error when memory is short. After `kill -9` the file still holds every
record that `put` accepted: the payload is stored before the head, and the head is one aligned 8-byte store.

Layout, in the machine's byte order (the file never leaves the machine):
    0    static header: magic, version, header bytes, data bytes, journal identity, CRC-32 of all these
    64   head   u64  where the next frame goes; grows for ever, the place is head % data bytes
    128  tail   u64  everything before it is on disk
    192  durable u64 the newest sequence number on disk; may lag the tail by one crash, never lead it
    4096 frames: length u32, CRC-32 of the payload and the sequence number u32, sequence number u64, payload,
         padded to 16 bytes; a frame never wraps: a length of 2^32 - 1 says "go on at the start"

Never trusts what it finds: a header that does not check is for the caller to set aside, and a frame that does not
check raises `RingDamaged`. It knows nothing of journals but the identity it is bound to.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import struct
from pathlib import Path
from typing import Final
from zlib import crc32

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.record import MAX_RECORD_BYTES

try:
    from edge_proxy.evidence._journal import store
except ImportError:
    HAS_STORE = False
else:
    HAS_STORE = True

HEADER_BYTES: Final = 4096
MIN_DATA_BYTES: Final = 64 * 1024
IDENTITY_BYTES: Final = 16
MOST_RECORDS: Final = 10**14
"""No journal was ever that long, at 10,000 records a second for 300 years: a number beyond it is damage. Names of
segments and lines have room for ten times as many."""

_MAGIC: Final = b"EPRING\r\n"
_VERSION: Final = 1
_STATIC: Final = struct.Struct("=8sIIQ16s")
_CRC: Final = struct.Struct("=I")
_FRAME: Final = struct.Struct("=IIQ")
_FRAME_BYTES: Final = 16
_GO_ON_AT_START: Final = 0xFFFFFFFF
# Indexes of 8-byte words; one cache line each.
_HEAD: Final = 8
_TAIL: Final = 16
_DURABLE: Final = 24
_MOST_BYTES: Final = 1 << 62
"""Nor did so much ever pass through a ring; positions up to this can be added up in 64 bits."""
_U32: Final = 0xFFFFFFFF
# By name in the module they are there at once, and each frame asks for them.
_pack: Final = _FRAME.pack_into
_unpack: Final = _FRAME.unpack_from
_crc32: Final = crc32


class Frame:
    """One record as it lay in the ring; `end` is the position just after it."""

    __slots__ = ("end", "payload", "seq")

    def __init__(self, seq: int, payload: bytes, end: int) -> None:
        self.seq = seq
        self.payload = payload
        self.end = end


class RingDamaged(EvidenceError):  # noqa: N818 - it names a state, as the counter does
    """The ring holds bytes that `put` never stored: memory was overwritten from elsewhere."""


class EvidenceRing:
    """A single-producer, single-consumer ring. Inert until `open`; until then, and after `close`, it is full."""

    __slots__ = (
        "_data_bytes",
        "_fd",
        "_head",
        "_is_native",
        "_map",
        "_max_frame_bytes",
        "_tail",
        "_words",
        "identity",
        "next_seq",
        "path",
    )

    def __init__(self, path: Path, identity: bytes = bytes(IDENTITY_BYTES), *, is_native: bool = HAS_STORE) -> None:
        self.path = path
        self._is_native = is_native
        self.identity = identity
        self.next_seq = 1
        self._fd = -1
        self._data_bytes = 0
        self._max_frame_bytes = 0
        # In the process these two are the truth; the words in the file are what a successor finds.
        self._head = 0
        self._tail = 0
        self._map: mmap.mmap = mmap.mmap(-1, HEADER_BYTES)
        self._words = memoryview(self._map).cast("Q")

    # -- the call path -------------------------------------------------------------------------------------------

    def put(self, payload: bytes) -> bool:
        """Store the record under `next_seq`; False, with nothing changed, when it does not fit."""
        length = len(payload)
        needed = (length + _FRAME_BYTES + 15) & ~15
        if needed > self._max_frame_bytes:
            return False
        head = self._head
        if self._is_native:
            head = store(self._map, head, self._tail, self.next_seq, payload)
            if head < 0:
                return False
            self.next_seq += 1
            self._head = head
            return True
        size = self._data_bytes
        place = head % size
        skipped = size - place if place + needed > size else 0
        if head + skipped + needed - self._tail > size:
            return False
        data = self._map
        if skipped:
            _pack(data, HEADER_BYTES + place, _GO_ON_AT_START, 0, 0)
            place = 0
        start = HEADER_BYTES + place
        seq = self.next_seq
        _pack(data, start, length, _crc32(payload, (seq ^ seq >> 32) & _U32), seq)
        start += _FRAME_BYTES
        data[start : start + length] = payload
        # Last: whoever reads the file after a crash sees the frame whole or not at all.
        self._words[_HEAD] = head = head + skipped + needed
        self.next_seq = seq + 1
        self._head = head
        return True

    @property
    def has_room(self) -> bool:
        """The next put fits, whatever its size and wherever the head stands."""
        # A frame that does not fit before the end leaves less than its own size unused there.
        free_bytes = self._data_bytes - (self._head - self._tail)
        return 0 < 2 * self._max_frame_bytes <= free_bytes

    # -- the drainer ---------------------------------------------------------------------------------------------

    @property
    def memory(self) -> mmap.mmap:
        """The whole file, as it lies there."""
        return self._map

    @property
    def head(self) -> int:
        return self._head

    @property
    def tail(self) -> int:
        return self._tail

    @property
    def durable_seq(self) -> int:
        return self._words[_DURABLE]

    @property
    def backlog_bytes(self) -> int:
        return self._head - self._tail

    @property
    def data_bytes(self) -> int:
        return self._data_bytes

    def release(self, position: int, seq: int) -> None:
        """Everything before `position`, up to record `seq`, is on disk: its place may be used again."""
        self._words[_TAIL] = position
        self._words[_DURABLE] = seq
        self._tail = position

    def read(self, position: int, budget_bytes: int) -> list[Frame]:
        """Copy out the frames from `position` on: at least one if there is any, then up to `budget_bytes`.

        Raises RingDamaged when the first of them does not check; one further on ends the list before it.
        """
        frames: list[Frame] = []
        head = self._head
        while position < head and budget_bytes > 0:
            try:
                frame = self._frame_at(position, head)
            except RingDamaged:
                if frames:
                    break
                raise
            frames.append(frame)
            budget_bytes -= len(frame.payload)
            position = frame.end
        return frames

    def _frame_at(self, position: int, head: int) -> Frame:
        data = self._map
        size = self._data_bytes
        place = position % size
        length, crc, seq = _unpack(data, HEADER_BYTES + place)
        if length == _GO_ON_AT_START:
            position += size - place
            place = 0
            if position >= head:
                raise RingDamaged(f"{self.path}: nothing follows the last frame of a round")
            length, crc, seq = _unpack(data, HEADER_BYTES)
        end = position + ((length + _FRAME_BYTES + 15) & ~15)
        start = HEADER_BYTES + place + _FRAME_BYTES
        if end > head or place + _FRAME_BYTES + length > size:
            raise RingDamaged(f"{self.path}: frame at {position} runs past the end")
        payload = data[start : start + length]
        if _crc32(payload, (seq ^ seq >> 32) & _U32) != crc:
            raise RingDamaged(f"{self.path}: frame at {position} does not match its checksum")
        return Frame(seq, payload, end)

    def copy_to(self, path: Path) -> None:
        """Keep the whole file as it is now, under a name that is new. Raises OSError, with nothing kept."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(self._map)
        except OSError:
            path.unlink()
            raise

    # -- opening and closing -------------------------------------------------------------------------------------

    def open(self, data_bytes: int) -> bool:
        """Map the file; create it with `data_bytes` when there is none. True when it existed.

        A file that exists keeps its own size (see `resize`), unless it has shrunk to its header. Raises RingDamaged
        when its header does not check, EvidenceError when the file cannot be had: no memory, another process holds it.
        """
        if data_bytes < MIN_DATA_BYTES or data_bytes % HEADER_BYTES:
            raise EvidenceError(
                f"cannot make an evidence ring of {data_bytes} bytes: at least {MIN_DATA_BYTES}, in steps of 4096"
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            if self.path.is_symlink():
                raise RingDamaged(f"{self.path}: is a symbolic link") from error
            raise EvidenceError(f"cannot open evidence ring {self.path}: {error.strerror}") from error
        try:
            _check_owner(fd, self.path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise EvidenceError(f"cannot open evidence ring {self.path}: another process uses it") from error
            existed = os.fstat(fd).st_size > 0
            if existed:
                data_bytes = self._check_header(fd, data_bytes)
            else:
                self._write_header(fd, data_bytes, durable_seq=0)
            self._map_file(fd, data_bytes)
        except BaseException:
            os.close(fd)
            raise
        return existed

    def resize(self, data_bytes: int) -> None:
        """Give the ring another size. It must be empty."""
        if self.backlog_bytes:
            raise EvidenceError(f"cannot resize evidence ring {self.path}: it still holds records")
        seq = self.durable_seq
        self._unmap()
        os.ftruncate(self._fd, 0)
        self._write_header(self._fd, data_bytes, durable_seq=seq)
        self._map_file(self._fd, data_bytes)

    def close(self) -> None:
        """Give the memory back. A ring with records keeps them in its file; an empty one shrinks to its header."""
        if self._fd < 0:
            return
        is_empty = self.backlog_bytes == 0
        self._unmap()
        try:
            if is_empty:
                os.ftruncate(self._fd, HEADER_BYTES)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _check_header(self, fd: int, wanted_bytes: int) -> int:
        """Return the data size a sound header states; the one that is wanted when nothing has that size yet."""
        header = os.pread(fd, HEADER_BYTES, 0)
        if len(header) < HEADER_BYTES:
            raise RingDamaged(f"{self.path}: header is cut short")
        magic, version, header_bytes, data_bytes, identity = _STATIC.unpack_from(header)
        (crc,) = _CRC.unpack_from(header, _STATIC.size)
        if magic != _MAGIC or crc != _crc32(header[: _STATIC.size]):
            raise RingDamaged(f"{self.path}: header does not match its checksum")
        if version != _VERSION or header_bytes != HEADER_BYTES:
            raise RingDamaged(f"{self.path}: version {version} is not {_VERSION}")
        words = memoryview(header).cast("Q")
        head, tail, durable_seq = words[_HEAD], words[_TAIL], words[_DURABLE]
        file_bytes = os.fstat(fd).st_size
        is_folded = head == tail and file_bytes == HEADER_BYTES
        if file_bytes != HEADER_BYTES + data_bytes and not is_folded:
            raise RingDamaged(f"{self.path}: {file_bytes} bytes are not the {HEADER_BYTES + data_bytes} it states")
        if data_bytes < MIN_DATA_BYTES or data_bytes % HEADER_BYTES:
            raise RingDamaged(f"{self.path}: states a data size of {data_bytes}")
        if not 0 <= head - tail <= data_bytes or head % 16 or tail % 16 or head > _MOST_BYTES:
            raise RingDamaged(f"{self.path}: head {head} and tail {tail} cannot be")
        if durable_seq > MOST_RECORDS:
            raise RingDamaged(f"{self.path}: {durable_seq} cannot be the number of a record")
        if identity != self.identity and head != tail:
            raise RingDamaged(f"{self.path}: holds records of another journal")
        new_bytes = wanted_bytes if is_folded else int(data_bytes)
        if identity != self.identity:
            # Nothing of the other journal is in it: begin anew, its numbers are none of ours.
            self._write_header(fd, new_bytes, durable_seq=0)
        elif new_bytes != data_bytes:
            self._write_header(fd, new_bytes, durable_seq=durable_seq)
        return new_bytes

    def _write_header(self, fd: int, data_bytes: int, *, durable_seq: int) -> None:
        """Lay down an empty ring's header; with nothing behind it, it is already a sound (folded) ring."""
        header = bytearray(HEADER_BYTES)
        _STATIC.pack_into(header, 0, _MAGIC, _VERSION, HEADER_BYTES, data_bytes, self.identity)
        _CRC.pack_into(header, _STATIC.size, _crc32(header[: _STATIC.size]))
        memoryview(header).cast("Q")[_DURABLE] = durable_seq
        try:
            os.pwrite(fd, header, 0)
        except OSError as error:
            raise EvidenceError(f"cannot write evidence ring {self.path}: {error.strerror}") from error

    def _map_file(self, fd: int, data_bytes: int) -> None:
        total_bytes = HEADER_BYTES + data_bytes
        try:
            # Allocated, not sparse: a page that cannot be had later would end the process with SIGBUS.
            os.posix_fallocate(fd, 0, total_bytes)
            mapped = mmap.mmap(fd, total_bytes, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        except OSError as error:
            raise EvidenceError(
                f"cannot reserve {total_bytes} bytes for evidence ring {self.path}: {error.strerror}; "
                "make the ring smaller or its file system larger"
            ) from error
        self._replace_map(mapped)
        self._fd = fd
        self._data_bytes = data_bytes
        self._max_frame_bytes = min(MAX_RECORD_BYTES + 1024, data_bytes // 8) & ~15
        self._head = self._words[_HEAD]
        self._tail = self._words[_TAIL]

    def _unmap(self) -> None:
        self._replace_map(mmap.mmap(-1, HEADER_BYTES))
        self._data_bytes = self._max_frame_bytes = self._head = self._tail = 0

    def _replace_map(self, mapped: mmap.mmap) -> None:
        self._words.release()
        self._map.close()
        self._map = mapped
        self._words = memoryview(mapped).cast("Q")


def _check_owner(fd: int, path: Path) -> None:
    """A shared-memory directory is open to all: refuse what another user laid there under our name."""
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise EvidenceError(f"cannot use evidence ring {path}: not a regular file of this user alone")
