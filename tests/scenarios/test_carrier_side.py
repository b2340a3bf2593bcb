"""The carrier's side of the core: targets that fail, pause, drain, come back, or are known by name only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from edge_proxy.addr import Address, Listener, Monotonic, Side, Transport
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.pipeline.probing import ProbeResult
from edge_proxy.pipeline.records import Attempt
from edge_proxy.pipeline.target_book import HopResult
from edge_proxy.routing.names import Endpoint, NameQuery, Names
from edge_proxy.transaction.layer import Send
from tests.kit.core_rig import (
    CARRIER,
    CONFIG,
    CUSTOMERS,
    PBX,
    SPARE,
    Core,
    Dialog,
    answer,
    invite,
    request,
    set_up,
    start_line,
    statuses,
    values,
)

_TRUNKS: Final = CONFIG[CONFIG.index("trunks:") :]
SBC: Final = NameQuery("sbc.example.net", None, None, Side.CARRIERS)


def config(targets: str, probe: str = "{interval_s: 0}") -> str:
    """One trunk with these targets and these probes."""
    trunk = f'  - {{id: carrier-a, sources: ["127.0.0.1/32"], targets: [{targets}], probe: {probe}}}\n'
    return CONFIG.replace(_TRUNKS, f"trunks:\n{trunk}")


TWO: Final = config('"sip:127.0.0.1:5090", "sip:127.0.0.1:5091"')
PROBED: Final = config('"sip:127.0.0.1:5090", "sip:127.0.0.1:5091"', "{}")


def call(core: Core, *extra: str) -> Send:
    """acme calls; the INVITE that left."""
    (sent,) = [send for send in core.receive(invite(*extra), PBX) if start_line(send.data).startswith("INVITE")]
    return sent


def emergency(core: Core) -> list[Send]:
    return core.receive(request("INVITE", "sip:911@127.0.0.1:5060", to="<sip:911@pbx.example>"), PBX)


def refuse(core: Core, sent: Send, status: int, *extra: str) -> list[Send]:
    """The target refuses what it got."""
    return core.receive(answer(sent.data, status, *extra), sent.address)


def complete(core: Core, sent: Send) -> None:
    """The target answers and the call is over for the target's health."""
    refuse(core, sent, 486)


def probes(sends: list[Send]) -> list[Send]:
    """The OPTIONS among these, each once."""
    return list({send.data: send for send in sends if start_line(send.data).startswith("OPTIONS ")}.values())


UNREACHABLE: Final = -1


def live(core: Core, seconds: float, reply: Callable[[Send], int] = lambda _probe: 200, *extra: str) -> list[Send]:
    """Let time pass while targets answer probes with the status that `reply` says (0: silence); the probes."""
    seen: list[Send] = []
    for _ in range(round(seconds * 10)):
        for probe in probes(core.advance(0.1)):
            if probe in seen:
                continue
            seen.append(probe)
            status = reply(probe)
            if status == UNREACHABLE:
                assert core.unreachable(probe) == []
            elif status:
                core.receive(answer(probe.data, status, *extra), probe.address)
    return seen


def result(core: Core, target: Address, what: HopResult) -> int:
    return core.pipeline.targets.results["carrier-a", f"sip:{target}", what]


def cause(core: Core, side: Side, disposition: Disposition, what: Cause) -> int:
    return core.pipeline.counters.sides[side].by_cause[disposition, what]


def is_balanced(core: Core) -> bool:
    return all(counts.is_balanced() for counts in core.pipeline.counters.sides.values())


# Signs from calls.


def test_target_that_keeps_saying_503_is_skipped_for_a_while() -> None:
    """Each 503 fails over; after three the calls begin at the next target, and after 30 s one tries the first again."""
    core = Core(config=TWO)
    for _ in range(3):
        sent = call(core)
        assert sent.address == CARRIER
        (again,) = [s for s in refuse(core, sent, 503) if s.address == SPARE]
        complete(core, again)
    assert call(core).address == SPARE
    core.advance(30)
    sent = call(core)
    assert sent.address == CARRIER
    complete(core, sent)
    assert call(core).address == CARRIER
    assert result(core, CARRIER, HopResult.UNAVAILABLE) == 3
    assert result(core, CARRIER, HopResult.ANSWERED) == 1
    assert result(core, SPARE, HopResult.ANSWERED) == 3


