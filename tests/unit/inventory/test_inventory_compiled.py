"""From the inventory to what a worker maps: merged with the configuration, as of a moment, made once, refused whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_proxy import compiled_files
from edge_proxy.addr import E164, Address, Side, Transport, Wall
from edge_proxy.compile import compile_snapshot
from edge_proxy.compiled_files import KEPT
from edge_proxy.compiled_notes import look_at
from edge_proxy.config import ConfigErrors, Settings, parse_settings
from edge_proxy.inventory import compiled
from edge_proxy.inventory.build import build
from edge_proxy.inventory.compiled import BuildRequest, compile_apart, index_path, map_index, write_index
from edge_proxy.inventory.rights import InventoryError
from edge_proxy.inventory.store import Inventory
from edge_proxy.numbers.index_file import MappedOwnershipIndex, pack_index
from edge_proxy.pipeline.judgement import judge
from edge_proxy.policy.parties import Source
from edge_proxy.policy.verdict import Reason
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.uri import parse_uri
from tests.kit.inventory_cases import AUTHOR, BASE, load
from tests.kit.messages import invite_from_carrier

DEFAULT = Path(__file__).parents[3] / "config/edge-proxy.yaml"
SETTLED_S = 0.15
"""After this, what was written is told from what is written next by its time."""
JUNE = 1_780_272_000  # 2026-06-01
ACME, GLOBEX, INITECH = 0, 1, 2


def settings_in(directory: Path, **changes: object) -> Settings:
    document = yaml.safe_load(DEFAULT.read_text()) | {"data_dir": str(directory)} | changes
    return parse_settings(yaml.safe_dump(document).encode(), "edge-proxy.yaml")


def fill(directory: Path, text: str) -> None:
    with Inventory.open(f"sqlite:///{directory / 'numbers.sqlite'}") as inventory:
        load(inventory, text)


def owner(settings: Settings, number: int, now: float = JUNE) -> str | None:
    snapshot = compile_snapshot(settings, Wall(now))
    customer = snapshot.rulebook.owner(E164(number))
    return None if customer is None else customer.id


def request(directory: Path, now: float = JUNE) -> BuildRequest:
    return BuildRequest(f"sqlite:///{directory / 'numbers.sqlite'}", str(directory), ["acme", "globex"], [], now)


def test_without_an_inventory_nothing_is_compiled_apart(tmp_path: Path) -> None:
    """The configuration alone needs no file and no second process."""
    snapshot = compile_snapshot(settings_in(tmp_path), Wall(JUNE))
    assert not isinstance(snapshot.rulebook.ownership, MappedOwnershipIndex)
    assert snapshot.next_change_at is None
    assert list(tmp_path.iterdir()) == []


def test_configuration_and_inventory_are_served_together(tmp_path: Path) -> None:
    """Numbers of both belong to their customers, each number once; the index is a mapped file."""
    fill(tmp_path, "first,last,customer\n+12025550150,+12025550299,acme\n+442079461000,+442079461009,initech\n")
    settings = settings_in(tmp_path)
    snapshot = compile_snapshot(settings, Wall(JUNE))
    assert isinstance(snapshot.rulebook.ownership, MappedOwnershipIndex)
    assert snapshot.rulebook.ownership.numbers == 200 + 100 + 1010
    expected = {12025550100: ACME, 12025550299: ACME, 12025550300: -1, 13105550100: GLOBEX, 442079461009: INITECH}
    assert {number: snapshot.rulebook.ownership.owner_of(E164(number)) for number in expected} == expected


def test_file_is_made_once_and_named_in_the_snapshot(tmp_path: Path) -> None:
    """What has not changed is not made again; what has, changes the snapshot's version."""
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    first, again = build(request(tmp_path)), build(request(tmp_path, JUNE + 5))
    assert (first.is_new, again.is_new, first.path) == (True, False, again.path)
    before = compile_snapshot(settings_in(tmp_path), Wall(JUNE)).version
    assert compile_snapshot(settings_in(tmp_path), Wall(JUNE)).version == before
    fill(tmp_path, f"number,customer\n+{BASE + 1},acme\n")
    assert compile_snapshot(settings_in(tmp_path), Wall(JUNE)).version != before
    assert build(request(tmp_path)).is_new


