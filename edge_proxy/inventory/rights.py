"""A right to use a number, from when to when, and what happens when two of them meet.

Text in (the cells of a CSV file, the options of a command), a `Right` out, or a ValueError that says what would be
right. A `Holding` is all rights to the same numbers, one after another in time: at any moment at most one holds. The
functions that lay one holding over another are pure; rows, ranges and the database are somebody else's business.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from edge_proxy.errors import EdgeProxyError

FOREVER: Final = 253_402_300_800
"""The year 10000, in seconds since 1970: an end that has not been set."""

MAX_PERIODS: Final = 100
"""How many rights may follow one another on the same numbers: decades of changes, and a bound on hostile files."""

MAX_REFERENCE: Final = 200
MAX_GRACE_DAYS: Final = 3650

_DAY_S: Final = 86_400
_CUSTOMER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WHEN: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?")


class InventoryError(EdgeProxyError):
    """The inventory cannot be opened, read or changed."""


class RightKind(StrEnum):
    """Where the right comes from."""

    OWNED = "owned"
    DELEGATED = "delegated"
    """Somebody else's number, used with leave: `reference` names the paper that says so."""


class Right(NamedTuple):
    """One customer's right. Times are seconds since 1970; `valid_to` and `ported_out_at` may be `FOREVER`."""

    customer: str
    valid_from: int = 0
    valid_to: int = FOREVER
    """The first second in which it holds no more."""
    kind: RightKind = RightKind.OWNED
    reference: str = ""
    ported_out_at: int = FOREVER
    grace_s: int = 0
    """How long the right holds on after the number went to another carrier."""

    @property
    def end(self) -> int:
        """The first second in which it holds no more, ported out or not."""
        return min(self.valid_to, self.ported_out_at + self.grace_s)

    def holds_at(self, now: float) -> bool:
        return self.valid_from <= now < self.end

    def is_used_elsewhere_at(self, now: float) -> bool:
        """Somebody else calls as the number too: it is lent, or was ported to another carrier and is in its grace."""
        return self.kind is RightKind.DELEGATED or self.ported_out_at <= now

    def __str__(self) -> str:
        parts = [self.customer, self.kind]
        if self.reference:
            parts.append(f"({self.reference})")
        if self.valid_from:
            parts.append(f"from {format_when(self.valid_from)}")
        if self.valid_to < FOREVER:
            parts.append(f"to {format_end(self.valid_to)}")
        if self.ported_out_at < FOREVER:
            grace = f" with {self.grace_s // _DAY_S} days of grace" if self.grace_s else ""
            parts.append(f"ported out {format_when(self.ported_out_at)}{grace}")
        return " ".join(parts)


Holding = tuple[Right, ...]
"""Rights to the same numbers, in the order of their time, none overlapping another. Empty: nobody's."""


class Refusal(NamedTuple):
    """Why one holding cannot be laid over another."""

    text: str


def parse_right(
    *,
    customer: str,
    valid_from: str = "",
    valid_to: str = "",
    kind: str = "",
    reference: str = "",
    ported_out_at: str = "",
    grace_days: str = "",
) -> Right:
    """A right from text; empty means not given. Raises ValueError."""
    if not _CUSTOMER.fullmatch(customer):
        raise ValueError(f"the customer {_shown(customer)} is no id; write one of the configuration's, such as acme")
    right = Right(
        customer=customer,
        valid_from=parse_when(valid_from, "valid_from") if valid_from else 0,
        valid_to=parse_end(valid_to, "valid_to") if valid_to else FOREVER,
        kind=_kind(kind.lower() or RightKind.OWNED),
        reference=reference,
        ported_out_at=parse_when(ported_out_at, "ported_out_at") if ported_out_at else FOREVER,
        grace_s=parse_grace(grace_days) if grace_days else 0,
    )
    if not reference.isprintable() or len(reference) > MAX_REFERENCE:
        raise ValueError(f"the reference {_shown(reference)} is no plain text of up to {MAX_REFERENCE} characters")
    if right.kind is RightKind.DELEGATED and not reference:
        raise ValueError("a delegated number needs a reference: what shows that its owner agrees")
    if right.grace_s and right.ported_out_at == FOREVER:
        raise ValueError("grace_days begin when a number is ported out; give ported_out_at too")
    if right.end <= right.valid_from:
        raise ValueError("it ends before it begins; check valid_from, valid_to and ported_out_at")
    return right


