"""Two real workers and every kind of limit: exactly as many calls pass as with one, before and after one was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.metrics import Samples
from tests.kit.ports import free_port
from tests.kit.proxy_process import (
    ACME_HOST,
    CARRIER_HOST,
    OUTSIDE_NUMBER,
    PROXY_HOST,
    ProxyProcess,
    Site,
)
from tests.kit.sip_socket import SipSocket, invite

WORKERS: Final = 2
ATTEMPTS: Final = 60
SPOOFED: Final = "<sip:+14155550999@acme.example>;tag=a"
SLOW: Final = 0.01
"""So many a second that none comes back while a test runs."""


class World:
    """The proxy, acme, and a carrier that answers only what a test has it answer."""

    def __init__(self, proxy: ProxyProcess, acme: SipSocket, carrier: SipSocket) -> None:
        self.proxy, self.acme, self.carrier = proxy, acme, carrier
        self.attempts = 0

    def attempt(self, times: int = ATTEMPTS, **changes: str) -> Samples:
        """So many calls, as fast as they can be sent; returns when the proxy has decided all of them."""
        return self.send([invite(self.acme.local, **changes) for _ in range(times)])

    def send(self, requests: list[bytes]) -> Samples:
        """As above, of these."""
        for request in requests:
            self.acme.send(request)
        self.attempts += len(requests)
        return self.proxy.wait_for(lambda now: now.total("verdicts_total") >= self.attempts, "the verdicts")


@contextmanager
def limited(directory: Path, limits: dict[str, Any], **sections: Any) -> Iterator[World]:
    site = Site()
    config = site.config(directory)
    config["workers"] = WORKERS
    config["customers"][0]["limits"] = limits
    with (
        ProxyProcess(directory, site, config | sections) as proxy,
        SipSocket((CARRIER_HOST, site.carrier_port), (PROXY_HOST, site.carriers_port)) as carrier,
        SipSocket((ACME_HOST, site.acme_port), (PROXY_HOST, site.customers_port)) as acme,
    ):
        yield World(proxy, acme, carrier)


def verdicts(samples: Samples) -> tuple[int, dict[str, int]]:
    """How many passed, and why the others did not."""
    passed = samples.total("verdicts_total", outcome="allowed")
    return passed, samples.by("verdicts_total", "reason", outcome="refused")


def assert_both_decided(samples: Samples) -> None:
    assert min(samples.by("worker_messages_received_total", "worker").values()) >= ATTEMPTS * 0.2


LIMITS: Final[dict[str, tuple[dict[str, Any], int]]] = {
    "concurrent_calls": ({"concurrent_calls": 7}, 7),
    "calls_per_second": ({"calls_per_second": SLOW}, 1),
    "number_rate": ({"per_number": {"calls_per_second": SLOW}}, 1),
    "number_concurrent": ({"per_number": {"concurrent_calls": 7}}, 7),
    "destination_rate": ({"destinations": [{"prefix": "+1415", "calls_per_second": SLOW}]}, 1),
    "destination_concurrent": ({"destinations": [{"prefix": "+1415", "concurrent_calls": 7}]}, 7),
    "destination_hour": ({"destinations": [{"prefix": "+1415", "calls_per_hour": 7}]}, 7),
    "called_number_rate": ({"calls_to_number_per_minute": 1}, 1),
}
"""By the reason of its refusals; and how many calls pass before they begin."""


def test_limits_are_exact_over_all_workers(tmp_path: Path) -> None:
    """A customer for each kind. A worker's death gives back the places of calls that it had up, and nothing else."""
    site = Site()
    config = site.config(tmp_path)
    config["workers"] = WORKERS
    config["customers"] = [
        {
            "id": reason,
            "sources": [f"127.0.1.{n}/32"],
            "country": "US",
            "numbers": [f"+1202555010{n}"],
            "limits": limits,
        }
        for n, (reason, (limits, _)) in enumerate(LIMITS.items(), 1)
    ]
    to = (PROXY_HOST, site.customers_port)
    with ExitStack() as stack:
        proxy = stack.enter_context(ProxyProcess(tmp_path, site, config))
        stack.enter_context(SipSocket((CARRIER_HOST, site.carrier_port), (PROXY_HOST, site.carriers_port)))
        sockets = [stack.enter_context(SipSocket((f"127.0.1.{n}", free_port()), to)) for n in range(1, len(LIMITS) + 1)]

        def attempt(sent_before: int) -> Samples:
            for _ in range(ATTEMPTS):
                for n, one in enumerate(sockets, 1):
                    one.send(invite(one.local, From=f"<sip:+1202555010{n}@acme.example>;tag=a"))
                time.sleep(0.002)
            count = sent_before + ATTEMPTS * len(LIMITS)
            return proxy.wait_for(lambda now: now.total("verdicts_total") == count, "the verdicts")

        samples = attempt(0)
        assert_both_decided(samples)
        allowed = {reason: count for reason, (_, count) in LIMITS.items()}
        assert samples.by("customer_verdicts_total", "customer", outcome="allowed") == allowed
        assert samples.by("verdicts_total", "reason", outcome="refused") == {
            reason: ATTEMPTS - count for reason, count in allowed.items()
        }
        assert samples.by("customer_calls_active", "customer") == allowed

        os.kill(proxy.worker_pid(1), signal.SIGKILL)
        proxy.wait_for(lambda now: now.total("worker_replacements_total") == 1, "the death")
        samples = proxy.wait_for(lambda now: now.total("worker_up") == WORKERS, "the replacement")
        up = samples.by("customer_calls_active", "customer")
        again = {
            reason: count - up.get(reason, 0) if "concurrent" in reason else 0 for reason, count in allowed.items()
        }
        assert sum(again.values()) > 0
        samples = attempt(ATTEMPTS * len(LIMITS))
        assert samples.by("customer_verdicts_total", "customer", outcome="allowed") == {
            reason: count + again[reason] for reason, count in allowed.items()
        }


