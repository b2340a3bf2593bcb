"""A disk that is full, and one that stalls: calls go on, nothing is lost, and the log says what is the matter.

Both are real ones: a small file system in a mount namespace of the proxy's own, and one that the kernel freezes. That
takes root, and what a container may not do.
"""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit import proxy_process
from tests.kit.peers import missing
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, Site, read_evidence
from tests.kit.sip_socket import SipSocket, invite

CALLS = 20
DISK = "disk.img"
SOS = "urn:service:sos"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=20, check=False)


def needs(*probe: str) -> None:
    """Skip, with the reason, where what these tests do to a file system is not allowed; in CI it has to be."""
    if os.geteuid():
        missing("it mounts a file system, which takes root")
    if run(*probe).returncode:
        missing(f"this machine does not let us: {' '.join(probe)}")


@contextmanager
def proxy_on(disk: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ProxyProcess, Path]]:
    """A proxy whose data directory is a file system of its own, that only it sees; where we see it."""
    data = directory / "data"
    data.mkdir()
    program = f'{disk} {shlex.quote(str(data))} && exec {sys.executable} -m edge_proxy "$@"'
    monkeypatch.setattr(proxy_process, "EDGE_PROXY", ["unshare", "-m", "sh", "-c", program, "sh"])
    with ProxyProcess(directory, Site()) as proxy:
        yield proxy, Path(f"/proc/{proxy.pid}/root{data}")


def call(acme: SipSocket, carrier: SipSocket, uri: str) -> float:
    """Seconds until the carrier has it."""
    request = invite(acme.local)
    own = next(line for line in request.split(b"\r\n") if line.startswith(b"Call-ID:"))
    started = time.monotonic()
    acme.send(b"INVITE " + uri.encode() + request[request.index(b" SIP/2.0") :])
    while (got := carrier.receive(5.0)) is not None:
        if got.startswith(b"INVITE ") and own in got:  # others are sent again
            return time.monotonic() - started
    raise AssertionError(f"no call to {uri} came through")


def told(proxy: ProxyProcess, event: str) -> list[str]:
    return [line.get("error", "") for line in proxy.log_lines() if line["event"] == event]


def wait_until_told(proxy: ProxyProcess, event: str) -> None:
    deadline = time.monotonic() + 10.0
    while not told(proxy, event):
        assert time.monotonic() < deadline, f"not told: {event}"


def test_calls_go_on_while_the_disk_is_full_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls for help too. Afterwards every attempt is in the journal, once."""
    needs("unshare", "-m", "true")
    with (
        proxy_on("mount -t tmpfs -o size=2m edge-proxy-test", tmp_path, monkeypatch) as (proxy, data),
        SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme,
        SipSocket((CARRIER_HOST, proxy.site.carrier_port), (PROXY_HOST, proxy.site.carriers_port)) as carrier,
    ):
        fill = data / "fill"
        with pytest.raises(OSError, match="No space left"), fill.open("wb", buffering=0) as file:
            file.writelines(itertools.repeat(bytes(4096)))
        for number in range(CALLS):
            call(acme, carrier, f"sip:+1415555{number:04d}@edge.example")
            call(acme, carrier, SOS)
        proxy.wait_for(lambda samples: samples.total("evidence_write_errors_total") > 0, "a failed write")
        wait_until_told(proxy, "evidence is not written")
        (why,) = told(proxy, "evidence is not written")
        assert "No space left on device" in why
        assert proxy.scrape().total("evidence_backlog_bytes") > 0
        fill.unlink()
        samples = proxy.flushed()
        assert samples.total("evidence_lost_total") == 0
        wait_until_told(proxy, "evidence is written again")
        attempts = [line["call_id"] for line in read_evidence(data) if line["kind"] == "attempt"]
        assert len(attempts) == len(set(attempts)) == 2 * CALLS
        proxy.assert_balanced()


def test_calls_do_not_wait_for_a_disk_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lets nobody write for three seconds; whoever tries to sync hangs."""
    image = tmp_path / DISK
    with image.open("wb") as file:
        file.truncate(32 << 20)
    needs("mkfs.ext4", "-q", str(image))
    mount = f"mount -o loop {shlex.quote(str(image))}"
    needs("unshare", "-m", "sh", "-c", f"{mount} /mnt && umount /mnt")
    with (
        proxy_on(mount, tmp_path, monkeypatch) as (proxy, data),
        SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme,
        SipSocket((CARRIER_HOST, proxy.site.carrier_port), (PROXY_HOST, proxy.site.carriers_port)) as carrier,
    ):
        call(acme, carrier, SOS)
        assert run("fsfreeze", "-f", data).returncode == 0
        took_s: list[float] = []
        try:
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                took_s.append(call(acme, carrier, f"sip:+1415555{len(took_s):04d}@edge.example"))
                took_s.append(call(acme, carrier, SOS))
                time.sleep(0.05)
            wait_until_told(proxy, "evidence is not written")
        finally:
            run("fsfreeze", "-u", data)
        assert max(took_s) < 2.0, "no call may have waited for the disk"
        samples = proxy.flushed()
        assert samples.total("evidence_lost_total") == 0
        wait_until_told(proxy, "evidence is written again")
        attempts = [line for line in read_evidence(data) if line["kind"] == "attempt"]
        assert len(attempts) == 1 + len(took_s)