class Asked:
    """Counts how often a process would have been started, and starts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self._ask = compiled_files.ask
        monkeypatch.setattr(compiled, "ask", self._count)

    def _count(self, module: str, request: object) -> dict[str, Any]:
        self.times += 1
        return self._ask(module, request)


def test_unchanged_inventory_is_served_on_without_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start its index is mapped, at a reload it stays; another policy changes nothing about that."""
    asked = Asked(monkeypatch)
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    time.sleep(SETTLED_S)
    settings = settings_in(tmp_path)
    first = compile_snapshot(settings, Wall(JUNE))
    again = compile_snapshot(settings, Wall(JUNE + 1))
    assert (asked.times, again.version) == (1, first.version)
    assert again.rulebook.ownership is not first.rulebook.ownership
    assert again.rulebook.ownership.owner_of(E164(BASE)) == ACME
    watching = settings_in(tmp_path, policy={"mode": "monitor"})
    third = compile_snapshot(watching, Wall(JUNE + 2), again)
    assert third.rulebook.ownership is again.rulebook.ownership
    assert asked.times == 1


def test_changed_inventory_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While whoever changed it has it open still, and when its file is put in another's place with the same time; so is
    another list of customers, or of numbers in the configuration."""
    asked = Asked(monkeypatch)
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    time.sleep(SETTLED_S)
    settings = settings_in(tmp_path)
    serving = compile_snapshot(settings, Wall(JUNE))
    with Inventory.open(f"sqlite:///{tmp_path / 'numbers.sqlite'}") as inventory:
        with inventory.reading():  # the changes stay in the log beside the file
            load(inventory, f"number,customer\n+{BASE + 1},acme\n")
            serving = compile_snapshot(settings, Wall(JUNE), serving)
        assert serving.rulebook.ownership.owner_of(E164(BASE + 1)) == ACME
    path, other = tmp_path / "numbers.sqlite", tmp_path / "other.sqlite"
    other.write_bytes(path.read_bytes())
    with Inventory.open(f"sqlite:///{other}") as inventory:
        inventory.undo_last(AUTHOR)
    stamp = path.stat()
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other.rename(path)
    assert path.stat().st_size == stamp.st_size
    serving = compile_snapshot(settings, Wall(JUNE), serving)
    assert serving.rulebook.ownership.owner_of(E164(BASE + 1)) == -1
    assert asked.times == 3
    customers = yaml.safe_load(DEFAULT.read_text())["customers"]
    changed = [customers[1], customers[0], customers[2]]
    serving = compile_snapshot(settings_in(tmp_path, customers=changed), Wall(JUNE), serving)
    assert serving.rulebook.ownership.owner_of(E164(BASE)) == 1
    changed[0]["numbers"] = ["+13105550100-+13105550150"]
    serving = compile_snapshot(settings_in(tmp_path, customers=changed), Wall(JUNE), serving)
    assert serving.rulebook.ownership.owner_of(E164(13105550151)) == -1
    assert asked.times == 5


def test_changed_inventory_is_seen_behind_a_link(tmp_path: Path) -> None:
    """Its last changes lie beside the file that the link leads to, not beside the link."""
    (tmp_path / "disk").mkdir()
    fill(tmp_path / "disk", f"number,customer\n+{BASE},acme\n")
    (tmp_path / "numbers.sqlite").symlink_to("disk/numbers.sqlite")
    time.sleep(SETTLED_S)
    settings = settings_in(tmp_path)
    serving = compile_snapshot(settings, Wall(JUNE))
    with Inventory.open(f"sqlite:///{tmp_path / 'numbers.sqlite'}") as inventory, inventory.reading():
        load(inventory, f"number,customer\n+{BASE + 1},acme\n")
        serving = compile_snapshot(settings, Wall(JUNE), serving)
    assert serving.rulebook.ownership.owner_of(E164(BASE + 1)) == ACME


def test_date_that_has_come_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the date on, and when the clock was put back: what is known holds from its moment to the next date."""
    asked = Asked(monkeypatch)
    fill(tmp_path, f"number,customer,valid_from\n+{BASE},acme,2026-06-02\n")
    time.sleep(SETTLED_S)
    settings = settings_in(tmp_path)
    tomorrow = JUNE + 86_400
    found = [(owner(settings, BASE, now), asked.times) for now in (JUNE, tomorrow - 1, tomorrow, tomorrow + 1, JUNE)]
    assert found == [(None, 1), (None, 1), ("acme", 2), ("acme", 2), (None, 3)]


