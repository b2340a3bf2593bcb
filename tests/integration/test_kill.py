"""kill -9 in the middle of calls: no attempt that anybody heard of is missing, and calls that are up end properly.

SIPp is both ends at 200 calls a second. What each end saw, with its time, is compared with the journal.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edge_proxy.evidence.verify import verify
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess
from tests.kit.sipp import Sipp, calls_heard

pytestmark = pytest.mark.sipp

CALLS = 500
CALLS_PER_S = 200
KILL_AFTER_CALLS = 200
GIVE_UP_MS = 6000


def _ends(call_id: str, ids_by_call: dict[str, set[str]], ends: Counter[str]) -> list[int]:
    """How many end lines each attempt of a call has."""
    return [ends[evidence_id] for evidence_id in ids_by_call[call_id]]


def test_killed_proxy_forgets_no_attempt_and_ends_its_calls_after_a_restart(tmp_path: Path) -> None:
    """Evidence is kept before a message leaves, and what a dialog needs travels with it (design: no replication)."""
    with ProxyProcess(tmp_path) as proxy:
        site = proxy.site
        with (
            Sipp(tmp_path, "uas", local=(CARRIER_HOST, site.carrier_port), calls=CALLS, traces=True) as uas,
            Sipp(
                tmp_path,
                "uac",
                local=(ACME_HOST, site.acme_port),
                remote=(PROXY_HOST, site.customers_port),
                calls=CALLS,
                rate=CALLS_PER_S,
                hold_ms=3000,
                traces=True,
                extra=("-recv_timeout", str(GIVE_UP_MS)),
            ) as uac,
        ):
            proxy.wait_for(lambda samples: samples.total("verdicts_total") >= KILL_AFTER_CALLS, "the calls")
            proxy.kill()
            killed_at_s = time.time()
            proxy.start()
            uac.wait()  # calls whose INVITE was under way may fail: their transaction died with the process
            heard_by_caller, heard_by_callee = uac.messages(), uas.messages()

        proxy.flushed()
        proxy.assert_balanced()
        lines = proxy.evidence()
        ids_by_call: dict[str, set[str]] = {}
        for line in lines:
            if line["kind"] == "attempt":
                ids_by_call.setdefault(line["call_id"], set()).add(line["id"])

        forwarded = calls_heard(heard_by_callee, "INVITE ", "INVITE")
        heard = {message.call_id for message in heard_by_caller if not message.is_sent}
        assert len(forwarded) >= KILL_AFTER_CALLS
        assert (forwarded | heard) - set(ids_by_call) == set()

        up = calls_heard(heard_by_caller, "SIP/2.0 200", "INVITE", before_s=killed_at_s)
        assert len(up) > KILL_AFTER_CALLS // 2
        hung_up = calls_heard(heard_by_caller, "SIP/2.0 200", "BYE")
        assert up - hung_up == set()
        ends = Counter(line["id"] for line in lines if line["kind"] == "end")
        wrong = {call_id: sorted(ids_by_call[call_id]) for call_id in up if _ends(call_id, ids_by_call, ends) != [1]}
        assert wrong == {}, [m for m in heard_by_caller if m.call_id in wrong]
        # What came after the restart was served like any other call.
        attempted = Counter(line["call_id"] for line in lines if line["kind"] == "attempt")
        assert len(attempted) == CALLS

        assert proxy.stop() == 0
        report = verify(proxy.data_dir)
        assert report.ok, report.findings
        assert report.records == len(lines)


def lines_of_lives(tmp_path: Path, lives: int) -> list[dict[str, Any]]:
    """The evidence of several lives on one data directory, each killed after 40 refused calls."""
    with ProxyProcess(tmp_path) as proxy:
        for life in range(lives):
            with Sipp(
                tmp_path,
                "uac_refused",
                local=(ACME_HOST, proxy.site.acme_port),
                remote=(PROXY_HOST, proxy.site.customers_port),
                calls=40,
                rate=200,
                keys={"from": "<sip:+14155550999@acme.example>"},
            ) as uac:
                uac.wait().assert_clean(40)
            proxy.kill()
            if life < lives - 1:
                proxy.start()
        proxy.start()
        proxy.flushed()
        assert proxy.stop() == 0
    return proxy.evidence()


def test_chain_goes_on_over_kills_on_the_same_data(tmp_path: Path) -> None:
    """Each life appends to the chain of the one before, and what it recovers is there once."""
    lines = lines_of_lives(tmp_path, lives=3)
    calls = Counter(line["call_id"] for line in lines)
    assert (len(calls), set(calls.values())) == (40 * 3, {1})
    report = verify(tmp_path / "data")
    assert (report.ok, report.attempts) == (True, 40 * 3), report.findings


def test_evidence_id_is_never_given_twice_over_restarts(tmp_path: Path) -> None:
    """An end, a Warning and a log line name one attempt, also when the process was restarted within a second."""
    lines = lines_of_lives(tmp_path, lives=4)
    assert len({line["id"] for line in lines}) == len(lines)