def test_target_that_never_answers_is_skipped() -> None:
    """A time-out fails over as a 503 does, and counts as a bad sign."""
    core = Core(config=TWO)
    for _ in range(3):
        assert call(core).address == CARRIER
    over = {send.address for send in core.advance(33) if send.address == SPARE}
    assert over == {SPARE}
    assert result(core, CARRIER, HopResult.TIMED_OUT) == 3
    assert call(core).address == SPARE


def test_target_that_cannot_be_reached_is_skipped() -> None:
    """No connection is as bad a sign as no answer."""
    core = Core(config=TWO)
    for _ in range(3):
        sent = call(core)
        assert (SPARE, "INVITE") in statuses(core.unreachable(sent))
    assert result(core, CARRIER, HopResult.UNREACHABLE) == 3
    assert call(core).address == SPARE


def test_refused_call_is_a_good_sign() -> None:
    """Busy, not found, declined: the target works. A ringing phone shows it too."""
    core = Core(config=TWO)
    for status in (503, 503, 486, 503, 503, 404, 503, 503):
        sent = call(core)
        assert sent.address == CARRIER
        refuse(core, sent, status)
    refuse(core, call(core), 180)
    refuse(core, call(core), 503)
    assert call(core).address == CARRIER


def test_all_targets_down_are_tried_all_the_same() -> None:
    """Health never refuses a call that might get through."""
    core = Core(config=TWO)
    for _ in range(4):
        sent = call(core)
        for failed_over in refuse(core, sent, 503):
            if start_line(failed_over.data).startswith("INVITE"):
                refuse(core, failed_over, 503)
    sent = call(core)
    (other,) = [s for s in refuse(core, sent, 503) if start_line(s.data).startswith("INVITE")]
    assert {sent.address, other.address} == {CARRIER, SPARE}


def test_customers_dead_pbx_is_skipped_too() -> None:
    """A customer with two systems: calls from the carrier go to the one that lives."""
    targets = 'targets: ["sip:127.0.0.2:5080"]'
    core = Core(config=CONFIG.replace(targets, 'targets: ["sip:127.0.0.2:5080", "sip:127.0.0.2:5081"]'))
    for _ in range(3):
        data = request("INVITE", "sip:+12025550100@127.0.0.1:5070", from_="<sip:+14155550999@x.example>;tag=a")
        (sent,) = [send for send in core.receive(data, CARRIER) if send.address == PBX]
        assert Address("127.0.0.2", 5081) in {send.address for send in core.unreachable(sent)}
    data = request("INVITE", "sip:+12025550100@127.0.0.1:5070", from_="<sip:+14155550999@x.example>;tag=a")
    assert Address("127.0.0.2", 5081) in {send.address for send in core.receive(data, CARRIER)}


# Retry-After.


def test_retry_after_is_honoured() -> None:
    """One 503 with Retry-After: no new call goes there for so long, and then it is the first again."""
    core = Core(config=TWO)
    refuse(core, call(core), 503, "Retry-After: 20 (maintenance);duration=60")
    core.advance(19)
    assert call(core).address == SPARE
    core.advance(1)
    assert call(core).address == CARRIER


def test_when_all_ask_for_a_pause_the_caller_is_told() -> None:
    """Nobody is left to send to: 503 with the rest of the shortest pause; an emergency call is sent nevertheless."""
    core = Core(config=TWO)
    for send in refuse(core, call(core), 503, "Retry-After: 60"):
        if start_line(send.data).startswith("INVITE"):
            refuse(core, send, 503, "Retry-After: 15")
    core.advance(5)
    back = core.receive(invite(), PBX)[-1]
    assert start_line(back.data) == "SIP/2.0 503 Service Unavailable"
    assert values(back.data, "Retry-After") == ["11"]
    assert cause(core, Side.CUSTOMERS, Disposition.ANSWERED, Cause.OVERLOADED) == 1
    assert CARRIER in {send.address for send in emergency(core)}
    assert is_balanced(core)


# Probes.


