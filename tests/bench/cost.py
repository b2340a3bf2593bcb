"""What a call costs each candidate, which rate it sustains, and what it holds in memory; rounds are interleaved.

A machine's speed drifts by more than the candidates differ. So every round measures all of them within seconds of each
other, and beside medians of the figures stand medians of the rounds' own ratios.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

from tests.bench.candidates import KAMAILIO, NULL, OURS, OURS_PURE, Candidate, EdgeProxy, Load, Memory
from tests.bench.load import Calls, Slice, measure
from tests.bench.report import Figures, say, show, spread

_AIMED_RATE = 1000
_LOWEST_RATE = 250
_HIGHEST_RATE = 8000
_TRIES = 2


def cost(
    field: Sequence[Candidate], load: Load, rates: Sequence[int], seconds: float, rounds: int, figures: Figures
) -> None:
    """Processor time per call, every candidate at every rate, again and again."""
    slices = _in_turns([(candidate, load) for candidate in field], rates, seconds, rounds)
    names = [candidate.name for candidate in field]
    show(
        f"Processor time per completed call, microseconds: median of {rounds} rounds (lowest to highest)",
        ("candidate", *(f"{rate} calls/s" for rate in rates)),
        [(name, *(_cell(slices[name, rate]) for rate in rates)) for name in names],
    )
    for reference in (NULL, KAMAILIO):
        if reference in names:
            show(
                f"The same as a multiple of {reference}'s in the same round: median of {rounds} rounds",
                ("candidate", *(f"{rate} calls/s" for rate in rates)),
                [
                    (name, *(spread(_ratios(slices[name, rate], slices[reference, rate]), 2) for rate in rates))
                    for name in names
                    if name != reference
                ],
            )
    for limit, name, reference in (
        (0.5, OURS, KAMAILIO),
        (1.5, OURS, NULL),
        (1.3, OURS_PURE, KAMAILIO),
    ):
        ratios = _ratios(slices[name, _AIMED_RATE], slices[reference, _AIMED_RATE])
        figures.at_most(limit, f"processor time per call at {_AIMED_RATE}/s, {name} / {reference}", ratios)
    figures["cost"] = {f"{name} at {rate}/s": [one._asdict() for one in slices[name, rate]] for name, rate in slices}


Slices = dict[tuple[str, int], list[Slice]]
"""By candidate and rate, one for each round; fewer where the rate is out of reach."""


def _in_turns(field: Sequence[tuple[Candidate, Load]], rates: Sequence[int], seconds: float, rounds: int) -> Slices:
    """Every candidate at every rate, again and again; a rate that is out of reach is tried twice only."""
    slices: Slices = defaultdict(list)
    for turn in range(rounds):
        first = turn % len(field)  # so that nobody always comes after the same other
        for rate in rates:
            for candidate, load in (*field[first:], *field[:first]):
                known = slices[candidate.name, rate]
                if sum(one.is_hopeless for one in known) < _TRIES:
                    known.append(measure(candidate, load, rate, seconds))
    return slices


def _cell(slices: Sequence[Slice]) -> str:
    """Figures of rounds that were no fair test are shown, and why."""
    if sum(one.is_hopeless for one in slices) >= _TRIES:
        return f"cannot: {max(one.resent for one in slices):.0%} sent again"
    text = spread([one.us_per_call for one in slices if one.calls])
    lost = sum(not one.is_sustained for one in slices)
    return f"{text}; not sustained in {lost}" if lost else text


def _ratios(slices: Sequence[Slice], reference: Sequence[Slice]) -> list[float]:
    """Of rounds in which both got through."""
    return [
        one.us_per_call / base.us_per_call
        for one, base in zip(slices, reference, strict=False)
        if not one.is_hopeless and not base.is_hopeless
    ]


def highest_rates(
    field: Sequence[Candidate], load: Load, seconds: float, bisections: int, figures: Figures, key: str
) -> None:
    """The highest rate at which less than 0.1 % of messages are sent again: doubled until it fails, then bisected."""
    rows, found, capacities = [], {}, {}
    for candidate in field:
        best, tried = _search(candidate, load, seconds, bisections)
        found[candidate.name] = {"best": best._asdict() if best else None, "tried": [one._asdict() for one in tried]}
        if best is None:
            rows.append((candidate.name, f"below {_LOWEST_RATE}", "-", "-", "-"))
            continue
        limit = "candidate" if best.cores > 0.85 else "the machine, with both ends on it"
        capacity = capacities[candidate.name] = 1e6 / best.us_per_call
        rows.append((candidate.name, f"{best.rate:,.0f}", f"{best.cores:.0%}", f"{capacity:,.0f}", limit))
    show(
        "Highest rate with under 0.1 % of messages sent again, and what one processor could carry at that cost",
        ("candidate", "calls/s", "of one processor used", "calls/s of a whole processor", "what was at its limit"),
        rows,
    )
    if OURS in capacities and KAMAILIO in capacities:
        ratio = capacities[OURS] / capacities[KAMAILIO]
        figures.at_least(1.5, f"calls/s of a whole processor at the highest rate, {OURS} / {KAMAILIO}", [ratio])
    figures[key] = found


def _search(candidate: Candidate, load: Load, seconds: float, most: int) -> tuple[Slice | None, list[Slice]]:
    best: Slice | None = None
    tried: list[Slice] = []
    rate, failed = float(_LOWEST_RATE), 0.0
    bisections = 0
    while bisections <= most and rate <= _HIGHEST_RATE:
        one = measure(candidate, load, rate, seconds)
        if not one.is_sustained and not one.is_hopeless:  # once more: a hiccup of the machine is no limit
            time.sleep(1.0)
            one = measure(candidate, load, rate, seconds)
        tried.append(one)
        if one.is_sustained:
            best = one
        else:
            failed = rate
            time.sleep(1.0)
            if best is None:
                break
        rate = (best.rate + failed) / 2 if failed and best else rate * 2
        bisections += bool(failed)
    return best, tried


def workers(
    one: EdgeProxy, two: EdgeProxy, load: Load, rates: Sequence[int], seconds: float, rounds: int, figures: Figures
) -> None:
    """Two workers on one address beside one: at the same rate in all, and at the same rate for each worker.

    In the first, each of two wakes for half as many messages at once, and what a call costs grows as it does for one
    worker at half the rate. How much more two processors carry than one is told by the second, a little too well where
    the ends' share of the machine grows: who comes late finds more messages waiting.
    """
    slices = _in_turns([(one, load), (two, load)], rates, seconds, rounds)
    rows = []
    for rate in rates:
        first, second = slices[one.name, rate], slices[two.name, rate]
        ratios = _ratios(second, first)
        gain = [2 / ratio for ratio in _ratios(slices[two.name, 2 * rate], first)] if 2 * rate in rates else []
        figures.at_most(1.2, f"processor time per call at {rate}/s, 2 workers / 1 worker", ratios)
        if gain:
            what = f"calls/s of two whole processors / of one, at the cost with {rate}/s for each worker"
            figures.at_least(1.7, what, gain)
        rows.append((f"{rate}", _cell(first), _cell(second), spread(ratios, 2), spread(gain, 2)))
    show(
        "One worker and two on one address: microseconds per call, all processes; medians (lowest to highest)",
        (
            "calls/s",
            "1 worker",
            "2 workers",
            "2 workers / 1 worker",
            "rate that 2 processors carry / that of 1, each worker at this rate",
        ),
        rows,
    )
    figures["workers"] = {f"{name} at {rate}/s": [one._asdict() for one in slices[name, rate]] for name, rate in slices}


def memory_at_rest(field: Sequence[Candidate], figures: Figures) -> None:
    """What each holds when nothing is under way."""
    rows, found = [], {}
    for candidate in field:
        held = Memory(candidate.pids())
        found[candidate.name] = vars(held)
        rows.append((candidate.name, *(f"{size / 1e6:.1f}" for size in (held.all, held.private, held.mapped))))
        if candidate.name in {OURS, OURS_PURE}:
            figures.at_most(80, f"private memory at rest, MB, {candidate.name}", [held.private / 1e6])
    show(
        "Memory at rest, MB, all processes of a candidate; what they share counts once",
        ("candidate", "all", "private", "mapped files and shared memory"),
        rows,
    )
    figures["memory_at_rest"] = found


def bring_up(candidate: EdgeProxy, load: Load, calls: int, rate: float) -> None:
    """Establish calls and leave them up and silent: both ends go away without a word."""
    hold_ms = int(calls / rate * 1000) + 120_000
    with Calls(candidate, load, rate, calls, hold_ms=hold_ms, timeout_s=hold_ms // 1000 + 60):
        deadline = time.monotonic() + calls / rate * 2 + 30
        while time.monotonic() < deadline:
            time.sleep(0.5)
            if candidate.proxy.scrape().total("calls_active") >= calls:
                time.sleep(1.0)  # the last ACKs
                return
    say(f"{candidate.name}: not all of {calls} calls came up")


def live_calls(candidate: EdgeProxy, load: Load, calls: int, rate: float, figures: Figures) -> None:
    """What a call that is up and silent holds, when its transactions are over, and whether all comes back at its end.

    It is done twice: what grows again and again is told from what grew once.
    """
    measure(candidate, load, rate, 4)  # what only ever grows once has grown
    settle(candidate)
    rows, rounds, kept, held = [], [], [], []
    for _ in range(2):
        at_rest = Memory(candidate.pids())
        hold_ms = int(calls / rate * 1000) + 45_000  # past timer L and M, so that only the calls are left
        with Calls(candidate, load, rate, calls, hold_ms=hold_ms, timeout_s=hold_ms // 1000 * 2 + 60) as both:
            up = until_silent(candidate, calls, time.monotonic() + hold_ms / 1000)
            with_calls = Memory(candidate.pids())
            both.wait()
        settle(candidate)
        after = Memory(candidate.pids())
        left = candidate.proxy.scrape().total("calls_active")
        if up < calls or left:
            say(f"{calls - up} calls did not come up and {left} lost their end: the machine was too busy for this")
        held.append((with_calls.private - at_rest.private) / max(up, 1))
        kept.append(after.all / at_rest.all)
        shown = (f"{one.all / 1e6:.1f}" for one in (at_rest, with_calls, after))
        rows.append((candidate.name, *shown, f"{held[-1]:,.0f}", f"{kept[-1]:.3f}"))
        rounds.append({"calls": up, "at_rest": vars(at_rest), "with_calls": vars(with_calls), "after": vars(after)})
    show(
        f"Memory of {calls:,} established, silent calls, twice",
        ("candidate", "at rest, MB", "with the calls, MB", "after them, MB", "bytes per call", "after / at rest"),
        rows,
    )
    figures.at_most(6000, "memory per live call, bytes", held[:1])  # the second round finds what the first one left
    figures.at_most(1.05, f"memory after {calls:,} calls / at rest", kept)
    figures["live_calls"] = rounds


def until_silent(candidate: EdgeProxy, calls: int, deadline: float) -> int:
    """Wait until so many calls are up and nothing else is, for a bounded time; how many are up."""
    while True:
        seen = candidate.proxy.scrape()
        up = seen.total("calls_active")
        if (up >= calls and not seen.total("transactions_active")) or time.monotonic() > deadline:
            return up
        time.sleep(1.0)


def settle(candidate: EdgeProxy) -> None:
    """Wait until every transaction's last timer is over, and the proxy has seen that it is idle and given back."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and candidate.proxy.scrape().total("transactions_active"):
        time.sleep(1.0)
    time.sleep(15.0)


