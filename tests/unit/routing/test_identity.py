"""What of the identity headers goes on across a border of trust, and that nothing else moves (routing/identity.py)."""

from __future__ import annotations

import pytest

from edge_proxy.routing.identity import asks_for_concealment, concealed, with_identity, without_verstat
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.message import Message
from edge_proxy.sip.parser import parse_message
from edge_proxy.sip.serializer import join_message
from tests.kit.messages import OWNED, invite

PAI = f"P-Asserted-Identity: <sip:{OWNED}@x;user=phone>"
PPI = f"P-Preferred-Identity: <sip:{OWNED}@x>"
ODD = "X-Odd :  kept\r\n\tas it is "


def message_of(*lines: str) -> Message:
    return parse_message(invite(ODD, *lines, body="v=0\r\n"), Limits())


def moved(message: Message, changed: Message) -> tuple[list[bytes], list[bytes]]:
    """Lines that are gone and lines that are new; all others stand where and as they stood."""
    gone = [line for line in message.lines if line not in changed.lines]
    new = [line for line in changed.lines if line not in message.lines]
    kept = [line for line in message.lines if line not in gone]
    assert [line for line in changed.lines if line not in new] == kept
    again = parse_message(join_message(changed.start_line, changed.lines, changed.body), Limits())
    assert again.kinds == changed.kinds
    assert again.first == changed.first
    assert (again.call_id, again.from_tag, again.cseq, again.body) == (
        message.call_id,
        message.from_tag,
        message.cseq,
        message.body,
    )
    return gone, new


@pytest.mark.parametrize("is_trusted", [True, False])
@pytest.mark.parametrize(
    "lines",
    [
        [],
        [PAI],
        [f'P-Asserted-Identity:"a, b;verstat=x" <sip:{OWNED}@x>\r\n ,\t<tel:{OWNED}>'],
        [f"p-asserted-identity : tel:{OWNED}"],
        ["Privacy: id", PAI],
        [f"Remote-Party-ID: <sip:{OWNED}@x;user=phone>;party=calling"],
    ],
)
def test_request_of_which_nothing_is_to_be_changed_is_the_same(lines: list[str], is_trusted: bool) -> None:
    """The same object, so byte for byte what came."""
    message = message_of(*lines)
    assert with_identity(message, is_trusted=is_trusted, keeps=True) is message


def test_preferred_identity_ends_here() -> None:
    """RFC 3325 §5: it is a word to the first proxy."""
    message = message_of(PAI, PPI, "p-preferred-identity: tel:+12025550101")
    gone, new = moved(message, with_identity(message, is_trusted=True, keeps=True))
    assert gone == [PPI.encode(), b"p-preferred-identity: tel:+12025550101"]
    assert new == []


