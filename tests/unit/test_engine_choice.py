"""The compiled engine runs when it is of the files that are there, and never otherwise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edge_proxy import ENGINE, engine
from edge_proxy.engine import COMPILED, PURE, VARIABLE
from tests.kit.engine_probe import ROOT, needs_engine, run_python

SHOW = """
import edge_proxy, edge_proxy.sip.parser as parser, edge_proxy.pipeline.core as core
print(edge_proxy.ENGINE.engine, parser.__file__.rpartition(".")[2], type(core.Pipeline.receive).__name__)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of its own, with the compiled engine if there is one."""
    shutil.copytree(ROOT / "edge_proxy", tmp_path / "edge_proxy", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_pure_runs_the_python_files() -> None:
    result = run_python(ROOT, SHOW, PURE)
    assert result.stdout.split() == ["pure", "py", "function"], result.stderr


@needs_engine
@pytest.mark.parametrize("wanted", ["", COMPILED])
def test_compiled_runs_machine_code(wanted: str) -> None:
    result = run_python(ROOT, SHOW, wanted)
    assert result.stdout.split() == ["compiled", "so", "method_descriptor"], result.stderr


def test_this_process_runs_the_engine_that_was_asked_for() -> None:
    wanted = os.environ.get(VARIABLE, "")
    assert ENGINE.engine == wanted if wanted else ENGINE.engine in (PURE, COMPILED)


def test_an_unknown_engine_is_refused() -> None:
    result = run_python(ROOT, SHOW, "turbo")
    assert result.returncode != 0
    assert "EDGE_PROXY_ENGINE=turbo names no engine: write pure, compiled or nothing" in result.stderr


@needs_engine
@pytest.mark.parametrize("changed", ["sip/parser.py", "numbers/e164.py", "errors.py"])
def test_a_changed_source_is_what_runs(copy: Path, changed: str) -> None:
    """Never the old code for a new file, compiled or only used by what is."""
    with (copy / "edge_proxy" / changed).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    result = run_python(copy, SHOW, "")
    assert result.stdout.split() == ["pure", "py", "function"], result.stderr
    result = run_python(copy, "import edge_proxy; print(edge_proxy.ENGINE.note)", "")
    assert result.stdout.strip() == f"the compiled engine is older than {changed}: make engine"
    result = run_python(copy, SHOW, COMPILED)
    assert result.returncode != 0
    assert f"EDGE_PROXY_ENGINE=compiled, but the compiled engine is older than {changed}" in result.stderr


@needs_engine
@pytest.mark.parametrize("damage", ["library", "manifest", "source", "all"])
def test_an_engine_with_something_missing_is_not_used(copy: Path, damage: str) -> None:
    built = copy / "edge_proxy" / engine.BUILT.relative_to(engine.PACKAGE)
    if damage == "library":
        (built / f"edge_proxy.sip.uri{engine.SUFFIX}").unlink()
    elif damage == "manifest":
        (built / "manifest.json").write_text("{", encoding="utf-8")
    elif damage == "source":
        (copy / "edge_proxy" / "traffic" / "asn_table.py").unlink()
    else:
        shutil.rmtree(built)
    result = run_python(copy, "import edge_proxy; print(*edge_proxy.ENGINE)", "")
    assert result.stdout.startswith("pure the "), result.stderr
    assert result.stdout.strip().endswith("make engine")


@pytest.mark.parametrize("engine_asked", [PURE, ""])
def test_a_module_in_c_that_is_older_than_its_source_is_not_used(copy: Path, engine_asked: str) -> None:
    """After a `git pull` the files may call it by what it does not know; the Python beside it runs, and a note says so.

    Only in a checkout: who installs unpacks sources and modules in any order.
    """
    built = copy / f"edge_proxy/sip/_joined{engine.SUFFIX}"
    if not built.is_file():
        pytest.skip("the modules in C are not built here")
    source = copy / "edge_proxy/sip/_joined.c"
    show = """
import edge_proxy, edge_proxy.sip.serializer, sys
print("edge_proxy.sip._joined" in sys.modules, edge_proxy.ENGINE.note)
"""
    for age, is_checkout, is_used in ((0, True, True), (1, True, False), (1, False, True)):
        (copy / "setup.py").unlink(missing_ok=True)
        if is_checkout:
            (copy / "setup.py").write_text("", encoding="ascii")
        stamp = built.stat().st_mtime_ns
        os.utime(source, ns=(stamp, stamp + age))
        result = run_python(copy, show, engine_asked)
        used, _, note = result.stdout.strip().partition(" ")
        assert (used == "True") is is_used, result.stderr
        assert ("sip/_joined.c is newer than what was built of it: make engine" in note) is not is_used


def test_every_file_at_and_under_the_pipeline_is_a_source() -> None:
    """A new file is compiled with the rest."""
    names = {source.as_posix() for source in engine.sources()}
    for floor in engine.FLOORS:
        assert {f"{floor}/{file.name}" for file in (engine.PACKAGE / floor).glob("*.py")} <= names
    assert not engine.is_compiled(Path("sip/__init__.py"))
    assert engine.is_compiled(Path("sip/parser.py"))
