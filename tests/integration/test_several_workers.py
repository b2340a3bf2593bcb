"""Two workers on one address: no call is split, both carry load, and the death of one is not the end of its calls."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from edge_proxy.evidence.verify import verify
from edge_proxy.pipeline.steering import owner_of
from tests.kit import proxy_process
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
    run_command,
)
from tests.kit.sip_socket import SipSocket, invite
from tests.kit.sipp import SCENARIOS, Sipp

WORKERS: Final = 2
WITHOUT_FILTER: Final = """
import edge_proxy.supervisor as supervisor
supervisor.steer = lambda group: False
from edge_proxy.cli.app import main
main()
"""


def make_proxy(directory: Path, **trunk: object) -> ProxyProcess:
    site = Site()
    config = site.config(directory)
    config["workers"] = WORKERS
    config["trunks"][0] |= trunk
    return ProxyProcess(directory, site, config)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyProcess]:
    with make_proxy(tmp_path) as running:
        yield running


def assert_no_call_is_split(proxy: ProxyProcess, calls: int) -> None:
    """Every call has one attempt and one end, both with the worker that owns it, and both workers have many."""
    proxy.flushed()
    by_worker = [read_evidence(proxy.data_dir, worker) for worker in range(WORKERS)]
    attempts: Counter[str] = Counter()
    for worker, lines in enumerate(by_worker):
        mine = {line["id"]: line["call_id"] for line in lines if line["kind"] == "attempt"}
        assert {owner_of(call_id.encode(), WORKERS) for call_id in mine.values()} == {worker}
        attempts.update(mine.values())
        ends = [line for line in lines if line["kind"] == "end"]
        assert {line["id"] for line in ends} <= set(mine)
        assert len({line["id"] for line in ends}) == len(ends)
        assert len(mine) > calls / 2 - 2.5 * calls**0.5  # five times the spread of so many tosses of a coin
    assert (len(attempts), set(attempts.values())) == (calls, {1})


def send_from_many_ports(proxy: ProxyProcess, calls: int, copies: int, call_id: str) -> None:
    """Refused calls, each request `copies` times, every time from another port."""
    with ExitStack() as stack:
        to = (PROXY_HOST, proxy.site.customers_port)
        sockets = [stack.enter_context(SipSocket((ACME_HOST, free_port()), to)) for _ in range(copies)]
        for call in range(calls):
            request = invite(sockets[0].local, From="<sip:+14155550999@acme.example>;tag=a")
            name, value = call_id.encode(), b"%d-split@192.0.2.1" % call
            head, _, rest = request.partition(b"Call-ID: ")
            request = head + name + b": " + value + rest[rest.index(b"\r\n") :]
            for one in sockets:
                one.send(request)
            if call % 10 == 0:
                time.sleep(0.02)
        proxy.received("customers", calls * copies)


@pytest.mark.parametrize(("name", "is_steered"), [("Call-ID", True), ("i", False)])
def test_requests_repeated_from_eight_ports_are_one_call(proxy: ProxyProcess, name: str, is_steered: bool) -> None:
    """The kernel steers what it can read; the compact form, which it cannot, is handed over. Nothing is lost."""
    send_from_many_ports(proxy, 400, 8, name)
    samples = proxy.assert_balanced()
    assert samples.total("verdicts_total") == 400
    assert samples.total("messages_by_cause_total", cause="retransmission") == 7 * 400
    handed_over = samples.total("hand_overs_total", result="sent")
    assert handed_over == samples.total("hand_overs_total", result="received")
    assert samples.total("hand_overs_total", result="lost") == 0
    assert (handed_over == 0) is is_steered
    per_worker = samples.by("worker_messages_received_total", "worker")
    assert sum(per_worker.values()) == samples.total("messages_received_total") == 3200
    assert min(per_worker.values()) > 3200 * 0.4
    assert_no_call_is_split(proxy, 400)


def test_hand_over_alone_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without the filter costs hand-overs and nothing else."""
    monkeypatch.setattr(proxy_process, "EDGE_PROXY", [sys.executable, "-c", WITHOUT_FILTER])
    with make_proxy(tmp_path) as proxy:
        send_from_many_ports(proxy, 200, 8, "Call-ID")
        samples = proxy.assert_balanced()
        assert samples.total("messages_by_cause_total", cause="retransmission") == 7 * 200
        assert samples.total("hand_overs_total", result="sent") > 1600 * 0.3
        assert samples.total("hand_overs_total", result="lost") == 0
        assert_no_call_is_split(proxy, 200)
        assert "does not steer by Call-ID" in proxy.log_text()


