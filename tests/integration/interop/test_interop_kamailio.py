"""Kamailio, record-routing, above us, below us, and both at once; SIPp at the ends, calls in both directions.

Transports: `udp` and `tcp` are used on every leg; `mixed` has TCP between the proxies and UDP at the ends.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.integration.interop.sipp_cases import RACES, Case, write
from tests.kit.kamailio import Kamailio, require_kamailio
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, Config, ProxyProcess, Site
from tests.kit.sipp import Sipp, SippResult, require_sipp

pytestmark = [pytest.mark.sipp, pytest.mark.timeout(120)]

CUSTOMER_PROXY: Final = "127.0.0.31"
CARRIER_PROXY: Final = "127.0.0.32"
CUSTOMER: Final = "127.0.0.33"
CARRIER: Final = "127.0.0.34"
CUSTOMER_NUMBER: Final = "+12025550123"
CARRIER_NUMBER: Final = "+14155550142"
CALLS: Final = 200
RATE: Final = 70

WHERE: Final = {"above us": (True, False), "below us": (False, True), "both": (True, True)}
TRANSPORTS: Final = {"udp": ("udp", "udp"), "tcp": ("tcp", "tcp"), "mixed": ("udp", "tcp")}
ROUNDS: Final = [
    # (calls to the carrier, calls from the carrier), played at the same time
    ("normal", "normal, callee hangs up"),
    ("cancel after 180", "cancel before 180"),
]


@dataclass(frozen=True)
class End:
    """A SIPp at one end: where it is, and where it sends its calls."""

    host: str
    calls_to: tuple[str, int]
    listens_at: int
    number: str


@dataclass(frozen=True)
class Network:
    customer: End
    carrier: End
    is_stream: bool


def uri(host: str, port: int, transport: str) -> str:
    return f"sip:{host}:{port};transport={transport}"


def config_for(directory: Path, site: Site, customer: tuple[str, int], carrier: tuple[str, int], by: str) -> Config:
    """The edge between these two neighbours, reached over the transport `by`."""
    config = site.config(directory)
    for listener in config["listeners"].values():
        listener["transports"] = ["udp", "tcp"]
    config["customers"] = [
        {
            "id": "acme",
            "sources": [f"{customer[0]}/32"],
            "targets": [uri(*customer, by)],
            "country": "US",
            "numbers": ["+12025550100-+12025550199"],
        }
    ]
    config["trunks"] = [{"id": "carrier", "targets": [uri(*carrier, by)], "probe": {"interval_s": 0}}]
    return config


def build(stack: ExitStack, directory: Path, where: str, transports: str) -> tuple[Network, ProxyProcess]:
    """Start the proxies of one topology; the SIPps come and go with each round."""
    has_customer_proxy, has_carrier_proxy = WHERE[where]
    at_the_ends, between = TRANSPORTS[transports]
    site = Site()
    customer_port, carrier_port = free_port(), free_port()
    customer_side, carrier_side = (CUSTOMER, customer_port), (CARRIER, carrier_port)
    customer_calls_to, carrier_calls_to = (PROXY_HOST, site.customers_port), (PROXY_HOST, site.carriers_port)
    if has_customer_proxy:
        local = (CUSTOMER_PROXY, free_port())
        edge, peer = uri(*customer_calls_to, between), uri(*customer_side, at_the_ends)
        stack.enter_context(
            Kamailio(directory / "customer-proxy", local=local, edge=edge, edge_host=PROXY_HOST, peer=peer)
        )
        customer_side = customer_calls_to = local
    if has_carrier_proxy:
        local = (CARRIER_PROXY, free_port())
        edge, peer = uri(*carrier_calls_to, between), uri(*carrier_side, at_the_ends)
        stack.enter_context(
            Kamailio(directory / "carrier-proxy", local=local, edge=edge, edge_host=PROXY_HOST, peer=peer)
        )
        carrier_side = carrier_calls_to = local
    by = between if has_customer_proxy and has_carrier_proxy else at_the_ends
    config = config_for(directory, site, customer_side, carrier_side, by)
    if has_customer_proxy:
        config["customers"][0]["targets"] = [uri(*customer_side, between)]
    if has_carrier_proxy:
        config["trunks"][0] |= {"targets": [uri(*carrier_side, between)], "probe": {"interval_s": 1}}
    proxy = stack.enter_context(ProxyProcess(directory, site, config))
    network = Network(
        End(CUSTOMER, customer_calls_to, customer_port, CUSTOMER_NUMBER),
        End(CARRIER, carrier_calls_to, carrier_port, CARRIER_NUMBER),
        at_the_ends == "tcp",
    )
    return network, proxy


def play(
    case: Case, caller: End, callee: End, directory: Path, *, is_stream: bool
) -> tuple[SippResult, SippResult, str]:
    """All calls of one direction."""
    directory.mkdir(parents=True)
    keys = {"from": f"<sip:{caller.number}@peer.example>", "ruri": f"sip:{callee.number}@edge.example"}
    with (
        Sipp(
            directory,
            write(directory, "callee", case.callees[0]),
            local=(callee.host, callee.listens_at),
            calls=CALLS,
            keys=keys,
            is_stream=is_stream,
        ) as answering,
        Sipp(
            directory,
            write(directory, "caller", case.caller),
            local=(caller.host, free_port()),
            remote=caller.calls_to,
            calls=CALLS,
            rate=RATE,
            keys=keys,
            is_stream=is_stream,
        ) as calling,
    ):
        return calling.wait(), answering.wait(), calling.errors() + answering.errors()


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("where", WHERE)
def test_calls_through_kamailio_both_ways_all_succeed(where: str, transports: str, tmp_path: Path) -> None:
    """RFC 3261 §16.4, §16.6 and RFC 5658: two record-routing proxies in a row agree on every dialog's path.

    INVITE, ACK, re-INVITE from either end and BYE from either end; CANCEL while it rings and before it rings.
    """
    require_sipp()
    require_kamailio()
    with ExitStack() as stack:
        network, proxy = build(stack, tmp_path, where, transports)
        pool = stack.enter_context(ThreadPoolExecutor(2))
        for number, (outward, inward) in enumerate(ROUNDS):
            runs = [
                pool.submit(
                    play, RACES[name], caller, callee, tmp_path / f"{number}-{way}", is_stream=network.is_stream
                )
                for way, name, caller, callee in (
                    ("out", outward, network.customer, network.carrier),
                    ("in", inward, network.carrier, network.customer),
                )
            ]
            for run in runs:
                *results, errors = run.result()
                for result in results:
                    assert isinstance(result, SippResult)
                    assert (result.exit_code, result.successful, result.failed) == (0, CALLS, 0), (
                        result,
                        errors[:4000],
                    )
        samples = proxy.assert_balanced()
        assert samples.total("calls_active") == 0
        probed = samples.total("messages_by_cause_total", cause="probe_response")
        assert (probed > 0) is WHERE[where][1], "Kamailio answers our OPTIONS, and only where it is the target"
