"""The inventory's tables, and how a database is opened: a URL in, an engine out, missing tables made.

`number_ranges` holds disjoint ranges, `number_rights` what each holding consists of, one row a right;
`number_changes` is the log of all changes, and `number_undo` the ranges that a change took out.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from edge_proxy.inventory.rights import InventoryError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
    from sqlalchemy.pool import ConnectionPoolEntry

SCHEMA: Final = "1"
"""Which tables these are. A newer version of the product says so here, and an older one leaves them alone."""

_BUSY_TIMEOUT_S: Final = 30
_CONNECT_TIMEOUT_S: Final = 10
_FIRST_OPENING_S: Final = 5.0
_PAUSE_S: Final = 0.02
_CACHE_KIB: Final = 65_536
_CREATION_LOCK: Final = 0x65_64_67_65  # any number that nobody else in the database uses

# SQLite stores a table in the order of its INTEGER PRIMARY KEY, and takes no other name for the type.
_Big = BigInteger().with_variant(sqlite.INTEGER(), "sqlite")

metadata = MetaData()

ranges = Table(
    "number_ranges",
    metadata,
    Column("first", _Big, primary_key=True, autoincrement=False),
    Column("last", _Big, nullable=False),
    Column("holding", Integer, nullable=False),
    Column("change", Integer, nullable=False, comment="the change that put it here"),
)

rights = Table(
    "number_rights",
    metadata,
    Column("holding", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False, comment="from 0, in the order of time"),
    Column("customer", String(64), nullable=False),
    Column("valid_from", _Big, comment="seconds since 1970; null: always"),
    Column("valid_to", _Big, comment="the first second in which it holds no more; null: no end"),
    Column("kind", String(16), nullable=False, comment="owned or delegated"),
    Column("reference", String(200), nullable=False),
    Column("ported_out_at", _Big),
    Column("grace_s", _Big, nullable=False),
)

changes = Table(
    "number_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False, comment="import, add, remove, port-out or undo"),
    Column("made_at", _Big, nullable=False),
    Column("made_by", String(128), nullable=False),
    Column("source", String(1024), nullable=False, comment="the file, or what was typed"),
    Column("sha256", String(64), nullable=False, comment="of the file; empty where there was none"),
    Column("added", _Big, nullable=False),
    Column("changed", _Big, nullable=False),
    Column("removed", _Big, nullable=False),
    Column("unchanged", _Big, nullable=False),
    Column("state", String(16), nullable=False, comment="done, undone, or settled: too long ago to be undone"),
    sqlite_autoincrement=True,
)

undo = Table(
    "number_undo",
    metadata,
    Column("undoes", Integer, primary_key=True, autoincrement=False, comment="the change that took it out"),
    Column("first", _Big, primary_key=True, autoincrement=False),
    Column("last", _Big, nullable=False),
    Column("holding", Integer, nullable=False),
    Column("change", Integer, nullable=False),
)

inventory = Table(
    "number_inventory",
    metadata,
    Column("key", String(16), primary_key=True),
    Column("value", String(64), nullable=False),
)


def open_engine(url: str, *, create: bool) -> Engine:
    """Connect and check the tables. Without `create`, an inventory that does not exist is an InventoryError."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        shown = parsed.render_as_string(hide_password=True)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        if is_sqlite and parsed.database:
            if create:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            elif not Path(parsed.database).exists():
                raise InventoryError(f"there is no inventory at {shown} yet; `edge-proxy numbers import` makes one")
        timeout = {"timeout": _BUSY_TIMEOUT_S} if is_sqlite else {"connect_timeout": _CONNECT_TIMEOUT_S}
        # One connection at a time is needed; a database in memory lives as long as its connection.
        pool = StaticPool if is_sqlite and not parsed.database else NullPool
        engine = create_engine(parsed, poolclass=pool, connect_args=timeout)
    except (ArgumentError, ImportError, OSError, SQLAlchemyError) as error:
        raise InventoryError(f"cannot open the inventory: {error}") from error
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with explained(engine):
        with engine.begin() as connection:
            is_there = inspect(connection).has_table(inventory.name)
        if not is_there and not create:
            raise InventoryError(f"there is no inventory at {shown} yet; `edge-proxy numbers import` makes one")
        if not is_there:
            with engine.begin() as connection:
                _make_tables(connection)
        with engine.begin() as connection:
            found = connection.scalar(select(inventory.c.value).where(inventory.c.key == "schema"))
        if found != SCHEMA:
            raise InventoryError(
                f"the inventory at {shown} has tables of version {found}, and this program knows {SCHEMA}; "
                "use the version that made it"
            )
    return engine


def files_of(url: str) -> list[Path]:
    """Where such an inventory is kept, whether it exists or not, and where its last changes are until they get there:
    unless one of them changes, nothing has. None for one that is no file."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return []
    name = parsed.database
    if parsed.get_backend_name() != "sqlite" or not name or name.startswith((":", "file:")):
        return []
    return [Path(name), Path(f"{os.path.realpath(name)}-wal")]  # SQLite follows links before it names the log


def _make_tables(connection: Connection) -> None:
    """One at a time: who comes second finds them made."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
    else:
        connection.exec_driver_sql("PRAGMA user_version = 0")  # a write, so it takes SQLite's lock
    if inspect(connection).has_table(inventory.name):
        return
    metadata.create_all(connection)
    connection.execute(
        insert(inventory), [{"key": "schema", "value": SCHEMA}, {"key": "id", "value": uuid.uuid4().hex}]
    )


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """A failing database as one InventoryError that names it, without its password."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        why = " ".join(str(cause).split())
        shown = engine.url.render_as_string(hide_password=True)
        raise InventoryError(f"cannot use the inventory at {shown}: {why}") from error


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver would begin transactions by itself, late and for some statements only: the engine says BEGIN instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    _use_write_ahead_log(cursor)
    cursor.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    cursor.close()


def _use_write_ahead_log(cursor: DBAPICursor) -> None:
    """Whoever compiles reads on while an import writes.

    The first to open a file changes it; a second one that comes in the middle is told at once that it is locked,
    whatever the driver's patience. This is its patience.
    """
    until = time.monotonic() + _FIRST_OPENING_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
