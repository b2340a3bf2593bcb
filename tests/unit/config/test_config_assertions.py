"""Files of assertions: what they may hold, and how errors in them are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_proxy.config import ConfigErrors, load_assertions

GOOD = 'name: a, source: "udp:192.0.2.1:5060", from: "+12025550100", to: "911", expect: allowed'


def write(tmp_path: Path, *entries: str) -> Path:
    path = tmp_path / "assertions.yaml"
    path.write_text("assertions:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    return path


def test_assertions_come_with_their_lines(tmp_path: Path) -> None:
    """A failing one is told where it stands; one P-Asserted-Identity needs no brackets."""
    (first, one), (second, two) = load_assertions(write(tmp_path, GOOD, f'{GOOD}, pai: "+12025550100"'))
    assert (first, second) == (2, 3)
    assert (one.pai, two.pai) == ([], ["+12025550100"])
    assert (one.from_, one.expect, one.reason) == ("+12025550100", "allowed", None)


@pytest.mark.parametrize(
    ("old", "new", "key", "text"),
    [
        ("expect: allowed", "expect: maybe", "expect", "write allowed, refused or monitored"),
        ("udp:192.0.2.1:5060", "192.0.2.1", "source", "is no source; write udp:"),
        ('from: "+12025550100"', "side: customers", "from", 'the key "from" is missing'),
        ("expect: allowed", "expect: allowed, reason: spoofed", "reason", "is no reason of a verdict"),
        ("expect: allowed", 'expect: allowed, headers: ["nothing"]', "headers[0]", "is no header line"),
        ("expect: allowed", 'expect: allowed, headers: ["A: b\\r\\nC: d"]', "headers[0]", "is no header line"),
        ("+12025550100", "+1\\n2", "from", "is no line of text"),
        ("expect: allowed", "expect: allowed, form: a", "form", 'did you mean "from"?'),
        ("expect: allowed", "expect: allowed, side: left", "side", "customers or carriers"),
    ],
)
def test_bad_assertion_is_told_at_its_place(tmp_path: Path, old: str, new: str, key: str, text: str) -> None:
    path = write(tmp_path, GOOD, GOOD.replace(old, new))
    with pytest.raises(ConfigErrors) as caught:
        load_assertions(path)
    (error,) = caught.value.errors
    assert (error.path, error.line, error.key) == (str(path), 3, f"assertions[1].{key}")
    assert text in str(error)


@pytest.mark.parametrize("text", ["", "assertions: []\n", "assertions: yes\n", "- a\n", "asserts: []\n"])
def test_file_without_assertions_is_an_error(tmp_path: Path, text: str) -> None:
    """An empty guard guards nothing."""
    path = tmp_path / "assertions.yaml"
    path.write_text(text)
    with pytest.raises(ConfigErrors):
        load_assertions(path)
