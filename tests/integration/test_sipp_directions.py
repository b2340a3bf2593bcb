"""Whole calls in both directions, in all the ways they end, and all the ways a number may be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from edge_proxy.addr import Side
from tests.kit.metrics import Samples
from tests.kit.proxy_process import (
    ACME_HOST,
    ACME_NUMBER,
    CARRIER_HOST,
    GLOBEX_NUMBER,
    INITECH_HOST,
    INITECH_NUMBER,
    OUTSIDE_NUMBER,
    PROXY_HOST,
    UNKNOWN_HOST,
    ProxyProcess,
)
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

CALLS: Final = 5
OUTSIDE_FROM: Final = f"<sip:{OUTSIDE_NUMBER}@carrier.example>"


@dataclass(frozen=True)
class Course:
    """Two scenarios that belong together, and how such a call ends in the evidence."""

    caller: str
    callee: str
    cause: str
    ended_by: str
    status: int


COURSES: Final = (
    Course("uac", "uas", "bye", "caller", 200),
    Course("uac_hung_up", "uas_hangs_up", "bye", "callee", 200),
    Course("uac_cancels", "uas_cancelled", "cancelled", "caller", 487),
    Course("uac_cancels_late", "uas_answers_late", "bye", "caller", 200),
    Course("uac_in_dialog", "uas_in_dialog", "bye", "caller", 200),
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy")) as running:
        yield running


def place(
    proxy: ProxyProcess,
    directory: Path,
    caller: tuple[str, int],
    callee: tuple[str, int],
    side: Side,
    keys: dict[str, str],
    course: Course = COURSES[0],
) -> tuple[Samples, list[dict[str, Any]]]:
    """Place calls that must succeed; what they added to the metrics, and their evidence lines."""
    port = proxy.site.customers_port if side is Side.CUSTOMERS else proxy.site.carriers_port
    before = proxy.scrape()
    with (
        Sipp(directory, course.callee, local=callee, calls=CALLS, hold_ms=20) as uas,
        Sipp(
            directory,
            course.caller,
            local=caller,
            remote=(PROXY_HOST, port),
            calls=CALLS,
            hold_ms=20,
            keys=keys,
            traces=True,
        ) as uac,
    ):
        sent, taken = uac.wait(), uas.wait()
        sent.assert_clean(CALLS)
        taken.assert_clean(CALLS)
        call_ids = {message.call_id for message in uac.messages()}
    for where, result in ((side, sent), (side.other, taken)):
        proxy.received(where, before.total("messages_received_total", side=where) + result.total_sent)
    added = proxy.assert_balanced().since(before)
    for where, result in ((side, sent), (side.other, taken)):
        assert added.total("messages_received_total", side=where) == result.total_sent
        assert added.total("messages_sent_total", side=where) == result.total_received
    proxy.flushed()
    lines = proxy.evidence()
    attempts = [line for line in lines if line["kind"] == "attempt" and line["call_id"] in call_ids]
    assert len(attempts) == len(call_ids) == CALLS
    ids = {line["id"] for line in attempts}
    return added, attempts + [line for line in lines if line["kind"] == "end" and line["id"] in ids]


def refuse(
    proxy: ProxyProcess, directory: Path, caller: tuple[str, int], side: Side, keys: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    """Place one call that must be refused; the status, and its evidence line."""
    port = proxy.site.customers_port if side is Side.CUSTOMERS else proxy.site.carriers_port
    with Sipp(directory, "uac_refused", local=caller, remote=(PROXY_HOST, port), keys=keys, traces=True) as uac:
        uac.wait().assert_clean(1)
        (final,) = [message for message in uac.messages() if message.status >= 200]
        line = proxy.attempt(final.call_id)
    assert final.header("Reason") == f'SIP;cause={final.status};text="{line["reason"]}"'
    return final.status, line


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.caller)
@pytest.mark.parametrize("side", list(Side))
def test_call_ends_as_both_ends_say_in_either_direction(
    proxy: ProxyProcess, tmp_path: Path, side: Side, course: Course
) -> None:
    """BYE from either end, CANCEL in time and too late, re-INVITE, INFO and UPDATE both ways: none is lost or stray."""
    acme, carrier = (ACME_HOST, proxy.site.acme_port), (CARRIER_HOST, proxy.site.carrier_port)
    if side is Side.CUSTOMERS:
        caller, callee, keys, reason = acme, carrier, {}, "identity_owned"
    else:
        caller, callee, reason = carrier, acme, "carrier_call"
        keys = {"from": OUTSIDE_FROM, "ruri": f"sip:{ACME_NUMBER}@edge.example"}
    added, lines = place(proxy, tmp_path, caller, callee, side, keys, course)
    assert added.total("verdicts_total", side=side, outcome="allowed", reason=reason) == CALLS
    assert added.total("calls_ended_total", side=side, cause=course.cause) == CALLS
    assert proxy.scrape().total("calls_active") == 0
    attempts, ends = lines[:CALLS], lines[CALLS:]
    assert {line["customer"] for line in attempts} == {"acme"}
    assert {(line["cause"], line["ended_by"], line["status"], line["direction"]) for line in ends} == {
        (course.cause, course.ended_by, course.status, side)
    }
    assert len(ends) == CALLS
    assert all(("duration_s" in line) is (course.cause == "bye") for line in ends)
    # Nothing but answers of our own was kept from the other end.
    dropped = added.by("messages_by_cause_total", "cause", disposition="dropped")
    assert dropped == {}


def test_own_number_from_the_carrier_is_refused_as_forged(proxy: ProxyProcess, tmp_path: Path) -> None:
    """A number of one of our customers cannot come in from outside, whoever of them is called."""
    keys = {"from": f"<sip:{GLOBEX_NUMBER}@carrier.example>", "ruri": f"sip:{ACME_NUMBER}@edge.example"}
    carrier = (CARRIER_HOST, proxy.site.carrier_port)
    status, line = refuse(proxy, tmp_path, carrier, Side.CARRIERS, keys)
    assert (status, line["reason"], line["trunk"]) == (403, "own_number_from_carrier", "carrier-a")


def test_own_number_in_a_national_form_from_the_carrier_is_refused_too(proxy: ProxyProcess, tmp_path: Path) -> None:
    """Writing one of our numbers in its national form hides nothing."""
    keys = {"from": "<sip:02079460123@carrier.example>", "ruri": f"sip:{ACME_NUMBER}@edge.example"}
    carrier = (CARRIER_HOST, proxy.site.carrier_port)
    status, line = refuse(proxy, tmp_path, carrier, Side.CARRIERS, keys)
    assert (status, line["reason"]) == (403, "own_number_from_carrier")


def test_own_number_that_comes_back_forwarded_passes(proxy: ProxyProcess, tmp_path: Path) -> None:
    """A customer's call that somebody outside forwarded to another customer shows who did (RFC 5806)."""
    keys = {
        "from": f"<sip:{GLOBEX_NUMBER}@carrier.example>",
        "ruri": f"sip:{ACME_NUMBER}@edge.example",
        "headers": f"Diversion: <sip:{OUTSIDE_NUMBER}@carrier.example>;reason=unconditional",
    }
    carrier, acme = (CARRIER_HOST, proxy.site.carrier_port), (ACME_HOST, proxy.site.acme_port)
    added, _ = place(proxy, tmp_path, carrier, acme, Side.CARRIERS, keys)
    assert added.total("verdicts_total", outcome="allowed", reason="forwarded_call") == CALLS


