"""SIPp on IPv6 and on IPv4, on either side of the proxy: each dialog finds its way back by the other family too."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from edge_proxy.addr import Address
from tests.kit.ports import free_port, has_ipv6
from tests.kit.proxy_process import ACME_NUMBER, OUTSIDE_NUMBER, ProxyProcess, Site
from tests.kit.sipp import Sipp

CALLS: Final = 10
V6: Final = "::1"
"""The only loopback address there is: the sides tell customers and carriers apart."""
FAMILIES: Final = {"4": ("127.0.0.2", "127.0.0.1"), "6": (V6, V6)}
"""What a customer's host and a carrier's host is."""

pytestmark = [pytest.mark.sipp, pytest.mark.needs(has_ipv6(), "no IPv6 here")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("families", ["6-4", "4-6", "6-6"])
def test_calls_pass_between_address_families_both_ways(families: str, transport: str, tmp_path: Path) -> None:
    """RFC 5658 §3.1: each side finds our address of its own family, for its ACK, a BYE of either end, and in between.

    RFC 5118 §4.1: with brackets in every URI and Via.
    """
    inner, outer = families.split("-")
    customer, carrier = Address(FAMILIES[inner][0], free_port()), Address(FAMILIES[outer][1], free_port())
    site = Site()
    our_inner = Address(V6 if inner == "6" else "127.0.0.1", site.customers_port)
    our_outer = Address(V6 if outer == "6" else "127.0.0.1", site.carriers_port)
    config = site.config(tmp_path)
    config["listeners"] = {
        "customers": {"bind": str(our_inner), "transports": ["udp", "tcp"]},
        "carriers": {"bind": str(our_outer), "transports": ["udp", "tcp"]},
    }
    of_stream = ";transport=tcp" if transport == "tcp" else ""
    config["customers"] = [
        config["customers"][0] | {"sources": [customer.host], "targets": [f"sip:{customer}{of_stream}"]}
    ]
    config["trunks"][0] |= {"sources": [carrier.host], "targets": [f"sip:{carrier}{of_stream}"]}
    out = {"ruri": f"sip:{OUTSIDE_NUMBER}@edge.example", "from": f"<sip:{ACME_NUMBER}@acme.example>"}
    back = {"ruri": f"sip:{ACME_NUMBER}@edge.example", "from": f"<sip:{OUTSIDE_NUMBER}@carrier.example>"}
    ways = ((customer, carrier, our_inner, out), (carrier, customer, our_outer, back))
    courses = (("uac_in_dialog", "uas_in_dialog"), ("uac_hung_up", "uas_hangs_up"))
    with ProxyProcess(tmp_path, site, config) as proxy:
        for caller, callee, ours, keys in ways:
            for calls, answers in courses:
                with (
                    Sipp(tmp_path, answers, local=callee, calls=CALLS, hold_ms=20, is_stream=bool(of_stream)) as uas,
                    Sipp(
                        tmp_path,
                        calls,
                        local=(caller.host, free_port()),
                        remote=ours,
                        calls=CALLS,
                        hold_ms=20,
                        keys=keys,
                        is_stream=bool(of_stream),
                    ) as uac,
                ):
                    for end in (uac.wait(), uas.wait()):
                        assert (end.exit_code, end.successful, end.failed, end.unexpected) == (0, CALLS, 0, 0)
        samples = proxy.scrape()
        assert samples.by("verdicts_total", "outcome") == {"allowed": 4 * CALLS}
        assert samples.total("calls_active") == samples.total("internal_errors_total") == 0
        assert samples.by("messages_by_cause_total", "cause", disposition="dropped") == {}
