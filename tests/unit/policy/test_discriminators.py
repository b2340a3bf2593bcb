"""What a request shows beside its address (policy/discriminators.py)."""

from __future__ import annotations

import pytest

from edge_proxy.policy.discriminators import marks_of
from edge_proxy.sip.limits import Limits
from edge_proxy.sip.parser import parse_message
from tests.kit.messages import invite


@pytest.mark.parametrize(
    ("contact", "group", "context"),
    [
        ("<sip:+16305550100;tgrp=TG2-1;trunk-context=Example.com@gw.example;user=phone>", "tg2-1", "example.com"),
        ("<sip:+16305550100;trunk-context=+1-630;tgrp=local@gw.example>", "local", "+1-630"),
        ("<tel:+16305550100;tgrp=a;trunk-context=b>", "a", "b"),
        ("<sip:+16305550100@gw.example;tgrp=outside>", "", ""),
        ("<sip:gw.example>", "", ""),
        ("*", "", ""),
        ("<sip:broken", "", ""),
    ],
)
def test_trunk_group_is_that_of_the_contact(contact: str, group: str, context: str) -> None:
    """RFC 4904 §5: parameters of the user part."""
    data = invite().replace(b"Contact: <sip:198.51.100.10:5060>", f"Contact: {contact}".encode())
    marks = marks_of(parse_message(data, Limits()))
    assert (marks.trunk_group, marks.trunk_context) == (group, context)


def test_header_that_stands_twice_shows_nothing() -> None:
    """Nobody can be told by a header that says two things."""
    marks = marks_of(parse_message(invite("X-One: a", "X-Two: a", "x-two: b"), Limits()))
    assert marks.headers["x-one"] == "a"
    assert "x-two" not in marks.headers