def test_number_that_nobody_owns_gets_404_from_the_carrier_side(proxy: ProxyProcess, tmp_path: Path) -> None:
    """Calls come in for our customers' numbers only."""
    keys = {"from": OUTSIDE_FROM, "ruri": "sip:+12025550999@edge.example"}
    carrier = (CARRIER_HOST, proxy.site.carrier_port)
    status, line = refuse(proxy, tmp_path, carrier, Side.CARRIERS, keys)
    assert (status, line["reason"], line.get("customer")) == (404, "called_not_owned", None)


@pytest.mark.parametrize(
    ("host", "own", "written"),
    [
        (ACME_HOST, ACME_NUMBER, "<sip:2025550123@acme.example>"),
        (ACME_HOST, ACME_NUMBER, "<sip:12025550123@acme.example;user=phone>"),
        (ACME_HOST, ACME_NUMBER, "<sip:01112025550123@acme.example>"),
        (ACME_HOST, ACME_NUMBER, "<tel:+1-202-555-0123>"),
        (INITECH_HOST, INITECH_NUMBER, "<sip:02079460123@initech.example>"),
        (INITECH_HOST, INITECH_NUMBER, "<sip:00442079460123@initech.example>"),
        (INITECH_HOST, INITECH_NUMBER, "<tel:02079460123;phone-context=+44>"),
    ],
)
def test_own_number_is_known_in_every_form_of_the_customers_country(
    proxy: ProxyProcess, tmp_path: Path, host: str, own: str, written: str
) -> None:
    """National, international and tel: forms all name the same number."""
    port = proxy.site.acme_port if host == ACME_HOST else proxy.site.initech_port
    added, lines = place(
        proxy,
        tmp_path,
        (host, port),
        (CARRIER_HOST, proxy.site.carrier_port),
        Side.CUSTOMERS,
        {"from": written, "headers": f"P-Asserted-Identity: {written}"},
    )
    assert added.total("verdicts_total", outcome="allowed", reason="identity_owned") == CALLS
    assert {line["from_number"] for line in lines[:CALLS]} == {own}


