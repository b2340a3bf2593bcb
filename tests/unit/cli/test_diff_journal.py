"""`edge-proxy diff --journal` as an operator runs it: what changes of what was recorded, and what cannot be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from edge_proxy.cli.diff_journal import diff_journal
from edge_proxy.evidence.record import AttemptRecord, encode
from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, Site, run_command
from tests.unit.evidence.test_evidence_record import ATTEMPT, END

OWN, OTHER, FAR, PREMIUM = "+12025550123", "+14155550188", "+14155550142", "+19005550100"
WORD = "a" * 64


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    settings = Site().config(tmp_path)
    settings["customers"].append(
        {
            "id": "roamer",
            "credentials": [{"username": "r", "ha1_sha256": WORD}],
            "country": "US",
            "numbers": ["+12125550100"],
        }
    )
    return settings


def written(tmp_path: Path, name: str, settings: dict[str, Any]) -> Path:
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def attempt(**changes: object) -> AttemptRecord:
    """A call of acme's as it is recorded today."""
    usual = {
        "source": f"{ACME_HOST}:5060",
        "from_uri": f"sip:{OWN}@acme.example",
        "asserted": [],
        "request_uri": f"sip:{FAR}@edge.example",
        "outcome": "allowed",
        "reason": "identity_owned",
        "proof": "address-udp",
        "transport": "udp",
    }
    return msgspec.structs.replace(ATTEMPT, **{**usual, **changes})


def journal(tmp_path: Path, *records: AttemptRecord) -> None:
    directory = tmp_path / "data" / "evidence" / "worker-0"
    directory.mkdir(parents=True)
    lines = [encode(record) for record in records] + [encode(END)]
    chained = (b'{"seq":%d,"prev":"%b",%b\n' % (n, b"0" * 64, line[1:]) for n, line in enumerate(lines, 1))
    (directory / f"{1:012d}.jsonl").write_bytes(b"".join(chained))


Compare = Callable[..., tuple[bool, dict[str, Any]]]


@pytest.fixture
def compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Compare:
    """What the command says as JSON, and whether anything changes."""

    def compare(old: dict[str, Any], new: dict[str, Any], since: date | None = None) -> tuple[bool, dict[str, Any]]:
        differs = diff_journal(written(tmp_path, "old", old), written(tmp_path, "new", new), since, as_json=True)
        said = capsys.readouterr()
        assert said.err == ""
        return differs, json.loads(said.out)

    return compare


def test_what_changes_is_counted_by_customer(tmp_path: Path, config: dict[str, Any], compared: Compare) -> None:
    """With an example of each; in words, the same."""
    journal(
        tmp_path,
        *(attempt(id=f"{n:016x}", request_uri=f"sip:{PREMIUM}@edge.example") for n in range(1, 4)),
        attempt(),
        attempt(side="carriers", source=f"{CARRIER_HOST}:5060", from_uri=f"sip:{OTHER}@c.example", customer="acme",
                trunk="carrier-a", request_uri=f"sip:{OWN}@edge.example", reason="carrier_call"),
        attempt(from_uri=f"sip:{OTHER}@x", outcome="refused", status=403, reason="from_not_owned"),
    )  # fmt: skip
    new = {**config, "lists": [{"id": "premium", "kind": "deny", "applies_to": "called", "numbers": ["+1900*"]}]}
    code, said = compared(config, new)
    (turn,) = said["changed"]
    assert (code, said["judged"], said["left_out"]) == (True, 6, {})
    assert (turn["customer"], turn["attempts"], turn["evidence_id"]) == ("acme", 3, f"{1:016x}")
    assert (turn["before"], turn["after"]) == ("allowed (identity_owned)", "refused 403 (number_denied)")
    paths = tmp_path / "old.yaml", tmp_path / "new.yaml"
    done = run_command("diff", "--config", paths[0], "--with", paths[1], "--journal")
    assert (done.returncode, done.stderr) == (1, "")
    first, last = done.stdout.splitlines()
    assert first.startswith("3 x acme: allowed (identity_owned) -> refused 403 (number_denied): such as 0000")
    assert last.startswith("3 of 6 verdicts change from snapshot ")
    assert compared(config, config)[0] is False


