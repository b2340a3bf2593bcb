"""The running proxy says which engine runs, in its ready line and in its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.engine import COMPILED, PURE
from tests.kit.engine_probe import needs_engine
from tests.kit.proxy_process import ProxyProcess


@pytest.mark.parametrize("wanted", [PURE, pytest.param(COMPILED, marks=needs_engine)])
def test_the_engine_is_told(tmp_path: Path, wanted: str) -> None:
    with ProxyProcess(tmp_path, engine=wanted) as proxy:
        assert proxy.ready_line.rstrip().endswith(f"engine {wanted}")
        assert proxy.scrape().total("build_info", engine=wanted) == 1
