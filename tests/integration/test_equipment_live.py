"""The equipment of customers over a restart: first seen by one life of the proxy, last by the next."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kit.proxy_process import ACME_HOST, PROXY_HOST, ProxyProcess, Site, run_command
from tests.kit.sip_socket import SipSocket, invite


def equipment(proxy: ProxyProcess) -> dict[str, dict[str, object]]:
    done = run_command("equipment", "list", "--config", proxy.config_path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return {one["name"]: one for one in json.loads(done.stdout)}


def test_equipment_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """Beside the running proxy, and after kill -9."""
    site = Site()
    config = site.config(tmp_path)
    config["customers"][0]["equipment"] = {"approved": ["Yealink *"]}
    local, remote = (ACME_HOST, site.acme_port), (PROXY_HOST, site.customers_port)
    with ProxyProcess(tmp_path, site, config) as proxy, SipSocket(local, remote) as phone:
        for agent in ("Yealink SIP-T46S 66.85.0.5", "Yealink SIP-T46S 66.85.0.5", "Odd one 2.0"):
            phone.send(invite(local, User_Agent=agent))
            assert phone.is_answered()
        proxy.flushed()
        before = equipment(proxy)
        assert {name: (one["calls"], one["approved"]) for name, one in before.items()} == {
            "Yealink SIP-T46S 66.85.0.5": (2, True),
            "Odd one 2.0": (1, False),
        }
        proxy.kill()
        proxy.start()
        phone.send(invite(local, User_Agent="Yealink SIP-T46S 66.85.0.5"))
        assert phone.is_answered()
        proxy.flushed()
        after = equipment(proxy)["Yealink SIP-T46S 66.85.0.5"]
    assert after["calls"] == 3
    assert after["first_at"] == before["Yealink SIP-T46S 66.85.0.5"]["first_at"]
    assert str(after["last_at"]) > str(before["Yealink SIP-T46S 66.85.0.5"]["last_at"])