ASN_LOOPBACK: Final = "127.0.0.0\t127.255.255.255\t64500\tUS\tLOOPBACK\n"


@pytest.mark.parametrize(
    ("share", "reason", "allowed"),
    [({"concurrent_calls": 7}, "asn_concurrent", 7), ({"calls_per_second": SLOW}, "asn_rate", 1)],
)
def test_source_as_is_limited_over_all_workers(
    tmp_path: Path, share: dict[str, float], reason: str, allowed: int
) -> None:
    table = tmp_path / "asn.tsv"
    table.write_text(ASN_LOOPBACK)
    with limited(tmp_path, {}, policy={"limits": {"per_asn": share}}, asn={"table": str(table)}) as world:
        samples = world.attempt()
        assert verdicts(samples) == (allowed, {reason: ATTEMPTS - allowed})
        assert_both_decided(samples)


def test_sequential_calls_are_seen_by_all_workers(tmp_path: Path) -> None:
    """Each call of the row may be with another worker; one at a time, so that they come in order."""
    with limited(tmp_path, {"sequential": {"numbers": 5}}) as world:
        for n in range(20):
            called = f"+1310555{n + 100:04}".encode()
            samples = world.send([invite(world.acme.local).replace(OUTSIDE_NUMBER.encode(), called)])
        assert verdicts(samples) == (5, {"sequential_calls": 15})
        assert min(samples.by("worker_messages_received_total", "worker").values()) > 0


def test_dialler_of_many_numbers_is_seen_by_all_workers(tmp_path: Path) -> None:
    """As above, with another number of the customer in every call."""
    with limited(tmp_path, {"sequential": {"numbers": 2, "of_customer": 5}}) as world:
        for n in range(20):
            called = f"+1310555{n + 100:04}".encode()
            caller = f"<sip:+120255501{n:02}@acme.example>;tag={n}"
            samples = world.send([invite(world.acme.local, From=caller).replace(OUTSIDE_NUMBER.encode(), called)])
        assert verdicts(samples) == (5, {"sequential_calls": 15})
        assert min(samples.by("worker_messages_received_total", "worker").values()) > 0


