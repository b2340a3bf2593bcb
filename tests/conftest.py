"""Every report of a test run begins with the engine it tested."""

from __future__ import annotations

import edge_proxy
from edge_proxy.transport.datagrams import HAS_BATCH


def pytest_report_header() -> str:
    engine, note = edge_proxy.ENGINE
    return f"edge_proxy engine: {engine}{f' ({note})' if note else ''}; UDP {'batched' if HAS_BATCH else 'plain'}"
