"""Scanners and the running proxy, with one worker and with two: ignored, listed and read again by name."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from edge_proxy.admin.control import SOCKET_NAME
from tests.kit.ports import free_port
from tests.kit.proxy_process import ACME_HOST, PROXY_HOST, UNKNOWN_HOST, ProxyProcess, Site, run_command
from tests.kit.sip_socket import SipSocket, options

REQUESTS = 20


def make_proxy(directory: Path, workers: int) -> ProxyProcess:
    site = Site()
    config = site.config(directory)
    config["workers"] = workers
    config["policy"] = {"scanners": {"requests": REQUESTS, "ignore_s": 600}}
    return ProxyProcess(directory, site, config)


def scan(proxy: ProxyProcess, stranger: SipSocket, times: int) -> float:
    """So many requests that lead nowhere; how many of them were dropped unread."""
    before = proxy.scrape()
    for _ in range(times):
        stranger.send(options(stranger.local, stranger.proxy))
        time.sleep(0.001)
    samples = proxy.received("customers", int(before.total("messages_received_total", side="customers")) + times)
    deadline = time.monotonic() + 5
    while samples.total("messages_total", side="customers") < samples.total(
        "messages_received_total", side="customers"
    ):
        assert time.monotonic() < deadline
        samples = proxy.scrape()
    name, cause = "messages_by_cause_total", "scanner_ignored"
    return samples.total(name, cause=cause) - before.total(name, cause=cause)


@pytest.mark.parametrize("workers", [1, 2])
def test_scanner_is_ignored_by_all_listed_and_unbanned(tmp_path: Path, workers: int) -> None:
    """All that it sends after the twentieth request is dropped, whichever worker it is for; `unban` ends it at once."""
    with (
        make_proxy(tmp_path, workers) as proxy,
        SipSocket((UNKNOWN_HOST, free_port()), (PROXY_HOST, proxy.site.customers_port)) as stranger,
    ):
        config = ("--config", proxy.config_path)
        assert run_command("scanners", "list", *config, cwd=tmp_path).stdout == "no source is ignored\n"
        assert scan(proxy, stranger, REQUESTS) == 0
        assert scan(proxy, stranger, 60) == 60
        if workers > 1:  # a new life knows it from the start
            os.kill(proxy.worker_pid(0), signal.SIGKILL)
            proxy.wait_for(lambda samples: samples.total("worker_replacements_total") == 1, "the death")
            proxy.wait_for(lambda samples: samples.total("worker_up") == workers, "the replacement")
            assert scan(proxy, stranger, 40) == 40
        assert proxy.scrape().total("scanners_ignored") == 1
        assert proxy.scrape().total("scanners_found_total") == 1

        listed = run_command("scanners", "list", *config, cwd=tmp_path)
        assert listed.stdout.split()[:3] == [UNKNOWN_HOST, str(REQUESTS), "requests"]
        (one,) = json.loads(run_command("scanners", "list", "--json", *config, cwd=tmp_path).stdout)["scanners"]
        assert (one["source"], one["requests"]) == (UNKNOWN_HOST, REQUESTS)
        assert 500 < one["left_s"] < 600

        done = run_command("scanners", "unban", UNKNOWN_HOST, *config, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{UNKNOWN_HOST} is no longer ignored\n")
        assert scan(proxy, stranger, REQUESTS - 1) == 0
        done = run_command("scanners", "unban", UNKNOWN_HOST, *config, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, f"{UNKNOWN_HOST} is not ignored\n")
        done = run_command("scanners", "unban", "nonsense", *config, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "'nonsense' is no IP address; write one as `scanners list` shows it\n"
        assert [line["source"] for line in proxy.log_lines() if line["event"] == "scanner unbanned"] == [UNKNOWN_HOST]
        proxy.assert_balanced()


@pytest.mark.parametrize("workers", [1, 2])
def test_socket_is_its_owners_survives_nonsense_and_a_kill(tmp_path: Path, workers: int) -> None:
    proxy = make_proxy(tmp_path, workers)
    with proxy:
        path = proxy.data_dir / SOCKET_NAME
        assert path.stat().st_mode & 0o777 == 0o600
        for data in (b"", b"\0" * 10_000, b"[" * 4000 + b"\n"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(path))
                try:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(100)
                except ConnectionError:
                    pass
        listed = run_command("scanners", "list", "--config", proxy.config_path, cwd=tmp_path)
        assert (listed.returncode, listed.stdout) == (0, "no source is ignored\n")
        if workers > 1:  # the process that answers is replaced too
            workers_pids = {proxy.worker_pid(worker) for worker in range(workers)}
            children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text(encoding="ascii")
            (front,) = set(map(int, children.split())) - workers_pids
            os.kill(front, signal.SIGKILL)
            listed = run_command("scanners", "list", "--config", proxy.config_path, cwd=tmp_path)
            assert (listed.returncode, listed.stdout) == (0, "no source is ignored\n")
        proxy.kill()
        dead = run_command("scanners", "list", "--config", proxy.config_path, cwd=tmp_path)
        assert dead.returncode == 2
        assert "is the proxy running" in dead.stderr
        proxy.start()
        assert run_command("scanners", "list", "--config", proxy.config_path, cwd=tmp_path).returncode == 0
        assert proxy.stop() == 0
        assert not path.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_directory_that_can_hold_no_socket_keeps_no_call_from_being_served(tmp_path: Path, workers: int) -> None:
    """The log says so once, and so does the command."""
    proxy = make_proxy(tmp_path, workers)
    (proxy.data_dir / SOCKET_NAME).mkdir(parents=True)
    with (
        proxy,
        SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme,
    ):
        assert acme.is_answered()
        (line,) = (line for line in proxy.log_lines() if line["event"] == "this proxy cannot be asked")
        assert line["socket"] == str(proxy.data_dir / SOCKET_NAME)
        listed = run_command("scanners", "list", "--config", proxy.config_path, cwd=tmp_path)
        assert (listed.returncode, listed.stdout) == (2, "")
        assert "is the proxy running" in listed.stderr
        assert proxy.stop() == 0
