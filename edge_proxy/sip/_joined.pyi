"""What `_joined.c` offers to Python."""

from collections.abc import Sequence

def joined(start_line: bytes, begin: Sequence[bytes], lines: Sequence[bytes], body: bytes, /) -> bytes: ...
