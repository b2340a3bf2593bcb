"""The compiled index on disk: written whole or not at all, mapped by workers, made by a process of its own.

`index_apart` is what a worker calls. It starts `edge_proxy.inventory.build`, which reads the database and writes
`numbers-<version>.idx`, so that a worker neither loads SQLAlchemy nor shares its interpreter with minutes of work.
Where the database is a file, a note (compiled_notes.py) says of which state of it the newest index is: as long as
nothing has changed and no date has come, no process is started.
Nothing here reads the database or decides what goes into the file.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from edge_proxy.compiled_files import ask, map_whole, write_whole
from edge_proxy.compiled_notes import Look, recall, remember
from edge_proxy.inventory.rights import InventoryError
from edge_proxy.numbers.index_file import LAYOUT, IndexFileError, MappedOwnershipIndex, PackedIndex, read_index
from edge_proxy.numbers.ownership import OwnershipIndex
from edge_proxy.resting import one_by_one

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


def index_version(path: Path) -> str:
    return path.stem.rpartition("-")[2]


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
        inline = [asdict(one) for one in one_by_one(request.inline)]
        small = asdict(replace(request, customers=[], inline=[]))
        answer = ask(BUILDER, small | {"customers": request.customers, "inline": inline})
        if "error" in answer:
            raise InventoryError(answer["error"])
        problems = [BuildProblem(**problem) for problem in answer.pop("problems")]
        return BuildResult(**answer, problems=problems)
    except (OSError, ValueError, TypeError, KeyError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InventoryError(f"cannot compile the inventory: {why}") from error


def index_apart(request: BuildRequest, serving: OwnershipIndex | None) -> tuple[BuildResult, OwnershipIndex | None]:
    """The index as it is now, or what is wrong: `serving` itself where nothing has changed, else one that is mapped,
    and made before if need be. Raises InventoryError."""
    result = recall_result(request)
    if result is not None:
        if isinstance(serving, MappedOwnershipIndex) and serving.version == index_version(Path(result.path)):
            return result, serving
        with suppress(InventoryError):  # it will be made again
            return result, map_index(Path(result.path))
    result = compile_apart(request)
    return result, None if result.problems else map_index(Path(result.path))


def remember_result(request: BuildRequest, look: Look, result: BuildResult) -> None:
    """Of files that were looked at before they were read. A result without problems."""
    answer = {"path": result.path, "since": request.now, "until": result.next_change_at}
    remember(_note(request), _asked(request), look, Path(result.path), answer)


def recall_result(request: BuildRequest) -> BuildResult | None:
    """What is known without a look into the database; None: nothing."""
    known = recall(_note(request), _asked(request))
    if known is None or request.now < known["since"] or (known["until"] is not None and request.now >= known["until"]):
        return None
    return BuildResult(known["path"], known["until"])


def _note(request: BuildRequest) -> Path:
    return Path(request.directory) / "numbers.note"


def _asked(request: BuildRequest) -> str:
    """All that an index depends on but the inventory and the date. A customer at a time: calls go on beside it."""
    digest = hashlib.sha256(f"{LAYOUT} {Path.cwd()} {request.url}\n".encode())
    for customer in one_by_one(request.customers):
        digest.update(f"{customer}\n".encode())
    for one in one_by_one(request.inline):
        digest.update(f"{one.first} {one.last} {one.owner}\n".encode())
    return digest.hexdigest()
