"""The log lines: always one JSON object, whatever is in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from edge_proxy.pipeline.records import Ending
from edge_proxy.telemetry import log_sink
from edge_proxy.telemetry.call_log import CallLog
from edge_proxy.telemetry.log_sink import LogSink
from tests.kit.core_rig import CARRIER, PBX, Core, answer, invite

PROGRAM = """
import structlog
from edge_proxy.telemetry.logs import set_up_logs
set_up_logs()
log = structlog.get_logger()
try:
    raise RuntimeError("on purpose")
except RuntimeError as error:
    log.error("bug", exc_info=error, text="\\ud800", thing=object())
log.info("plain", number=1)
"""


def test_log_line_survives_anything_that_is_logged() -> None:
    """An exception, a lone surrogate or an object that is no JSON is told as text; the line never raises."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    bug, plain = [json.loads(line) for line in result.stderr.splitlines()]
    assert bug["event"] == "bug"
    assert "RuntimeError: on purpose" in bug["exception"]
    assert bug["text"] == "\\ud800"
    assert bug["thing"].startswith("<object")
    assert plain["number"] == 1
    assert plain["level"] == "info"
    written_at = datetime.fromisoformat(plain["timestamp"])
    assert abs(datetime.now(UTC) - written_at) < timedelta(minutes=1)
    assert len(plain["timestamp"]) == len("2026-01-31T12:00:00.000000Z")


def test_exception_in_a_callback_of_the_loop_is_a_line_like_all_others() -> None:
    """The loop tells of it by the library's own log, which would write text, and wait for whoever reads it."""
    program = """
import asyncio
import uvloop
from edge_proxy.telemetry.logs import set_up_logs
set_up_logs()
async def main():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
uvloop.run(main())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    (line,) = [json.loads(line) for line in result.stderr.splitlines()]
    assert (line["level"], line["library"]) == ("error", "asyncio")
    assert "ZeroDivisionError: division by zero" in line["exception"]


def test_call_log_writes_a_line_like_those_of_the_log(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A call that was refused by the far end, and one refused by ourselves: one JSON object each, with a time stamp."""
    core = Core()
    _, sent = core.receive(invite(call_id="far\x01end"), PBX)
    core.receive(answer(sent.data, 486), CARRIER)
    core.receive(invite(call_id="own"), CARRIER)
    log = CallLog("all")
    for record in core.records:
        if isinstance(record, Ending):
            log.ended(record)
        elif not record.verdict.passes:
            log.refused(record)
    ended, refused = [json.loads(line) for line in capsysbinary.readouterr().err.splitlines()]
    assert (ended["event"], ended["level"], ended["cause"], ended["final_status"]) == (
        "call ended",
        "info",
        "rejected",
        486,
    )
    assert (ended["call_id"], ended["customer"], ended["from_side"]) == ("far\x01end", "acme", "customers")
    assert (refused["event"], refused["call_id"]) == ("call refused", "own")
    for line in (ended, refused):
        written_at = datetime.fromisoformat(line["timestamp"])
        assert abs(datetime.now(UTC) - written_at) < timedelta(minutes=1)
        assert line["id"] == f"{int(line['id'], 16):016x}"