def growth(
    variants: Sequence[EdgeProxy], loads: Sequence[Load], rate: int, seconds: float, rounds: int, figures: Figures
) -> None:
    """The cost of a call in networks of several sizes, each beside the first, the smallest.

    The last one has other callers than the rest, and so no target: it tells what variety costs.
    """
    by_rate = _in_turns(list(zip(variants, loads, strict=True)), [rate], seconds, rounds)
    slices = {name: found for (name, _), found in by_rate.items()}
    small = slices[variants[0].name]
    rows = [
        (candidate.name, _cell(slices[candidate.name]), spread(_ratios(slices[candidate.name], small), 3))
        for candidate in variants
    ]
    show(
        f"Growth: processor time per call at {rate} calls/s, microseconds, and as a multiple of the smallest network's",
        ("network", "microseconds per call", "multiple, same round"),
        rows,
    )
    for candidate in variants[1:-1]:
        ratios = _ratios(slices[candidate.name], small)
        figures.at_most(1.05, f"processor time per call at {rate}/s, {candidate.name} / smallest network", ratios)
    figures["growth"] = {name: [one._asdict() for one in found] for name, found in slices.items()}
    low = statistics.median(one.us_per_call for one in small)
    say(f"(within 5 % means between {low * 0.95:.0f} and {low * 1.05:.0f}; the spread says what this run can tell)")
