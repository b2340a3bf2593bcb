"""A customer without a fixed address, from SIPp: challenged, believed with its password, refused with another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.proxy_process import CARRIER_HOST, PROXY_HOST, ProxyProcess, Site, run_command
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

CALLS = 5
NOWHERE = "127.0.0.77"
USER, WORD = "roamer", "correct-horse"
NUMBER = "+12125550100"
KEYS = {"from": f"<sip:{NUMBER}@roamer.example>"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    directory = tmp_path_factory.mktemp("proxy")
    site = Site()
    config = site.config(directory)
    secret = directory / "roamer.secret"
    secret.write_text(f"{WORD}\n")
    config["authentication"] = {"realm": "edge.example", "algorithms": ["MD5"]}  # SIPp 3.6 knows no other
    config["customers"].append(
        {
            "id": "roamer",
            "credentials": [{"username": USER, "password_file": str(secret)}],
            "minimum_proof": "digest",
            "country": "US",
            "numbers": [NUMBER],
        }
    )
    with ProxyProcess(directory, site, config) as running:
        yield running


def caller(proxy: ProxyProcess, directory: Path, word: str) -> Sipp:
    return Sipp(
        directory,
        "uac_digest",
        local=(NOWHERE, proxy.site.globex_port),
        remote=(PROXY_HOST, proxy.site.customers_port),
        calls=CALLS,
        keys=KEYS,
        traces=True,
        extra=("-au", USER, "-ap", word),
    )


def test_right_password_makes_calls(proxy: ProxyProcess, tmp_path: Path) -> None:
    """Each call is challenged once, goes through on the customer's account, and ends by its dialog token."""
    before = proxy.scrape()
    with (
        Sipp(tmp_path, "uas", local=(CARRIER_HOST, proxy.site.carrier_port), calls=CALLS, traces=True) as uas,
        caller(proxy, tmp_path, WORD) as uac,
    ):
        uac.wait().assert_clean(CALLS)
        uas.wait().assert_clean(CALLS)
        got = [message for message in uas.messages() if not message.is_sent]
        sent = [message for message in uac.messages() if message.header("Proxy-Authorization")]
    added = proxy.assert_balanced().since(before)
    by_cause = added.by("messages_by_cause_total", "cause", side="customers")
    assert by_cause["challenged"] == CALLS
    assert added.total("verdicts_total", side="customers", outcome="allowed") == CALLS
    assert not any(message.header("Proxy-Authorization") for message in got)
    for message in sent:
        line = proxy.attempt(message.call_id)
        assert (line["customer"], line["proof"], line["identity"]) == ("roamer", "digest", USER)

    saved = tmp_path / "invite.sip"
    saved.write_bytes(sent[0].data)
    explained = run_command(
        "explain", "--config", proxy.config_path, "--source", f"udp:{NOWHERE}:5060", "--json", saved
    )
    said = json.loads(explained.stdout)
    assert (said["outcome"], said["customer"], said["proof"], said["identity"]) == ("allowed", "roamer", "digest", USER)
    saved.write_bytes(sent[0].data.replace(b"Proxy-Authorization", b"Other"))
    explained = run_command(
        "explain", "--config", proxy.config_path, "--source", f"udp:{NOWHERE}:5060", "--json", saved
    )
    said = json.loads(explained.stdout)
    assert (said["outcome"], said["status"], said["reason"]) == ("challenged", 407, "unknown_source")


def test_wrong_password_is_refused_and_recorded(proxy: ProxyProcess, tmp_path: Path) -> None:
    """403 at the second INVITE, one attempt in evidence for each, and nothing towards the carrier."""
    before = proxy.scrape()
    with caller(proxy, tmp_path, "wrong") as uac:
        uac.wait().assert_clean(CALLS)
        finals = [m for m in uac.messages() if not m.is_sent and m.status == 403]
    added = proxy.assert_balanced().since(before)
    assert added.total("messages_sent_total", side="carriers") == 0
    assert added.total("verdicts_total", side="customers", reason="authentication_failed") == CALLS
    assert len(finals) == CALLS
    for final in finals:
        line = proxy.attempt(final.call_id)
        assert (line["outcome"], line["reason"], line["proof"]) == ("refused", "authentication_failed", "none")
        assert "customer" not in line
