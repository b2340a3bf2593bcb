"""The image and the systemd unit: what they name exists, and what makes them safe is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import yaml
from typer.testing import CliRunner

from edge_proxy.cli.app import app
from tests.kit.peers import missing

ROOT: Final = Path(__file__).parents[3]
DOCKERFILE: Final = ROOT / "deploy/Dockerfile"
UNIT: Final = ROOT / "deploy/systemd/edge-proxy.service"


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of a Dockerfile, continuation lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def values(name: str) -> list[str]:
    return [rest for word, rest in instructions(DOCKERFILE.read_text()) if word == name]


def unit_settings() -> dict[str, list[str]]:
    """Every key of the unit with all its values; systemd allows a key more than once."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def copied_from_context() -> list[str]:
    return [source for rest in values("COPY") if "--from=" not in rest for source in rest.split()[:-1]]


def test_dockerfile_copies_only_what_exists_and_is_not_ignored() -> None:
    """Each COPY source is in the repository and is let through by the ignore file, which lets nothing else through."""
    lines = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == set(copied_from_context())
    for source in allowed:
        assert (ROOT / source).exists(), source
        assert not any(fnmatch(source, rule) for rule in rules[1:] if not rule.startswith("!"))


def test_dockerfile_uses_one_pinned_base() -> None:
    """Both stages start from the same image, pinned to major.minor.patch and named without a registry."""
    bases = {rest.split()[0] for rest in values("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", bases.pop())


def test_dockerfile_installs_only_what_the_lock_file_hashes() -> None:
    """Dependencies come with hashes; the product itself brings none in."""
    installs = [rest for rest in values("RUN") if "pip install" in rest]
    assert any("--require-hashes" in rest and "-r requirements.lock" in rest for rest in installs)
    assert all("--require-hashes" in rest or "--no-deps" in rest for rest in installs)


def test_dockerfile_serves_as_an_unprivileged_user() -> None:
    """The last USER is a number, not root's: so that an orchestrator can see that it is not root."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", values("USER")[-1])
    words = [word for word, _ in instructions(DOCKERFILE.read_text())]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word == "RUN")


def test_image_and_compose_file_agree_on_the_user() -> None:
    """The demo's memory file system belongs to the user that the image runs as, and lies where the demo writes."""
    proxy = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["proxy"]
    user, group = values("USER")[-1].split(":")
    data_dir = yaml.safe_load((ROOT / "config/edge-proxy.yaml").read_text())["data_dir"]
    assert f"{values('WORKDIR')[-1]}/{data_dir}:uid={user},gid={group},mode=0750" in proxy["tmpfs"]


def test_dockerfile_command_is_one_of_the_product() -> None:
    """Entry point and command are in the form without a shell, so that signals reach the proxy."""
    assert json.loads(values("ENTRYPOINT")[0]) == ["edge-proxy"]
    command = json.loads(values("CMD")[0])
    assert command[:2] == ["run", "--config"]
    assert (ROOT / command[2]).is_file()
    assert CliRunner().invoke(app, ["run", "--help"]).exit_code == 0


def test_unit_reloads_by_checking_first_and_stops_by_term() -> None:
    """A bad file fails the reload before the proxy is told; SIGTERM is what drains."""
    settings = unit_settings()
    start = settings["ExecStart"][0].split()
    check, hang_up = (value.split() for value in settings["ExecReload"])
    assert start[1:3] == ["run", "--config"]
    assert check == [start[0], "check", "--config", start[3]]
    assert hang_up == ["/bin/kill", "-HUP", "$MAINPID"]
    assert settings["KillSignal"] == ["SIGTERM"]
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == ["2"]


def test_unit_is_hardened() -> None:
    """No privilege, no capability, nothing writable but its state."""
    settings = unit_settings()
    assert settings["User"] == ["edge-proxy"]
    assert settings["NoNewPrivileges"] == ["yes"]
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["ProtectHome"] == ["yes"]
    assert settings["PrivateTmp"] == ["yes"]
    assert settings["StateDirectory"] == ["edge-proxy"]
    assert settings["WorkingDirectory"] == ["/var/lib/edge-proxy"]
    assert int(settings["LimitNOFILE"][0]) >= 65536


def test_unit_keeps_the_evidence_buffer_when_it_stops() -> None:
    """Whatever sweeps shared memory at the end of a service would sweep records that are not on disk yet."""
    settings = unit_settings()
    assert settings["RemoveIPC"] == ["no"]
    assert "DynamicUser" not in settings  # it implies RemoveIPC=yes


def test_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    """systemd's own reader finds nothing to say, once the program it starts exists."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing("systemd-analyze is not on this machine (Debian package systemd)")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/edge-proxy/bin/edge-proxy", sys.executable))
    result = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in result.stderr.splitlines() if UNIT.name in line] == []
