"""Reloads and scrapes at once: each gives way to the calls, and neither gets in the other's way."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.request import urlopen

from tests.kit.beside import beside
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site

SCRAPERS = 4
RELOADS = 3


def test_every_page_is_whole_and_every_reload_is_done(tmp_path: Path) -> None:
    """With so many customers that both rest many times."""
    site = Site()
    config = site.config(tmp_path)
    config["customers"] += [
        {"id": f"customer-{n}", "sources": [f"10.0.{n // 250}.{n % 250}/32"], "country": "US"} for n in range(500)
    ]
    pages: list[bytes] = []

    def scrape(is_over: threading.Event) -> None:
        while not is_over.is_set():
            with urlopen(f"http://{PROXY_HOST}:{site.metrics_port}/metrics", timeout=20) as answer:
                pages.append(answer.read())

    with ProxyProcess(tmp_path, site, config) as proxy:
        with beside(*[scrape] * SCRAPERS):
            for calls_per_second in range(1, 1 + RELOADS):
                proxy.config["customers"][0]["limits"] = {"calls_per_second": calls_per_second}
                proxy.reload()
        assert proxy.scrape().total("reloads_total", result="ok") == RELOADS
    assert len(pages) > SCRAPERS
    for page in pages:
        lines = [line for line in page.decode().splitlines() if line.startswith("edge_proxy_customer_calls_active{")]
        assert len(lines) == 500
