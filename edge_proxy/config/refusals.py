"""The settings of how refusals are told, one section for each reason: what fits together, and what a reason allows.

The forms are those of RFC 3261 §21, RFC 5079 (433), RFC 8197 (607), RFC 8688 (608) and ATIS-1000099 (603 "Network
Blocked").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic import field_validator as check_field
from pydantic_core.core_schema import ValidationInfo

from edge_proxy.config.document import quote
from edge_proxy.config.section import Section
from edge_proxy.errors import RemoteProtocolError
from edge_proxy.numbers.ownership import parse_range
from edge_proxy.policy.refusals import Action, Refusal, is_offered
from edge_proxy.policy.verdict import STATUS_OF, Reason
from edge_proxy.sip.uri import parse_uri

_URL: Final = re.compile(r"https://[A-Za-z0-9.\-]+(:[0-9]{1,5})?(/[A-Za-z0-9\-._~:/?#@!$&'()*+=%]*)?")
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9.\-]{1,190}")
_PHRASE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 .'()/\-]{0,62}[A-Za-z0-9.)])?")
_HEADER: Final = re.compile(r"[Xx]-[A-Za-z0-9\-]{1,60}")
_TOLD_IN_ONE_WAY: Final = frozenset({Reason.AUTHENTICATION_REQUIRED, Reason.OVERLOADED})
_NETWORK_BLOCKED: Final = "Network Blocked"


def _checked_url(text: str) -> str:
    if not _URL.fullmatch(text) or len(text) > 200:
        raise ValueError(f"{quote(text)} is no https URL; write one such as https://calls.example.net/blocked")
    return text


def _checked_number(text: str) -> str:
    first, last = parse_range(text)
    if first != last:
        raise ValueError(f"{quote(text)} is a range; write one number")
    return text


def _checked_email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError(f"{quote(text)} is no address of e-mail; write one such as blocked@example.net")
    return text


def _checked_phrase(text: str) -> str:
    if not _PHRASE.fullmatch(text):
        raise ValueError(f"{quote(text)} is no reason phrase; write up to 64 letters, digits, blanks and .'()/-")
    if text.lower() == _NETWORK_BLOCKED.lower():
        raise ValueError(f"{quote(text)} is the phrase of a form with more to it; write a `network_blocked` section")
    return text


def _checked_header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f"{quote(text)} is no name for a header of your own; write one such as X-Edge-Verdict")
    return text


def _checked_announcement(text: str) -> str:
    try:
        uri = parse_uri(text.encode())
    except RemoteProtocolError as error:
        raise ValueError(f"{quote(text)} is no URI: {error}") from error
    if uri.scheme not in {"sip", "sips"} or uri.headers:
        raise ValueError(f"{quote(text)} cannot be called; write a URI such as sip:blocked@192.0.2.50:5060")
    return text


class NetworkBlockedSettings(Section):
    """The form that tells a caller who blocked a call by analytics, and how to complain. One contact at least."""

    url: Annotated[str, AfterValidator(_checked_url)] | None = None
    tel: Annotated[str, AfterValidator(_checked_number)] | None = None
    email: Annotated[str, AfterValidator(_checked_email)] | None = Field(default=None, validate_default=True)
    location: Literal["U", "LN", "TN", "RLN", "LPN", "RPN", "INTL", "BI"] = "RPN"

    @check_field("email")
    @classmethod
    def _one_contact(cls, value: str | None, info: ValidationInfo) -> str | None:
        others = (info.data.get("url", ""), info.data.get("tel", ""))
        if value is None and others == (None, None):
            raise ValueError("whom to complain to is missing; write `url`, `tel` or `email`")
        return value

    @property
    def contact(self) -> str:
        pairs = (("url", self.url), ("tel", self.tel), ("email", self.email))
        return ";".join(f"{name}={value}" for name, value in pairs if value is not None)


class RefusalSettings(Section):
    """How one reason is told. Each key checks that it fits those before it."""

    action: Literal["answer", "drop", "tag", "announce"] = "answer"
    status: Literal[403, 404, 433, 480, 484, 503, 603, 607, 608] | None = None
    phrase: Annotated[str, AfterValidator(_checked_phrase)] | None = None
    jcard: Annotated[str, AfterValidator(_checked_url)] | None = Field(default=None, validate_default=True)
    network_blocked: NetworkBlockedSettings | None = None
    header: Annotated[str, AfterValidator(_checked_header)] | None = Field(default=None, validate_default=True)
    announcement: Annotated[str, AfterValidator(_checked_announcement)] | None = Field(
        default=None, validate_default=True
    )

    @check_field("status", "phrase", "jcard", "network_blocked")
    @classmethod
    def _goes_with_an_answer(cls, value: object, info: ValidationInfo) -> object:
        action = info.data.get("action", "answer")
        if value is not None and action != "answer":
            raise ValueError(f"it says how the call is answered, and `action` is {action}; take one of the two out")
        return value

    @check_field("jcard")
    @classmethod
    def _goes_with_608(cls, value: str | None, info: ValidationInfo) -> str | None:
        status = info.data.get("status", 0)
        if value is None and status == 608:
            raise ValueError("608 needs `jcard`, the URL where callers find whom to complain to (RFC 8688)")
        if value is not None and status not in {608, 0}:
            raise ValueError("it goes with `status: 608` only (RFC 8688); write that, or take it out")
        return value

    @check_field("network_blocked")
    @classmethod
    def _goes_with_603(
        cls, value: NetworkBlockedSettings | None, info: ValidationInfo
    ) -> NetworkBlockedSettings | None:
        if value is not None and info.data.get("status") not in {None, 603}:
            raise ValueError("the form is one of 603; write `status: 603`, or no status")
        if value is not None and info.data.get("phrase") is not None:
            raise ValueError(f'the form has the phrase "{_NETWORK_BLOCKED}"; take `phrase` out')
        return value

    @check_field("header")
    @classmethod
    def _goes_with_tag(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _only_with("tag", "header", value, info)

    @check_field("announcement")
    @classmethod
    def _goes_with_announce(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("status") == 608:
            return value
        return _only_with("announce", "announcement", value, info)

    @property
    def compiled(self) -> Refusal:
        """As decisions need it."""
        blocked = self.network_blocked
        return Refusal(
            action=Action(self.action),
            status=603 if blocked is not None else self.status or 0,
            phrase=_NETWORK_BLOCKED if blocked is not None else self.phrase or "",
            jcard=self.jcard or "",
            blocked_contact="" if blocked is None else blocked.contact,
            blocked_location="" if blocked is None else blocked.location,
            header=self.header or "",
            announcement=(self.announcement or "").encode(),
        )


def _only_with(action: str, key: str, value: str | None, info: ValidationInfo) -> str | None:
    chosen = info.data.get("action", "")
    if value is None and chosen == action:
        raise ValueError(f"`action: {action}` needs `{key}`")
    if value is not None and chosen not in {action, ""}:
        raise ValueError(f"it goes with `action: {action}` only; write that, or take it out")
    return value


def compile_refusals(settings: dict[str, RefusalSettings]) -> tuple[dict[Reason, Refusal], list[tuple[str, str]]]:
    """The refusals by reason, and what is wrong with them: a key below `policy.refusals`, and why."""
    compiled: dict[Reason, Refusal] = {}
    problems: list[tuple[str, str]] = []
    reasons = {reason.value: reason for reason in STATUS_OF if reason not in _TOLD_IN_ONE_WAY}
    for name, section in settings.items():
        reason = reasons.get(name)
        if reason is None:
            problems.append((name, f"{quote(name)} is no reason to refuse a call; write one of {', '.join(reasons)}"))
            continue
        refusal = section.compiled
        if not is_offered(refusal.action, reason):
            problems.append((f"{name}.action", _offers(reason)))
            continue
        if refusal.explains_608 and not is_offered(Action.ANNOUNCE, reason):
            problems.append((f"{name}.announcement", f"{reason} is not told by an announcement; take it out"))
            continue
        if STATUS_OF[reason] == 503 and refusal.status not in {0, 503}:
            problems.append((f"{name}.status", "it is refused for want of room, and 503 is what tells callers so"))
            continue
        compiled[reason] = refusal
    return compiled, problems


def _offers(reason: Reason) -> str:
    offered = list(_offered(reason))
    return f"{reason} is told by {' or '.join(offered)} only; write {'that' if len(offered) == 1 else 'one of them'}"


def _offered(reason: Reason) -> Iterator[str]:
    return (action.value for action in Action if is_offered(action, reason))
