"""The inventory on a real PostgreSQL: a cluster of its own, made for the run, reached by a socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml
from sqlalchemy import create_engine, text

from edge_proxy.addr import E164, Wall
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.inventory.rights import InventoryError
from edge_proxy.inventory.store import ChangeRefusedError, Inventory
from tests.kit.inventory_cases import BASE, CASES, load, ranges_csv, state
from tests.kit.peers import missing
from tests.kit.ports import free_port
from tests.kit.proxy_process import run_command

DEFAULT: Final = Path(__file__).parents[2] / "config/edge-proxy.yaml"


@pytest.fixture(scope="module")
def programs() -> Path:
    """Where initdb and pg_ctl are; without them a person's run skips and names it, and an automatic one fails."""
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found is None and not places:
        missing("PostgreSQL is not on this machine (Debian package postgresql)")
    return (places[-1] if places else Path(str(found)).resolve()).parent


@pytest.fixture(scope="module")
def cluster(programs: Path) -> Iterator[str]:
    """A running server; the URL of its first database. It refuses to run as root, which lends it the user's name."""
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="edge-pg-", dir="/tmp"))  # the path of a socket must be short

    def run(*command: str | Path) -> None:
        with (home / "log").open("ab") as log:
            done = subprocess.run(
                [str(part) for part in command],
                cwd=home,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        assert done.returncode == 0, (home / "log").read_text()

    port = free_port()
    if user is not None:
        os.chown(home, user.pw_uid, user.pw_gid)
    data = home / "data"
    try:
        run(programs / "initdb", "-D", data, "-U", "edge", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        # Without durability: what this server keeps is thrown away.
        options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off -p {port}"
        run(programs / "pg_ctl", "-D", data, "-l", home / "server.log", "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://edge@/postgres?host={home}&port={port}"
        finally:
            run(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home)


@pytest.fixture
def url(cluster: str) -> str:
    """An empty schema for each test."""
    engine = create_engine(cluster)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return cluster


def at_once(*work: Callable[[], None]) -> None:
    """Run all of it at the same time, and wait."""
    start = threading.Barrier(len(work))

    def begin(one: Callable[[], None]) -> None:
        start.wait()
        one()

    threads = [threading.Thread(target=begin, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("check_"))
def test_postgresql_inventory(case: Callable[[Inventory], None], url: str) -> None:
    """Each case of tests/kit/inventory_cases.py: the same as on SQLite."""
    with Inventory.open(url) as inventory:
        case(inventory)


def test_two_imports_at_once_cannot_take_the_same_numbers(url: str) -> None:
    """Two nodes share one database: one waits for the other and sees what it did."""
    Inventory.open(url).close()
    refused: list[str] = []

    def take(customer: str) -> None:
        with Inventory.open(url) as mine:
            try:
                load(mine, ranges_csv((0, 99, customer)))
            except ChangeRefusedError:
                refused.append(customer)

    at_once(lambda: take("acme"), lambda: take("globex"))
    assert len(refused) == 1
    with Inventory.open(url) as after:
        assert state(after) == [(0, 99, "globex" if refused == ["acme"] else "acme")]


def test_nodes_may_open_an_empty_database_at_once(url: str) -> None:
    """Whoever comes second finds the tables made, and there is one id for all."""
    revisions: list[str] = []

    def open_it() -> None:
        with Inventory.open(url) as inventory, inventory.reading() as reading:
            revisions.append(reading.revision)

    at_once(*(open_it for _ in range(4)))
    assert len(revisions) == 4
    assert len(set(revisions)) == 1


def test_database_without_an_inventory_is_told(url: str) -> None:
    """Asking a question makes no tables."""
    with pytest.raises(InventoryError, match="there is no inventory at"):
        Inventory.open(url, create=False)


def test_node_serves_what_the_database_holds(url: str, tmp_path: Path) -> None:
    """Named in the configuration, filled by the command, compiled to a mapped file, served."""
    document = yaml.safe_load(DEFAULT.read_text())
    document |= {"data_dir": str(tmp_path / "data"), "numbers": {"inventory": url.replace("+psycopg", "")}}
    config = tmp_path / "edge-proxy.yaml"
    config.write_text(yaml.safe_dump(document))
    numbers = tmp_path / "numbers.csv"
    numbers.write_text(f"number,customer\n+{BASE},acme\n")
    done = run_command("numbers", "import", numbers, "--config", config)
    assert done.returncode == 0, done.stderr
    snapshot = compile_snapshot(parse_settings(config.read_bytes(), str(config)), Wall(1_780_272_000))
    assert snapshot.rulebook.ownership.owner_of(E164(BASE)) == 0
    assert run_command("numbers", "who-owns", f"+{BASE}", "--config", config).returncode == 0
