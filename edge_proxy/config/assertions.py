"""The operator's assertions: calls that must pass and calls that must be refused, as they are written in a file.

Who runs them is assertions.py in the package; this file says what one may hold.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from edge_proxy.config.document import quote
from edge_proxy.config.endpoints import parse_source
from edge_proxy.config.section import Section
from edge_proxy.policy.verdict import Reason

_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64} ?: ?[ -~]{0,4000}")
_MAX_ASSERTIONS: Final = 10_000


def _checked_source(text: str) -> str:
    parse_source(text)
    return text


def _one_line(text: str) -> str:
    if not text or not text.isprintable() or len(text) > 1000:
        raise ValueError(f"{quote(text)} is no line of text that a header could hold; write 1 to 1000 characters")
    return text


def _checked_header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f'{quote(text)} is no header line; write "Name: value"')
    return text


def _checked_reason(text: str) -> str:
    if text not in set(Reason):
        raise ValueError(f"{quote(text)} is no reason of a verdict; README.md lists them")
    return text


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Line = Annotated[str, AfterValidator(_one_line)]


class AssertionSettings(Section):
    """One call, and what must come of it. A number stands for a URI with that number."""

    name: Line = Field(examples=["emergency passes"])
    source: Annotated[str, AfterValidator(_checked_source)] = Field(examples=['"udp:192.0.2.1:5060"'])
    side: Literal["customers", "carriers"] | None = None
    from_: Line = Field(alias="from", examples=['"+12025550100"'])
    pai: Annotated[list[Line], BeforeValidator(_as_list)] = Field(default=[], max_length=64)
    to: Line = Field(examples=['"+13105550100"'])
    headers: list[Annotated[str, AfterValidator(_checked_header)]] = Field(default=[], max_length=64)
    expect: Literal["allowed", "refused", "monitored"]
    reason: Annotated[str, AfterValidator(_checked_reason)] | None = None


class AssertionsSettings(Section):
    """The whole file."""

    assertions: list[AssertionSettings] = Field(min_length=1, max_length=_MAX_ASSERTIONS)
