"""A customer that is known by the certificate of its TLS connection, wherever it comes from; real sockets, real TLS."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.ports import free_port
from tests.kit.proxy_process import CARRIER_HOST, PROXY_HOST, ProxyProcess, Site, run_command
from tests.kit.tls_agent import TlsCallee, TlsCaller

NOWHERE = "127.0.0.77"
NUMBER = "+12125550100"
CALLS = 12


@pytest.mark.parametrize("workers", [1, 2])
def test_certificate_makes_the_customer_and_no_certificate_makes_nobody(tmp_path: Path, workers: int) -> None:
    """The same address twice: with the customer's certificate its calls go through, with another's they are refused.

    With two workers the calls of a connection are with both, and both know who is at its far end.
    """
    authority = Authority(tmp_path / "pki")
    edge = authority.issue("edge", PROXY_HOST)
    ours, other = authority.issue("sbc", NOWHERE), authority.issue("other", "127.0.0.78")
    trunk = authority.issue("trunk", CARRIER_HOST)
    site, port = Site(), free_port()
    config = site.config(tmp_path)
    config["workers"] = workers
    for side, bind in (("customers", port), ("carriers", free_port())):
        config["listeners"][side]["tls"] = {
            "bind": f"{PROXY_HOST}:{bind}",
            "certificate": str(edge.certificate_path),
            "key": str(edge.key_path),
            "ca": str(authority.path),
            "client_certificate": "required",
        }
    config["customers"] = [
        {
            "id": "mobile",
            "tls_identities": [f"ip:{NOWHERE}"],
            "minimum_proof": "tls-mutual",
            "country": "US",
            "numbers": [NUMBER],
        }
    ]

    async def converse(directory: Path) -> tuple[set[str], str]:
        async with TlsCallee(CARRIER_HOST, authority.server_context(trunk)) as callee:
            target = f"sip:{callee.place[0]}:{callee.place[1]};transport=tls"
            config["trunks"] = [{"id": "carrier", "targets": [target], "probe": {"interval_s": 0}}]
            with ProxyProcess(directory, site, config) as proxy:
                uri = f"sip:+14155550142@{PROXY_HOST}:{port};transport=tls"
                context = authority.client_context(ours)
                caller = await TlsCaller.connect(NOWHERE, NUMBER, (PROXY_HOST, port), context)
                dialogs = [await caller.call(uri) for _ in range(CALLS)]
                for dialog in dialogs:
                    await caller.hang_up(dialog)
                await caller.close()
                context = authority.client_context(other)
                stranger = await TlsCaller.connect(NOWHERE, NUMBER, (PROXY_HOST, port), context)
                refusals = set()
                for _ in range(CALLS):
                    with pytest.raises(AssertionError) as refused:
                        await stranger.call(uri)
                    refusals.add(str(refused.value))
                await stranger.close()
                lines = [proxy.attempt(dialog.call_id) for dialog in dialogs]
                known = {(line["customer"], line["proof"], line["identity"]) for line in lines}
                assert known == {("mobile", "tls-mutual", f"ip:{NOWHERE}")}
                assert {line["worker"] for line in lines} == set(range(workers))
                samples = proxy.assert_balanced()
                assert (samples.total("hand_overs_total", result="carried") > 0) is (workers > 1)
                assert callee.answered == CALLS
                return refusals, str(proxy.config_path)

    refusals, path = asyncio.run(converse(tmp_path))
    assert len(refusals) == CALLS
    assert all(one.startswith("SIP/2.0 403 ") and "unknown_source" in one for one in refusals)

    saved = tmp_path / "invite.sip"
    saved.write_text(
        f"INVITE sip:+14155550142@{PROXY_HOST} SIP/2.0\r\nVia: SIP/2.0/TLS {NOWHERE}:5061;branch=z9hG4bK1\r\n"
        f"From: <sip:{NUMBER}@x>;tag=1\r\nTo: <sip:+14155550142@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    for identity, outcome in ((f"ip:{NOWHERE}", "allowed"), ("dns:other.example", "refused")):
        options = ("--source", f"tls:{NOWHERE}:5061", "--identity", identity, "--json")
        explained = run_command("explain", "--config", path, *options, saved)
        assert json.loads(explained.stdout)["outcome"] == outcome, explained.stderr
