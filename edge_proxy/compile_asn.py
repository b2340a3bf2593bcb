"""The ASN table: the path of a text file in, a table out; a large one is compiled once, to a file that workers map.

`python -m edge_proxy.compile_asn` makes `asn-<hash of the text>.idx` in the data directory: a million lines take
seconds, in which a worker that read them itself would answer late. A note beside it (compiled_notes.py) says which
text that was: while its file is as it was, no process is started. Where there is no such directory, or it is somebody
else's, the table is read here, which is slower and right as well.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from edge_proxy.compiled_files import ask, begin, map_whole, remove_old, write_whole
from edge_proxy.compiled_notes import Look, look_at, recall, remember
from edge_proxy.config import Settings, settings_error
from edge_proxy.errors import ConfigError
from edge_proxy.resting import one_by_one
from edge_proxy.traffic.asn_file import LAYOUT, pack_asn_table, read_asn_table
from edge_proxy.traffic.asn_table import AsnTable

SMALL_BYTES: Final = 1 << 16
"""What is no larger is read where it is needed: starting a process would take longer."""
_DEFLATED: Final = 8
"""How much more text a byte of a compressed file stands for, about."""

_HASH_CHARS: Final = 12


def load_asn_table(
    settings: Settings,
    update_digest: Callable[[bytes], object],
    errors: list[ConfigError],
    serving: AsnTable | None = None,
) -> AsnTable | None:
    """The configuration's table; None, and the reason among `errors`, when there is none that can be used.

    It is `serving` itself where that was mapped from a file and nothing has changed.
    """
    if settings.asn is None:
        return AsnTable.empty()
    path = settings.asn.table
    try:
        if path.stat().st_size * (_DEFLATED if _is_gzip(path) else 1) > SMALL_BYTES and _is_ours(settings.data_dir):
            table = _table_apart(path, settings.data_dir, serving)
            if table is not None:
                update_digest(table.version.encode())
                return table
        with _open_table(path) as file:
            return AsnTable.from_lines(_lines(file, path, update_digest), str(path))
    except ConfigError as error:
        errors.append(error)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        errors.append(settings_error(settings, "asn.table", _told(path, error)))
    return None


def build(table: Path, directory: Path) -> Path | None:
    """Make the file unless it is there, in a process of its own; None where it cannot be written.

    Raises ConfigError, OSError and the like.
    """
    look = look_at([table])
    text = table.read_bytes()  # once: what is named by its hash is what was read, whoever writes the file meanwhile
    digest = hashlib.sha256(f"{LAYOUT} {table.suffix}".encode())
    digest.update(text)
    path = directory / f"asn-{digest.hexdigest()[:_HASH_CHARS]}.idx"
    if _is_whole(path):
        _remember(table, look, path)
        return path
    begin()
    with gzip.GzipFile(fileobj=io.BytesIO(text)) if _is_gzip(table) else io.BytesIO(text) as file:
        parts = pack_asn_table(AsnTable.from_lines(_lines(file, table, lambda _: None), str(table)))
    try:
        write_whole(path, parts)
    except OSError:
        return None
    remove_old(path, "asn-*.idx")
    _remember(table, look, path)
    return path


def main() -> None:
    """Answer the request on standard input. What is wrong is part of the answer, not a traceback."""
    asked = json.load(sys.stdin)
    table = Path(asked["table"])
    answer: dict[str, object]
    try:
        path = build(table, Path(asked["directory"]))
        answer = {"path": None if path is None else str(path)}
    except ConfigError as error:
        answer = {"error": error.args[0], "line": error.line}
    except (OSError, EOFError, ValueError, zlib.error) as error:
        answer = {"failure": _why(error)}
    json.dump(answer, sys.stdout)


def _table_apart(table: Path, directory: Path, serving: AsnTable | None) -> AsnTable | None:
    known = recall(_note(directory), _asked(table))
    if known is not None:
        made = Path(known["path"])
        if serving is not None and serving.version == made.name:
            return serving
        with suppress(OSError, ValueError):  # it will be made again
            return _map(made)
    compiled = _compile_apart(table, directory)
    return None if compiled is None else _map(compiled)


def _map(made: Path) -> AsnTable:
    return read_asn_table(map_whole(made), made.name)


def _compile_apart(table: Path, directory: Path) -> Path | None:
    answer = ask(__name__, {"table": str(table), "directory": str(directory)})
    if "error" in answer:
        raise ConfigError(answer["error"], path=str(table), line=answer["line"])
    if "failure" in answer:
        raise ValueError(answer["failure"])
    return None if answer["path"] is None else Path(answer["path"])


def _remember(table: Path, look: Look, made: Path) -> None:
    remember(_note(made.parent), _asked(table), look, made, {"path": str(made)})


def _note(directory: Path) -> Path:
    return directory / "asn.note"


def _asked(table: Path) -> str:
    return f"{LAYOUT} {table.absolute()}"


def _is_ours(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)


def _is_whole(path: Path) -> bool:
    try:
        _map(path)
    except (OSError, ValueError):
        return False
    return True


def _told(path: Path, error: Exception) -> str:
    return f"cannot read {path}: {_why(error)}; name a table of ranges (.tsv or .tsv.gz) that this process may read"


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _is_gzip(path: Path) -> bool:
    return path.suffix == ".gz"


def _open_table(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if _is_gzip(path) else path.open("rb")


def _lines(file: Iterable[bytes], path: Path, update_digest: Callable[[bytes], object]) -> Iterator[str]:
    for number, line in enumerate(one_by_one(file), 1):
        update_digest(line)
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            text = f"byte 0x{line[error.start]:02x} is not UTF-8: name a table of ranges as text, in UTF-8"
            raise ConfigError(text, path=str(path), line=number) from error


if __name__ == "__main__":
    main()
