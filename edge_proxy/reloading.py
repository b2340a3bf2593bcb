"""A reload beside the calls: the path of a configuration in, what is to serve out, and no thread kept waiting for long.

A worker has one interpreter for its calls and its reloads. Whatever a reload does in one go holds it: looking for
garbage among the half a million objects of 10,000 customers, or freeing them at once, takes some 50 ms. So nothing is
looked for meanwhile, what is no longer needed is let go of few at a time, and the thread that does it rests while calls
come in, wherever it comes by a place for that (resting.py). The largest data, numbers and the table of ASNs, is made
by processes of their own (compiled_files.py).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edge_proxy.assertions import compile_asserted
from edge_proxy.config import Settings, load_settings
from edge_proxy.errors import EdgeProxyError
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.resting import Pace

_AT_ONCE: Final = 8


def prepare(
    path: Path, check: Callable[[Settings], None], pace: Pace, serving: Snapshot | None = None
) -> tuple[Settings, Snapshot]:
    """Read, check and compile what is to serve after `serving`; the settings come without the customers, who are in the
    snapshot.

    Raises EdgeProxyError, also once the pace is over, and what `check` raises.
    """
    with pace.kept():
        return _prepare(path, check, pace, serving)


def _prepare(
    path: Path, check: Callable[[Settings], None], pace: Pace, serving: Snapshot | None
) -> tuple[Settings, Snapshot]:
    settings = load_settings(path)
    try:
        check(settings)
        snapshot = compile_asserted(settings, serving)
        return settings.model_copy(update={"customers": []}), snapshot
    except EdgeProxyError as error:
        # Its traceback would hold all that was read until the loop has told what is wrong.
        raise error.with_traceback(None) from None
    finally:
        _let_go(settings.customers_written(), pace)
        _let_go(settings.customers, pace)


def without_customers(settings: Settings) -> Settings:
    """What a process goes on with after its start: they are in the snapshot, and what the file said of them is let go
    of before there are calls, by whoever else has these settings too."""
    slim = settings.model_copy(update={"customers": []})
    settings.customers_written()
    settings.customers.clear()
    return slim


def let_go_of(box: list[Snapshot], remembered: list[object], pace: Pace) -> None:
    """Empty the box of a snapshot that serves no more, and the tables of what was remembered of it; whoever is still
    in use somewhere stays there."""
    for table in remembered:
        if isinstance(table, dict):
            while table:
                table.popitem()
                pace.step()
    snapshot = box.pop()
    parts: list[object] = [*snapshot.customers, *snapshot.customer_targets, *snapshot.shared_groups]
    parts += snapshot.tls_identities
    parts += snapshot.destinations.probed.items()
    if snapshot.realm is not None:
        parts += snapshot.realm.users.values()
    del snapshot
    _let_go(parts, pace)


def _let_go(things: list[Any], pace: Pace) -> None:
    """Empty a list, a few at a time."""
    while things:
        del things[-_AT_ONCE:]
        pace.step()


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile. What has come to stay is left out of all later searches too."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
