"""kill -9 in the middle of 500 calls: a proxy that is back within two seconds knows their dialogs (SIPp, UDP)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

from tests.integration.interop.sipp_cases import (
    answer,
    answer_inside,
    begin,
    callee_sends,
    caller_sends,
    get,
    keep,
    pause,
    take,
    write,
)
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp, require_sipp

pytestmark = [pytest.mark.sipp, pytest.mark.timeout(90)]

CUSTOMER: Final = "127.0.0.71"
CARRIER: Final = "127.0.0.72"
CALLS_EACH_WAY: Final = 250
RATE: Final = 80
HOLD_MS: Final = 9_000
BACK_WITHIN_S: Final = 2.0
WAYS: Final = ("to the carrier", "from the carrier")

# The caller hangs up calls to the carrier, the callee those from it.
_UP_CALLER: Final = (
    begin()
    + get(100, "begin", optional=True)
    + get(180, "begin", optional=True)
    + get(200, "begin", routes=True)
    + caller_sends("ACK", 1, "begin")
)
_UP_CALLEE: Final = keep() + answer(180, "Ringing") + answer(200, "OK", body=True, then=' retrans="500"') + take("ACK")
_ENDS: Final = get(200, "bye")
_IS_LEFT: Final = take("BYE") + answer_inside(200, "OK")
SCENARIOS: Final = {
    "to the carrier": (_UP_CALLER + pause(HOLD_MS) + caller_sends("BYE", 2, "bye") + _ENDS, _UP_CALLEE + _IS_LEFT),
    "from the carrier": (_UP_CALLER + _IS_LEFT, _UP_CALLEE + pause(HOLD_MS) + callee_sends("BYE", 1, "bye") + _ENDS),
}


def test_every_bye_after_a_kill_gets_its_200(tmp_path: Path) -> None:
    """The dialogs travel signed in their Record-Route: a new process with the old key serves them all, both ways."""
    require_sipp()
    site = Site()
    config = site.config(tmp_path)
    customer_port, carrier_port = free_port(), free_port()
    config["customers"] = [
        {
            "id": "acme",
            "sources": [f"{CUSTOMER}/32"],
            "targets": [f"sip:{CUSTOMER}:{customer_port}"],
            "country": "US",
            "numbers": ["+12025550100-+12025550199"],
        }
    ]
    config["trunks"] = [{"id": "carrier", "targets": [f"sip:{CARRIER}:{carrier_port}"], "probe": {"interval_s": 0}}]
    customer_keys = {"from": "<sip:+12025550123@peer.example>", "ruri": "sip:+14155550142@edge.example"}
    carrier_keys = {"from": "<sip:+14155550142@peer.example>", "ruri": "sip:+12025550123@edge.example"}
    out, back = (
        tuple(
            write(tmp_path, f"{way}-{end}".replace(" ", "-"), text)
            for end, text in zip(("caller", "callee"), SCENARIOS[way], strict=True)
        )
        for way in WAYS
    )
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        Sipp(tmp_path, out[1], local=(CARRIER, carrier_port), calls=CALLS_EACH_WAY, keys=customer_keys) as out_callee,
        Sipp(tmp_path, back[1], local=(CUSTOMER, customer_port), calls=CALLS_EACH_WAY, keys=carrier_keys) as in_callee,
        Sipp(
            tmp_path,
            out[0],
            local=(CUSTOMER, free_port()),
            remote=(PROXY_HOST, site.customers_port),
            calls=CALLS_EACH_WAY,
            rate=RATE,
            keys=customer_keys,
        ) as out_caller,
        Sipp(
            tmp_path,
            back[0],
            local=(CARRIER, free_port()),
            remote=(PROXY_HOST, site.carriers_port),
            calls=CALLS_EACH_WAY,
            rate=RATE,
            keys=carrier_keys,
        ) as in_caller,
    ):
        began_at = time.monotonic()
        proxy.wait_for(
            lambda samples: samples.total("calls_answered_total") == 2 * CALLS_EACH_WAY, "500 answered calls"
        )
        up = proxy.scrape().total("calls_active")
        killed_at = time.monotonic()
        assert killed_at - began_at < HOLD_MS / 1000 - 1, "the first calls end too soon to be killed while up"
        proxy.kill()
        proxy.start()
        down_s = time.monotonic() - killed_at
        results = [end.wait() for end in (out_caller, in_caller, out_callee, in_callee)]
        after = proxy.assert_balanced()
    assert up == 2 * CALLS_EACH_WAY
    assert down_s < BACK_WITHIN_S
    for result in results:
        result.assert_clean(CALLS_EACH_WAY)
    assert after.total("calls_ended_total", cause="bye") == 2 * CALLS_EACH_WAY
