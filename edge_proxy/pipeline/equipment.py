"""The equipment that each customer calls with, by what it writes in User-Agent or Server: seen when, and how often.

A bounded inventory in memory: whoever writes ever new names fills its own customer's share and no other's. Calls from
equipment that is not on the customer's approved list are counted; nothing is refused here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from edge_proxy.addr import Wall
from edge_proxy.policy.parties import Customer

MAX_PER_CUSTOMER: Final = 64
MAX_CUSTOMERS: Final = 20_000
MAX_NAME_CHARS: Final = 128
UNNAMED: Final = ""
"""What a call that names no equipment is booked under."""


class Seen:
    """One name: first and last time, and the calls that gave it."""

    __slots__ = ("calls", "first_at", "last_at")

    def __init__(self, at: Wall) -> None:
        self.first_at = at
        self.last_at = at
        self.calls = 0


class EquipmentBook:
    """What has been seen since the process began. Where a share is full, the name not seen for longest makes room."""

    __slots__ = ("_by_customer", "forgotten", "unapproved")

    def __init__(self) -> None:
        self._by_customer: dict[str, dict[str, Seen]] = {}
        self.unapproved: defaultdict[str, int] = defaultdict(int)
        """Calls from equipment that is not on the list, by customer."""
        self.forgotten = 0
        """Names, or customers with all of theirs, that had to make room."""

    def __len__(self) -> int:
        return len(self._by_customer)

    def of(self, customer: str) -> Mapping[str, Seen]:
        """The names that this customer's calls gave."""
        return self._by_customer.get(customer, {})

    def see(self, customer: Customer, agent: str, at: Wall) -> None:
        """Book a call of this customer that `agent` stands in."""
        names = self._by_customer.get(customer.id)
        if names is None:
            if len(self._by_customer) >= MAX_CUSTOMERS:
                self._by_customer.pop(next(iter(self._by_customer)))
                self.forgotten += 1
            names = self._by_customer[customer.id] = {}
        name = agent[:MAX_NAME_CHARS]
        seen = names.get(name)
        if seen is None:
            if len(names) >= MAX_PER_CUSTOMER:
                names.pop(min(names, key=lambda one: names[one].last_at))
                self.forgotten += 1
            seen = names[name] = Seen(at)
        seen.last_at = at
        seen.calls += 1
        if customer.ip_origin.approved_equipment and not customer.ip_origin.approves(agent):
            self.unapproved[customer.id] += 1
