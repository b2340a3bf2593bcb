"""Customers' equipment as Prometheus reads it (telemetry/equipment_metrics.py)."""

from __future__ import annotations

from edge_proxy.telemetry.equipment_metrics import equipment_families
from tests.kit.messages import invite
from tests.kit.playbook import Playbook, make_snapshot

NUMBERS = '    numbers: ["+12025550100-+12025550199"]\n'


def samples(play: Playbook) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("customer", "")): sample.value
        for family in equipment_families(play.pipeline.counters.equipment, play.pipeline.snapshot)
        for sample in family.samples
    }


def test_calls_from_unapproved_equipment_are_counted_by_customer_and_its_name_is_no_label() -> None:
    """From zero on, also for customers that have no list; nobody is refused for it."""
    terms = NUMBERS + "    equipment: {approved: ['Acme *']}\n"
    play = Playbook(snapshot=make_snapshot(old=NUMBERS, new=terms))
    count, seen = "edge_proxy_customer_calls_unapproved_equipment_total", "edge_proxy_customer_equipment_seen"
    assert samples(play)[count, "acme"] == 0
    for agent in ("Acme SBC", "sipvicious", "sipvicious"):
        play.customer.sends(invite(f"User-Agent: {agent}")).gets(100)
        play.carrier.gets("INVITE")
    found = samples(play)
    assert (found[count, "acme"], found[count, "globex"]) == (2, 0)
    assert (found[seen, "acme"], found[seen, "globex"]) == (2, 0)
    assert "equipment_unapproved+10" in map(str, play.attempts[1].verdict.signals)
    play.lets(lambda _: play.pipeline.use_snapshot(make_snapshot(old="- id: acme", new="- id: renamed")))
    assert samples(play)[count, "other"] == 2
    assert samples(play)["edge_proxy_equipment_forgotten_total", ""] == 0
