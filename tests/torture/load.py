"""Turn the torture messages and expectations.toml into typed cases (RFC 4475, RFC 5118).

Reads only the files beside it, checks every word of the table against its closed vocabulary, and never parses SIP:
the message under test stays bytes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
TABLE = HERE / "expectations.toml"
RFCS = (4475, 5118)


class Kind(StrEnum):
    REQUEST = "request"
    RESPONSE = "response"


class WellFormed(StrEnum):
    """How the message stands to the grammar, in the parts that a proxy reads."""

    YES = "yes"
    NO = "no"
    REPAIRABLE = "repairable"


class Action(StrEnum):
    """What a proxy does with the message; WAIT and CLOSE exist on streams only."""

    FORWARD = "forward"
    ANSWER = "answer"
    DROP = "drop"
    WAIT = "wait"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One permitted outcome; `status` is 0 unless the action is ANSWER."""

    action: Action
    status: int = 0

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `forward`, `answer 400`, `drop`, `wait` or `close`; ValueError for anything else."""
        word, _, status = text.partition(" ")
        action = Action(word)
        if action is not Action.ANSWER:
            if status:
                raise ValueError(f"{text!r}: only an answer has a status")
            return cls(action)
        if not (status.isascii() and status.isdecimal() and 200 <= int(status) <= 699):
            raise ValueError(f"{text!r}: an answer needs a final status")
        return cls(action, int(status))

    def __str__(self) -> str:
        return f"{self.action} {self.status}" if self.action is Action.ANSWER else str(self.action)


@dataclass(frozen=True, slots=True)
class TortureCase:
    """One message with what may become of it; `allowed[0]` and `on_stream[0]` are the preferred outcomes."""

    name: str
    rfc: int
    section: str
    kind: Kind
    well_formed: WellFormed
    data: bytes
    allowed: tuple[Expectation, ...]
    on_stream: tuple[Expectation, ...]
    keeps: tuple[bytes, ...]
    sheds: tuple[bytes, ...]
    why: str

    def __str__(self) -> str:
        """The name pytest shows, such as `rfc4475-wsinv`."""
        return f"rfc{self.rfc}-{self.name}"


def torture_cases() -> list[TortureCase]:
    """Return every case in the order of the RFCs; ValueError, KeyError or OSError if table and files disagree."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    if set(table) != {f"rfc{rfc}" for rfc in RFCS}:
        raise ValueError(f"{TABLE.name}: unknown or missing set: {sorted(table)}")
    return [_case(rfc, row) for rfc in RFCS for row in table[f"rfc{rfc}"]]


_REQUIRED = frozenset({"section", "name", "kind", "well_formed", "allowed", "why"})
_OPTIONAL = frozenset({"on_stream", "keeps", "sheds"})


def _case(rfc: int, row: dict[str, str | list[str]]) -> TortureCase:
    name = _text(row, "name")
    wrong = (_REQUIRED - row.keys()) | (row.keys() - _REQUIRED - _OPTIONAL)
    if wrong:
        raise ValueError(f"{TABLE.name}: {name}: missing or unknown keys: {sorted(wrong)}")
    allowed = tuple(Expectation.from_text(text) for text in _texts(row, "allowed"))
    on_stream = tuple(Expectation.from_text(text) for text in _texts(row, "on_stream")) or allowed
    return TortureCase(
        name=name,
        rfc=rfc,
        section=_text(row, "section"),
        kind=Kind(_text(row, "kind")),
        well_formed=WellFormed(_text(row, "well_formed")),
        data=(HERE / f"rfc{rfc}" / f"{name}.dat").read_bytes(),
        allowed=allowed,
        on_stream=on_stream,
        keeps=tuple(text.encode() for text in _texts(row, "keeps")),
        sheds=tuple(text.encode() for text in _texts(row, "sheds")),
        why=_text(row, "why"),
    )


def _text(row: dict[str, str | list[str]], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise TypeError(f"{TABLE.name}: {key} must be a string")
    return value


def _texts(row: dict[str, str | list[str]], key: str) -> list[str]:
    value = row.get(key, [])
    if not isinstance(value, list):
        raise TypeError(f"{TABLE.name}: {key} must be a list of strings")
    return value
