"""Lists of numbers, from settings and the files they name to indexes, as they hold at one moment. For compile.py.

A file that is wrong anywhere gives no list: each bad line is an error of its own, at its place in that file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from edge_proxy.addr import Wall
from edge_proxy.config import ListSettings, Settings, settings_error
from edge_proxy.errors import ConfigError
from edge_proxy.numbers.list_file import MAX_LINE_BYTES, MAX_TOLD, parse_entry, read_list
from edge_proxy.numbers.ownership import OwnedRange, OwnershipIndex
from edge_proxy.policy.number_lists import ListScope, NumberList, NumberLists
from edge_proxy.policy.verdict import Reason
from edge_proxy.resting import in_order, rest

_REASON_OF: Final = {"do_not_originate": Reason.DO_NOT_ORIGINATE, "deny": Reason.NUMBER_DENIED}


class LoadedLists(NamedTuple):
    """The lists that hold, when the next of them ends, and those that have ended already."""

    lists: NumberLists
    next_change_at: Wall | None
    warnings: tuple[str, ...]


def load_lists(
    settings: Settings, now: Wall, update_digest: Callable[[bytes], object], errors: list[ConfigError]
) -> LoadedLists:
    """Read every list, expired ones too: a file that cannot be read is not noticed on the day it is needed."""
    loaded: list[tuple[ListSettings, NumberList]] = []
    ends: list[Wall] = []
    warnings: list[str] = []
    for place, one in enumerate(settings.lists):
        ranges = [OwnedRange(first, last, 0) for text in one.numbers for first, last in parse_entry(text)]
        if one.file is not None:
            ranges += _read_file(settings, f"lists[{place}].file", one.file, update_digest, errors)
        if one.ends_at is not None and one.ends_at <= now:
            path, line = settings.where(f"lists[{place}].expires")
            warnings.append(f"{path}:{line}: list {one.id} expired on {one.expires} and no longer holds")
            update_digest(f"expired:{one.id}".encode())
            continue
        if one.ends_at is not None:
            ends.append(one.ends_at)
        reason = _REASON_OF.get(one.kind, Reason.NUMBER_DENIED)
        loaded.append(
            (one, NumberList(one.id, reason, one.source, OwnershipIndex.build_sorted(in_order(ranges, tuple))))
        )
    lists = NumberLists(
        callers_from_customers=_scope(loaded, "from_customers", "caller"),
        called_from_customers=_scope(loaded, "from_customers", "called"),
        callers_from_carriers=_scope(loaded, "from_carriers", "caller"),
        called_from_carriers=_scope(loaded, "from_carriers", "called"),
    )
    return LoadedLists(lists, min(ends, default=None), tuple(warnings))


def _scope(loaded: list[tuple[ListSettings, NumberList]], direction: str, party: str) -> ListScope:
    mine = [pair for pair in loaded if pair[0].direction in {direction, "both"} and pair[0].applies_to == party]
    return ListScope(
        denying=tuple(compiled for one, compiled in mine if one.kind != "allow"),
        allowing=tuple(compiled for one, compiled in mine if one.kind == "allow"),
    )


def _read_file(
    settings: Settings, key: str, path: Path, update_digest: Callable[[bytes], object], errors: list[ConfigError]
) -> list[OwnedRange]:
    try:
        with path.open("rb") as file:
            reading = read_list(_lines(file, update_digest))
    except OSError as error:
        text = f"cannot read {path}: {error.strerror or error}; name a CSV file that this process may read"
        errors.append(settings_error(settings, key, text))
        return []
    for line, text in reading.problems:
        errors.append(ConfigError(text, path=str(path), line=line))
    untold = reading.problem_count - min(len(reading.problems), MAX_TOLD)
    if untold > 0:
        errors.append(settings_error(settings, key, f"{untold} more lines of {path} are wrong; mend them all"))
    elif not reading.problems and not reading.ranges:
        errors.append(settings_error(settings, key, f"{path} holds no number; write one a line, or remove the key"))
    return [] if reading.problems else reading.ranges


def _lines(file: IO[bytes], update_digest: Callable[[bytes], object]) -> Iterator[bytes]:
    """Lines, never more of one in memory than is looked at."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        rest()
        update_digest(line)
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            more = file.readline(MAX_LINE_BYTES + 1)
            update_digest(more)
            if not more or more.endswith(b"\n"):
                break
        yield line
