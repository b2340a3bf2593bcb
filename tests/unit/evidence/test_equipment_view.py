"""The equipment of customers as their records tell it (evidence/equipment.py), and the command that shows it."""

from __future__ import annotations

import json
import os
import tracemalloc
from datetime import date
from pathlib import Path

import msgspec
import pytest
import yaml

from edge_proxy.errors import EvidenceError
from edge_proxy.evidence.equipment import MAX_NAMES, OTHERS, describe, read_equipment
from edge_proxy.evidence.record import encode
from tests.kit.proxy_process import Site, run_command
from tests.unit.evidence.test_evidence_record import ATTEMPT, END


def line(seq: int, **changes: object) -> bytes:
    """A line of a journal; its chain is nobody's business here."""
    record = msgspec.structs.replace(ATTEMPT, **changes)
    return b'{"seq":%d,"prev":"%b",%b\n' % (seq, b"0" * 64, encode(record)[1:])


def seen(seq: int, agent: str, at: str, customer: str = "acme", **changes: object) -> bytes:
    return line(seq, user_agent=agent, at=f"2026-01-{at}T03:04:05.000006Z", customer=customer, **changes)


def journal(data_dir: Path, worker: int, *segments: list[bytes]) -> None:
    directory = data_dir / "evidence" / f"worker-{worker}"
    directory.mkdir(parents=True, exist_ok=True)
    first = 1
    for lines in segments:
        (directory / f"{first:012d}.jsonl").write_bytes(b"".join(lines))
        first += len(lines)


def rows(data_dir: Path, customer: str = "", since: date | None = None) -> list[tuple[str, str, str, str, int]]:
    view = read_equipment(data_dir, customer, since)
    return [(one.customer, one.name, one.first_at[8:10], one.last_at[8:10], one.calls) for one in view.rows()]


def test_first_and_last_time_are_over_all_workers_and_segments(tmp_path: Path) -> None:
    """Whichever worker had the call, and whenever it was restarted."""
    journal(tmp_path, 0, [seen(1, "Yealink 1.0", "05"), seen(2, "Yealink 1.1", "06")], [seen(3, "Yealink 1.0", "07")])
    journal(tmp_path, 1, [seen(1, "Yealink 1.0", "02"), seen(2, "", "03", "globex"), seen(3, "Yealink 1.0", "09")])
    acme = [("acme", "Yealink 1.0", "02", "09", 4), ("acme", "Yealink 1.1", "06", "06", 1)]
    assert rows(tmp_path) == [*acme, ("globex", "", "03", "03", 1)]
    assert rows(tmp_path, "acme") == acme
    assert rows(tmp_path, since=date(2026, 1, 7)) == [("acme", "Yealink 1.0", "07", "09", 2)]


def test_segment_that_is_too_old_is_not_read(tmp_path: Path) -> None:
    """Nothing was written to it since: a year of records need not be read for the last day's."""
    journal(tmp_path, 0, [b'unreadable "kind":"attempt"\n'], [seen(2, "PBX", "08")])
    os.utime(tmp_path / "evidence" / "worker-0" / f"{1:012d}.jsonl", (1_767_700_000, 1_767_700_000))
    view = read_equipment(tmp_path, since=date(2026, 1, 7))
    assert (view.unread, len(view.rows())) == (0, 1)


def test_only_calls_of_customers_count(tmp_path: Path) -> None:
    """Not calls to them, not what belongs to nobody, no MESSAGE, no end; a line under way is left for later."""
    end = b'{"seq":9,"prev":"%b",%b\n' % (b"0" * 64, encode(END)[1:])
    journal(
        tmp_path,
        0,
        [
            seen(1, "Carrier SBC", "05", side="carriers"),
            line(2, user_agent="scanner", customer=None),
            seen(3, "Phone", "06", method="MESSAGE"),
            end,
            seen(4, "PBX", "07"),
            seen(5, "PBX", "08")[:-1],
        ],
    )
    assert rows(tmp_path) == [("acme", "PBX", "07", "07", 1)]


@pytest.mark.parametrize("put", [b"acme", b'"\xff"', b"[" * 100_000], ids=["no JSON", "no UTF-8", "deep"])
def test_damaged_line_is_counted_and_passed_over(tmp_path: Path, put: bytes) -> None:
    journal(tmp_path, 0, [seen(1, "PBX", "05"), seen(2, "PBX", "06").replace(b'"acme"', put), seen(3, "PBX", "07")])
    view = read_equipment(tmp_path)
    assert (view.unread, [one.calls for one in view.rows()]) == (1, [2])


