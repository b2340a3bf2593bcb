"""Whatever peers send, in whatever order, and whatever is lost: no call, no transaction and no count is left behind."""

from __future__ import annotations

import gc
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_proxy.pipeline.proxying import ForwardContext
from edge_proxy.pipeline.records import Attempt
from edge_proxy.transaction.layer import Send
from tests.kit.core_rig import CARRIER, FAR_NUMBER, PBX, Core, Dialog, ack, answer, cancel, invite, request, start_line

_STATUSES = (100, 180, 183, 200, 202, 302, 404, 408, 422, 480, 486, 487, 500, 503, 603)
_PAUSES_S = (0.05, 0.6, 4.0, 33.0, 100.0, 190.0, 2000.0)
_METHODS = ("BYE", "INVITE", "UPDATE", "INFO", "ACK", "PRACK")

_CALLS = ["", "", "Supported: timer", "Session-Expires: 60"]
_STEP = st.one_of(
    st.tuples(st.just("call"), st.sampled_from([*_CALLS, "Max-Breadth: 0"])),
    st.tuples(st.just("answered"), st.sampled_from(_CALLS)),
    st.tuples(st.just("answered"), st.sampled_from(_CALLS)),
    st.tuples(st.just("ringing"), st.sampled_from(_CALLS)),
    st.tuples(st.just("answer_invite"), st.integers(0, 3), st.sampled_from(_STATUSES)),
    st.tuples(st.just("hang_up"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("other"), st.sampled_from(["MESSAGE", "SUBSCRIBE", "REFER", "OPTIONS"])),
    st.tuples(st.just("answer"), st.integers(0, 50), st.sampled_from(_STATUSES)),
    st.tuples(st.just("answer"), st.just(0), st.sampled_from(_STATUSES)),  # the newest request, often
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("repeat"), st.integers(0, 20)),
    st.tuples(st.just("ack"), st.integers(0, 20)),
    st.tuples(st.just("in_dialog"), st.integers(0, 5), st.sampled_from(_METHODS), st.booleans()),
    st.tuples(st.just("unreachable"), st.integers(0, 20)),
    st.tuples(st.just("pause"), st.sampled_from(_PAUSES_S)),
    st.tuples(st.just("tidy")),
)


class Chaos:
    """Peers that do whatever they are told, with all that they ever saw at hand; newest first."""

    def __init__(self) -> None:
        self.core = Core(session_expires_s=600, max_call_s=3600)
        self.came_in: list[bytes] = []
        self.went_out: list[Send] = []
        self.dialogs: list[Dialog] = []

    def do(self, step: tuple[object, ...]) -> None:
        match step:
            case ("tidy",):
                self.core.pipeline.calls.forget_empty_slots()
            case ("call", str(extra)):
                self._in(invite(*([extra] if extra else [])))
            case ("answered", str(extra)):
                self._in(invite(*([extra] if extra else [])))
                self._answer(0, 180)
                self._answer(0, 200)
            case ("ringing", str(extra)):
                self._in(invite(*([extra] if extra else [])))
                self._answer(0, 180)
            case ("answer_invite", int(index), int(status)):
                self._answer(index, status, b"INVITE")
            case ("hang_up", int(index), bool(is_caller)) if self.dialogs:
                dialog = self.dialogs[-1 - index % len(self.dialogs)]
                self._in(dialog.from_caller("BYE") if is_caller else dialog.from_callee("BYE"), is_caller)
            case ("other", str(method)):
                self._in(request(method, f"sip:{FAR_NUMBER}@127.0.0.1:5060"))
            case ("answer", int(index), int(status)):
                self._answer(index, status)
            case ("cancel", int(index)):
                if sent := _pick([data for data in self.came_in if data.startswith(b"INVITE")], index):
                    self._in(cancel(sent, "Reason: Q.850;cause=16"))
            case ("repeat", int(index)):
                if sent := _pick(self.came_in, index):
                    self._in(sent)
            case ("ack", int(index)):
                refusals = [s.data for s in self.went_out if start_line(s.data)[8:9] in "3456"]
                sent = _pick([data for data in self.came_in if data.startswith(b"INVITE")], index)
                if refusals and sent:
                    self._in(ack(sent, _pick(refusals, index) or b""))
            case ("in_dialog", int(index), str(method), bool(is_caller)):
                if self.dialogs:
                    dialog = self.dialogs[-1 - index % len(self.dialogs)]
                    self._in(dialog.from_caller(method) if is_caller else dialog.from_callee(method), is_caller)
            case ("unreachable", int(index)):
                if self.went_out:
                    self._out(self.core.unreachable(self.went_out[-1 - index % len(self.went_out)]))
            case ("pause", float(seconds)):
                self._out(self.core.advance(seconds))
        self.check()

    def check(self) -> None:
        calls = self.core.pipeline.calls
        assert calls.is_reconciled()
        for tally in (*calls.sides.values(), *calls.customers.values(), *calls.trunks.values(), *calls.asns.values()):
            assert 0 <= tally.active <= tally.attempted
            assert 0 <= tally.answered <= tally.effective <= tally.attempted
        assert all(counts.is_balanced() for counts in self.core.pipeline.counters.sides.values())

    def finish(self) -> None:
        """Everybody falls silent for longer than any timer."""
        self.core.advance(10_000.0)
        self.check()
        pipeline = self.core.pipeline
        assert len(pipeline.calls) == 0
        assert not pipeline.layer.servers
        assert not pipeline.layer.clients
        assert pipeline.next_timer() is None
        assert not pipeline.has_pending_requests
        assert sum(tally.active for tally in pipeline.calls.sides.values()) == 0
        let_through = [
            record.evidence_id for record in self.core.records if isinstance(record, Attempt) and record.verdict.passes
        ]
        endings = Counter(ending.evidence_id for ending in self.core.endings)
        assert endings == Counter(let_through)
        assert sum(pipeline.calls.ended.values()) == len(let_through)

    def _in(self, data: bytes, is_caller: bool = True) -> None:
        self.came_in.append(data)
        self._out(self.core.receive(data, PBX if is_caller else CARRIER))

    def _answer(self, index: int, status: int, method: bytes = b"") -> None:
        requests = [s for s in self.went_out if s.data.startswith(method) and not s.data.startswith(b"SIP/2.0")]
        if not requests:
            return
        send = requests[-1 - index % len(requests)]
        if send.data.startswith(b"ACK"):
            return
        response = answer(send.data, status, "Reason: Q.850;cause=17")
        back = self.core.receive(response, send.address)
        self._out(back)
        for passed_on in back:
            line = start_line(passed_on.data)
            if send.data.startswith((b"INVITE", b"SUBSCRIBE")) and line.startswith(("SIP/2.0 18", "SIP/2.0 2")):
                self.dialogs.append(Dialog(send.data, passed_on.data))

    def _out(self, sends: list[Send]) -> None:
        self.went_out += sends


