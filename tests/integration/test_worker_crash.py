"""kill -9 for one of two workers under load: it is replaced, the other's calls notice nothing, its own go on."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from edge_proxy import ENGINE
from edge_proxy.evidence.verify import verify
from edge_proxy.pipeline.steering import owner_of
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp, calls_heard

pytestmark = pytest.mark.sipp

WORKERS: Final = 2
CALLS_PER_S: Final = 500
"""Of the compiled engine on a machine that has nothing else to do."""
BUSY_CALLS_PER_S: Final = 100
REPLACED_WITHIN_S: Final = 1.0
BUSY_REPLACED_WITHIN_S: Final = 5.0
SECONDS: Final = 9
KILLED_AFTER_S: Final = 4
HOLD_MS: Final = 2500


def status_of_ready(proxy: ProxyProcess) -> int:
    try:
        with urlopen(f"http://{PROXY_HOST}:{proxy.site.metrics_port}/readyz", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


def test_killed_worker_is_replaced_and_nobody_else_notices(tmp_path: Path) -> None:
    """Back within a second. All calls of the other worker complete; all that were up with the dead one end with their
    BYE, those too that were just hanging up; what it had in hand is asked for again by who sent it. No attempt that
    anybody heard of is missing from the evidence, and every call that ended has its end there.
    """
    is_busy = ENGINE.engine != "compiled" or os.getloadavg()[0] > (os.cpu_count() or 1)
    rate = BUSY_CALLS_PER_S if is_busy else CALLS_PER_S
    calls = rate * SECONDS
    site = Site()
    config = site.config(tmp_path)
    config["workers"] = WORKERS
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        # The callee stays for as long as BYE may be repeated: its answer may get lost with the worker.
        Sipp(tmp_path, "uas", local=(CARRIER_HOST, site.carrier_port), calls=calls, traces=True, hold_ms=32_000) as uas,
        Sipp(
            tmp_path,
            "uac",
            local=(ACME_HOST, site.acme_port),
            remote=(PROXY_HOST, site.customers_port),
            calls=calls,
            rate=rate,
            hold_ms=HOLD_MS,
            traces=True,
            extra=("-recv_timeout", "20000"),
        ) as uac,
    ):
        proxy.wait_for(lambda now: now.total("verdicts_total") >= rate * KILLED_AFTER_S, "the calls", 30)
        assert status_of_ready(proxy) == 200
        dead = proxy.worker_pid(1)
        assert dead
        os.kill(dead, signal.SIGKILL)
        killed_at_s, killed_at = time.time(), time.monotonic()
        proxy.wait_for(
            lambda now: (
                now.total("worker_replacements_total", worker="1") == 1 and now.total("worker_up", worker="1") == 1
            ),
            "the replacement",
        )
        took_s = time.monotonic() - killed_at
        result = uac.wait()
        by_caller, by_callee = uac.messages(), uas.messages()
        assert status_of_ready(proxy) == 200
        samples = proxy.scrape()
        assert samples.total("worker_replacements_total") == 1
        assert samples.total("internal_errors_total") == 0
        assert proxy.stop() == 0
        lines = proxy.evidence()
        report = verify(proxy.data_dir)
    print(f"{rate} calls/s, replaced in {took_s:.2f} s, {result.successful} of {calls} complete")
    assert took_s < (BUSY_REPLACED_WITHIN_S if is_busy else REPLACED_WITHIN_S)

    call_ids = {message.call_id for message in by_caller}
    assert len(call_ids) == calls
    completed = calls_heard(by_caller, "SIP/2.0 200", "BYE")
    of_other = {call_id for call_id in call_ids if owner_of(call_id.encode(), WORKERS) == 0}
    assert calls * 0.4 < len(of_other) < calls * 0.6
    assert of_other - completed == set()
    up = calls_heard(by_caller, "SIP/2.0 200", "INVITE", before_s=killed_at_s) - of_other
    up -= calls_heard(by_caller, "SIP/2.0 200", "BYE", before_s=killed_at_s)
    assert len(up) > rate
    assert up - completed == set()

    attempts = {line["id"]: line["call_id"] for line in lines if line["kind"] == "attempt"}
    known = calls_heard(by_callee, "INVITE ", "INVITE") | {m.call_id for m in by_caller if not m.is_sent}
    assert known - set(attempts.values()) == set()
    ends = Counter(line["id"] for line in lines if line["kind"] == "end")
    assert set(ends) <= set(attempts)
    assert completed - {attempts[ended] for ended in ends} == set()
    # A BYE that the dead worker had recorded comes again, since its answer was lost, and is no second end.
    assert {ended: count for ended, count in ends.items() if count > 1} == {}
    assert report.ok, report.findings
