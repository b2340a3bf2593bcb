"""What every section of the settings is made of: strict, closed, frozen; and the kinds of value that several have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic import model_validator as check_model

from edge_proxy.config.document import quote
from edge_proxy.numbers.ownership import parse_range
from edge_proxy.resting import rest
from edge_proxy.traffic.address_ranges import parse_prefix


def _checked_prefix(text: str) -> str:
    parse_prefix(text)
    return text


def _checked_range(text: str) -> str:
    parse_range(text)
    return text


def _checked_path(value: object) -> object:
    if isinstance(value, str) and not (value and value.isprintable()):
        raise ValueError(f"{quote(value)} is no path; write one such as data or /var/lib/edge-proxy")
    return value


# A name that is safe in a file name, a metric label, a log line and a SIP token alike.
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Prefix = Annotated[str, AfterValidator(_checked_prefix)]
NumberRange = Annotated[str, AfterValidator(_checked_range)]
FilePath = Annotated[Path, Field(strict=False), BeforeValidator(_checked_path)]


class Section(BaseModel):
    """Strict, closed and frozen. A key without a value (`limits:`) counts as not written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> Self:
        """Itself, since it never changes: the defaults of ten thousand customers are one and the same."""
        return self

    @check_model(mode="before")
    @classmethod
    def _drop_empty(cls, data: object) -> object:
        rest()
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
