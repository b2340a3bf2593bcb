"""The settings of one customer's identity: what it may claim, and what its calls go on with (RFC 3323, RFC 3325)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic import field_validator as check_field
from pydantic_core.core_schema import ValidationInfo

from edge_proxy.config.document import quote
from edge_proxy.config.section import Section
from edge_proxy.numbers.ownership import parse_range
from edge_proxy.policy.identity_policy import AssertedIdentity, IdentityPolicy


def _checked_number(text: str) -> str:
    first, last = parse_range(text)
    if first != last:
        raise ValueError(f"{quote(text)} is a range; write one number")
    return text


class IdentitySettings(Section):
    """Keys of a customer."""

    anonymous: Literal["allow", "reject"] = "allow"
    forwarded_calls: Literal["allow", "reject"] = "reject"
    main_number: Annotated[str, AfterValidator(_checked_number)] | None = Field(
        default=None, examples=['"+12025550100"']
    )
    asserted_identity: Literal["keep", "replace", "strip"] = "keep"
    trusted_identity: bool = False

    @check_field("asserted_identity")
    @classmethod
    def _needs_a_number(cls, value: str, info: ValidationInfo) -> str:
        if value == "replace" and info.data.get("main_number", "") is None:
            raise ValueError("replace needs `main_number`, the number that is asserted instead")
        return value

    @property
    def identity(self) -> IdentityPolicy:
        """As decisions need it."""
        return IdentityPolicy(
            allows_forwarded=self.forwarded_calls == "allow",
            allows_anonymous=self.anonymous == "allow",
            is_trusted=self.trusted_identity,
            asserted=AssertedIdentity(self.asserted_identity),
            main_number=None if self.main_number is None else parse_range(self.main_number)[0],
        )
