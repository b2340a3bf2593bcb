"""Lists of numbers, impossible numbers and numbers that call themselves, as verdicts (policy/list_rules.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_proxy.addr import Address, Side, Wall
from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, parse_settings
from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import STATUS_OF, Outcome, Reason, Verdict
from tests.kit.messages import CARRIER, CUSTOMER, FAR, FOREIGN, OWNED, invite, invite_from_carrier
from tests.kit.playbook import CONFIG, STRANGER
from tests.unit.policy.test_engine import verdict_on

NOW = Wall(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
DAY_S = 86_400.0


def snapshot_with(extra: str, now: Wall = NOW) -> Snapshot:
    text = CONFIG.replace("TARGETS", f'"sip:{CARRIER}"') + extra
    return compile_snapshot(parse_settings(text.encode(), "test.yaml"), now)


def lists(*entries: str) -> Snapshot:
    return snapshot_with("lists:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))


def out(snapshot: Snapshot, data: bytes, source: Address = CUSTOMER) -> Verdict:
    return verdict_on(data, source, Side.CUSTOMERS, snapshot=snapshot)


def into(snapshot: Snapshot, data: bytes) -> Verdict:
    return verdict_on(data, CARRIER, Side.CARRIERS, snapshot=snapshot)


DNO = f'id: hotline, kind: do_not_originate, numbers: ["{OWNED}", "{FOREIGN}"], source: "letter of the bank"'


def test_number_that_never_originates_is_refused_on_both_sides_and_the_list_is_named() -> None:
    """In From and in P-Asserted-Identity; the text names the number, the list and where it comes from."""
    snapshot = lists(DNO)
    for verdict in (
        out(snapshot, invite()),
        out(snapshot, invite(f"P-Asserted-Identity: <tel:{OWNED}>", from_="<sip:+12025550101@x>;tag=1")),
        into(snapshot, invite_from_carrier(caller=FOREIGN)),
    ):
        assert (verdict.outcome, verdict.status, verdict.reason) == (Outcome.REFUSED, 403, Reason.DO_NOT_ORIGINATE)
        assert verdict.rule == "caller_is_not_listed"
        assert "list hotline (letter of the bank)" in verdict.text
    assert out(snapshot, invite(from_="<sip:+12025550101@x>;tag=1")).passes
    assert into(snapshot, invite_from_carrier(caller=FAR)).passes


def test_direction_and_party_bound_a_list() -> None:
    """A list about one side or one party says nothing about the other."""
    called = f'numbers: ["{FAR}", "{OWNED}"], applies_to: called'
    outgoing = lists(f"id: a, kind: deny, direction: from_customers, {called}")
    assert out(outgoing, invite(number=FAR)).reason is Reason.NUMBER_DENIED
    assert "the called number" in out(outgoing, invite(number=FAR)).text
    assert out(outgoing, invite(number=FOREIGN)).passes
    assert into(outgoing, invite_from_carrier(OWNED, caller=FAR)).passes
    incoming = lists(f"id: a, kind: deny, direction: from_carriers, {called}")
    assert out(incoming, invite(number=FAR)).passes
    assert into(incoming, invite_from_carrier(OWNED, caller=FAR)).reason is Reason.NUMBER_DENIED
    assert into(incoming, invite_from_carrier("12025550100", caller=FAR)).reason is Reason.NUMBER_DENIED
    assert into(incoming, invite_from_carrier("+12025550101", caller=FAR)).passes


def test_allow_takes_a_number_out_of_lists_and_gives_it_to_nobody() -> None:
    """Ownership is not asked of lists."""
    denied = 'id: premium, kind: deny, applies_to: called, numbers: ["+1900*"]'
    allowed = 'id: weather, kind: allow, applies_to: called, numbers: ["+19005550100"]'
    snapshot = lists(denied, allowed)
    assert out(snapshot, invite(number="+19005550101")).reason is Reason.NUMBER_DENIED
    assert out(snapshot, invite(number="+19005550100")).passes
    foreign = lists(f'id: ours-too, kind: allow, numbers: ["{FOREIGN}"]')
    assert out(foreign, invite(from_=f"<sip:{FOREIGN}@x>;tag=1")).reason is Reason.FROM_NOT_OWNED
    other_party = lists(denied, 'id: weather, kind: allow, applies_to: caller, numbers: ["+19005550100"]')
    assert out(other_party, invite(number="+19005550100")).reason is Reason.NUMBER_DENIED


def test_emergency_call_asks_no_list() -> None:
    """Not the caller's number, not the called one, not the form of either."""
    snapshot = snapshot_with(
        f'lists:\n  - {{{DNO}}}\n  - {{id: all, kind: deny, applies_to: called, numbers: ["+1*", "+2*"]}}\n'
        "policy: {rules: {invalid_called: enforce, invalid_caller: enforce, caller_is_called: enforce}}\n"
    )
    for uri in ("sip:911@192.0.2.1", "sip:+1911@192.0.2.1", "sip:9911@192.0.2.1", "urn:service:sos", "tel:112"):
        for source in (CUSTOMER, STRANGER):
            verdict = out(snapshot, invite(uri=uri), source)
            assert (verdict.outcome, verdict.reason) == (Outcome.ALLOWED, Reason.EMERGENCY)


