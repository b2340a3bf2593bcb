"""A caller written with aiosip 0.2.0 (2017) places calls through the proxy, under an interpreter that can import it.

No Python since 3.10 can (it needs `asyncio.coroutine` and `collections.MutableMapping`). Where no interpreter from 3.6
to 3.9 is found, the tests are skipped, in CI too: it is the one peer that a machine may be unable to run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.interop.sipp_cases import RACES, write
from tests.kit.ports import free_port
from tests.kit.proxy_process import PROXY_HOST, ProxyProcess, Site
from tests.kit.sipp import Sipp, require_sipp

pytestmark = [pytest.mark.sipp, pytest.mark.timeout(300)]

HERE: Final = Path(__file__).resolve().parent
REQUIREMENTS: Final = HERE / "aiosip-requirements.txt"
OLD_PYTHON: Final = "EDGE_PROXY_OLD_PYTHON"
MINORS: Final = (8, 9, 7, 6)
CUSTOMER: Final = "127.0.0.91"
CARRIER: Final = "127.0.0.92"


def candidates() -> Iterator[Path]:
    """Where an old interpreter may be."""
    named = os.environ.get(OLD_PYTHON)
    if named:
        yield Path(named)
        return
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in MINORS:
        on_path = shutil.which(f"python3.{minor}")
        if on_path is not None:
            yield Path(on_path)
        for root in (pyenv / "versions", Path("/opt/python"), Path("/usr/local")):
            yield from sorted(root.glob(f"3.{minor}*/bin/python3")) + sorted(root.glob(f"bin/python3.{minor}"))


def old_python() -> Path:
    """An interpreter from 3.6 to 3.9 that runs and can make a virtual environment."""
    check = "import sys, venv, ensurepip; sys.exit(not (3, 6) <= sys.version_info[:2] <= (3, 9))"
    for path in candidates():
        if path.exists() and subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip(
        "only Python 3.6 to 3.9 can import aiosip 0.2.0, and none with venv was found on the PATH, under pyenv, "
        f"/opt/python or /usr/local: install one (pyenv install 3.8), or name it in {OLD_PYTHON}"
    )


@pytest.fixture(scope="session")
def agent_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of a virtual environment with aiosip, made once and kept in pytest's cache."""
    base = old_python()
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + str(base).encode()).hexdigest()[:16]
    cache = request.config.cache
    assert cache is not None
    directory = cache.mkdir(f"aiosip-{key}")
    python = directory / "venv" / "bin" / "python"
    if (directory / "complete").exists() and python.exists():
        return python
    subprocess.run([base, "-m", "venv", "--clear", directory / "venv"], check=True)
    install: list[str | Path] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir"]
    install += ["--require-hashes", "--only-binary", ":all:", "-r", REQUIREMENTS]
    subprocess.run(install, check=True, timeout=240)
    (directory / "complete").touch()
    return python


@pytest.mark.parametrize(
    ("who_hangs_up", "case", "steps"),
    [
        ("caller", "caller BYE", ["INVITE 200", "ACK", "BYE 200"]),
        ("callee", "callee BYE", ["INVITE 200", "ACK", "hung up"]),
    ],
)
@pytest.mark.parametrize("from_customer", [True, False], ids=["to the carrier", "from the carrier"])
def test_agent_from_2017_places_a_call_through_the_proxy(
    from_customer: bool, who_hangs_up: str, case: str, steps: list[str], agent_python: Path, tmp_path: Path
) -> None:
    """Its headers come in the order of the alphabet, Via last: a proxy must not care (RFC 3261 §7.3.1)."""
    require_sipp()
    site = Site()
    config = site.config(tmp_path)
    customer_port, carrier_port = free_port(), free_port()
    config["customers"] = [
        {
            "id": "acme",
            "sources": [f"{CUSTOMER}/32"],
            "targets": [f"sip:{CUSTOMER}:{customer_port}"],
            "country": "US",
            "numbers": ["+12025550100-+12025550199"],
        }
    ]
    config["trunks"] = [
        {"id": "carrier", "targets": [f"sip:{CARRIER}:{carrier_port}"], "probe": {"interval_s": 0}},
    ]
    customer, carrier = ("+12025550123", CUSTOMER, customer_port), ("+14155550142", CARRIER, carrier_port)
    caller, callee = (customer, carrier) if from_customer else (carrier, customer)
    proxy_port = site.customers_port if from_customer else site.carriers_port
    with (
        ProxyProcess(tmp_path, site, config) as proxy,
        Sipp(tmp_path, write(tmp_path, "callee", RACES[case].callees[0]), local=(callee[1], callee[2])) as answering,
    ):
        ran = subprocess.run(
            [
                agent_python,
                HERE / "aiosip_agent.py",
                f"sip:{caller[0]}@{caller[1]}:{caller[2]}",
                f"sip:{callee[0]}@{PROXY_HOST}:{proxy_port}",
                PROXY_HOST,
                str(proxy_port),
                who_hangs_up,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.stdout.splitlines(), ran.returncode) == (steps, 0), ran.stderr
        answering.wait().assert_clean(1)
        ended = proxy.wait_for(lambda samples: samples.total("calls_active") == 0, "the end of the call")
        assert ended.total("calls_ended_total", cause="bye") == 1
        proxy.assert_balanced()