def test_index_that_broke_unnoticed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note says it is as it was, its checksum does not."""
    asked = Asked(monkeypatch)
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    time.sleep(SETTLED_S)
    settings = settings_in(tmp_path)
    compile_snapshot(settings, Wall(JUNE))
    (made,) = tmp_path.glob("*.idx")
    made.write_bytes(made.read_bytes()[:-1] + b"?")
    note = tmp_path / "numbers.note"
    known = json.loads(note.read_bytes())
    note.write_text(json.dumps(known | {"states": known["states"] | look_at([made]).states}))
    assert owner(settings, BASE) == "acme"
    assert asked.times == 2


def test_rights_hold_in_their_time_and_the_next_date_is_known(tmp_path: Path) -> None:
    """As of a moment: before, in and after each right; `next_change_at` says when the answer changes."""
    fill(
        tmp_path,
        "number,customer,valid_from,valid_to\n"
        f"+{BASE},acme,,2026-05-31\n+{BASE},globex,2026-06-01,2026-06-30\n+{BASE + 1},acme,,\n",
    )
    settings = settings_in(tmp_path)
    july = JUNE + 30 * 86_400
    owners = [owner(settings, BASE, now) for now in (JUNE - 1, JUNE, july - 1, july)]
    assert owners == ["acme", "globex", "globex", None]
    dates = [compile_snapshot(settings, Wall(now)).next_change_at for now in (JUNE - 1, JUNE, july)]
    assert dates == [Wall(JUNE), Wall(july), None]


def test_number_that_others_use_too_may_arrive_from_the_carrier(tmp_path: Path) -> None:
    """Delegated, or ported out and in its grace: it is the customer's to call as, and not its alone."""
    fill(
        tmp_path,
        "number,customer,right,reference,ported_out_at,grace_days\n"
        f"+{BASE},acme,owned,,,\n+{BASE + 1},acme,delegated,LOA-1,,\n+{BASE + 2},acme,owned,,2026-06-02,30\n"
        f"+{BASE + 3},acme,owned,,2026-05-31,30\n+12025550100,acme,delegated,LOA-2,,\n",
    )
    settings = settings_in(tmp_path)

    def reasons(now: float) -> list[Reason]:
        snapshot = compile_snapshot(settings, Wall(now))
        source = Source(snapshot.origin_of("127.0.0.1", Side.CARRIERS), Address("127.0.0.1", 5090), Transport.UDP)
        found: list[Reason] = []
        for number in (BASE, BASE + 1, BASE + 2, BASE + 3, 12025550100):
            message = parse_message(invite_from_carrier("+13105550100", caller=f"+{number}"), Limits())
            found.append(judge(snapshot, message, parse_uri(message.uri), source).verdict.reason)
            customer = snapshot.rulebook.owner(E164(number))
            assert customer is not None
            assert customer.id == "acme"
        return found

    forged, fine = Reason.OWN_NUMBER_FROM_CARRIER, Reason.CARRIER_CALL
    assert reasons(JUNE) == [forged, fine, forged, fine, forged]
    assert compile_snapshot(settings, Wall(JUNE)).next_change_at == Wall(JUNE + 86_400)
    assert reasons(JUNE + 86_400) == [forged, fine, fine, fine, forged]


def test_number_given_twice_is_an_error_at_its_line(tmp_path: Path) -> None:
    """The configuration and the inventory may agree on a number, never disagree, not even about its future."""
    fill(tmp_path, "number,customer,valid_from\n+12025550150,globex,2027-01-01\n+13105550150,globex,\n")
    settings = settings_in(tmp_path)
    with pytest.raises(ConfigErrors) as caught:
        compile_snapshot(settings, Wall(JUNE))
    (error,) = caught.value.errors
    assert error.key == "customers[0].numbers[0]"
    assert error.line == settings.where("customers[0].numbers[0]")[1] > 0
    assert "+12025550150 is globex's in the inventory" in str(error)
    assert list(tmp_path.glob("*.idx")) == []


