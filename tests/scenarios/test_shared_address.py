"""Several customers behind one address, told apart by a trunk group (RFC 4904) or a header."""

from __future__ import annotations

import pytest

from edge_proxy.config import ConfigErrors, parse_settings
from edge_proxy.policy.access import Proof
from edge_proxy.policy.verdict import Reason
from tests.kit import playbook
from tests.kit.messages import CUSTOMER, invite, request, value
from tests.kit.playbook import Playbook, make_snapshot

NUMBERS = {"north": "+12125550100", "south": "+12125550200", "acme": "+12025550100"}


def customer(name: str, match: str) -> str:
    return f"""\
  - id: {name}
    sources: ["198.51.100.10/31"]
    country: US
    numbers: ["{NUMBERS[name]}"]
    {match}
"""


NORTH = customer("north", 'match: {trunk_group: "TG-North", trunk_context: "hosted.example"}')
SOUTH = customer("south", 'match: {header: {name: "X-Tenant", value: "south"}}')


def play_with(*customers: str) -> Playbook:
    return Playbook(snapshot=make_snapshot(old="customers:\n", new="customers:\n" + "".join(customers)))


def call_of(name: str, *extra: str, group: str = "") -> bytes:
    data = invite(*extra, from_=f"<sip:{NUMBERS[name]}@hosted.example>;tag=h")
    if group:
        contact = f"Contact: <sip:1;{group}@198.51.100.10:5060>"
        data = data.replace(b"Contact: <sip:198.51.100.10:5060>", contact.encode())
    return data


@pytest.mark.parametrize(
    ("name", "extra", "group"),
    [
        ("north", (), "tgrp=tg-north;trunk-context=HOSTED.example"),
        ("south", ("x-tenant:  south",), ""),
        ("south", ("X-Tenant: south",), "tgrp=tg-north;trunk-context=elsewhere.example"),
        ("acme", (), ""),
        ("acme", ("X-Tenant: South",), ""),
        ("acme", ("X-Tenant: south", "X-Tenant: other"), ""),
    ],
)
def test_request_shows_whose_it_is(name: str, extra: tuple[str, ...], group: str) -> None:
    """Its marks name the customer; without any it is the one that has the address to itself."""
    play = play_with(NORTH, SOUTH)
    play.customer.sends(call_of(name, *extra, group=group)).gets(100)
    (attempt,) = play.attempts
    assert (attempt.customer, attempt.verdict.proof) == (name, Proof.ADDRESS_UDP)


def test_mark_gives_no_numbers() -> None:
    """Whoever shows another's mark is judged as that other."""
    play = play_with(NORTH, SOUTH)
    play.refuses(call_of("acme", "X-Tenant: south"), 403)
    assert (play.attempts[-1].customer, play.attempts[-1].verdict.reason) == ("south", Reason.FROM_NOT_OWNED)


def test_marks_of_two_customers_are_refused() -> None:
    """Which of them holds is not ours to guess."""
    play = play_with(NORTH, SOUTH)
    sent = call_of("south", "X-Tenant: south", group="tgrp=tg-north;trunk-context=hosted.example")
    refusal = play.refuses(sent, 403)
    assert play.attempts[-1].verdict.reason is Reason.UNKNOWN_SOURCE
    assert "north and south" in value(refusal, "Warning")


def test_no_mark_is_nobody_where_all_are_told_by_marks() -> None:
    """198.51.100.11 is north's and south's only: an unmarked call is refused, a ping is answered."""
    play = play_with(NORTH, SOUTH)
    neighbour = play.peer(CUSTOMER._replace(host="198.51.100.11"), play.customer.listener.side)
    sent = invite(source=neighbour.address)  # type: ignore[arg-type]
    refusal = play.refuses(sent, 403, by=neighbour)
    assert "shows no mark" in value(refusal, "Warning")
    neighbour.sends(request("OPTIONS", "sip:192.0.2.1:5060", source=neighbour.address)).gets(200)


def test_emergency_call_needs_no_mark() -> None:
    """It passes whoever sends it."""
    play = play_with(NORTH, SOUTH)
    neighbour = play.peer(CUSTOMER._replace(host="198.51.100.11"), play.customer.listener.side)
    neighbour.sends(invite(number="911", source=neighbour.address)).gets(100)  # type: ignore[arg-type]
    assert play.attempts[-1].verdict.reason is Reason.EMERGENCY


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("mode: enforce", "overlaps"),
        ('match: {trunk_group: "tg-NORTH", trunk_context: hosted.example}', "overlaps"),
        ("match: {}", "nothing is there to match"),
        ("match: {trunk_context: a.example}", "names no trunk group"),
        ("match: {header: {name: Via, value: x}}", "is no header that tells customers apart"),
        ("match: {header: {name: X-A}}", "value"),
    ],
)
def test_ambiguous_configuration_is_an_error(match: str, said: str) -> None:
    """The same address with no mark, with the same mark, or with a mark that is none."""
    first = NORTH if "tg-NORTH" in match else customer("north", "mode: enforce") if match == "mode: enforce" else ""
    text = playbook.CONFIG.replace("TARGETS", '"sip:203.0.113.10:5090"')
    text = text.replace("customers:\n  - id: acme", "customers:\n" + first + customer("south", match) + "  - id: acme")
    with pytest.raises(ConfigErrors) as caught:
        parse_settings(text.encode(), "f.yaml")
    assert said in str(caught.value)


def test_match_without_sources_is_an_error() -> None:
    """There is no address that it would tell apart."""
    text = playbook.CONFIG.replace("TARGETS", '"sip:203.0.113.10:5090"')
    credentials = f"    credentials: [{{username: a, ha1_sha256: {'a' * 64}}}]\n"
    text = text.replace('    sources: ["198.51.100.20/32"]\n', credentials)
    text = text.replace("    mode: monitor\n", "    match: {trunk_group: x}\n")
    with pytest.raises(ConfigErrors) as caught:
        parse_settings(text.encode(), "f.yaml")
    assert "there are no sources" in str(caught.value)
