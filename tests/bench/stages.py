"""The stages of a call's way through the proxy, made visible to callgrind: each is entered by a C function of its own.

Compiled code has its functions' names in the library. Interpreted code is one C function, the evaluation loop; so every
entry of a stage that is Python is wrapped into a small C function with the stage's name, that only calls it.
`python -m tests.bench.stages LIBRARY run --config FILE` is the `edge-proxy` command, wrapped so; profile.py runs it.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final, NamedTuple


class Stage(NamedTuple):
    """What is done under this name, by the functions that it is entered by: `module:function` or `module:Class.method`.

    A stage may be entered from within another: the figures are inclusive, and their sum means nothing.
    """

    name: str
    entries: tuple[str, ...]


STAGES: Final = (
    Stage("a turn, whole", ("transport.udp:UdpPort._readable",)),
    Stage("receive: recvmmsg", ("transport.udp:UdpPort.drain",)),
    Stage("core: one datagram", ("pipeline.core:Pipeline.receive",)),
    Stage("origin: customer, AS", ("pipeline.peers:Peers.find", "pipeline.peers:Peers.find_connected")),
    Stage("parse", ("sip.parser:parse_message",)),
    Stage(
        "transaction",
        (
            "transaction.keys:server_key",
            "transaction.keys:transaction_key",
            *(
                f"transaction.layer:TransactionLayer.{method}"
                for method in (
                    "find_server",
                    "open_server",
                    "receive_again",
                    "respond",
                    "wait_for_answer",
                    "open_client",
                    "find_client",
                    "receive_response",
                    "handle_timer",
                )
            ),
        ),
    ),
    Stage("decide", ("pipeline.deciding:Decider.decide",)),
    Stage(
        "call book",
        tuple(
            f"pipeline.calls:CallBook.{method}"
            for method in ("begin", "use_trunk", "ring", "answer", "end", "hang_up", "expire")
        ),
    ),
    Stage(
        "route: hops, token, loop mark",
        (
            "routing.loops:LoopMarks.of",
            "routing.loops:has_looped",
            "routing.forward:preprocess_routes",
            "routing.branches:Branches.of",
            "routing.dialog_token:DialogSigner.sign",
            "routing.dialog_token:DialogSigner.read",
            "pipeline.target_book:TargetBook.hops_for_attempt",
            "pipeline.target_book:TargetBook.hops_for_dialog",
        ),
    ),
    Stage(
        "forward: what leaves is written",
        (
            "routing.forward:forwarded_request",
            "routing.forward:forwarded_response",
            "sip.serializer:build_response",
            "pipeline.session_timer:ask_for_timer",
            "pipeline.session_timer:settle_session",
            "pipeline.identity_border:attempt_identity",
            "pipeline.identity_border:dialog_identity",
        ),
    ),
    Stage("collect: count what leaves", ("pipeline.core:Pipeline.collect",)),
    Stage("evidence: into the ring", ("evidence.recorder:Recorder.keep",)),
    Stage("call log", ("telemetry.call_log:CallLog.tell",)),
    Stage("send: sendmmsg", ("transport.udp:UdpPort.send_all",)),
    Stage("next timer", ("pipeline.core:Pipeline.next_timer", "transport.driver:Driver._arm")),
    Stage("timer", ("transport.driver:Driver._tick",)),
    Stage("evidence: from the ring to disk", ("evidence.journal:Journal._drain_counting_errors",)),
)

ATTEMPT: Final = "pipeline.deciding:Decider.decide"
"""Entered once a call: what the rest is divided by."""


def symbol(entry: str) -> str:
    """The C name of the function that wraps an entry."""
    return "stage_" + entry.replace(".", "_").replace(":", "__")


def compiled_symbol(entry: str) -> str:
    """The C name that mypyc gives an entry; modules go by the shortest name that is theirs alone."""
    module, _, function = entry.partition(":")
    return f"{module.rpartition('.')[2]}___{function.replace('.', '___')}"


_HEAD: Final = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
"""

_WRAPPER: Final = """
static PyObject *{symbol}(PyObject *real, PyObject *const *args, Py_ssize_t count, PyObject *names) {{
    return PyObject_Vectorcall(real, args, (size_t)count, names);
}}
"""

_MODULE: Final = """
static PyMethodDef wrappers[] = {
%s
};

static PyObject *wrap(PyObject *self, PyObject *args) {
    int place, is_method;
    PyObject *real, *wrapper, *bound;
    if (!PyArg_ParseTuple(args, "iOp", &place, &real, &is_method)) return NULL;
    wrapper = PyCFunction_New(&wrappers[place], real);
    if (wrapper == NULL || !is_method) return wrapper;
    bound = PyInstanceMethod_New(wrapper);
    Py_DECREF(wrapper);
    return bound;
}

static PyMethodDef functions[] = {{"wrap", wrap, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "bench_stages", NULL, -1, functions, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_bench_stages(void) { return PyModule_Create(&module); }
"""


def entries() -> list[str]:
    return [entry for stage in STAGES for entry in stage.entries]


def build(directory: Path) -> Path:
    """Compile the wrappers; the library they are in."""
    names = [symbol(entry) for entry in entries()]
    table = ",\n".join(f'    {{"{name}", (PyCFunction){name}, METH_FASTCALL | METH_KEYWORDS, NULL}}' for name in names)
    source, library = directory / "bench_stages.c", directory / "bench_stages.so"
    source.write_text(_HEAD + "".join(_WRAPPER.format(symbol=name) for name in names) + _MODULE % table)
    include = sysconfig.get_path("include")
    # A wrapper that ends in a jump instead of a call would be no frame of its own.
    options = ["-O1", "-fno-optimize-sibling-calls", "-Wno-cast-function-type", "-shared", "-fPIC"]
    subprocess.run(["gcc", *options, f"-I{include}", "-o", library, source], check=True)
    return library


def install(library: Path) -> None:
    """Wrap every entry that is interpreted, wherever it was imported to. One that is gone is told."""
    spec = spec_from_file_location("bench_stages", library)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {library}")
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    wrap: Callable[[int, Any, bool], Any] = loaded.wrap
    for place, entry in enumerate(entries()):
        name, _, path = entry.partition(":")
        module = importlib.import_module(f"edge_proxy.{name}")
        owner_name, _, method = path.rpartition(".")
        owner = getattr(module, owner_name, None) if owner_name else module
        real = getattr(owner, method, None)
        if real is None:
            print(f"profile: no function {entry}; tests/bench/stages.py names it", file=sys.stderr)
        elif not hasattr(real, "__code__"):
            continue  # compiled: it is in the profile by its own name
        elif owner_name:
            setattr(owner, method, wrap(place, real, True))
        else:
            wrapper = wrap(place, real, False)
            for user in [module for name, module in sys.modules.items() if name.startswith("edge_proxy")]:
                if vars(user).get(method) is real:
                    setattr(user, method, wrapper)


def main() -> None:
    from edge_proxy.cli.app import main as edge_proxy_main

    importlib.import_module("edge_proxy.worker")  # and so all whose imports have to be wrapped
    install(Path(sys.argv.pop(1)))
    edge_proxy_main()


if __name__ == "__main__":
    main()
