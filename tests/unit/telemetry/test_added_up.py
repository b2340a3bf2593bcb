"""Pages of workers added up: counters over all lives, gauges over those that are up."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge_proxy.telemetry.several_workers import AddedUpCollector, Board


def page(life: float, received: int, active: int, version: str = "abc", up: int = 1, bucket: int = 0) -> str:
    return f"""# HELP edge_proxy_messages_received_total Messages received.
# TYPE edge_proxy_messages_received_total counter
edge_proxy_messages_received_total{{side="customers"}} {received}
# TYPE edge_proxy_calls_active gauge
edge_proxy_calls_active{{side="customers"}} {active}
# TYPE edge_proxy_snapshot_info gauge
edge_proxy_snapshot_info{{version="{version}"}} 1
# TYPE edge_proxy_target_up gauge
edge_proxy_target_up{{target="a"}} {up}
# TYPE edge_proxy_delay_seconds histogram
edge_proxy_delay_seconds_bucket{{le="0.1"}} {bucket}
edge_proxy_delay_seconds_bucket{{le="+Inf"}} {bucket}
edge_proxy_delay_seconds_count {bucket}
edge_proxy_delay_seconds_sum {bucket / 100}
# TYPE edge_proxy_reloads_total counter
edge_proxy_reloads_total{{result="ok"}} 7
# TYPE edge_proxy_ready gauge
edge_proxy_ready 1
# TYPE process_start_time_seconds gauge
process_start_time_seconds {life}
"""


class World:
    """Two workers whose pages a test writes."""

    def __init__(self) -> None:
        self.pages: list[str | None] = [page(1.0, 10, 2, bucket=3), page(2.0, 100, 5, bucket=4)]
        self.board = Board(memoryview(bytearray(Board.size(2))), 2)
        for worker in range(2):
            self.board.set_ready(worker, is_ready=True)
        self._registry = CollectorRegistry()
        self._registry.register(AddedUpCollector([lambda: self._read(0), lambda: self._read(1)], self.board))

    def _read(self, worker: int) -> str:
        text = self.pages[worker]
        if text is None:
            raise OSError("nobody answers")
        return text

    def scrape(self) -> dict[str, float]:
        text = generate_latest(self._registry).decode()
        return {
            sample.name.removeprefix("edge_proxy_") + "".join(f" {value}" for value in sample.labels.values()): value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            for value in [sample.value]
        }


@pytest.fixture
def world() -> World:
    return World()


def test_counters_and_gauges_are_summed(world: World) -> None:
    found = world.scrape()
    assert found["messages_received_total customers"] == 110
    assert found["calls_active customers"] == 7
    assert found["delay_seconds_bucket 0.1"] == found["delay_seconds_count"] == 7
    assert found["delay_seconds_sum"] == pytest.approx(0.07)
    assert (found["worker_messages_received_total 0"], found["worker_messages_received_total 1"]) == (10, 100)


def test_what_a_sum_would_say_nothing_of_is_not_summed(world: World) -> None:
    world.pages[1] = page(2.0, 100, 5, up=0)
    found = world.scrape()
    assert (found["snapshot_info abc"], found["target_up a"]) == (1, 0)
    world.pages[1] = page(2.0, 100, 5, version="def")
    found = world.scrape()
    assert (found["snapshot_info abc"], found["snapshot_info def"]) == (1, 1)


def test_reloads_and_readiness_are_the_supervisors(world: World) -> None:
    world.board.count_reload(is_good=True)
    world.board.count_reload(is_good=False)
    found = world.scrape()
    assert (found["reloads_total ok"], found["reloads_total failed"], found["ready"]) == (1, 1, 1)
    world.board.set_ready(1, is_ready=False)
    assert (world.scrape()["ready"], world.board.all_ready) == (0, False)


def test_one_that_refuses_calls_is_enough_for_all_not_to_be_ready(world: World) -> None:
    """It is up all the same: its page is read."""
    assert world.board.all_serve
    world.board.set_refusing(1, is_refusing=True)
    found = world.scrape()
    assert (found["ready"], found["worker_up 1"], world.board.all_serve) == (0, 1, False)
    world.board.set_refusing(1, is_refusing=False)
    assert (world.scrape()["ready"], world.board.all_serve) == (1, True)


@pytest.mark.parametrize("is_marked", [True, False])
def test_worker_that_is_down_keeps_its_counters_and_loses_its_gauges(world: World, is_marked: bool) -> None:
    """Whether the supervisor has noticed already or the page just cannot be read."""
    world.scrape()
    world.board.set_ready(1, is_ready=not is_marked)
    world.pages[1] = None
    found = world.scrape()
    assert (found["messages_received_total customers"], found["calls_active customers"]) == (110, 2)
    assert found["worker_up 1"] == int(not is_marked)


def test_next_life_begins_at_nothing_and_the_sum_goes_on(world: World) -> None:
    world.scrape()
    world.board.count_replacement(1)
    world.pages[1] = page(3.0, 4, 1, bucket=1)
    for _ in range(2):
        found = world.scrape()
        assert found["messages_received_total customers"] == 114
        assert found["delay_seconds_count"] == 8
        assert found["calls_active customers"] == 3
        assert found["worker_replacements_total 1"] == 1
    world.pages[1] = page(4.0, 50, 1)  # more than the life before had: only the start time tells
    assert world.scrape()["messages_received_total customers"] == 164


def test_no_page_at_all_is_still_an_answer(world: World) -> None:
    world.pages = [None, None]
    assert world.scrape()["ready"] == 1