def test_every_field_of_a_call_is_in_its_line(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """In this order, whatever a peer wrote into its texts, which are cut; what was never reached or seen is null."""
    core = Core()
    call_id = 'quote" back\\slash \u00e9' + "x" * 200
    core.receive(invite('User-Agent: "x"', call_id=call_id), PBX)
    _, sent = core.receive(invite(call_id="second"), PBX)
    core.receive(answer(sent.data, 180), CARRIER)
    core.now += 0.0125
    core.receive(answer(sent.data, 486), CARRIER)
    ending = next(record for record in core.records if isinstance(record, Ending))
    attempt = ending.attempt
    assert attempt is not None
    attempt.call_id = call_id
    CallLog("all").ended(ending)
    seen_before = Ending(
        255, ending.at, "third", "acme", ending.caller_side, ending.cause, ending.ended_by, 200, 1.5, 0.00049, None,
        2.0, 16,
    )  # fmt: skip
    CallLog("all").ended(seen_before)
    first, second = [json.loads(line) for line in capsysbinary.readouterr().err.splitlines()]
    assert list(first.items())[:-1] == [
        ("id", f"{ending.evidence_id:016x}"),
        ("method", "INVITE"),
        ("call_id", call_id[:128]),
        ("from_side", "customers"),
        ("source", "127.0.0.2:5080"),
        ("asn", 0),
        ("customer", "acme"),
        ("verdict", "allowed"),
        ("status", 0),
        ("reason", "identity_owned"),
        ("rule", "default"),
        ("text", attempt.text),
        ("ip_origin", attempt.ip_origin),
        ("cause", "rejected"),
        ("ended_by", "callee"),
        ("final_status", 486),
        ("setup_s", None),
        ("duration_s", None),
        ("pdd_s", round(ending.pdd_s or 0.0, 3)),
        ("q850", None),
        ("event", "call ended"),
        ("level", "info"),
    ]
    assert list(second.items())[:-1] == [
        ("id", "00000000000000ff"),
        ("customer", "acme"),
        ("call_id", "third"),
        ("cause", "rejected"),
        ("ended_by", "callee"),
        ("final_status", 200),
        ("setup_s", 1.5),
        ("duration_s", 0.0),
        ("pdd_s", 2.0),
        ("q850", 16),
        ("event", "call ended"),
        ("level", "info"),
    ]
    assert list(first)[-1] == list(second)[-1] == "timestamp"


class _Gone:
    """A stream whose reader is gone."""

    def write(self, line: bytes) -> int:
        raise BrokenPipeError(len(line))


def test_a_log_that_nobody_takes_stops_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Core()
    _, sent = core.receive(invite(), PBX)
    core.receive(answer(sent.data, 486), CARRIER)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=_Gone()))
    CallLog("all").ended(next(record for record in core.records if isinstance(record, Ending)))


def test_pipe_that_is_not_read_holds_up_nobody_and_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its thread has started: the pipe is full after 64 kB, then the queue is; what was taken comes out whole."""
    monkeypatch.setattr(log_sink, "_MOST_LINES", 100)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream, os.fdopen(reader, "rb") as pipe:
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(fileno=stream.fileno, buffer=stream))
        sink = LogSink()
        sink.start()
        lines = [b"%06d" % number + b"x" * 993 + b"\n" for number in range(2000)]
        for line in lines:
            assert sink.write(line) == 1000
        assert 2000 - 300 - 66 <= sink.lost <= 2000 - 100
        taken = 2000 - sink.lost
        heard = b""
        while len(heard) < taken * 1000:
            heard += pipe.read1()
        assert heard.splitlines(keepends=True) == lines[:taken]
        sink.stop()
        sink.write(b"at once\n")
        assert pipe.readline() == b"at once\n"


def test_last_lines_are_written_before_the_end() -> None:
    program = "from edge_proxy.telemetry.log_sink import sink\nsink.start()\nsink.write(b'last\\n')\nsink.stop()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stderr == b"last\n"


def test_fork_says_what_it_says_itself_and_nothing_twice() -> None:
    """It has no thread that would write, and what waits for its parent's is its parent's."""
    program = """
import os
from edge_proxy.telemetry.log_sink import sink
sink.start()
sink.write(b"parent\\n")
pid = os.fork()
sink.write(b"child\\n" if not pid else b"parent again\\n")
if not pid:
    os._exit(0)
os.waitpid(pid, 0)
sink.stop()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert sorted(result.stderr.splitlines()) == [b"child", b"parent", b"parent again"]


def test_while_lines_come_nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line wakes the thread; those behind it are found, however long the thread has had nothing to do."""
    monkeypatch.setattr(log_sink, "_VAIN_LOOKS", 10**9)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream, os.fdopen(reader, "rb") as pipe:
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(fileno=stream.fileno, buffer=stream))
        sink = LogSink()
        wakes: list[None] = []
        wake = sink._wake.set
        monkeypatch.setattr(sink._wake, "set", lambda: wakes.append(wake()))
        sink.start()
        for number in range(4):
            sink.write(b"%d\n" % number)
            assert pipe.readline() == b"%d\n" % number
        assert len(wakes) <= 1
        sink.stop()