def test_claims_of_every_header_are_judged_again(tmp_path: Path, config: dict[str, Any], compared: Compare) -> None:
    """What a record says of them is enough."""
    refused = {"outcome": "refused", "status": 403}
    journal(
        tmp_path,
        attempt(asserted=[f"tel:{OTHER}"], reason="pai_not_owned", **refused),
        attempt(claimed=[f"P-Preferred-Identity tel:{OTHER}"], reason="ppi_not_owned", **refused),
        attempt(claimed=[f"Remote-Party-ID sip:{OTHER}@x"], reason="rpid_not_owned", **refused),
        attempt(claimed=[f"Identity {OTHER}"], reason="passport_not_owned", **refused),
        attempt(claimed=[f"Identity sip:{OTHER}@x"], reason="passport_not_owned", **refused),
    )
    new = json.loads(json.dumps(config))
    new["customers"][0]["numbers"].append(OTHER)
    code, said = compared(config, new)
    assert (code, said["judged"], said["left_out"]) == (True, 5, {})
    assert {turn["after"] for turn in said["changed"]} == {"allowed (identity_owned)"}


def test_who_was_known_by_a_password_is_known_by_its_record(
    tmp_path: Path, config: dict[str, Any], compared: Compare
) -> None:
    """From an address that is nobody's; once the customer is gone it is an unknown source."""
    call = attempt(
        source="192.0.2.77:5060", customer="roamer", proof="digest", identity="r", from_uri="sip:+12125550100@x"
    )
    journal(tmp_path, call)
    assert compared(config, config)[1]["judged"] == 1
    new = {**config, "customers": config["customers"][:-1]}
    code, said = compared(config, new)
    assert (code, said["changed"][0]["after"]) == (True, "refused 403 (unknown_source)")


def test_attempt_whose_record_is_too_little_is_left_out_and_counted(
    tmp_path: Path, config: dict[str, Any], compared: Compare
) -> None:
    """Signals of the switched network, limits, forwarding, texts that were cut or cannot stand in a header."""
    refused = {"outcome": "refused", "status": 403}
    journal(
        tmp_path,
        attempt(reason="pstn_origin", **refused),
        attempt(reason="calls_per_second", outcome="refused", status=503),
        attempt(from_uri=f"sip:{OTHER}@x", reason="forwarded_by_owner"),
        attempt(from_uri=f"sip:{OWN}@x\r\nX: y"),
        attempt(user_agent="x" * 600),
        attempt(source="nowhere"),
    )
    code, said = compared(config, config)
    assert (code, said["judged"], said["changed"]) == (False, 0, [])
    assert said["left_out"] == {
        "pstn_origin": 1, "calls_per_second": 1, "forwarded_by_owner": 1, "identity_owned": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "put", [b"", b'"\xff"', b'"",' + b'"x":' + b"[" * 100_000], ids=["no JSON", "no UTF-8", "deep"]
)
def test_line_that_was_altered_is_counted_and_passed_over(tmp_path: Path, config: dict[str, Any], put: bytes) -> None:
    journal(tmp_path, attempt(), attempt(user_agent="altered"))
    (segment,) = (tmp_path / "data" / "evidence" / "worker-0").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b'"altered"', put))
    path = written(tmp_path, "old", config)
    done = run_command("diff", "--config", path, "--with", path, "--journal", "--json")
    assert (done.returncode, json.loads(done.stdout)["judged"]) == (0, 1)
    assert done.stderr == "1 lines are no records; `edge-proxy evidence verify` names them\n"


def test_since_leaves_out_what_is_older(tmp_path: Path, config: dict[str, Any], compared: Compare) -> None:
    journal(tmp_path, attempt(at="2026-01-06T23:59:59.999999Z"), attempt(at="2026-01-07T00:00:00.000000Z"))
    assert compared(config, config, date(2026, 1, 7))[1]["judged"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--journal",), "there is no journal in"),
        (("--journal", "--source", "udp:127.0.0.2:5060"), "leave out messages, --source and --side"),
        (("--journal", "--since", "today"), "write year, month and day"),
        (("--since", "2026-01-07"), "write --journal with it"),
        ((), "there is no request to judge"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, config: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    path = written(tmp_path, "old", config)
    done = run_command("diff", "--config", path, "--with", path, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
