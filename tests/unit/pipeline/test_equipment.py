"""The inventory of equipment: what is seen, how much is kept, whose calls are unapproved (pipeline/equipment.py)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_proxy.addr import Wall
from edge_proxy.numbers.e164 import dial_plan
from edge_proxy.numbers.emergency import emergency_plan
from edge_proxy.pipeline import equipment
from edge_proxy.pipeline.equipment import MAX_NAME_CHARS, MAX_PER_CUSTOMER, EquipmentBook
from edge_proxy.policy.parties import Customer
from edge_proxy.policy.weights import IpOriginTerms
from edge_proxy.policy.wildcard import Wildcard


def customer(name: str, *approved: str) -> Customer:
    terms = IpOriginTerms(approved_equipment=tuple(map(Wildcard, approved)))
    return Customer(0, name, dial_plan("US"), emergency_plan("US"), ip_origin=terms)


def test_name_is_kept_with_its_times_and_calls() -> None:
    """First, last, how often; each customer for itself."""
    book = EquipmentBook()
    for at in (10.0, 20.0, 30.0):
        book.see(customer("acme"), "Yealink T46", Wall(at))
    book.see(customer("globex"), "", Wall(40.0))
    seen = book.of("acme")["Yealink T46"]
    assert (seen.first_at, seen.last_at, seen.calls) == (10.0, 30.0, 3)
    assert list(book.of("globex")) == [equipment.UNNAMED]
    assert book.of("nobody") == {}
    assert book.unapproved == {}


def test_calls_from_other_equipment_are_counted_where_there_is_a_list() -> None:
    """Who names nothing is not on it."""
    book = EquipmentBook()
    for agent in ("Acme SBC 1", "acme sbc 2", "sipvicious", ""):
        book.see(customer("acme", "Acme SBC *"), agent, Wall(1.0))
        book.see(customer("globex"), agent, Wall(1.0))
    assert book.unapproved == {"acme": 2}


def test_name_not_seen_for_longest_makes_room() -> None:
    """A flood of names costs no more than its own customer's share, and leaves what is in use."""
    book = EquipmentBook()
    for at in range(500):
        book.see(customer("acme"), "Acme SBC", Wall(float(at)))
        book.see(customer("acme"), f"scanner {at} {'x' * 500}", Wall(float(at)))
    book.see(customer("globex"), "PBX", Wall(1.0))
    assert len(book.of("acme")) == MAX_PER_CUSTOMER
    assert book.of("acme")["Acme SBC"].calls == 500
    assert max(map(len, book.of("acme"))) == MAX_NAME_CHARS
    assert book.forgotten == 501 - MAX_PER_CUSTOMER
    assert list(book.of("globex")) == ["PBX"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=5)), max_size=200))
def test_calls_are_all_booked_while_there_is_room(calls: list[tuple[str, str]]) -> None:
    """The sum over the names is the number of calls, as long as none was forgotten."""
    book = EquipmentBook()
    for name, agent in calls:
        book.see(customer(name), agent, Wall(0.0))
    booked = sum(seen.calls for name in "abc" for seen in book.of(name).values())
    assert booked == len(calls) or book.forgotten
