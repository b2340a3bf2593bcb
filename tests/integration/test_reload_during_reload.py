"""SIGHUP while a reload is under way: what was changed meanwhile is read too."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import load_settings
from tests.kit.metrics import Samples
from tests.kit.proxy_process import ProxyProcess, Site

PAUSES_S = (0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1)


def test_change_during_a_reload_serves_soon(tmp_path: Path) -> None:
    """Told at one moment or another after the reload began, also when the file had been read already."""
    site = Site()
    with ProxyProcess(tmp_path, site, site.config(tmp_path)) as proxy:
        for change, pause_s in enumerate(PAUSES_S, start=1):
            proxy.config["customers"][0]["limits"] = {"calls_per_second": change}
            before = proxy.config_path.read_bytes()
            proxy.write_config()
            after = proxy.config_path.read_bytes()
            last = compile_snapshot(load_settings(proxy.config_path)).version
            proxy.config_path.write_bytes(before)
            os.kill(proxy.pid, signal.SIGHUP)
            time.sleep(pause_s)
            proxy.config_path.write_bytes(after)
            os.kill(proxy.pid, signal.SIGHUP)

            def is_last(samples: Samples, last: str = last) -> bool:
                return last in samples.by("snapshot_info", "version")

            proxy.wait_for(is_last, f"what changed {pause_s} s later")
