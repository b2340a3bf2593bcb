"""Both engines, with `_lines` as without it, make the same of hostile bytes.

Parsed alike, refused alike, answered, recorded and counted alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from difflib import unified_diff

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_proxy.engine import COMPILED, PURE
from edge_proxy.sip.line_memo import HAS_TABLE
from tests.kit.engine_probe import EngineProbe, Question, needs_engine
from tests.kit.hostile_bytes import SEEDS, VALUES, mutated
from tests.torture.load import torture_cases

pytestmark = needs_engine

LINES = "edge_proxy.sip._lines"
Engines = dict[str, EngineProbe]


@pytest.fixture(scope="module")
def cases(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """How many inputs both engines were given, by kind; the report tells."""
    cases: Counter[str] = Counter()
    yield cases
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\ndifferential cases: {cases.total()} ({', '.join(f'{kind} {n}' for kind, n in cases.items())})")


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    with ExitStack() as probes:
        engines = {
            f"{engine}{' without' if without else ''}": probes.enter_context(EngineProbe(engine, *without))
            for engine in (PURE, COMPILED)
            for without in ((), (LINES,))
        }
        for name, engine in engines.items():
            is_table = HAS_TABLE and not name.endswith("without")
            assert engine.ask([("engine", [])]) == [f"{name.split()[0]} {'LineTable' if is_table else 'PlainLines'}"]
        yield engines


def compare(engines: Engines, cases: Counter[str], questions: list[Question]) -> None:
    (first, answers), *others = [(name, engine.ask(questions)) for name, engine in engines.items()]
    for question in questions:
        cases[question[0]] += len(question[1])
    for name, found in others:
        for question, was, now in zip(questions, answers, found, strict=True):
            if was != now:
                pytest.fail(f"{question!r}\n" + "\n".join(unified_diff(was.split("\n"), now.split("\n"), first, name)))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(mutated(SEEDS), min_size=8, max_size=8))
def test_messages(engines: Engines, cases: Counter[str], parts: list[bytes]) -> None:
    """Parsed or refused alike; and through a whole core, every byte sent and every record kept."""
    compare(engines, cases, [("parse", parts), ("core", parts), ("frame", parts)])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(st.one_of(mutated(VALUES), st.binary(max_size=60)), min_size=8, max_size=8))
def test_values(engines: Engines, cases: Counter[str], parts: list[bytes]) -> None:
    compare(engines, cases, [(kind, parts) for kind in ("headers", "uri", "number", "sdp")])


def test_torture_messages(engines: Engines, cases: Counter[str]) -> None:
    """Every message of RFC 4475 and RFC 5118, whole and cut at every tenth byte."""
    for case in torture_cases():
        data = case.data
        compare(engines, cases, [("core", [data]), ("parse", [data[:end] for end in range(0, len(data) + 1, 10)])])
