"""Every torture message through the whole core, as a datagram from a customer, against the table of what may come out.

The customer is monitored, so that what policy would refuse passes all the same: what is seen here is the protocol.
"""

from __future__ import annotations

import re

import pytest

from edge_proxy.pipeline.counters import Disposition
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from tests.kit.messages import head_lines, start_line, values
from tests.kit.playbook import Playbook
from tests.torture.load import Action, Expectation, TortureCase, WellFormed, torture_cases

CASES = torture_cases()
REPORT: list[str] = []


def outcome_of(case: TortureCase) -> tuple[Expectation, bytes]:
    """What came out, and the message that did (b"" for none)."""
    play = Playbook(max_breadth=0)
    play.reads_what_leaves = case.well_formed is WellFormed.YES
    play.deliver(case.data, play.monitored.address, play.monitored.listener)
    forwarded = [got.data for peer in play.peers.values() if peer.listener.slot == 1 for got in peer.inbox]
    answers = [got for peer in play.peers.values() if peer.listener.slot == 0 for got in peer.inbox]
    finals = [got for got in answers if got.name != "100"]
    if forwarded:
        assert play.disposed(Disposition.FORWARDED) == 1
        assert len(forwarded) == 1
        assert not finals
        return Expectation(Action.FORWARD), forwarded[0]
    if finals:
        assert play.disposed(Disposition.ANSWERED) == 1
        assert len(finals) == 1
        return Expectation(Action.ANSWER, int(finals[0].name)), finals[0].data
    assert play.disposed(Disposition.DROPPED) == 1
    return Expectation(Action.DROP), b""


def permitted(case: TortureCase) -> tuple[Expectation, ...]:
    """What the table permits; and, since we pass on nothing of a dialog that did not begin here, 481 for a To tag."""
    if case.well_formed is WellFormed.YES and parse_message(case.data, Limits()).to_tag:
        return (*case.allowed, Expectation(Action.ANSWER, 481))
    return case.allowed


@pytest.mark.parametrize("case", CASES, ids=str)
def test_torture_message_has_a_permitted_outcome(case: TortureCase, record_property: object) -> None:
    """What comes out is in the table; a forwarded copy keeps and sheds what the table says."""
    outcome, data = outcome_of(case)
    line = f"{case!s:45} {' | '.join(map(str, case.allowed)):24} {outcome!s:12} {start_line(data)[:60]}"
    REPORT.append(line)
    if callable(record_property):
        record_property("torture", line)
    assert outcome in permitted(case), f"{line}\n{case.why}"
    if outcome.action is Action.FORWARD:
        for kept in case.keeps:
            assert kept in data
        for shed in case.sheds:
            assert shed not in data


@pytest.mark.parametrize("case", [case for case in CASES if case.well_formed is WellFormed.YES], ids=str)
def test_well_formed_torture_message_parses(case: TortureCase) -> None:
    """An error from the parser would be a bug."""
    parse_message(case.data, Limits())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forwarded_copy_differs_only_where_a_proxy_must_touch_it(case: TortureCase) -> None:
    """§16.6: our Via and Record-Route come in front, Max-Forwards, Route and the top Via change; every other line
    is there, in order and byte for byte."""
    outcome, data = outcome_of(case)
    if outcome.action is not Action.FORWARD:
        return
    before = parse_message(case.data, Limits())
    after = parse_message(data, Limits())
    assert after.body == before.body
    touched = re.compile(rb"(max-forwards|v|via|record-route|route)[ \t]*:", re.IGNORECASE)
    assert [line for line in after.lines if not touched.match(line)] == [
        line for line in before.lines if not touched.match(line)
    ]
    vias = [line for line in after.lines if re.match(rb"v(ia)?[ \t\r\n]*:", line, re.IGNORECASE)]
    old = [line for line in before.lines if re.match(rb"v(ia)?[ \t\r\n]*:", line, re.IGNORECASE)]
    assert len(vias) == len(old) + 1
    assert vias[2:] == old[1:]


def test_refused_extensions_are_named() -> None:
    """bext01: Unsupported names what stands in Proxy-Require, and nothing of Require."""
    case = next(case for case in CASES if case.name == "bext01")
    _, data = outcome_of(case)
    named = {tag.strip() for tag in ",".join(values(data, "Unsupported")).split(",")}
    assert named == {"noProxiesSupportThis", "norDoAnyProxiesSupportThis"}


@pytest.mark.parametrize("case", [case for case in CASES if case.well_formed is WellFormed.NO], ids=str)
def test_answer_to_a_malformed_message_is_itself_well_formed_where_it_can_be(case: TortureCase) -> None:
    """What is copied is copied as it was; what we add says what was wrong, with no line end of the peer's in it."""
    outcome, data = outcome_of(case)
    if outcome.action is not Action.ANSWER:
        return
    lines = head_lines(data)
    assert re.fullmatch(r"SIP/2\.0 [45]\d\d [ -~]*", lines[0])
    for line in lines[1:]:
        assert re.match(r"[!-9;-~]+[ \t]*:", line), line


def test_report_of_all_outcomes_is_complete() -> None:
    """The table message -> permitted -> got, for whoever runs this with -s."""
    print("\n".join(("", *REPORT)))
    assert not REPORT or len(REPORT) <= len(CASES)
