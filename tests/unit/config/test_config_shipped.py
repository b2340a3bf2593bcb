"""The files in config/: they load, they are the demo's, and the default explains every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from edge_proxy.config import (
    Settings,
    dump,
    load_settings,
    parse_settings,
    version_parts,
)
from edge_proxy.config.wording import _model_in

ROOT = Path(__file__).parents[3]
DEFAULT = ROOT / "config/edge-proxy.yaml"
SHIPPED = [DEFAULT, *sorted((ROOT / "config/examples").glob("*.yaml"))]


# Every test below changes one line of this file; `errors_with` says which.
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_file_loads_and_survives_a_dump(path: Path) -> None:
    """What we ship is right, and `dump` writes what loads to equal settings."""
    settings = load_settings(path)
    assert parse_settings(dump(settings).encode(), "dump") == settings


def test_default_file_is_the_demos() -> None:
    """The addresses and numbers that the demo's peers use."""
    settings = load_settings(DEFAULT)
    assert settings.node == "edge-1"
    assert str(settings.listeners.customers.address) == "127.0.0.1:5060"
    assert str(settings.listeners.carriers.address) == "127.0.0.1:5070"
    assert [
        (one.id, one.sources, [target.uri for target in one.targets], one.country, one.numbers)
        for one in settings.customers
    ] == [
        ("acme", ["127.0.0.2/32"], ["sip:127.0.0.2:5080"], "US", ["+12025550100-+12025550199"]),
        ("globex", ["127.0.0.3/32"], ["sip:127.0.0.3:5080"], "US", ["+13105550100-+13105550199"]),
        ("initech", ["127.0.0.4/32"], ["sip:127.0.0.4:5080"], "GB", ["+442079460000-+442079460999"]),
    ]
    assert [(one.id, [target.uri for target in one.targets], one.committed_rate_bps) for one in settings.trunks] == [
        ("carrier-a", ["sip:127.0.0.1:5090"], 100_000_000)
    ]


def _keys(model: type[BaseModel]) -> set[str]:
    keys = set(model.model_fields)
    for field in model.model_fields.values():
        if section := _model_in(field.annotation):
            keys |= _keys(section)
    return keys


def test_default_file_explains_every_key_in_place() -> None:
    """Every key stands in the default file, commented out at least, below a comment."""
    lines = DEFAULT.read_text().splitlines()
    for key in _keys(Settings):
        place = next((n for n, line in enumerate(lines) if re.match(rf"\s*(- )?(# +)?{key}:(\s|$)", line)), None)
        assert place is not None, f"{key} is not in {DEFAULT.name}"
        above = lines[place - 1]
        assert "#" in above, f"{key} has no comment above it"


def test_default_file_shows_the_defaults() -> None:
    """Sections without a choice to make show exactly what holds without them."""
    settings = load_settings(DEFAULT)
    bare = yaml.safe_load(DEFAULT.read_text())
    bare["policy"] = {"assertions": bare["policy"]["assertions"]}
    for section in ("evidence", "telemetry", "sip"):
        del bare[section]
    again = parse_settings(yaml.safe_dump(bare).encode(), "bare")
    assert again == settings


def test_settings_are_told_apart_by_their_parts() -> None:
    """The version of a snapshot comes from them: any value that differs shows, in the customers and beside them."""
    document = yaml.safe_load(DEFAULT.read_text())
    before = list(version_parts(parse_settings(yaml.safe_dump(document).encode(), "one")))
    assert before == list(version_parts(parse_settings(yaml.safe_dump(document).encode(), "other")))
    document["customers"][1]["mode"] = "monitor"
    customer = list(version_parts(parse_settings(yaml.safe_dump(document).encode(), "one")))
    document["node"] = "elsewhere"
    node = list(version_parts(parse_settings(yaml.safe_dump(document).encode(), "one")))
    assert [old != new for old, new in zip(before, customer, strict=True)].index(True) == 2
    assert (before[0] != node[0], customer[1:] == node[1:]) == (True, True)


def test_customers_share_what_none_of_them_wrote() -> None:
    """Sections never change, so that the defaults of ten thousand customers are in memory once."""
    acme, globex, _ = parse_settings(DEFAULT.read_bytes(), "one").customers
    assert acme.probe is globex.probe