def test_customer_that_the_configuration_does_not_know_is_an_error(tmp_path: Path) -> None:
    """With its name and how many numbers it has; one whose rights are all over is history."""
    fill(
        tmp_path,
        f"first,last,customer,valid_to\n+{BASE},+{BASE + 9},hooli,\n+{BASE + 20},+{BASE + 29},piper,2026-01-31\n",
    )
    with pytest.raises(ConfigErrors) as caught:
        compile_snapshot(settings_in(tmp_path), Wall(JUNE))
    (error,) = caught.value.errors
    assert "the inventory gives 10 numbers to hooli" in str(error)


def test_database_that_fails_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """A reload with it leaves the old snapshot in place, as with anything else that is wrong."""
    (tmp_path / "numbers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigErrors, match=r"numbers\.sqlite"):
        compile_snapshot(settings_in(tmp_path), Wall(JUNE))
    url = "postgresql://edge:secret@127.0.0.1:1/none"
    with pytest.raises(ConfigErrors, match=r"numbers\.inventory") as caught:
        compile_snapshot(settings_in(tmp_path, numbers={"inventory": url}), Wall(JUNE))
    assert "secret" not in str(caught.value)


def test_damaged_file_is_made_again(tmp_path: Path) -> None:
    """A file that a crash or a disk broke is found by its checksum and replaced."""
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    path = Path(build(request(tmp_path)).path)
    whole = path.read_bytes()
    for broken in (b"", whole[:-1], whole[:-1] + b"\x01"):
        path.write_bytes(broken)
        with pytest.raises(InventoryError, match=path.name):
            map_index(path)
        assert build(request(tmp_path)).is_new
        assert path.read_bytes() == whole


def test_old_files_go_and_mapped_ones_live_on(tmp_path: Path) -> None:
    """The directory does not fill up, and a snapshot in use is not disturbed by what comes after it."""
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    mapped = map_index(Path(build(request(tmp_path)).path))
    for step in range(1, 6):
        fill(tmp_path, f"number,customer\n+{BASE + step},acme\n")
        build(request(tmp_path))
    assert len(list(tmp_path.glob("*.idx"))) == KEPT
    assert [mapped.owner_of(E164(BASE + step)) for step in (0, 1)] == [ACME, -1]


def test_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves no file under the name that workers look for, and nothing beside it."""
    path = index_path(tmp_path, "abc")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InventoryError, match="No space left on device"):
        write_index(path, pack_index([(BASE, BASE, 0)]))
    assert list(tmp_path.iterdir()) == []


def test_builder_that_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to the other process, the caller gets one error it knows."""
    monkeypatch.setattr(compiled, "BUILDER", "edge_proxy.no_such_module")
    with pytest.raises(InventoryError, match="no_such_module"):
        compile_apart(request(tmp_path))


def test_builder_answers_in_json(tmp_path: Path) -> None:
    """What is wrong is an answer too."""
    asked = {"url": f"sqlite:///{tmp_path / 'none'}", "directory": "", "customers": [], "inline": [], "now": 0}
    command = [sys.executable, "-m", compiled.BUILDER]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True)
    assert "there is no inventory" in json.loads(done.stdout)["error"]


def test_compiling_loads_no_database_library() -> None:
    """A worker that serves an inventory never has SQLAlchemy in memory."""
    code = "import sys, edge_proxy.compile; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_undo_takes_the_numbers_out_of_the_next_snapshot(tmp_path: Path) -> None:
    """What was undone is nobody's number again."""
    fill(tmp_path, f"number,customer\n+{BASE},acme\n")
    settings = settings_in(tmp_path)
    assert owner(settings, BASE) == "acme"
    with Inventory.open(f"sqlite:///{tmp_path / 'numbers.sqlite'}") as inventory:
        inventory.undo_last(AUTHOR)
    assert owner(settings, BASE) is None
