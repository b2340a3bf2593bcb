"""`edge-proxy demo` for real: the proxy and its peers as processes on loopback, with ports of this test's own."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
HOSTS: Final = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
DEADLINE_S: Final = 60
MARK: Final = "EDGE_PROXY_DEMO_TEST"

pytestmark = pytest.mark.needs(Path("/proc/self/environ").exists(), "finds processes in /proc")


def free_ports(count: int) -> list[int]:
    """Ports that are free on every address of the cast, UDP and TCP."""
    found: list[int] = []
    port = 21_000 + os.getpid() % 9_000
    while len(found) < count:
        port += 1
        try:
            for host in HOSTS:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind((host, port))
        except OSError:
            continue
        found.append(port)
    return found


class Stage:
    """The shipped configuration on other ports, and the demo run with it."""

    def __init__(self, directory: Path) -> None:
        customers, carriers, carrier, peers, metrics = free_ports(5)
        self.customers_port = customers
        self.data_dir = directory / "data"
        self.config = directory / "demo.yaml"
        text = (ROOT / "config" / "edge-proxy.yaml").read_text("utf-8")
        for old, new in (
            ("127.0.0.1:5060", f"127.0.0.1:{customers}"),
            ("127.0.0.1:5070", f"127.0.0.1:{carriers}"),
            ("127.0.0.1:5090", f"127.0.0.1:{carrier}"),
            (":5080", f":{peers}"),
            ("127.0.0.1:9464", f"127.0.0.1:{metrics}"),
            ("data_dir: data\n", f"data_dir: {self.data_dir}\n"),
            ("# buffer_dir: /dev/shm", f"buffer_dir: {directory}"),
        ):
            assert old in text
            text = text.replace(old, new)
        self.config.write_text(text, "utf-8")
        self._mark = uuid.uuid4().hex

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "edge_proxy", "demo", "--config", str(self.config), *more]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, MARK: self._mark, "TERM": "xterm", "NO_COLOR": "1"}

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*more),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def processes(self) -> list[int]:
        """Every process of this stage that is alive, by the mark in its environment."""
        found: list[int] = []
        wanted = f"{MARK}={self._mark}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environment = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if wanted in environment.split(b"\0"):
                    found.append(int(entry.name))
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_demo_ends_with_every_count_in_agreement(stage: Stage) -> None:
    """Peers and /metrics agree on attempts, verdicts, calls, messages and evidence; no process is left."""
    done = stage.run("--seconds", "6")
    assert done.stderr == ""
    assert done.returncode == 0
    assert "What the peers saw, and what /metrics says" in done.stdout
    assert "DISAGREE" not in done.stdout
    assert re.search(r"All \d+ counts agree: [1-9]\d* attempts", done.stdout)
    for reason in ("from_not_owned", "pai_not_owned", "pstn_origin", "unknown_source", "own_number_from_carrier"):
        assert re.search(rf"{reason} +[1-9]\d* +[1-9]\d* +agree", done.stdout), reason
    assert re.search(r"emergency +1 +1 +agree", done.stdout)
    assert stage.processes() == []
    log = (stage.data_dir / "demo.log").read_text("utf-8")
    assert all(line.startswith("{") for line in log.splitlines())


def test_demo_on_a_terminal_shows_the_board_and_ends_at_ctrl_c(stage: Stage) -> None:
    """On a terminal there is a live table; SIGINT hangs the calls up, prints the summary and exits 0."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    with subprocess.Popen(
        stage.command(), cwd=ROOT, env=stage.environment, stdin=slave, stdout=slave, stderr=slave
    ) as demo:
        os.close(slave)
        screen = ""
        has_interrupted = False
        while select.select([master], [], [], DEADLINE_S)[0]:
            try:
                screen += os.read(master, 65_536).decode("utf-8", "replace")
            except OSError:
                break  # the other end is closed: the demo is over
            if not has_interrupted and "from_not_owned" in screen:
                has_interrupted = True
                assert len(stage.processes()) == 7
                demo.send_signal(signal.SIGINT)
        os.close(master)
        assert demo.wait(DEADLINE_S) == 0
    assert "Ctrl-C ends it" in screen
    assert "Scenario" in screen
    assert re.search(r"All \d+ counts agree", screen)
    assert stage.processes() == []


def test_demo_that_is_killed_takes_its_processes_along(stage: Stage) -> None:
    """kill -9 leaves no word to anybody; the peers notice by the end of their stdin and end the proxy too."""
    with subprocess.Popen(
        stage.command(), cwd=ROOT, env=stage.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()
        demo.stdout.readline()
        children = [pid for pid in stage.processes() if pid != demo.pid]
        assert len(children) == 6
        handles = [os.pidfd_open(pid) for pid in children]
        demo.kill()
    left = dict(zip(handles, children, strict=True))
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    while left and (ended := poll.poll(20_000)):
        for handle, _ in ended:
            poll.unregister(handle)
            os.close(handle)
            del left[handle]
    assert not left


def test_port_in_use_is_told_in_one_line(stage: Stage) -> None:
    """A listener that cannot be bound ends the demo with exit code 1 and the address in one line."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", stage.customers_port))
        done = stage.run("--seconds", "5")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"cannot bind 127.0.0.1:{stage.customers_port}" in done.stderr
    assert stage.processes() == []


def test_configuration_that_cannot_be_played_exits_2(stage: Stage) -> None:
    """A target that is not on this machine is refused at its line before anything starts."""
    text = stage.config.read_text("utf-8")
    stage.config.write_text(text.replace("sip:127.0.0.1:", "sip:192.0.2.1:"), "utf-8")
    done = stage.run("--seconds", "5")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.match(r".*demo\.yaml:\d+: trunks\[0\]\.targets\[0\]: 192\.0\.2\.1 is no loopback address", done.stderr)
    assert not stage.data_dir.exists()
