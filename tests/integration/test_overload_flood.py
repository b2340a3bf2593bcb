"""More calls than can be worked on, over real sockets: what must pass passes, all of it is counted, it recovers."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from tests.kit.metrics import Samples
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, INITECH_HOST, PROXY_HOST, ProxyProcess, Site
from tests.kit.sip_socket import SipSocket, invite

FOREIGN = "<sip:+442079469999@initech.example>;tag=f"
T1_S = 0.5
PATIENCE_S = 30.0
BURST = 200


@contextmanager
def flooded(proxy: ProxyProcess, told: set[str]) -> Iterator[list[int]]:
    """INVITEs of a customer, more of them than are worked on; how many were sent, and how many answers were 503.

    `told` gets the evidence ids of these.
    """
    is_over = threading.Event()
    counts = [0, 0]
    site = proxy.site

    def flood() -> None:
        with SipSocket((INITECH_HOST, site.initech_port), (PROXY_HOST, site.customers_port)) as initech:
            while not is_over.is_set():
                for _ in range(BURST):
                    initech.send(invite(initech.local, From=FOREIGN))
                counts[0] += BURST
                while (answer := initech.receive(0.0)) is not None:
                    if answer.startswith(b"SIP/2.0 503 "):
                        counts[1] += 1
                        told.add(answer.partition(b"; ref ")[2][:16].decode())

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        thread.join()


def exchange(sender: SipSocket, data: bytes, receiver: SipSocket, begins: bytes) -> bytes:
    """Send a request as a UDP client does, again and again (RFC 3261 §17.1), until the receiver has what begins so."""
    own = next(line for line in data.split(b"\r\n") if line.startswith(b"Call-ID:"))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        sender.send(data)
        until = time.monotonic() + T1_S
        while (left_s := until - time.monotonic()) > 0:
            got = receiver.receive(left_s)
            if got is not None and got.startswith(begins) and own in got:
                return got
    raise AssertionError(f"nothing that begins with {begins!r} came through")


def emergency(acme: SipSocket) -> bytes:
    data = invite(acme.local)
    return b"INVITE urn:service:sos" + data[data.index(b" SIP/2.0") :]


def established(acme: SipSocket, carrier: SipSocket) -> bytes:
    """A call comes up; the BYE that ends it."""
    sent = invite(acme.local)
    invited = exchange(acme, sent, carrier, b"INVITE ")
    head = [line for line in invited.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:] if not line.startswith(b"Max-F")]
    copied = [line + b";tag=c" if line.startswith(b"To:") else line for line in head]
    contact = f"Contact: <sip:{carrier.local[0]}:{carrier.local[1]}>".encode()
    copied = [contact if line.startswith(b"Contact:") else line for line in copied]
    carrier.send(b"\r\n".join([b"SIP/2.0 200 OK", *copied, b"", b""]))
    while not (accepted := acme.receive() or b"").startswith(b"SIP/2.0 200 "):
        assert accepted.startswith(b"SIP/2.0 100 ")
    routes = [line.replace(b"Record-Route", b"Route") for line in accepted.split(b"\r\n") if b"Record-Route" in line]
    target = f"sip:{carrier.local[0]}:{carrier.local[1]} SIP/2.0".encode()

    def inside(method: bytes, cseq: int) -> bytes:
        lines = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        lines = [line + b";tag=c" if line.startswith(b"To:") else line for line in lines]
        lines = [line + method if b"branch=" in line else line for line in lines]
        lines = [b"CSeq: %d " % cseq + method if line.startswith(b"CSeq:") else line for line in lines]
        return b"\r\n".join([method + b" " + target, *reversed(routes), *lines, b"", b""])

    exchange(acme, inside(b"ACK", 1), carrier, b"ACK ")
    return inside(b"BYE", 2)


def answered(carrier: SipSocket, got: bytes) -> None:
    carrier.send(b"SIP/2.0 200 OK" + got[got.index(b"\r\n") :])


@pytest.mark.parametrize("workers", [1, 2])
def test_flood_of_calls_is_shed_and_what_must_pass_passes(tmp_path: Path, workers: int) -> None:
    """Calls for help and what is inside a call; a share of the rest is told to come again, and later it is over."""
    site = Site()
    config = site.config(tmp_path) | {"sip": {"overload": {"delay_ms": 1}}, "workers": workers}
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        SipSocket((ACME_HOST, site.acme_port), (PROXY_HOST, site.customers_port)) as acme,
        SipSocket((CARRIER_HOST, site.carrier_port), (PROXY_HOST, site.carriers_port)) as carrier,
    ):
        bye = established(acme, carrier)
        told: set[str] = set()
        with flooded(proxy, told) as counts:
            proxy.wait_for(is_shedding, "the overload control", PATIENCE_S)
            for _ in range(5):
                exchange(acme, emergency(acme), carrier, b"INVITE urn:service:sos")
            answered(carrier, exchange(acme, bye, carrier, b"BYE "))
            exchange(acme, bye, acme, b"SIP/2.0 200 ")
            assert is_shedding(proxy.scrape())
        samples = proxy.wait_for(lambda seen: not is_reduced(seen), "its end", PATIENCE_S)
        assert counts[1] > 0
        shed = samples.total("messages_by_cause_total", cause="overloaded", disposition="answered")
        assert counts[1] <= shed < counts[0]
        assert samples.total("verdicts_total", reason="emergency", outcome="allowed") == 5
        assert samples.total("verdicts_total", reason="emergency", outcome="refused") == 0
        exchange(acme, invite(acme.local), carrier, b"INVITE ")
        proxy.assert_balanced()
        proxy.flushed()
        assert told <= {line["id"] for line in proxy.evidence() if line.get("reason") == "overloaded"}


def is_reduced(samples: Samples) -> bool:
    return samples.total("overload_reduction_ratio") > 0


def is_shedding(samples: Samples) -> bool:
    return is_reduced(samples) and samples.total("messages_by_cause_total", cause="overloaded") > 0


FLOOD_S = 10.0
MOST_MORE_BYTES = 100 << 20
"""What ten seconds of it may add: requests that were answered are remembered for 32 s, and evidence is buffered."""
STRANGERS = 5_000
TIMES = 4
LOOKS_EVERY_S = 0.2
IP_PKTINFO = 8  # Linux; Python has no name for it


class Hose:
    """INVITEs, four times as many as the proxy takes in, each its own call: of a customer, or of many strangers."""

    def __init__(self, proxy: ProxyProcess, *, is_of_strangers: bool) -> None:
        site = proxy.site
        self.sent = 0
        self._scrape = proxy.scrape
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._proxy = (PROXY_HOST, site.customers_port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host = "0.0.0.0" if is_of_strangers else INITECH_HOST
        self._socket.bind((host, site.initech_port))
        self._parts = re.split(rb"kit-[0-9-]+", invite((INITECH_HOST, site.initech_port), From=FOREIGN))
        self._strangers = STRANGERS if is_of_strangers else 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        parts, hose = self._parts, self._socket
        sender: list[tuple[int, int, bytes]] = []
        up_to = looks_at = 0.0
        while not self._is_over.is_set():
            if time.monotonic() >= looks_at:
                up_to = TIMES * (self._scrape().total("messages_received_total", side="customers") + 10 * BURST)
                looks_at = time.monotonic() + LOOKS_EVERY_S
            elif self.sent >= up_to:
                time.sleep(0.001)
                continue
            for serial in range(self.sent, self.sent + BURST):
                if self._strangers:
                    place = serial % self._strangers
                    source = bytes([127, 1, place >> 8, place & 255])
                    sender = [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4x", 0, source))]
                hose.sendmsg([(b"f-%d" % serial).join(parts)], sender, 0, self._proxy)
            self.sent += BURST
            with suppress(BlockingIOError):
                while hose.recv(65_535, socket.MSG_DONTWAIT):
                    pass


class Counted(SipSocket):
    """Which knows how many datagrams it has sent."""

    sent = 0

    def send(self, data: bytes) -> None:
        self.sent += 1
        super().send(data)


@pytest.mark.parametrize("is_of_strangers", [True, False], ids=["strangers", "a customer"])
def test_ten_seconds_of_several_times_what_a_worker_carries(tmp_path: Path, is_of_strangers: bool) -> None:
    """Every call for help gets through, memory stays, and every datagram is in one count, those for which the kernel
    had no room included. A customer's calls beside it are either passed on or told to come again, on the record; when
    it is over they pass."""
    site = Site()
    config = site.config(tmp_path) | {"sip": {"overload": {"delay_ms": 50}}}
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        Counted((ACME_HOST, site.acme_port), (PROXY_HOST, site.customers_port)) as acme,
        SipSocket((CARRIER_HOST, site.carrier_port), (PROXY_HOST, site.carriers_port)) as carrier,
    ):
        exchange(acme, invite(acme.local), carrier, b"INVITE ")
        rss_bytes = [proxy.rss_bytes()]
        helped = passed = 0
        told: set[str] = set()
        with Hose(proxy, is_of_strangers=is_of_strangers) as hose:
            ends_at = time.monotonic() + FLOOD_S
            while time.monotonic() < ends_at or helped < 5:
                exchange(acme, emergency(acme), carrier, b"INVITE urn:service:sos")
                helped += 1
                came = either(acme, carrier)
                passed += came.startswith(b"INVITE ")
                if came.startswith(b"SIP/2.0 503 "):
                    told.add(came.partition(b"; ref ")[2][:16].decode())
                rss_bytes.append(proxy.rss_bytes())
        proxy.wait_for(lambda seen: not is_reduced(seen), "its end", PATIENCE_S)
        exchange(acme, invite(acme.local), carrier, b"INVITE ")
        samples = proxy.assert_balanced()
        received = samples.total("messages_received_total", side="customers")
        dropped = samples.total("kernel_drops_total", side="customers")
        assert received + dropped == hose.sent + acme.sent
        assert dropped > 0  # it was more than is carried; how much more is the machine's business
        assert max(rss_bytes) - rss_bytes[0] < MOST_MORE_BYTES
        assert samples.total("verdicts_total", reason="emergency", outcome="allowed") == helped
        assert samples.total("verdicts_total", reason="identity_owned", outcome="allowed") == passed + 2
        proxy.flushed()
        lines = proxy.evidence()
        assert told <= {line["id"] for line in lines if line.get("reason") == "overloaded"}
        assert sum(line.get("reason") == "emergency" for line in lines if line["kind"] == "attempt") == helped
        assert samples.total("evidence_lost_total") == 0


def either(acme: SipSocket, carrier: SipSocket) -> bytes:
    """A call of acme, as `exchange`: the INVITE at the carrier, or what it was refused with."""
    data = invite(acme.local)
    own = next(line for line in data.split(b"\r\n") if line.startswith(b"Call-ID:"))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        acme.send(data)
        until = time.monotonic() + T1_S
        while (left_s := until - time.monotonic()) > 0:
            for one in (carrier, acme):
                got = one.receive(min(left_s, 0.01))
                if got is not None and own in got and not got.startswith(b"SIP/2.0 100 "):
                    return got
    raise AssertionError("neither passed on nor answered")
