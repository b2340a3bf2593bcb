"""The processes of the demo: start them, hear their lines, end them. Each is ended by its own id, never by a name.

They run in sessions of their own, so that Ctrl-C in a terminal reaches the demo alone and the end stays in order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import IO, Final

_LINE_MAX_BYTES: Final = 1 << 20


class Child:
    """One running process whose stdout is read line by line."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, hear: Callable[[bytes], None]) -> None:
        self.name = name
        self.process = process
        self.is_expected_to_end = False
        self._hearing = asyncio.create_task(self._hear(hear))

    @classmethod
    async def start(
        cls, name: str, argv: Sequence[str], log: IO[bytes], hear: Callable[[bytes], None], *, is_told: bool
    ) -> Child:
        """`log` gets its stderr, `hear` each line of its stdout; `is_told`: it has a stdin for `tell`."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if is_told else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            limit=_LINE_MAX_BYTES,
        )
        return cls(name, process, hear)

    @property
    def exit_code(self) -> int | None:
        return self.process.returncode

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code or 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def tell(self, line: bytes) -> None:
        """Write one line to its stdin; nothing when it is gone, since its end is noticed elsewhere."""
        stdin = self.process.stdin
        if stdin is not None:
            with contextlib.suppress(ConnectionError):
                stdin.write(line + b"\n")
                await stdin.drain()

    async def end(self, patience_s: float, *, by_signal: bool = True) -> bool:
        """Wait until it is gone, after asking it to; False when it had to be killed."""
        self.is_expected_to_end = True
        if by_signal and self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            async with asyncio.timeout(patience_s):
                await self.process.wait()
                await self._hearing
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            return False
        return True

    async def _hear(self, hear: Callable[[bytes], None]) -> None:
        stdout = self.process.stdout
        if stdout is not None:
            while line := await stdout.readline():
                hear(line)
