"""The line before a saved request that says where it came from: `# source: udp:IP:PORT [side]`."""

from __future__ import annotations

from typing import Final

_SOURCE_LINE: Final = b"# source:"


def split_origin(data: bytes) -> tuple[str, str, bytes]:
    """A saved file as source, side and the request itself; the first two are "" where it says nothing of them."""
    if not data.startswith(_SOURCE_LINE):
        return "", "", data
    line, _, request = data.partition(b"\n")
    source, _, side = line.removeprefix(_SOURCE_LINE).decode("utf-8", "replace").strip().partition(" ")
    return source, side.strip(), request
