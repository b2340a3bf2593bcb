"""What `_journal` does, ring and segments do without it, to the byte; and nothing it is given makes it crash."""

from __future__ import annotations

import hashlib
import mmap
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.evidence.ring import HAS_STORE, HEADER_BYTES, MIN_DATA_BYTES, EvidenceRing, RingDamaged
from edge_proxy.evidence.segments import NO_PREVIOUS, SegmentWriter

pytestmark = pytest.mark.needs(HAS_STORE, "_journal is not built here (no compiler): make engine")

SIZES = st.integers(0, 300) | st.integers(0, 9000) | st.sampled_from([8168, 8176, 8177])
NUMBERS = (0, 1, 2**32 - 1, 2**32 + 5, 10**14)


class Undecided:
    def __bool__(self) -> bool:
        raise ZeroDivisionError


class Pair:
    """A ring and a journal with `_journal`, and the same without."""

    def __init__(self, directory: Path, segment_bytes: int = 1 << 20, first_seq: int = 1) -> None:
        self.rings: list[EvidenceRing] = []
        self.writers: list[SegmentWriter] = []
        self.places: list[Path] = []
        for is_native in (False, True):
            place = directory / str(is_native)
            place.mkdir()
            ring = EvidenceRing(place / "test.ring", is_native=is_native)
            ring.open(MIN_DATA_BYTES)
            ring.next_seq = first_seq
            writer = SegmentWriter(place, segment_bytes, is_native=is_native)
            writer.open()
            self.rings.append(ring)
            self.writers.append(writer)
            self.places.append(place)

    def put(self, payload: bytes) -> bool:
        taken, other = [ring.put(payload) for ring in self.rings]
        assert taken is other
        return taken

    def take(self, position: int, budget: int) -> int | str:
        """Where both came to, or what they found wrong."""
        plain, native = [_take(*of) for of in zip(self.writers, self.rings, [position] * 2, [budget] * 2, strict=True)]
        if isinstance(plain, str):
            name = str(self.places[0])
            assert plain.replace(name, "") == str(native).replace(str(self.places[1]), "")
        else:
            assert plain == native
        assert self.writers[0].seq == self.writers[1].seq
        return plain

    def check(self) -> None:
        """The files of both are the same."""
        plain, native = [
            {path.name: path.read_bytes() for path in place.iterdir() if path.suffix in {".jsonl", ".ring"}}
            for place in self.places
        ]
        assert plain == native

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        for ring, writer in zip(self.rings, self.writers, strict=True):
            ring.close()
            writer.close()


def _take(writer: SegmentWriter, ring: EvidenceRing, position: int, budget: int) -> int | str:
    try:
        if writer.needs_segment:
            writer.start_segment(ring.read(position, 1)[0].seq)
        return writer.take(ring, position, budget)
    except RingDamaged as error:
        return str(error)


@settings(deadline=None)
@given(
    st.lists(st.tuples(SIZES, st.integers(0, 3), st.integers(0, 3)), max_size=60),
    st.integers(1, 20_000),
    st.integers(100, 30_000),
    st.sampled_from([1, 2**32 - 3, 10**13]),
)
def test_records_come_to_the_same_place(
    steps: list[tuple[int, int, int]], budget: int, segment_bytes: int, first_seq: int
) -> None:
    """Through wraps, full rings, missing numbers and full segments: rings and journals are the same files."""
    with tempfile.TemporaryDirectory() as name, Pair(Path(name), segment_bytes, first_seq) as pair:
        position = 0
        for number, (size, jump, moves) in enumerate(steps):
            for ring in pair.rings:
                ring.next_seq += jump
            pair.put(b'{"n":%d,' % number + bytes([32 + number % 90]) * size)
            for _ in range(moves):
                if position < pair.rings[0].head:
                    end = pair.take(position, budget)
                    assert isinstance(end, int)
                    position = end
            if moves == 2:
                for ring in pair.rings:
                    ring.release(position, first_seq)
            pair.check()


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 40))
def test_records_that_are_there_already_are_passed_over(size: int, there: int) -> None:
    """What a process that was killed had written, but not given back."""
    with tempfile.TemporaryDirectory() as name, Pair(Path(name)) as pair:
        for number in range(40):
            pair.put(b'{"n":%d,' % number + b"x" * size)
        (ring, _) = pair.rings
        end = ring.tail
        while end < ring.head and pair.writers[0].seq < there:
            moved = pair.take(end, 1)
            assert isinstance(moved, int)
            end = moved
        again = 0
        while again < ring.head:
            moved = pair.take(again, 3000)
            assert isinstance(moved, int)
            again = moved
        assert pair.writers[1].seq == 40
        pair.check()


@settings(deadline=None, max_examples=300)
@given(st.lists(SIZES, min_size=1, max_size=30), st.data())
def test_a_ring_that_was_written_over_is_told_alike(sizes: list[int], data: st.DataObject) -> None:
    """Any bytes changed to any other, also those that say how long a record is."""
    with tempfile.TemporaryDirectory() as name, Pair(Path(name)) as pair:
        for size in sizes:
            pair.put(b"{" * size)
        head = pair.rings[0].head
        places = st.integers(0, max(head - 1, 15)) | st.integers(0, max(head // 16 - 1, 0)).map(
            lambda frame: 16 * frame
        )
        for place, written in data.draw(st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=4)):
            for ring in pair.rings:
                start = HEADER_BYTES + place
                ring.memory[start : start + len(written)] = written
        position = 0
        while position < head:
            end = pair.take(position, 5000)
            if isinstance(end, str):
                break
            position = end
        pair.check()


