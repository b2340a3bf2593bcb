"""Whatever a worker finds where ring and journal were: it starts, takes records, and has each of them once."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.evidence.journal import IDENTITY_FILE, Journal
from edge_proxy.evidence.ring import HEADER_BYTES, MIN_DATA_BYTES
from edge_proxy.evidence.segments import segments_in
from edge_proxy.evidence.verify import FindingKind, verify

Damage = Callable[[Journal], None]

WORDS = st.sampled_from([0, 8, 16, 2**32, 2**40, 2**62, 2**63, 2**64 - 16, 2**64 - 1, 10**14, 10**15]) | st.integers(
    0, 2**64 - 1
)


def journal(root: Path) -> Journal:
    return Journal(
        data_dir=root / "data", worker=0, ring_dir=root, ring_bytes=MIN_DATA_BYTES, segment_bytes=500, sync_interval_s=0
    )


def payload(number: int) -> bytes:
    return b'{"kind":"attempt","n":%d,"fill":"%s"}' % (number, b"x" * (number * 7 % 300))


def ring_words(words: dict[int, int]) -> Damage:
    """Head (64), tail (128), newest number (192)."""

    def damage(found: Journal) -> None:
        data = bytearray(found.ring_path.read_bytes())
        if len(data) >= HEADER_BYTES:
            for place, value in words.items():
                struct.pack_into("=Q", data, place, value)
        found.ring_path.write_bytes(data)

    return damage


def ring_bytes(place: int, written: bytes) -> Damage:
    def damage(found: Journal) -> None:
        data = bytearray(found.ring_path.read_bytes())
        data[place : place + len(written)] = written
        found.ring_path.write_bytes(data)

    return damage


def ring_length(length: int) -> Damage:
    return lambda found: _write(found.ring_path, (found.ring_path.read_bytes() + bytes(length))[:length])


def newest_segment(place: int, removed: int, written: bytes) -> Damage:
    def damage(found: Journal) -> None:
        _, path = segments_in(found.directory)[-1]
        data = path.read_bytes()
        _write(path, data[:place] + written + data[place + removed :])

    return damage


def another_file(name: str, data: bytes) -> Damage:
    return lambda found: _write(found.directory / name, data)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


DAMAGES = (
    st.dictionaries(st.sampled_from([64, 128, 192]), WORDS).map(ring_words)
    | WORDS.map(lambda both: ring_words({64: both, 128: both}))
    | st.builds(ring_bytes, st.integers(0, HEADER_BYTES + 3000), st.binary(max_size=40))
    | st.builds(ring_bytes, st.integers(0, 200).map(lambda n: HEADER_BYTES + 16 * n), st.just(b"\xff" * 4))
    | st.sampled_from([0, 1, HEADER_BYTES, HEADER_BYTES + 100, HEADER_BYTES + 2 * MIN_DATA_BYTES]).map(ring_length)
    | st.builds(newest_segment, st.integers(0, 600), st.integers(0, 600), st.binary(max_size=20))
    | st.builds(
        another_file,
        st.sampled_from(["000000000000.jsonl", "999999999999.jsonl", "9999999999999.jsonl", IDENTITY_FILE]),
        st.sampled_from([b"", b"x", b"x\n", b"\0" * 5000]),
    )
)


@settings(deadline=None)
@given(st.integers(1, 30), st.booleans(), st.lists(DAMAGES, min_size=1, max_size=3))
def test_worker_starts_over_any_garbage(before: int, was_killed: bool, damages: list[Damage]) -> None:
    """Twice: over what it finds, and over what it left itself."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        first = journal(root)
        first.open()
        for number in range(before):
            first.put(payload(number))
            if number == before // 2:
                first.flush()
        ring = first.ring_path.read_bytes()
        first.close()
        if was_killed:
            first.ring_path.write_bytes(ring)
        for damage in damages:
            damage(first)
        for numbers in ((1000, 1001, 1002), (1003,)):
            successor = journal(root)
            successor.open()
            assert [successor.put(payload(number)) for number in numbers] == [True] * len(numbers)
            assert successor.flush()
            head = successor.head
            successor.close()
        found: list[int] = []
        for _, path in segments_in(successor.directory):
            for line in path.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    found.append(json.loads(line)["n"])
        assert [number for number in found if number >= 1000] == [1000, 1001, 1002, 1003]
        findings = verify(successor.directory, expected_head=head).findings
        assert not any(finding.kind is FindingKind.HEAD for finding in findings)
