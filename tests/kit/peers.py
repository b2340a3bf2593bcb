"""What every real peer needs: to be there or to be named as missing, and to be ended with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

import pytest


def require(command: str, package: str) -> None:
    """Skip, with the reason, where a command is missing; fail where everything must be there (CI)."""
    if shutil.which(command) is not None:
        return
    missing(f"{command} is missing: install the Debian package {package}")


def missing(reason: str) -> NoReturn:
    """Skip for this reason, or fail for it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class PeerProcess:
    """A program that runs while its `with` block does; what it says goes to `log_path`."""

    def __init__(
        self, command: Sequence[str], directory: Path, name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / f"{name}.log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def log_text(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, timeout_s: float = 20.0) -> None:
        """Return when the program has said this."""
        wait_until(lambda: text in self.log_text(), f"{self.log_path.stem}: {text!r}", self.log_text, timeout_s)

    def say(self, line: str) -> None:
        """A line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def wait(self, timeout_s: float) -> int:
        """Its exit code, when it ends by itself."""
        return self._process.wait(timeout=timeout_s)

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def wait_until(holds: Callable[[], bool], what: str, log: Callable[[], str], timeout_s: float) -> None:
    """Poll until `holds`; what was waited for, and the log, are in the text when it never does."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {timeout_s} s:\n{log()[-4000:]}")
        time.sleep(0.02)