@pytest.fixture(params=[True, False], ids=["by instructions", "in C alone"])
def instructions(request: pytest.FixtureRequest) -> Iterator[None]:
    """With what the processor has for it, and without."""
    from edge_proxy.evidence._journal import use_instructions

    use_instructions(request.param)
    yield
    use_instructions(True)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("length", [*range(100), 719, 720, 4095, 8000])
def test_frames_bear_their_checksum(memory: mmap.mmap, length: int) -> None:
    """What is multiplied, sixteen bytes at a time, and what is looked up: zlib says the same."""
    from edge_proxy.evidence._journal import store

    payload = hashlib.shake_128(b"%d" % length).digest(length)
    for seq in (1, 2**32 - 1, 2**40 + 5):
        store(memory, 0, 0, seq, payload)
        found = struct.unpack_from("=IIQ", memory, HEADER_BYTES)
        assert found == (length, zlib.crc32(payload, (seq ^ seq >> 32) & 0xFFFFFFFF), seq)


def test_instructions_are_used_or_not() -> None:
    from edge_proxy.evidence._journal import use_instructions

    with pytest.raises(ZeroDivisionError):
        use_instructions(Undecided())  # type: ignore[arg-type]


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("length", [*range(1, 200), 4095, 8000])
def test_lines_of_every_length_bear_their_hash(tmp_path: Path, length: int) -> None:
    """One block more or less: hashlib says the same."""
    with Pair(tmp_path) as pair:
        for _ in range(3):
            pair.put(b"{" + b"x" * (length - 1))
        assert pair.take(0, 1 << 20) == pair.rings[0].head
        lines = (tmp_path / "True" / "000000000001.jsonl").read_bytes().splitlines()
        prev = NO_PREVIOUS
        for seq, line in enumerate(lines, 1):
            assert line == b'{"seq":%d,"prev":"%b",' % (seq, prev) + b"x" * (length - 1)
            prev = hashlib.sha256(line).hexdigest().encode()


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, HEADER_BYTES + MIN_DATA_BYTES)


@pytest.mark.parametrize(
    ("head", "tail"), [(0, 16), (16 + MIN_DATA_BYTES, 0), (8, 0), (16, 8), (2**64 - 16, 0)], ids=str
)
def test_store_refuses_what_is_no_ring(memory: mmap.mmap, head: int, tail: int) -> None:
    from edge_proxy.evidence._journal import store

    before = memory[:]
    with pytest.raises(ValueError, match="no ring"):
        store(memory, head, tail, 1, b"x")
    assert memory[:] == before
    with pytest.raises(ValueError, match="no ring"):
        store(mmap.mmap(-1, HEADER_BYTES), 0, 0, 1, b"x")
    with pytest.raises(ValueError, match="no ring"):
        store(mmap.mmap(-1, HEADER_BYTES + 8), 0, 0, 1, b"x")


def test_store_refuses_wrong_types(memory: mmap.mmap) -> None:
    from edge_proxy.evidence._journal import store

    for arguments in [
        (),
        (memory, 0, 0, 1),
        (memory, 0, 0, 1, "x"),
        (memory, 0, 0, "1", b"x"),
        (memory, None, 0, 1, b"x"),
        (memory, 0, 0.5, 1, b"x"),
        (bytes(100), 0, 0, 1, b"x"),
        (None, 0, 0, 1, b"x"),
    ]:
        with pytest.raises((TypeError, BufferError)):
            store(*arguments)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        store(memory, -1, 0, 1, b"x")
    assert store(memory, 0, 0, 1, bytes(MIN_DATA_BYTES)) == -1


def test_chain_refuses_what_is_no_ring(memory: mmap.mmap) -> None:
    from edge_proxy.evidence._journal import chain

    for position, head, budget, prev in [
        (0, 8, 1, NO_PREVIOUS),
        (32, 16, 1, NO_PREVIOUS),
        (0, 16 + MIN_DATA_BYTES, 1, NO_PREVIOUS),
        (0, 16, 1, b"short"),
        (0, 16, 1 << 40, NO_PREVIOUS),
    ]:
        with pytest.raises(ValueError, match="no "):
            chain(memory, position, head, budget, 0, prev, 1000)
    with pytest.raises(TypeError):
        chain(memory, 0, 16, 1, 0, "0" * 64, 1000)  # type: ignore[arg-type]
    assert chain(memory, 0, 0, 1, 7, NO_PREVIOUS, 1000) == (0, 7, NO_PREVIOUS, 0, b"")
    assert chain(memory, 0, 16, 1, 7, NO_PREVIOUS, 0) == (0, 7, NO_PREVIOUS, 0, b"")


def test_a_file_that_takes_nothing_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        pair = stack.enter_context(Pair(tmp_path))
        pair.put(b'{"a":1}')
        end = pair.take(0, 1000)
        pair.put(b'{"b":2}')
        writer, ring = pair.writers[1], pair.rings[1]
        with monkeypatch.context() as patch:
            patch.setattr("os.pwrite", _full)
            with pytest.raises(OSError, match="full"):
                writer.take(ring, int(end), 1000)
        assert writer.seq == 1
        assert pair.take(int(end), 1000) == ring.head
        pair.check()


def _full(fd: int, data: bytes, offset: int) -> int:
    raise OSError(28, "full")
