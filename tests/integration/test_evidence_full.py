"""A disk that stalls until there is no room for evidence: calls go on or are refused as configured, and all is counted.

The disk is a real one that the kernel freezes, as in test_evidence_disk.py, and takes root.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.integration.test_evidence_disk import DISK, SOS, call, needs, run, wait_until_told
from tests.kit import proxy_process
from tests.kit.metrics import Samples
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, Site, read_evidence
from tests.kit.sip_socket import SipSocket, invite

FILLER = "+14155550999"
LARGEST_FILL = 20_000
_branches = itertools.count()


@contextmanager
def proxy_on_a_disk(
    directory: Path, monkeypatch: pytest.MonkeyPatch, when_full: str, workers: int
) -> Iterator[tuple[ProxyProcess, Path]]:
    """A proxy whose data directory is a small disk of its own; where we see it."""
    image, data = directory / DISK, directory / "data"
    with image.open("wb") as file:
        file.truncate(96 << 20)
    needs("mkfs.ext4", "-q", str(image))
    needs("unshare", "-m", "sh", "-c", f"mount -o loop {shlex.quote(str(image))} /mnt && umount /mnt")
    data.mkdir()
    mount = f"mount -o loop {shlex.quote(str(image))} {shlex.quote(str(data))}"
    program = f'{mount} && exec {sys.executable} -m edge_proxy "$@"'
    monkeypatch.setattr(proxy_process, "EDGE_PROXY", ["unshare", "-m", "sh", "-c", program, "sh"])
    site = Site()
    config = site.config(directory) | {"evidence": {"when_full": when_full}, "workers": workers}
    with ProxyProcess(directory, site, config) as proxy:
        yield proxy, Path(f"/proc/{proxy.pid}/root{data}")


def fat_invite(acme: SipSocket, call_id: str) -> bytes:
    """A call with a foreign number, whose record is as large as one gets. All of one Call-ID are one worker's."""
    padding = "x" * 450
    host, port = acme.local
    asserted = "\r\n".join([f"P-Asserted-Identity: <sip:{FILLER};p={padding}@x>"] * 16)
    return invite(
        acme.local,
        Via=f"SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK-fat-{port}-{next(_branches)}",
        Call_ID=call_id,
        User_Agent=f"{padding}\r\n{asserted}",
    )


def fill(proxy: ProxyProcess, acme: SipSocket, call_id: str) -> Samples:
    """Refused calls until there is no room for another record."""
    for _ in range(0, LARGEST_FILL, 100):
        for _ in range(100):
            acme.send(fat_invite(acme, call_id))
        answered = 0
        while answered < 100 and (got := acme.receive(2.0)) is not None:
            if got.startswith(b"SIP/2.0 403 "):  # nobody acknowledges them, and some come again
                answered += 1
        if (samples := proxy.scrape()).total("evidence_lost_total") > 0:
            return samples
    raise AssertionError("there is room for evidence without end")


def is_ready(proxy: ProxyProcess) -> bool:
    try:
        with urlopen(f"http://{PROXY_HOST}:{proxy.site.metrics_port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except HTTPError as error:
        if error.code != 503:
            raise
        return False


def status_of(acme: SipSocket, call_id: str) -> int:
    """The first answer to a good call with this Call-ID but 100."""
    sent = invite(acme.local, Call_ID=call_id)
    branch = sent.split(b"branch=")[1].split(b"\r\n")[0]
    acme.send(sent)
    while (got := acme.receive(5.0)) is not None:
        if branch + b";" in got and not got.startswith(b"SIP/2.0 100 "):
            assert got.startswith(b"SIP/2.0 503 ")
            assert b'text="evidence_unavailable"' in got
            return 503
    return 0


def verdicts(samples: Samples) -> int:
    return int(samples.total("verdicts_total"))


@pytest.mark.parametrize(("when_full", "workers"), [("pass", 1), ("refuse", 1), ("refuse", 2)])
def test_calls_fare_as_configured_while_there_is_no_room_for_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when_full: str, workers: int
) -> None:
    """Calls for help pass in any case. What is lost is counted and said, to the record; afterwards all is as before."""
    with (
        proxy_on_a_disk(tmp_path, monkeypatch, when_full, workers) as (proxy, data),
        SipSocket((ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)) as acme,
        SipSocket((CARRIER_HOST, proxy.site.carrier_port), (PROXY_HOST, proxy.site.carriers_port)) as carrier,
    ):
        call(acme, carrier, SOS)
        assert is_ready(proxy)
        assert run("fsfreeze", "-f", data).returncode == 0
        try:
            fill(proxy, acme, "filled")
            wait_until_told(proxy, "evidence buffer is full")
            for _ in range(3):
                call(acme, carrier, SOS)
            if when_full == "pass":
                call(acme, carrier, f"sip:{FILLER}@edge.example")
                assert is_ready(proxy)
            else:
                proxy.wait_for(lambda _: not is_ready(proxy), "to say that it is not ready")
                assert proxy.scrape().total("ready") == 0
                assert status_of(acme, "filled") == 503
            wait_until_told(proxy, "evidence is not written")  # a disk that is back within two seconds is no news
        finally:
            run("fsfreeze", "-u", data)
        proxy.flushed()
        proxy.wait_for(lambda _: is_ready(proxy), "to be ready again")
        call(acme, carrier, f"sip:{FILLER}@edge.example")
        wait_until_told(proxy, "evidence is written again")
        samples = proxy.flushed()
        attempts = [line for n in range(workers) for line in read_evidence(data, n) if line["kind"] == "attempt"]
        assert len(attempts) + samples.total("evidence_lost_total") == verdicts(samples)
        assert samples.total("verdicts_total", reason="emergency", outcome="refused") == 0
        said = [line for line in proxy.log_lines() if line["event"] == "evidence buffer has room again"]
        assert sum(line["lost"] for line in said) > 0
        proxy.assert_balanced()