def test_list_ends_with_its_last_day() -> None:
    """It holds through the day, the snapshot knows when it ends, and afterwards a warning says so."""
    text = f'lists:\n  - {{{DNO}, expires: "2026-06-01"}}\n'
    holding = snapshot_with(text)
    assert holding.next_change_at == datetime(2026, 6, 2, tzinfo=UTC).timestamp()
    assert holding.warnings == ()
    assert out(holding, invite()).reason is Reason.DO_NOT_ORIGINATE
    assert holding.next_change_at is not None
    over = snapshot_with(text, holding.next_change_at)
    assert out(over, invite()).passes
    assert over.next_change_at is None
    line = (CONFIG + text).splitlines().index(f'  - {{{DNO}, expires: "2026-06-01"}}') + 1
    assert over.warnings == (f"test.yaml:{line}: list hotline expired on 2026-06-01 and no longer holds",)
    assert over.version != holding.version


def test_list_is_read_from_a_file_and_a_bad_line_leaves_nothing(tmp_path: Path) -> None:
    """Each bad line at its place in its own file; the version follows what is in the file."""
    path = tmp_path / "dno.csv"
    entry = f"lists:\n  - {{id: a, kind: do_not_originate, file: {path}}}\n"
    path.write_text(f"number,why\n{OWNED},hotline\n")
    snapshot = snapshot_with(entry)
    assert out(snapshot, invite()).reason is Reason.DO_NOT_ORIGINATE
    path.write_text(f"number,why\n{OWNED},hotline\n2025550101,\n+1,\n")
    with pytest.raises(ConfigErrors) as caught:
        snapshot_with(entry)
    places = [str(error).partition(": cannot read")[0] for error in caught.value.errors]
    assert places == [f"{path}:3", f"{path}:4"]
    path.write_text("+12025550101\n")
    assert snapshot_with(entry).version != snapshot.version
    path.write_text("")
    with pytest.raises(ConfigErrors, match="holds no number"):
        snapshot_with(entry)
    path.unlink()
    with pytest.raises(ConfigErrors, match=r"lists\[0\].file: cannot read"):
        snapshot_with(entry)


ENFORCED = "policy: {rules: {invalid_called: enforce, invalid_caller: enforce, caller_is_called: enforce}}\n"
ALL_ENFORCED = ENFORCED.replace("{rules: {", "{rules: {unallocated_caller: enforce, unallocated_called: enforce, ")


@pytest.mark.parametrize(
    ("data", "side", "reason"),
    [
        (invite(number="+12021110100"), Side.CUSTOMERS, Reason.INVALID_CALLED),
        (invite(number="+2101234567"), Side.CUSTOMERS, Reason.INVALID_CALLED),
        (invite(number="+331234567890123456"), Side.CUSTOMERS, Reason.INVALID_CALLED),
        (invite(number=OWNED), Side.CUSTOMERS, Reason.CALLER_IS_CALLED),
        (invite(number="2025550100"), Side.CUSTOMERS, Reason.CALLER_IS_CALLED),
        (invite_from_carrier(caller="+10005550100"), Side.CARRIERS, Reason.INVALID_CALLER),
        (invite_from_carrier(caller="+1202555"), Side.CARRIERS, Reason.INVALID_CALLER),
        (invite_from_carrier(caller="+2101234567"), Side.CARRIERS, Reason.INVALID_CALLER),
    ],
)
def test_number_that_cannot_be_is_watched_until_it_is_enforced(data: bytes, side: Side, reason: Reason) -> None:
    """monitor where nothing is written; off says nothing at all."""
    source = CUSTOMER if side is Side.CUSTOMERS else CARRIER
    watched = verdict_on(data, source, side, snapshot=snapshot_with(""))
    assert (watched.outcome, watched.status, watched.reason) == (Outcome.MONITORED, 0, reason)
    enforced = verdict_on(data, source, side, snapshot=snapshot_with(ENFORCED))
    assert (enforced.outcome, enforced.status, enforced.reason) == (Outcome.REFUSED, STATUS_OF[reason], reason)
    off = verdict_on(data, source, side, snapshot=snapshot_with(f"policy: {{rules: {{{reason}: off}}}}\n"))
    assert off.outcome is Outcome.ALLOWED


