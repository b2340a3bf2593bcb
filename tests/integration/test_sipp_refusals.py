"""Calls that break a rule, from SIPp: refused with a reason that a person and a machine understand, or watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.call_cases import BLOCKED, CallCase
from tests.kit.proxy_process import CARRIER_HOST, PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

CALLS = 5


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.mark.parametrize("case", BLOCKED, ids=lambda case: case.name)
def test_call_that_breaks_a_rule_is_refused_and_explained(proxy: ProxyProcess, tmp_path: Path, case: CallCase) -> None:
    """Status, Reason and Warning tell the caller, metrics and evidence us; the carrier sees nothing."""
    host, keys = case.enforced()
    before = proxy.scrape()
    with Sipp(
        tmp_path,
        "uac_refused",
        local=(host, proxy.site.acme_port),
        remote=(PROXY_HOST, proxy.site.customers_port),
        calls=CALLS,
        keys=keys,
        traces=True,
    ) as uac:
        caller = uac.wait()
        caller.assert_clean(CALLS)
        finals = [m for m in uac.messages() if not m.is_sent and m.status >= 200]
    proxy.received("customers", before.total("messages_received_total", side="customers") + caller.total_sent)
    added = proxy.assert_balanced().since(before)
    assert added.total("messages_sent_total", side="carriers") == 0
    verdict = {"side": "customers", "outcome": "refused", "reason": case.reason, "ip_origin": case.ip_origin}
    assert added.total("verdicts_total", **verdict) == CALLS == added.total("verdicts_total")
    by_cause = added.by("messages_by_cause_total", "cause", side="customers")
    assert (by_cause["refused"], by_cause["ack_of_refusal"]) == (CALLS, CALLS)

    assert len(finals) == CALLS
    for final in finals:
        line = proxy.attempt(final.call_id)
        assert (final.status, line["status"], line["outcome"]) == (case.status, case.status, "refused")
        assert (line["reason"], line["rule"], line["ip_origin"]) == (case.reason, case.rule, case.ip_origin)
        assert line.get("customer") == ("acme" if case.is_known else None)
        assert "would_block" not in line
        assert final.header("Reason") == f'SIP;cause={case.status};text="{case.reason}"'
        warning = final.header("Warning")
        assert warning.startswith("399 edge-test ")
        assert case.says in warning
        assert f"ref {line['id']}" in warning


@pytest.mark.parametrize("case", [case for case in BLOCKED if case.is_known], ids=lambda case: case.name)
def test_call_that_breaks_a_rule_passes_and_is_noted_in_monitor_mode(
    proxy: ProxyProcess, tmp_path: Path, case: CallCase
) -> None:
    """The call goes through untouched by the verdict; metrics and evidence say what enforce mode would have done."""
    host, keys = case.monitored()
    before = proxy.scrape()
    with (
        Sipp(tmp_path, "uas", local=(CARRIER_HOST, proxy.site.carrier_port), calls=CALLS) as uas,
        Sipp(
            tmp_path,
            "uac",
            local=(host, proxy.site.globex_port),
            remote=(PROXY_HOST, proxy.site.customers_port),
            calls=CALLS,
            keys=keys,
            traces=True,
        ) as uac,
    ):
        uac.wait().assert_clean(CALLS)
        uas.wait().assert_clean(CALLS)
        call_ids = {message.call_id for message in uac.messages()}
    added = proxy.assert_balanced().since(before)
    verdict = {"side": "customers", "outcome": "monitored", "reason": case.reason, "ip_origin": case.ip_origin}
    assert added.total("verdicts_total", **verdict) == CALLS == added.total("verdicts_total")
    assert added.total("customer_verdicts_total", customer="globex", outcome="monitored") == CALLS
    for call_id in call_ids:
        line = proxy.attempt(call_id)
        assert (line["outcome"], line["status"], line["would_block"]) == ("monitored", 0, True)
        assert (line["reason"], line["rule"], line["mode"]) == (case.reason, case.rule, "monitor")


def test_unknown_source_stays_refused_beside_customers_in_monitor_mode(proxy: ProxyProcess, tmp_path: Path) -> None:
    """A customer's mode is the customer's alone: a source that is nobody's has none, whatever number it shows."""
    (case,) = [case for case in BLOCKED if not case.is_known]
    host, _ = case.enforced()
    _, keys = case.monitored()
    with Sipp(
        tmp_path,
        "uac_refused",
        local=(host, proxy.site.globex_port),
        remote=(PROXY_HOST, proxy.site.customers_port),
        keys=keys,
        traces=True,
    ) as uac:
        uac.wait().assert_clean(1)
        line = proxy.attempt(uac.messages()[0].call_id)
    assert (line["outcome"], line["reason"], line["mode"]) == ("refused", "unknown_source", "enforce")


def test_unknown_source_passes_and_is_noted_when_the_whole_node_monitors(tmp_path: Path) -> None:
    """`policy.mode: monitor` refuses nobody: the unknown source's call goes through, counted as a would-be block."""
    (case,) = [case for case in BLOCKED if not case.is_known]
    host, keys = case.enforced()
    site = Site()
    config = site.config(tmp_path)
    config["policy"] = {"mode": "monitor"}
    with (
        ProxyProcess(tmp_path, site, config) as node,
        Sipp(tmp_path, "uas", local=(CARRIER_HOST, site.carrier_port), calls=CALLS) as uas,
        Sipp(
            tmp_path,
            "uac",
            local=(host, site.globex_port),
            remote=(PROXY_HOST, site.customers_port),
            calls=CALLS,
            keys=keys,
            traces=True,
        ) as uac,
    ):
        uac.wait().assert_clean(CALLS)
        uas.wait().assert_clean(CALLS)
        seen = node.assert_balanced()
        verdict = {"side": "customers", "outcome": "monitored", "reason": "unknown_source"}
        assert seen.total("verdicts_total", **verdict) == CALLS == seen.total("verdicts_total")
        line = node.attempt(uac.messages()[0].call_id)
    assert (line["outcome"], line["would_block"], line["mode"]) == ("monitored", True, "monitor")
