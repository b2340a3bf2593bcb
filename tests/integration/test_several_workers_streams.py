"""Two workers behind one TCP listener: a connection is with one of them, the calls on it are with both."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from edge_proxy.evidence.verify import verify
from edge_proxy.pipeline.steering import owner_of
from tests.kit.ports import free_port
from tests.kit.proxy_process import (
    ACME_HOST,
    ACME_NUMBER,
    CARRIER_HOST,
    OUTSIDE_NUMBER,
    PROXY_HOST,
    ProxyProcess,
    Site,
    read_evidence,
)
from tests.kit.sip_socket import invite
from tests.kit.sipp import Sipp

WORKERS: Final = 2
CALLS: Final = 40


def make_proxy(directory: Path) -> ProxyProcess:
    site = Site()
    config = site.config(directory)
    config["workers"] = WORKERS
    for listener in config["listeners"].values():
        listener["transports"] = ["udp", "tcp"]
    config["trunks"][0]["targets"] = [f"sip:{CARRIER_HOST}:{site.carrier_port};transport=tcp"]
    return ProxyProcess(directory, site, config)


@pytest.mark.sipp
@pytest.mark.parametrize(("caller", "callee"), [("uac", "uas"), ("uac_hung_up", "uas_hangs_up")])
def test_calls_on_one_connection_are_with_both_workers(tmp_path: Path, caller: str, callee: str) -> None:
    """Four callers, each with one connection: every answer comes back over it, and so does the callee's BYE."""
    with make_proxy(tmp_path) as proxy:
        site = proxy.site
        with ExitStack() as stack:
            uas = stack.enter_context(
                Sipp(
                    tmp_path,
                    callee,
                    local=(CARRIER_HOST, site.carrier_port),
                    calls=4 * CALLS,
                    hold_ms=200,
                    is_stream=True,
                )
            )
            callers = [
                stack.enter_context(
                    Sipp(
                        tmp_path,
                        caller,
                        local=(ACME_HOST, free_port()),
                        remote=(PROXY_HOST, site.customers_port),
                        calls=CALLS,
                        rate=20,
                        hold_ms=200,
                        is_stream=True,
                        keys={
                            "from": f"<sip:{ACME_NUMBER}@acme.example>",
                            "ruri": f"sip:{OUTSIDE_NUMBER}@edge.example",
                        },
                    )
                )
                for _ in range(4)
            ]
            for one in callers:
                one.wait().assert_clean(CALLS)
            uas.wait().assert_clean(4 * CALLS)
        samples = proxy.assert_balanced()
        assert samples.by("calls_ended_total", "cause") == {"bye": 4 * CALLS}
        assert samples.total("messages_by_cause_total", disposition="dropped") == 0
        hand_overs = samples.by("hand_overs_total", "result")
        assert hand_overs["sent"] == hand_overs["received"] > 0
        assert hand_overs["carried"] > 0
        assert "lost" not in hand_overs
        proxy.flushed()
        for worker in range(WORKERS):
            attempts = [line for line in read_evidence(proxy.data_dir, worker) if line["kind"] == "attempt"]
            assert {owner_of(line["call_id"].encode(), WORKERS) for line in attempts} == {worker}
            assert len(attempts) > 4 * CALLS * 0.3
            assert {line["proof"] for line in attempts} == {"address-tcp"}
        assert proxy.stop() == 0
        report = verify(proxy.data_dir)
        assert (report.ok, report.attempts) == (True, 4 * CALLS), report.findings


def refusals(proxy: ProxyProcess, connection: socket.socket, count: int) -> int:
    """Refused calls over this connection; how many of them were answered 403 over it."""
    local = connection.getsockname()
    connection.settimeout(10)
    heard = b""
    for number in range(count):
        request = invite(local, From="<sip:+14155550999@acme.example>;tag=a", Content_Length="0")
        head, _, rest = request.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP").partition(b"Call-ID: ")
        connection.sendall(head + b"Call-ID: %d-%d" % (number, local[1]) + rest[rest.index(b"\r\n") :])
    while heard.count(b"SIP/2.0 403 ") < count and (read := connection.recv(65536)):
        heard += read
    return heard.count(b"SIP/2.0 403 ")


def test_killed_worker_takes_its_connections_and_nobody_elses(tmp_path: Path) -> None:
    """The listening socket outlives it: whoever connects meanwhile waits for the next life, and is served."""
    with make_proxy(tmp_path) as proxy, ExitStack() as stack:
        where = (PROXY_HOST, proxy.site.customers_port)

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(where, 5, source_address=(ACME_HOST, 0)))

        before: list[socket.socket] = []
        for busy in range(WORKERS):  # while one is held up, the other takes who comes
            held = [proxy.worker_pid(number) for number in range(WORKERS) if number != busy]
            for pid in held:
                os.kill(pid, signal.SIGSTOP)
            before += [connect() for _ in range(6)]
            time.sleep(0.3)
            for pid in held:
                os.kill(pid, signal.SIGCONT)
        assert [refusals(proxy, one, 6) for one in before] == [6] * 12
        assert proxy.scrape().total("hand_overs_total", result="carried") > 0
        os.kill(proxy.worker_pid(1), signal.SIGKILL)
        during = [connect() for _ in range(12)]
        assert [refusals(proxy, one, 6) for one in during] == [6] * 12
        deadline = time.monotonic() + 5
        proxy.wait_for(lambda samples: samples.total("worker_up") == WORKERS, "the replacement")
        kept = [one for one in before if not has_ended(one, deadline)]
        assert 0 < len(kept) < len(before)
        assert [refusals(proxy, one, 6) for one in kept] == [6] * len(kept)
        assert proxy.scrape().total("hand_overs_total", result="lost") == 0


def has_ended(connection: socket.socket, deadline: float) -> bool:
    connection.settimeout(0.05)
    try:
        return not connection.recv(65536)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(max(deadline - time.monotonic(), 0.1))
