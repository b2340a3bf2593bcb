"""What equipment writes about itself that tells what it is: a table of patterns, from a file that operators extend.

A line has four columns with tabs between: where it stands (`agent`: User-Agent or Server; `sdp-origin`: the user name
of o=; `sdp-session`: s=; RFC 8866 §5.2, §5.3), a pattern with `*`, what it means (`gateway`: to the switched network;
`ip`: equipment without one; `ignore`: says nothing), and a name for a person. Lines that begin with # are comments.
Whoever writes these headers chooses what they say: a fingerprint is a hint, never a proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from edge_proxy.errors import ConfigError
from edge_proxy.policy.wildcard import Wildcard, check_wildcard

MAX_LINES: Final = 500
_MAX_REMEMBERED: Final = 4096
_MAX_NAME_CHARS: Final = 64


class Place(StrEnum):
    AGENT = "agent"
    SDP_ORIGIN = "sdp-origin"
    SDP_SESSION = "sdp-session"


class Meaning(StrEnum):
    GATEWAY = "gateway"
    IP = "ip"
    IGNORE = "ignore"


class Fingerprint(NamedTuple):
    place: Place
    pattern: Wildcard
    meaning: Meaning
    name: str


class Fingerprints:
    """All lines, the first that matches wins; what a text was found to be is remembered for a bounded number."""

    __slots__ = ("_by_place", "_seen")

    def __init__(self, lines: Iterable[Fingerprint] = ()) -> None:
        self._by_place: dict[Place, list[Fingerprint]] = {place: [] for place in Place}
        for line in lines:
            self._by_place[line.place].append(line)
        self._seen: dict[tuple[str, str, str], tuple[Fingerprint, ...]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_place.values()))

    def find(self, agent: str, sdp_origin: str, sdp_session: str) -> tuple[Fingerprint, ...]:
        """What is known of equipment that writes these; at most one line for each place."""
        key = agent, sdp_origin, sdp_session
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) >= _MAX_REMEMBERED:
                self._seen.clear()
            places = zip(Place, key, strict=True)
            matches = (self._first(place, text) for place, text in places if text)
            found = self._seen[key] = tuple(match for match in matches if match is not None)
        return found

    def _first(self, place: Place, text: str) -> Fingerprint | None:
        match = next((line for line in self._by_place[place] if line.pattern.matches(text)), None)
        return None if match is None or match.meaning is Meaning.IGNORE else match


def read_fingerprints(lines: Iterable[str], path: str) -> tuple[list[Fingerprint], list[ConfigError]]:
    """The lines of a file, and what is wrong with it, each with its line."""
    found: list[Fingerprint] = []
    errors: list[ConfigError] = []
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if not text.strip() or text.startswith("#"):
            continue
        if len(found) + len(errors) == MAX_LINES:
            errors.append(ConfigError(f"more than {MAX_LINES} patterns; write fewer", path=path, line=number))
            break
        try:
            found.append(_fingerprint(text))
        except ValueError as error:
            errors.append(ConfigError(str(error), path=path, line=number))
    return found, errors


def _fingerprint(text: str) -> Fingerprint:
    columns = [column.strip() for column in text.split("\t")]
    if len(columns) != 4:
        raise ValueError(
            f"{len(columns)} column{'s' * (len(columns) != 1)} instead of 4; "
            "write place, pattern, meaning and name with one tab between them"
        )
    place, pattern, meaning, name = columns
    if place not in {*Place}:
        raise ValueError(f"{place[:40]!r} is no place; write {', '.join(Place)}")
    if meaning not in {*Meaning}:
        raise ValueError(f"{meaning[:40]!r} is no meaning; write {', '.join(Meaning)}")
    if not name or len(name) > _MAX_NAME_CHARS or not name.isprintable():
        raise ValueError(f"the last column is a name of 1 to {_MAX_NAME_CHARS} printable characters")
    return Fingerprint(Place(place), Wildcard(check_wildcard(pattern)), Meaning(meaning), name)
