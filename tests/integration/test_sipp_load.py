"""3,000 calls at 200 a second between SIPp and SIPp: everybody counted the same, with and without packet loss."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.kit.lossy_relay import LossyRelay
from tests.kit.ports import free_port
from tests.kit.proxy_process import (
    ACME_HOST,
    CARRIER_HOST,
    PROXY_HOST,
    ProxyProcess,
    Site,
    run_command,
)
from tests.kit.sipp import Sipp, SippMessage

pytestmark = pytest.mark.sipp

CALLS = 3000
CALLS_PER_S = 200
LOSS = 0.05
UDP_IP_BYTES = 28
ACME_ASN, CARRIER_ASN = "64496", "64510"


def ip_bytes(messages: list[SippMessage], *, is_sent: bool) -> int:
    return sum(len(message.data) + UDP_IP_BYTES for message in messages if message.is_sent is is_sent)


def assert_evidence_is_whole(proxy: ProxyProcess) -> None:
    """One attempt and one end for each call, in a chain that verifies, by the library and by the command."""
    samples = proxy.flushed()
    lines = proxy.evidence()
    attempts = Counter(line["call_id"] for line in lines if line["kind"] == "attempt")
    assert (len(attempts), set(attempts.values())) == (CALLS, {1})
    ends = {line["id"]: line for line in lines if line["kind"] == "end"}
    assert {line["id"] for line in lines if line["kind"] == "attempt"} == set(ends)
    assert {line["cause"] for line in ends.values()} == {"bye"}
    assert len(lines) == 2 * CALLS == samples.total("evidence_written_total")
    assert samples.total("evidence_lost_total") == 0
    verified = run_command("evidence", "verify", proxy.data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"({CALLS} attempts, {CALLS} ends)" in verified.stdout


def test_three_thousand_calls_are_counted_alike_by_sipp_metrics_and_evidence(tmp_path: Path) -> None:
    """Nothing fails, nothing is unexpected, and SIPp's counts, the metrics, the ledger and the journal agree."""
    with ProxyProcess(tmp_path) as proxy:
        site = proxy.site
        carrier, acme = (CARRIER_HOST, site.carrier_port), (ACME_HOST, site.acme_port)
        with (
            Sipp(tmp_path, "uas", local=carrier, calls=CALLS, traces=True) as uas,
            Sipp(
                tmp_path,
                "uac",
                local=acme,
                remote=(PROXY_HOST, site.customers_port),
                calls=CALLS,
                rate=CALLS_PER_S,
                hold_ms=500,
                traces=True,
            ) as uac,
        ):
            caller, callee = uac.wait(), uas.wait()
            caller.assert_clean(CALLS)
            callee.assert_clean(CALLS)
            proxy.received("carriers", callee.total_sent)
            samples = proxy.assert_balanced()

            for method in ("INVITE", "ACK", "BYE"):
                assert samples.total("requests_total", side="customers", method=method) == caller.sent(method)
            assert samples.by("responses_total", "class", side="carriers") == {
                "1xx": callee.sent("180"),
                "2xx": callee.sent("200"),
            }
            for side, peer in (("customers", caller), ("carriers", callee)):
                assert samples.total("messages_received_total", side=side) == peer.total_sent
                assert samples.total("messages_sent_total", side=side) == peer.total_received

            assert samples.total("verdicts_total") == CALLS
            verdict = {"side": "customers", "outcome": "allowed", "reason": "identity_owned", "ip_origin": "unknown"}
            assert samples.total("verdicts_total", **verdict) == CALLS
            assert samples.by("customer_verdicts_total", "customer") == {"acme": CALLS}
            assert samples.by("asn_calls_total", "asn") == {ACME_ASN: CALLS}
            assert samples.by("calls_ended_total", "cause") == {"bye": CALLS}
            assert samples.total("calls_active") == 0
            assert samples.total("delay_seconds_count") == samples.total("messages_received_total")
            assert samples.total("send_errors_total") == samples.total("send_overflows_total") == 0

            for asn, sipp in ((ACME_ASN, uac), (CARRIER_ASN, uas)):
                messages = sipp.messages()
                assert samples.total("asn_bytes_total", asn=asn, direction="in") == ip_bytes(messages, is_sent=True)
                assert samples.total("asn_bytes_total", asn=asn, direction="out") == ip_bytes(messages, is_sent=False)
        assert_evidence_is_whole(proxy)
        assert proxy.stop() == 0
        assert sum(line["event"] == "call ended" for line in proxy.log_lines()) == CALLS


def test_every_call_completes_once_with_five_percent_of_packets_lost_on_both_sides(tmp_path: Path) -> None:
    """Losing a message in any place delays a call and never fails it, and no attempt is charged twice."""
    site = Site()
    config = site.config(tmp_path)
    config["sip"] |= {"t1_ms": 100, "t2_ms": 800, "t4_ms": 1000}  # the same retransmissions, in less time
    # SIPp's too: once a 100 has come it repeats its BYE every T2, which must fit into 64 times T1 more than once.
    timers = ("-T2", "800")
    carrier, acme = (CARRIER_HOST, free_port()), (ACME_HOST, free_port())
    acme_relay, carrier_relay = (ACME_HOST, site.acme_port), (CARRIER_HOST, site.carrier_port)
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        LossyRelay(acme_relay, acme, (PROXY_HOST, site.customers_port), LOSS, seed=1) as near,
        LossyRelay(carrier_relay, carrier, (PROXY_HOST, site.carriers_port), LOSS, seed=2) as far,
        # After the BYE it stays for longer than anybody repeats one: 64 times T1.
        Sipp(tmp_path, "uas", local=carrier, contact=carrier_relay, calls=CALLS, hold_ms=6500, extra=timers) as uas,
        Sipp(
            tmp_path,
            "uac",
            local=acme,
            remote=acme_relay,
            contact=acme_relay,
            calls=CALLS,
            rate=CALLS_PER_S,
            hold_ms=1500,
            extra=timers,
        ) as uac,
    ):
        caller, callee = uac.wait(), uas.wait()
        assert (caller.exit_code, caller.successful, caller.failed) == (0, CALLS, 0), uac.errors()[:4000]
        assert (callee.exit_code, callee.successful, callee.failed) == (0, CALLS, 0), uas.errors()[:4000]
        # Losses happened, in each direction of each side.
        for relay in (near, far):
            for direction, lost in relay.lost.items():
                share = lost / (lost + relay.passed[direction])
                assert 0.035 < share < 0.065, (direction, lost, relay.passed)

        samples = proxy.assert_balanced()
        for side, relay in (("customers", near), ("carriers", far)):
            assert samples.total("messages_received_total", side=side) == relay.passed["to_proxy"]
            sent = samples.total("messages_sent_total", side=side)
            assert sent == relay.passed["to_endpoint"] + relay.lost["to_endpoint"]
        assert samples.total("verdicts_total") == CALLS
        assert samples.total("calls_active") == 0
        assert samples.total("messages_by_cause_total", side="customers", cause="retransmission") > 0
        assert samples.total("retransmissions_sent_total") > 0
        assert_evidence_is_whole(proxy)
