"""How much may be sent: the sections `limits` of a customer and of `policy`, and what decisions are given of them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from edge_proxy.config.document import quote
from edge_proxy.config.section import Section
from edge_proxy.policy.call_limits import NO_SHARE, CallLimits, DestinationLimits, Share

_DIALLED_PREFIX: Final = re.compile(r"\+[1-9][0-9]{0,14}")


def _checked_dialled_prefix(text: str) -> str:
    if not _DIALLED_PREFIX.fullmatch(text):
        raise ValueError(f'{quote(text)} begins no number; write + and the first digits in international form: "+882"')
    return text


DialledPrefix = Annotated[str, AfterValidator(_checked_dialled_prefix)]


class ShareSettings(Section):
    """Calls of each number, or of each AS. None: no limit."""

    calls_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    concurrent_calls: int | None = Field(default=None, ge=1, le=10_000_000)

    @property
    def compiled(self) -> Share:
        return Share(self.calls_per_second, self.concurrent_calls) if self != ShareSettings() else NO_SHARE


class DestinationSettings(Section):
    """Calls of one customer to numbers that begin alike. None: no limit."""

    prefix: DialledPrefix = Field(examples=['"+882"'])
    calls_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    concurrent_calls: int | None = Field(default=None, ge=1, le=10_000_000)
    calls_per_hour: int | None = Field(default=None, ge=1, le=100_000)

    @property
    def compiled(self) -> DestinationLimits:
        return DestinationLimits(self.prefix[1:], self.calls_per_second, self.concurrent_calls, self.calls_per_hour)


def _prefixes_once(destinations: list[DestinationSettings]) -> list[DestinationSettings]:
    seen: set[str] = set()
    for one in destinations:
        if one.prefix in seen:
            raise ValueError(f"{one.prefix} is listed twice; write its limits in one place")
        seen.add(one.prefix)
    return destinations


class LimitsSettings(Section):
    """How much one customer may send. None: no limit."""

    calls_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    concurrent_calls: int | None = Field(default=None, ge=1, le=10_000_000)
    per_number: ShareSettings = ShareSettings()
    destinations: Annotated[list[DestinationSettings], AfterValidator(_prefixes_once)] = Field(
        default=[], max_length=1000, examples=['[{prefix: "+882", calls_per_hour: 10}]']
    )

    @property
    def compiled(self) -> CallLimits:
        return CallLimits(
            self.calls_per_second,
            self.concurrent_calls,
            self.per_number.compiled,
            tuple(one.compiled for one in self.destinations),
        )


class PolicyLimitsSettings(Section):
    """Limits that hold whoever the customer is."""

    per_asn: ShareSettings = ShareSettings()
