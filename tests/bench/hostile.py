"""What a hostile message costs beside an ordinary one of the same size, on either engine.

`python -m tests.bench.hostile` puts every message of the worst-case, torture and fuzz sets through a whole core, each
under a branch of its own, and divides its instructions by those of an INVITE that was made as long with ordinary header
lines (as many as the limits allow) and then body. The worst are printed; the aim is a ratio of at most 5. Instructions
are counted by callgrind, which a busy machine does not disturb; `--time` takes CPU time instead.
"""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from edge_proxy import ENGINE
from edge_proxy.addr import Monotonic
from edge_proxy.engine import COMPILED, PURE, VARIABLE
from edge_proxy.sip.limits import Limits
from tests.kit.core_rig import CUSTOMERS, PBX, Core, invite
from tests.torture.load import torture_cases

MOST: Final = 5.0
_BRANCH: Final = b"z9hG4bKhostile"
_ONCE: Final = b"never-twice"
"""Is another word in every copy of a message: lines that hold it were never seen before."""
_LINE: Final = b"X-Ordinary-%03d: a value as long as they are\r\n"
_FUZZ_SEED: Final = 20_261
_LIMITS: Final = Limits()
_MARK: Final = "getppid"
"""A function of the C library that nothing else calls here: callgrind writes its counts when it is entered."""
_COUNTED: Final = 3
_TOTALS: Final = re.compile(r"^(?:totals|summary): ([0-9]+)", re.MULTILINE)


def _with(*extra: str, body: bytes = b"") -> bytes:
    message = invite(*extra, branch="hostile")
    if body:
        message = message.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body)) + body
    return message


