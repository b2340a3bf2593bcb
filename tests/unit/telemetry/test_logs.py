"""The log lines: always one JSON object, whatever is in them."""

from __future__ import annotations

import json
import subprocess
import sys

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
