"""Overload control (RFC 7339) on both sides: targets that ask for less, and ourselves with too much to do."""

from __future__ import annotations

from typing import Final

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from edge_proxy.addr import NEVER, Address, Monotonic, Side
from edge_proxy.pipeline.counters import Cause, Disposition
from edge_proxy.pipeline.overload import Overload
from edge_proxy.pipeline.records import Attempt, show_id
from edge_proxy.policy.verdict import Reason
from edge_proxy.telemetry.target_metrics import target_families
from edge_proxy.transaction.layer import Send
from tests.kit.core_rig import (
    ACME_NUMBER,
    CARRIER,
    CARRIERS,
    CONFIG,
    CUSTOMERS,
    FAR_NUMBER,
    PBX,
    SPARE,
    Core,
    ack,
    answer,
    invite,
    request,
    set_up,
    start_line,
    statuses,
    values,
)

_TRUNKS: Final = CONFIG[CONFIG.index("trunks:") :]
STRANGER: Final = Address("127.0.0.77", 5060)


def config(*targets: Address) -> str:
    """One trunk that controls overload, with these targets."""
    uris = ", ".join(f'"sip:{target}"' for target in targets)
    trunk = f'  - {{id: carrier-a, sources: ["127.0.0.1/32"], targets: [{uris}], probe: {{interval_s: 0}},'
    return CONFIG.replace(_TRUNKS, f"trunks:\n{trunk} overload_control: true}}\n")


def feedback(data: bytes, status: int, params: str) -> bytes:
    """The response of a target with its load in our Via."""
    said = answer(data, status).decode()
    assert ';oc;oc-algo="loss"' in said
    return said.replace(';oc;oc-algo="loss"', f';{params};oc-algo="loss"', 1).encode()


def call(core: Core, *extra: str, call_id: str = "") -> list[Send]:
    return core.receive(invite(*extra, call_id=call_id), PBX)


def leaves(sends: list[Send]) -> Send:
    (sent,) = [send for send in sends if start_line(send.data).startswith("INVITE")]
    return sent


def asks_for(core: Core, params: str) -> list[Send]:
    """A call that the first target refuses, with its load; what came back of it."""
    sent = leaves(call(core))
    return core.receive(feedback(sent.data, 486, params), sent.address)


def cause(core: Core, disposition: Disposition, what: Cause, side: Side = Side.CUSTOMERS) -> int:
    assert all(counts.is_balanced() for counts in core.pipeline.counters.sides.values())
    return core.pipeline.counters.sides[side].by_cause[disposition, what]


def emergency(source: Address = PBX) -> bytes:
    return request("INVITE", "sip:911@127.0.0.1:5060", to="<sip:911@pbx.example>", source=source)


# As a client: targets ask for less.


def test_only_targets_that_are_to_be_asked_see_the_question() -> None:
    """Off by default; the CANCEL and the ACK of the transaction carry the same Via as the INVITE."""
    assert ";oc" not in values(leaves(call(Core())).data, "Via")[0]
    core = Core(config=config(CARRIER))
    sent = leaves(call(core))
    assert values(sent.data, "Via")[0].endswith(';rport;oc;oc-algo="loss"')
    assert ";oc" not in values(sent.data, "Via")[1]
    sends = core.receive(answer(sent.data, 486), CARRIER)
    (acked,) = [send for send in sends if start_line(send.data).startswith("ACK")]
    assert values(acked.data, "Via")[0] == values(sent.data, "Via")[0]


def test_feedback_does_not_travel_upstream() -> None:
    """It ends with our Via."""
    core = Core(config=config(CARRIER))
    (back,) = [send for send in asks_for(core, "oc=20;oc-validity=500;oc-seq=1.1") if send.address == PBX]
    assert b"oc" not in b"".join(value.encode() for value in values(back.data, "Via"))


def test_calls_go_to_the_next_target_while_the_first_wants_none() -> None:
    """All of them at 100 %; none any more when the validity is over."""
    core = Core(config=config(CARRIER, SPARE))
    asks_for(core, "oc=100;oc-validity=2000;oc-seq=1.1")
    assert [leaves(call(core)).address for _ in range(5)] == [SPARE] * 5
    core.advance(1.9)
    assert leaves(call(core)).address == SPARE
    core.advance(0.2)
    assert leaves(call(core)).address == CARRIER


def test_share_of_the_calls_is_shed_and_the_same_call_fares_the_same() -> None:
    """By the Call-ID: who tries again at once is not let through by chance."""
    core = Core(config=config(CARRIER, SPARE))
    asks_for(core, "oc=40;oc-validity=60000;oc-seq=1.1")
    first = [leaves(call(core, call_id=f"call-{n}")).address for n in range(200)]
    assert [leaves(call(core, call_id=f"call-{n}")).address for n in range(200)] == first
    assert 50 <= first.count(SPARE) <= 110