def parse_when(text: str, name: str) -> int:
    """`2026-03-01` (from midnight UTC) or `2026-03-01T09:00:00+01:00`, as seconds since 1970."""
    return _parse_moment(text, name)[0]


def parse_end(text: str, name: str) -> int:
    """As `parse_when`, but a bare date is the last day that counts: it ends with that day."""
    moment, is_date = _parse_moment(text, name)
    return moment + _DAY_S if is_date else moment


def parse_grace(text: str) -> int:
    """Days, as seconds."""
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MAX_GRACE_DAYS):
        raise ValueError(f"grace_days {_shown(text)} is no number of days from 0 to {MAX_GRACE_DAYS}")
    return int(text) * _DAY_S


def format_when(moment: int) -> str:
    """A date where it is midnight UTC, else date and time."""
    text = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return text.removesuffix("T00:00:00Z")


def format_end(moment: int) -> str:
    """The last day that counts where the end is a midnight, else the date and time of the end."""
    return format_when(moment) if moment % _DAY_S else format_when(moment - _DAY_S)


def lay_over(old: Holding, new: Holding) -> Holding | Refusal:
    """What holds after `new` came to numbers that had `old`: a customer's own right takes the place of the one it
    overlaps in time, another customer's is refused."""
    kept = list(old)
    for right in new:
        for other in old:
            if not _overlap(right, other):
                continue
            if other.customer != right.customer:
                return Refusal(f"{other.customer} has it already ({other})")
            if other in kept:
                kept.remove(other)
        kept.append(right)
    return _holding(kept)


def stand_beside(one: Holding, other: Holding) -> Holding | Refusal:
    """Two rows of one file about the same numbers: the same said twice is once, different times are both."""
    rights = list(one)
    for right in other:
        if right in rights:
            continue
        for said in one:
            if _overlap(right, said):
                said_twice = "on other terms" if said.customer == right.customer else f"to {said.customer}"
                return Refusal(f"the file gives it {said_twice} too ({said})")
        rights.append(right)
    return _holding(rights)


def without(old: Holding, customer: str) -> Holding:
    """What is left when a customer's rights go; "": everybody's."""
    return tuple(right for right in old if customer and right.customer != customer)


def ported_out(old: Holding, customer: str, at: int, grace_s: int) -> Holding:
    """The rights that hold at that moment end with it, after a grace; "": whoever's they are."""
    return tuple(
        right._replace(ported_out_at=at, grace_s=grace_s)
        if right.valid_from <= at < right.valid_to and customer in {"", right.customer}
        else right
        for right in old
    )


def _overlap(one: Right, other: Right) -> bool:
    return one.valid_from < other.end and other.valid_from < one.end


def _holding(rights: list[Right]) -> Holding | Refusal:
    if len(rights) > MAX_PERIODS:
        return Refusal(f"it would have more than {MAX_PERIODS} periods; remove old ones")
    return tuple(sorted(rights, key=lambda right: right.valid_from))


def _kind(text: str) -> RightKind:
    try:
        return RightKind(text)
    except ValueError:
        raise ValueError(f"the right {_shown(text)} is neither owned nor delegated") from None


def _parse_moment(text: str, name: str) -> tuple[int, bool]:
    advice = "write a date such as 2026-03-01, or a moment such as 2026-03-01T09:00:00Z"
    found = _WHEN.fullmatch(text) if text.isascii() else None
    if found is None:
        raise ValueError(f"{name} {_shown(text)} is no date; {advice}")
    try:
        if found[1] is None:
            day = date.fromisoformat(text)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(text)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} {_shown(text)} is no date of the calendar; {advice}") from error
    if not 0 <= seconds < FOREVER - timedelta(days=1).total_seconds():
        raise ValueError(f"{name} {_shown(text)} is not between 1970 and 9999; leave it empty for no limit")
    return seconds, found[1] is None


def _shown(text: str) -> str:
    return ascii(text[:40])
