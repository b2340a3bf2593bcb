"""One peer of the demo as a process: told on stdin what to play, tells on stdout what it sees, in JSON lines.

stdin: the plan (a `PeerPlan`), then the words `go`, `stop` (place no more calls), `hurry` (end those that are up) and
`end` (print the last counts and leave). When stdin ends without `end`, the demo is gone: so are this peer and, where
the plan names it, the proxy. Run as `python -m edge_proxy.cli.demo.peers ROLE`; the role is only for process lists.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import Final

import msgspec

from edge_proxy.cli.demo.agent import Agent
from edge_proxy.cli.demo.plan import PeerPlan, Scenario
from edge_proxy.cli.demo.tally import PeerReport

_REPORT_EVERY_S: Final = 0.25
_FIRST_WITHIN_S: Final = 1.5
"""Every scenario is played for the first time within this time, however rare it is after that."""


async def perform(plan: PeerPlan, commands: asyncio.StreamReader) -> int:
    """Play until told to end; the exit code."""
    tally = PeerReport(plan.name)
    for scenario in plan.scenarios:
        tally.scenario(scenario.name)
    rng = random.Random(plan.name)  # noqa: S311 - varies calls, protects nothing
    agent = Agent(plan, tally, rng)
    try:
        await agent.open()
    except OSError as error:
        tally.state = "failed"
        tally.note(f"cannot bind {plan.host} port {plan.port}: {error.strerror or error}")
        _report(tally)
        return 1
    tally.state = "ready"
    _report(tally)
    playing: list[asyncio.Task[None]] = []
    reporting = asyncio.create_task(_report_on(tally))
    word = b""
    while word != b"end":
        line = await commands.readline()
        word = line.strip()
        if word == b"go":
            tally.state = "busy"
            playing = [asyncio.create_task(_play(agent, scenario, rng)) for scenario in plan.scenarios]
            if plan.junk_every_s:
                playing.append(asyncio.create_task(_send_junk(agent, plan.junk_every_s)))
        elif word in {b"stop", b"hurry"}:
            for task in playing:
                task.cancel()
            if word == b"hurry":
                agent.hurry.set()
        if not line:
            if plan.proxy_pid:
                _end_proxy(plan.proxy_pid)
            return 1
    reporting.cancel()
    agent.close()
    tally.state = "done"
    _report(tally)
    return 0


async def _play(agent: Agent, scenario: Scenario, rng: random.Random) -> None:
    await asyncio.sleep(rng.uniform(0.0, min(scenario.every_s, _FIRST_WITHIN_S)))
    while True:
        agent.place(scenario)
        await asyncio.sleep(scenario.every_s * rng.uniform(0.6, 1.4))


async def _send_junk(agent: Agent, every_s: float) -> None:
    await asyncio.sleep(_FIRST_WITHIN_S)
    while True:
        agent.send_junk()
        await asyncio.sleep(every_s)


async def _report_on(tally: PeerReport) -> None:
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        _report(tally)


def _report(tally: PeerReport) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(tally) + b"\n")
    sys.stdout.buffer.flush()


def _end_proxy(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # it is gone already, as it should be


async def _main() -> int:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    plan = msgspec.json.decode(await commands.readline(), type=PeerPlan)
    try:
        return await perform(plan, commands)
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
