"""One engine in a process of its own, asked what it makes of bytes; its answers are plain text, so that two compare.

`EngineProbe` is the parent's end; run as a program this file is the child's: a JSON line of questions in, a JSON line
of answers out. Bytes travel as latin-1 text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

import pytest

from edge_proxy.engine import COMPILED, VARIABLE

ROOT: Final = Path(__file__).resolve().parents[2]


def run_python(root: Path, code: str, engine: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python with the package as it lies in `root`, and this engine ("" leaves the choice to it)."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), VARIABLE: engine},
        capture_output=True,
        text=True,
        check=False,
    )


def is_compiled() -> bool:
    return run_python(ROOT, "import edge_proxy", COMPILED).returncode == 0


needs_engine = pytest.mark.needs(is_compiled(), "the engine is not compiled: make engine")

Question = tuple[str, list[bytes]]
"""What to do (a key of `ANSWERS`), and with which bytes."""


class EngineProbe:
    """The child, from the parent's side; `without` names modules in C that it is to do without."""

    def __init__(self, engine: str, *without: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.engine_probe", *without],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            # Sets print in the order of their hashes.
            env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: engine, "PYTHONHASHSEED": "0"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=20)

    def ask(self, questions: Sequence[Question]) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        text = json.dumps([[kind, [part.decode("latin-1") for part in parts]] for kind, parts in questions])
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the engine's process ended: it crashed"
        answers: list[str] = json.loads(line)
        return answers


def attempt(call: Callable[[], object]) -> str:
    """What a call returns or raises, as text."""
    try:
        return show(call())
    except Exception as error:  # noqa: BLE001 - that it raises, and what, is the answer
        extra = [getattr(error, name, None) for name in ("sip_status", "rfc", "offset")]
        return f"{type(error).__name__} {error} {extra} {show(getattr(error, 'partial', None))}"


def show(value: object) -> str:
    """A value as text, field by field where it has fields that no engine spells its own way."""
    from edge_proxy.sip.message import Message
    from edge_proxy.transaction.layer import Send

    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, Send):
        return f"Send({value.slot}, {value.address!r}, {value.data!r})"
    if isinstance(value, Message):
        names = (
            *("start_line", "size", "lines", "kinds", "first", "body", "method", "uri", "status", "reason"),
            *("call_id", "cseq", "from_tag", "to_tag", "max_forwards"),
        )
        fields = [f"{name}={getattr(value, name)!r}" for name in names]
        via = value.via
        if via is not None:
            fields.append(f"via={[via.transport, via.host, via.port, via.branch, via.rport, via.received]!r}")
            fields.append(f"{[via.maddr, via.has_alias, via.sent_by]!r}")
        return f"Message({', '.join(fields)})"
    return repr(value)


def _headers(value: bytes) -> str:
    from edge_proxy.sip import headers, via

    return "\n".join(
        (
            attempt(lambda: headers.split_list(value)),
            attempt(lambda: headers.find_param(value, b"tag")),
            attempt(lambda: via.readable_via(value) is None),
            attempt(lambda: headers.parse_name_addr(value, "From")),
            attempt(lambda: headers.parse_tag(value, "From")),
            attempt(lambda: headers.parse_cseq(value)),
            attempt(lambda: headers.parse_retry_after(value)),
        )
    )


def _number(value: bytes) -> str:
    from edge_proxy.numbers.e164 import dial_plan, read_number

    text = value.decode("utf-8", "replace")
    return "\n".join(attempt(partial(read_number, text, plan)) for plan in (None, dial_plan("US")))


def _parse(value: bytes) -> str:
    from edge_proxy.sip.limits import Limits
    from edge_proxy.sip.parser import parse_message

    limits = Limits()
    return "\n".join(attempt(partial(parse_message, value, limits, is_stream=it_is)) for it_is in (False, True))


def _uri(value: bytes) -> str:
    from edge_proxy.sip.uri import parse_uri

    return attempt(lambda: parse_uri(value))


def _sdp(value: bytes) -> str:
    from edge_proxy.sip.sdp import parse_sdp

    return attempt(lambda: parse_sdp(value))


def _frame(parts: list[bytes]) -> str:
    from edge_proxy.sip.framing import StreamFramer
    from edge_proxy.sip.limits import Limits

    framer = StreamFramer(Limits())
    return "\n".join(attempt(partial(framer.feed, part)) for part in parts)


def _core(parts: list[bytes]) -> str:
    """A core of its own that gets these datagrams, customers' and carriers' in turns, then half a minute of time."""
    from tests.kit.core_rig import CARRIER, PBX, Core

    core = Core()
    answers = []
    for index, part in enumerate(parts):
        source = CARRIER if index & 1 else PBX
        answers.append(attempt(partial(core.receive, part, source)))
        core.now += 0.02
    answers.append(attempt(lambda: core.advance(32.0)))
    answers.append(attempt(lambda: core.records))
    for side, counts in core.pipeline.counters.sides.items():
        answers.append(f"{side} {sorted(counts.dispositions.items())} {sorted(counts.by_cause.items())}")
    return "\n".join(answers)


def _engine() -> str:
    from edge_proxy import ENGINE
    from edge_proxy.sip.line_memo import LINES

    return f"{ENGINE.engine} {type(LINES).__name__}"


def _each(answer: Callable[[bytes], str]) -> Callable[[list[bytes]], str]:
    return lambda parts: "\n".join(map(answer, parts))


ANSWERS: Final[dict[str, Callable[[list[bytes]], str]]] = {
    "parse": _each(_parse),
    "headers": _each(_headers),
    "uri": _each(_uri),
    "sdp": _each(_sdp),
    "number": _each(_number),
    "frame": _frame,
    "core": _core,
    "engine": lambda _parts: _engine(),
}


def main() -> None:
    for name in sys.argv[1:]:
        # Importing it fails, as where it was not built.
        sys.modules[name] = None  # type: ignore[assignment]
    for line in sys.stdin:
        questions = json.loads(line)
        answers = [ANSWERS[kind]([part.encode("latin-1") for part in parts]) for kind, parts in questions]
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
