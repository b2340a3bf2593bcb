"""The ring gives back exactly what was put, in order, through any crash, and trusts nothing else."""

from __future__ import annotations

import mmap
import os
import resource
import struct
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.ring import HEADER_BYTES, MIN_DATA_BYTES, EvidenceRing, RingDamaged

IDENTITY = bytes(range(16))


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[EvidenceRing]:
    made = EvidenceRing(tmp_path / "test.ring", IDENTITY)
    made.open(MIN_DATA_BYTES)
    yield made
    made.close()


def payloads(ring: EvidenceRing) -> list[bytes]:
    """What is between the tail and the head."""
    found: list[bytes] = []
    position = ring.tail
    while frames := ring.read(position, 1000):
        found += [frame.payload for frame in frames]
        position = frames[-1].end
    return found


def killed(ring: EvidenceRing) -> EvidenceRing:
    """What a successor finds of a process that was killed: the file as it is, and the lock free."""
    copy = ring.path.with_name("killed.ring")
    copy.unlink(missing_ok=True)
    ring.copy_to(copy)
    return EvidenceRing(copy, IDENTITY)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9000), st.booleans()), max_size=120))
def test_any_sequence_of_puts_and_releases_comes_out_in_order(steps: list[tuple[int, bool]]) -> None:
    """Whatever the sizes, at every wrap: put says yes only to what is read back, in order, with its number."""
    with tempfile.TemporaryDirectory() as directory:
        ring = EvidenceRing(Path(directory) / "test.ring", IDENTITY)
        ring.open(MIN_DATA_BYTES)
        held: deque[tuple[int, bytes]] = deque()
        for number, (size, release) in enumerate(steps):
            payload = bytes([number % 251]) * size
            had_room, seq = ring.has_room, ring.next_seq
            if ring.put(payload):
                held.append((seq, payload))
            else:
                assert not had_room or size + 16 > MIN_DATA_BYTES // 8
                assert ring.next_seq == seq
            if release and held:
                frame = ring.read(ring.tail, 1)[0]
                assert (frame.seq, frame.payload) == held.popleft()
                ring.release(frame.end, frame.seq)
        assert payloads(ring) == [payload for _, payload in held]
        ring.close()


def test_full_ring_refuses_and_takes_again_after_a_release(ring: EvidenceRing) -> None:
    """A refused put changes nothing; has_room turns false before the first refusal."""
    accepted = [(ring.has_room, ring.put(b"x" * 1000)) for _ in range(70)]
    assert (True, False) not in accepted
    assert accepted[-1] == (False, False)
    held = len(payloads(ring))
    assert held >= 60
    assert ring.backlog_bytes <= MIN_DATA_BYTES
    frames = ring.read(ring.tail, 40_000)
    ring.release(frames[-1].end, frames[-1].seq)
    assert ring.has_room
    assert ring.put(b"y" * 1000)


