"""Configuration errors as an operator meets them: exit 2, one line each on stderr; a reload that changes nothing."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.kit.proxy_process import ACME_HOST, CARRIER_HOST, PROXY_HOST, Config, ProxyProcess, Site, run_command
from tests.kit.sipp import Sipp

FREED = "+12025550123"


def wrong_type(config: Config) -> None:
    config["evidence"] = {"retention_days": "a year"}


def unknown_key(config: Config) -> None:
    config["customers"][0]["sorces"] = ["127.0.0.2/32"]


def overlapping_sources(config: Config) -> None:
    config["customers"][1]["sources"] = ["::ffff:127.0.0.2"]


def missing_table(config: Config) -> None:
    config["asn"] = {"table": "no-such-table.tsv"}


def broken_gzip(config: Config) -> None:
    config["asn"] = {"table": "broken.tsv.gz"}


def missing_certificate(config: Config) -> None:
    listener = config["listeners"]["customers"]
    listener["tls"] = {"bind": f"{PROXY_HOST}:0", "certificate": "edge.pem", "key": "no-such.key"}


def key_of_no_certificate(config: Config) -> None:
    listener = config["listeners"]["customers"]
    listener["tls"] = {"bind": f"{PROXY_HOST}:0", "certificate": "broken.tsv.gz", "key": "broken.tsv.gz"}
    config["workers"] = 2


def missing_section(config: Config) -> None:
    del config["listeners"]["carriers"]


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("spoil", "key", "found", "advice"),
    [
        (wrong_type, "evidence.retention_days", "retention_days: a year", "write"),
        (unknown_key, "customers[0].sorces", "sorces:", 'did you mean "sources"?'),
        (overlapping_sources, "customers[1].sources[0]", "::ffff:127.0.0.2", "acme"),
        (missing_table, "asn.table", "table: no-such-table.tsv", "name a table of ranges"),
        (broken_gzip, "asn.table", "table: broken.tsv.gz", "name a table of ranges"),
        (missing_certificate, "listeners.customers.tls", "tls:", "name a PEM file"),
        (key_of_no_certificate, "listeners.customers.tls", "tls:", "name a PEM chain"),
        (missing_section, "listeners.carriers", "listeners:", "write `carriers: "),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_configuration_error_is_one_line_with_its_place_and_what_would_be_right(
    tmp_path: Path, command: str, spoil: Callable[[Config], None], key: str, found: str, advice: str
) -> None:
    """Exit 2, nothing on stdout, no traceback: `file:line: key: what is wrong; what would be right`."""
    (tmp_path / "broken.tsv.gz").write_bytes(b"no gzip at all")
    config = Site().config(tmp_path)
    spoil(config)
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    line = 1 + next(i for i, text in enumerate(path.read_text(encoding="utf-8").splitlines()) if found in text)
    done = run_command(command, "--config", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    assert error.startswith(f"{path}:{line}: {key}: "), error
    assert advice in error


def test_all_configuration_errors_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to start it three times to learn of three errors."""
    config = Site().config(tmp_path)
    for spoil in (wrong_type, unknown_key, missing_section):
        spoil(config)
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    done = run_command("run", "--config", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    errors = done.stderr.splitlines()
    assert len(errors) == 3
    assert all(re.match(rf"{re.escape(str(path))}:\d+: [a-z_.\[\]0-9]+: .+; .+", error) for error in errors)


@pytest.mark.parametrize("key", ["listeners.customers.bind", "listeners.carriers.bind", "telemetry.listen"])
def test_port_in_use_is_one_line_with_its_place(tmp_path: Path, key: str) -> None:
    """The line of the address that could not be had, and nothing left behind."""
    site = Site()
    port = {
        "listeners.customers.bind": site.customers_port,
        "listeners.carriers.bind": site.carriers_port,
        "telemetry.listen": site.metrics_port,
    }[key]
    kind = socket.SOCK_STREAM if key == "telemetry.listen" else socket.SOCK_DGRAM
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(site.config(tmp_path), sort_keys=False), encoding="utf-8")
    line = 1 + next(i for i, text in enumerate(path.read_text(encoding="utf-8").splitlines()) if f":{port}" in text)
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((PROXY_HOST, port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        done = run_command("run", "--config", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    expected = f"{path}:{line}: {key}: cannot bind {PROXY_HOST}:{port}: address already in use; "
    assert error.lower().startswith(expected.lower()), error


@pytest.mark.parametrize("workers", [1, 2])
def test_address_of_another_machine_is_told_once_and_what_would_be_right(tmp_path: Path, workers: int) -> None:
    """UDP and TCP fail of one and the same line; nothing that is stopped would help."""
    config = Site().config(tmp_path)
    config["workers"] = workers
    config["listeners"]["carriers"] = {"bind": "192.0.2.1:5070", "transports": ["udp", "tcp"]}
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    done = run_command("run", "--config", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    assert "listeners.carriers.bind: cannot bind 192.0.2.1:5070: " in error
    assert error.endswith("; write an address of this machine")


@pytest.mark.parametrize("workers", [1, 2])
def test_data_directory_that_is_none_is_one_line_with_its_place(tmp_path: Path, workers: int) -> None:
    """The key that names it, not only the file that could not be made in it."""
    (tmp_path / "a-file").write_text("", encoding="ascii")
    config = Site().config(tmp_path)
    config |= {"workers": workers, "data_dir": str(tmp_path / "a-file" / "data")}
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    done = run_command("run", "--config", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    assert ": data_dir: cannot keep evidence in " in error
    assert error.endswith("Not a directory; name a directory that this process may write")


def test_both_listeners_in_use_are_both_told(tmp_path: Path) -> None:
    """One start tells all that is in the way."""
    site = Site()
    path = tmp_path / "edge-proxy.yaml"
    path.write_text(yaml.safe_dump(site.config(tmp_path), sort_keys=False), encoding="utf-8")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        first.bind((PROXY_HOST, site.customers_port))
        second.bind((PROXY_HOST, site.carriers_port))
        done = run_command("run", "--config", path, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2), done.stderr


@pytest.mark.sipp
def test_reload_takes_a_good_file_at_once_and_a_broken_one_never(tmp_path: Path) -> None:
    """SIGHUP: the last good data serve until better data are there; the verdict on the next call follows them."""
    with ProxyProcess(tmp_path) as proxy:
        local, remote = (ACME_HOST, proxy.site.acme_port), (PROXY_HOST, proxy.site.customers_port)
        carrier = (CARRIER_HOST, proxy.site.carrier_port)

        def assert_call_passes() -> None:
            with Sipp(tmp_path, "uas", local=carrier) as uas, Sipp(tmp_path, "uac", local=local, remote=remote) as uac:
                uac.wait().assert_clean(1)
                uas.wait().assert_clean(1)

        assert_call_passes()
        (version,) = proxy.scrape().by("snapshot_info", "version")
        good = proxy.config_path.read_text(encoding="utf-8")

        for broken in (good.replace("sources:", "sorces:"), "customers: [", "", good.replace("edge-test", "edge-2")):
            before = proxy.scrape()
            proxy.config_path.write_text(broken, encoding="utf-8")
            proxy.reload_file()
            after = proxy.scrape()
            assert after.since(before).by("reloads_total", "result") == {"failed": 1}
            assert after.by("snapshot_info", "version") == {version: 1}
            told = [line for line in proxy.log_lines() if line["event"] == "reload refused"]
            assert str(proxy.config_path) in told[-1]["error"]
        assert_call_passes()

        proxy.config["customers"][0]["numbers"] = ["+12025550100-+12025550122", "+12025550124-+12025550199"]
        proxy.reload()
        samples = proxy.scrape()
        assert samples.total("reloads_total", result="ok") == 1
        assert version not in samples.by("snapshot_info", "version")
        keys = {"from": f"<sip:{FREED}@acme.example>"}
        with Sipp(tmp_path, "uac_refused", local=local, remote=remote, keys=keys, traces=True) as uac:
            uac.wait().assert_clean(1)
            line = proxy.attempt(uac.messages()[0].call_id)
        assert (line["status"], line["reason"]) == (403, "from_not_owned")
        assert {line["snapshot"]: 1} == proxy.scrape().by("snapshot_info", "version")
        proxy.assert_balanced()


@pytest.mark.sipp
def test_no_call_is_lost_while_the_configuration_is_reloaded(tmp_path: Path) -> None:
    """Good and broken files come and go under 200 calls a second; every call goes its way."""
    calls = 500
    with ProxyProcess(tmp_path) as proxy:
        with (
            Sipp(tmp_path, "uas", local=(CARRIER_HOST, proxy.site.carrier_port), calls=calls) as uas,
            Sipp(
                tmp_path,
                "uac",
                local=(ACME_HOST, proxy.site.acme_port),
                remote=(PROXY_HOST, proxy.site.customers_port),
                calls=calls,
                rate=200,
                hold_ms=300,
            ) as uac,
        ):
            reloads = 0
            while uac.is_running:
                proxy.config["policy"] = {"unknown_ip_origin": "sometimes" if reloads % 3 == 2 else "allow"}
                proxy.config["customers"][2]["numbers"] = [f"+4420794600{10 + reloads % 90}"]
                proxy.reload()
                reloads += 1
                time.sleep(0.02)
            uac.wait().assert_clean(calls)
            uas.wait().assert_clean(calls)
        samples = proxy.assert_balanced()
        assert samples.total("reloads_total") == reloads >= 3  # a broken one too, on a busy machine as well
        assert samples.total("reloads_total", result="failed") == reloads // 3
        assert samples.total("verdicts_total", outcome="allowed") == calls == samples.total("verdicts_total")
