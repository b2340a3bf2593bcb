"""A large inventory is swapped under load: no call is lost, and the verdict changes exactly where the data does."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, ProxyProcess, Site, run_command
from tests.kit.sipp import Sipp

pytestmark = pytest.mark.sipp

NEW_NUMBER = "+13125550100"
NUMBERS = 100_000
PREFIXES = 5_000
RATE = 60
MOST_CALLS = 100_000
"""More than are made: the calls go on until all is swapped."""


def write_numbers(path: Path) -> None:
    """Single numbers that do not join, and the one that acme gets."""
    with path.open("w", encoding="ascii") as file:
        file.write("number,customer\n")
        for place in range(NUMBERS):
            file.write(f"+{14_800_000_000 + 2 * place},{('acme', 'globex', 'initech')[place % 3]}\n")
        file.write(f"{NEW_NUMBER},acme\n")


def write_prefixes(path: Path, asn: int) -> None:
    """A table that is large enough to be compiled, and where acme's address is in `asn`."""
    with path.open("w", encoding="ascii") as file:
        file.write(f"127.0.0.0\t127.0.0.255\t{asn}\tUS\tEXAMPLE\n")
        for place in range(PREFIXES):
            file.write(f"20.{place >> 8}.{place & 255}.0\t20.{place >> 8}.{place & 255}.255\t{64600 + place}\tUS\tX\n")


@pytest.mark.timeout(240)
def test_verdict_changes_exactly_at_the_swap_and_no_call_is_lost(tmp_path: Path) -> None:
    """Two callers of acme: one always owned, one only from the first reload on. The second swaps the table of ASNs, the
    third, of a broken file, nothing."""
    csv, prefixes = tmp_path / "owned.csv", tmp_path / "asn.tsv"
    write_numbers(csv)
    write_prefixes(prefixes, 64500)
    site = Site()
    with ProxyProcess(tmp_path, site, site.config(tmp_path) | {"asn": {"table": str(prefixes)}}) as proxy:
        done = run_command("numbers", "import", csv, "--config", proxy.config_path)
        assert done.returncode == 0, done.stderr
        remote = (PROXY_HOST, site.customers_port)
        with (
            Sipp(tmp_path, "uas", local=(CARRIER_HOST, site.carrier_port), calls=MOST_CALLS, timeout_s=200) as uas,
            Sipp(
                tmp_path, "uac", local=(ACME_HOST, site.acme_port), remote=remote,
                calls=MOST_CALLS, rate=RATE, hold_ms=200, timeout_s=200,
            ) as owner,
            Sipp(
                tmp_path, "uac_either", local=(ACME_HOST, site.globex_port), remote=remote,
                calls=MOST_CALLS, rate=RATE, hold_ms=200, timeout_s=200,
                keys={"from": f"<sip:{NEW_NUMBER}@acme.example>"},
            ) as newcomer,
        ):  # fmt: skip
            proxy.wait_for(lambda samples: samples.total("calls_ended_total") > RATE, "some calls")
            proxy.reload_file(timeout_s=60)
            after_numbers = proxy.scrape().by("snapshot_info", "version")
            write_prefixes(prefixes, 64501)
            proxy.reload_file(timeout_s=60)
            after_prefixes = proxy.scrape().by("snapshot_info", "version")
            good = proxy.config_path.read_text()
            proxy.config_path.write_text(good.replace("country: GB", "country: Albion"))
            proxy.reload_file(timeout_s=60)
            assert proxy.scrape().by("snapshot_info", "version") == after_prefixes
            for caller in (owner, newcomer):
                result = caller.finish()
                result.assert_clean(result.created)
                assert result.created > RATE
            uas.quit_now()
        refused = [line for line in proxy.log_lines() if line["event"] == "reload refused"]
        assert len(refused) == 1
        assert "customers[2].country" in refused[0]["error"]
        proxy.assert_balanced()
        proxy.flushed()
        attempts = [line for line in proxy.evidence() if line["kind"] == "attempt"]
    assert len(attempts) == owner.finish().created + newcomer.finish().created
    assert all(line["outcome"] == "allowed" for line in attempts if line.get("from_number") != NEW_NUMBER)
    versions = [version for version, _ in groupby(line["snapshot"] for line in attempts)]
    assert len(versions) == 3  # the journal is in the order of the decisions: two swaps, never back
    assert (set(after_numbers), set(after_prefixes)) == ({versions[1]}, {versions[2]})
    asns = {(line["snapshot"], line["asn"]) for line in attempts}
    assert asns == {(versions[0], 64500), (versions[1], 64500), (versions[2], 64501)}
    verdicts = {(line["snapshot"], line["reason"]) for line in attempts if line.get("from_number") == NEW_NUMBER}
    assert verdicts == {
        (versions[0], "from_not_owned"),
        (versions[1], "identity_owned"),
        (versions[2], "identity_owned"),
    }
