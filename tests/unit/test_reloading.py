"""A reload beside the calls: what serves, what is let go of, and what is left of one that was refused."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import yaml

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, Settings, load_settings
from edge_proxy.errors import ConfigError
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.reloading import let_go_of, prepare, uncollected, without_customers
from edge_proxy.resting import GivenUpError, Pace, in_order, one_by_one, rest, resting

IDLE = Pace(lambda: False)
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


def test_thread_rests_until_the_loop_has_nothing_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever what it does comes by a place to rest; when the block ends, that is nothing again."""
    wanted = [False]
    rests: list[float] = []
    pace = Pace(lambda: wanted.pop(0))
    monkeypatch.setattr(time, "sleep", rests.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(rests))
    with pace.kept():
        rest()
        assert len(rests) == 1
        rest()
        assert len(rests) == 1, "nothing was done since"
        rests.append(1.0)
        wanted = [True, True, False]
        rest()
        assert (len(rests), wanted) == (5, [])
    count = len(rests)
    rests.append(1.0)
    rest()
    assert len(rests) == count + 1


@pytest.mark.parametrize("awake_after_s", [0.0001, 0.0004, 0.01])
def test_thread_works_beside_a_loop_that_is_never_done_too(
    monkeypatch: pytest.MonkeyPatch, awake_after_s: float
) -> None:
    """However long it takes to get the interpreter back, and more at a time once that has been so for a while."""
    passed = [1.0]
    pace = Pace(lambda: True)
    monkeypatch.setattr(time, "sleep", lambda _: passed.append(awake_after_s))
    monkeypatch.setattr(time, "monotonic", lambda: sum(passed))
    pace.step()
    assert sum(passed[1:]) < 0.001 + awake_after_s
    works: list[int] = []
    for _ in range(20):
        rests = len(passed)
        steps = 0
        while len(passed) == rests + steps:
            steps += 1
            passed.append(0.00005)
            pace.step()
        works.append(steps)
    assert works[0] <= 3
    assert works[-1] > 2 * works[0]


def test_work_that_is_not_to_go_on_ends_where_it_would_rest() -> None:
    pace = Pace(lambda: False, lambda: True)
    with pytest.raises(GivenUpError), pace.kept():
        rest()


class Stretches(Pace):
    """The most that was called between two places to rest, and how many these were."""

    def __init__(self) -> None:
        super().__init__(lambda: False)
        self.longest = self.places = self._events = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        sys.setprofile(self._count)
        try:
            with super().kept():
                yield
        finally:
            sys.setprofile(None)

    def step(self) -> None:
        self.longest = max(self.longest, self._events)
        self.places += 1
        self._events = 0

    def _count(self, _frame: FrameType, _event: str, _what: object) -> None:
        self._events += 1


def test_no_stretch_without_a_rest_grows_with_the_customers(tmp_path: Path) -> None:
    """Ten times as many take ten times as many rests, and no longer from one to the next."""
    first = yaml.safe_load(DEFAULT.read_text())["customers"][1]
    found: list[Stretches] = []
    for count in (3, 300, 900):
        customers = [
            first
            | {
                "id": f"c-{one}",
                "sources": [f"10.0.{one >> 8}.{one & 255}"],
                "targets": [f"sip:10.1.{one >> 8}.{one & 255}"],
            }
            | {"numbers": [f"+1310555{one:04}"], "credentials": [{"username": f"u-{one}", "ha1_sha256": f"{one:064x}"}]}
            for one in range(count)
        ]
        found.append(Stretches())
        prepare(written(tmp_path, customers=customers), nothing_against, found[-1])
    _, few, many = found  # the first one has read what is read once
    assert many.places > few.places + 600 * 10
    assert many.longest < few.longest + 100


def test_only_the_thread_that_asked_for_it_rests() -> None:
    """Whoever does the same work on another one is not held up; nor is anybody after an error."""
    rests: list[int] = []
    with resting(lambda: rests.append(threading.get_ident())):
        other = threading.Thread(target=lambda: list(one_by_one(range(5))))
        other.start()
        other.join()
        assert list(one_by_one(range(3))) == [0, 1, 2]
    assert rests == [threading.get_ident()] * 3
    with pytest.raises(ConfigError), resting(lambda: rests.append(0)):
        raise ConfigError("no")
    rest()
    assert len(rests) == 3


def test_order_is_that_of_sorted() -> None:
    """Also of what is equal by its key, and whatever its number; what is sorted is let go of."""
    for count in (0, 1, 255, 256, 257, 3000):
        things = [(number * 7919 % 101, number) for number in range(count)]
        assert list(in_order(things, lambda thing: (thing[0],))) == sorted(things, key=lambda thing: thing[0])


def test_process_goes_on_without_what_the_file_said_of_customers(tmp_path: Path) -> None:
    """From its start on; the rest of the settings stays, with its lines."""
    whole = load_settings(written(tmp_path))
    slim = without_customers(whole)
    assert (slim.customers, whole.customers) == ([], [])
    assert slim.trunks == whole.trunks
    assert slim.where("listeners.customers.bind")[1] > 0
