"""The compiled parts; everything else about the package is in pyproject.toml.

The modules in C (lines that came before, messages joined, Call-IDs, keyed digests, batched UDP, small objects in slabs,
lines of records) are built along with every install; where there is no compiler, the install goes on without them.
`setup.py build_engine` compiles the call path (see edge_proxy/engine.py), which needs mypy and takes minutes; a wheel
holds it when EDGE_PROXY_BUILD_ENGINE=1 is set, or says why it could not be built and is the pure one.
"""

import importlib.util
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
WORK = ROOT / "build" / "engine"
COLD = """\
/* What the runtime of the compiled code is only asked for when something is raised: what leads there is laid aside. */
struct _object;
void CPy_AddTraceback(const char *, const char *, int, struct _object *) __attribute__((cold));
void CPy_TypeError(const char *, struct _object *) __attribute__((cold));
void CPy_TypeErrorTraceback(const char *, const char *, int, struct _object *, const char *, struct _object *)
    __attribute__((cold));
void CPy_AttributeError(const char *, const char *, const char *, const char *, int, struct _object *)
    __attribute__((cold));
void CPyError_OutOfMemory(void) __attribute__((cold));
"""

# Read as a file of its own: importing the package would import the engine that is to be built.
_spec = importlib.util.spec_from_file_location("engine", ROOT / "edge_proxy" / "engine.py")
engine = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(engine)


def build() -> None:
    """Compile the call path into edge_proxy/_engine, unless what is there is of the same sources."""
    from mypyc.build import mypycify  # noqa: PLC0415 - only who builds needs it

    sources = engine.sources()
    manifest = {source.as_posix(): engine.digest(source) for source in sources}
    kept = engine.BUILT / "manifest.json"
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == manifest:
        return
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    files = [f"edge_proxy/{source}" for source in sources if engine.is_compiled(source)]
    extensions = mypycify(
        ["--no-warn-unused-ignores", *files],
        opt_level=os.environ.get("EDGE_PROXY_ENGINE_OPT", "2"),
        debug_level="0",
        target_dir=str(WORK / "c"),
        group_name=engine.GROUP,
        # A C file for each module: they are compiled side by side, and a compiler cache (CC="ccache gcc") spares those
        # that have not changed.
        multi_file=True,
    )
    cold = WORK / "cold.h"
    cold.write_text(COLD, encoding="ascii")
    # Calls between its own functions are direct: nobody outside replaces one of them.
    flags = ["-include", str(cold.relative_to(ROOT)), "-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"]
    for extension in extensions:
        extension.extra_compile_args = [*extension.extra_compile_args, *flags]  # mypyc gives them all the same list
    command = BuildInParallel(Distribution({"name": "edge-proxy-engine", "ext_modules": extensions}))
    command.build_lib = str(WORK / "lib")
    command.build_temp = str(WORK / "temp")
    command.ensure_finalized()
    command.run()
    fresh = engine.BUILT.with_name(engine.BUILT.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for library in (WORK / "lib").rglob("*.so"):
        name = ".".join(library.relative_to(WORK / "lib").parts)
        shutil.copy(library, fresh / name)
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    shutil.rmtree(engine.BUILT, ignore_errors=True)
    fresh.rename(engine.BUILT)


class BuildInParallel(build_ext):
    """Compiles the C files of one library as many at a time as there are processors."""

    def build_extensions(self) -> None:
        compile_all = self.compiler.compile

        def compile_each(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as compilers:
                done = compilers.map(lambda source: compile_all([source], **options), sources)
                return [name for names in done for name in names]

        self.compiler.compile = compile_each
        super().build_extensions()


class BuildEngine(Command):
    """Compile the call path; exits with an error when that fails."""

    description = "compile the call path with mypyc into edge_proxy/_engine"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        pass

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        build()


class BuildPy(build_py):
    """Into a wheel goes the compiled engine too, when asked for and possible."""

    def run(self) -> None:
        if os.environ.get("EDGE_PROXY_BUILD_ENGINE") == "1":
            try:
                build()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - mypyc exits when it finds something wrong
                print(f"edge-proxy: the engine is not compiled, it runs pure: {error!r}", file=sys.stderr)
        super().run()


setup(
    cmdclass={"build_engine": BuildEngine, "build_py": BuildPy},
    ext_modules=[
        Extension(
            f"edge_proxy.{name}",
            [f"edge_proxy/{name.replace('.', '/')}.c"],
            extra_compile_args=["-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-cast-function-type"],
            depends=["edge_proxy/sip/_memo.h"],
            optional=True,
        )
        for name in (
            "sip._joined",
            "sip._lines",
            "routing._keyed",
            "evidence._journal",
            "pipeline._layout",
            "pipeline._steering",
            "transport._batch",
            "transport._slabs",
        )
    ],
)
