"""A log that nobody reads: the pipe behind stderr fills up, and no call waits for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.kit import proxy_process
from tests.kit.proxy_process import ACME_HOST, PROXY_HOST, ProxyProcess, Site
from tests.kit.sip_socket import SipSocket, invite


def test_calls_are_answered_while_nobody_reads_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times as many refused calls as a pipe holds the lines of; then it is read, and none of them is broken."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    unread = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    program = f'exec {sys.executable} -m edge_proxy "$@" 2> {fifo}'
    monkeypatch.setattr(proxy_process, "EDGE_PROXY", ["sh", "-c", program, "sh"])
    calls = 1500
    try:
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
    finally:
        os.close(unread)
