"""SIPp at both ends, through the real proxy: every race and method, over every pair of transports, with loss.

All calls from the carrier share one proxy: a cell is a customer with an address, a number and targets of its own, so
the cells run beside each other. Calls to the carrier have one proxy per race, since all of them go to the one trunk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.integration.interop.sipp_cases import METHODS, RACES, Case, write
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, Config, ProxyProcess, Site
from tests.kit.sipp import Sipp, SippResult, require_sipp

pytestmark = [pytest.mark.sipp, pytest.mark.timeout(300)]

CARRIER: Final = "127.0.0.41"
CALLS: Final = 10
RATE: Final = 20
AT_ONCE: Final = 6
TIMEOUT_S: Final = 30
LOSS_PERCENT: Final = 5
CASES: Final = {**RACES, **METHODS}

PATHS: Final = [
    # (how the caller reaches the proxy, how the proxy reaches the callee, per cent of messages lost at UDP ends)
    ("udp", "udp", 0),
    ("udp", "udp", LOSS_PERCENT),
    ("tcp", "tcp", 0),
    ("udp", "tcp", 0),
    ("udp", "tcp", LOSS_PERCENT),
    ("tcp", "udp", 0),
    ("tcp", "udp", LOSS_PERCENT),
]


@dataclass(frozen=True)
class Cell:
    """One entry of the matrix."""

    number: int
    case: str
    caller_by: str
    callee_by: str
    loss_percent: int
    is_from_carrier: bool

    def __str__(self) -> str:
        way = "in" if self.is_from_carrier else "out"
        return f"{way}-{self.caller_by}-{self.callee_by}-loss{self.loss_percent}-{self.case}".replace(" ", "_")

    @property
    def customer_host(self) -> str:
        return f"127.0.2.{self.number}"

    @property
    def customer_number(self) -> str:
        return f"+1202555{self.number:04}"


CELLS: Final = [
    Cell(number, *cell)
    for number, cell in enumerate(
        [
            *((case, *path, True) for case, path in itertools.product(CASES, PATHS)),
            *((case, "udp", "udp", LOSS_PERCENT, False) for case in RACES),
            *((case, "tcp", "udp", 0, False) for case in RACES),
        ],
        start=1,
    )
]


@dataclass
class Played:
    caller: SippResult
    callees: list[SippResult]
    errors: str


def customer_of(cell: Cell, ports: list[int]) -> Config:
    return {
        "id": f"cell-{cell.number}",
        "sources": [f"{cell.customer_host}/32"],
        "targets": [f"sip:{cell.customer_host}:{port};transport={cell.callee_by}" for port in ports],
        "country": "US",
        "numbers": [cell.customer_number],
    }


def base_config(directory: Path, site: Site, trunk_targets: list[str]) -> Config:
    config = site.config(directory)
    for listener in config["listeners"].values():
        listener["transports"] = ["udp", "tcp"]
    config["customers"] = []
    config["trunks"] = [
        {"id": "carrier", "targets": trunk_targets, "sources": [f"{CARRIER}/32"], "probe": {"interval_s": 0}}
    ]
    config["sip"] |= {"t1_ms": 100, "t4_ms": 500}
    return config


def play(case: Case, cell: Cell, proxy_port: int, directory: Path, ports: list[int]) -> Played:
    """Run SIPp at both ends until all calls are over."""
    directory.mkdir(parents=True, exist_ok=True)
    customer, carrier = cell.customer_host, CARRIER
    caller_host, callee_host = (carrier, customer) if cell.is_from_carrier else (customer, carrier)
    called = cell.customer_number if cell.is_from_carrier else "+14155550142"
    calling = "+14155550142" if cell.is_from_carrier else cell.customer_number
    keys = {"from": f"<sip:{calling}@peer.example>", "ruri": f"sip:{called}@edge.example"}

    loses_all = cell.caller_by == cell.callee_by

    def lossy(transport: str) -> tuple[str, ...]:
        return ("-lost", str(cell.loss_percent)) if cell.loss_percent and transport == "udp" else ()

    with ExitStack() as stack:
        callees = [
            stack.enter_context(
                Sipp(
                    directory,
                    write(directory, f"callee-{order}", steps, loses_all=loses_all),
                    local=(callee_host, port),
                    calls=CALLS,
                    timeout_s=TIMEOUT_S,
                    is_stream=cell.callee_by == "tcp",
                    extra=lossy(cell.callee_by),
                    keys=keys,
                )
            )
            for order, (port, steps) in enumerate(zip(ports, case.callees, strict=True))
        ]
        caller = stack.enter_context(
            Sipp(
                directory,
                write(directory, "caller", case.caller, loses_all=loses_all),
                local=(caller_host, free_port()),
                remote=(PROXY_HOST, proxy_port),
                calls=CALLS,
                timeout_s=TIMEOUT_S,
                rate=RATE,
                is_stream=cell.caller_by == "tcp",
                extra=lossy(cell.caller_by),
                keys=keys,
            )
        )
        result = caller.wait()
        *passed_over, answering = callees
        answered = [callee.quit_now() for callee in passed_over] + [answering.wait()]
        return Played(result, answered, "\n".join(end.errors() for end in [caller, *callees]))


def ports_of(cell: Cell) -> list[int]:
    return [free_port() for _ in CASES[cell.case].callees]


def play_out(cell: Cell, directory: Path) -> Played:
    """Calls to the carrier, through a proxy whose only trunk leads to this cell's callees."""
    site, ports = Site(), ports_of(cell)
    directory.mkdir(parents=True)
    config = base_config(directory, site, [f"sip:{CARRIER}:{port};transport={cell.callee_by}" for port in ports])
    config["customers"] = [customer_of(cell, [])]
    with ProxyProcess(directory, site, config):
        return play(CASES[cell.case], cell, site.customers_port, directory, ports)


