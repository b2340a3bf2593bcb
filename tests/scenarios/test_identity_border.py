"""Identity headers as they leave in whole conversations: RFC 3325's border of trust, both ways and inside a dialog."""

from __future__ import annotations

import pytest

from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import Reason
from tests.kit.messages import (
    FOREIGN,
    OWNED,
    Dialog,
    ack_of,
    answer,
    cancel_of,
    invite,
    invite_from_carrier,
    value,
    values,
)
from tests.kit.playbook import STRANGER, Playbook, make_snapshot

SECOND = "+12025550101"
ACME = 'id: acme\n    sources: ["198.51.100.10/32"]'
TRUNK = "    probe: {interval_s: 0}"
PAI, PPI, RPID = "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"


def customer_with(policy: str) -> Snapshot:
    return make_snapshot(old=ACME, new=f"{ACME}\n    {policy}")


def trunk_with(policy: str) -> Snapshot:
    return make_snapshot(old=TRUNK, new=f"{TRUNK}\n    {policy}")


def from_carrier(*lines: str) -> bytes:
    extra = "".join(f"{line}\r\n" for line in lines).encode()
    return invite_from_carrier().replace(b"Content-Length", extra + b"Content-Length")


def test_plain_call_leaves_with_the_identity_lines_it_came_with() -> None:
    """Folds, blanks and spelling included."""
    play = Playbook()
    odd = f'p-asserted-identity :"Al;verstat=x"\r\n <sip:{OWNED}@x> ,<tel:{SECOND}>'
    play.customer.sends(invite(odd, "Privacy:  none", f"Remote-Party-ID: <tel:{OWNED}>;screen=yes")).gets(100)
    left = play.carrier.gets("INVITE")
    for line in (odd, "Privacy:  none", f"Remote-Party-ID: <tel:{OWNED}>;screen=yes"):
        assert f"\r\n{line}\r\n".encode() in left


def test_hint_and_verstat_of_a_customer_do_not_leave() -> None:
    """P-Preferred-Identity is for us; whether a number was verified is not the customer's to say, anywhere."""
    play = Playbook()
    from_ = f"<sip:{OWNED};verstat=TN-Validation-Passed@x>;tag=a"
    asserted = f"{PAI}: <sip:{OWNED}@x;verstat=TN-Validation-Passed;user=phone>"
    shown = f"{RPID}: <sip:{OWNED}@x;verstat=TN-Validation-Passed>;party=calling"
    sent = invite(asserted, shown, f"{PPI}: <sip:{OWNED}@x>", from_=from_)
    play.customer.sends(sent).gets(100)
    left = play.carrier.gets("INVITE")
    assert values(left, PAI) == [f"<sip:{OWNED}@x;user=phone>"]
    assert values(left, PPI) == []
    assert values(left, RPID) == [f"<sip:{OWNED}@x>;party=calling"]
    assert value(left, "From") == f"<sip:{OWNED}@x>;tag=a"
    assert play.attempts[0].facts.asserted[0].text.endswith("verstat=TN-Validation-Passed;user=phone")


@pytest.mark.parametrize(
    ("lines", "asserted", "wish"),
    [
        ([], [f"<sip:{OWNED}@192.0.2.2;user=phone>"], ["id"]),
        (["Privacy: id"], [f"<sip:{OWNED}@192.0.2.2;user=phone>"], ["id"]),
        (["Privacy: user;critical"], [f"<sip:{OWNED}@192.0.2.2;user=phone>"], ["user;critical;id"]),
        (["Privacy: none"], [f"<sip:{OWNED}@192.0.2.2;user=phone>"], ["none"]),
        ([f"{PAI}: <sip:{SECOND}@x>"], [f"<sip:{SECOND}@x>"], []),
    ],
)
def test_withheld_caller_is_asserted_as_it_prefers(lines: list[str], asserted: list[str], wish: list[str]) -> None:
    """RFC 3325 §5, §6: the number is ours to assert once it was checked, and private as it was withheld."""
    play = Playbook()
    sent = invite(f"{PPI}: <sip:{OWNED}@x>", *lines, from_="<sip:anonymous@anonymous.invalid>;tag=a")
    play.customer.sends(sent).gets(100)
    left = play.carrier.gets("INVITE")
    assert (values(left, PAI), values(left, PPI), values(left, "Privacy")) == (asserted, [], wish)


