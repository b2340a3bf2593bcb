"""The settings of refusals: what does not fit together, or does not fit its reason, is an error with its line."""

from __future__ import annotations

import pytest

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, dump, parse_settings
from edge_proxy.policy.refusals import Action, Refusal, is_offered
from edge_proxy.policy.verdict import STATUS_OF, Reason
from tests.kit.playbook import CONFIG


def compiled(reason: str, *keys: str) -> dict[Reason, Refusal]:
    lines = ["policy:", "  refusals:", f"    {reason}:", *(f"      {key}" for key in keys)]
    text = "\n".join(lines) + CONFIG.replace("TARGETS", '"sip:203.0.113.10:5090"')
    settings = parse_settings(text.encode(), "test.yaml")
    assert parse_settings(dump(settings).encode(), "dump") == settings
    return dict(compile_snapshot(settings).rulebook.refusals)


URL = '"https://calls.example.net/x"'


@pytest.mark.parametrize(
    ("reason", "keys", "line", "error"),
    [
        ("from_not_owned", ["status: 200"], 4, "403, 404, 433, 480, 484, 503, 603, 607 or 608"),
        ("from_not_owned", ["status: 608"], 4, "608 needs `jcard`"),
        (
            "unknown_source",
            ["status: 608", f"jcard: {URL}", 'announcement: "sip:a@192.0.2.9"'],
            6,
            "is not told by an announcement",
        ),
        (
            "from_not_owned",
            ["status: 403", 'announcement: "sip:a@192.0.2.9"'],
            5,
            "it goes with `action: announce` only",
        ),
        ("from_not_owned", ["status: 603", f"jcard: {URL}"], 5, "it goes with `status: 608` only"),
        ("from_not_owned", ["status: 608", 'jcard: "http://x"'], 5, "is no https URL"),
        ("from_not_owned", ["status: 603", 'phrase: "a\\r\\nX: y"'], 5, "is no reason phrase"),
        ("from_not_owned", ["status: 603", 'phrase: "network blocked"'], 5, "write a `network_blocked` section"),
        ("from_not_owned", ["action: tag"], 4, "`action: tag` needs `header`"),
        ("from_not_owned", ["action: tag", "header: From"], 5, "is no name for a header of your own"),
        ("from_not_owned", ["header: X-Y"], 4, "it goes with `action: tag` only"),
        ("from_not_owned", ["action: announce"], 4, "`action: announce` needs `announcement`"),
        ("from_not_owned", ["action: announce", 'announcement: "tel:+1202"'], 5, "cannot be called"),
        ("from_not_owned", ["action: tag", "header: X-Y", "status: 603"], 6, "it says how the call is answered"),
        ("from_not_owned", ["action: drop"], 4, "from_not_owned is told by answer or tag or announce only"),
        ("unknown_source", ["action: tag", "header: X-Y"], 4, "unknown_source is told by answer or drop only"),
        ("called_not_owned", ["action: tag", "header: X-Y"], 4, "called_not_owned is told by answer or announce only"),
        ("calls_per_second", ["action: drop"], 4, "calls_per_second is told by answer only; write that"),
        ("calls_per_second", ["status: 603"], 4, "503 is what tells callers so"),
        ("emergency", ["status: 603"], 4, '"emergency" is no reason to refuse a call; write one of unknown_source'),
        ("from_not_ownd", ["status: 603"], 4, "is no reason to refuse a call"),
        ("pstn_origin", ["network_blocked: {location: RPN}"], 4, "write `url`, `tel` or `email`"),
        ("pstn_origin", ["network_blocked: {url: x}"], 4, "is no https URL"),
        ("pstn_origin", ['network_blocked: {url: "https://x/\\"y"}'], 4, "is no https URL"),
        ("pstn_origin", ['network_blocked: {url: "https://x/;y"}'], 4, "is no https URL"),
        ("pstn_origin", ["network_blocked: {email: x}"], 4, "is no address of e-mail"),
        ("pstn_origin", ["status: 403", f"network_blocked: {{url: {URL}}}"], 5, "write `status: 603`, or no status"),
        ("pstn_origin", ["phrase: Nope", f"network_blocked: {{url: {URL}}}"], 5, "take `phrase` out"),
        ("pstn_origin", ["nonsense: 1"], 4, "nonsense"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(reason: str, keys: list[str], line: int, error: str) -> None:
    """Key by key."""
    with pytest.raises(ConfigErrors) as caught:
        compiled(reason, *keys)
    texts = [str(found) for found in caught.value.errors]
    assert any(error in text for text in texts), texts
    assert any(text.startswith((f"test.yaml:{line}: ", f"test.yaml:{line - 1}: ")) for text in texts), texts
    assert all(f"policy.refusals.{reason}" in text for text in texts), texts


def test_settings_become_refusals() -> None:
    """Each key, and what is implied."""
    assert compiled("from_not_owned", "status: 608", f"jcard: {URL}") == {
        Reason.FROM_NOT_OWNED: Refusal(status=608, jcard=URL.strip('"'))
    }
    blocked = compiled("pstn_origin", f"network_blocked: {{url: {URL}, location: TN}}")[Reason.PSTN_ORIGIN]
    assert (blocked.status, blocked.phrase, blocked.blocked_location) == (603, "Network Blocked", "TN")
    assert blocked.blocked_contact == f"url={URL.strip(chr(34))}"
    assert compiled("unknown_source", "action: drop")[Reason.UNKNOWN_SOURCE].action is Action.DROP


def test_every_reason_to_refuse_can_be_answered_as_one_likes_and_only_strangers_are_dropped() -> None:
    """The closed set, walked."""
    for reason in STATUS_OF:
        assert is_offered(Action.ANSWER, reason)
        assert is_offered(Action.DROP, reason) is (reason is Reason.UNKNOWN_SOURCE)
    assert Reason.EMERGENCY not in STATUS_OF
