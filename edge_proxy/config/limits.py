"""How much may be sent: the sections `limits` of a customer and of `policy`, and what decisions are given of them."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from edge_proxy.config.document import quote
from edge_proxy.config.section import Prefix, Section
from edge_proxy.policy.call_limits import (
    NO_ASN_LIMITS,
    NO_SHARE,
    AsnLimits,
    CallLimits,
    DestinationLimits,
    SequenceLimits,
    Share,
    ShortCallLimits,
    SpoofLimits,
)

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
        return share if (share := Share(self.calls_per_second, self.concurrent_calls)).is_set else NO_SHARE


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


class SequentialSettings(Section):
    """Numbers that follow one another, called one after the other from one number."""

    numbers: int = Field(ge=2, le=1000, examples=["10"])
    within_s: float = Field(default=60, gt=0, le=3600)
    of_customer: int | None = Field(default=None, ge=2, le=10_000, examples=["30"])

    @property
    def compiled(self) -> SequenceLimits:
        return SequenceLimits(self.numbers, self.within_s, self.of_customer)


class ShortCallsSettings(Section):
    """Answered calls that end at once."""

    calls: int = Field(ge=1, le=1_000_000, examples=["100"])
    percent: float = Field(default=0, ge=0, le=100)
    shorter_than_s: float = Field(default=6, gt=0, le=3600)
    window_s: float = Field(default=600, ge=1, le=86_400)
    slowed_to: float = Field(default=1, gt=0, le=1_000_000)

    @property
    def compiled(self) -> ShortCallLimits:
        return ShortCallLimits(self.shorter_than_s, self.calls, self.percent, self.window_s, self.slowed_to)


class SpoofingSettings(Section):
    """Attempts that were refused (in monitor mode: would have been) for who they claim to be."""

    refusals: int = Field(ge=1, le=1000, examples=["20"])
    window_s: float = Field(default=60, ge=1, le=86_400)
    slowed_to: float = Field(default=1, gt=0, le=1_000_000)

    @property
    def compiled(self) -> SpoofLimits:
        return SpoofLimits(self.refusals, self.window_s, self.slowed_to)


class AsnLimitsSettings(ShareSettings):
    """What each source AS is held to."""

    spoofing: SpoofingSettings | None = None

    @property
    def compiled_asn(self) -> AsnLimits:
        spoofing = None if self.spoofing is None else self.spoofing.compiled
        share = self.compiled
        return NO_ASN_LIMITS if spoofing is None and not share.is_set else AsnLimits(share, spoofing)


class LimitsSettings(Section):
    """How much one customer may send. None: no limit."""

    calls_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    concurrent_calls: int | None = Field(default=None, ge=1, le=10_000_000)
    per_number: ShareSettings = ShareSettings()
    destinations: Annotated[list[DestinationSettings], AfterValidator(_prefixes_once)] = Field(
        default=[], max_length=1000, examples=['[{prefix: "+882", calls_per_hour: 10}]']
    )
    messages_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    calls_to_number_per_minute: int | None = Field(default=None, ge=1, le=100_000)
    sequential: SequentialSettings | None = None
    short_calls: ShortCallsSettings | None = None
    spoofing: SpoofingSettings | None = None

    @property
    def compiled(self) -> CallLimits:
        return CallLimits(
            self.calls_per_second,
            self.concurrent_calls,
            self.per_number.compiled,
            tuple(one.compiled for one in self.destinations),
            self.messages_per_second,
            self.calls_to_number_per_minute,
            None if self.sequential is None else self.sequential.compiled,
            None if self.short_calls is None else self.short_calls.compiled,
            None if self.spoofing is None else self.spoofing.compiled,
        )


class ScannersSettings(Section):
    """When unknown sources are ignored. `requests` 0: never."""

    requests: int = Field(default=100, ge=0, le=1_000_000)
    window_s: float = Field(default=60, ge=1, le=86_400)
    ignore_s: float = Field(default=600, ge=1, le=604_800)
    never: list[Prefix] = Field(default=[], examples=['["192.0.2.0/24"]'])


class PolicyLimitsSettings(Section):
    """Limits that hold whoever the customer is."""

    per_asn: AsnLimitsSettings = AsnLimitsSettings()
