"""The torture data is what the RFCs printed, and the table beside it is complete and consistent."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile

import pytest

from tests.torture.load import HERE, RFCS, Action, Expectation, Kind, TortureCase, WellFormed, torture_cases

CASES = torture_cases()
COUNTS = {4475: 49, 5118: 12}
TAR_SHA256 = {
    4475: "997e1ce6b0421380f7ab8e7235ac12f966dac3be17c87b93b8a0233a658bb405",
    5118: "1dc9f43588b843ffcf6bb35fbee22523e66192ac52b1b1674c656ca3a1622d72",
}
NOT_IN_THE_TEXT = {4475: {"test"}, 5118: set[str]()}
"""The archive of RFC 4475 holds one file that no section describes: somebody's own try-out."""

FORWARD = Expectation(Action.FORWARD)
DROP = Expectation(Action.DROP)


def _tar(rfc: int) -> bytes:
    return gzip.decompress((HERE / f"rfc{rfc}.tar.gz").read_bytes())


def _archived(rfc: int) -> dict[str, bytes]:
    messages: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(_tar(rfc))) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                messages[member.name.removeprefix("./").removesuffix(".dat")] = content.read()
    return messages


def _as_sip(text: bytes) -> bytes:
    """Make a message of RFC 5118's archive fit for the wire: CRLF, an empty line, a true Content-Length."""
    data = text.replace(b"\n", b"\r\n")
    if b"\r\n\r\n" not in data:
        data += b"\r\n"
    head, blank, body = data.partition(b"\r\n\r\n")
    head = re.sub(rb"(?m)^Content-Length: \d+", b"Content-Length: %d" % len(body), head)
    return head + blank + body


@pytest.mark.parametrize("rfc", RFCS)
def test_archive_is_the_one_printed_in_the_appendix(rfc: int) -> None:
    """The tar has the hash it had when it was decoded from the RFC's appendix."""
    assert hashlib.sha256(_tar(rfc)).hexdigest() == TAR_SHA256[rfc]


def test_rfc4475_files_equal_the_archive_byte_for_byte() -> None:
    """No tool, editor or line-end setting has touched a message of RFC 4475."""
    archived = {name: data for name, data in _archived(4475).items() if name not in NOT_IN_THE_TEXT[4475]}
    assert {case.name: case.data for case in CASES if case.rfc == 4475} == archived


def test_rfc5118_files_equal_the_archive_made_fit_for_the_wire() -> None:
    """RFC 5118's archive has Unix line ends; each file is that text with the three repairs of the README."""
    archived = {name: _as_sip(text) for name, text in _archived(5118).items()}
    assert {case.name: case.data for case in CASES if case.rfc == 5118} == archived


@pytest.mark.parametrize("rfc", RFCS)
def test_each_file_has_one_entry_and_each_entry_a_file(rfc: int) -> None:
    """The table and the folder name the same messages, none twice, as many as the RFC describes."""
    names = [case.name for case in CASES if case.rfc == rfc]
    assert len(names) == COUNTS[rfc]
    assert sorted(names) == sorted(path.stem for path in (HERE / f"rfc{rfc}").iterdir())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_entry_kind_matches_the_start_line(case: TortureCase) -> None:
    """A response starts with the protocol name, a request with anything else."""
    assert (case.kind is Kind.RESPONSE) == case.data.startswith(b"SIP/")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_entry_outcomes_are_possible_for_its_kind(case: TortureCase) -> None:
    """A response is never answered; a lone datagram is never waited for; no outcome is listed twice."""
    assert case.allowed
    assert len(set(case.allowed)) == len(case.allowed)
    assert len(set(case.on_stream)) == len(case.on_stream)
    assert not {Action.WAIT, Action.CLOSE} & {outcome.action for outcome in case.allowed}
    if case.kind is Kind.RESPONSE:
        assert Action.ANSWER not in {outcome.action for outcome in case.allowed + case.on_stream}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_entry_outcomes_agree_with_its_form(case: TortureCase) -> None:
    """What is not well formed is never forwarded; what can be repaired may be, and may be refused with 400."""
    match case.well_formed:
        case WellFormed.YES:
            assert Expectation(Action.ANSWER, 400) not in case.allowed
        case WellFormed.NO:
            assert FORWARD not in case.allowed
        case WellFormed.REPAIRABLE:
            assert {FORWARD, Expectation(Action.ANSWER, 400)} == set(case.allowed)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_entry_byte_checks_refer_to_the_message(case: TortureCase) -> None:
    """What a copy keeps was in the original, and neither list exists where nothing is ever forwarded."""
    assert all(kept in case.data for kept in case.keeps)
    if FORWARD not in case.allowed:
        assert not case.keeps
        assert not case.sheds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_entry_says_why_in_one_sentence(case: TortureCase) -> None:
    """Every verdict of the table is explained, in one sentence."""
    assert case.why.endswith(".")
    assert ". " not in case.why
    assert re.fullmatch(r"[34](\.\d+){1,3}", case.section)


def test_responses_out_of_the_blue_are_all_dropped() -> None:
    """A transaction-stateful proxy passes on no response without its transaction (RFC 6026 §7.3)."""
    assert {case.allowed for case in CASES if case.kind is Kind.RESPONSE} == {(DROP,)}


@pytest.mark.parametrize(
    "text", ["", "reject", "answer", "answer 100", "answer 700", "answer four", "answer ²00", "forward 200"]
)
def test_outcome_outside_the_vocabulary_is_refused(text: str) -> None:
    """A misspelt outcome fails the load instead of silently allowing nothing or anything."""
    with pytest.raises(ValueError, match=f"^{re.escape(repr(text))}"):
        Expectation.from_text(text)


@pytest.mark.parametrize("text", ["forward", "answer 400", "drop", "wait", "close"])
def test_outcome_reads_back_as_it_was_written(text: str) -> None:
    """The text form of an outcome is the one the table uses."""
    assert str(Expectation.from_text(text)) == text
