"""Both engines make the same of hostile bytes: parsed alike, refused alike, answered, recorded and counted alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from difflib import unified_diff

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_proxy.engine import COMPILED, PURE
from tests.kit.engine_probe import EngineProbe, Question, needs_engine
from tests.kit.hostile_bytes import SEEDS, VALUES, mutated
from tests.torture.load import torture_cases

pytestmark = needs_engine


@pytest.fixture(scope="module")
def cases(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """How many inputs both engines were given, by kind; the report tells."""
    cases: Counter[str] = Counter()
    yield cases
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\ndifferential cases: {cases.total()} ({', '.join(f'{kind} {n}' for kind, n in cases.items())})")


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[EngineProbe, EngineProbe]]:
    with EngineProbe(PURE) as pure, EngineProbe(COMPILED) as compiled:
        assert (pure.ask([("engine", [])]), compiled.ask([("engine", [])])) == ([PURE], [COMPILED])
        yield pure, compiled


def compare(engines: tuple[EngineProbe, EngineProbe], cases: Counter[str], questions: list[Question]) -> None:
    pure, compiled = (engine.ask(questions) for engine in engines)
    for question, was, now in zip(questions, pure, compiled, strict=True):
        cases[question[0]] += len(question[1])
        assert was == now, f"{question!r}\n" + "\n".join(unified_diff(was.split("\n"), now.split("\n"), PURE, COMPILED))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(mutated(SEEDS), min_size=8, max_size=8))
def test_messages(engines: tuple[EngineProbe, EngineProbe], cases: Counter[str], parts: list[bytes]) -> None:
    """Parsed or refused alike; and through a whole core, every byte sent and every record kept."""
    compare(engines, cases, [("parse", parts), ("core", parts), ("frame", parts)])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(st.one_of(mutated(VALUES), st.binary(max_size=60)), min_size=8, max_size=8))
def test_values(engines: tuple[EngineProbe, EngineProbe], cases: Counter[str], parts: list[bytes]) -> None:
    compare(engines, cases, [(kind, parts) for kind in ("headers", "uri", "number", "sdp")])


def test_torture_messages(engines: tuple[EngineProbe, EngineProbe], cases: Counter[str]) -> None:
    """Every message of RFC 4475 and RFC 5118, whole and cut at every tenth byte."""
    for case in torture_cases():
        data = case.data
        compare(engines, cases, [("core", [data]), ("parse", [data[:end] for end in range(0, len(data) + 1, 10)])])
