"""Lists of numbers as decisions need them: a number in, the list that speaks against it out.

There is a scope for callers and one for called numbers on each side. Within a scope, an `allow` list takes a number out
of all other lists; it gives nobody a number that is not theirs, since ownership is not asked of lists.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_proxy.addr import E164, Side
from edge_proxy.numbers.ownership import OwnershipIndex
from edge_proxy.policy.verdict import Reason


@dataclass(frozen=True, slots=True)
class NumberList:
    """One list. `provenance` is where it comes from, in the operator's words."""

    id: str
    reason: Reason
    provenance: str
    index: OwnershipIndex

    def holds(self, number: E164) -> bool:
        return self.index.owner_of(number) >= 0

    def __str__(self) -> str:
        return f"{self.id} ({self.provenance})" if self.provenance else self.id


@dataclass(frozen=True, slots=True)
class ListScope:
    """The lists that hold for one kind of number on one side."""

    denying: tuple[NumberList, ...] = ()
    allowing: tuple[NumberList, ...] = ()

    def against(self, number: E164) -> NumberList | None:
        """The first list, in the order of the configuration, that speaks against the number."""
        for denying in self.denying:
            if denying.holds(number):
                return None if any(allowing.holds(number) for allowing in self.allowing) else denying
        return None


@dataclass(frozen=True, slots=True)
class NumberLists:
    """All scopes."""

    callers_from_customers: ListScope = ListScope()
    called_from_customers: ListScope = ListScope()
    callers_from_carriers: ListScope = ListScope()
    called_from_carriers: ListScope = ListScope()

    def callers(self, side: Side) -> ListScope:
        return self.callers_from_customers if side is Side.CUSTOMERS else self.callers_from_carriers

    def called(self, side: Side) -> ListScope:
        return self.called_from_customers if side is Side.CUSTOMERS else self.called_from_carriers
