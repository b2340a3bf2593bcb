"""What a hostile message costs beside an ordinary one of the same size, on either engine.

`python -m tests.bench.hostile` puts every message of the worst-case, torture and fuzz sets through a whole core, each
under a branch of its own, and divides its CPU time by that of an INVITE that was made as long with ordinary header
lines (as many as the limits allow) and then body. The worst are printed; the aim is a ratio of at most 5.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
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
_LINE: Final = b"X-Ordinary-%03d: a value as long as they are\r\n"
_FUZZ_SEED: Final = 20_261
_LIMITS: Final = Limits()


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
    yield "SDP media", _with("Content-Type: application/sdp", body=b"v=0\r\n" + b"m=audio 9 RTP/AVP 0 8\r\n" * 2500)
    yield "multipart", _with('Content-Type: multipart/mixed;boundary="b"', body=b"--b\r\n\r\nx\r\n" * 4000)
    yield "ISUP", _with("Content-Type: application/isup", body=b"\x01" + b"\x00\xff" * 2000)
    yield "digits in the Request-URI", _with().replace(b"sip:+14155550999@", b"sip:" + b"9" * longest + b"@")


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


def cost_us(message: bytes, times: int, rounds: int = 5) -> float:
    """CPU microseconds of one, the least of some rounds: what disturbs a round only adds."""
    rounds_us = []
    core = Core()
    pipeline = core.pipeline
    now = Monotonic(core.now)
    for turn in range(rounds):
        copies = [message.replace(_BRANCH, b"z9hG4bK%d-%d" % (turn, number), 1) for number in range(times)]
        gc.collect()
        gc.disable()
        started = time.process_time()
        for copy in copies:
            pipeline.receive(copy, PBX, CUSTOMERS, now)
            pipeline.collect()
        rounds_us.append((time.process_time() - started) / times * 1e6)
        gc.enable()
    return min(rounds_us)


def ratios() -> list[tuple[float, str, int, float, float]]:
    """Ratio, name, size, cost, the ordinary message's cost: the dearest first."""
    base: dict[int, float] = {}
    found = []
    torture = [(f"torture {case.name}", case.data) for case in torture_cases()]
    for name, message in (*worst_cases(), *torture, *fuzzed()):
        size = max(len(message), len(_with()))
        step = size // 200 * 200  # one ordinary message does for all that are nearly as long
        if step not in base:
            base[step] = cost_us(ordinary(step), 60)
        cost = cost_us(message, 40)
        found.append((cost / base[step], name, len(message), cost, base[step]))
    return sorted(found, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    parser.add_argument("--most", type=int, default=15, help="how many to show")
    parser.add_argument("--this-engine", action="store_true", help="only on the engine that runs")
    chosen = parser.parse_args()
    if not chosen.this_engine:
        for engine in (COMPILED, PURE):
            command = [sys.executable, "-m", "tests.bench.hostile", "--this-engine", "--most", str(chosen.most)]
            subprocess.run(command, check=True, env={**os.environ, VARIABLE: engine})
        return
    found = ratios()
    table = Table(title=f"Hostile messages, engine {ENGINE.engine}: {len(found)}; the dearest beside an ordinary one")
    for column in ("message", "bytes", "us", "ordinary, us", "ratio"):
        table.add_column(column, justify="left" if column == "message" else "right")
    for ratio, name, size, cost, normal in found[: chosen.most]:
        table.add_row(name, f"{size:,}", f"{cost:.0f}", f"{normal:.0f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    over = sum(ratio > MOST for ratio, *_ in found)
    console.print(f"over {MOST:g} times an ordinary message: {over} of {len(found)}")


if __name__ == "__main__":
    main()