@pytest.mark.sipp
def test_four_hundred_calls_from_eight_ports(proxy: ProxyProcess, tmp_path: Path) -> None:
    """Whole calls between SIPp and SIPp, from several senders to one: all messages of each are with one worker."""
    site = proxy.site
    with ExitStack() as stack:
        uas = stack.enter_context(Sipp(tmp_path, "uas", local=(CARRIER_HOST, site.carrier_port), calls=400))
        callers = [
            stack.enter_context(
                Sipp(
                    tmp_path,
                    "uac",
                    local=(ACME_HOST, free_port()),
                    remote=(PROXY_HOST, site.customers_port),
                    calls=50,
                    rate=10,
                    hold_ms=300,
                )
            )
            for _ in range(8)
        ]
        for caller in callers:
            caller.wait().assert_clean(50)
        uas.wait().assert_clean(400)
    samples = proxy.assert_balanced()
    assert samples.by("calls_ended_total", "cause") == {"bye": 400}
    assert samples.total("calls_active") == 0
    assert samples.by("hand_overs_total", "result") == {}
    assert min(samples.by("worker_messages_received_total", "worker").values()) > 400 * 6 * 0.35
    assert_no_call_is_split(proxy, 400)
    assert all(line["setup_s"] is not None for line in proxy.evidence() if line["kind"] == "end")
    assert proxy.stop() == 0
    report = verify(proxy.data_dir)
    assert (report.ok, report.attempts, len(report.workers)) == (True, 400, WORKERS), report.findings


def test_worker_that_dies_again_and_again_is_replaced_ever_later(proxy: ProxyProcess) -> None:
    """At once the first time, then after 0.1 s, 0.2 s, ...; the service goes on all the while, and says so."""
    for deaths in range(1, 4):
        pid = proxy.worker_pid(0)
        os.kill(pid, signal.SIGKILL)
        proxy.wait_for(
            lambda samples, deaths=deaths: (  # type: ignore[misc]  # the default binds it now
                samples.total("worker_replacements_total", worker="0") == deaths
                and samples.total("worker_up", worker="0") == 1
            ),
            "the replacement",
        )
        assert proxy.worker_pid(0) not in {0, pid}
    pauses = [line["next_start_in_s"] for line in proxy.log_lines() if line["event"] == "worker ended"]
    assert pauses == [0.0, 0.1, 0.2]
    assert proxy.scrape().total("worker_replacements_total", worker="1") == 0
    with SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme:
        assert all(acme.is_answered() for _ in range(10))


def test_counters_do_not_go_down_when_a_worker_is_replaced(proxy: ProxyProcess) -> None:
    """What was read of the life that ended stays in the sums, so that a rate over them shows no jump."""
    with SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme:
        assert all(acme.is_answered() for _ in range(40))
        before = proxy.assert_balanced()
        assert before.total("messages_received_total") == 40
        os.kill(proxy.worker_pid(1), signal.SIGKILL)
        while (samples := proxy.scrape()).total("worker_replacements_total") == 0:
            assert samples.total("messages_received_total") == 40
        proxy.wait_for(lambda samples: samples.total("worker_up") == WORKERS, "the replacement")
        assert proxy.assert_balanced().total("messages_received_total") == 40
        assert all(acme.is_answered() for _ in range(10))
        assert proxy.assert_balanced().total("messages_received_total") == 50


def versions(proxy: ProxyProcess) -> set[str]:
    return {dict(labels)["version"] for name, labels in proxy.scrape() if name == "edge_proxy_snapshot_info"}


