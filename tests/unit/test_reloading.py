"""A reload beside the calls: what serves, what is let go of, and what is left of one that was refused."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from pathlib import Path

import pytest
import yaml

from edge_proxy import reloading
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, Settings, load_settings
from edge_proxy.errors import ConfigError
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.reloading import Pace, let_go_of, prepare, uncollected, without_customers

IDLE = Pace(lambda: 0)
DEFAULT = Path(__file__).parents[2] / "config/edge-proxy.yaml"


def nothing_against(_: Settings) -> None:
    """Any configuration will do."""


def written(directory: Path, **changes: object) -> Path:
    path = directory / "edge-proxy.yaml"
    document = yaml.safe_load(DEFAULT.read_text()) | {"data_dir": str(directory), "asn": None, "policy": {}} | changes
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    return path


def test_snapshot_is_whole_and_the_settings_are_without_customers(tmp_path: Path) -> None:
    """Customers are in the snapshot; a worker has no use for what the file said of them."""
    path = written(tmp_path)
    settings, snapshot = prepare(path, nothing_against, IDLE)
    assert snapshot.version == compile_snapshot(load_settings(path)).version
    assert [customer.id for customer in snapshot.customers] == ["acme", "globex", "initech"]
    assert settings.customers == []
    assert settings.listeners == load_settings(path).listeners
    assert settings.where("listeners.customers.bind")[1] > 0
    assert settings.customers_written() == []


def test_refused_reload_says_why_and_holds_nothing(tmp_path: Path) -> None:
    """The error has its lines and no traceback that would keep half a million objects until it is told."""
    path = written(tmp_path)
    seen: list[weakref.ref[Settings]] = []

    def refuse(settings: Settings) -> None:
        seen.append(weakref.ref(settings))
        raise ConfigErrors([ConfigError("no", path="f.yaml", line=3)])

    with pytest.raises(ConfigErrors, match=r"f\.yaml:3: no") as caught:
        prepare(path, refuse, IDLE)
    assert caught.value.__cause__ is caught.value.__context__ is None
    del caught
    assert [one() for one in seen] == [None]
    path.write_text(path.read_text().replace("country: GB", "country: Albion"))
    with pytest.raises(ConfigErrors, match="country"):
        prepare(path, nothing_against, IDLE)


def test_what_is_still_in_use_outlives_its_snapshot(tmp_path: Path) -> None:
    """A call that is up keeps its customer; the rest goes, and so does what was remembered of it."""
    box = [compile_snapshot(load_settings(written(tmp_path)))]
    kept = box[0].customers[1]
    remembered: list[object] = [{"127.0.0.1": kept}, {}]
    let_go_of(box, remembered, IDLE)
    assert (box, remembered) == ([], [{}, {}])
    assert kept.id == "globex"


def test_many_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    """What a reload leaves out of all later searches for garbage is what serves, not what served before."""
    path = written(tmp_path)
    serving: list[Snapshot] = []

    def reload() -> None:
        with uncollected():
            replaced = serving[:]
            serving[:] = [prepare(path, nothing_against, IDLE)[1]]
            if replaced:
                let_go_of(replaced, [], IDLE)

    try:
        for _ in range(5):
            reload()
        gc.collect()
        gc.freeze()
        before = gc.get_freeze_count()
        for _ in range(20):
            reload()
        assert gc.get_freeze_count() - before < 100
    finally:
        gc.unfreeze()


def test_garbage_is_looked_for_again_afterwards() -> None:
    """Also after a failure; what came meanwhile and stays is not searched any more."""
    frozen = gc.get_freeze_count()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
        gc.unfreeze()
        with pytest.raises(ConfigError), uncollected():
            raise ConfigError("no")
        assert gc.isenabled()
        assert gc.get_freeze_count() == 0
    finally:
        gc.unfreeze()


def test_thread_rests_longer_while_the_loop_has_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it calls need not know; when the block ends, so does the watching."""
    taken_in = 0
    rests: list[float] = []
    monkeypatch.setattr(reloading, "_WORK_S", 0.0)
    pace = Pace(lambda: taken_in)
    monkeypatch.setattr(time, "sleep", rests.append)
    with pace.kept():
        sorted([3, 1, 2], key=str)
        short = max(rests)
        taken_in += 1
        sorted([3, 1, 2], key=str)
        assert max(rests) > 4 * short
        assert rests[-1] == short
    count = len(rests)
    sorted([3, 1, 2], key=str)
    assert (len(rests), sys.getprofile()) == (count, None)


def test_process_goes_on_without_what_the_file_said_of_customers(tmp_path: Path) -> None:
    """From its start on; the rest of the settings stays, with its lines."""
    whole = load_settings(written(tmp_path))
    slim = without_customers(whole)
    assert (slim.customers, whole.customers) == ([], [])
    assert slim.trunks == whole.trunks
    assert slim.where("listeners.customers.bind")[1] > 0