def test_burst_of_spoofing_slows_over_all_workers(tmp_path: Path) -> None:
    with limited(tmp_path, {"spoofing": {"refusals": 10, "slowed_to": SLOW}}) as world:
        samples = world.attempt(9, From=SPOOFED)
        samples = world.attempt(5)
        assert verdicts(samples) == (5, {"from_not_owned": 9})
        samples = world.attempt(1, From=SPOOFED)
        samples = world.attempt()
        assert verdicts(samples) == (6, {"from_not_owned": 10, "spoof_burst": ATTEMPTS - 1})
        assert_both_decided(samples)


def test_messages_are_limited_over_all_workers(tmp_path: Path) -> None:
    """And are no calls: the one call that may be up passes beside them."""
    with limited(tmp_path, {"messages_per_second": SLOW, "concurrent_calls": 1}) as world:
        sent = [invite(world.acme.local, CSeq="1 MESSAGE") for _ in range(ATTEMPTS)]
        samples = world.send([one.replace(b"INVITE sip", b"MESSAGE sip", 1) for one in sent])
        assert verdicts(samples) == (1, {"message_rate": ATTEMPTS - 1})
        assert_both_decided(samples)
        assert verdicts(world.attempt(10)) == (2, {"message_rate": ATTEMPTS - 1, "concurrent_calls": 9})


def test_short_calls_slow_over_all_workers(tmp_path: Path) -> None:
    """Ten answered calls that end at once, with whichever worker: then one call more passes, and no other."""
    with limited(tmp_path, {"short_calls": {"calls": 10, "slowed_to": SLOW}}) as world:
        for _ in range(10):
            call_and_hang_up(world)
        world.proxy.wait_for(lambda now: now.total("calls_ended_total") == 10, "their end")
        samples = world.attempt()
        assert verdicts(samples) == (11, {"short_calls": ATTEMPTS - 1})
        assert_both_decided(samples)


def call_and_hang_up(world: World) -> None:
    """acme calls, the carrier answers at once, acme hangs up."""
    sent = invite(world.acme.local)
    world.attempts += 1
    world.acme.send(sent)
    invited = world.carrier.receive()
    assert invited is not None
    assert invited.startswith(b"INVITE ")
    world.carrier.send(b"SIP/2.0 200 OK" + invited[invited.index(b"\r\n") :])
    while not (answer := world.acme.receive() or b"").startswith(b"SIP/2.0 200 "):
        assert answer.startswith(b"SIP/2.0 100 ")
    routes = [line[14:] for line in answer.decode().split("\r\n") if line.startswith("Record-Route: ")]
    for serial, method in ((1, b"ACK"), (2, b"BYE")):
        lines = sent.decode().replace("1 INVITE", f"{serial} {method.decode()}").split("\r\n")
        lines[0] = f"{method.decode()} sip:{OUTSIDE_NUMBER}@{CARRIER_HOST}:{world.carrier.local[1]} SIP/2.0"
        lines[1] += f"-{method.decode()}"
        lines[1:1] = [f"Route: {route}" for route in reversed(routes)]
        data = "\r\n".join(lines).replace("@edge.example>\r\n", "@edge.example>;tag=c\r\n")
        world.acme.send(data.encode())
        while not (got := world.carrier.receive() or b"").startswith(method):
            assert got.startswith(b"INVITE ")  # again, on a busy machine
    world.carrier.send(b"SIP/2.0 200 OK" + got[got.index(b"\r\n") :])
    while b"BYE" not in (ended := world.acme.receive() or b""):
        assert ended.startswith(b"SIP/2.0 200 ")
    assert ended.startswith(b"SIP/2.0 200 ")


def test_reload_leaves_what_was_used_up(tmp_path: Path) -> None:
    with limited(tmp_path, {"destinations": [{"prefix": "+1415", "calls_per_hour": 7}]}) as world:
        assert verdicts(world.attempt(5)) == (5, {})
        world.proxy.config["customers"][0]["limits"]["concurrent_calls"] = 6
        world.proxy.reload()
        assert verdicts(world.attempt(1)) == (6, {})
        assert verdicts(world.attempt(9)) == (6, {"concurrent_calls": 9})
        del world.proxy.config["customers"][0]["limits"]["concurrent_calls"]
        world.proxy.reload()
        assert verdicts(world.attempt(9)) == (7, {"concurrent_calls": 9, "destination_hour": 8})