def test_caller_gets_503_when_no_target_is_left() -> None:
    """With the time after which it may try again, counted, and no target is asked."""
    core = Core(config=config(CARRIER))
    asks_for(core, "oc=100;oc-validity=2000;oc-seq=1.1")
    (refusal,) = call(core)
    assert statuses([refusal]) == [(PBX, "503")]
    assert values(refusal.data, "Retry-After") == ["3"]
    assert cause(core, Disposition.ANSWERED, Cause.OVERLOADED) == 1


@pytest.mark.parametrize("end", ["oc=0;oc-validity=500;oc-seq=2.1", "oc=50;oc-validity=0;oc-seq=2.1"])
def test_target_ends_it_and_a_late_response_does_not_begin_it_again(end: str) -> None:
    """What an older oc-seq says is no news."""
    core = Core(config=config(CARRIER, SPARE))
    pending = [leaves(call(core)) for _ in range(3)]
    core.receive(feedback(pending[0].data, 100, "oc=100;oc-validity=9000;oc-seq=1.1"), CARRIER)
    assert leaves(call(core)).address == SPARE
    core.receive(feedback(pending[1].data, 180, end), CARRIER)
    assert leaves(call(core)).address == CARRIER
    core.receive(feedback(pending[2].data, 180, "oc=100;oc-validity=9000;oc-seq=1.1"), CARRIER)
    assert leaves(call(core)).address == CARRIER


def test_emergency_calls_and_calls_that_are_up_always_pass() -> None:
    """They are what is left when everything else is shed."""
    core = Core(config=config(CARRIER))
    dialog = set_up(core)
    asks_for(core, "oc=100;oc-validity=60000;oc-seq=1.1")
    assert leaves(core.receive(emergency(), PBX)).address == CARRIER
    (bye,) = [send for send in core.receive(dialog.from_caller("BYE"), PBX) if send.address == CARRIER]
    assert values(bye.data, "Via")[0].endswith(';oc;oc-algo="loss"')


def test_feedback_of_a_target_that_was_not_asked_changes_nothing() -> None:
    """Parameters that we did not ask for are nobody's word."""
    core = Core()
    sent = leaves(call(core))
    said = answer(sent.data, 486).replace(b";rport", b";rport;oc=100;oc-validity=60000;oc-seq=1.1", 1)
    core.receive(said, CARRIER)
    assert leaves(call(core)).address == CARRIER


# As a server: we have too much to do ourselves.


def overload(core: Core, percent: int) -> Overload:
    """The core falls behind until it sheds at least this share, and stays at it."""
    state = core.pipeline.overload
    offset = core.pipeline.wall_offset_s
    while state.percent < percent:
        core.now += 0.1
        state.observe(0, 1, Monotonic(core.now - 0.1), Monotonic(core.now), offset)
    return state


def busy() -> Core:
    return Core(overload_delay_s=0.05)  # type: ignore[arg-type]  # the rig's other settings are whole numbers


def test_new_calls_are_shed_by_share_and_the_rest_is_served() -> None:
    """503 with Retry-After, without a transaction and with one record for all; the ACK to it is absorbed."""
    core = busy()
    overload(core, 40)
    sent = [invite(call_id=f"call-{n}") for n in range(200)]
    answers = [core.receive(one, PBX) for one in sent]
    shed = [(one, got) for one, got in zip(sent, answers, strict=True) if statuses(got) == [(PBX, "503")]]
    assert cause(core, Disposition.ANSWERED, Cause.OVERLOADED) == len(shed)
    assert 50 <= len(shed) <= 150
    assert len(core.records) == 200 - len(shed) + 1
    one, (refusal,) = shed[0]
    assert values(refusal.data, "Retry-After") == ["1"]
    assert [again.data for again in core.receive(one, PBX)] == [refusal.data]
    assert core.receive(ack(one, refusal.data), PBX) == []
    assert cause(core, Disposition.ABSORBED, Cause.ACK_OF_REFUSAL) == 1


def test_every_call_that_is_shed_leads_to_a_record_of_its_customer_and_second() -> None:
    """The first one's; a call that is shed in the next second, or of a trunk, leads to another."""
    core = busy()
    overload(core, 95)
    core.now = float(int(core.now + core.pipeline.wall_offset_s) + 1) - core.pipeline.wall_offset_s
    places = ((PBX, CUSTOMERS, FAR_NUMBER, "acme"), (CARRIER, CARRIERS, ACME_NUMBER, ""))
    told: list[str] = []
    for _ in range(2):
        for source, listener, number, customer in places:
            for n in range(40):
                uri = f"sip:{number}@{listener.advertised}"
                data = request("INVITE", uri, source=source, call_id=f"{len(told)}-{n}")
                core.pipeline.receive(data, source, listener, Monotonic(core.now))
            output = core.pipeline.collect()
            refused = [send.data for send in output.sends if send.data.startswith(b"SIP/2.0 503 ")]
            attempts = [one for one in output.records if isinstance(one, Attempt)]
            (record,) = [one for one in attempts if one.verdict.reason is Reason.OVERLOADED]
            refs = {values(data, "Warning")[0].partition("ref ")[2].rstrip('"') for data in refused}
            assert len(refused) > 30
            assert refs == {show_id(record.evidence_id)}
            assert {values(data, "Reason")[0] for data in refused} == {'SIP;cause=503;text="overloaded"'}
            assert (record.customer, record.verdict.status) == (customer, 503)
            told += refs
        core.now += 1.0
        overload(core, 95)
    assert len(set(told)) == 4


