"""The operator's assertions against a snapshot (assertions.py): what holds, what does not, and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.assertions import MAX_TOLD, check_assertions, request_of
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, load_assertions, parse_settings
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from tests.kit.messages import CARRIER, CUSTOMER, FAR, FOREIGN, OWNED
from tests.kit.playbook import CONFIG, MONITORED, STRANGER


def run(tmp_path: Path, *entries: str, more: str = "") -> int:
    path = tmp_path / "assertions.yaml"
    path.write_text("assertions:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    text = CONFIG.replace("TARGETS", f'"sip:{CARRIER}"') + f"policy: {{assertions: {path}{more}}}\n"
    settings = parse_settings(text.encode(), "test.yaml")
    return check_assertions(settings, compile_snapshot(settings))


def call(name: str, source: object, from_: str, to: str, expect: str, more: str = "") -> str:
    return f'name: {name}, source: "udp:{source}", from: \'{from_}\', to: "{to}", expect: {expect}{more}'


EMERGENCY = call("emergency", STRANGER, FOREIGN, "911", "allowed", ", reason: emergency")
SPOOFED = call("spoofed", CUSTOMER, FOREIGN, FAR, "refused", ", reason: from_not_owned")


def test_what_is_asserted_is_judged_as_live_calls_are(tmp_path: Path) -> None:
    """Both sides, URIs and header values in place of numbers, identities and other headers, monitor mode."""
    assert (
        run(
            tmp_path,
            EMERGENCY,
            SPOOFED,
            call("urn", STRANGER, FOREIGN, "urn:service:sos", "allowed"),
            call("good", CUSTOMER, OWNED, FAR, "allowed", f', pai: ["{OWNED}", "tel:{OWNED}"]'),
            call("display", CUSTOMER, f'"A" <sip:{OWNED}@x.example>', f"sip:{FAR}@x.example", "allowed"),
            call("pai", CUSTOMER, OWNED, FAR, "refused", f', reason: pai_not_owned, pai: "{FOREIGN}"'),
            call("pstn", CUSTOMER, OWNED, FAR, "refused", ', headers: ["P-Access-Network-Info: GSTN"]'),
            call("watched", MONITORED, FOREIGN, FAR, "monitored", ", reason: from_not_owned"),
            call("inward", CARRIER, FAR, OWNED, "allowed"),
            call("ours", CARRIER, OWNED, OWNED, "refused", ", side: carriers, reason: own_number_from_carrier"),
        )
        == 10
    )


def test_no_file_no_assertions() -> None:
    text = CONFIG.replace("TARGETS", f'"sip:{CARRIER}"')
    settings = parse_settings(text.encode(), "test.yaml")
    assert check_assertions(settings, compile_snapshot(settings)) == 0


def test_every_failing_one_is_told_with_its_line_its_name_and_both_answers(tmp_path: Path) -> None:
    """What holds is not told."""
    with pytest.raises(ConfigErrors) as caught:
        run(
            tmp_path,
            EMERGENCY,
            call("good", CUSTOMER, FOREIGN, FAR, "allowed"),
            SPOOFED.replace("from_not_owned", "pai_not_owned"),
        )
    path = tmp_path / "assertions.yaml"
    told = f"from_not_owned): From {FOREIGN} is not assigned to acme"
    assert [str(error) for error in caught.value.errors] == [
        f'{path}:3: "good": expected allowed, got refused ({told}',
        f'{path}:4: "spoofed": expected refused (pai_not_owned), got refused ({told}',
    ]


def test_monitor_mode_is_not_refusing(tmp_path: Path) -> None:
    """What must be refused must be refused: turning enforcement off by mistake is what a guard is for."""
    with pytest.raises(ConfigErrors, match=r"got monitored \(from_not_owned\)"):
        run(tmp_path, SPOOFED, more=", mode: monitor")
    with pytest.raises(ConfigErrors, match=r"got monitored \(from_not_owned\)"):
        run(tmp_path, SPOOFED, more=", rules: {from_not_owned: monitor}")
    assert run(tmp_path, EMERGENCY, more=", mode: monitor") == 1


def test_call_that_gets_no_verdict_fails(tmp_path: Path) -> None:
    """Such as one that no parser takes."""
    with pytest.raises(ConfigErrors, match="got no verdict"):
        run(tmp_path, call("twice", CUSTOMER, OWNED, FAR, "refused", ', headers: ["From: <sip:a@b>"]'))


def test_what_is_told_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        run(tmp_path, *[call("good", CUSTOMER, FOREIGN, FAR, "allowed")] * (MAX_TOLD + 50))
    assert len(caught.value.errors) == MAX_TOLD


def test_missing_file_is_told_at_the_key_that_names_it(tmp_path: Path) -> None:
    text = CONFIG.replace("TARGETS", f'"sip:{CARRIER}"') + f"policy:\n  assertions: {tmp_path / 'none.yaml'}\n"
    settings = parse_settings(text.encode(), "test.yaml")
    with pytest.raises(ConfigErrors, match=r"test.yaml:\d+: policy.assertions: cannot read .*none.yaml"):
        check_assertions(settings, compile_snapshot(settings))


def test_asserted_call_is_a_whole_request(tmp_path: Path) -> None:
    """The parser takes it with nothing missing."""
    path = tmp_path / "a.yaml"
    path.write_text(f"assertions: [{{{EMERGENCY}}}]\n")
    ((_, one),) = load_assertions(path)
    message = parse_message(request_of(one), Limits())
    assert (message.method, message.uri) == (b"INVITE", b"sip:911@assertion.example")
