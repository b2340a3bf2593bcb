"""More calls than can be worked on, over real sockets: what must pass passes, all of it is counted, it recovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