def test_unknown_sources_go_first_and_without_a_word() -> None:
    """At the smallest share already; when all is well they get their 403."""
    core = busy()
    for expected in (["403"], []):
        data = request("INVITE", "sip:+14155550999@127.0.0.1:5060", source=STRANGER)
        core.pipeline.receive(data, STRANGER, CUSTOMERS, Monotonic(core.now))
        assert [status for _, status in statuses(core.pipeline.collect().sends)] == expected
        overload(core, 1)
    assert cause(core, Disposition.DROPPED, Cause.UNKNOWN_SHED) == 1


def test_customer_over_its_limits_goes_before_the_others() -> None:
    """In monitor mode it passes its limit while all is well, and not when there is too much to do."""
    limited = 'numbers: ["+12025550100-+12025550199"]\n    mode: monitor\n    limits: {concurrent_calls: 1}'
    text = CONFIG.replace('numbers: ["+12025550100-+12025550199"]', limited)
    core = Core(config=text, overload_delay_s=0.05)  # type: ignore[arg-type]  # as above
    spared = next(f"call-{n}" for n in range(99) if not _is_shed(f"call-{n}"))
    set_up(core)
    leaves(call(core, call_id=f"{spared}-before"))
    overload(core, 1)
    assert statuses(call(core, call_id=spared)) == [(PBX, "503")]


def _is_shed(call_id: str) -> bool:
    core = busy()
    overload(core, 1)
    return statuses(call(core, call_id=call_id)) == [(PBX, "503")]


def test_emergency_calls_and_calls_that_are_up_are_never_shed() -> None:
    """Also at the highest share, and an emergency call from a source that nobody knows."""
    core = busy()
    dialog = set_up(core)
    overload(core, 95)
    for source in (PBX, STRANGER):
        core.pipeline.receive(emergency(source), source, CUSTOMERS, Monotonic(core.now))
        assert leaves(core.pipeline.collect().sends).address == CARRIER
    assert (CARRIER, "BYE") in statuses(core.receive(dialog.from_caller("BYE"), PBX))


def test_peers_that_ask_are_told_the_share_in_every_response() -> None:
    """Our own, those passed on, and repeated ones by what holds then; nobody while all is well."""
    core = busy()
    asked = emergency().replace(b";rport", b';rport;oc;oc-algo="loss"')
    sends = core.receive(asked, PBX)
    assert [value.rpartition(";oc=")[1] for s in sends if s.address == PBX for value in values(s.data, "Via")] == [""]
    state = overload(core, 10)
    (again,) = core.receive(asked, PBX)
    assert values(again.data, "Via")[0].endswith(state.params.decode())
    (ringing,) = core.receive(answer(leaves(sends).data, 180), CARRIER)
    (via,) = values(ringing.data, "Via")
    assert via.endswith(f';oc={state.percent};oc-algo="loss";oc-validity=1000;oc-seq={via.rpartition("=")[2]}')
    plain = core.receive(emergency(), PBX)
    assert not any(";oc" in value for s in plain if s.address == PBX for value in values(s.data, "Via"))


def test_share_falls_to_nothing_when_the_load_is_gone() -> None:
    """Time alone does it, and then calls pass again."""
    core = busy()
    overload(core, 30)
    core.advance(10.0)
    assert not core.pipeline.overload.is_active
    assert core.pipeline.overload.next_deadline() == NEVER
    leaves(call(core))


class _Targets(Collector):
    def __init__(self, core: Core) -> None:
        self._core = core

    def collect(self) -> list[Metric]:
        return list(target_families(self._core.pipeline))


def test_both_reductions_are_metrics() -> None:
    """Ours, and each target's."""
    core = Core(config=config(CARRIER), overload_delay_s=0.05)  # type: ignore[arg-type]  # as above
    registry = CollectorRegistry()
    registry.register(_Targets(core))
    labels = {"trunk": "carrier-a", "target": f"sip:{CARRIER}"}
    assert registry.get_sample_value("edge_proxy_target_reduction_ratio", labels) == 0
    assert registry.get_sample_value("edge_proxy_overload_reduction_ratio") == 0
    asks_for(core, "oc=25;oc-validity=60000;oc-seq=1.1")
    state = overload(core, 10)
    assert registry.get_sample_value("edge_proxy_target_reduction_ratio", labels) == 0.25
    assert registry.get_sample_value("edge_proxy_overload_reduction_ratio") == state.percent / 100
