"""What `_journal.c` offers to Python."""

from mmap import mmap

CAN_CHAIN: bool

def use_instructions(whether: bool, /) -> None: ...
def store(ring: mmap, head: int, tail: int, seq: int, payload: bytes, /) -> int: ...
def chain(
    ring: mmap, position: int, head: int, budget: int, seq: int, prev: bytes, limit: int, /
) -> tuple[int, int, bytes, int, bytes]: ...
