"""SIPp as a peer: run a scenario (by name, one of tests/integration/sipp), and read what it counted and what it saw.

A scenario is filled in with `-key` values: `ruri`, `from`, `to`, `headers` (one or more whole header lines), `type` and
`body`. A key cannot be empty on a line of its own, so each has a harmless default.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from edge_proxy.addr import Address
from tests.kit.peers import require
from tests.kit.ports import wait_until_bound

SCENARIOS: Final = Path(__file__).resolve().parents[1] / "integration" / "sipp"
SDP: Final = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"

_DEFAULT_KEYS: Final = {
    "from": "<sip:+12025550123@acme.example>",
    "ruri": "sip:+14155550142@edge.example",
    "headers": "Subject: a test call",
    "type": "application/sdp",
    "body": SDP,
}
_COUNT: Final = re.compile(r"(\d+)_(.+)_(Sent|Recv|Retrans|Timeout|Unexp)")
_TRACED: Final = re.compile(
    rb"^-{47} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d+)\n"
    rb"UDP message (sent|received) [(\[](\d+)(?: bytes\)|\] bytes ):\n\n",
    re.MULTILINE,
)


def require_sipp() -> None:
    """Skip, with the reason, where SIPp is missing; fail where everything must be there (CI)."""
    require("sipp", "sip-tester")


@dataclass(frozen=True)
class Step:
    """SIPp's counts for one message of a scenario, over all calls."""

    name: str
    is_sent: bool
    count: int
    retransmitted: int
    unexpected: int
    timeouts: int


@dataclass(frozen=True)
class SippMessage:
    """A message as SIPp traced it."""

    at_s: float
    """Seconds since 1970."""
    is_sent: bool
    data: bytes

    @property
    def start_line(self) -> str:
        return self.data.split(b"\r\n", 1)[0].decode()

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.start_line.split()[1]) if self.start_line.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """Of a request, or of the request that a response answers."""
        return self.header("CSeq").split()[1]

    def header(self, name: str) -> str:
        """The first value of a header, or nothing."""
        match = re.search(rb"^%s[ \t]*:[ \t]*([^\r\n]*)" % name.encode(), self.data, re.MULTILINE | re.IGNORECASE)
        return "" if match is None else match[1].decode()

    @property
    def call_id(self) -> str:
        return self.header("Call-ID")


@dataclass(frozen=True)
class SippResult:
    """What SIPp says it did."""

    exit_code: int
    created: int
    successful: int
    failed: int
    unexpected: int
    out_of_call: int
    dead_call: int
    steps: tuple[Step, ...]

    def sent(self, name: str) -> int:
        """Messages of this name that were sent, retransmissions included."""
        return sum(step.count + step.retransmitted for step in self.steps if step.is_sent and step.name == name)

    def received(self, name: str) -> int:
        """Messages of this name that were received, retransmissions included."""
        return sum(step.count + step.retransmitted for step in self.steps if not step.is_sent and step.name == name)

    @property
    def total_received(self) -> int:
        """All messages, those too that came again when their call was over."""
        taken = sum(step.count + step.retransmitted for step in self.steps if not step.is_sent)
        return taken + self.dead_call + self.out_of_call

    @property
    def total_sent(self) -> int:
        return sum(step.count + step.retransmitted for step in self.steps if step.is_sent)

    def assert_clean(self, calls: int) -> None:
        """Every call went as the scenario says, with nothing beside it."""
        assert (self.exit_code, self.created, self.successful, self.failed, self.unexpected) == (0, calls, calls, 0, 0)
        assert [step for step in self.steps if step.unexpected or step.timeouts] == []