def test_each_target_is_probed_soon_after_the_start_and_then_in_its_rhythm() -> None:
    """Through the carriers' listener, as a request of our own; an answered one is followed by the next after 30 s."""
    core = Core(config=PROBED)
    first = live(core, 1.2)
    assert {probe.address for probe in first} == {CARRIER, SPARE}
    text = first[0].data
    assert start_line(text) == f"OPTIONS sip:{first[0].address} SIP/2.0"
    assert values(text, "Via")[0].startswith("SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK")
    assert values(text, "Max-Forwards") == ["70"]
    assert live(core, 28) == []
    second = live(core, 3)
    assert len(second) == 2
    assert not {values(probe.data, "Call-ID")[0] for probe in first} & {values(p.data, "Call-ID")[0] for p in second}


def test_probe_response_is_absorbed_and_leaves_no_trace() -> None:
    """It is received and absorbed; nobody gets it, no attempt is booked, no evidence is made, nothing stays."""
    core = Core(config=PROBED)
    for probe in probes(core.advance(1.1)):
        assert core.receive(answer(probe.data, 100), probe.address) == []
        assert core.receive(answer(probe.data, 200), probe.address) == []
    assert cause(core, Side.CARRIERS, Disposition.ABSORBED, Cause.PROBE_RESPONSE) == 4
    assert core.pipeline.counters.sides[Side.CARRIERS].dispositions[Disposition.FORWARDED] == 0
    assert core.records == []
    assert not core.pipeline.counters.verdicts
    assert is_balanced(core)
    core.advance(10)
    assert not core.pipeline.layer.clients
    assert core.pipeline.prober.results == {ProbeResult.GOOD: 2}


@pytest.mark.parametrize("status", [200, 403, 404, 405, 481, 483, 500])
def test_any_answer_but_503_and_408_is_a_sign_of_life(status: int) -> None:
    """Who refuses OPTIONS can still take calls."""
    core = Core(config=PROBED)
    live(core, 100, lambda _probe: status)
    assert call(core).address == CARRIER
    assert set(core.pipeline.prober.results) == {ProbeResult.GOOD}


@pytest.mark.parametrize("status", [408, 503, 0])
def test_target_that_fails_its_probes_gets_no_calls_until_it_is_back(status: int) -> None:
    """Three bad probes, soon after one another, take it out; two good ones, soon after one another, bring it back."""
    core = Core(config=PROBED)
    live(core, 5, lambda probe: 200 if probe.address == SPARE else status)
    assert call(core).address == CARRIER
    live(core, 8, lambda probe: 200 if probe.address == SPARE else status)
    assert call(core).address == SPARE
    assert [state.uri for state in core.pipeline.targets.states() if not state.is_up] == [f"sip:{CARRIER}"]
    live(core, 24)
    assert call(core).address == SPARE
    live(core, 7)
    assert call(core).address == CARRIER
    assert all(state.is_up for state in core.pipeline.targets.states())
    assert is_balanced(core)


def test_target_that_calls_find_dead_comes_back_by_its_probes() -> None:
    """The signs of calls count as those of probes do; a call does not try a target that is probed."""
    core = Core(config=PROBED)
    live(core, 1.2)
    for _ in range(3):
        core.unreachable(call(core))
    assert call(core).address == SPARE
    live(core, 31)
    assert call(core).address == SPARE
    live(core, 4)
    assert call(core).address == CARRIER


def test_probe_that_finds_no_connection_is_a_bad_sign() -> None:
    """Over TCP and TLS a dead target is noticed at once."""
    core = Core(config=PROBED)
    live(core, 10, lambda probe: UNREACHABLE if probe.address == CARRIER else 200)
    assert core.pipeline.prober.results[ProbeResult.UNREACHABLE] == 3
    assert call(core).address == SPARE


def test_probe_that_asks_for_a_pause_gets_it() -> None:
    """503 with Retry-After to a probe: neither calls nor probes go there until it is over."""
    core = Core(config=PROBED)
    live(core, 1.2, lambda probe: 503 if probe.address == CARRIER else 200, "Retry-After: 100")
    assert call(core).address == SPARE
    assert {probe.address for probe in live(core, 95)} == {SPARE}
    assert CARRIER in {probe.address for probe in live(core, 10)}
    assert call(core).address == CARRIER


