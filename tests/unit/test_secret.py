"""The node's key: made once, kept, and never half of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from edge_proxy.config import Settings, parse_settings
from edge_proxy.errors import EvidenceError
from edge_proxy.worker import load_secret

DEFAULT = Path(__file__).parents[2] / "config/edge-proxy.yaml"


def settings_in(directory: Path) -> Settings:
    document = yaml.safe_load(DEFAULT.read_text()) | {"data_dir": str(directory / "data")}
    return parse_settings(yaml.safe_dump(document).encode(), "edge-proxy.yaml")


def test_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    """Calls survive a restart by it, and whoever reads it could forge what they carry."""
    settings = settings_in(tmp_path)
    secret = load_secret(settings)
    assert len(secret) == 32
    assert load_secret(settings) == secret
    (kept,) = (tmp_path / "data").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_start_that_was_ended_while_it_made_the_key_stops_no_later_one(tmp_path: Path) -> None:
    """In a container every start has the same process id, and so the same name for what is not finished."""
    settings = settings_in(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"secret.{os.getpid()}").write_bytes(b"half")
    assert len(load_secret(settings)) == 32
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_key_that_is_none_is_not_used(tmp_path: Path) -> None:
    """It is told, with what can be done about it: a new one would end the calls that are up."""
    settings = settings_in(tmp_path)
    load_secret(settings)
    (tmp_path / "data" / "secret.key").write_bytes(b"half")
    with pytest.raises(EvidenceError, match="restore it, or delete it"):
        load_secret(settings)
