"""The YAML reader: lines, duplicate keys, aliases and their bounds, and what is no YAML at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from edge_proxy.config.compose import MAX_FILE_BYTES, parse_document, read_document
from edge_proxy.config.document import ConfigErrors, Document, format_key_path, parse_key_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def _both_builds_of_the_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every platform has libyaml: every rule here holds with and without it."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


def parse(text: str) -> Document:
    return parse_document(text.encode(), "f.yaml")


def errors_of(data: bytes) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse_document(data, "f.yaml")
    return [str(error) for error in caught.value.errors]


def test_line_of_a_key_is_where_the_key_stands_not_its_value() -> None:
    """An operator looks for the key, and its value may begin lines later."""
    document = parse("a:\n  - b: 1\n    c:\n\n      d\n  - e\n")
    lines = {path: document.line_of(parse_key_path(path)) for path in ("a", "a[0]", "a[0].b", "a[0].c", "a[1]")}
    assert lines == {"a": 1, "a[0]": 2, "a[0].b": 2, "a[0].c": 3, "a[1]": 6}


def test_line_of_an_absent_key_is_its_nearest_parents() -> None:
    """A missing key is reported at the mapping that lacks it, and at the file's first key at worst."""
    document = parse("# comment\na:\n  b: {c: 1}\n")
    assert document.line_of(("a", "b", "x", 3)) == 3
    assert document.line_of(("a", "x")) == 2
    assert document.line_of(("x",)) == 2


def test_key_path_text_reads_back() -> None:
    """A path is shown and accepted in one spelling."""
    assert parse_key_path(format_key_path(("customers", 0, "sources", 12))) == ("customers", 0, "sources", 12)


def test_strange_key_is_escaped_in_the_path() -> None:
    """An error stays on one line and cannot steer the terminal, whatever the key is."""
    assert format_key_path(("a", "x\n\x1b[31m")) == 'a."x\\n\\u001b[31m"'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100_000_000", 100_000_000),
        ("-5", -5),
        ("0", 0),
        ("2.5", 2.5),
        ("1.5e+3", 1500.0),
        ("NO", False),
        ("on", True),
        ("~", None),
        ("", None),
        ('"NO"', "NO"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("2020-01-31", "2020-01-31"),
        ("1e3", "1e3"),
        ("=", "="),
        ("127.0.0.1:5060", "127.0.0.1:5060"),
    ],
)
def test_scalar_has_its_yaml_value(text: str, value: object) -> None:
    """YAML 1.1 as PyYAML reads it, save that dates stay text."""
    got = parse(f"a: {text}\n").values()["a"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize("text", ["010", "0x10", "0b1", "1:30", "1:30.5", ".inf", ".nan", "9" * 5000, "1.0e+999"])
def test_number_with_a_second_meaning_is_an_error(text: str) -> None:
    """010 is 8 and 1:30 is 90 to YAML: nobody means that, so nobody gets it."""
    (error,) = parse(f"ok: 1\na: {text}\n").errors
    assert str(error).startswith("f.yaml:2: a: ")
    assert "write it in decimal digits" in str(error)
    assert len(str(error)) < 300


def test_duplicate_key_is_an_error_that_names_the_first_line() -> None:
    """Which of two values counts is not left to the parser."""
    (error,) = parse("a: 1\nb:\n  c: 1\n\n  c: 2\n").errors
    assert str(error) == "f.yaml:5: b.c: the key is written twice, first on line 3; keep one of the two"


def test_words_yaml_takes_for_booleans_are_keys_as_typed() -> None:
    """`on:` and `5:` are the words on the page, so that "unknown key" names what the operator sees."""
    assert parse("on: 1\n5: 2\nNO: 3\n").values() == {"on": 1, "5": 2, "NO": 3}


def test_alias_is_its_value_on_its_own_line() -> None:
    """An error in an aliased value is told where it is used; the key is there."""
    document = parse("a: &x {k: 1}\nb: *x\nc:\n  - *x\n")
    assert document.values() == {"a": {"k": 1}, "b": {"k": 1}, "c": [{"k": 1}]}
    assert document.line_of(("b",)) == 2
    assert document.line_of(("c", 0)) == 4


def test_merge_key_fills_what_is_not_written() -> None:
    """`<<` takes one mapping or several, and what is written beside it wins, as does the first of several."""
    document = parse("a: &a {k: 1, l: 2}\nb: &b {l: 3, m: 4}\nc:\n  <<: [*a, *b]\n  k: 9\nd:\n  <<: *b\n")
    assert document.values()["c"] == {"k": 9, "l": 2, "m": 4}
    assert document.values()["d"] == {"l": 3, "m": 4}
    assert document.errors == []


def test_merging_a_scalar_is_an_error() -> None:
    """Only a mapping has keys to merge."""
    (error,) = parse("a: 1\nb:\n  <<: 5\n").errors
    assert str(error).startswith('f.yaml:3: b."<<": only a mapping can be merged')


def test_quoted_merge_key_is_an_ordinary_key() -> None:
    """Quotes take the meaning away, here as for every other scalar."""
    assert parse('a: {"<<": 5}\n').values() == {"a": {"<<": 5}}


def test_tag_is_an_error_and_never_executed() -> None:
    """A configuration file makes no objects."""
    (error,) = parse("a: 1\nb: !!python/object/apply:os.system ['true']\n").errors
    assert str(error) == 'f.yaml:2: b: the tag "!!python/object/apply:os.system" is not understood here; remove it'


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: [1\nc: 2\n", 3, "close the list with ]"),
        ("a: 1\nb: c: d\n", 2, "quote text that holds"),
        ("a: 1\n\tb: 2\n", 2, "indent with spaces"),
        ('a: 1\nb: "x\n', 2, "close the quotes"),
        ("a: 1\nb: [::]:5060\n", 2, "quote text that starts with ["),
        ("- 1\na: 2\n", 2, "same indentation"),
        ("a: 1\nb: @x\n", 2, "quote text that starts with @"),
        ("a: 1\nb: *x\n", 2, "b: *x has no anchor"),
        ("a: 1\nb: &x [*x]\n", 2, "b[0]: *x has no anchor"),
        ("a: 1\n? [b]\n: 2\n", 2, "a list or a mapping is no key"),
        ("a: 1\n---\nb: 2\n", 2, "a second YAML document"),
        ("a: 1\nb: \x07\n", 2, "control character U+0007"),
        ("a: 1\nb: 1 # x\u2028c: 2\n", 2, "control character U+2028"),
        ("a: 1\nb: 1\rc: 2\n", 2, "control character U+000D"),
        ("#\r\n" * 9_000 + "b: \x07\n", 9_001, "control character U+0007"),
        ("# " + "x" * 40_000 + "\n" + "#\r\n" * 9_000 + "b: 1\rc: 2", 9_002, "control character U+000D"),
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("---", 1, "the file is empty"),
        ("---\n~\n", 1, "the file is empty"),
        ("# a list\n- a\n", 2, "the file is no mapping"),
        ("just text", 1, "the file is no mapping"),
        ("%YAML 9.9\n---\na: 1\n", 1, "incompatible YAML"),
    ],
)
def test_unusable_file_is_one_error_with_its_line(text: str, line: int, what: str) -> None:
    """After such an error the rest cannot be understood: one line, and advice."""
    (error,) = errors_of(text.encode())
    assert error.startswith(f"f.yaml:{line}: ")
    assert what in error
    assert "\n" not in error