def test_asserted_identity_is_taken_out_or_replaced_where_it_stood() -> None:
    """Every line of it, in any spelling."""
    message = message_of(PAI, "p-asserted-identity: tel:+12025550101", "X-After: 1")
    gone, new = moved(message, with_identity(message, is_trusted=False, keeps=False))
    assert len(gone) == 2
    assert new == []
    line = b"P-Asserted-Identity: <sip:+12025550199@h;user=phone>"
    replaced = with_identity(message, is_trusted=False, keeps=False, asserts=line)
    assert moved(message, replaced)[1] == [line]
    assert replaced.lines.index(line) == message.lines.index(PAI.encode())
    assert with_identity(message_of(), is_trusted=False, keeps=False, asserts=line).lines[-1] == line


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["<sip:a@x>, <tel:+1>"], None),
        (["<sip:a@x>", "<tel:+1>"], None),
        (["<sip:a@x>, <sip:b@x>"], "<sip:a@x>"),
        (["<sip:a@x>", "<sips:b@x>"], "<sip:a@x>"),
        (["<sips:a@x>, <tel:+1>, <sip:b@x>, <tel:+2>"], "<sips:a@x>, <tel:+1>"),
        (["<mailto:a@x>, <tel:+1>"], "<tel:+1>"),
        (["<mailto:tel:+1>"], ""),
        (["mailto:a@x"], ""),
        (['"a, b" <sip:a@x>;x=y , <sip:b@x>'], '"a, b" <sip:a@x>;x=y'),
    ],
)
def test_values_that_do_not_count_do_not_go_on(lines: list[str], left: str | None) -> None:
    """RFC 5876 §4.5: one sip or sips URI and one tel URI, the first of each."""
    message = message_of(*(f"P-Asserted-Identity: {line}" for line in lines))
    changed = with_identity(message, is_trusted=True, keeps=True)
    if left is None:
        assert changed is message
        return
    moved(message, changed)
    found = [line for line in changed.lines if line.startswith(b"P-Asserted-Identity")]
    assert found == ([f"P-Asserted-Identity: {left}".encode()] if left else [])


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ("<sip:+1@x;verstat=TN-Validation-Passed;user=phone>", "<sip:+1@x;user=phone>"),
        ("<sip:+1;verstat=TN-Validation-Passed-A@x>", "<sip:+1@x>"),
        ("<tel:+1;verstat=No-TN-Validation>", "<tel:+1>"),
        ("<tel:+1;VerStat=a;verstat>;verstat=b;c=d", "<tel:+1>;c=d"),
        ("<tel:+1;%76erstat=TN-Validation-Passed>", "<tel:+1>"),
        ("<tel:+1 ; verstat = a>", "<tel:+1 >"),
        ('"x;verstat=a" <tel:+1;verstat=a>', '"x;verstat=a" <tel:+1>'),
        ("<tel:+1;verstatus=a;xverstat=b>", "<tel:+1;verstatus=a;xverstat=b>"),
        ("<tel:+1;cpc=ordinary;verstat=a;oli=00>, <sip:+1@x;verstat=a>", "<tel:+1;cpc=ordinary;oli=00>, <sip:+1@x>"),
    ],
)
def test_verstat_of_an_untrusted_sender_is_taken_out(value: str, clean: str) -> None:
    """Anybody can type it; a display name is no parameter."""
    line = f"P-Asserted-Identity: {value}"
    assert without_verstat(line.encode()) == f"P-Asserted-Identity: {clean}".encode()
    message = message_of(line)
    assert with_identity(message, is_trusted=True, keeps=True) is message
    if clean != value and " ;" not in value:  # a URI with blanks in it is none, and does not go on at all
        assert f"P-Asserted-Identity: {clean}".encode() in with_identity(message, is_trusted=False, keeps=True).lines


@pytest.mark.parametrize("beside", [[], [PAI], ["P-Preferred-Identity: <sip:+1@x>"]])
def test_verstat_of_an_untrusted_sender_leaves_remote_party_id_too(beside: list[str]) -> None:
    """Whatever else is asserted; of a trusted one it stays."""
    shown = f"Remote-Party-ID: <sip:{OWNED}@x;verstat=No-TN-Validation>;party=calling"
    message = message_of(*beside, shown)
    for is_trusted, left in ((True, shown), (False, shown.replace(";verstat=No-TN-Validation", ""))):
        lines = with_identity(message, is_trusted=is_trusted, keeps=True).lines
        assert left.encode() in lines
        assert (PAI.encode() in lines) is (PAI in beside)


@pytest.mark.parametrize(
    ("privacy", "conceals"),
    [(["id"], True), (["Header; ID ;critical"], True), (["user", "id"], True), (["none"], False), (["idea"], False)],
)
def test_caller_who_asks_for_it_is_concealed(privacy: list[str], conceals: bool) -> None:
    """RFC 3325 §7: all that is asserted goes, Privacy and everything else stays."""
    message = message_of(PAI, *(f"Privacy: {value}" for value in privacy), "Remote-Party-ID: <tel:+1>", PAI)
    assert asks_for_concealment(message) is conceals
    gone, new = moved(message, concealed(message))
    assert len(gone) == (3 if conceals else 0)
    assert new == []


def test_nothing_to_conceal_is_the_same_request() -> None:
    """No Privacy, or nothing asserted."""
    for lines in ([PAI], ["Privacy: id"], []):
        message = message_of(*lines)
        assert concealed(message) is message


def test_hostile_lines_are_bounded_work() -> None:
    """Thousands of parameters and values are walked once."""
    limits = Limits(max_message_bytes=1_048_576, max_headers=4096, max_header_bytes=65_535)
    lines = ["P-Asserted-Identity: " + "<tel:+1;a;b=c" * 4000, "P-Asserted-Identity: " + ", ".join(["<tel:+1>"] * 6000)]
    message = parse_message(invite(*lines, "P-Asserted-Identity: <tel:+1" + ";verstat=a" * 6000 + ">"), limits)
    changed = with_identity(message, is_trusted=False, keeps=True)
    assert [line for line in changed.lines if line.startswith(b"P-A")] == [b"P-Asserted-Identity: <tel:+1>"]
