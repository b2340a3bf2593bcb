"""Settings of where a call began: `policy.ip_origin` with weights and thresholds, and `customers[].equipment`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from edge_proxy.config.document import quote
from edge_proxy.config.section import FilePath, Section
from edge_proxy.policy.weights import DEFAULT_WEIGHTS, IP_AT, MAX_WEIGHT, PSTN_AT
from edge_proxy.policy.wildcard import check_wildcard


def _checked_weights(weights: object) -> object:
    if not isinstance(weights, dict):
        raise ValueError(  # noqa: TRY004 - pydantic wants ValueError
            "weights are no mapping; write `signal: weight` pairs, such as {q850_reason: 20}"
        )
    for name, weight in weights.items():
        if name not in DEFAULT_WEIGHTS:
            close = get_close_matches(str(name), DEFAULT_WEIGHTS, n=1)
            advice = f'did you mean "{close[0]}"?' if close else f"the signals are {', '.join(DEFAULT_WEIGHTS)}"
            raise ValueError(f"{quote(str(name))} is no signal; {advice}")
        if not isinstance(weight, int) or isinstance(weight, bool) or abs(weight) > MAX_WEIGHT:
            raise ValueError(
                f"{quote(str(weight))} is no weight for {name}; write a whole number, {-MAX_WEIGHT} to {MAX_WEIGHT}"
            )
    return weights


Pattern = Annotated[str, AfterValidator(check_wildcard)]


class IpOriginSettings(Section):
    """How signals are weighed. `weights` names only those that differ from the defaults."""

    pstn_at: int = Field(default=PSTN_AT, ge=1, le=1000)
    ip_at: int = Field(default=IP_AT, ge=-1000, le=-1)
    weights: Annotated[dict[str, int], BeforeValidator(_checked_weights)] = Field(
        default={}, examples=["{q850_reason: 20}"]
    )
    fingerprints: FilePath | None = Field(default=None, examples=["/etc/edge-proxy/fingerprints.tsv"])


class EquipmentSettings(Section):
    """Which equipment of a customer is expected. None: whatever it says."""

    approved: list[Pattern] = Field(default=[], max_length=100, examples=['["Yealink *"]'])