@pytest.mark.parametrize(
    ("ruri", "host"),
    [
        ("sip:2025550123@edge.example", ACME_HOST),
        (f"tel:{ACME_NUMBER}", ACME_HOST),
        ("sip:02079460123@edge.example;user=phone", INITECH_HOST),
        ("tel:+44-20-7946-0123", INITECH_HOST),
    ],
)
def test_called_number_finds_its_customer_in_every_form(
    proxy: ProxyProcess, tmp_path: Path, ruri: str, host: str
) -> None:
    """What the carrier writes for a number of ours, with its country's habits, reaches the customer that owns it."""
    port = proxy.site.acme_port if host == ACME_HOST else proxy.site.initech_port
    carrier = (CARRIER_HOST, proxy.site.carrier_port)
    keys = {"from": OUTSIDE_FROM, "ruri": ruri}
    added, lines = place(proxy, tmp_path, carrier, (host, port), Side.CARRIERS, keys)
    assert added.total("verdicts_total", outcome="allowed", reason="carrier_call") == CALLS
    assert {line["called_number"] for line in lines[:CALLS]} == {ACME_NUMBER if host == ACME_HOST else INITECH_NUMBER}


def test_tel_request_uri_from_a_customer_is_carried(proxy: ProxyProcess, tmp_path: Path) -> None:
    """A customer may call a tel: URI; the trunk's target is where it goes."""
    acme, carrier = (ACME_HOST, proxy.site.acme_port), (CARRIER_HOST, proxy.site.carrier_port)
    _, lines = place(proxy, tmp_path, acme, carrier, Side.CUSTOMERS, {"ruri": f"tel:{OUTSIDE_NUMBER}"})
    assert {line["request_uri"] for line in lines[:CALLS]} == {f"tel:{OUTSIDE_NUMBER}"}


@pytest.mark.parametrize("host", [ACME_HOST, UNKNOWN_HOST])
@pytest.mark.parametrize("ruri", ["sip:911@edge.example", "urn:service:sos"])
def test_emergency_call_passes_whoever_calls_as_whomever(
    proxy: ProxyProcess, tmp_path: Path, host: str, ruri: str
) -> None:
    """No number, marker or missing customer stands between a caller and help."""
    keys = {
        "ruri": ruri,
        "from": "<sip:+13105550199@anywhere.example>",
        "headers": "P-Access-Network-Info: GSTN\r\nP-Asserted-Identity: <tel:+13105550199>",
    }
    caller, carrier = (host, proxy.site.acme_port), (CARRIER_HOST, proxy.site.carrier_port)
    added, lines = place(proxy, tmp_path, caller, carrier, Side.CUSTOMERS, keys)
    assert added.total("verdicts_total", outcome="allowed", reason="emergency") == CALLS
    assert all(line["emergency"] for line in lines[:CALLS])
    assert {line.get("customer") for line in lines[:CALLS]} == {"acme" if host == ACME_HOST else None}
