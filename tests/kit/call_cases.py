"""Calls that break one rule each, as SIPp keys, with the verdict that the product promises for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.kit.proxy_process import ACME_HOST, ACME_NUMBER, GLOBEX_HOST, GLOBEX_NUMBER, UNKNOWN_HOST
from tests.kit.sipp import SDP

FOREIGN_NUMBER: Final = "+14155550999"

_ISUP_BODY: Final = (
    f"--part\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n"
    "--part\r\nContent-Type: application/ISUP;version=itu-t92+\r\n"
    "Content-Disposition: signal;handling=optional\r\n\r\nan initial address message\r\n--part--\r\n"
)


@dataclass(frozen=True)
class CallCase:
    """`keys` fill a scenario; `{own}` in them is a number of the caller's own."""

    name: str
    keys: dict[str, str]
    reason: str
    rule: str
    says: str
    """What the Warning header tells a person."""
    ip_origin: str = "unknown"
    status: int = 403
    is_known: bool = True
    """Whether the source is a customer."""

    def enforced(self) -> tuple[str, dict[str, str]]:
        """Source host and keys for a customer in enforce mode, or for the unknown source."""
        return (ACME_HOST if self.is_known else UNKNOWN_HOST), self._filled(ACME_NUMBER)

    def monitored(self) -> tuple[str, dict[str, str]]:
        """The same from the customer in monitor mode."""
        return GLOBEX_HOST, self._filled(GLOBEX_NUMBER)

    def _filled(self, own: str) -> dict[str, str]:
        keys = {"from": "<sip:{own}@pbx.example>", **self.keys}
        return {key: value.replace("{own}", own) for key, value in keys.items()}


BLOCKED: Final = (
    CallCase(
        "foreign_from",
        {"from": f"<sip:{FOREIGN_NUMBER}@pbx.example>"},
        "from_not_owned",
        "from_is_owned",
        f"From {FOREIGN_NUMBER} is not assigned to",
    ),
    CallCase(
        "foreign_pai",
        {"headers": f"P-Asserted-Identity: <sip:{FOREIGN_NUMBER}@pbx.example>"},
        "pai_not_owned",
        "asserted_is_owned",
        f"P-Asserted-Identity {FOREIGN_NUMBER} is not assigned to",
    ),
    CallCase(
        "foreign_tel_pai",
        {"headers": f"P-Asserted-Identity: <sip:{{own}}@pbx.example>, <tel:{FOREIGN_NUMBER}>"},
        "pai_not_owned",
        "asserted_is_owned",
        f"P-Asserted-Identity {FOREIGN_NUMBER} is not assigned to",
    ),
    CallCase("unknown_source", {}, "unknown_source", "known_source", "is no source we know", is_known=False),
    CallCase(
        "gstn",
        {"headers": "P-Access-Network-Info: GSTN;operator-specific-GI=exchange-7"},
        "pstn_origin",
        "began_on_ip",
        "call began on the switched network",
        ip_origin="pstn",
    ),
    CallCase(
        "isup",
        {"type": "multipart/mixed;boundary=part", "body": _ISUP_BODY},
        "pstn_origin",
        "began_on_ip",
        "call began on the switched network: application/ISUP",
        ip_origin="pstn",
    ),
)
