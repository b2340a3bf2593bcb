"""From the table's text to what a worker uses: small ones read in place, large ones compiled once and mapped."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import yaml

from edge_proxy import compile_asn
from edge_proxy.addr import Asn
from edge_proxy.compile import compile_snapshot
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


def test_what_is_wrong_is_told_with_its_line_either_way(tmp_path: Path) -> None:
    """A bad line, a missing file, no UTF-8, half a compressed file: one error each, nothing left over."""
    path = tmp_path / "asn.tsv"
    settings = settings_of(tmp_path, path)
    for lines in (10, LARGE):
        write_table(path, lines, "1.0.0.9\t1.0.0.1\t5\n")
        assert f"{path}:{lines + 1}: the range ends before it starts" in errors_of(settings)
        write_table(path, lines)
        path.write_bytes(path.read_bytes() + b"1.0.0.0\t1.0.0.1\t5\tNone\t\xff\n")
        assert f"cannot read {path}: 'utf-8' codec" in errors_of(settings)
    path.unlink()
    assert f"cannot read {path}: No such file" in errors_of(settings)
    packed = tmp_path / "asn.tsv.gz"
    write_table(packed)
    packed.write_bytes(packed.read_bytes()[:-100])
    assert f"cannot read {packed}: Compressed file ended" in errors_of(settings_of(tmp_path, packed))
    assert list(tmp_path.glob("asn-*")) == []
