"""Spell out a numbering-plan pattern as the digit strings it accepts.

Numbering metadata writes prefixes and emergency codes as small regular expressions (`11[02]`, `00(?:1[245]|31)`).
Spelled out, they become members of a set or literal prefixes, which a decision looks up without running a pattern.
Only the finite part of the syntax is understood: digits, `\\d`, `[..]`, groups, `|` and `?`. It never guesses: any
other syntax, and a pattern that accepts more than `limit` strings, raises ValueError.
"""

from __future__ import annotations

_DIGITS = "0123456789"


def spell_out(pattern: str, limit: int = 5_000) -> tuple[str, ...]:
    """Every string that `pattern` matches in full, each once, in the order the pattern names them."""
    strings, end = _alternatives(pattern, 0, limit)
    if end != len(pattern):
        raise ValueError(f"cannot spell out {pattern!r}: unbalanced ')' at {end}")
    return tuple(dict.fromkeys(strings))


def _alternatives(pattern: str, start: int, limit: int) -> tuple[list[str], int]:
    """Read `a|b|c` up to the closing `)` or the end; the strings, and where reading stopped."""
    found: list[str] = []
    sequence = [""]
    at = start
    while at < len(pattern) and pattern[at] != ")":
        if pattern[at] == "|":
            found += sequence
            sequence = [""]
            at += 1
            continue
        choices, at = _item(pattern, at, limit)
        if at < len(pattern) and pattern[at] == "?":
            choices = [*choices, ""]
            at += 1
        if len(found) + len(sequence) * len(choices) > limit:
            raise ValueError(f"cannot spell out {pattern!r}: it accepts more than {limit} strings")
        sequence = [head + tail for head in sequence for tail in choices]
    return found + sequence, at


def _item(pattern: str, at: int, limit: int) -> tuple[list[str], int]:
    """Read one digit, digit class or group; what it may stand for, and where the next item begins."""
    char = pattern[at]
    if char in _DIGITS:
        return [char], at + 1
    if pattern.startswith("\\d", at):
        return list(_DIGITS), at + 2
    if char == "[":
        end = pattern.find("]", at)
        if end > at + 1:
            return _digit_class(pattern, pattern[at + 1 : end]), end + 1
    if char == "(":
        inner = at + 3 if pattern.startswith("(?:", at) else at + 1
        choices, end = _alternatives(pattern, inner, limit)
        if end < len(pattern):
            return choices, end + 1
    raise ValueError(f"cannot spell out {pattern!r}: no rule for {char!r} at {at}")


def _digit_class(pattern: str, inside: str) -> list[str]:
    """`14-689` -> 1, 4, 5, 6, 8, 9."""
    choices: list[str] = []
    at = 0
    while at < len(inside):
        first = last = inside[at]
        at += 1
        if inside.startswith("-", at) and at + 1 < len(inside):
            last = inside[at + 1]
            at += 2
        if first not in _DIGITS or last not in _DIGITS:
            raise ValueError(f"cannot spell out {pattern!r}: no rule for the class [{inside}]")
        choices += _DIGITS[int(first) : int(last) + 1]
    return choices