@pytest.fixture(scope="module")
def matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Cell, Future[Played]]]:
    """All selected cells, some at a time; a test waits for its own."""
    require_sipp()
    chosen: list[Cell] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec"):
            cell = item.callspec.params["cell"]
            assert isinstance(cell, Cell)
            chosen.append(cell)
    directory = tmp_path_factory.mktemp("matrix")
    site = Site()
    config = base_config(directory, site, [f"sip:{CARRIER}:{free_port()}"])
    ports = {cell: ports_of(cell) for cell in chosen}
    config["customers"] = [customer_of(cell, ports[cell]) for cell in chosen if cell.is_from_carrier]
    with ProxyProcess(directory, site, config) as proxy, ThreadPoolExecutor(AT_ONCE) as pool:
        futures: dict[Cell, Future[Played]] = {}
        for cell in chosen:
            place = directory / str(cell.number)
            if cell.is_from_carrier:
                futures[cell] = pool.submit(play, CASES[cell.case], cell, site.carriers_port, place, ports[cell])
            else:
                futures[cell] = pool.submit(play_out, cell, place)
        try:
            yield futures
        finally:
            pool.shutdown(cancel_futures=True)
        assert proxy.is_running


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_call_of_the_cell_goes_as_both_ends_expect(cell: Cell, matrix: dict[Cell, Future[Played]]) -> None:
    """RFC 3261 §9, §13 to §17: whatever crosses or is lost, each end sees the call that its own messages make."""
    played = matrix[cell].result()
    *passed_over, answering = played.callees
    for result in passed_over:  # its 503 lets the proxy leave it alone for a while
        assert 0 < result.created <= CALLS, result
        assert (result.failed, result.unexpected) == (0, 0), f"{result}\n{played.errors[:4000]}"
    for result in [played.caller, answering]:
        seen = (result.exit_code, result.created, result.successful, result.failed)
        assert seen == (0, CALLS, CALLS, 0), f"{result}\n{played.errors[:4000]}"
        if not cell.loss_percent:
            result.assert_clean(CALLS)
