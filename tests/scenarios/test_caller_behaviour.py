"""Behaviour in conversations: flooding one number, dialling through a range, short calls, bursts of spoofing."""

from __future__ import annotations

from edge_proxy.pipeline.snapshot import Snapshot
from edge_proxy.policy.verdict import Outcome, Reason
from tests.kit.messages import FOREIGN, OWNED, answer, invite, invite_from_carrier, outgoing_uri, request, value
from tests.kit.playbook import CONFIG, Playbook, make_snapshot

NUMBERS = 'numbers: ["+12025550100-+12025550199"]'
SPOOFED = f"<sip:{FOREIGN}@acme.example>;tag=x"


def limited(limits: str, more: str = "") -> Snapshot:
    """The network of these tests, with limits for acme."""
    assert NUMBERS in CONFIG
    return make_snapshot(old=NUMBERS, new=f"{NUMBERS}\n    limits: {limits}{more}")


def reasons(play: Playbook) -> list[Reason]:
    return [attempt.verdict.reason for attempt in play.attempts]


def passes(play: Playbook, sent: bytes) -> None:
    play.customer.sends(sent).gets(100)
    play.carrier.gets("INVITE")


def talks(play: Playbook, seconds: float) -> None:
    """A call that is answered and ends after so long."""
    dialog = play.call()
    play.waits(seconds)
    play.customer.sends(dialog.from_caller("BYE"))
    play.carrier.sends(answer(play.carrier.gets("BYE"), 200))
    play.customer.gets(200)


def test_called_number_is_not_flooded_from_either_side() -> None:
    """Two a minute to each number; another number is not concerned; after half a minute there is room for one."""
    play = Playbook(snapshot=limited("{calls_to_number_per_minute: 2}"))
    play.call()
    play.call()
    refusal = play.refuses(invite(), 503)
    assert value(refusal, "Retry-After") == "30"
    passes(play, invite(number="+13105550198"))
    for _ in range(2):
        play.carrier.sends(invite_from_carrier()).gets(100)
        play.customer.gets("INVITE")
    play.refuses(invite_from_carrier(), 503, by=play.carrier)
    assert reasons(play).count(Reason.CALLED_NUMBER_RATE) == 2


def test_dialling_through_a_range_is_stopped_and_other_calls_pass() -> None:
    """The fourth number in a row and the fifth are refused, and a number elsewhere breaks the row."""
    play = Playbook(snapshot=limited("{sequential: {numbers: 3, within_s: 30}}"))
    for number in range(3):
        passes(play, invite(number=f"+1310555010{number}"))
    refusal = play.refuses(invite(number="+13105550103"), 503)
    assert value(refusal, "Retry-After") == "30"
    play.refuses(invite(number="+13105550104"), 503)
    passes(play, invite(number="+13105550106", from_="<sip:+12025550101@acme.example>;tag=x"))
    passes(play, invite(number="+13105550199"))
    passes(play, invite(number="+13105550105"))
    assert reasons(play).count(Reason.SEQUENTIAL_CALLS) == 2


def test_dialler_that_changes_its_number_with_every_call_is_stopped() -> None:
    """In whatever order it goes through the range, and with calls of others between; who calls elsewhere passes."""
    play = Playbook(snapshot=limited("{sequential: {numbers: 3, within_s: 30, of_customer: 5}}"))
    for caller, number in enumerate((0, 4, 2, 1, 3)):
        passes(play, invite(number=f"+1310555010{number}", from_=f"<sip:+120255501{caller:02}@acme.example>;tag=x"))
        passes(play, invite(number=f"+131055502{caller}0"))
    refusal = play.refuses(invite(number="+13105550105", from_="<sip:+12025550105@acme.example>;tag=x"), 503)
    assert value(refusal, "Retry-After") == "30"
    assert value(refusal, "Reason") == 'SIP;cause=503;text="sequential_calls"'
    passes(play, invite(number="+13105550199", from_="<sip:+12025550105@acme.example>;tag=x"))


