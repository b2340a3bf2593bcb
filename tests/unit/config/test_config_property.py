"""No file, whatever is in it, raises anything but ConfigErrors; and overlaps are found as by brute force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from edge_proxy.config import (
    ConfigErrors,
    Settings,
    dump,
    parse_settings,
)
from edge_proxy.config.wording import _model_in

BASE = Path(__file__).with_name("base.yaml").read_text()


def _keys(model: type[BaseModel]) -> set[str]:
    keys = set(model.model_fields)
    for field in model.model_fields.values():
        if section := _model_in(field.annotation):
            keys |= _keys(section)
    return keys


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 9)), max_size=8))
def test_overlaps_are_found_as_by_comparing_every_pair(claims: list[tuple[int, int, int]]) -> None:
    """The sweep reports an error exactly when some two customers' ranges meet, and names a pair that does."""
    text = BASE[: BASE.index("customers:\n")] + "customers:\n"
    for customer in range(4):
        numbers = [f'"+120255501{a:02}-+120255501{a + n:02}"' for who, a, n in claims if who == customer]
        text += f"  - {{id: c{customer}, sources: [10.0.0.{customer}], country: US, numbers: [{', '.join(numbers)}]}}\n"
    text += BASE[BASE.index("trunks:\n") :]
    meet = any(
        one[0] != two[0] and one[1] <= two[1] + two[2] and two[1] <= one[1] + one[2]
        for index, one in enumerate(claims)
        for two in claims[:index]
    )
    if not meet:
        parse_settings(text.encode(), "f.yaml")
        return
    with pytest.raises(ConfigErrors) as caught:
        parse_settings(text.encode(), "f.yaml")
    for error in map(str, caught.value.errors):
        found = re.findall(r'"\+120255501(\d\d)-\+120255501(\d\d)" of customer "(c\d)"', error)
        (first, last, who), (other_first, other_last, other) = found
        assert who != other
        assert first <= other_last
        assert other_first <= last


YAMLISH = st.lists(
    st.sampled_from(
        [
            *"abN0159:-[]{},&*!|>'\"%@`#?~<=\n\n\n \t",
            "  ",
            "- ",
            ": ",
            "<<: ",
            "&a ",
            "*a",
            "!!int ",
            "---\n",
            "...\n",
            "é",
            "\x07",
        ]
        + [f"{key}: " for key in sorted(_keys(Settings))]
        + [
            "NO",
            "true",
            "127.0.0.1:5060",
            "0.0.0.0/0",
            "sip:127.0.0.1",
            "+12025550100",
            "1_000",
            "1:30",
            '"\\ud800"',
            '"\\0"',
        ]
    ),
    max_size=60,
).map("".join)


@given(
    st.one_of(YAMLISH.map(str.encode), st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode("utf-8")))
)
def test_no_bytes_raise_anything_but_config_errors(data: bytes) -> None:
    """Whatever is in the file, the operator gets lines, never a trace; each error is one line that prints."""
    _only_config_errors(data)


@given(YAMLISH, st.integers(1, 27), st.booleans())
def test_no_line_in_a_good_file_raises_anything_but_config_errors(text: str, line: int, replace: bool) -> None:
    """The same with most of the file right, so that the checks behind the parser are reached."""
    lines = BASE.splitlines()
    lines[line - 1] = text if replace else lines[line - 1] + text
    _only_config_errors("\n".join(lines).encode())


JSONISH = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 99999), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(sorted(_keys(Settings))), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(Settings.model_fields)), JSONISH)
def test_no_value_of_any_shape_raises_anything_but_config_errors(key: str, value: object) -> None:
    """The same with well-formed YAML of the wrong shape."""
    good = yaml.safe_load(BASE)
    good[key] = value
    _only_config_errors(yaml.safe_dump(good, allow_unicode=True).encode())


@given(st.sampled_from(["listeners", "customers", "trunks", "evidence", "sip"]), st.data())
def test_no_value_inside_a_section_raises_anything_but_config_errors(section: str, data: st.DataObject) -> None:
    """The same, one and two levels down."""
    good = yaml.safe_load(BASE)
    inner = good[section]
    while isinstance(inner, list) or (
        any(isinstance(one, dict | list) for one in inner.values()) and data.draw(st.booleans())
    ):
        children = inner if isinstance(inner, list) else [one for one in inner.values() if isinstance(one, dict)]
        children = [one for one in children if isinstance(one, dict)]
        if not children:
            break
        inner = data.draw(st.sampled_from(children))
    inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(JSONISH)
    _only_config_errors(yaml.safe_dump(good, allow_unicode=True).encode())


def _only_config_errors(data: bytes) -> None:
    try:
        settings = parse_settings(data, "f.yaml")
    except ConfigErrors as caught:
        errors = caught.errors
    else:
        assert parse_settings(dump(settings).encode(), "dump") == settings
        return
    assert errors == sorted(errors, key=lambda error: error.line)
    for error in errors:
        assert 1 <= error.line <= data.count(b"\n") + 1
        assert str(error).isprintable()