def test_a_record_larger_than_any_may_be_is_refused(ring: EvidenceRing) -> None:
    """An eighth of the ring is the most one record may take, so has_room can promise."""
    assert not ring.put(bytes(MIN_DATA_BYTES // 8))
    assert ring.put(bytes(MIN_DATA_BYTES // 8 - 16))


def test_unopened_and_closed_rings_are_full(tmp_path: Path) -> None:
    """No state of a ring makes put raise."""
    ring = EvidenceRing(tmp_path / "test.ring")
    assert not ring.has_room
    assert not ring.put(b"x")
    ring.open(MIN_DATA_BYTES)
    ring.close()
    ring.close()
    assert not ring.has_room
    assert not ring.put(b"x")


def test_killed_process_leaves_its_records(ring: EvidenceRing) -> None:
    """The file alone gives back every record, with no call after the last put."""
    for number in range(20):
        ring.put(b"record %d" % number)
    successor = killed(ring)
    assert successor.open(MIN_DATA_BYTES)
    assert payloads(successor) == [b"record %d" % number for number in range(20)]
    successor.close()


def test_closed_empty_ring_shrinks_and_remembers_the_last_number(ring: EvidenceRing) -> None:
    """A stopped worker gives its memory back, and still knows what it had written."""
    ring.put(b"x")
    ring.release(ring.head, 1)
    ring.close()
    assert ring.path.stat().st_size == HEADER_BYTES
    assert ring.open(MIN_DATA_BYTES)
    assert ring.durable_seq == 1
    assert ring.put(b"y")


def test_shrunk_ring_takes_the_new_size_at_once(ring: EvidenceRing) -> None:
    """Whoever makes it smaller because there is no memory for the old size must not need that once more."""
    ring.resize(2 * MIN_DATA_BYTES)
    ring.put(b"x")
    ring.release(ring.head, 1)
    ring.close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER_BYTES + MIN_DATA_BYTES, limits[1]))
    try:
        assert ring.open(MIN_DATA_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (ring.data_bytes, ring.durable_seq) == (MIN_DATA_BYTES, 1)
    assert ring.put(b"y")
    successor = killed(ring)
    assert successor.open(MIN_DATA_BYTES)
    assert payloads(successor) == [b"y"]
    successor.close()


def test_resize_keeps_the_last_number(ring: EvidenceRing) -> None:
    """A new size in the configuration is taken up when the ring is empty, and only then."""
    ring.put(b"x")
    with pytest.raises(EvidenceError, match="still holds"):
        ring.resize(2 * MIN_DATA_BYTES)
    ring.release(ring.head, 1)
    ring.resize(2 * MIN_DATA_BYTES)
    assert ring.path.stat().st_size == HEADER_BYTES + 2 * MIN_DATA_BYTES
    assert ring.durable_seq == 1


def test_second_process_cannot_open_the_ring(ring: EvidenceRing) -> None:
    """Two hosts' containers may share a memory file system: the ring has a lock of its own."""
    with pytest.raises(EvidenceError, match="another process"):
        EvidenceRing(ring.path, IDENTITY).open(MIN_DATA_BYTES)


def test_empty_ring_of_another_journal_is_taken_over(ring: EvidenceRing) -> None:
    """Nothing is lost by it, and the other journal's numbers are forgotten."""
    ring.put(b"x")
    ring.release(ring.head, 1)
    ring.close()
    other = EvidenceRing(ring.path, b"other".ljust(16))
    other.open(MIN_DATA_BYTES)
    assert (other.head, other.durable_seq) == (0, 0)
    other.close()


def test_ring_with_records_of_another_journal_is_not_trusted(ring: EvidenceRing) -> None:
    """Its records would enter a chain they do not belong to."""
    ring.put(b"x")
    ring.close()
    with pytest.raises(RingDamaged, match="another journal"):
        EvidenceRing(ring.path, b"other".ljust(16)).open(MIN_DATA_BYTES)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"X"),
        (8, b"\x09"),
        (16, b"\x01"),
        (30, b"\xff"),
        (40, b"\xff"),
        (64, struct.pack("=Q", 1 << 40)),
        (64, struct.pack("=Q", 8)),
        (128, struct.pack("=Q", 1 << 40)),
        (192, struct.pack("=Q", 10**14 + 1)),
        (192, struct.pack("=Q", 2**64 - 1)),
    ],
    ids=[
        "magic",
        "version",
        "size",
        "identity",
        "checksum",
        "head-far",
        "head-odd",
        "tail-past-head",
        "durable-far",
        "durable-last",
    ],
)
def test_header_that_does_not_check_is_refused(ring: EvidenceRing, offset: int, value: bytes) -> None:
    """No field of the header is believed against the others."""
    ring.put(b"x" * 100)
    successor = killed(ring)
    with successor.path.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    with pytest.raises(RingDamaged):
        successor.open(MIN_DATA_BYTES)


