"""`edge-proxy explain` on an INVITE as it was sent says what the live proxy said about that very call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.call_cases import BLOCKED, CallCase
from tests.kit.proxy_process import CARRIER_HOST, PROXY_HOST, ProxyProcess, run_command
from tests.kit.sipp import Sipp, SippMessage

pytestmark = pytest.mark.sipp

SAME = ("outcome", "status", "reason", "rule", "ip_origin", "proof", "side", "source", "asn", "snapshot")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy")) as running:
        yield running


def assert_explained_alike(proxy: ProxyProcess, tmp_path: Path, host: str, port: int, invite: SippMessage) -> None:
    saved = tmp_path / "invite.sip"
    saved.write_bytes(invite.data)
    line = proxy.attempt(invite.call_id)
    arguments = ("--config", proxy.config_path, "--source", f"udp:{host}:{port}", "--json")
    explained = run_command("explain", *arguments, saved)
    assert explained.returncode == 0, explained.stderr
    said = json.loads(explained.stdout)
    assert {key: said[key] for key in SAME} == {key: line[key] for key in SAME}
    assert said["customer"] == line.get("customer")
    assert [f"{signal['name']}{signal['weight']:+d}" for signal in said["signals"]] == line.get("signals", [])
    assert said["claims"][0]["number"] == line.get("from_number")
    assert said["called"]["text"] in line["request_uri"]
    assert said["rules"][-1]["rule"] == line["rule"]  # what decided was asked last


@pytest.mark.parametrize("case", BLOCKED, ids=lambda case: case.name)
def test_refused_call_is_explained_as_it_was_refused(proxy: ProxyProcess, tmp_path: Path, case: CallCase) -> None:
    """Same outcome, status, reason, rule and signals, from the same data."""
    host, keys = case.enforced()
    remote = (PROXY_HOST, proxy.site.customers_port)
    with Sipp(
        tmp_path, "uac_refused", local=(host, proxy.site.acme_port), remote=remote, keys=keys, traces=True
    ) as uac:
        uac.wait().assert_clean(1)
        invite = uac.messages()[0]
    assert invite.start_line.startswith("INVITE ")
    assert_explained_alike(proxy, tmp_path, host, proxy.site.acme_port, invite)


@pytest.mark.parametrize("case", [case for case in BLOCKED if case.is_known], ids=lambda case: case.name)
def test_watched_call_is_explained_as_it_was_watched(proxy: ProxyProcess, tmp_path: Path, case: CallCase) -> None:
    """Monitor mode is explained as monitor mode."""
    host, keys = case.monitored()
    remote = (PROXY_HOST, proxy.site.customers_port)
    with (
        Sipp(tmp_path, "uas", local=(CARRIER_HOST, proxy.site.carrier_port)) as uas,
        Sipp(tmp_path, "uac", local=(host, proxy.site.globex_port), remote=remote, keys=keys, traces=True) as uac,
    ):
        uac.wait().assert_clean(1)
        uas.wait().assert_clean(1)
        invite = uac.messages()[0]
    assert_explained_alike(proxy, tmp_path, host, proxy.site.globex_port, invite)