@pytest.mark.parametrize(
    ("data", "side", "reason"),
    [
        (invite(number="+12335550100"), Side.CUSTOMERS, Reason.UNALLOCATED_CALLED),
        (invite(number="2335550100"), Side.CUSTOMERS, Reason.UNALLOCATED_CALLED),
        (invite(number="+446079460000"), Side.CUSTOMERS, Reason.UNALLOCATED_CALLED),
        (invite_from_carrier(caller="+12335550100"), Side.CARRIERS, Reason.UNALLOCATED_CALLER),
        (invite_from_carrier(caller="+446079460000"), Side.CARRIERS, Reason.UNALLOCATED_CALLER),
    ],
)
def test_number_of_a_range_that_is_not_in_use_is_judged_only_where_that_is_asked(
    data: bytes, side: Side, reason: Reason
) -> None:
    """off where nothing is written, since the data lags behind the plans; then monitor or enforce."""
    source = CUSTOMER if side is Side.CUSTOMERS else CARRIER
    assert verdict_on(data, source, side, snapshot=snapshot_with(ENFORCED)).outcome is Outcome.ALLOWED
    for mode, outcome in (("monitor", Outcome.MONITORED), ("enforce", Outcome.REFUSED)):
        verdict = verdict_on(data, source, side, snapshot=snapshot_with(f"policy: {{rules: {{{reason}: {mode}}}}}\n"))
        assert (verdict.outcome, verdict.reason) == (outcome, reason)
        assert "known to be in use" in verdict.text


def test_number_that_cannot_be_is_told_before_one_that_is_not_in_use() -> None:
    """Also when it stands behind the other."""
    snapshot = snapshot_with("policy: {rules: {unallocated_caller: enforce, invalid_caller: enforce}}\n")
    data = invite_from_carrier(caller="+12335550100").replace(
        b"Content-Length", b"P-Asserted-Identity: <tel:+12021110100>\r\nContent-Length"
    )
    assert into(snapshot, data).reason is Reason.INVALID_CALLER


@pytest.mark.parametrize("caller", ["911", "+1911", "anonymous", "alice", "55501", FOREIGN, "+442079460000"])
def test_short_codes_names_and_emergency_centres_are_possible_callers(caller: str) -> None:
    """A centre that calls back must get through."""
    assert into(snapshot_with(ALL_ENFORCED), invite_from_carrier(caller=caller)).outcome is Outcome.ALLOWED


@pytest.mark.parametrize("number", ["411", "*67", "5550100", "alice", "011525512345678"])
def test_short_codes_and_local_numbers_may_be_called(number: str) -> None:
    """Only what no network can reach is impossible."""
    assert out(snapshot_with(ALL_ENFORCED), invite(number=number)).outcome is Outcome.ALLOWED


ERRORS = [
    ("id: a, kind: deny", "numbers", "the list has no numbers"),
    ('id: a, kind: block, numbers: ["+12025550100"]', "kind", "do_not_originate, deny or allow"),
    ('id: a, kind: do_not_originate, applies_to: called, numbers: ["+1900*"]', "applies_to", "is about callers"),
    ('id: a, kind: deny, numbers: ["12025550100"]', "numbers[0]", "write + and digits only"),
    ('id: a, kind: deny, numbers: ["+1900*"], expires: "2026-02-30"', "expires", "is no date"),
    ('id: a, kind: deny, numbers: ["+1900*"], expires: tomorrow', "expires", "is no date"),
    ('id: a, kind: deny, numbers: ["+1900*"], source: "a\\nb"', "source", "one line"),
    ('id: a, kind: deny, numbers: ["+1900*"], until: "2027-01-01"', "until", "unknown key"),
]


@pytest.mark.parametrize(("entry", "key", "text"), ERRORS)
def test_bad_list_is_told_at_its_place(entry: str, key: str, text: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        lists(entry)
    (error,) = caught.value.errors
    assert error.key == f"lists[0].{key}"
    assert text in str(error)


def test_two_lists_of_one_name_are_an_error() -> None:
    """A record must say which."""
    with pytest.raises(ConfigErrors, match="is already the id on line"):
        lists('id: a, kind: deny, numbers: ["+1900*"]', 'id: a, kind: deny, numbers: ["+1976*"]')