def test_late_answer_to_a_probe_is_no_answer_to_the_next() -> None:
    """What comes after the probe was given up belongs to nobody."""
    core = Core(config=PROBED)
    first = next(probe for probe in probes(core.advance(1.1)) if probe.address == CARRIER)
    core.advance(4.5)
    assert core.receive(answer(first.data, 200), CARRIER) == []
    assert cause(core, Side.CARRIERS, Disposition.DROPPED, Cause.STRAY_RESPONSE) == 1
    assert is_balanced(core)


def test_reload_keeps_the_rhythm_and_ends_probes_of_what_is_gone() -> None:
    """A target that stays is not probed anew; one that is gone is not probed any more; a new one is, soon."""
    core = Core(config=PROBED)
    live(core, 1.2)
    fresh = config('"sip:127.0.0.1:5090", "sip:127.0.0.1:5092"', "{}")
    core.pipeline.use_snapshot(compile_snapshot(parse_settings(fresh.encode(), "test")))
    assert {probe.address.port for probe in live(core, 1.2)} == {5092}
    assert {probe.address.port for probe in live(core, 100)} == {5090, 5092}


# Draining, weights.


def test_drained_target_gets_no_new_calls_and_keeps_its_dialogs() -> None:
    """A call that is up is served to its end; new ones go elsewhere; an emergency call may use it."""
    core = Core(config=TWO)
    dialog = set_up(core)
    drained = config('{uri: "sip:127.0.0.1:5090", drain: true}, "sip:127.0.0.1:5091"')
    core.pipeline.use_snapshot(compile_snapshot(parse_settings(drained.encode(), "test")))
    assert call(core).address == SPARE
    assert (CARRIER, "INVITE") in statuses(core.receive(dialog.from_caller("INVITE"), PBX))
    assert (CARRIER, "BYE") in statuses(core.receive(dialog.from_caller("BYE"), PBX))
    only = config('{uri: "sip:127.0.0.1:5090", drain: true}')
    core.pipeline.use_snapshot(compile_snapshot(parse_settings(only.encode(), "test")))
    assert start_line(core.receive(invite(), PBX)[-1].data).startswith("SIP/2.0 480 ")
    assert CARRIER in {send.address for send in emergency(core)}


def test_weights_share_the_calls_and_priority_keeps_the_spare() -> None:
    """Two of one priority share by weight; the third is there when both fail."""
    third = '{uri: "sip:127.0.0.1:5092", priority: 2}'
    core = Core(
        config=config(
            '{uri: "sip:127.0.0.1:5090", priority: 1, weight: 3}, {uri: "sip:127.0.0.1:5091", priority: 1}, ' + third
        )
    )
    ports: Counter[int] = Counter()
    for _ in range(400):
        sent = call(core)
        ports[sent.address.port] += 1
        complete(core, sent)
    assert set(ports) == {5090, 5091}
    assert 260 < ports[5090] < 340
    following = [call(core)]
    tried: list[int] = []
    while following:
        tried.append(following[0].address.port)
        following = [s for s in refuse(core, following[0], 503) if start_line(s.data).startswith("INVITE")]
    assert sorted(tried[:2]) == [5090, 5091]
    assert tried[2:] == [5092]


# Names.


def names(*addresses: Address, query: NameQuery = SBC) -> Names:
    return Names({query: tuple(Endpoint(address, Transport.UDP) for address in addresses)})


def test_target_by_name_takes_calls_once_it_is_known() -> None:
    """Before, there is nowhere to go; a change of its address moves the next call."""
    core = Core(config=config('"sip:sbc.example.net"'))
    assert start_line(core.receive(invite(), PBX)[-1].data).startswith("SIP/2.0 480 ")
    assert not next(core.pipeline.targets.states()).is_up
    core.pipeline.use_names(names(CARRIER))
    assert call(core).address == CARRIER
    core.pipeline.use_names(names(SPARE))
    assert call(core).address == SPARE
    assert is_balanced(core)