def test_withheld_caller_is_asserted_only_where_that_is_true_and_wanted() -> None:
    """Not a foreign number that is only watched, nor where nothing is to be asserted, nor to an untrusted trunk."""
    sent = {"from_": "<sip:anonymous@anonymous.invalid>;tag=a"}
    play = Playbook(snapshot=customer_with("mode: monitor"))
    play.customer.sends(invite(f"{PPI}: <sip:{FOREIGN}@x>", **sent)).gets(100)
    left = play.carrier.gets("INVITE")
    assert (values(left, PAI), values(left, PPI), values(left, "Privacy")) == ([], [], [])
    for snapshot in (customer_with("asserted_identity: strip"), trunk_with("trusted_identity: false")):
        play = Playbook(snapshot=snapshot)
        play.customer.sends(invite(f"{PPI}: <sip:{OWNED}@x>", **sent)).gets(100)
        left = play.carrier.gets("INVITE")
        assert (values(left, PAI), values(left, PPI)) == ([], [])


VERIFIED = f'"Al;verstat=x" <sip:{OWNED};VerStat=TN-Validation-Passed@x;user=phone>;tag=a'
BARE = f'"Al;verstat=x" <sip:{OWNED}@x;user=phone>;tag=a'


@pytest.mark.parametrize("is_hidden", [False, True])
def test_caller_gets_its_from_back_as_it_was(*, is_hidden: bool) -> None:
    """In every response, and inside the dialog; the far end sees one From, without what is not the caller's to say."""
    play = Playbook(snapshot=trunk_with("hide_topology: true") if is_hidden else None)
    bare = BARE.replace("@x", "@192.0.2.2") if is_hidden else BARE
    play.customer.sends(invite(from_=VERIFIED)).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    assert value(play.customer.gets(180), "From") == VERIFIED
    play.carrier.sends(answer(invited, 200))
    accepted = play.customer.gets(200)
    assert value(accepted, "From") == VERIFIED
    dialog = Dialog(invite(from_=VERIFIED), accepted)
    play.customer.sends(dialog.ack())
    seen = [value(one, "From") for one in (invited, play.carrier.gets("ACK"))]
    for method in ("UPDATE", "BYE"):
        play.customer.sends(dialog.from_caller(method))
        received = play.carrier.gets(method)
        play.carrier.sends(answer(received, 200))
        assert value(play.customer.gets(200), "From") == VERIFIED
        seen.append(value(received, "From"))
    assert [one.replace("sip:192.0.2.2", "") for one in seen] == [bare] * 4


def test_caller_whose_from_was_changed_can_cancel_and_be_refused() -> None:
    """CANCEL and the ACK of a refusal are ours on each side: both carry the From of the INVITE there."""
    play = Playbook()
    sent = invite(from_=VERIFIED)
    play.customer.sends(sent).gets(100)
    invited = play.carrier.gets("INVITE")
    play.carrier.sends(answer(invited, 180))
    play.customer.gets(180)
    play.customer.sends(cancel_of(sent)).gets(200)
    cancelled = play.carrier.gets("CANCEL")
    assert value(cancelled, "From") == BARE
    play.carrier.sends(answer(cancelled, 200)).sends(answer(invited, 487))
    assert value(play.carrier.gets("ACK"), "From") == BARE
    refused = play.customer.gets(487)
    assert value(refused, "From") == VERIFIED
    play.customer.sends(ack_of(sent, refused)).gets_nothing()


@pytest.mark.parametrize(("trust", "left"), [("true", VERIFIED), ("false", BARE)])
def test_verification_in_from_is_the_trust_domains(trust: str, left: str) -> None:
    """Of a customer and of a trunk alike; a call for help goes on as it came."""
    play = Playbook(snapshot=customer_with(f"trusted_identity: {trust}"))
    play.customer.sends(invite(from_=VERIFIED)).gets(100)
    assert value(play.carrier.gets("INVITE"), "From") == left
    play.customer.sends(invite(from_=VERIFIED, uri="urn:service:sos")).gets(100)
    assert value(play.carrier.gets("INVITE"), "From") == VERIFIED
    play = Playbook(snapshot=trunk_with(f"trusted_identity: {trust}"))
    foreign = VERIFIED.replace(OWNED, FOREIGN)
    sent = invite_from_carrier(caller=FOREIGN)
    old = value(sent, "From")
    play.carrier.sends(sent.replace(f"From: {old}".encode(), f"From: {foreign}".encode())).gets(100)
    assert value(play.customer.gets("INVITE"), "From") == left.replace(OWNED, FOREIGN)


