"""Whole calls through the core alone, no socket and no loop: what one call costs to decide, forward and record.

`python -m tests.bench.core_calls N` prints CPU microseconds per call of runs of N calls. With `--counted` (or
`--reference`, N times a fixed piece of work) it is run by check.py under callgrind, which counts between two marks.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from typing import Final

from edge_proxy.addr import NEVER, Address, Monotonic
from edge_proxy.evidence.recorder import Recorder
from edge_proxy.transaction.timers import fires_at
from tests.kit.core_rig import CARRIER, CARRIERS, CUSTOMERS, PBX, Core, Dialog, answer, invite
from tests.kit.sipp import SDP

_CALLS_PER_S: Final = 1000
_FIRST: Final = 10
_EXTRA: Final = (
    "P-Asserted-Identity: <sip:+12025550100@acme.example>",
    "User-Agent: example-pbx/1.0",
    "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE",
    "Supported: timer, replaces",
)

Steps = list[tuple[bytes, Address]]
"""What both ends of one call send, in order."""


def write_calls(count: int) -> list[Steps]:
    """The datagrams of `count` calls (INVITE, 100, 180, 200, ACK, BYE, 200), as two user agents would send them."""
    core = Core()
    calls: list[Steps] = []
    for _ in range(count):
        steps: Steps = []
        got = _send(core, steps, _with_sdp(invite(*_EXTRA)), PBX, CARRIER)
        _send(core, steps, answer(got, 100), CARRIER)
        _send(core, steps, answer(got, 180), CARRIER)
        dialog = Dialog(got, _send(core, steps, _with_sdp(answer(got, 200)), CARRIER, PBX))
        _send(core, steps, dialog.from_caller("ACK", cseq=1), PBX)
        bye = _send(core, steps, dialog.from_caller("BYE"), PBX, CARRIER)
        _send(core, steps, answer(bye, 200), CARRIER)
        calls.append(steps)
        core.now += 1 / _CALLS_PER_S
    return calls


def carry(calls: list[Steps]) -> float:
    """Run the calls through a fresh core, a thousand a second of its clock; CPU seconds of the whole."""
    core = Core()
    pipeline = core.pipeline
    recorder = Recorder(bool, "bench", 0)  # the journal is measured elsewhere
    now, timer_at, soonest_s = core.now, NEVER, pipeline.settings.timers.soonest_s
    started = time.process_time()
    for steps in calls:
        for data, source in steps:
            pipeline.receive(data, source, CUSTOMERS if source is PBX else CARRIERS, Monotonic(now))
            records = pipeline.collect().records
            if records:
                recorder.keep(records)
            soonest = now + soonest_s
            if timer_at > soonest and timer_at > fires_at(soonest):  # as the driver does
                timer_at = pipeline.next_timer() or NEVER
        now += 1 / _CALLS_PER_S
        if timer_at <= now:
            pipeline.handle_timer(Monotonic(now))
            recorder.keep(pipeline.collect().records)
            timer_at = NEVER
    return time.process_time() - started


def work_of_reference() -> int:
    """A fixed piece of Python like the core's own: what makes counts of two interpreters and machines comparable."""
    found: dict[bytes, int] = {}
    for number in range(2000):
        line = b"Header-%d: value %d; tag=%d" % (number % 40, number, number)
        name, _, value = line.partition(b":")
        found[name.lower()] = found.get(name.lower(), 0) + value.strip().find(b"tag=")
    return len(found)


def _send(core: Core, steps: Steps, data: bytes, source: Address, to: Address | None = None) -> bytes:
    steps.append((data, source))
    sends = core.receive(data, source)
    return next((send.data for send in reversed(sends) if send.address == to), b"")


def _with_sdp(message: bytes) -> bytes:
    body = SDP.encode()
    length = b"Content-Type: application/sdp\r\nContent-Length: %d" % len(body)
    return message.replace(b"Content-Length: 0", length) + body


def _count(is_on: bool) -> None:
    """Switch callgrind's counting of this process."""
    word = "on" if is_on else "off"
    subprocess.run(["callgrind_control", "-i", word, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    count = int(sys.argv[1])
    mode = sys.argv[2] if len(sys.argv) > 2 else ""
    # Each begins with a core of its own, as `carry` does: evidence ids come in that order, and a BYE names one.
    first, calls = write_calls(_FIRST), write_calls(count)
    gc.collect()
    gc.freeze()
    gc.disable()
    if mode == "--counted":
        carry(first)  # what is made once and kept is made now; of the calls that count, no line came before
        _count(True)
        carry(calls)
        _count(False)
    elif mode == "--reference":
        work_of_reference()
        _count(True)
        for _ in range(count):
            work_of_reference()
        _count(False)
    else:
        costs = [carry(calls) / len(calls) * 1e6 for _ in range(7)]
        print(f"{statistics.median(costs):.0f} us per call ({min(costs):.0f} to {max(costs):.0f})")


if __name__ == "__main__":
    main()