@pytest.mark.parametrize("position", [2**64 - 16, 2**63])
def test_positions_that_no_ring_reaches_are_refused(ring: EvidenceRing, position: int) -> None:
    """Head and tail of an empty ring, both far out: what is put next would run past what 64 bits hold."""
    successor = killed(ring)
    with successor.path.open("r+b") as file:
        for offset in (64, 128):
            file.seek(offset)
            file.write(struct.pack("=Q", position))
    with pytest.raises(RingDamaged, match="cannot be"):
        successor.open(MIN_DATA_BYTES)


@pytest.mark.parametrize("size", [1, 100, HEADER_BYTES, HEADER_BYTES + 5000])
def test_ring_cut_short_is_refused(ring: EvidenceRing, size: int) -> None:
    """A file shorter than it states would end the process with a bus error once mapped."""
    ring.put(b"x" * 100)
    successor = killed(ring)
    os.truncate(successor.path, size)
    with pytest.raises(RingDamaged):
        successor.open(MIN_DATA_BYTES)


@settings(deadline=None)
@given(st.integers(0, 20 * 64 - 1), st.integers(1, 255))
def test_any_byte_flipped_in_a_frame_is_never_given_back(offset: int, flip: int) -> None:
    """Overwritten memory yields the records before it and an error, never a false record."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "test.ring"
        ring = EvidenceRing(path, IDENTITY)
        ring.open(MIN_DATA_BYTES)
        written = [b'{"number":"%020d"}' % number for number in range(20)]
        for payload in written:
            assert ring.put(payload)
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[HEADER_BYTES + offset] ^= flip
        position = 0
        found: list[bytes] = []
        try:
            while frames := ring.read(position, 1):
                assert frames[0].seq == len(found) + 1
                found.append(frames[0].payload)
                position = frames[0].end
        except RingDamaged:
            assert found == written[: len(found)]
        else:
            # Only the padding behind a payload is nobody's.
            assert found == written
            assert offset % 64 >= 16 + len(written[0])
        ring.release(ring.head, 0)
        ring.close()


def test_wrap_mark_with_nothing_behind_it_is_damage(ring: EvidenceRing) -> None:
    """A mark alone must not make the drainer wait for ever on a ring that is not empty."""
    ring.put(b"x" * 100)
    with ring.path.open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(struct.pack("=I", 0xFFFFFFFF))
    with pytest.raises(RingDamaged):
        ring.read(0, 1000)
    ring.release(ring.head, 0)


def test_symbolic_link_in_place_of_the_ring_is_not_followed(tmp_path: Path) -> None:
    """The directory is open to every user of the machine; a link could name any file of ours."""
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    (tmp_path / "test.ring").symlink_to(target)
    with pytest.raises(RingDamaged, match="symbolic link"):
        EvidenceRing(tmp_path / "test.ring").open(MIN_DATA_BYTES)
    assert target.read_bytes() == b"precious"


def test_second_name_for_the_ring_is_refused(tmp_path: Path) -> None:
    """A hard link lets another path reach our records."""
    (tmp_path / "other").touch()
    (tmp_path / "test.ring").hardlink_to(tmp_path / "other")
    with pytest.raises(EvidenceError, match="regular file of this user alone"):
        EvidenceRing(tmp_path / "test.ring").open(MIN_DATA_BYTES)


@pytest.mark.parametrize("size", [0, 4096, MIN_DATA_BYTES + 1])
def test_sizes_a_ring_cannot_have_are_refused(tmp_path: Path, size: int) -> None:
    """The error names the size and what would be right."""
    with pytest.raises(EvidenceError, match="at least 65536"):
        EvidenceRing(tmp_path / "test.ring").open(size)


def test_no_memory_for_the_ring_is_an_error_at_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too small a /dev/shm shows at start, in words, not as SIGBUS in the middle of a call."""

    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EvidenceError, match="No space left on device; make the ring smaller"):
        EvidenceRing(tmp_path / "test.ring").open(MIN_DATA_BYTES)
    with pytest.raises(EvidenceError, match="cannot open evidence ring"):
        EvidenceRing(tmp_path / "absent" / "test.ring").open(MIN_DATA_BYTES)
