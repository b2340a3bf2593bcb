"""The log lines: always one JSON object, whatever is in them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

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