def test_trusted_customer_may_say_what_was_verified() -> None:
    """Its numbers are checked all the same."""
    play = Playbook(snapshot=customer_with("trusted_identity: true"))
    asserted = f"<sip:{OWNED}@x;verstat=TN-Validation-Passed>"
    play.customer.sends(invite(f"{PAI}: {asserted}")).gets(100)
    assert values(play.carrier.gets("INVITE"), PAI) == [asserted]
    play.refuses(invite(f"{PAI}: <sip:{FOREIGN}@x>"), 403)


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ("asserted_identity: strip", []),
        (f'asserted_identity: replace\n    main_number: "{SECOND}"', [f"<sip:{SECOND}@192.0.2.2;user=phone>"]),
    ],
)
def test_asserted_identity_is_taken_out_or_the_main_number_put_in(policy: str, left: list[str]) -> None:
    """With or without one of the customer's own; what was claimed is checked before."""
    play = Playbook(snapshot=customer_with(policy))
    for lines in ([], [f"{PAI}: <sip:{OWNED}@x>, <tel:{OWNED}>", f"{PAI}: <tel:{OWNED}>"]):
        play.customer.sends(invite(*lines)).gets(100)
        assert values(play.carrier.gets("INVITE"), PAI) == left
    refused = play.refuses(invite(f"{PAI}: <sip:{FOREIGN}@x>"), 403)
    assert Reason.PAI_NOT_OWNED in value(refused, "Reason")


def test_untrusted_trunk_is_not_shown_what_is_private() -> None:
    """Privacy: id takes out all that is asserted; without it, it stays (RFC 3325 §7)."""
    play = Playbook(snapshot=trunk_with("trusted_identity: false"))
    lines = [f"{PAI}: <sip:{OWNED}@x>", f"{PAI}: <tel:{OWNED}>", f"{RPID}: <sip:{OWNED}@x>"]
    play.customer.sends(invite(*lines, "Privacy: id")).gets(100)
    left = play.carrier.gets("INVITE")
    assert values(left, PAI) == values(left, RPID) == []
    assert values(left, "Privacy") == ["id"]
    play.customer.sends(invite(*lines, "Privacy: none")).gets(100)
    assert len(values(play.carrier.gets("INVITE"), PAI)) == 2


def test_trusted_trunk_is_shown_what_is_private() -> None:
    """It is what it needs to honour the caller's wish itself."""
    play = Playbook()
    play.customer.sends(invite(f"{PAI}: <sip:{OWNED}@x>", "Privacy: id")).gets(100)
    assert values(play.carrier.gets("INVITE"), PAI) == [f"<sip:{OWNED}@x>"]


def test_emergency_call_keeps_what_it_says_of_the_caller() -> None:
    """It is what the emergency centre calls back."""
    play = Playbook(snapshot=trunk_with("trusted_identity: false"))
    asserted = f"<sip:{FOREIGN};verstat=No-TN-Validation@x>"
    play.customer.sends(invite(f"{PAI}: {asserted}", f"{PPI}: <tel:{OWNED}>", "Privacy: id", uri="urn:service:sos"))
    play.customer.gets(100)
    left = play.carrier.gets("INVITE")
    assert values(left, PAI) == [asserted]
    assert values(left, PPI) == [f"<tel:{OWNED}>"]


def test_what_a_carrier_asserts_reaches_a_customer_unless_the_caller_wants_privacy() -> None:
    """A customer is outside the trust domain, unless configuration says otherwise."""
    asserted = f"<sip:{FOREIGN}@carrier.example;verstat=TN-Validation-Passed>"
    play = Playbook()
    play.carrier.sends(from_carrier(f"{PAI}: {asserted}")).gets(100)
    assert values(play.customer.gets("INVITE"), PAI) == [asserted]
    play.carrier.sends(from_carrier(f"{PAI}: {asserted}", "Privacy: id")).gets(100)
    assert values(play.customer.gets("INVITE"), PAI) == []
    trusting = Playbook(snapshot=customer_with("trusted_identity: true"))
    trusting.carrier.sends(from_carrier(f"{PAI}: {asserted}", "Privacy: id")).gets(100)
    assert values(trusting.customer.gets("INVITE"), PAI) == [asserted]


