"""A customer that is known by the certificate of its TLS connection, wherever it comes from; real sockets, real TLS."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.kit.certificates import Authority
from tests.kit.ports import free_port
from tests.kit.proxy_process import CARRIER_HOST, PROXY_HOST, ProxyProcess, Site, run_command
from tests.kit.tls_agent import TlsCallee, TlsCaller

NOWHERE = "127.0.0.77"
NUMBER = "+12125550100"


def test_certificate_makes_the_customer_and_no_certificate_makes_nobody(tmp_path: Path) -> None:
    """The same address twice: with the customer's certificate its call goes through, with another's it is refused."""
    authority = Authority(tmp_path / "pki")
    edge = authority.issue("edge", PROXY_HOST)
    ours, other = authority.issue("sbc", NOWHERE), authority.issue("other", "127.0.0.78")
    trunk = authority.issue("trunk", CARRIER_HOST)
    site, port = Site(), free_port()
    config = site.config(tmp_path)
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

    async def converse(directory: Path) -> tuple[str, str]:
        async with TlsCallee(CARRIER_HOST, authority.server_context(trunk)) as callee:
            target = f"sip:{callee.place[0]}:{callee.place[1]};transport=tls"
            config["trunks"] = [{"id": "carrier", "targets": [target], "probe": {"interval_s": 0}}]
            with ProxyProcess(directory, site, config) as proxy:
                uri = f"sip:+14155550142@{PROXY_HOST}:{port};transport=tls"
                context = authority.client_context(ours)
                caller = await TlsCaller.connect(NOWHERE, NUMBER, (PROXY_HOST, port), context)
                dialog = await caller.call(uri)
                await caller.hang_up(dialog)
                await caller.close()
                context = authority.client_context(other)
                stranger = await TlsCaller.connect(NOWHERE, NUMBER, (PROXY_HOST, port), context)
                try:
                    refusal = ""
                    await stranger.call(uri)
                except AssertionError as error:
                    refusal = str(error)
                await stranger.close()
                line = proxy.attempt(dialog.call_id)
                assert (line["customer"], line["proof"], line["identity"]) == (
                    "mobile",
                    "tls-mutual",
                    f"ip:{NOWHERE}",
                )
                proxy.assert_balanced()
                assert callee.answered == 1
                return refusal, str(proxy.config_path)

    refusal, path = asyncio.run(converse(tmp_path))
    assert refusal.startswith("SIP/2.0 403 ")
    assert "unknown_source" in refusal

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
