"""TLS on both sides of the proxy: who is let in, and a certificate that is replaced while calls are made."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.certificates import Authority, Certificate
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site
from tests.kit.tls_agent import Dialog, TlsCallee, TlsCaller

pytestmark = pytest.mark.timeout(90)

CUSTOMER: Final = "127.0.0.101"
CARRIER: Final = "127.0.0.102"
NUMBER: Final = "+12025550123"
LONG_CALLS: Final = 25
CONNECTIONS: Final = 5
CALLS_A_CONNECTION: Final = 4
ROUNDS_BEFORE_AND_AFTER: Final = 12


class TlsSite:
    """A proxy that speaks TLS to one customer and to one trunk, with files that can be replaced."""

    def __init__(self, directory: Path, *, client_certificate: str, trunk: tuple[str, int]) -> None:
        self.authority = Authority(directory / "pki")
        self.live = directory / "live"
        self.live.mkdir()
        self.first = self.install("edge-1")
        self.site = Site()
        self.customers_tls, carriers_tls = free_port(), free_port()
        config: dict[str, Any] = self.site.config(directory)
        for side, port, wanted in (
            ("customers", self.customers_tls, client_certificate),
            ("carriers", carriers_tls, "required"),
        ):
            config["listeners"][side]["tls"] = {
                "bind": f"{PROXY_HOST}:{port}",
                "certificate": str(self.live / "edge.pem"),
                "key": str(self.live / "edge.key"),
                "ca": str(self.authority.path),
                "client_certificate": wanted,
            }
        config["customers"] = [
            {"id": "acme", "sources": [f"{CUSTOMER}/32"], "country": "US", "numbers": ["+12025550100-+12025550199"]}
        ]
        config["trunks"] = [
            {"id": "carrier", "targets": [f"sip:{trunk[0]}:{trunk[1]};transport=tls"], "probe": {"interval_s": 0}}
        ]
        self.config = config
        self.place = (PROXY_HOST, self.customers_tls)
        self.uri = f"sip:{PROXY_HOST}:{self.customers_tls};transport=tls"
        self.called = f"sip:+14155550142@{PROXY_HOST}:{self.customers_tls};transport=tls"

    def install(self, name: str) -> Certificate:
        """Put a new certificate where the proxy reads it, as a renewal does: each file replaced whole."""
        made = self.authority.issue(name, PROXY_HOST)
        for source, target in ((made.key_path, "edge.key"), (made.certificate_path, "edge.pem")):
            fresh = self.live / f"{target}.new"
            shutil.copy(source, fresh)
            fresh.replace(self.live / target)
        return made

    async def connect(self, context: ssl.SSLContext | None = None) -> TlsCaller:
        return await TlsCaller.connect(CUSTOMER, NUMBER, self.place, context or self.authority.client_context())


async def is_refused(site: TlsSite, context: ssl.SSLContext) -> bool:
    """Whether no SIP goes over a connection with this context; in TLS 1.3 a client learns of that late."""
    try:
        caller = await site.connect(context)
    except OSError:  # ssl.SSLError is one
        return True
    try:
        return not (await caller.options(site.uri)).startswith("SIP/2.0 200 ")
    except ConnectionError:
        return True
    finally:
        await caller.close()


@pytest.mark.parametrize(
    ("wanted", "without", "with_ours", "with_other"),
    [("none", True, True, True), ("optional", True, True, False), ("required", False, True, False)],
)
def test_client_certificate_is_demanded_and_checked_as_configured(
    wanted: str, without: bool, with_ours: bool, with_other: bool, tmp_path: Path
) -> None:
    """RFC 8446 §4.4.2 and RFC 3261 §26.3.2.1: mutual TLS lets in who shows a certificate of our authority."""
    site = TlsSite(tmp_path, client_certificate=wanted, trunk=(CARRIER, free_port()))
    ours = site.authority.issue("customer", CUSTOMER)
    other = Authority(tmp_path / "other", "other").issue("stranger", CUSTOMER)

    async def lets_in() -> tuple[bool, bool, bool]:
        contexts = [site.authority.client_context(certificate) for certificate in (None, ours, other)]
        first, second, third = [not await is_refused(site, context) for context in contexts]
        return first, second, third

    with ProxyProcess(tmp_path, site.site, site.config) as proxy:
        assert asyncio.run(lets_in()) == (without, with_ours, with_other)
        proxy.assert_balanced()


async def call_on_new_connections(site: TlsSite, serials: list[int]) -> None:
    """Some connections at a time, each with a few calls from start to end; notes the certificate each was shown."""

    async def one() -> None:
        caller = await site.connect()
        serials.append(caller.server_serial)
        dialogs = await asyncio.gather(*(caller.call(site.called) for _ in range(CALLS_A_CONNECTION)))
        await asyncio.gather(*map(caller.hang_up, dialogs))
        await caller.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def test_certificate_replaced_under_load_costs_no_call(tmp_path: Path) -> None:
    """New connections get the new certificate, those that are up live on, and no call notices: SIGHUP, nothing else."""
    trunk_port = free_port()
    site = TlsSite(tmp_path, client_certificate="none", trunk=(CARRIER, trunk_port))
    carrier = site.authority.issue("carrier", CARRIER)

    async def play(proxy: ProxyProcess) -> tuple[list[int], list[int], TlsCallee]:
        before: list[int] = []
        during: list[int] = []
        after: list[int] = []
        callee = TlsCallee(CARRIER, site.authority.server_context(carrier))
        callee.place = (CARRIER, trunk_port)
        async with callee:
            old = await site.connect()
            held: list[Dialog] = [await old.call(site.called) for _ in range(LONG_CALLS)]
            for _ in range(ROUNDS_BEFORE_AND_AFTER):
                await call_on_new_connections(site, before)
            second = site.install("edge-2")
            reload = asyncio.create_task(asyncio.to_thread(proxy.reload_file))
            while not reload.done():
                await call_on_new_connections(site, during)
            await reload
            for _ in range(ROUNDS_BEFORE_AND_AFTER):
                await call_on_new_connections(site, after)
            assert set(before) == {site.first.serial}
            assert set(during) <= {site.first.serial, second.serial}
            assert set(after) == {second.serial}
            assert old.is_up
            assert old.server_serial == site.first.serial
            held.append(await old.call(site.called))
            for dialog in held:
                await old.hang_up(dialog)
            await old.close()
        return before + during + after, [len(held)], callee

    with ProxyProcess(tmp_path, site.site, site.config) as proxy:
        serials, (held,), callee = asyncio.run(play(proxy))
        calls = len(serials) * CALLS_A_CONNECTION + held
        assert (callee.answered, callee.hung_up) == (calls, calls)
        samples = proxy.wait_for(lambda samples: samples.total("calls_active") == 0, "the end of all calls")
        assert samples.by("calls_ended_total", "cause") == {"bye": calls}
        assert samples.total("reloads_total", result="ok") == 1
        proxy.assert_balanced()
