"""A target that takes everything and answers nothing, before one that works, under load: every call goes through."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

SILENT_HOST: Final = "127.0.0.7"
CALLS: Final = 1000
CALLS_PER_S: Final = 100
EMERGENCIES: Final = 50
DOWN_AFTER: Final = 3
T1_MS: Final = 50
"""So that silence is told from an answer after 64 times as long, 3.2 s."""


class Silent(threading.Thread):
    """A socket whose owner keeps what comes and says nothing."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(address)
        self.uri = f"sip:{address[0]}:{address[1]}"
        self.requests = Counter[tuple[bytes, bytes]]()
        """How often it was sent, of each request: its method and its Call-ID."""

    def run(self) -> None:
        while data := self._socket.recv(65_535):
            call_id = next(line for line in data.split(b"\r\n") if line.startswith(b"Call-ID:"))
            self.requests[data.partition(b" ")[0], call_id] += 1

    def stop(self) -> None:
        """When all that was sent to it is counted."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self.join()
        self._socket.close()


def test_calls_go_on_to_the_next_target_when_the_first_is_silent(tmp_path: Path) -> None:
    """Those that were sent there wait for Timer B (RFC 3261 §17.1.1.2) and go on, calls for help too; soon it is known
    to be down and no call is sent there. Each has one verdict and one end, and the counts of all sides agree."""
    site = Site()
    silent = Silent((SILENT_HOST, free_port()))
    silent.start()
    spare_uri = f"sip:{CARRIER_HOST}:{site.carrier_port}"
    config = site.config(tmp_path)
    config["trunks"][0]["targets"] = [silent.uri, spare_uri]
    config["sip"] |= {"t1_ms": T1_MS, "t2_ms": 200, "t4_ms": 500}
    total = CALLS + EMERGENCIES
    with ProxyProcess(tmp_path, site, config) as proxy:
        remote = (PROXY_HOST, site.customers_port)
        with (
            Sipp(tmp_path, "uas", local=(CARRIER_HOST, site.carrier_port), calls=total) as uas,
            Sipp(
                tmp_path, "uac", local=(ACME_HOST, site.acme_port), remote=remote,
                calls=CALLS, rate=CALLS_PER_S, hold_ms=200,
            ) as caller,
            Sipp(
                tmp_path, "uac", local=(ACME_HOST, site.globex_port), remote=remote,
                calls=EMERGENCIES, rate=CALLS_PER_S * EMERGENCIES // CALLS, hold_ms=200,
                keys={"ruri": "urn:service:sos"},
            ) as in_need,
        ):  # fmt: skip
            caller.wait().assert_clean(CALLS)
            in_need.wait().assert_clean(EMERGENCIES)
            callee = uas.wait()
            callee.assert_clean(total)
            proxy.received("carriers", callee.total_sent)
            samples = proxy.assert_balanced()
        silent.stop()
        late = samples.total("target_requests_total", target=silent.uri, result="timed_out")
        assert DOWN_AFTER <= late < CALLS  # those that were on their way when it was not yet known to be down
        assert samples.by("target_requests_total", "result", target=silent.uri) == {"timed_out": late}
        assert samples.by("target_up", "target") == {spare_uri: 1}
        assert {method for method, _ in silent.requests} == {b"INVITE"}
        assert len(silent.requests) == late
        assert min(silent.requests.values()) > 1
        assert samples.total("verdicts_total") == samples.total("verdicts_total", outcome="allowed") == total
        assert samples.total("verdicts_total", reason="emergency") == EMERGENCIES
        assert samples.by("calls_ended_total", "cause") == {"bye": total}
        assert samples.total("calls_active") == 0
        samples = proxy.flushed()
        lines = proxy.evidence()
        for kind in ("attempt", "end"):
            assert set(Counter(line["id"] for line in lines if line["kind"] == kind).values()) == {1}
        assert len(lines) == 2 * total == samples.total("evidence_written_total")
