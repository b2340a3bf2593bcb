"""Whole calls through a trunk that hides the topology, with SIPp on both ends and a proxy that dies in mid-call.

The carrier's SIPp writes down every byte it gets; none of them may tell where the customer is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edge_proxy.addr import Side
from tests.kit.proxy_process import (
    ACME_HOST,
    ACME_NUMBER,
    CARRIER_HOST,
    OUTSIDE_NUMBER,
    PROXY_HOST,
    ProxyProcess,
    Site,
)
from tests.kit.sipp import SCENARIOS, Sipp

pytestmark = pytest.mark.sipp

CALLS: Final = 5
COURSES: Final = (
    ("uac", "uas"),
    ("uac_hung_up", "uas_hangs_up"),
    ("uac_cancels", "uas_cancelled"),
    ("uac_cancels_late", "uas_answers_late"),
    ("uac_in_dialog", "uas_in_dialog"),
)
OUTWARD: Final = {
    "from": f'"Desk at {ACME_HOST}" <sip:{ACME_NUMBER}@pbx.acme.example>',
    "headers": f"X-Gateway: {ACME_HOST}:5060 (pbx.acme.example)",
}
INWARD: Final = {"from": f"<sip:{OUTSIDE_NUMBER}@carrier.example>", "ruri": f"sip:{ACME_NUMBER}@edge.example"}


def make_proxy(directory: Path) -> ProxyProcess:
    site = Site()
    config = site.config(directory)
    config["trunks"][0]["hide_topology"] = True
    return ProxyProcess(directory, site, config)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with make_proxy(tmp_path_factory.mktemp("proxy")) as running:
        yield running


def for_one_hop(directory: Path, scenario: str) -> Path:
    """A scenario for a callee that sees one Via and one Record-Route, as the carrier does in a hidden call."""
    lines = (SCENARIOS / f"{scenario}.xml").read_text(encoding="utf-8").splitlines(keepends=True)
    path = directory / f"{scenario}.xml"
    path.write_text("".join(line for line in lines if "via2" not in line and "rr2" not in line), encoding="utf-8")
    return path


def assert_nothing_told(carrier: Sipp) -> None:
    """No header of any message that the carrier got names the customer's hosts."""
    heads = [message.data.partition(b"\r\n\r\n")[0] for message in carrier.messages() if not message.is_sent]
    assert heads
    for head in heads:
        for secret in (ACME_HOST.encode(), b"acme.example"):
            assert secret not in head, head.decode()


@pytest.mark.parametrize(("caller", "callee"), COURSES)
@pytest.mark.parametrize("side", list(Side))
def test_call_through_a_hiding_trunk_tells_nothing(
    proxy: ProxyProcess, tmp_path: Path, side: Side, caller: str, callee: str
) -> None:
    """Every course of a call goes as it does without hiding, from either side, and the carrier learns nothing."""
    site = proxy.site
    acme, carrier = (ACME_HOST, site.acme_port), (CARRIER_HOST, site.carrier_port)
    is_outward = side is Side.CUSTOMERS
    called = for_one_hop(tmp_path, callee) if is_outward else callee
    with (
        Sipp(tmp_path, called, local=carrier if is_outward else acme, calls=CALLS, hold_ms=20, traces=True) as uas,
        Sipp(
            tmp_path,
            caller,
            local=acme if is_outward else carrier,
            remote=(PROXY_HOST, site.customers_port if is_outward else site.carriers_port),
            calls=CALLS,
            hold_ms=20,
            keys=OUTWARD if is_outward else INWARD,
            traces=True,
        ) as uac,
    ):
        uac.wait().assert_clean(CALLS)
        uas.wait().assert_clean(CALLS)
        assert_nothing_told(uas if is_outward else uac)
        call_ids = {message.call_id for message in uac.messages()}
    proxy.flushed()
    proxy.assert_balanced()
    lines = proxy.evidence()
    # The books know a call by the name its caller gave it.
    attempts = {line["id"] for line in lines if line["kind"] == "attempt" and line["call_id"] in call_ids}
    assert len(attempts) == CALLS
    assert sorted(line["id"] for line in lines if line["kind"] == "end" and line["id"] in attempts) == sorted(attempts)


@pytest.mark.parametrize(("caller", "callee"), [("uac", "uas"), ("uac_hung_up", "uas_hangs_up")])
@pytest.mark.parametrize("side", list(Side))
def test_hidden_call_ends_after_the_proxy_was_killed(tmp_path: Path, side: Side, caller: str, callee: str) -> None:
    """BYE from either end finds the other through a proxy that never saw the call: the seals carry all it needs."""
    with make_proxy(tmp_path) as proxy:
        site = proxy.site
        acme, carrier = (ACME_HOST, site.acme_port), (CARRIER_HOST, site.carrier_port)
        is_outward = side is Side.CUSTOMERS
        with (
            Sipp(
                tmp_path, callee, local=carrier if is_outward else acme, calls=CALLS, hold_ms=2500, traces=True
            ) as uas,
            Sipp(
                tmp_path,
                caller,
                local=acme if is_outward else carrier,
                remote=(PROXY_HOST, site.customers_port if is_outward else site.carriers_port),
                calls=CALLS,
                hold_ms=2500,
                keys=OUTWARD if is_outward else INWARD,
                traces=True,
            ) as uac,
        ):
            acks = "messages_received_total"
            proxy.wait_for(lambda samples: samples.total(acks, side=side) >= 2 * CALLS, "the ACKs")
            proxy.kill()
            proxy.start()
            uac.wait().assert_clean(CALLS)
            uas.wait().assert_clean(CALLS)
            assert_nothing_told(uas if is_outward else uac)
