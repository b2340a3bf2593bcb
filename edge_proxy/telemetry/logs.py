"""structlog set up once: JSON lines on stderr, one for each finished or refused call, none for a datagram.

Text that came from a peer is cut and its control characters escaped by the JSON encoding. A warning that repeats is
let through a few times a second and the rest is counted, so that an attacker does not write our log.
"""

from __future__ import annotations

import logging
import time
from typing import BinaryIO, Final, cast

import structlog
from structlog.typing import EventDict

from edge_proxy.telemetry.call_log import line_time, serialize
from edge_proxy.telemetry.log_sink import sink

_BURST: Final = 10


def _stamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = line_time().decode("ascii")
    return event


class _OfLibraries(logging.Handler):
    """What libraries say by `logging`, such as the loop of an exception in a callback, is a line like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info or None
        )


def set_up_logs() -> None:
    """Configure structlog for the process, and what libraries log: JSON to stderr, UTC time stamps."""
    logging.basicConfig(level=logging.WARNING, handlers=[_OfLibraries()])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", sink)),
        cache_logger_on_first_use=True,
    )


class BurstLimit:
    """Lets `_BURST` of a kind of warning through each second; the rest is only counted."""

    def __init__(self) -> None:
        self._second = 0
        self._seen = 0
        self.suppressed = 0

    def allows(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._seen = 0
        self._seen += 1
        if self._seen > _BURST:
            self.suppressed += 1
            return False
        return True
