"""The keys of `sip` that loops, session timers and lost calls are governed by."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.config import ConfigErrors, parse_settings

BASE = (Path(__file__).parents[3] / "config/edge-proxy.yaml").read_text()


def with_line(old: str, new: str) -> bytes:
    assert BASE.count(old) == 1
    return BASE.replace(old, new).encode()


@pytest.mark.parametrize("seconds", [0, 90, 86_400])
def test_session_interval_is_none_or_one_that_may_be_asked_for(seconds: int) -> None:
    """RFC 4028 §5: no element may ask for less than 90 s; 0 asks for nothing."""
    text = with_line("session_expires_s: 1800", f"session_expires_s: {seconds}")
    assert parse_settings(text, "x").sip.session_expires_s == seconds


@pytest.mark.parametrize("seconds", [1, 89])
def test_session_interval_below_the_rfcs_floor_is_refused_with_advice(seconds: int) -> None:
    """The text says what is wrong and what would be right."""
    with pytest.raises(ConfigErrors, match=r"sip\.session_expires_s.*write 90 or more, or 0"):
        parse_settings(with_line("session_expires_s: 1800", f"session_expires_s: {seconds}"), "x")


def test_defaults_are_those_the_default_file_writes() -> None:
    """A file without the section means the same."""
    head = BASE.partition("\nsip:\n")[0]
    assert parse_settings(head.encode(), "x").sip == parse_settings(BASE.encode(), "x").sip