def test_short_calls_slow_the_customer_down_and_do_not_ban_it() -> None:
    """After two of them one call a second passes, until they are as old as the window."""
    play = Playbook(snapshot=limited("{short_calls: {calls: 2, shorter_than_s: 6, window_s: 60}}"))
    talks(play, 1.0)
    talks(play, 8.0)
    talks(play, 5.0)
    play.call()
    refusal = play.refuses(invite(), 503)
    assert value(refusal, "Reason") == 'SIP;cause=503;text="short_calls"'
    assert value(refusal, "Retry-After") == "1"
    play.waits(1.0)
    play.call()
    play.refuses(invite(), 503)
    play.waits(61.0)
    play.call()
    play.call()


def test_burst_of_spoofing_slows_what_would_pass() -> None:
    """After three refusals one call a second passes from that address, the spoofed ones get their 403 as before."""
    play = Playbook(snapshot=limited("{spoofing: {refusals: 3, window_s: 60}}"))
    play.call()
    for _ in range(3):
        play.refuses(invite(from_=SPOOFED), 403)
    play.call()
    refusal = play.refuses(invite(), 503)
    assert value(refusal, "Reason") == 'SIP;cause=503;text="spoof_burst"'
    play.refuses(invite(from_=SPOOFED), 403)
    play.customer.sends(invite(uri=outgoing_uri("911"))).gets(100)
    play.carrier.gets("INVITE")
    play.waits(61.0)
    play.carrier.ignores()
    play.customer.ignores()
    play.call()
    play.call()


def test_spoofing_is_counted_in_monitor_mode_and_limits_nothing() -> None:
    """The record of what would have passed says that it would have been slowed down."""
    play = Playbook(snapshot=limited("{spoofing: {refusals: 1, slowed_to: 0.1}}", "\n    mode: monitor"))
    passes(play, invite(from_=SPOOFED))
    play.call()
    play.call()
    assert reasons(play) == [Reason.FROM_NOT_OWNED, Reason.IDENTITY_OWNED, Reason.SPOOF_BURST]
    assert play.attempts[2].verdict.outcome is Outcome.MONITORED


def message(**fields: str) -> bytes:
    return request("MESSAGE", outgoing_uri(), body="hi", **fields)  # type: ignore[arg-type]  # text fields


def test_message_has_limits_of_its_own() -> None:
    """Two a second; calls use up none of them, nor they any of those."""
    play = Playbook(snapshot=limited("{calls_per_second: 1, concurrent_calls: 1, messages_per_second: 2}"))
    for _ in range(2):
        play.customer.sends(message())
        play.carrier.sends(answer(play.carrier.gets("MESSAGE"), 200))
        play.customer.gets(200)
    refusal = play.customer.sends(message()).gets(503)
    assert value(refusal, "Reason") == 'SIP;cause=503;text="message_rate"'
    assert value(refusal, "Retry-After") == "1"
    play.call()
    play.refuses(invite(), 503)
    play.waits(0.5)
    play.customer.sends(message())
    play.carrier.sends(answer(play.carrier.gets("MESSAGE"), 200))
    play.customer.gets(200)


def test_message_passes_the_identity_checks_of_calls() -> None:
    """Spoofed From and P-Asserted-Identity, and our number from outside: refused as a call would be."""
    play = Playbook()
    play.customer.sends(message(from_=SPOOFED)).gets(403)
    spoofed = request("MESSAGE", outgoing_uri(), f"P-Asserted-Identity: <sip:{FOREIGN}@x>", body="hi")
    play.customer.sends(spoofed).gets(403)
    play.stranger.sends(message()).gets(403)
    inbound = invite_from_carrier(caller=OWNED).replace(b"INVITE", b"MESSAGE")
    play.carrier.sends(inbound).gets(403)
    assert reasons(play) == [
        Reason.FROM_NOT_OWNED,
        Reason.PAI_NOT_OWNED,
        Reason.UNKNOWN_SOURCE,
        Reason.OWN_NUMBER_FROM_CARRIER,
    ]