def test_errors_before_an_unusable_place_are_reported_too() -> None:
    """The operator fixes in one go what could be found in one go."""
    assert [error[:9] for error in errors_of(b"a: 1\na: 2\nb: [\n")] == ["f.yaml:2:", "f.yaml:3:"]


def test_text_that_is_not_utf8_is_an_error_with_its_line() -> None:
    """A file saved as Latin-1 says where."""
    assert errors_of("a: 1\nb: é\n".encode("latin-1")) == ["f.yaml:2: byte 0xe9 is not UTF-8; save the file as UTF-8"]


def test_byte_order_mark_is_ignored() -> None:
    """Some editors write one; it is no part of the first key."""
    assert parse("\ufeffa: 1\n").values() == {"a": 1}


def test_windows_line_ends_count_as_one() -> None:
    """A file edited on Windows loads, with the same line numbers."""
    document = parse("a: 1\r\nb: 2\r\n")
    assert (document.values(), document.line_of(("b",))) == ({"a": 1, "b": 2}, 2)


def test_file_over_the_size_limit_is_not_parsed() -> None:
    """A bound on what one reload may cost."""
    (error,) = errors_of(b"#" * (MAX_FILE_BYTES + 1))
    assert "larger than 16 MiB" in error


def test_alias_bomb_is_an_error_before_it_grows() -> None:
    """Nine levels of nine aliases are a billion values in 500 bytes (billion laughs)."""
    lines = ["l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    (error,) = errors_of("\n".join(lines).encode())
    assert error.startswith("f.yaml:7: more than 1000000 values")


@pytest.mark.parametrize("deep", ["[" * 100_000, "a: " + "{a: " * 100_000, "- " * 100_000])
def test_deep_nesting_is_an_error_not_a_crash(deep: str) -> None:
    """Nesting stops at a level that no setting needs, far from the interpreter's own limit."""
    (error,) = errors_of(deep.encode())
    assert "nested deeper than 32 levels" in error


def test_aliases_cannot_nest_deeper_than_the_text_may() -> None:
    """Depth through aliases counts as depth: what reads the tree recurses over it."""
    lines = ["l0: &l0 [x]", *(f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, 40))]
    (error,) = errors_of("\n".join(lines).encode())
    assert "nested deeper than 32 levels" in error


def test_lone_surrogate_is_an_error() -> None:
    """An escape may write what is no character; it must not reach a log or a file name."""
    assert errors_of(b'a: 1\nb: "\\ud800"\n')[0].startswith("f.yaml:2: ")


def test_missing_file_is_an_error_with_the_reason(tmp_path: Path) -> None:
    """No trace: the path, why, and what would be right."""
    path = tmp_path / "none.yaml"
    with pytest.raises(ConfigErrors) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"{path}: cannot read the file: No such file or directory; ")


def test_directory_is_an_error_with_the_reason(tmp_path: Path) -> None:
    """The same for a directory."""
    with pytest.raises(ConfigErrors, match="cannot read the file: Is a directory"):
        read_document(tmp_path)