class Sipp:
    """One SIPp process. `wait` after the test's traffic; it never outlives a `with` block."""

    def __init__(
        self,
        directory: Path,
        scenario: str | Path,
        *,
        local: tuple[str, int],
        remote: tuple[str, int] | None = None,
        calls: int = 1,
        rate: float = 50,
        hold_ms: int = 0,
        keys: Mapping[str, str] | None = None,
        traces: bool = False,
        timeout_s: int = 60,
        extra: tuple[str, ...] = (),
        contact: tuple[str, int] | None = None,
        is_stream: bool = False,
    ) -> None:
        require_sipp()
        path = scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.xml"
        self.name = f"{path.stem}-{local[1]}"
        self._directory = directory / self.name
        self._directory.mkdir(parents=True, exist_ok=True)
        for old in self._directory.iterdir():
            old.unlink()
        self._timeout_s = timeout_s
        reached_by = ";transport=tcp" if is_stream else ""
        values = {**_DEFAULT_KEYS, "contact": f"sip:{Address(*(contact or local))}{reached_by}", **(keys or {})}
        values.setdefault("to", f"<{values['ruri']}>")
        arguments = ["sipp", "-sf", str(path), "-i", local[0], "-p", str(local[1])]
        arguments += ["-m", str(calls), "-r", str(rate), "-l", "100000", "-d", str(hold_ms), "-nostdin"]
        arguments += ["-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_counts", "-trace_err"]
        arguments += ["-error_file", "errors.log", "-timeout", str(timeout_s), "-timeout_error", "-nd", "-skip_rlimit"]
        arguments += ["-max_retrans", "12", "-cid_str", f"%u-%p-{local[1]}@%s", "-buff_size", str(2 << 20)]
        if is_stream:
            arguments += ["-t", "t1", "-bind_local"]  # one connection, from the address that the proxy knows
        if traces:
            arguments += ["-trace_msg", "-message_file", "messages.log"]
        for key, value in values.items():
            arguments += ["-key", key, value]
        arguments += extra
        if remote is not None:
            arguments.append(str(Address(*remote)))
        with (self._directory / "screen.txt").open("wb") as screen:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={**os.environ, "TZ": "UTC"},  # the traces' times
            )
        table = "tcp" if is_stream else "udp"
        wait_until_bound(local[1], f"{table}6" if ":" in local[0] else table)

    def __enter__(self) -> Sipp:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> SippResult:
        """Wait for its end and read the counts."""
        return self._result(self._process.wait(timeout=self._timeout_s + 10))

    def quit_now(self) -> SippResult:
        """End it without waiting for calls that are up."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)  # as the key q: no new calls, then out
            self._process.send_signal(signal.SIGUSR1)
        return self.wait()

    def finish(self, within_s: float | None = None) -> SippResult:
        """No new calls; those that are up go on to their end, and are given up when it does not come in this time."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)  # as the key q
            if within_s is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(within_s)
                return self.quit_now()
        return self.wait()

    def errors(self) -> str:
        path = self._directory / "errors.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def messages(self) -> list[SippMessage]:
        """Everything sent and received, in order; needs `traces`."""
        data = (self._directory / "messages.log").read_bytes()
        return [
            SippMessage(
                at_s=datetime.fromisoformat(f"{match[1].decode()}T{match[2].decode()}+00:00").timestamp(),
                is_sent=match[3] == b"sent",
                data=data[match.end() : match.end() + int(match[4])],
            )
            for match in _TRACED.finditer(data)
        ]

    def _result(self, code: int) -> SippResult:
        rows = _last_row(self._directory / "stat.csv")
        (counts_path,) = self._directory.glob("*_counts.csv")
        return SippResult(
            exit_code=code,
            created=int(rows["TotalCallCreated"]),
            successful=int(rows["SuccessfulCall(C)"]),
            failed=int(rows["FailedCall(C)"]),
            unexpected=int(rows["FailedUnexpectedMessage(C)"]),
            out_of_call=int(rows["OutOfCallMsgs(C)"]),
            dead_call=int(rows["DeadCallMsgs(C)"]),
            steps=_steps(_last_row(counts_path)),
        )


def _last_row(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return rows[-1]


def _steps(row: Mapping[str, str]) -> tuple[Step, ...]:
    found: dict[int, tuple[str, dict[str, int]]] = {}
    for column, value in row.items():
        match = _COUNT.fullmatch(column or "")
        if match is not None:
            found.setdefault(int(match[1]), (match[2], {}))[1][match[3]] = int(value)
    return tuple(
        Step(
            name=name,
            is_sent="Sent" in counts,
            count=counts.get("Sent", counts.get("Recv", 0)),
            retransmitted=counts.get("Retrans", 0),
            unexpected=counts.get("Unexp", 0),
            timeouts=counts.get("Timeout", 0),
        )
        for _, (name, counts) in sorted(found.items())
        if "Sent" in counts or "Recv" in counts
    )


def calls_heard(messages: Iterable[SippMessage], start: str, method: str, before_s: float = float("inf")) -> set[str]:
    """Call-IDs of the received messages that begin so and are about this method, by then."""
    return {
        message.call_id
        for message in messages
        if not message.is_sent
        and message.start_line.startswith(start)
        and message.method == method
        and message.at_s < before_s
    }