def test_what_an_untrusted_carrier_asserts_goes_no_further() -> None:
    """RFC 3325 §5: it is not to be used or forwarded."""
    play = Playbook(snapshot=trunk_with("trusted_identity: false"))
    play.carrier.sends(from_carrier(f"{PAI}: <sip:{FOREIGN}@carrier.example>")).gets(100)
    assert values(play.customer.gets("INVITE"), PAI) == []


@pytest.mark.parametrize(("number", "is_kept"), [(OWNED, True), (FOREIGN, False)])
def test_identity_that_changes_inside_a_dialog_must_be_owned_too(number: str, is_kept: bool) -> None:
    """No rule is asked there, so that what is not the customer's own is taken out; the request goes on."""
    play = Playbook()
    dialog = play.call()
    play.customer.sends(dialog.from_caller("UPDATE", f"{PAI}: <sip:{number}@x>", f"{PPI}: <tel:{OWNED}>"))
    left = play.carrier.gets("UPDATE")
    assert values(left, PAI) == ([f"<sip:{number}@x>"] if is_kept else [])
    assert values(left, PPI) == []
    play.carrier.sends(dialog.from_callee("UPDATE", f"{PAI}: <sip:{FOREIGN}@x>", "Privacy: id"))
    assert values(play.customer.gets("UPDATE"), PAI) == []


def test_dialog_knows_its_customer_wherever_its_requests_come_from() -> None:
    """A customer without an address of its own is known by what the dialog's Route says, which is signed."""
    play = Playbook()
    dialog = play.call()
    for number, left in ((OWNED, [f"<sip:{OWNED}@x>"]), (FOREIGN, [])):
        moved = dialog.from_caller("UPDATE", f"{PAI}: <sip:{number}@x>", source=STRANGER)
        play.stranger.sends(moved)
        assert values(play.carrier.gets("UPDATE"), PAI) == left


def answered(play: Playbook, status: int, *lines: str, from_far: bool = False) -> bytes:
    """A call, answered with these lines; the response as its caller gets it."""
    caller, callee = (play.carrier, play.customer) if from_far else (play.customer, play.carrier)
    caller.sends(invite_from_carrier() if from_far else invite()).gets(100)
    callee.sends(answer(callee.gets("INVITE"), status, *lines))
    if status >= 300:
        callee.gets("ACK")
    return caller.gets(status)


@pytest.mark.parametrize("status", [180, 200, 302])
def test_called_customer_asserts_its_own_numbers_only(status: int) -> None:
    """RFC 3325 §5 is about messages, and a response says who answered; its hints and verstat are not passed on."""
    play = Playbook()
    own = f"{PAI}: <sip:{OWNED}@x;verstat=TN-Validation-Passed>"
    got = answered(play, status, own, f"{PPI}: <tel:{OWNED}>", from_far=True)
    assert values(got, PAI) == [f"<sip:{OWNED}@x>"]
    assert values(got, PPI) == []
    play = Playbook()
    assert values(answered(play, status, f"{PAI}: <sip:{FOREIGN}@x>", from_far=True), PAI) == []
    for policy, left in (
        ("asserted_identity: strip", []),
        (f'asserted_identity: replace\n    main_number: "{SECOND}"', [f"<sip:{SECOND}@192.0.2.2;user=phone>"]),
    ):
        play = Playbook(snapshot=customer_with(policy))
        assert values(answered(play, status, f"{PAI}: <sip:{OWNED}@x>", from_far=True), PAI) == left


def test_what_a_carrier_asserts_in_a_response_reaches_a_customer_unless_it_is_private() -> None:
    """RFC 3325 §7: with Privacy: id an untrusted peer gets none of it; what an untrusted trunk says goes nowhere."""
    asserted = f"<sip:{FOREIGN}@carrier.example>"
    lines = (f"{PAI}: {asserted}", f"{RPID}: {asserted};party=called")
    assert values(answered(Playbook(), 200, *lines), PAI) == [asserted]
    private = answered(Playbook(), 200, *lines, "Privacy: id")
    assert (values(private, PAI), values(private, RPID), values(private, "Privacy")) == ([], [], ["id"])
    trusting = Playbook(snapshot=customer_with("trusted_identity: true"))
    assert values(answered(trusting, 200, *lines, "Privacy: id"), PAI) == [asserted]
    for wish in ((), ("Privacy: id",), ("Privacy: none",)):
        doubted = Playbook(snapshot=trunk_with("trusted_identity: false"))
        assert values(answered(doubted, 200, *lines, *wish), PAI) == []


