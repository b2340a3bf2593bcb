"""Assertions as an operator meets them: a configuration that breaks one does not start, and no reload takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.kit.proxy_process import ACME_HOST, ProxyProcess, Site, run_command

OWNED, FOREIGN, FAR = "+12025550100", "+14155550123", "+13105550100"


def assertions(path: Path) -> Path:
    calls = [
        {"name": "emergency passes", "from": FOREIGN, "to": "911", "expect": "allowed", "reason": "emergency"},
        {"name": "acme calls", "from": OWNED, "to": FOREIGN, "expect": "allowed"},
        {"name": "spoofed", "from": FAR, "to": FOREIGN, "expect": "refused", "reason": "from_not_owned"},
    ]
    written = [{"source": f"udp:{ACME_HOST}:5060", "side": "customers", **call} for call in calls]
    path.write_text(yaml.safe_dump({"assertions": written}, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["run", "check"])
def test_configuration_that_breaks_an_assertion_does_not_start(tmp_path: Path, command: str) -> None:
    """Exit 2, one line: where the assertion stands, its name, what was expected and what came of it."""
    path = assertions(tmp_path / "assertions.yaml")
    config = Site().config(tmp_path)
    config["policy"] = {"assertions": str(path), "mode": "monitor"}
    config_path = tmp_path / "edge-proxy.yaml"
    config_path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    done = run_command(command, "--config", config_path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (error,) = done.stderr.splitlines()
    line = 1 + path.read_text(encoding="utf-8").splitlines().index("- source: udp:127.0.0.2:5060", 12)
    assert error.startswith(f'{path}:{line}: "spoofed": expected refused (from_not_owned), got monitored ('), error


def test_check_says_how_many_hold(tmp_path: Path) -> None:
    config = Site().config(tmp_path)
    config["policy"] = {"assertions": str(assertions(tmp_path / "assertions.yaml"))}
    config_path = tmp_path / "edge-proxy.yaml"
    config_path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    done = run_command("check", "--config", config_path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "; 3 assertions hold; " in done.stdout


def test_reload_that_breaks_an_assertion_is_refused_and_the_old_data_go_on(tmp_path: Path) -> None:
    """A live proxy: the log says which, the snapshot stays, and a right file is taken afterwards."""
    site = Site()
    config = site.config(tmp_path)
    config["policy"] = {"assertions": str(assertions(tmp_path / "assertions.yaml"))}
    with ProxyProcess(tmp_path, site, config) as proxy:
        (version,) = proxy.scrape().by("snapshot_info", "version")
        good = proxy.config["customers"][0]["numbers"]

        proxy.config["customers"][0]["numbers"] = ["+12025550101-+12025550199"]
        proxy.reload()
        samples = proxy.scrape()
        assert samples.by("reloads_total", "result") == {"failed": 1}
        assert samples.by("snapshot_info", "version") == {version: 1}
        (told,) = [line["error"] for line in proxy.log_lines() if line["event"] == "reload refused"]
        assert '"acme calls": expected allowed, got refused (from_not_owned)' in told

        proxy.config["customers"][0]["numbers"] = [*good, "+12025550300"]
        proxy.reload()
        samples = proxy.scrape()
        assert samples.by("reloads_total", "result") == {"failed": 1, "ok": 1}
        assert version not in samples.by("snapshot_info", "version")
