"""Every limit over two workers: as many calls as with one, whichever of them decides, and no more held than is up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from edge_proxy.addr import Monotonic, Side
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import Outcome, Reason
from edge_proxy.telemetry.limit_metrics import limit_families
from tests.kit.messages import CUSTOMER, FOREIGN, answer, invite, invite_from_carrier, outgoing_uri, request
from tests.kit.playbook import CONFIG, FOR_CUSTOMERS, Playbook, make_snapshot
from tests.kit.two_workers import Worker, two_workers

NUMBERS: Final = 'numbers: ["+12025550100-+12025550199"]'
SPOOFED: Final = f"<sip:{FOREIGN}@acme.example>;tag=x"


def limited(limits: str, more: str = "") -> Snapshot:
    """The network of these tests, with limits for acme."""
    assert NUMBERS in CONFIG
    return make_snapshot(old=NUMBERS, new=f"{NUMBERS}\n    limits: {limits}", more=more)


def tries(play: Playbook, sent: bytes) -> bool:
    """acme calls; whether the call goes on (it rings for ever)."""
    play.customer.sends(sent)
    passes = play.attempts[-1].verdict.passes
    play.customer.ignores()
    play.carrier.ignores("INVITE")
    return passes


def talks(play: Playbook, seconds: float) -> None:
    """A call that is answered and ends after so long."""
    dialog = play.call()
    play.waits(seconds)
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)


def numbers(first: int, step: int = 1) -> Iterator[str]:
    return (f"+1310555{n:04}" for n in range(first, 10_000, step))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("{concurrent_calls: 5}", Reason.CONCURRENT_CALLS),
        ("{calls_per_second: 5}", Reason.CALLS_PER_SECOND),
        ("{per_number: {calls_per_second: 5}}", Reason.NUMBER_RATE),
        ("{per_number: {concurrent_calls: 5}}", Reason.NUMBER_CONCURRENT),
        ('{destinations: [{prefix: "+1", calls_per_second: 5}]}', Reason.DESTINATION_RATE),
        ('{destinations: [{prefix: "+1", concurrent_calls: 5}]}', Reason.DESTINATION_CONCURRENT),
        ('{destinations: [{prefix: "+1", calls_per_hour: 5}]}', Reason.DESTINATION_HOUR),
        ("{calls_to_number_per_minute: 5}", Reason.CALLED_NUMBER_RATE),
    ],
)
@pytest.mark.parametrize("order", [(0, 1), (0, 0, 0, 1), (1,)])
def test_exactly_as_many_as_may(limits: str, reason: Reason, order: tuple[int, ...]) -> None:
    """Five of thirty, whoever is asked; and a worker that dies takes nothing with it but the calls that it had up."""
    workers = two_workers(limited(limits))
    turns = cycle(order)
    passed = [tries(workers[next(turns)], invite()) for _ in range(30)]
    assert passed == [True] * 5 + [False] * 25
    assert {one for worker in workers for one in worker.reasons} == {Reason.IDENTITY_OWNED, reason}
    lost = workers[0].pipeline.calls.active(Side.CUSTOMERS)
    workers[0].restart()
    again = [tries(workers[n % 2], invite()) for n in range(10)]
    assert again.count(True) == (lost if reason.endswith("concurrent") or reason is Reason.CONCURRENT_CALLS else 0)


def test_sequence_is_seen_however_it_is_spread() -> None:
    """Three in a row pass, all further ones are refused."""
    workers = two_workers(limited("{sequential: {numbers: 3}}"))
    dialled = numbers(100)
    assert [tries(workers[n % 2], invite(number=next(dialled))) for n in range(8)] == [True] * 3 + [False] * 5
    assert workers[1].reasons[-1] is Reason.SEQUENTIAL_CALLS


def test_dialler_of_many_numbers_is_seen_however_it_is_spread() -> None:
    """Each call from another number of the customer, here or there: five pass, all further ones are refused."""
    workers = two_workers(limited("{sequential: {numbers: 3, of_customer: 5}}"))
    dialled = numbers(100)
    callers = [f"<sip:+120255501{caller:02}@acme.example>;tag=x" for caller in range(9)]
    passed = [tries(workers[n % 2], invite(number=next(dialled), from_=callers[n])) for n in range(9)]
    assert passed == [True] * 5 + [False] * 4
    assert workers[0].reasons[-1] is Reason.SEQUENTIAL_CALLS


def test_burst_of_spoofing_is_seen_however_it_is_spread() -> None:
    """Two refusals here and one there: from then on one call a second passes, here or there."""
    workers = two_workers(limited("{spoofing: {refusals: 3, window_s: 60}}"))
    for turn in (0, 1, 0):
        workers[turn].refuses(invite(from_=SPOOFED), 403)
    assert [tries(workers[n % 2], invite()) for n in range(6)] == [True] + [False] * 5


def test_short_calls_are_seen_however_they_are_spread() -> None:
    """One here and one there: one call a second from then on."""
    workers = two_workers(limited("{short_calls: {calls: 2, shorter_than_s: 6, window_s: 60}}"))
    for worker in workers:
        talks(worker, 1.0)
    assert [tries(workers[n % 2], invite()) for n in range(6)] == [True] + [False] * 5


def test_messages_are_limited_together() -> None:
    workers = two_workers(limited("{messages_per_second: 3}"))
    passed = []
    for n in range(9):
        play = workers[n % 2]
        play.customer.sends(request("MESSAGE", outgoing_uri(), body="hi"))
        passed.append(play.attempts[-1].verdict.passes)
        play.customer.ignores()
        play.carrier.ignores("MESSAGE")
    assert passed == [True] * 3 + [False] * 6


AS_TABLE: Final = "198.51.100.0\t198.51.100.255\t64500\tUS\tEXAMPLE\n"


@pytest.mark.parametrize(
    ("share", "reason"), [("concurrent_calls", Reason.ASN_CONCURRENT), ("calls_per_second", Reason.ASN_RATE)]
)
def test_source_as_is_limited_together(share: str, reason: Reason, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also of a customer that has no limits of its own."""
    table = tmp_path_factory.mktemp("asn") / "asn.tsv"
    table.write_text(AS_TABLE)
    more = f"asn: {{table: {table}}}\npolicy: {{limits: {{per_asn: {{{share}: 4}}}}}}\n"
    workers = two_workers(make_snapshot(more=more))
    assert [tries(workers[n % 2], invite()) for n in range(12)] == [True] * 4 + [False] * 8
    assert workers[1].reasons[-1] is reason