@pytest.mark.parametrize("wish", ["Privacy: id", "Privacy: none", "Privacy: user;id", "Privacy: header"])
@pytest.mark.parametrize("is_to_trusted", [True, False])
def test_privacy_in_a_response_does_not_make_its_assertion_true(wish: str, *, is_to_trusted: bool) -> None:
    """What an untrusted side asserts and nobody has checked is taken out by whoever receives it (RFC 3325 §5), a
    response too: "none" forbids to hide what is asserted (§7), not to doubt it. The wish itself goes on, for whoever
    is to honour it (RFC 3323 §4.2)."""
    play = Playbook(snapshot=None if is_to_trusted else trunk_with("trusted_identity: false"))
    got = answered(play, 200, f"{PAI}: <sip:{FOREIGN}@x>", wish, from_far=True)
    assert values(got, PAI) == []
    assert values(got, "Privacy") == [wish.partition(" ")[2]]


@pytest.mark.parametrize(
    ("wish", "is_shown"), [("Privacy: none", True), ("Privacy: user", True), ("Privacy: id", False)]
)
def test_own_number_in_a_response_leaves_the_trust_domain_unless_it_is_private(wish: str, *, is_shown: bool) -> None:
    """RFC 3325 §7: `id` takes it out before an element that is not trusted, and nothing else does."""
    play = Playbook(snapshot=trunk_with("trusted_identity: false"))
    got = answered(play, 200, f"{PAI}: <sip:{OWNED}@x>", wish, from_far=True)
    assert values(got, PAI) == ([f"<sip:{OWNED}@x>"] if is_shown else [])


def test_private_answer_of_a_customer_reaches_trusted_trunks_only() -> None:
    """As its calls do."""
    lines = (f"{PAI}: <sip:{OWNED}@x>", "Privacy: id")
    assert values(answered(Playbook(), 200, *lines, from_far=True), PAI) == [f"<sip:{OWNED}@x>"]
    doubted = Playbook(snapshot=trunk_with("trusted_identity: false"))
    assert values(answered(doubted, 200, *lines, from_far=True), PAI) == []


def test_response_inside_a_dialog_crosses_the_same_border() -> None:
    """Connected identity: a re-INVITE or UPDATE is answered by whoever is there now."""
    play = Playbook()
    dialog = play.call()
    play.carrier.sends(dialog.from_callee("UPDATE"))
    play.customer.sends(answer(play.customer.gets("UPDATE"), 200, f"{PAI}: <sip:{FOREIGN}@x>"))
    assert values(play.carrier.gets(200), PAI) == []
    play.carrier.sends(dialog.from_callee("UPDATE"))
    play.customer.sends(answer(play.customer.gets("UPDATE"), 200, f"{PAI}: <sip:{OWNED}@x>"))
    assert values(play.carrier.gets(200), PAI) == [f"<sip:{OWNED}@x>"]


def test_plain_response_goes_on_byte_for_byte() -> None:
    """But for our Via."""
    odd = f'p-asserted-identity :"Al"\r\n <sip:{FOREIGN}@x>'
    assert f"\r\n{odd}\r\n".encode() in answered(Playbook(), 200, odd, "Privacy:  none")


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_is_inside_an_emergency_call_keeps_what_it_says_of_the_caller(is_restarted: bool) -> None:
    """A number that is not the customer's, private, to a trunk outside the trust domain; also after a restart."""
    play = Playbook(snapshot=trunk_with("trusted_identity: false"))
    play.customer.sends(invite(uri="urn:service:sos")).gets(100)
    invited = play.carrier.gets("INVITE")
    asserted = f"<sip:{FOREIGN};verstat=No-TN-Validation@x>"
    play.carrier.sends(answer(invited, 200, f"{PAI}: {asserted}", "Privacy: id"))
    accepted = play.customer.gets(200)
    assert values(accepted, PAI) == [asserted]
    dialog = Dialog(invited, accepted)
    play.customer.sends(dialog.ack())
    play.carrier.gets("ACK")
    if is_restarted:
        play.restart()
    play.customer.sends(dialog.from_caller("UPDATE", f"{PAI}: {asserted}", f"{PPI}: <tel:{OWNED}>", "Privacy: id"))
    left = play.carrier.gets("UPDATE")
    assert (values(left, PAI), values(left, PPI)) == ([asserted], [f"<tel:{OWNED}>"])
    play.carrier.sends(answer(left, 200, f"{PAI}: {asserted}", "Privacy: id"))
    assert values(play.customer.gets(200), PAI) == [asserted]
