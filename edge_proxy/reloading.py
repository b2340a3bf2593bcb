"""A reload beside the calls: the path of a configuration in, what is to serve out, and no thread kept waiting for long.

A worker has one interpreter for its calls and its reloads. Whatever a reload does in one go holds it: looking for
garbage among the half a million objects of 10,000 customers, or freeing them at once, takes some 50 ms. So nothing is
looked for meanwhile, what is no longer needed is let go of few at a time, and on a thread. The largest data, numbers
and the table of ASNs, is compiled by processes of their own anyway (compiled_files.py).
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

_AT_ONCE: Final = 8


def prepare(path: Path, check: Callable[[Settings], None]) -> tuple[Settings, Snapshot]:
    """Read, check and compile; the settings come without the customers, who are in the snapshot.

    Raises EdgeProxyError, and what `check` raises.
    """
    settings = load_settings(path)
    try:
        check(settings)
        snapshot = compile_asserted(settings)
        return settings.model_copy(update={"customers": []}), snapshot
    except EdgeProxyError as error:
        # Its traceback would hold all that was read until the loop has told what is wrong.
        raise error.with_traceback(None) from None
    finally:
        let_go(settings.customers_written())
        let_go(settings.customers)


def let_go_of(box: list[Snapshot]) -> None:
    """Empty the box of a snapshot that serves no more; whoever is still in use somewhere stays there."""
    snapshot = box.pop()
    parts: list[object] = [*snapshot.customers, *snapshot.customer_targets, *snapshot.shared_groups]
    parts += snapshot.tls_identities
    if snapshot.realm is not None:
        parts += snapshot.realm.users.values()
    del snapshot
    let_go(parts)


def let_go(things: list[Any]) -> None:
    """Empty a list, a few at a time: other threads get their turn in between."""
    while things:
        del things[-_AT_ONCE:]


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile. What has come to stay is left out of all later searches too."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
