"""Parse a YAML file (YAML 1.1, as PyYAML reads it) into a Document: bytes in, a tree of lines and values out.

Works on PyYAML's events instead of loading objects: no tag is ever executed, a key written twice is an error, and an
alias counts as what it expands to, so that a small file cannot become a large tree. A file of 16 MiB or a nesting of
32 levels is where it stops. It knows nothing about settings.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import yaml
from yaml.reader import Reader
from yaml.resolver import Resolver

from edge_proxy.config.document import (
    ConfigErrors,
    Document,
    Entry,
    KeyPath,
    Mapping,
    Node,
    Scalar,
    Sequence,
    format_key_path,
    quote,
)
from edge_proxy.errors import ConfigError
from edge_proxy.resting import one_by_one, rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_NODES: Final = 1_000_000
MAX_DEPTH: Final = 32

_TAG: Final = "tag:yaml.org,2002:"
# Line breaks to YAML 1.1 and to few editors: a line number must mean one line, and a comment end where it seems to.
_HIDDEN_BREAK: Final = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)")
_FRACTION: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?")
_STRETCH: Final = 16_384
_DIGITS_MAX: Final = 40  # far past every setting, far below where int() itself gives up

# What the scanner says, in either of its two builds, and what usually is the cause.
_SYNTAX_ADVICE: Final = (
    ("tab character", "indent with spaces, never tabs"),
    ("cannot start any token", "indent with spaces, never tabs, and quote text that starts with @, ` or %"),
    ("mapping values are not allowed", 'check the indentation, and quote text that holds ": "'),
    ("node content", "quote text that starts with [ or {, such as an IPv6 address and port"),
    ("',' or ']'", 'close the list with ], and quote items that start with ["'),
    ("',' or '}'", "close the mapping with }, and put a comma between its keys"),
    ("end of stream", "close the quotes"),
    ("could not find expected ':'", "put a colon and a space after the key"),
    ("block", "give keys of one mapping, and items of one list, the same indentation, and close all quotes above"),
)


def read_document(path: Path) -> Document:
    """Read and parse a file. ConfigErrors when it cannot be read or is no YAML mapping."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        text = f"cannot read the file: {error.strerror or error}; give the path of a YAML file you may read"
        raise ConfigErrors([ConfigError(text, path=str(path))]) from error
    return parse_document(data, str(path))


