"""From the table's text to what a worker uses: small ones read in place, large ones compiled once and mapped."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_proxy import compile_asn, compiled_files
from edge_proxy.addr import Asn
from edge_proxy.compile import compile_snapshot
from edge_proxy.compiled_notes import look_at, recall, remember
from edge_proxy.config import ConfigErrors, Settings, parse_settings
from edge_proxy.traffic.asn_table import AsnTable

DEFAULT = Path(__file__).parents[3] / "config/edge-proxy.yaml"
LARGE = 3_000


def write_table(path: Path, lines: int = LARGE, last: str = "") -> None:
    text = "".join(f"20.{i >> 8}.{i & 255}.0\t20.{i >> 8}.{i & 255}.255\t{i + 1}\tUS\tAS {i}\n" for i in range(lines))
    data = (text + last).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def settings_of(directory: Path, table: Path) -> Settings:
    changes = {"data_dir": str(directory), "asn": {"table": str(table)}}
    return parse_settings(yaml.safe_dump(yaml.safe_load(DEFAULT.read_text()) | changes).encode(), "edge-proxy.yaml")


def table_of(settings: Settings) -> AsnTable:
    return compile_snapshot(settings).asn_table


def errors_of(settings: Settings) -> str:
    with pytest.raises(ConfigErrors) as caught:
        compile_snapshot(settings)
    return str(caught.value)


@pytest.mark.parametrize("name", ["asn.tsv", "asn.tsv.gz"])
def test_large_table_is_compiled_once_and_mapped(tmp_path: Path, name: str) -> None:
    """One file for all workers, as long as the text is the same; another text is another file and another version."""
    settings = settings_of(tmp_path, tmp_path / name)
    write_table(tmp_path / name)
    before = compile_snapshot(settings)
    (made,) = tmp_path.glob("*.idx")
    stamp = made.stat().st_mtime_ns
    assert before.asn_table.asn_of("20.1.2.3") == Asn(259)
    assert before.asn_table.name_of(Asn(259)) == "AS 258"
    assert compile_snapshot(settings).version == before.version
    assert made.stat().st_mtime_ns == stamp
    write_table(tmp_path / name, LARGE + 1)
    assert compile_snapshot(settings).version != before.version
    assert len(list(tmp_path.glob("*.idx"))) == 2
    assert before.asn_table.asn_of("20.1.2.3") == Asn(259)


class Asked:
    """Counts how often a process would have been started, and starts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self._ask = compiled_files.ask
        monkeypatch.setattr(compile_asn, "ask", self._count)

    def _count(self, module: str, request: object) -> dict[str, Any]:
        self.times += 1
        return self._ask(module, request)


