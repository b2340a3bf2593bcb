"""A reload that the system has no means for is refused like a wrong one: told, counted, and tried again when asked."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.kit import proxy_process
from tests.kit.proxy_process import ProxyProcess, Site, run_command

FREE: Final = 3
"""Enough to read a file, too few to start a process."""

BROKEN: Final = """
import edge_proxy.worker as worker
def prepare(*_):
    raise RuntimeError("on purpose")
worker.prepare = prepare
from edge_proxy.cli.app import main
main()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_reload_that_cannot_start_a_process_is_told(tmp_path: Path, workers: int) -> None:
    """No file descriptor is left: the numbers of the inventory cannot be compiled, and what serves goes on."""
    site = Site()
    with ProxyProcess(tmp_path, site, site.config(tmp_path) | {"workers": workers}) as proxy:
        csv = tmp_path / "numbers.csv"
        csv.write_text("number,customer\n+13125550100,acme\n", encoding="ascii")
        done = run_command("numbers", "import", csv, "--config", proxy.config_path)
        assert done.returncode == 0, done.stderr
        used = {int(fd.name) for fd in Path(f"/proc/{proxy.pid}/fd").iterdir()}
        most = sorted(set(range(max(used) + FREE + 1)) - used)[FREE - 1] + 1
        before = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (most, before[1]))
        os.kill(proxy.pid, signal.SIGHUP)
        deadline = time.monotonic() + 10.0
        while "reload refused" not in proxy.log_text() and time.monotonic() < deadline:
            pass  # no scrape finds a file descriptor either
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, before)
        told = [line["error"] for line in proxy.log_lines() if line["event"] == "reload refused"]
        assert any("data_dir: " in line and "Too many open files" in line for line in told), told
        assert not any("bug" in line for line in told)
        proxy.reload_file()
        assert proxy.scrape().by("reloads_total", "result") == {"failed": 1, "ok": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_bug_in_a_reload_is_told_and_the_next_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Whatever a worker meets there, it says so, and nobody waits for its word."""
    monkeypatch.setattr(proxy_process, "EDGE_PROXY", [sys.executable, "-c", BROKEN])
    site = Site()
    with ProxyProcess(tmp_path, site, site.config(tmp_path) | {"workers": workers}) as proxy:
        for _ in range(2):
            proxy.reload_file()
        assert proxy.scrape().by("reloads_total", "result") == {"failed": 2}
        told = [line["error"] for line in proxy.log_lines() if line["event"] == "reload refused"]
        assert told == ["bug: RuntimeError('on purpose')"] * 2 * workers
