"""Whom the proxy ignores, told and taken back by name."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edge_proxy.addr import Monotonic
from edge_proxy.admin.control import ControlError
from edge_proxy.admin.questions import Questions
from edge_proxy.pipeline.sources import SourceEntry, Sources, source_of
from edge_proxy.transport.shared_sources import SourceTables
from edge_proxy.transport.shared_table import SharedLock

NOW = Monotonic(1000.0)


def world(*hosts: str, shared: bool = False) -> Questions:
    tables = SourceTables(SharedLock(), 64)
    ignored = tables.ignored if shared else Sources(64)
    for n, host in enumerate(hosts):
        ignored.put(source_of(host), SourceEntry(host, 100 + n, NOW, NOW + 60.0 * (n + 1)), NOW)
    return Questions(ignored, tables.lock if shared else None, lambda: NOW + 30.0)


def sources(questions: Questions) -> list[object]:
    listed = questions.answer({"ask": "scanners"})["scanners"]
    assert isinstance(listed, list)
    return [one["source"] for one in listed]


@pytest.mark.parametrize("shared", [False, True])
def test_list_has_sources_longest_first(shared: bool) -> None:
    questions = world("198.51.100.9", "2001:db8:0:7::42", "::ffff:192.0.2.1", shared=shared)
    assert questions.answer({"ask": "scanners"}) == {
        "scanners": [
            {"source": "::ffff:192.0.2.1", "requests": 102, "left_s": 150.0},
            {"source": "2001:db8:0:7::/64", "requests": 101, "left_s": 90.0},
            {"source": "198.51.100.9", "requests": 100, "left_s": 30.0},
        ]
    }


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("address", ["2001:db8:0:7::1", "2001:DB8:0:7::/64", "2001:db8:0:7:ffff::"])
def test_any_address_of_a_64_lifts_it_from_all(address: str, shared: bool) -> None:
    questions = world("198.51.100.9", "2001:db8:0:7::42", shared=shared)
    assert questions.answer({"ask": "unban", "address": address}) == {"was_ignored": True}
    assert questions.answer({"ask": "unban", "address": address}) == {"was_ignored": False}
    assert sources(questions) == ["198.51.100.9"]


def test_who_is_not_ignored_any_more_is_not_listed() -> None:
    questions = Questions(Sources(4), None, lambda: NOW)
    assert sources(questions) == []
    questions = world("198.51.100.9")
    questions._clock = lambda: NOW + 60.0
    assert sources(questions) == []
    assert questions.answer({"ask": "unban", "address": "198.51.100.9"}) == {"was_ignored": False}


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"ask": "x"},
        {"ask": ["scanners"]},
        {"ask": "scanners", "more": 1},
        {"ask": "unban"},
        {"ask": "unban", "address": 1},
        {"ask": "unban", "address": "x" * 3000},
        {"ask": "unban", "address": "192.0.2.0/24"},
        {"ask": "unban", "address": "192.0.2.1/64"},
        {"ask": "unban", "address": "::1/65"},
        {"ask": "unban", "address": ""},
    ],
)
def test_what_is_no_question_changes_nothing(question: Mapping[str, object]) -> None:
    questions = world("198.51.100.9")
    with pytest.raises(ControlError) as error:
        questions.answer(question)
    assert len(str(error.value)) < 200
    assert sources(questions) == ["198.51.100.9"]
