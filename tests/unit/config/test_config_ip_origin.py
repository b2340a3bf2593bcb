"""Weights, thresholds, fingerprints and equipment as the operator writes them (config/ip_origin.py, compile.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, parse_settings
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.weights import DEFAULT_WEIGHTS
from tests.kit.playbook import CONFIG


def compiled(policy: str = "", customer: str = "") -> Snapshot:
    text = CONFIG.replace("TARGETS", '"sip:203.0.113.10:5090"')
    if customer:
        text = text.replace("    mode: monitor\n", f"    mode: monitor\n    {customer}\n")
    return compile_snapshot(parse_settings(f"{text}policy: {{{policy}}}\n".encode(), "test.yaml"))


def error_of(policy: str = "", customer: str = "") -> str:
    with pytest.raises(ConfigErrors) as caught:
        compiled(policy, customer)
    (error,) = caught.value.errors
    return str(error)


def test_weights_that_are_written_take_the_place_of_the_defaults() -> None:
    """All others stay."""
    policy = compiled("ip_origin: {pstn_at: 60, ip_at: -70, weights: {q850_reason: 45, cpc: 0}}").rulebook.ip_origin
    assert (policy.pstn_at, policy.ip_at) == (60, -70)
    assert policy.weights == {**DEFAULT_WEIGHTS, "q850_reason": 45, "cpc": 0}
    assert len(policy.fingerprints) > 10


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("ip_origin: {weights: {q850_reson: 5}}", 'q850_reson" is no signal; did you mean "q850_reason"?'),
        ("ip_origin: {weights: {zzz: 5}}", '"zzz" is no signal; the signals are pani_gstn, '),
        ("ip_origin: {weights: {cpc: 101}}", '"101" is no weight for cpc; write a whole number, -100 to 100'),
        ("ip_origin: {weights: {cpc: yes}}", "is no weight for cpc"),
        ("ip_origin: {weights: [cpc]}", "weights are no mapping; write `signal: weight` pairs"),
        ("ip_origin: {pstn_at: 0}", "0 is out of range; write 1 to 1000"),
        ("ip_origin: {ip_at: 50}", "50 is out of range; write -1000 to -1"),
        ("ip_origin: {fingerprints: /nowhere.tsv}", "cannot read /nowhere.tsv: No such file or directory; name a file"),
    ],
)
def test_setting_that_is_wrong_is_named(policy: str, text: str) -> None:
    """File, line and key, and what would be right."""
    said = error_of(policy)
    assert said.startswith("test.yaml:")
    assert "policy.ip_origin." in said
    assert text in said


def test_fingerprints_of_the_operator_go_before_ours_and_are_part_of_the_version(tmp_path: Path) -> None:
    """What was decided by is named by the snapshot's version."""
    path = tmp_path / "prints.tsv"
    path.write_text("agent\tCisco-SIPGateway/*\tip\tour own CUBE\n")
    snapshot = compiled(f"ip_origin: {{fingerprints: {path}}}")
    (found,) = snapshot.rulebook.ip_origin.fingerprints.find("Cisco-SIPGateway/IOS-17.6.5", "", "")
    assert found.name == "our own CUBE"
    path.write_text("agent\tCisco-SIPGateway/*\tip\tour CUBE\n")
    assert compiled(f"ip_origin: {{fingerprints: {path}}}").version != snapshot.version


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"# fine\nagent\tx\n", ":2: 2 columns instead of 4"), (b"\xff\n", "cannot read"), (b"agent\tx\n\n", ":1: 2 c")],
)
def test_fingerprints_that_are_wrong_are_named_by_file_and_line(tmp_path: Path, data: bytes, text: str) -> None:
    """A bad line refuses the whole configuration."""
    path = tmp_path / "prints.tsv"
    path.write_bytes(data)
    said = error_of(f"ip_origin: {{fingerprints: {path}}}")
    assert text in said
    assert str(path) in said


def test_customer_has_its_own_terms() -> None:
    """The others have the node's."""
    terms = "{unknown: 1}"
    line = "unknown_ip_origin: allow\n    trust_access_network: true\n    equipment: {approved: ['Acme *']}"
    snapshot = compiled("unknown_ip_origin: reject", line)
    first, second = snapshot.customers
    assert (snapshot.rulebook.refuses_unknown_for(first), snapshot.rulebook.refuses_unknown_for(second)) == (
        True,
        False,
    )
    assert second.ip_origin.trusts_access_network
    assert second.ip_origin.approves("acme SBC")
    assert "unknown key" in error_of(customer=f"equipment: {terms}")
    assert "a pattern needs something other than *" in error_of(customer="equipment: {approved: ['*']}")
