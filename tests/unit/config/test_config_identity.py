"""The settings of identity and trust: what is wrong is named with its line (config/identity.py, compile.py)."""

from __future__ import annotations

import pytest

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import ConfigErrors, parse_settings
from edge_proxy.policy.identity_policy import AssertedIdentity
from tests.kit.playbook import CONFIG

ACME = "  - id: acme\n"


def compiled_with(policy: str) -> object:
    text = CONFIG.replace("TARGETS", '"sip:203.0.113.10:5090"').replace(ACME, f"{ACME}    {policy}\n")
    return compile_snapshot(parse_settings(text.encode(), "test.yaml")).customers[0].identity


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ("asserted_identity: replace", "replace needs `main_number`"),
        ("asserted_identity: delete", "is not offered; write keep, replace or strip"),
        ('main_number: "+12025550100-+12025550101"', "is a range; write one number"),
        ('main_number: "+4930901820000"', "is no number of acme"),
        ('main_number: "+12025550300"', "is no number of acme"),
        ("main_number: alice", "alice"),
        ("anonymous: maybe", "write allow or reject"),
        ("forwarded_calls: true", "write allow or reject"),
        ('trusted_identity: "no"', "valid boolean"),
    ],
)
def test_error_names_its_line(policy: str, error: str) -> None:
    """file:line:key, and what would be right."""
    with pytest.raises(ConfigErrors) as caught:
        compiled_with(policy)
    (found,) = caught.value.errors
    assert error in str(found)
    assert str(found).startswith("test.yaml:8: ")


def test_settings_become_the_policy() -> None:
    """Each key, and the defaults."""
    chosen = compiled_with(
        'main_number: "+12025550101"\n    asserted_identity: replace\n    trusted_identity: true\n'
        "    anonymous: reject\n    forwarded_calls: allow"
    )
    assert repr(chosen) == (
        "IdentityPolicy(allows_forwarded=True, allows_anonymous=False, is_trusted=True, "
        f"asserted={AssertedIdentity.REPLACE!r}, main_number=12025550101)"
    )
