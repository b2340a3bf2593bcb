"""`edge-proxy diff --numbers`: a configuration and a file of numbers in, the snapshot as it would be out.

The file is laid over a copy of the inventory, as `edge-proxy numbers import` would lay it over the inventory itself,
in a directory that is thrown away. Nothing that serves is written to.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from edge_proxy.addr import Wall
from edge_proxy.compile import compile_snapshot, inventory_url
from edge_proxy.config import load_settings
from edge_proxy.errors import EdgeProxyError
from edge_proxy.pipeline.snapshot import Snapshot

if TYPE_CHECKING:
    from edge_proxy.config import Settings
    from edge_proxy.inventory.store import Inventory

_CHUNK_BYTES: Final = 1 << 20
_ROWS: Final = 10_000


class NumbersError(EdgeProxyError):
    """The file of numbers cannot be laid over the inventory."""


def compile_with(config: Path, numbers: Path | None) -> Snapshot:
    """The snapshot of a configuration, with a file of numbers laid over its inventory. Raises EdgeProxyError."""
    settings = load_settings(config)
    if numbers is None:
        return compile_snapshot(settings)
    with TemporaryDirectory(prefix="edge-proxy-diff-") as directory:
        url = f"sqlite:///{directory}/numbers.sqlite"
        _lay_over(settings, numbers, url)
        there = settings.numbers.model_copy(update={"inventory": url})
        return compile_snapshot(settings.model_copy(update={"data_dir": Path(directory), "numbers": there}))


def _lay_over(settings: Settings, numbers: Path, url: str) -> None:
    # Imported here, as in numbers.py: SQLAlchemy takes a third of a second.
    from edge_proxy.inventory.store import Author, ChangeRefusedError, Inventory, Reserved

    author = Author("diff", Wall(time.time()))
    reserved = [
        Reserved(first, last, customer.id) for customer in settings.customers for first, last in customer.ranges
    ]
    customers = {customer.id for customer in settings.customers}
    try:
        opened = numbers.open("rb")
    except OSError as error:
        raise NumbersError(f"cannot read {numbers}: {error.strerror or error}") from error
    try:
        with opened, Inventory.open(url) as copy:
            if settings.numbers.inventory is not None or (settings.data_dir / "numbers.sqlite").exists():
                with Inventory.open(inventory_url(settings), create=False) as inventory:
                    copy.import_csv(_exported(inventory), "the inventory", author)
            chunks = iter(partial(opened.read, _CHUNK_BYTES), b"")
            copy.import_csv(chunks, str(numbers), author, customers=customers, reserved=reserved)
    except ChangeRefusedError as refused:
        lines = [f"{refused.source}:{problem.line}: {problem.text}" for problem in refused.problems]
        more = [f"... and {refused.left_out} more"] if refused.left_out else []
        raise NumbersError("\n".join([*lines, *more])) from refused


def _exported(inventory: Inventory) -> Iterator[bytes]:
    """All of an inventory, as `edge-proxy numbers export` writes it."""
    from edge_proxy.cli.numbers import EXPORTED_COLUMNS, exported_rows

    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(EXPORTED_COLUMNS)
    for count, row in enumerate(exported_rows(inventory), 1):
        writer.writerow(row)
        if count % _ROWS == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()