def test_reload_reaches_every_worker_or_none(proxy: ProxyProcess) -> None:
    """SIGHUP counts once; a file that is wrong changes nothing anywhere; a worker that is replaced later has it too."""
    (before,) = versions(proxy)
    proxy.config["customers"][0]["numbers"] = ["+12025550100-+12025550110"]
    proxy.reload()
    (after,) = versions(proxy)
    assert after != before
    assert proxy.scrape().by("reloads_total", "result") == {"ok": 1}

    proxy.config["customers"][0]["numbers"] = ["nonsense"]
    proxy.reload()
    assert proxy.scrape().by("reloads_total", "result") == {"ok": 1, "failed": 1}
    assert versions(proxy) == {after}
    assert sum(line["event"] == "reload refused" for line in proxy.log_lines()) == 1

    os.kill(proxy.worker_pid(0), signal.SIGKILL)
    proxy.wait_for(lambda samples: samples.total("worker_replacements_total") == 1, "the death")
    proxy.wait_for(lambda samples: samples.total("worker_up") == WORKERS, "the replacement")
    assert versions(proxy) == {after}
    send_from_many_ports(proxy, 20, 2, "Call-ID")
    proxy.wait_for(lambda samples: samples.total("evidence_backlog_bytes") == 0, "the evidence flush")
    assert {line["snapshot"] for line in proxy.evidence()} == {after}


def test_reload_that_fails_an_assertion_is_refused_by_all_workers(proxy: ProxyProcess) -> None:
    """A file that is right in itself, but by which a call fails that the operator says must pass: every worker goes on
    by the old data, one that is replaced afterwards too, and the log says which call it was."""
    site = proxy.site
    source = f"udp:{ACME_HOST}:{site.acme_port}"
    must_pass = {"name": "acme calls", "source": source, "from": ACME_NUMBER, "to": OUTSIDE_NUMBER, "expect": "allowed"}
    path = proxy.directory / "assertions.yaml"
    path.write_text(json.dumps({"assertions": [must_pass]}), encoding="utf-8")
    proxy.config["policy"] = {"assertions": str(path)}
    proxy.reload()
    (before,) = versions(proxy)
    assert proxy.scrape().by("reloads_total", "result") == {"ok": 1}

    proxy.config["customers"][0]["numbers"] = ["+12025559900-+12025559999"]
    proxy.reload()
    assert proxy.scrape().by("reloads_total", "result") == {"ok": 1, "failed": 1}
    (refused,) = (line for line in proxy.log_lines() if line["event"] == "reload refused")
    assert f'{path}:1: "acme calls": expected allowed, got refused (from_not_owned)' in refused["error"]
    os.kill(proxy.worker_pid(1), signal.SIGKILL)
    proxy.wait_for(lambda samples: samples.total("worker_replacements_total") == 1, "the death")
    proxy.wait_for(lambda samples: samples.total("worker_up") == WORKERS, "the replacement")
    assert versions(proxy) == {before}
    with (
        SipSocket((CARRIER_HOST, site.carrier_port), (PROXY_HOST, site.carriers_port)),
        SipSocket((ACME_HOST, site.acme_port), (PROXY_HOST, site.customers_port)) as acme,
    ):
        for _ in range(20):
            acme.send(invite(acme.local))
        samples = proxy.wait_for(lambda samples: samples.total("verdicts_total") == 20, "the verdicts")
    assert samples.total("verdicts_total", outcome="allowed") == 20
    assert min(samples.by("worker_messages_received_total", "worker").values()) > 0
    proxy.flushed()
    assert {line["snapshot"] for line in proxy.evidence() if line["kind"] == "attempt"} == {before}


def test_number_of_workers_changes_only_with_a_restart(proxy: ProxyProcess) -> None:
    proxy.config["workers"] = 3
    proxy.reload()
    assert proxy.scrape().by("reloads_total", "result") == {"failed": 1}
    assert "changes only with a restart" in proxy.log_text()
    proxy.config["workers"] = WORKERS