@pytest.mark.parametrize("name", ["asn.tsv", "asn.tsv.gz"])
def test_unchanged_table_is_served_on_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After a start it is mapped; at a reload it stays as it is mapped."""
    asked = Asked(monkeypatch)
    path = tmp_path / name
    settings = settings_of(tmp_path, path)
    write_table(path)
    first = compile_snapshot(settings)
    again = compile_snapshot(settings)
    assert (asked.times, again.version) == (1, first.version)
    assert again.asn_table is not first.asn_table
    assert again.asn_table.asn_of("20.1.2.3") == Asn(259)
    third = compile_snapshot(settings, serving=again)
    assert third.asn_table is again.asn_table
    assert (asked.times, third.version) == (1, first.version)


def test_changed_table_is_seen_whatever_its_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written in place, or another put in its place, or given by another path; and a changed compiled file."""
    asked = Asked(monkeypatch)
    path, other = tmp_path / "asn.tsv", tmp_path / "other.tsv"
    settings = settings_of(tmp_path, path)
    write_table(path)
    serving = compile_snapshot(settings)
    stamp, text = path.stat(), path.read_text()
    for asn, target in ((7001, path), (7002, other)):
        target.write_text(text.replace("\t3000\t", f"\t{asn}\t"))
        os.utime(target, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        target.rename(path)
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
        serving = compile_snapshot(settings, serving=serving)
        assert serving.asn_table.asn_of("20.11.183.1") == Asn(asn)
    write_table(other)
    assert table_of(settings_of(tmp_path, other)).asn_of("20.11.183.1") == Asn(LARGE)
    assert asked.times == 4
    made = tmp_path / serving.asn_table.version
    made.write_bytes(made.read_bytes()[:-1] + b"?")
    assert compile_snapshot(settings, serving=serving).asn_table.asn_of("20.11.183.1") == Asn(7002)
    assert asked.times == 5


def test_note_that_does_not_help_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is broken, and one whose compiled file broke below the file system: asked again, never an error."""
    asked = Asked(monkeypatch)
    path = tmp_path / "asn.tsv"
    settings = settings_of(tmp_path, path)
    write_table(path)
    compile_snapshot(settings)
    note = tmp_path / "asn.note"
    whole = json.loads(note.read_bytes())
    for broken in (b"", b"{", b"[]", b"7", b'{"asked": "", "states": 3}'):
        note.write_bytes(broken)
        assert table_of(settings).ranges == LARGE
    assert asked.times == 6
    (made,) = tmp_path.glob("*.idx")
    made.write_bytes(made.read_bytes()[:-1] + b"?")
    state = look_at([made]).states
    note.write_text(json.dumps(whole | {"states": whole["states"] | state}))
    assert table_of(settings).ranges == LARGE
    assert asked.times == 7


def test_file_that_may_be_written_again_unnoticed_is_not_noted(tmp_path: Path) -> None:
    """The clock of a file system ticks slowly: what was written just before it was looked at is looked at again."""
    path, made, note = tmp_path / "asn.tsv", tmp_path / "made", tmp_path / "note"
    write_table(path)
    made.write_bytes(b"made")
    fresh = look_at([path])
    assert not fresh.is_settled
    remember(note, "?", fresh, made, {})
    assert not note.exists()
    remember(note, "?", fresh._replace(is_settled=True), made, {"said": 1})
    assert recall(note, "?") == {"said": 1}
    assert recall(note, "!") is None
    made.unlink()
    assert recall(note, "?") is None


def test_small_table_makes_no_file(tmp_path: Path) -> None:
    """Nor does one whose data directory is not there yet, or is somebody else's: it is read in place."""
    write_table(tmp_path / "small.tsv", 100)
    write_table(tmp_path / "large.tsv")
    assert table_of(settings_of(tmp_path, tmp_path / "small.tsv")).ranges == 100
    assert table_of(settings_of(tmp_path / "none", tmp_path / "large.tsv")).ranges == LARGE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.tsv", "small.tsv"]


def test_disk_that_takes_no_file_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk makes it slower and not wrong."""
    write_table(tmp_path / "large.tsv")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert compile_asn.build(tmp_path / "large.tsv", tmp_path) is None
    assert list(tmp_path.glob("asn-*")) == []
    monkeypatch.setattr(compile_asn, "_compile_apart", compile_asn.build)
    assert table_of(settings_of(tmp_path, tmp_path / "large.tsv")).ranges == LARGE


def test_damaged_file_is_made_again(tmp_path: Path) -> None:
    """A file that a crash or a disk broke is found by its checksum and replaced."""
    write_table(tmp_path / "large.tsv")
    made = compile_asn.build(tmp_path / "large.tsv", tmp_path)
    assert made is not None
    whole = made.read_bytes()
    for broken in (b"", whole[:-1], whole[:-1] + b"\x01"):
        made.write_bytes(broken)
        assert compile_asn.build(tmp_path / "large.tsv", tmp_path) == made
        assert made.read_bytes() == whole


@pytest.mark.parametrize("name", ["asn.tsv", "asn.tsv.gz"])
def test_table_that_is_replaced_while_it_is_compiled_is_compiled_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Written in place after its hash was taken: the file of that hash holds what the hash is of, also when it comes
    back, and the new text is seen at the next look."""
    table, other = tmp_path / name, tmp_path / f"other-{name}"
    write_table(table)
    write_table(other, LARGE, "30.0.0.0\t30.0.0.255\t7\tUS\tAS 7\n")
    was = table.read_bytes()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(compile_asn, "begin", lambda: table.write_bytes(other.read_bytes()))
        made = compile_asn.build(table, tmp_path)
    settings = settings_of(tmp_path, table)
    assert table_of(settings).asn_of("30.0.0.1") == Asn(7)
    table.write_bytes(was)
    again = table_of(settings)
    assert made is not None
    assert again.version == made.name
    assert again.asn_of("30.0.0.1") == Asn(0)


def test_what_is_wrong_is_told_with_its_line_either_way(tmp_path: Path) -> None:
    """A bad line, a missing file, no UTF-8, half a compressed file: one error each, nothing left over."""
    path = tmp_path / "asn.tsv"
    settings = settings_of(tmp_path, path)
    for lines in (10, LARGE):
        write_table(path, lines, "1.0.0.9\t1.0.0.1\t5\n")
        assert f"{path}:{lines + 1}: the range ends before it starts" in errors_of(settings)
        write_table(path, lines)
        path.write_bytes(path.read_bytes() + b"1.0.0.0\t1.0.0.1\t5\tNone\t\xff\n")
        assert f"{path}:{lines + 1}: byte 0xff is not UTF-8: name a table" in errors_of(settings)
    path.unlink()
    assert f"cannot read {path}: No such file" in errors_of(settings)
    packed = tmp_path / "asn.tsv.gz"
    write_table(packed)
    packed.write_bytes(packed.read_bytes()[:-100])
    assert f"cannot read {packed}: Compressed file ended" in errors_of(settings_of(tmp_path, packed))
    assert list(tmp_path.glob("asn-*")) == []
