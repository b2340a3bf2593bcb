"""Strange sources that several workers see together: as one worker's, bounded, and readable by all."""

from __future__ import annotations

import os

from edge_proxy.addr import Monotonic
from edge_proxy.pipeline.sources import SourceEntry, Sources
from edge_proxy.transport.shared_sources import SharedSources

NOW = Monotonic(1000.0)


def entry(host: str, until: float = 1600.0) -> SourceEntry:
    return SourceEntry(host, 7, NOW, until)


def test_it_says_what_a_table_of_one_worker_says() -> None:
    hosts = ["192.0.2.1", "fe80::1%enp0s31f6-long", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "192.0.2.2"]
    tables = (Sources(64), SharedSources(64))
    for table in tables:
        for host in hosts:
            table.put(host, entry(host), NOW)
        table.put("192.0.2.1", entry("192.0.2.1", 1700.0), NOW)
        assert table.remove("192.0.2.2")
        assert not table.remove("192.0.2.2")
        assert table.get("192.0.2.2") is None
        assert table.get("192.0.2.1") == entry("192.0.2.1", 1700.0)
        assert len(table) == 3
        assert table.forgotten == 0
    assert sorted(tables[0].entries()) == sorted(tables[1].entries())
    for table in tables:
        table.clear()
        assert (len(table), list(table.entries()), table.get("192.0.2.1")) == (0, [], None)
        table.put("192.0.2.2", entry("192.0.2.2"), NOW)
        assert list(table.entries()) == [entry("192.0.2.2")]


def test_other_processes_see_it() -> None:
    table = SharedSources(64)
    pid = os.fork()
    if not pid:
        table.put("192.0.2.1", entry("192.0.2.1"), NOW)
        os._exit(0)
    os.waitpid(pid, 0)
    assert list(table.entries()) == [entry("192.0.2.1")]


def test_flood_of_sources_takes_no_more_room() -> None:
    table = SharedSources(256)
    for n in range(20_000):
        table.put(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", entry("10.0.0.1"), NOW)
    assert len(table) <= 256
    assert table.forgotten == 20_000 - len(table)


def test_who_matters_longer_stays() -> None:
    """Sources that were only seen give way to those that are ignored or vouched for, were they in one table."""
    table = SharedSources(16)
    table.put("192.0.2.1", entry("192.0.2.1", 9000.0), NOW)
    for n in range(1000):
        table.put(f"10.0.{n >> 8}.{n & 255}", entry("x", 1060.0), NOW)
    assert table.get("192.0.2.1") is not None


def test_entries_whose_time_is_over_go_by_themselves() -> None:
    """A second later at the earliest, with the next one that comes."""
    table = SharedSources(256)
    for n in range(100):
        table.put(f"10.0.0.{n}", entry("x", 1010.0), NOW)
    assert len(table) == 100
    table.put("192.0.2.1", entry("x"), Monotonic(1011.0))
    assert len(table) == 1
    assert table.forgotten == 0
