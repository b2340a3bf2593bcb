"""A parsed file that remembers, for every key path, the line it was written on, and how errors in it are told.

A key path is a tuple such as ('customers', 0, 'id'), shown as customers[0].id. compose.py makes documents; this file
reads no bytes and knows nothing about settings.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from edge_proxy.errors import ConfigError, EdgeProxyError
from edge_proxy.resting import rest

if TYPE_CHECKING:
    from collections.abc import Iterable

KeyPath: TypeAlias = tuple[str | int, ...]
Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

_TEXT_SHOWN: Final = 60
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_PATH_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class ConfigErrors(EdgeProxyError):  # noqa: N818 - many of them
    """Everything that is wrong with one file: `errors` is never empty, sorted by line, and says nothing twice."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        once = {str(error): error for error in errors}.values()
        self.errors = sorted(once, key=lambda error: (error.path, error.line, error.key))
        super().__init__("\n".join(map(str, self.errors)))


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; `text` is what the operator typed, without quotes."""

    line: int
    text: str
    value: str | int | float | bool | None

    @property
    def height(self) -> int:
        return 0


class Entry(NamedTuple):
    """A place that holds a node. Two places may hold the same node (an alias), each on its own line."""

    line: int
    node: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    line: int
    entries: dict[str, Entry]
    height: int


@dataclass(frozen=True, slots=True)
class Sequence:
    line: int
    items: list[Entry]
    height: int


Node: TypeAlias = Scalar | Mapping | Sequence


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file. `errors` are those after which the rest could still be read."""

    path: str
    root: Mapping
    errors: list[ConfigError] = field(default_factory=list)

    def values(self) -> dict[str, Value]:
        """The file as plain dictionaries, lists and scalars."""
        return {key: _value_of(entry.node) for key, entry in self.root.entries.items()}

    def find(self, keys: KeyPath) -> Entry | None:
        """The place written at `keys`, or None when the file does not have it."""
        entry = Entry(self.root.line, self.root)
        for key in keys:
            match entry.node, key:
                case Mapping(entries=entries), str() if key in entries:
                    entry = entries[key]
                case Sequence(items=items), int() if 0 <= key < len(items):
                    entry = items[key]
                case _:
                    return None
        return entry

    def line_of(self, keys: KeyPath) -> int:
        """The line of `keys`, or of its nearest parent that was written."""
        while keys:
            if entry := self.find(keys):
                return entry.line
            keys = keys[:-1]
        return self.root.line

    def error(self, keys: KeyPath, text: str) -> ConfigError:
        return ConfigError(text, path=self.path, line=self.line_of(keys), key=format_key_path(keys))


def format_key_path(keys: KeyPath) -> str:
    """('customers', 0, 'id') -> "customers[0].id". A key that is no ordinary word is quoted and cut."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            word = key if _PLAIN_KEY.fullmatch(key) else quote(key)
            text += f".{word}" if text else word
    return text


def parse_key_path(text: str) -> KeyPath:
    """ "customers[0].id" -> ('customers', 0, 'id')."""
    return tuple(int(step[1]) if step[1] else step[2] for step in _PATH_STEP.finditer(text))


def quote(text: str) -> str:
    """Foreign text for an error line: cut, quoted, and escaped so that it stays on one line."""
    if len(text) > _TEXT_SHOWN:
        text = text[:_TEXT_SHOWN] + "..."
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _value_of(node: Node) -> Value:
    match node:
        case Scalar():
            return node.value
        case Mapping():
            rest()
            return {key: _value_of(entry.node) for key, entry in node.entries.items()}
        case Sequence():
            return [_value_of(entry.node) for entry in node.items]
