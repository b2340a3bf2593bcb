"""A log that nobody reads: the pipe behind stderr fills up, and no call waits for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit import proxy_process
from tests.kit.proxy_process import ACME_HOST, PROXY_HOST, ProxyProcess, Site
from tests.kit.sip_socket import SipSocket, invite


@pytest.fixture
def unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What the proxy's log goes into; it is read here, or nowhere."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    program = f'exec {sys.executable} -m edge_proxy "$@" 2> {fifo}'
    monkeypatch.setattr(proxy_process, "EDGE_PROXY", ["sh", "-c", program, "sh"])
    yield fd
    os.close(fd)


def test_calls_are_answered_while_nobody_reads_the_log(tmp_path: Path, unread: int) -> None:
    """Ten times as many refused calls as a pipe holds the lines of; then it is read, and none of them is broken."""
    calls = 1500
    with (
        ProxyProcess(tmp_path, Site()) as proxy,
        SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme,
    ):
        for call in range(calls):
            acme.send(invite(acme.local, From="<sip:+14155550999@acme.example>;tag=a"))
            if call % 50 == 49:
                proxy.received("customers", call + 1)
        samples = proxy.assert_balanced()
        assert samples.total("verdicts_total", outcome="refused") == calls
        proxy.flushed()
        assert sum(line["kind"] == "attempt" for line in proxy.evidence()) == calls
        os.set_blocking(unread, True)
        heard = b""
        while heard.count(b'"call refused"') < 200:
            heard += os.read(unread, 65536)
        assert all(line.startswith(b"{") and line.endswith(b"}") for line in heard.split(b"\n")[1:-1])


def test_worker_is_replaced_while_nobody_reads_the_log(tmp_path: Path, unread: int) -> None:
    """And the configuration is read again, and all of it ends when asked to: who says so waits for no reader either."""
    site = Site()
    with ProxyProcess(tmp_path, site, site.config(tmp_path) | {"workers": 2}) as proxy:
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(unread, b"x" * size)
        os.kill(proxy.worker_pid(0), signal.SIGKILL)
        proxy.wait_for(
            lambda samples: samples.total("worker_replacements_total") == 1 and samples.total("worker_up") == 2,
            "the replacement",
        )
        proxy.reload()
        assert proxy.stop() == 0
