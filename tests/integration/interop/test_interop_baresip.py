"""A real call between two baresips through the proxy, its audio watched on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.kit.baresip import Baresip, require_baresip
from tests.kit.packets import UdpWatch
from tests.kit.peers import wait_until
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site

pytestmark = pytest.mark.timeout(90)

CUSTOMER: Final = "127.0.0.61"
CARRIER: Final = "127.0.0.62"
CUSTOMER_NUMBER: Final = "+12025550123"
CARRIER_NUMBER: Final = "+14155550142"
ENOUGH_PACKETS: Final = 75
"""A second and a half of G.711 at 20 ms a packet."""


def rtp_range() -> range:
    """Ports for one agent's RTP and RTCP: an even one and those after it, all free just now."""
    while True:
        first = free_port()
        if first % 2 == 0 and [free_port() for _ in range(3)] == [first + 1, first + 2, first + 3]:
            return range(first, first + 4)


@pytest.mark.parametrize("from_customer", [True, False], ids=["to the carrier", "from the carrier"])
def test_real_call_has_audio_both_ways_straight_between_its_ends(from_customer: bool, tmp_path: Path) -> None:
    """RFC 3264 and RFC 3261 §16.6 step 1: the proxy leaves SDP alone, so media goes where the ends said, not by us."""
    require_baresip()
    site = Site()
    config = site.config(tmp_path)
    customer, carrier = (CUSTOMER, free_port()), (CARRIER, free_port())
    config["customers"] = [
        {
            "id": "acme",
            "sources": [f"{CUSTOMER}/32"],
            "targets": [f"sip:{CUSTOMER}:{customer[1]}"],
            "country": "US",
            "numbers": ["+12025550100-+12025550199"],
        }
    ]
    config["trunks"] = [{"id": "carrier", "targets": [f"sip:{CARRIER}:{carrier[1]}"]}]
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        Baresip(
            tmp_path / "customer",
            number=CUSTOMER_NUMBER,
            local=customer,
            proxy=(PROXY_HOST, site.customers_port),
            rtp_ports=rtp_range(),
        ) as at_customer,
        Baresip(
            tmp_path / "carrier",
            number=CARRIER_NUMBER,
            local=carrier,
            proxy=(PROXY_HOST, site.carriers_port),
            rtp_ports=rtp_range(),
        ) as at_carrier,
        UdpWatch() as watch,
    ):
        caller, called = (at_customer, CARRIER_NUMBER) if from_customer else (at_carrier, CUSTOMER_NUMBER)
        caller.dial(f"sip:{called}@{PROXY_HOST}")

        def heard(host: str, listener: Baresip, speaker: Baresip) -> int:
            return sum(
                count
                for flow, count in list(watch.packets.items())
                if flow.to[0] == host and flow.to[1] in listener.rtp_ports and flow.source_port in speaker.rtp_ports
            )

        def both_heard_enough() -> bool:
            at_least = min(heard(CUSTOMER, at_customer, at_carrier), heard(CARRIER, at_carrier, at_customer))
            return at_least >= ENOUGH_PACKETS

        wait_until(both_heard_enough, "audio both ways", lambda: f"{watch.packets}\n{at_customer.log_text()}", 30)
        for agent in (at_customer, at_carrier):
            agent.wait_for("incoming rtp for 'audio' established")
        assert proxy.scrape().total("calls_active") == 1
        caller.hang_up()
        for agent in (at_customer, at_carrier):
            agent.wait_for("terminated (duration")
        ended = proxy.wait_for(lambda samples: samples.total("calls_active") == 0, "the end of the call")
        assert ended.total("calls_ended_total", cause="bye") == 1
        proxy.assert_balanced()
        assert [agent.quit() for agent in (at_customer, at_carrier)] == [0, 0]
    both = {*at_customer.rtp_ports, *at_carrier.rtp_ports}
    media = {flow for flow in watch.packets if both & {flow.source_port, flow.to[1]}}
    assert media
    assert [flow for flow in media if not both.issuperset({flow.source_port, flow.to[1]})] == []
