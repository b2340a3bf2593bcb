"""The carrier's side with real peers: SIPp targets that die and return; names in a real DNS server that dies too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.dns_server import DnsServer
from tests.kit.metrics import Samples
from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, OUTSIDE_NUMBER, PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

CALLS: Final = 10
_PROBE: Final = {"interval_s": 0.3, "timeout_s": 0.2, "up_after": 2, "down_after": 2}


def proxy_with(directory: Path, targets: list[str], **sip: Any) -> ProxyProcess:
    """A proxy whose one trunk has these targets, with timers short enough for a test."""
    proxy = ProxyProcess(directory, Site())
    proxy.config["trunks"] = [
        {"id": "carrier-a", "sources": [f"{CARRIER_HOST}/32"], "targets": targets, "probe": _PROBE}
    ]
    proxy.config["sip"] |= {"t1_ms": 20, "t2_ms": 100, **sip}
    return proxy


def target(directory: Path, port: int) -> Sipp:
    """A carrier's gateway; the end of the `with` block kills it."""
    return Sipp(directory, "uas_probed", local=(CARRIER_HOST, port), calls=1_000_000)


def place_calls(proxy: ProxyProcess, directory: Path) -> None:
    """acme places calls, every one of which must succeed."""
    with Sipp(
        directory,
        "uac",
        local=(ACME_HOST, proxy.site.acme_port),
        remote=(PROXY_HOST, proxy.site.customers_port),
        calls=CALLS,
        hold_ms=20,
        keys={"ruri": f"sip:{OUTSIDE_NUMBER}@{PROXY_HOST}:{proxy.site.customers_port}"},
    ) as caller:
        caller.wait().assert_clean(CALLS)


def is_up(proxy: ProxyProcess, uri: str, value: int) -> None:
    proxy.wait_for(lambda samples: samples.total("target_up", target=uri) == value, f"{uri} up: {value}")


def answered(samples: Samples, uri: str) -> int:
    return samples.total("target_requests_total", trunk="carrier-a", target=uri, result="answered")


def test_dead_target_costs_no_call_and_is_used_again_when_it_returns(tmp_path: Path) -> None:
    """Calls to a target that has just died go on to the next one; soon nobody is sent there; then it is the first."""
    first, second = free_port(), free_port()
    uris = [f"sip:{CARRIER_HOST}:{port}" for port in (first, second)]
    with proxy_with(tmp_path, uris) as proxy, target(tmp_path, second):
        with target(tmp_path, first):
            is_up(proxy, uris[0], 1)
            place_calls(proxy, tmp_path)
            before = proxy.scrape()
            assert (answered(before, uris[0]), answered(before, uris[1])) == (CALLS, 0)
        place_calls(proxy, tmp_path)
        is_up(proxy, uris[0], 0)
        assert answered(proxy.scrape(), uris[1]) == CALLS
        lost = proxy.scrape().total("target_requests_total", target=uris[0], result="timed_out")
        place_calls(proxy, tmp_path)
        after = proxy.scrape()
        assert after.total("target_requests_total", target=uris[0], result="timed_out") == lost
        assert answered(after, uris[1]) == 2 * CALLS
        with target(tmp_path, first):
            is_up(proxy, uris[0], 1)
            place_calls(proxy, tmp_path)
            assert answered(proxy.scrape(), uris[0]) == 2 * CALLS
        samples = proxy.assert_balanced()
        assert samples.total("messages_by_cause_total", cause="probe_response") > 0
        assert samples.total("verdicts_total") == 4 * CALLS  # no probe was taken for an attempt
        proxy.flushed()
        assert sum(line["kind"] == "attempt" for line in proxy.evidence()) == 4 * CALLS


@pytest.mark.asyncio
async def test_names_lead_calls_and_survive_the_death_of_dns(tmp_path: Path) -> None:
    """NAPTR and SRV say where the carrier is; calls go on while DNS is dead, and follow it when it is back."""
    first, second = free_port(), free_port()
    uri = "sip:carrier.test"
    async with DnsServer() as dns_server:
        dns_server.put("carrier.test", "NAPTR", '10 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.', ttl=1)
        dns_server.put("_sip._udp.carrier.test", "SRV", f"10 1 {first} gw.carrier.test.", ttl=1)
        dns_server.put("gw.carrier.test", "A", CARRIER_HOST, ttl=1)
        proxy = proxy_with(tmp_path, [uri], nameservers=[str(dns_server.address)])
        try:
            await asyncio.to_thread(proxy.start)
            with target(tmp_path, first), target(tmp_path, second):
                await asyncio.to_thread(is_up, proxy, uri, 1)
                await asyncio.to_thread(place_calls, proxy, tmp_path)
                dns_server.is_silent = True
                await asyncio.to_thread(
                    proxy.wait_for, lambda samples: samples.total("names_stale") == 1, "the stale name", 30
                )
                await asyncio.to_thread(place_calls, proxy, tmp_path)
                before = proxy.scrape()
                assert before.total("dns_queries_total", result="failed") > 0
                dns_server.put("_sip._udp.carrier.test", "SRV", f"10 1 {second} gw.carrier.test.", ttl=1)
                dns_server.is_silent = False
                await asyncio.to_thread(
                    proxy.wait_for, lambda samples: samples.total("names_stale") == 0, "the fresh name", 60
                )
            with target(tmp_path, second):
                await asyncio.to_thread(place_calls, proxy, tmp_path)
            samples = await asyncio.to_thread(proxy.assert_balanced)
            assert answered(samples, uri) == 3 * CALLS
        finally:
            await asyncio.to_thread(proxy.kill)
