"""The sections of limits: what they become, and what is said of a mistake in them."""

from __future__ import annotations

import pytest

from edge_proxy.compile import compile_snapshot
from edge_proxy.config import parse_settings
from edge_proxy.config.document import ConfigErrors
from edge_proxy.policy.call_limits import NO_ASN_LIMITS, AsnLimits, CallLimits, DestinationLimits, Share
from tests.kit.playbook import CONFIG

NUMBERS = 'numbers: ["+12025550100-+12025550199"]'


def with_limits(limits: str, policy: str = "{}") -> bytes:
    text = CONFIG.replace(NUMBERS, f"{NUMBERS}\n    limits: {limits}").replace("TARGETS", '"sip:203.0.113.10"')
    return f"{text}policy: {policy}\n".encode()


def test_limits_reach_the_snapshot() -> None:
    """Longest prefixes first; what is not written is no limit."""
    destinations = '[{prefix: "+882", calls_per_hour: 5}, {prefix: "+8821", calls_per_second: 0.5}]'
    text = with_limits(
        f"{{per_number: {{concurrent_calls: 3}}, destinations: {destinations}}}",
        "{limits: {per_asn: {calls_per_second: 10}}}",
    )
    book = compile_snapshot(parse_settings(text, "test.yaml")).rulebook
    limits = book.customers[0].limits
    assert limits.per_number == Share(None, 3)
    assert limits.destinations == (DestinationLimits("8821", 0.5), DestinationLimits("882", calls_per_hour=5))
    assert limits.has_details
    assert book.per_asn == AsnLimits(Share(10))
    assert book.customers[1].limits == CallLimits()
    assert compile_snapshot(parse_settings(with_limits("{}"), "test.yaml")).rulebook.per_asn is NO_ASN_LIMITS


def test_what_is_said_of_customers_alike_is_one_object() -> None:
    """And what is not alike is each its own."""
    customer = "  - {{id: c{0}, sources: [192.0.2.{0}], country: US, limits: {{calls_per_second: {1}}}}}\n"
    more = "".join(customer.format(place, 5 if place < 103 else 6) for place in range(100, 104))
    text = with_limits("{}").decode().replace("customers:\n", f"customers:\n{more}", 1)
    customers = compile_snapshot(parse_settings(text.encode(), "test.yaml")).customers
    first, *others = [one for one in customers if one.id in {"c100", "c101", "c102", "c103"}]
    for name in ("limits", "access", "identity", "ip_origin"):
        assert all(getattr(one, name) is getattr(first, name) for one in others[:2])
    assert others[2].limits == CallLimits(calls_per_second=6)
    assert others[2].access is first.access


@pytest.mark.parametrize(
    ("limits", "key", "text"),
    [
        (
            '{destinations: [{prefix: "882"}]}',
            "destinations[0].prefix",
            "write + and the first digits in international",
        ),
        ('{destinations: [{prefix: "+0"}]}', "destinations[0].prefix", "begins no number"),
        ("{destinations: [{calls_per_hour: 1}]}", "destinations[0].prefix", 'the key "prefix" is missing'),
        ('{destinations: [{prefix: "+1"}, {prefix: "+1"}]}', "destinations", "+1 is listed twice"),
        ('{destinations: [{prefix: "+1", calls_per_hour: 0}]}', "destinations[0].calls_per_hour", "out of range"),
        ("{per_number: {calls_per_second: 0}}", "per_number.calls_per_second", "out of range"),
        ("{per_number: 3}", "per_number", "is no mapping"),
    ],
)
def test_mistakes_are_told_with_their_place(limits: str, key: str, text: str) -> None:
    """File, line, key, what is wrong and what would be right."""
    with pytest.raises(ConfigErrors) as caught:
        parse_settings(with_limits(limits), "test.yaml")
    (error,) = caught.value.errors
    assert f"customers[0].limits.{key}" in str(error)
    assert text in str(error)
