"""What a call does when memory runs out in the middle of it."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

HAS_FAILING_MEMORY = importlib.util.find_spec("_testcapi") is not None
"""Some distributions leave out what CPython is tested with."""
_ROUNDS = 6


def fail_each_allocation(call: Callable[[], object], expected: object, most: int = 120) -> int:
    """Make a call over and over, its first allocation failing, its second and so on up to `most`; only that one.

    Each time it must raise MemoryError or return what is expected, and in the end no more is allocated than before.
    Returns at how many places it raised.
    """
    testing: Any = importlib.import_module("_testcapi")
    failed: set[int] = set()
    allocated = 0
    gc.collect()
    gc.freeze()  # to collect what is new takes no time
    try:
        for turn in range(_ROUNDS):
            if turn == 1:
                allocated = sys.getallocatedblocks()  # now what is remembered for good is there
            for place in range(1, most):
                gc.collect()  # it empties CPython's lists of free objects too
                testing.set_nomemory(place, place + 1)
                try:
                    returned = call()
                except MemoryError:
                    failed.add(place)
                else:
                    testing.remove_mem_hooks()
                    assert returned == expected, place
                    returned = None
                finally:
                    testing.remove_mem_hooks()
    finally:
        gc.unfreeze()
    gc.collect()
    grown = sys.getallocatedblocks() - allocated
    assert grown < _ROUNDS - 1, f"{grown} more blocks after {_ROUNDS - 1} rounds"
    return len(failed)
