"""A signal while a reload is under way: what was changed meanwhile is read too, and who is to end waits for nothing."""

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


def test_proxy_that_is_to_end_waits_for_no_table(tmp_path: Path) -> None:
    """The process that compiles it is ended with the reload, which is told as refused."""
    site = Site()
    table = tmp_path / "asn.tsv"
    table.write_text("20.0.0.0\t20.0.0.255\t1\tUS\tX\n")
    with ProxyProcess(tmp_path, site, site.config(tmp_path) | {"asn": {"table": str(table)}}) as proxy:
        table.write_text(
            "".join(f"20.{n >> 8}.{n & 255}.0\t20.{n >> 8}.{n & 255}.255\t1\tUS\tX\n" for n in range(60_000))
        )
        os.kill(proxy.pid, signal.SIGHUP)
        while not (found := compiling(proxy)):
            pass
        os.kill(found[0], signal.SIGSTOP)
        assert proxy.stop() == 0
        (refused,) = [line for line in proxy.log_lines() if line["event"] == "reload refused"]
        assert refused["error"] == "the process is ending"
        assert not Path(f"/proc/{found[0]}").exists()


def compiling(proxy: ProxyProcess) -> list[int]:
    """The processes that were started to make a table, once they are that program."""
    threads = Path(f"/proc/{proxy.pid}/task").iterdir()
    started = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
    return [pid for pid in started if b"edge_proxy.compile_asn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