def test_call_fails_over_among_the_addresses_of_one_name() -> None:
    """Each address of a name has its own health (RFC 3263 §4.3)."""
    core = Core(config=config('"sip:sbc.example.net"'))
    core.pipeline.use_names(names(CARRIER, SPARE))
    sent = call(core)
    (other,) = [s for s in refuse(core, sent, 503) if start_line(s.data).startswith("INVITE")]
    assert {sent.address, other.address} == {CARRIER, SPARE}


def test_addresses_of_names_are_probed_as_they_come() -> None:
    """A new address is probed soon; the probe names the target as the operator wrote it."""
    core = Core(config=config('"sip:sbc.example.net"', "{}"))
    assert probes(core.advance(5)) == []
    core.pipeline.use_names(names(CARRIER))
    (probe,) = live(core, 1.2)
    assert (probe.address, start_line(probe.data)) == (CARRIER, "OPTIONS sip:sbc.example.net SIP/2.0")
    core.pipeline.use_names(names(SPARE))
    assert {probe.address for probe in live(core, 60)} == {SPARE}


def named_dialog(core: Core) -> tuple[Dialog, bytes]:
    """A call that is up, and a BYE from the caller whose next hop is a name."""
    dialog = set_up(core)
    return dialog, dialog.from_caller("BYE").replace(f"BYE sip:{CARRIER}".encode(), b"BYE sip:ua.example.net")


UA: Final = NameQuery("ua.example.net", None, None, Side.CARRIERS)


def test_live_call_knows_better_than_a_name() -> None:
    """The far end's Contact is a name, but the call is at hand: its address is used at once, and nobody is asked."""
    core = Core(config=TWO)
    _, bye = named_dialog(core)
    assert statuses(core.receive(bye, PBX)) == [(CARRIER, "BYE")]
    assert core.wanted == set()


def test_name_in_a_dialog_is_found_by_the_time_of_the_retransmission() -> None:
    """After a restart only the name is there: the request waits for nothing, and passes when it comes again."""
    _, bye = named_dialog(Core(config=TWO))
    core = Core(config=TWO)
    assert core.receive(bye, PBX) == []
    assert cause(core, Side.CUSTOMERS, Disposition.DROPPED, Cause.RESOLVING) == 1
    assert core.wanted == {UA}
    assert not core.pipeline.layer.servers
    core.pipeline.use_names(names(SPARE, query=UA))
    assert statuses(core.receive(bye, PBX)) == [(SPARE, "BYE")]
    assert [record for record in core.records if not isinstance(record, Attempt)] != []
    assert is_balanced(core)


def test_name_without_addresses_is_answered() -> None:
    """DNS says that there is no such name: the sender is told at once."""
    _, bye = named_dialog(Core(config=TWO))
    core = Core(config=TWO)
    core.pipeline.use_names(names(query=UA))
    assert statuses(core.receive(bye, PBX)) == [(PBX, "503")]
    assert cause(core, Side.CUSTOMERS, Disposition.ANSWERED, Cause.NO_TARGET) == 1


def test_name_in_a_dialog_over_a_stream_is_answered_with_retry_after() -> None:
    """Nobody repeats a request over TCP, so it is told to come again."""
    _, bye = named_dialog(Core(config=TWO))
    core = Core(config=TWO)
    stream = Listener(0, Side.CUSTOMERS, Transport.TCP, CUSTOMERS.advertised)
    core.pipeline.receive(bye, PBX, stream, Monotonic(core.now))
    (back,) = core.pipeline.collect().sends
    assert start_line(back.data) == "SIP/2.0 503 Service Unavailable"
    assert values(back.data, "Retry-After") == ["1"]
    assert cause(core, Side.CUSTOMERS, Disposition.ANSWERED, Cause.RESOLVING) == 1


def test_request_in_a_dialog_tries_every_address_of_its_next_hop() -> None:
    """A name with two addresses: the second one is there when the first does not answer."""
    _, bye = named_dialog(Core(config=TWO))
    core = Core(config=TWO)
    core.pipeline.use_names(names(CARRIER, SPARE, query=UA))
    (sent,) = core.receive(bye, PBX)
    over = [send for send in core.advance(33) if start_line(send.data).startswith("BYE") and send != sent]
    assert {sent.address, *(send.address for send in over)} == {CARRIER, SPARE}
