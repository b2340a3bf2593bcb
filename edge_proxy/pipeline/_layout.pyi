"""What `_layout.c` offers to Python."""

from typing import Protocol

class _Fill(Protocol):
    def __call__(self, *values: object) -> bytes: ...

class Layout:
    def __init__(self, template: bytes, plain: _Fill) -> None: ...
    def fill(self, *values: object) -> bytes: ...
