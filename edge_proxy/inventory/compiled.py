"""The compiled index on disk: written whole or not at all, mapped by workers, made by a process of its own.

`compile_apart` is what a worker calls. It starts `edge_proxy.inventory.build`, which reads the database and writes
`numbers-<version>.idx`, so that a worker neither loads SQLAlchemy nor shares its interpreter with minutes of work.
Nothing here reads the database or decides what goes into the file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from edge_proxy.compiled_files import ask, map_whole, write_whole
from edge_proxy.inventory.rights import InventoryError
from edge_proxy.numbers.index_file import IndexFileError, MappedOwnershipIndex, PackedIndex, read_index

BUILDER: Final = "edge_proxy.inventory.build"


@dataclass(frozen=True, slots=True)
class InlineRange:
    """Numbers from the configuration: they belong to the customer `owner` (by place), and were written at `key`."""

    first: int
    last: int
    owner: int
    key: str


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is to be compiled: an inventory and the configuration's own numbers, as of `now` (seconds since 1970)."""

    url: str
    directory: str
    customers: list[str]
    """Ids in the order of their ordinals."""
    inline: list[InlineRange]
    now: float


@dataclass(frozen=True, slots=True)
class BuildProblem:
    """What keeps an index from being made, and the key of the setting that it is about."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class BuildResult:
    """Where the index is and until when it is right, or what is wrong."""

    path: str = ""
    next_change_at: float | None = None
    """When the next right begins or ends, in seconds since 1970; None: no date lies ahead."""
    is_new: bool = False
    """False: nothing had changed, and the file was there."""
    problems: list[BuildProblem] = field(default_factory=list)


def index_path(directory: Path, version: str) -> Path:
    return directory / f"numbers-{version}.idx"


def write_index(path: Path, packed: PackedIndex) -> None:
    """A reader sees the whole file or none. Raises InventoryError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, packed.parts)
    except OSError as error:
        raise InventoryError(f"cannot write {path}: {error.strerror or error}; make room or grant access") from error


def map_index(path: Path) -> MappedOwnershipIndex:
    """Map a file and check it. Raises InventoryError when it cannot be read or is no whole index."""
    try:
        return read_index(map_whole(path))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped: ValueError
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        advice = "; delete it to have it made again" if isinstance(error, IndexFileError) else ""
        raise InventoryError(f"cannot use {path}: {text}{advice}") from error


def compile_apart(request: BuildRequest) -> BuildResult:
    """Have the index made by a process of its own, and wait for it. Raises InventoryError when that fails."""
    try:
        answer = ask(BUILDER, asdict(request))
        if "error" in answer:
            raise InventoryError(answer["error"])
        problems = [BuildProblem(**problem) for problem in answer.pop("problems")]
        return BuildResult(**answer, problems=problems)
    except (ValueError, TypeError, KeyError) as error:
        raise InventoryError(f"cannot compile the inventory: {error}") from error
