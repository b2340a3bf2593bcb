"""How far rules are rolled out: checks on the keys of `policy.rules` and `policy.enforce_share`, which are reasons."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from edge_proxy.config.document import quote
from edge_proxy.policy.rollout import ADJUSTABLE, ALWAYS_ENFORCED, MAY_BE_OFF, RuleMode


def _checked_reason(text: str) -> str:
    if text in ADJUSTABLE:
        return text
    if text in ALWAYS_ENFORCED:
        raise ValueError(f"{text} has no mode: such a call cannot pass, or another key decides; remove it")
    close = get_close_matches(text.lower(), ADJUSTABLE, n=1)
    advice = f'did you mean "{close[0]}"?' if close else f"write one of {', '.join(ADJUSTABLE)}"
    raise ValueError(f"{quote(text)} is no reason that a call is refused for; {advice}")


def _checked_mode(value: object) -> object:
    if value is False:  # what YAML makes of a bare `off`
        return RuleMode.OFF.value
    if isinstance(value, str) and value in set(RuleMode):
        return value
    shown = "true, which YAML makes of a bare yes, on or true," if value is True else quote(str(value))
    raise ValueError(f"{shown} is no mode of a rule; write enforce, monitor or off")


def _checked_share(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100:
        return value
    raise ValueError(f"{quote(str(value))} is no share of 100 callers; write a whole number from 0 to 100")


def _checked_modes(modes: dict[str, str]) -> dict[str, str]:
    for reason, mode in modes.items():
        if mode == RuleMode.OFF and reason not in MAY_BE_OFF:
            off = ", ".join(sorted(MAY_BE_OFF))
            raise ValueError(f"{reason} cannot be off, only {off} can; write monitor to let such calls pass")
    return modes


Reason = Annotated[str, AfterValidator(_checked_reason)]
RuleModes = Annotated[dict[Reason, Annotated[str, BeforeValidator(_checked_mode)]], AfterValidator(_checked_modes)]
Shares = dict[Reason, Annotated[int, BeforeValidator(_checked_share)]]