def test_what_ended_is_free_for_all() -> None:
    """A call that was up with one worker leaves its place to the other."""
    limits = "{concurrent_calls: 1, per_number: {concurrent_calls: 1}}"
    one, two = two_workers(limited(limits))
    for _ in range(3):
        talks(one, 1.0)
        talks(two, 1.0)
    one.call()
    two.refuses(invite(), 503)


def test_calls_from_the_carrier_count_with_the_others() -> None:
    one, two = two_workers(limited("{concurrent_calls: 2}"))
    one.call()
    two.carrier.sends(invite_from_carrier()).gets(100)
    two.customer.gets("INVITE")
    one.refuses(invite(), 503)
    two.refuses(invite(), 503)


def test_message_is_no_call_for_the_others() -> None:
    """Not even for a moment: while one worker has a MESSAGE in hand, the other has room for the one call that may be
    up."""
    one, two = two_workers(limited("{concurrent_calls: 1, messages_per_second: 5}"))
    sent = request("MESSAGE", outgoing_uri(), body="hi")
    one.pipeline.receive(sent, CUSTOMER, FOR_CUSTOMERS, Monotonic(one.now))  # and its turn goes on
    two.call()
    sent = request("SUBSCRIBE", outgoing_uri())
    one.pipeline.receive(sent, CUSTOMER, FOR_CUSTOMERS, Monotonic(one.now))
    assert [attempt.verdict.reason for attempt in two.attempts] == [Reason.IDENTITY_OWNED]


def test_call_in_hand_is_one_for_the_others() -> None:
    one, two = two_workers(limited("{concurrent_calls: 1}"))
    one.pipeline.receive(invite(), CUSTOMER, FOR_CUSTOMERS, Monotonic(one.now))  # and its turn goes on
    two.refuses(invite(), 503)


def test_emergency_calls_pass_and_hold_nothing() -> None:
    one, two = two_workers(limited("{calls_per_second: 1, concurrent_calls: 1}"))
    for play in (one, two, one, two):
        assert tries(play, invite(uri=outgoing_uri("911")))
    one.call()
    two.refuses(invite(), 503)
    assert tries(two, invite(uri=outgoing_uri("911")))


def use(worker: Worker, snapshot: Snapshot) -> None:
    worker.pipeline.use_snapshot(snapshot)
    worker.limits.hold_customers(snapshot.customers, worker.pipeline.calls)


def test_limit_that_a_reload_brings_counts_what_is_up() -> None:
    one, two = workers = two_workers(limited("{calls_per_second: 100}"))
    one.call()
    two.call()
    for worker in workers:
        use(worker, limited("{calls_per_second: 100, concurrent_calls: 3}"))
    one.call()
    assert not tries(one, invite())
    assert not tries(two, invite())


def test_what_was_used_up_before_a_reload_stays_used_up() -> None:
    one, two = workers = two_workers(limited("{calls_to_number_per_minute: 2, per_number: {concurrent_calls: 5}}"))
    one.call()
    two.call()
    for worker in workers:
        use(worker, limited("{calls_to_number_per_minute: 2, per_number: {concurrent_calls: 3}}"))
        worker.refuses(invite(), 503)
        assert worker.reasons[-1] is Reason.CALLED_NUMBER_RATE
    one.customer.sends(invite(number="+13105550100")).gets(100)
    one.carrier.gets("INVITE")
    two.refuses(invite(number="+13105550100"), 503)
    assert two.reasons[-1] is Reason.NUMBER_CONCURRENT
    assert two.attempts[-1].verdict.outcome is Outcome.REFUSED


class _Metrics(Collector):
    def __init__(self, play: Playbook) -> None:
        self._play = play

    def collect(self) -> list[Metric]:
        return list(limit_families(self._play.pipeline))


def test_metrics_tell_of_what_is_shared() -> None:
    """Rates in use are the same seen from every worker; what a worker did alone is its own."""
    one, two = two_workers(limited("{calls_per_second: 5, calls_to_number_per_minute: 5}"))
    one.call()
    two.call()
    for play in (one, two):
        registry = CollectorRegistry()
        registry.register(_Metrics(play))
        assert registry.get_sample_value("edge_proxy_limit_entries") == 2
        assert registry.get_sample_value("edge_proxy_limit_entries_forgotten_total") == 0
        assert registry.get_sample_value("edge_proxy_limits_alone_total") == 0