def test_no_worker_outlives_a_killed_supervisor(proxy: ProxyProcess) -> None:
    """Otherwise old workers would answer beside those of the next start."""
    pids = [proxy.worker_pid(worker) for worker in range(WORKERS)]
    proxy.kill()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    proxy.start()
    with SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme:
        assert all(acme.is_answered() for _ in range(10))
    assert proxy.stop() == 0


def test_worker_that_cannot_start_is_an_error_of_the_start(tmp_path: Path) -> None:
    """The journal of worker 1 cannot be opened: exit 2, the reason on stderr, and nothing is left running."""
    proxy = make_proxy(tmp_path)
    proxy.write_config()
    (tmp_path / "data" / "evidence").mkdir(parents=True)
    (tmp_path / "data" / "evidence" / "worker-1").write_text("in the way")
    result = run_command("run", "--config", proxy.config_path, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "worker-1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.sipp
@pytest.mark.parametrize(("caller", "callee"), [("uac", "uas"), ("uac_hung_up", "uas_hangs_up")])
def test_hidden_calls_are_with_the_worker_that_owns_them(tmp_path: Path, caller: str, callee: str) -> None:
    """A carrier that sees a sealed Call-ID answers, and hangs up, under that name: it finds the owner all the same."""
    lines = (SCENARIOS / f"{callee}.xml").read_text(encoding="utf-8").splitlines(keepends=True)
    called = tmp_path / f"{callee}.xml"
    called.write_text("".join(line for line in lines if "via2" not in line and "rr2" not in line), encoding="utf-8")
    with make_proxy(tmp_path, hide_topology=True) as proxy:
        site = proxy.site
        with (
            Sipp(tmp_path, called, local=(CARRIER_HOST, site.carrier_port), calls=60, hold_ms=200) as uas,
            Sipp(
                tmp_path,
                caller,
                local=(ACME_HOST, site.acme_port),
                remote=(PROXY_HOST, site.customers_port),
                calls=60,
                rate=60,
                hold_ms=200,
                keys={"from": f"<sip:{ACME_NUMBER}@pbx.acme.example>", "ruri": f"sip:{OUTSIDE_NUMBER}@edge.example"},
            ) as uac,
        ):
            uac.wait().assert_clean(60)
            uas.wait().assert_clean(60)
        samples = proxy.assert_balanced()
        assert samples.total("messages_by_cause_total", disposition="dropped") == 0
        assert samples.total("hand_overs_total", result="sent") > 0
        assert samples.total("hand_overs_total", result="lost") == 0
        assert_no_call_is_split(proxy, 60)


def test_each_worker_hears_the_answers_to_its_own_probes(tmp_path: Path) -> None:
    """Probes are made so that their answers come back to who sent them; a target is up when all workers say so."""
    proxy = make_proxy(tmp_path, probe={"interval_s": 0.5, "timeout_s": 0.4})
    site = proxy.site
    is_over = threading.Event()
    with SipSocket((CARRIER_HOST, site.carrier_port), (PROXY_HOST, site.carriers_port)) as carrier:

        def answer() -> None:
            while not is_over.is_set():
                request = carrier.receive(0.1)
                if request is not None:
                    carrier.send(b"SIP/2.0 200 OK" + request[request.index(b"\r\n") :])

        answering = threading.Thread(target=answer)
        answering.start()  # before the first probe
        try:
            with proxy:
                samples = proxy.wait_for(lambda samples: samples.total("probes_total", result="good") >= 10, "probes")
        finally:
            is_over.set()
            answering.join()
    assert samples.by("probes_total", "result") == {"good": samples.total("probes_total")}
    assert samples.by("hand_overs_total", "result") == {}
    assert samples.total("target_up") == 1


def test_several_workers_log_json_lines_with_their_number(proxy: ProxyProcess) -> None:
    assert proxy.ready_line.endswith("; 2 workers")
    assert proxy.stop() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in proxy.log_text().splitlines()]
    assert {line["worker"] for line in lines if line["event"] == "stopping"} == {0, 1}