def test_endless_line_takes_bounded_memory(tmp_path: Path) -> None:
    """A hole in a file is a line of zeros: hundreds of megabytes that take no disk."""
    journal(tmp_path, 0, [seen(1, "PBX", "05")], [seen(2, "PBX", "06")])
    (segment, _) = sorted((tmp_path / "evidence" / "worker-0").iterdir())
    with segment.open("ab") as file:
        file.truncate(100 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b'"kind":"attempt"\n')
    tracemalloc.start()
    try:
        view = read_equipment(tmp_path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (view.unread, [one.calls for one in view.rows()]) == (1, [2])
    assert most_bytes < 10 << 20


def test_names_of_a_customer_are_bounded(tmp_path: Path) -> None:
    """Whoever writes ever new names fills its own share; all its calls count."""
    lines = [seen(n, f"made up {n}", "05") for n in range(1, MAX_NAMES + 11)]
    journal(tmp_path, 0, [*lines, seen(2000, "PBX", "06", "globex")])
    view = read_equipment(tmp_path)
    assert len(view.seen["acme"]) == MAX_NAMES + 1
    assert view.seen["acme"][OTHERS].calls == 10
    assert set(view.seen["globex"]) == {"PBX"}


def test_data_directory_without_a_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="there is no journal in"):
        read_equipment(tmp_path)


@pytest.mark.parametrize(
    ("name", "product", "version"),
    [
        ("Asterisk PBX 20.6.0", "Asterisk PBX", "20.6.0"),
        ("FreeSWITCH-mod_sofia/1.10.11-release~64bit", "FreeSWITCH-mod_sofia", "1.10.11-release~64bit"),
        ("Cisco-SIPGateway/IOS-17.6.5", "Cisco-SIPGateway", "IOS-17.6.5"),
        ("Yealink SIP-T46S 66.85.0.5", "Yealink SIP-T46S", "66.85.0.5"),
        ("Mediant VE SBC/v.7.40A.500.010", "Mediant VE SBC", "7.40A.500.010"),
        ("FPBX-16.0.40.7(18.20.0)", "FPBX-16.0.40.7(18.20.0)", ""),
        ("Linksys/SPA962-6.1.5(a)", "Linksys/SPA962-6.1.5(a)", ""),
        ("friendly-scanner", "friendly-scanner", ""),
        ("", "", ""),
    ],
)
def test_product_and_version_are_told_apart_where_they_can_be(name: str, product: str, version: str) -> None:
    assert describe(name) == (product, version)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    settings = Site().config(tmp_path)
    settings["customers"][0]["equipment"] = {"approved": ["Yealink *"]}
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    data = tmp_path / "data"
    journal(data, 0, [seen(1, "Yealink SIP-T46S 66.85.0.5", "05"), seen(2, "odd\x1b[2J\x07 9.9", "06")])
    journal(data, 1, [seen(1, "PBX", "07", "globex")])
    return path


def test_command_shows_what_is_approved(config: Path) -> None:
    """`-` where the customer has no list; a terminal is told nothing by whoever calls; as JSON the text as it came."""
    done = run_command("equipment", "list", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert (head[:3], head[-1]) == (["customer", "equipment", "version"], "approved")
    assert [line[-1] for line in lines] == ["NO", "yes", "-"]
    assert lines[1][:6] == ["acme", "Yealink", "SIP-T46S", "66.85.0.5", "1", "2026-01-05"]  # nothing cut for a width
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    done = run_command("equipment", "list", "--config", config, "--json", "--customer", "acme")
    odd, phone = json.loads(done.stdout)
    assert (odd["name"], odd["approved"], odd["calls"]) == ("odd\x1b[2J\x07 9.9", False, 1)
    assert (phone["product"], phone["version"], phone["approved"]) == ("Yealink SIP-T46S", "66.85.0.5", True)
    assert phone["first_at"] == phone["last_at"] == "2026-01-05T03:04:05.000006Z"


def test_command_exits_with_one_when_something_is_not_approved(config: Path) -> None:
    done = run_command("equipment", "list", "--config", config, "--unapproved", "--json")
    assert done.returncode == 1
    assert [one["customer"] for one in json.loads(done.stdout)] == ["acme"]
    done = run_command("equipment", "list", "--config", config, "--unapproved", "--since", "2026-01-07")
    assert (done.returncode, done.stdout) == (0, "no equipment was seen that is not approved\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--customer", "nobody"), "--customer 'nobody' is none in the configuration"),
        (("--since", "2026-1-7"), "write year, month and day"),
        (("--since", "yesterday"), "write year, month and day"),
    ],
)
def test_command_says_what_is_wrong(config: Path, options: tuple[str, str], said: str) -> None:
    done = run_command("equipment", "list", "--config", config, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