def worst_cases() -> Iterator[tuple[str, bytes]]:
    """Each aims at one thing that is read, as long or as often as the limits allow and beyond."""
    one = "<sip:+12025550100@x>"
    longest = _LIMITS.max_header_bytes - 100
    yield "10,000 PAI values in one line", _with("P-Asserted-Identity: " + ",".join([one] * 2900))
    yield "PAI line as long as allowed", _with("P-Asserted-Identity: " + ",".join([one] * (longest // len(one) - 20)))
    yield "200 PAI lines", _with(*[f"P-Asserted-Identity: {one}"] * 200)
    yield "200 PAI lines of 300 bytes", _with(*[f"P-Asserted-Identity: {one},{one},{one},{one},{one}, {one}"] * 200)
    yield "200 Diversion lines", _with(*[f"Diversion: {one};reason=unconditional"] * 200)
    yield "200 History-Info lines", _with(*[f"History-Info: {one};index=1.{n}" for n in range(200)])
    yield "nested quotes", _with('P-Asserted-Identity: "' + '\\"' * (longest // 2) + f'" {one}')
    yield "unclosed quote", _with('P-Asserted-Identity: "' + "a, <" * (longest // 4))
    yield "brackets", _with("P-Asserted-Identity: " + "<" * longest)
    yield "commas", _with("P-Asserted-Identity: " + "," * longest)
    yield "tel URI of 8 kB", _with("P-Asserted-Identity: <tel:+1" + "-(20)" * (longest // 5) + ">")
    yield "digits of 8 kB", _with("P-Asserted-Identity: <sip:" + "1" * longest + "@x>")
    yield "8-bit digits", _with("P-Asserted-Identity: <sip:+" + "٣" * (longest // 2) + "@x>")
    yield "escapes", _with("P-Asserted-Identity: <sip:" + "%31" * (longest // 3) + "@x>")
    yield "URI parameters", _with("P-Asserted-Identity: <sip:+12025550100;" + "a=b;" * (longest // 4) + "c@x>")
    yield "tag far behind", _with().replace(b";tag=caller", b";a=b" * (longest // 4) + b";tag=caller")
    yield "parameters of Via", _with().replace(b";rport", b";a=b" * (longest // 4) + b";rport")
    yield "60 Vias", _with(*["Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx"] * 60)
    yield "60 Vias in a line", _with("Via: " + ",".join(["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx"] * 60))
    yield "200 Routes", _with(*["Route: <sip:192.0.2.1;lr>"] * 200)
    yield "200 Routes to us", _with(*["Route: <sip:127.0.0.1:5060;lr>"] * 200)
    yield "200 forged tokens", _with(*["Route: <sip:127.0.0.1:5060;lr;ep=" + "A" * 60 + ">"] * 200)
    yield "token of 8 kB", _with("Route: <sip:127.0.0.1:5060;lr;ep=" + "A" * longest + ">")
    yield "folds", _with("Subject:" + "\r\n a" * (longest // 4))
    yield "8,000 folds", _with(*["Subject: a" + "\r\n b" * 100] * 80)
    yield "10,000 lines", _with(*["X: y"] * 10_000)
    yield "250 lines without a colon", _with(*["no colon here"] * 250)
    yield "one-letter lines", _with(*["q:"] * 240)
    yield "bare LF", _with("X: " + "\n" * longest)
    yield "Content-Length of 8 kB", _with().replace(b"Content-Length: 0", b"Content-Length: " + b"0" * longest)
    yield "CSeq of 8 kB", _with().replace(b"CSeq: 1 ", b"CSeq: " + b"1" * longest + b" ")
    yield "Reason", _with(*['Reason: Q.850;cause=16;text="' + "a;" * 50 + '"'] * 200)
    yield "Privacy", _with("Privacy: " + ";".join(["id"] * (longest // 3)))
    yield "P-Access-Network-Info", _with(*["P-Access-Network-Info: GSTN;" + "a=b;" * 50 + "np"] * 100)
    yield "User-Agent of 8 kB", _with("User-Agent: " + "Asterisk " * (longest // 9))
    yield "Identity", _with("Identity: " + "eyJ0" * (longest // 4) + ".a.b;info=<https://x>")
    yield "200 Identity lines", _with(*["Identity: " + "eyJ0" * 60 + "." + "e30" * 20 + ".b;info=<https://x>"] * 200)
    yield "Proxy-Authorization", _with('Proxy-Authorization: Digest username="a", ' + 'x="y", ' * (longest // 7))
    yield "tags in Require", _with("Require: " + ",".join(["timer"] * (longest // 6)))
    yield "SDP lines", _with("Content-Type: application/sdp", body=b"v=0\r\n" + b"a=x:y\r\n" * 8000)
    yield "SDP of line ends", _with("Content-Type: application/sdp", body=b"v=0" + b"\r" * 16_300)
    yield "SDP of held media", _with("Content-Type: application/sdp", body=b"v=0" + b"\nc=IN IP4 0.0.0.0" * 32)
    yield "SDP of empty lines", _with("Content-Type: application/sdp", body=b"v=0" + b"\no= \ns= \nc= " * 32)
    yield "SDP media", _with("Content-Type: application/sdp", body=b"v=0\r\n" + b"m=audio 9 RTP/AVP 0 8\r\n" * 2500)
    yield "multipart", _with('Content-Type: multipart/mixed;boundary="b"', body=b"--b\r\n\r\nx\r\n" * 4000)
    yield (
        "multipart of near types",
        _with("Content-Type: multipart/mixed;boundary=b", body=b"c:x application/isup\r\n" * 40),
    )
    yield "ISUP nearly in hexadecimal", _with("Content-Type: application/isup", body=b"01 " * 340 + b"x" * 4)
    yield "ISUP nearly in base64", _with("Content-Type: application/isup", body=b" " * 1023 + b"-")
    yield "ISUP", _with("Content-Type: application/isup", body=b"\x01" + b"\x00\xff" * 2000)
    yield "200 lines never seen before", _with(*[f"X-{n}: never-twice" for n in range(200)])
    yield "8 kB of short lines never seen before", _with(*[f"q: never-twice{n}" for n in range(240)])
    yield (
        "200 Identity-like lines never seen before",
        _with(*[f"P-Asserted-Identity: <sip:{n}never-twice@x>" for n in range(200)]),
    )
    yield "60 kB of folds", _with("Subject:" + "\r\n a" * 15_000)
    yield "60 kB of folds in 200 lines", _with(*["Subject: a" + "\r\n b" * 75] * 200)
    yield "60 kB of folds with colons", _with(*["Subject: a" + "\r\n b:" * 60] * 200)
    yield "60 kB of folds of blanks only", _with(*["Subject: a" + "\r\n " * 80] * 200)
    yield "60 kB of pairs of folds", _with(*["Subject: a" + "\r\n \r\n l" * 40] * 200)
    yield "60 kB of parameters of Via", _with().replace(b";rport", b";a=b" * 15_000 + b";rport")
    yield "60 kB of Vias in a line", _with("Via: " + ",".join(["SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx"] * 1350))
    yield "60 kB of parameters of From", _with().replace(b";tag=caller", b";a" * 30_000 + b";tag=caller")
    yield "60 kB of tiny lines", _with(*["a:"] * 15_000)
    yield "60 kB of tiny Vias", _with(*["v:SIP/2.0/UDP x"] * 3500)
    yield "60 kB of line ends", _with().replace(b"\r\n\r\n", b"\r\n" + b"\r\n " * 20_000 + b"\r\n\r\n")
    yield "60 kB of commas", _with("P-Asserted-Identity: " + "," * 60_000)
    yield "60 kB of Call-ID", _with().replace(b"Call-ID: ", b"Call-ID: " + b"c" * 60_000)
    yield (
        "two Request-URIs of 30 kB",
        _with().replace(b"sip:+14155550999@", b"sip:+14155550999;" + b"a;" * 15_000 + b"@"),
    )
    yield "60 kB of one Route set", _with(*["Route: " + ",".join(["<sip:192.0.2.1;lr>"] * 400)] * 8)
    yield "Route sets to us", _with(*["Route: " + ",".join(["<sip:127.0.0.1:5060;lr>"] * 300)] * 8)
    yield "commas in quotes", _with('P-Asserted-Identity: "' + "," * (longest - 40) + f'" {one}')
    yield "200 PAI lines of 8 kB in all", _with(*[f"P-Asserted-Identity: {one}, {one}"] * 80)
    yield "tel URI parameters", _with("P-Asserted-Identity: <tel:+12025550100" + ";a=1" * (longest // 4) + ">")
    yield (
        "tel URI parameters of the Request-URI",
        _with().replace(b"sip:+14155550999@127.0.0.1:5060", b"tel:+14155550999" + b";a=1" * (longest // 4)),
    )
    yield "60 kB of SDP lines", _with("Content-Type: application/sdp", body=b"v=0\r\n" + b"a=\n" * 19_000)
    yield "60 kB of SDP without an end", _with("Content-Type: application/sdp", body=b"v=0\r\nc=" + b"IN " * 19_000)
    yield (
        "multipart in multipart",
        _with(
            "Content-Type: multipart/mixed;boundary=b",
            body=b"--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n" * 1000,
        ),
    )
    yield (
        "multipart of near boundaries",
        _with("Content-Type: multipart/mixed;boundary=" + "-" * 60, body=b"\r\n" + b"-" * 58_000),
    )
    yield "PIDF-LO", _with("Content-Type: application/pidf+xml", body=b"<presence>" + b"<a>" * 18_000)
    yield (
        "Authorization of many parameters",
        _with("Proxy-Authorization: Digest " + ",".join(f'p{n}="v"' for n in range(longest // 9))),
    )
    yield (
        "Authorization with a quote left open",
        _with('Proxy-Authorization: Digest username="' + '\\"' * (longest // 2)),
    )
    yield (
        "80 Authorizations",
        _with(*['Proxy-Authorization: Digest username="a", realm="b", nonce="' + "n" * 80 + '"'] * 80),
    )
    yield "Identity of dots", _with("Identity: " + "." * longest + ";info=<https://x>")
    yield "Identity parameters", _with("Identity: eyJ0.e30.b" + ";a=b" * (longest // 4))
    yield "History-Info in a line", _with("History-Info: " + ",".join([f"{one};index=1"] * (longest // 40)))
    yield "Diversion in a line", _with("Diversion: " + ",".join([f"{one};reason=unknown"] * (longest // 45)))
    yield "Reason in a line", _with("Reason: " + ",".join(["Q.850;cause=16"] * (longest // 16)))
    yield "digits in the Request-URI", _with().replace(b"sip:+14155550999@", b"sip:" + b"9" * longest + b"@")
    yield "escapes and commas in quotes", _with('P-Asserted-Identity: "' + '\\"a,' * (longest // 4 - 10) + f'" {one}')
    yield "pairs of escapes in quotes", _with('P-Asserted-Identity: "' + "a\\a\\\\" * (longest // 5 - 10) + f'" {one}')
    pairs = '"' + "a\\a\\\\" * (longest // 5 - 10) + '"'
    yield "pairs of escapes in From", _with().replace(b"From: ", f"From: {pairs}".encode())
    yield "pairs of escapes behind From", _with().replace(b";tag=caller", f";tag=caller;x={pairs}".encode())
    yield "pairs of escapes in Contact", _with(f"Contact: {pairs} {one}, {pairs[:20]}")
    yield "pairs of escapes in Route", _with(f"Route: {pairs} <sip:192.0.2.1;lr>, {one}")
    yield "pairs of escapes in Via", _with().replace(b";rport", f";x={pairs};rport".encode())
    yield "pairs of escapes in History-Info", _with(f"History-Info: {one};x={pairs};index=1, {one};index=2")
    yield "pairs of escapes in Remote-Party-ID", _with(f"Remote-Party-ID: {pairs} {one};%76erstat=1")
    yield "99 escapes each", _with(*['P-Asserted-Identity: "' + "\\a" * 99 + f'" {one}, {one}'] * 30)
    yield "90 parameters of Via that begin like ours", _with().replace(b";rport", b";rpor" * 90 + b";rport")
    yield "90 times received in Via", _with().replace(b";rport", b";Received" * 90 + b";rport")
    yield "tel URI of many signals", _with("P-Asserted-Identity: <tel:+12025550100" + ";oli=1" * (longest // 6) + ">")


def fuzzed() -> Iterator[tuple[str, bytes]]:
    """A call's INVITE with pieces cut, doubled and made long: always the same ones."""
    dice = random.Random(_FUZZ_SEED)
    seed = _with("P-Asserted-Identity: <sip:+12025550100@x>, <tel:+12025550100>", "Supported: timer, replaces")
    for number in range(150):
        raw = bytearray(seed)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(raw))
            end = at + dice.randrange(24)
            raw[at : dice.choice((at, end))] = bytes(raw[at:end]) * dice.choice((0, 2, 40, 300))
        yield f"fuzz {number}", bytes(raw)


def ordinary(size: int) -> bytes:
    """A call's INVITE of about this size: ordinary header lines as far as the limits go, then body."""
    bare = len(_with())
    lines = max(0, min((size - bare) // len(_LINE % 0), _LIMITS.max_headers - 20))
    extra = [(_LINE % number).decode().rstrip() for number in range(lines)]
    rest = size - bare - lines * len(_LINE % 0)
    return _with(*extra, body=b"b" * min(max(rest - 10, 0), _LIMITS.max_message_bytes - bare - lines * 44 - 100))


def ratios(
    cost_of: Callable[[Sequence[bytes]], list[float]], only: str = ""
) -> list[tuple[float, str, int, float, float]]:
    """Ratio, name, size, cost, the ordinary message's cost: the dearest first."""
    torture = [(f"torture {case.name}", case.data) for case in torture_cases()]
    hostile = [one for one in (*worst_cases(), *torture, *fuzzed()) if re.search(only, one[0])]
    # One ordinary message does for all that are nearly as long.
    steps = [max(len(message), len(_with())) // 200 * 200 for _, message in hostile]
    sizes = sorted(set(steps))
    costs = cost_of([*(ordinary(size) for size in sizes), *(message for _, message in hostile)])
    base = dict(zip(sizes, costs, strict=False))
    return sorted(
        (
            (cost / base[step], name, len(message), cost, base[step])
            for (name, message), step, cost in zip(hostile, steps, costs[len(sizes) :], strict=True)
        ),
        reverse=True,
    )


def _copies(message: bytes, turn: int, times: int) -> list[bytes]:
    """Copies that a core takes for new requests."""
    return [
        message.replace(_BRANCH, b"z9hG4bK%d-%d" % (turn, number), 1).replace(_ONCE, b"%d-%d" % (turn, number))
        for number in range(times)
    ]


def cpu_us(messages: Sequence[bytes]) -> list[float]:
    """CPU microseconds of each, the least of some rounds: what disturbs a round only adds."""
    return [_cpu_us(message) for message in messages]


def _cpu_us(message: bytes, times: int = 40, rounds: int = 5) -> float:
    rounds_us = []
    core = Core()
    pipeline = core.pipeline
    now = Monotonic(core.now)
    for turn in range(rounds):
        copies = _copies(message, turn, times)
        gc.collect()
        gc.disable()
        started = time.process_time()
        for copy in copies:
            pipeline.receive(copy, PBX, CUSTOMERS, now)
            pipeline.collect()
        rounds_us.append((time.process_time() - started) / times * 1e6)
        gc.enable()
    return min(rounds_us)


def instructions(messages: Sequence[bytes]) -> list[float]:
    """Thousands of instructions of each: a child under callgrind, which writes what it has counted at each mark."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "messages").write_bytes(pickle.dumps(list(messages)))
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--dump-before={_MARK}",
            f"--callgrind-out-file={directory}/out", sys.executable, "-m", "tests.bench.hostile",
            "--counted", str(directory / "messages"),
        ]  # fmt: skip
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"}
        )
        if done.returncode:
            raise SystemExit(f"cannot count instructions: {done.stderr.strip()[-2000:]}")
        counts = []
        for part in range(len(messages)):
            text = (directory / f"out.{2 * part + 2}").read_text(encoding="utf-8", errors="replace")
            found = _TOTALS.search(text)
            counts.append(int(found[1]) / _COUNTED / 1000 if found else 0.0)
        return counts


def _be_counted(path: Path) -> None:
    """The child: every message a few times, between two marks; what is made once and kept was made before."""
    messages: list[bytes] = pickle.loads(path.read_bytes())  # noqa: S301 - our parent wrote it
    core = Core()
    pipeline = core.pipeline
    now = Monotonic(core.now)
    gc.collect()
    gc.freeze()
    gc.disable()
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], check=True, stdout=subprocess.DEVNULL)
    for turn, message in enumerate(messages):
        first, *copies = _copies(message, turn, 1 + _COUNTED)
        pipeline.receive(first, PBX, CUSTOMERS, now)
        pipeline.collect()
        os.getppid()
        for copy in copies:
            pipeline.receive(copy, PBX, CUSTOMERS, now)
            pipeline.collect()
        os.getppid()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    parser.add_argument("--most", type=int, default=15, help="how many to show")
    parser.add_argument("--this-engine", action="store_true", help="only on the engine that runs")
    parser.add_argument("--only", default="", help="those whose names this regular expression finds")
    parser.add_argument("--time", action="store_true", help="processor time instead of instructions")
    parser.add_argument("--counted", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.counted is not None:
        _be_counted(chosen.counted)
        return
    if not chosen.this_engine:
        for engine in (COMPILED, PURE):
            command = [sys.executable, "-m", "tests.bench.hostile", "--this-engine", "--most", str(chosen.most)]
            command += ["--only", chosen.only, *["--time"] * chosen.time]
            subprocess.run(command, check=True, env={**os.environ, VARIABLE: engine})
        return
    found = ratios(cpu_us if chosen.time else instructions, chosen.only)
    unit = "us" if chosen.time else "1000 instructions"
    table = Table(title=f"Hostile messages, engine {ENGINE.engine}: {len(found)}; the dearest beside an ordinary one")
    for column in ("message", "bytes", unit, "ordinary", "ratio"):
        table.add_column(column, justify="left" if column == "message" else "right")
    for ratio, name, size, cost, normal in found[: chosen.most]:
        table.add_row(name, f"{size:,}", f"{cost:,.0f}", f"{normal:,.0f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    over = sum(ratio > MOST for ratio, *_ in found)
    console.print(f"over {MOST:g} times an ordinary message: {over} of {len(found)}")


if __name__ == "__main__":
    main()