def parse_document(data: bytes, path: str) -> Document:
    """Parse a file's bytes; `path` is only for the error texts. ConfigErrors when they are no YAML mapping."""
    errors: list[ConfigError] = []
    try:
        text = _decode(data, path)
        root = _Composer(text, path, errors).compose_document()
    except ConfigError as error:
        raise ConfigErrors([*errors, error]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigErrors([*errors, _syntax_error(error, path, last_line=text.rstrip().count("\n") + 1)]) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a directive with an absurd version number
        unreadable = ConfigError(f"no YAML: {quote(str(error))}; check the file", path=path, line=1)
        raise ConfigErrors([*errors, unreadable]) from error
    return Document(path, root, errors)


def _decode(data: bytes, path: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            f"the file is larger than {MAX_FILE_BYTES // 1024**2} MiB; "
            "load large sets of numbers with `edge-proxy numbers import`",
            path=path,
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8", path=path, line=line
        ) from error
    begin = 0
    while begin < len(text):  # whole lines, some at a time: a search holds up other threads until it ends
        end = text.find("\n", begin + _STRETCH) + 1 or len(text)
        _check_characters(text, begin, end, path)
        rest()
        begin = end
    return text


def _check_characters(text: str, begin: int, end: int, path: str) -> None:
    if refused := Reader.NON_PRINTABLE.search(text, begin, end) or _HIDDEN_BREAK.search(text, begin, end):
        raise ConfigError(
            f"control character U+{ord(refused[0]):04X} is not allowed here; remove it, and end lines with a line feed",
            path=path,
            line=text.count("\n", 0, refused.start()) + 1,
        )


def _syntax_error(error: yaml.MarkedYAMLError, path: str, last_line: int) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line = min(mark.line + 1, last_line) if mark else 1
    text = " ".join(part for part in (error.problem, error.context) if part) or "unreadable"
    advice = next((advice for part, advice in _SYNTAX_ADVICE if part in text), "check this line and the one before")
    if error.context_mark and error.context_mark.line + 1 < line:
        text += f" that begins on line {error.context_mark.line + 1}"
    return ConfigError(f"YAML syntax: {text}; {advice}", path=path, line=line)


class _Composer:
    """Events in, one tree out. Raises ConfigError where reading on makes no sense, else collects."""

    def __init__(self, text: str, path: str, errors: list[ConfigError]) -> None:
        # libyaml's build of the same parser is an order of magnitude faster; not every platform has it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=loader)
        self._path = path
        self._resolver = Resolver()
        self._anchors: dict[str, tuple[Node, int]] = {}  # with the number of nodes it expands to
        self._nodes = 0
        self._errors = errors

    def compose_document(self) -> Mapping:
        next(self._events)  # the start of the stream
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise self._error("the file is empty; start from config/edge-proxy.yaml", 1)
        entry = self._compose(next(self._events), ())
        next(self._events)  # the end of the document
        event = next(self._events)
        if isinstance(event, yaml.DocumentStartEvent):
            raise self._error("a second YAML document starts here; write one document per file", _line(event))
        match entry.node:
            case Mapping():
                return entry.node
            case Scalar(value=None):
                raise self._error("the file is empty; start from config/edge-proxy.yaml", 1)
            case _:
                raise self._error("the file is no mapping; write keys such as `node: edge-1`", entry.line)

    def _compose(self, event: yaml.Event, keys: KeyPath) -> Entry:
        rest()
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line, keys)
        before = self._nodes
        self._count(1, line)
        self._check_depth(len(keys), line)
        node: Node
        match event:
            case yaml.ScalarEvent():
                node = self._scalar(event, keys)
            case yaml.SequenceStartEvent():
                self._check_tag(event.tag, "seq", line, keys)
                node = self._sequence(line, keys)
            case yaml.MappingStartEvent():
                self._check_tag(event.tag, "map", line, keys)
                node = self._mapping(line, keys)
            case _:
                raise self._error(f"unexpected {type(event).__name__}; check this line", line, keys)
        if event.anchor is not None:
            self._anchors[event.anchor] = node, self._nodes - before
        return Entry(line, node)

    def _alias(self, name: str, line: int, keys: KeyPath) -> Entry:
        if name not in self._anchors:
            raise self._error(f"*{name} has no anchor; write &{name} at a value above, outside of it", line, keys)
        node, expanded = self._anchors[name]
        self._count(expanded, line)
        self._check_depth(len(keys) + node.height, line)
        return Entry(line, node)

    def _sequence(self, line: int, keys: KeyPath) -> Sequence:
        items: list[Entry] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._compose(event, (*keys, len(items))))
        return Sequence(line, items, 1 + max((item.node.height for item in one_by_one(items)), default=0))

    def _mapping(self, line: int, keys: KeyPath) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Mapping] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key_line = _line(event)
            is_merge = isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value == "<<"
            key = self._key(event, key_line, keys)
            value = self._compose(next(self._events), (*keys, key))
            if is_merge:
                merged += self._merge_sources(value.node, key_line, keys)
            elif key not in entries:
                entries[key] = Entry(key_line, value.node)
            else:
                text = f"the key is written twice, first on line {entries[key].line}; keep one of the two"
                self._errors.append(self._error(text, key_line, (*keys, key)))
        for source in merged:  # what is written here wins over what is merged in
            for key, entry in source.entries.items():
                entries.setdefault(key, entry)
        return Mapping(line, entries, 1 + max((entry.node.height for entry in entries.values()), default=0))

    def _key(self, event: yaml.Event, line: int, keys: KeyPath) -> str:
        """The key as typed: `on` and `NO` are words here, never booleans."""
        if isinstance(event, yaml.ScalarEvent):
            self._count(1, line)
            if event.anchor is not None:
                self._anchors[event.anchor] = Scalar(line, event.value, event.value), 1
            return self._text(event)
        node = self._compose(event, (*keys, "?")).node
        if isinstance(node, Scalar):
            return node.text
        raise self._error("a list or a mapping is no key; write a word followed by a colon", line, keys)

    def _merge_sources(self, node: Node, line: int, keys: KeyPath) -> list[Mapping]:
        sources = [item.node for item in node.items] if isinstance(node, Sequence) else [node]
        mappings = [source for source in sources if isinstance(source, Mapping)]
        if len(mappings) < len(sources):
            text = "only a mapping can be merged; write an alias of one, such as `<<: *standard`"
            self._errors.append(self._error(text, line, (*keys, "<<")))
        return mappings

    def _scalar(self, event: yaml.ScalarEvent, keys: KeyPath) -> Scalar:
        line, text = _line(event), self._text(event)
        if event.tag is not None or not event.implicit[0]:
            self._check_tag(event.tag, "str", line, keys)
            return Scalar(line, text, text)
        tag: str = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        value: str | int | float | bool | None = text
        if kind == "null":
            value = None
        elif kind == "bool":
            value = text.lower() in {"yes", "true", "on"}
        elif kind in {"int", "float"}:
            value = _number(text)
            if value is None:
                self._errors.append(
                    self._error(
                        f"{quote(text)} is no plain decimal number (YAML reads a leading 0 as octal and colons "
                        "as base 60); write it in decimal digits, or in quotes if it is text",
                        line,
                        keys,
                    )
                )
        return Scalar(line, text, value)

    def _text(self, event: yaml.ScalarEvent) -> str:
        text = str(event.value)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error("half of a surrogate pair is no character; write the character itself", _line(event))
        return text

    def _check_tag(self, tag: str | None, expected: str, line: int, keys: KeyPath) -> None:
        if tag not in {None, "!", _TAG + expected}:
            text = f"the tag {quote(str(tag).replace(_TAG, '!!'))} is not understood here; remove it"
            self._errors.append(self._error(text, line, keys))

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            text = f"more than {MAX_NODES} values, aliases expanded; write less, or import numbers from a file"
            raise self._error(text, line)

    def _check_depth(self, depth: int, line: int) -> None:
        if depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels; no setting is that deep", line)

    def _error(self, text: str, line: int, keys: KeyPath = ()) -> ConfigError:
        return ConfigError(text, path=self._path, line=line, key=format_key_path(keys))


def _number(text: str) -> int | float | None:
    digits = text.replace("_", "")
    if len(text) > _DIGITS_MAX:
        return None
    if _DECIMAL.fullmatch(text):
        return int(digits)
    if _FRACTION.fullmatch(text) and math.isfinite(number := float(digits)):
        return number
    return None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
