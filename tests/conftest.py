"""Every report of a test run begins with the engine it tested; what a test needs is there, or is named as missing."""

from __future__ import annotations

import pytest
from hypothesis import settings

import edge_proxy
from edge_proxy.transport.datagrams import HAS_BATCH
from tests.kit.peers import missing

settings.register_profile("edge-proxy", deadline=None)  # how long one example takes tells how busy the machine is
settings.load_profile("edge-proxy")


def pytest_report_header() -> str:
    engine, note = edge_proxy.ENGINE
    return f"edge_proxy engine: {engine}{f' ({note})' if note else ''}; UDP {'batched' if HAS_BATCH else 'plain'}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        is_here, reason = mark.args
        if not is_here:
            missing(reason)
