"""Which engine runs: the Python files of the call path, or machine code that was compiled from these very files.

`make engine` (setup.py build_engine) compiles the floors at and under the pipeline, and the turn that drives them, with
mypyc into `_engine/`, beside a manifest of what they were compiled from. When the package is imported, and only when
every one of those files is still the same, their modules come from there; otherwise, or when EDGE_PROXY_ENGINE=pure
asks for it, the files run as they are. EDGE_PROXY_ENGINE=compiled refuses to start without the compiled engine. One
checkout runs both.

The modules in C that stand beside the files they help are built apart from that. In a checkout, one that is older than
its source is not used either: what came with `git pull` would call it by what it does not know yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

PACKAGE: Final = Path(__file__).parent
VARIABLE: Final = "EDGE_PROXY_ENGINE"
PURE: Final = "pure"
COMPILED: Final = "compiled"
GROUP: Final = "edge_proxy_engine"
"""What mypyc names the one library that holds the code of all modules."""

FLOORS: Final = ("sip", "transaction", "numbers", "traffic", "policy", "routing", "pipeline")
"""The packages that are compiled, with addr.py beneath them."""

SHELL: Final = (
    "evidence/journal.py",
    "evidence/recorder.py",
    "evidence/ring.py",
    "evidence/segments.py",
    "telemetry/call_log.py",
    "transport/driver.py",
    "transport/mesh.py",
    "transport/udp.py",
)
"""Files above the floors that every datagram or call goes through as well."""

SUFFIX: Final = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
BUILT: Final = PACKAGE / "_engine" / SUFFIX.removesuffix(".so").strip(".")


class Choice(NamedTuple):
    """The engine of this process; `note` says why it is not the compiled one."""

    engine: str
    note: str = ""


def sources() -> list[Path]:
    """Every file the compiled engine depends on, relative to the package."""
    files = [PACKAGE / "addr.py", PACKAGE / "errors.py", PACKAGE / "native.py"]
    for floor in FLOORS:
        files.extend(sorted((PACKAGE / floor).glob("*.py")))
    files.extend(PACKAGE / file for file in SHELL)
    return [file.relative_to(PACKAGE) for file in files]


def is_compiled(source: Path) -> bool:
    """Whether this one of `sources` becomes machine code; errors stay classes that others can derive from.

    What speaks to the compiler stays Python too.
    """
    return source.name not in ("__init__.py", "errors.py", "native.py")


def digest(source: Path) -> str:
    """What tells one state of a file from another."""
    return hashlib.sha256((PACKAGE / source).read_bytes()).hexdigest()


def module_name(source: Path) -> str:
    return ".".join(("edge_proxy", *source.with_suffix("").parts))


class CompiledFinder(MetaPathFinder):
    """Finds the compiled modules before Python finds their sources."""

    def __init__(self, modules: dict[str, Path]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._modules.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


class StaleFinder(MetaPathFinder):
    """Keeps modules in C from being found; the Python that is their like runs instead."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is older than its source: make engine", name=fullname)


def choose() -> Choice:
    """Put what is compiled in reach, as far as it is to be used. Raises ImportError when it must be and cannot."""
    stale = _stale() if (PACKAGE.parent / "setup.py").is_file() else []
    if stale:
        sys.meta_path.insert(0, StaleFinder([module_name(source) for source in stale]))
    choice = _choose()
    notes = [choice.note, *(f"{source} is newer than what was built of it: make engine" for source in stale)]
    return choice._replace(note="; ".join(filter(None, notes)))


def _choose() -> Choice:
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", PURE, COMPILED):
        raise ImportError(f"{VARIABLE}={wanted} names no engine: write {PURE}, {COMPILED} or nothing")
    if wanted == PURE:
        return Choice(PURE, f"{VARIABLE}={PURE} asks for it")
    modules, note = _find()
    if not modules:
        if wanted == COMPILED:
            raise ImportError(f"{VARIABLE}={COMPILED}, but {note}")
        return Choice(PURE, note)
    sys.meta_path.insert(0, CompiledFinder(modules))
    return Choice(COMPILED)


def _stale() -> list[Path]:
    """The C files, relative to the package, that were changed after their modules were built."""
    found = []
    for built in sorted(PACKAGE.glob(f"*/_*{SUFFIX}")):
        source = built.with_name(built.name.removesuffix(SUFFIX) + ".c")
        parts = [part for part in (source, *source.parent.glob("*.h")) if part.is_file()]
        if any(part.stat().st_mtime_ns > built.stat().st_mtime_ns for part in parts):
            found.append(source.relative_to(PACKAGE))
    return found


def _find() -> tuple[dict[str, Path], str]:
    """The compiled modules and their files, or none and why."""
    try:
        built = json.loads((BUILT / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, "the engine is not compiled: make engine"
    except (OSError, ValueError) as error:
        return {}, f"the compiled engine cannot be read ({error}): make engine"
    try:
        for source, known in built.items():
            if digest(Path(source)) != known:
                return {}, f"the compiled engine is older than {source}: make engine"
    except OSError as error:
        return {}, f"the compiled engine is of other files ({error}): make engine"
    names = [module_name(Path(source)) for source in built if is_compiled(Path(source))]
    modules = {name: BUILT / f"{name}{SUFFIX}" for name in [f"{GROUP}__mypyc", *names]}
    missing = next((file.name for file in modules.values() if not file.is_file()), None)
    if missing is not None:
        return {}, f"the compiled engine lacks {missing}: make engine"
    return modules, ""
