"""Settings of lists of numbers: what a list says, about whom, and until when. The files are read by compile.py."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic import field_validator as check_field
from pydantic_core.core_schema import ValidationInfo

from edge_proxy.addr import Wall
from edge_proxy.config.document import quote
from edge_proxy.config.section import FilePath, Section, Token
from edge_proxy.numbers.list_file import parse_entry


def _checked_entry(text: str) -> str:
    parse_entry(text)
    return text


def _checked_date(text: str) -> str:
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError(f'{quote(text)} is no date; write year, month and day, such as "2027-01-31"')


class ListSettings(Section):
    """One list. Its numbers stand here or in a file, or both."""

    id: Token = Field(examples=["inbound-only"])
    kind: Literal["do_not_originate", "deny", "allow"]
    direction: Literal["from_customers", "from_carriers", "both"] = "both"
    applies_to: Literal["caller", "called"] = "caller"
    source: str = Field(default="", max_length=200, examples=['"the bank\'s letter of 3 May"'])
    expires: Annotated[str, AfterValidator(_checked_date)] | None = Field(default=None, examples=['"2027-01-31"'])
    file: FilePath | None = Field(default=None, examples=["config/do-not-originate.csv"])
    numbers: list[Annotated[str, AfterValidator(_checked_entry)]] = Field(
        default=[], validate_default=True, examples=['["+12025550199", "+1900*"]']
    )

    @check_field("applies_to")
    @classmethod
    def _originates(cls, value: str, info: ValidationInfo) -> str:
        if value == "called" and info.data.get("kind") == "do_not_originate":
            raise ValueError("do_not_originate is about callers; write caller, or make it a list of kind deny")
        return value

    @check_field("source")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("what goes into records and answers is one line of printable text; write it so")
        return value

    @check_field("numbers")
    @classmethod
    def _says_something(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if not value and info.data.get("file") is None and "file" in info.data:
            raise ValueError("the list has no numbers; write `numbers`, or name a `file` of them")
        return value

    @property
    def ends_at(self) -> Wall | None:
        """The moment it ceases to hold: midnight, UTC, at the end of its last day."""
        if self.expires is None:
            return None
        day = date.fromisoformat(self.expires)
        return Wall(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + 86_400.0)
