"""Rules enforced or watched one by one, by share of callers and by trunk (policy/rollout.py, engine.py)."""

from __future__ import annotations

import pytest

from edge_proxy.addr import Side
from edge_proxy.config import ConfigErrors
from edge_proxy.policy.engine import Step
from edge_proxy.policy.rollout import ADJUSTABLE, share_place
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import CUSTOMER, FAR, FOREIGN, invite, invite_from_carrier
from tests.kit.playbook import Playbook, make_snapshot
from tests.unit.policy.test_engine import verdict_on
from tests.unit.policy.test_number_lists import into, out, snapshot_with

SPOOFED = f"<sip:{FOREIGN}@acme.example>;tag=x"
PSTN = "P-Access-Network-Info: GSTN;operator-specific-GI=1"
GSTN_OWNED = invite(PSTN)


def test_watched_rule_lets_pass_and_says_what_it_would_have_done() -> None:
    """The reason, the rule and the text are those of the refusal."""
    verdict = out(snapshot_with("policy: {rules: {from_not_owned: monitor}}\n"), invite(from_=SPOOFED))
    assert (verdict.outcome, verdict.status, verdict.reason) == (Outcome.MONITORED, 0, Reason.FROM_NOT_OWNED)
    assert verdict.rule == "from_is_owned"


def test_what_another_rule_refuses_is_refused_although_one_is_watched() -> None:
    """Watching one rule opens no way around the others."""
    snapshot = snapshot_with("policy: {rules: {from_not_owned: monitor}}\n")
    trace: list[Step] = []
    verdict = verdict_on(invite(PSTN, from_=SPOOFED), CUSTOMER, Side.CUSTOMERS, trace, snapshot)
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Reason.PSTN_ORIGIN)
    assert any(step.said.endswith("[monitor]") for step in trace)
    assert out(snapshot, GSTN_OWNED).outcome is Outcome.REFUSED


def test_watched_own_number_stays_watched_when_the_call_was_forwarded() -> None:
    """A finding that lets pass does not hide what is watched."""
    snapshot = snapshot_with(f'lists:\n  - {{id: a, kind: deny, numbers: ["{FAR}"]}}\n')
    data = invite_from_carrier(caller=FAR)
    assert into(snapshot, data).outcome is Outcome.REFUSED
    watched = snapshot_with(
        'lists:\n  - {id: a, kind: deny, numbers: ["+12025550150"]}\npolicy: {rules: {number_denied: monitor}}\n'
    )
    forwarded = invite_from_carrier(caller="+12025550150").replace(
        b"Content-Length", f"Diversion: <sip:{FOREIGN}@x.example>;reason=no-answer\r\nContent-Length".encode()
    )
    verdict = into(watched, forwarded)
    assert (verdict.outcome, verdict.reason) == (Outcome.MONITORED, Reason.NUMBER_DENIED)


def test_emergency_passes_whatever_is_rolled_out() -> None:
    """Every rule enforced for everybody."""
    rules = ", ".join(f"{reason}: enforce" for reason in ADJUSTABLE)
    verdict = out(snapshot_with(f"policy: {{rules: {{{rules}}}}}\n"), invite(uri="sip:911@x", from_=SPOOFED))
    assert (verdict.outcome, verdict.reason) == (Outcome.ALLOWED, Reason.EMERGENCY)


def test_share_is_of_callers_stable_and_growing() -> None:
    """Of 2000 neighbouring numbers about the share is refused; who is, is still when the share grows."""
    refused: dict[int, set[int]] = {}
    for share in (0, 10, 50, 100):
        snapshot = snapshot_with(f"policy: {{enforce_share: {{from_not_owned: {share}}}}}\n")
        refused[share] = {
            number
            for number in range(14155550000, 14155552000)
            if not out(snapshot, invite(from_=f"<sip:+{number}@x>;tag=1")).passes
        }
    assert refused[0] == set()
    assert len(refused[100]) == 2000
    assert refused[10] < refused[50] < refused[100]
    assert 130 <= len(refused[10]) <= 270
    assert 900 <= len(refused[50]) <= 1100


def test_place_of_a_caller_is_fixed() -> None:
    """Nodes, restarts and versions agree: these are not to change."""
    assert [share_place(text) for text in ("12025550100", "12025550101", "442079460000", "alice")] == PLACES


PLACES = [11, 82, 78, 14]


def test_trunk_in_monitor_mode_refuses_nobody_that_has_somewhere_to_go() -> None:
    """It holds for calls from that trunk, whatever the customer's mode."""
    snapshot = snapshot_with("")
    own = invite_from_carrier(caller="+12025550150")
    assert into(snapshot, own).outcome is Outcome.REFUSED
    watched = make_snapshot(old="    probe: {interval_s: 0}", new="    probe: {interval_s: 0}\n    mode: monitor")
    assert into(watched, own).outcome is Outcome.MONITORED
    assert into(watched, invite_from_carrier(FAR)).outcome is Outcome.REFUSED
    assert out(watched, invite(from_=SPOOFED)).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("policy", "key", "text"),
    [
        ("rules: {from_not_ownd: monitor}", "rules.from_not_ownd", 'did you mean "from_not_owned"?'),
        ("rules: {identity_owned: monitor}", "rules.identity_owned", "is no reason that a call is refused for"),
        ("rules: {emergency: monitor}", "rules.emergency", "is no reason that a call is refused for"),
        ("rules: {called_not_owned: monitor}", "rules.called_not_owned", "cannot pass"),
        ("rules: {from_not_owned: off}", "rules", "from_not_owned cannot be off"),
        ("rules: {from_not_owned: maybe}", "rules.from_not_owned", "enforce, monitor or off"),
        ("enforce_share: {number_denied: 101}", "enforce_share.number_denied", "0 to 100"),
        ("enforce_share: {number: 10}", "enforce_share.number", "is no reason"),
    ],
)
def test_bad_roll_out_is_told_at_its_place(policy: str, key: str, text: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        snapshot_with(f"policy:\n  {policy}\n")
    (error,) = caught.value.errors
    assert error.key == f"policy.{key}"
    assert text in str(error)


@pytest.mark.parametrize(("mode", "outcome"), [("enforce", Outcome.REFUSED), ("monitor", Outcome.MONITORED)])
def test_limit_can_be_watched(mode: str, outcome: Outcome) -> None:
    """The second call of a second, where one is allowed."""
    numbers = '    numbers: ["+12025550100-+12025550199"]\n'
    snapshot = make_snapshot(
        old=f"{numbers}  - id: globex",
        new=f"{numbers}    limits: {{calls_per_second: 1}}\n  - id: globex",
        more=f"policy: {{rules: {{calls_per_second: {mode}}}}}\n",
    )
    play = Playbook(snapshot=snapshot)
    for _ in range(2):
        play.deliver(invite(), CUSTOMER, play.listeners[0])
    assert [attempt.verdict.outcome for attempt in play.attempts] == [Outcome.ALLOWED, outcome]
    assert play.attempts[1].verdict.reason is Reason.CALLS_PER_SECOND