def _pick(among: list[bytes], index: int) -> bytes | None:
    return among[-1 - index % len(among)] if among else None


@settings(max_examples=400, deadline=None)
@given(st.lists(_STEP, max_size=40))
def test_no_path_leaves_a_call_behind(steps: list[tuple[object, ...]]) -> None:
    """After any order of messages, losses and pauses, every call let through has ended once, and nothing is kept.

    At every step the tallies are what counting the calls gives, and none is negative.
    """
    chaos = Chaos()
    for step in steps:
        chaos.do(step)
    chaos.finish()


def test_call_that_loses_every_bye_ends_once() -> None:
    """The steps above do reach answered calls: this one is answered, and then never heard of again."""
    chaos = Chaos()
    for step in (
        ("call", "Supported: timer"),
        ("answer", 0, 180),
        ("answer", 1, 200),
        ("in_dialog", 0, "ACK", True),
    ):
        chaos.do(step)
    assert chaos.core.pipeline.calls.active_of("acme") == 1
    chaos.finish()
    (ending,) = chaos.core.endings
    assert ending.cause == "session_expired"
    assert ending.duration_s is not None
    assert 600 <= ending.duration_s <= 600 + 32 + 2 * 10


def test_answer_that_crosses_an_early_bye_brings_no_call_back() -> None:
    """A caller may hang up before the answer (RFC 3261 §15): a 200 that comes all the same finds the call ended."""
    chaos = Chaos()
    for step in (("ringing", ""), ("hang_up", 0, True), ("answer_invite", 0, 200)):
        chaos.do(step)
    assert chaos.core.pipeline.calls.active_of("acme") == 0
    chaos.finish()
    (ending,) = chaos.core.endings
    assert (ending.cause, ending.ended_by, ending.setup_s) == ("bye", "caller", None)


def contexts() -> int:
    """Those that anything holds; compiled, the collector does not know them themselves (see native.py)."""
    gc.collect()
    return len({id(held) for one in gc.get_objects() for held in gc.get_referents(one) if type(held) is ForwardContext})


def test_request_that_is_over_holds_nothing_until_timer_c_would_have_fired() -> None:
    """Answered, refused or given up: what was kept of an INVITE is free with its last transaction timer."""
    before = contexts()
    core = Core()
    calls = [invite() for _ in range(3)]
    sent = [next(send.data for send in core.receive(call, PBX) if send.address == CARRIER) for call in calls]
    core.receive(answer(sent[0], 200), CARRIER)
    core.receive(answer(sent[1], 486), CARRIER)
    core.receive(answer(sent[2], 180), CARRIER)
    core.receive(cancel(calls[2]), PBX)
    core.receive(answer(sent[2], 487), CARRIER)
    assert contexts() == before + 3
    core.advance(40.0)
    assert contexts() == before
    assert len(core.pipeline.calls) == 1
