"""A large inventory is swapped under load: no call is lost, and the verdict changes exactly where the data does."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, run_command
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

NEW_NUMBER = "+13125550100"
NUMBERS = 100_000
CALLS = 900
RATE = 60


def write_numbers(path: Path) -> None:
    """Single numbers that do not join, and the one that acme gets."""
    with path.open("w", encoding="ascii") as file:
        file.write("number,customer\n")
        for place in range(NUMBERS):
            file.write(f"+{14_800_000_000 + 2 * place},{('acme', 'globex', 'initech')[place % 3]}\n")
        file.write(f"{NEW_NUMBER},acme\n")


@pytest.mark.timeout(240)
def test_verdict_changes_exactly_at_the_swap_and_no_call_is_lost(tmp_path: Path) -> None:
    """Two callers of acme: one always owned, one only from the import on; then a broken file changes nothing."""
    csv = tmp_path / "owned.csv"
    write_numbers(csv)
    with ProxyProcess(tmp_path) as proxy:
        remote = (PROXY_HOST, proxy.site.customers_port)
        with (
            Sipp(tmp_path, "uas", local=(CARRIER_HOST, proxy.site.carrier_port), calls=10 * CALLS) as uas,
            Sipp(
                tmp_path, "uac", local=(ACME_HOST, proxy.site.acme_port), remote=remote,
                calls=CALLS, rate=RATE, hold_ms=200,
            ) as owner,
            Sipp(
                tmp_path, "uac_either", local=(ACME_HOST, proxy.site.globex_port), remote=remote,
                calls=CALLS, rate=RATE, hold_ms=200, keys={"from": f"<sip:{NEW_NUMBER}@acme.example>"},
            ) as newcomer,
        ):  # fmt: skip
            done = run_command("numbers", "import", csv, "--config", proxy.config_path)
            assert done.returncode == 0, done.stderr
            proxy.reload_file(timeout_s=60)
            after_swap = proxy.scrape().by("snapshot_info", "version")
            good = proxy.config_path.read_text()
            proxy.config_path.write_text(good.replace("country: GB", "country: Albion"))
            proxy.reload_file(timeout_s=60)
            assert proxy.scrape().by("snapshot_info", "version") == after_swap
            owner.wait().assert_clean(CALLS)
            newcomer.wait().assert_clean(CALLS)
            uas.quit_now()
        refused = [line for line in proxy.log_lines() if line["event"] == "reload refused"]
        assert len(refused) == 1
        assert "customers[2].country" in refused[0]["error"]
        proxy.assert_balanced()
        proxy.flushed()
        attempts = [line for line in proxy.evidence() if line["kind"] == "attempt"]
    assert len(attempts) == 2 * CALLS
    assert all(line["outcome"] == "allowed" for line in attempts if line.get("from_number") != NEW_NUMBER)
    versions = [version for version, _ in groupby(line["snapshot"] for line in attempts)]
    assert len(versions) == 2  # the journal is in the order of the decisions: one swap, never back
    assert set(after_swap) == {versions[1]}
    verdicts = {(line["snapshot"], line["reason"]) for line in attempts if line.get("from_number") == NEW_NUMBER}
    assert verdicts == {(versions[0], "from_not_owned"), (versions[1], "identity_owned")}
