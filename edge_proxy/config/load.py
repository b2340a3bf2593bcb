"""From a file to Settings, or to every error in it at once; and back to YAML (dump).

read_document finds what is no YAML, Settings what is no setting, conflicts what cannot be true together. Nothing is
bound, resolved or opened but the one file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from edge_proxy.config.assertions import AssertionSettings, AssertionsSettings
from edge_proxy.config.compose import parse_document, read_document
from edge_proxy.config.conflicts import find_conflicts
from edge_proxy.config.document import ConfigErrors, Document
from edge_proxy.config.models import Settings
from edge_proxy.config.section import Section
from edge_proxy.config.wording import describe
from edge_proxy.errors import ConfigError
from edge_proxy.resting import one_by_one, rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file. Raises ConfigErrors with all that is wrong, sorted by line."""
    return _settings_of(read_document(path))


def parse_settings(data: bytes, path: str) -> Settings:
    """As load_settings, from bytes; `path` is only for the error texts."""
    return _settings_of(parse_document(data, path))


def settings_error(settings: Settings, key_path: str, text: str) -> ConfigError:
    """An error found later about a setting, such as a port in use, at the line where it was written."""
    path, line = settings.where(key_path)
    return ConfigError(text, path=path, line=line, key=key_path)


def dump(settings: Settings) -> str:
    """Settings as YAML with every default filled in; loading it gives equal settings."""
    text: str = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    return text


def version_parts(settings: Settings) -> Iterator[bytes]:
    """Settings as bytes that differ whenever they do, a customer at a time: no part holds up other threads for long."""
    yield settings.model_dump_json(exclude={"customers"}).encode()
    for customer in one_by_one(settings.customers):
        yield customer.model_dump_json().encode()


def load_assertions(path: Path) -> list[tuple[int, AssertionSettings]]:
    """The assertions in a file, each with its line. Raises ConfigErrors with all that is wrong."""
    document = read_document(path)
    errors = list(document.errors)
    try:
        found = AssertionsSettings.model_validate(document.values())
    except ValidationError as error:
        raise ConfigErrors([*errors, *_validation_errors(error, document, AssertionsSettings)]) from error
    if errors:
        raise ConfigErrors(errors)
    return [(document.line_of(("assertions", place)), one) for place, one in enumerate(found.assertions)]


def _settings_of(document: Document) -> Settings:
    errors = list(document.errors)
    settings: Settings | None = None
    values = document.values()
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        said = {(known.line, known.key) for known in errors}
        errors += [one for one in _validation_errors(error, document, Settings) if (one.line, one.key) not in said]
    if isinstance(customers := values.get("customers"), list):
        while customers:  # freed at once, many of them would hold up the calls beside a reload
            customers.pop()
            rest()
    errors += find_conflicts(document)
    if settings is None or errors:
        raise ConfigErrors(errors)
    settings._document = document  # kept for where()
    return settings


def _validation_errors(error: ValidationError, document: Document, root: type[Section]) -> list[ConfigError]:
    found: list[ConfigError] = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":  # it waits for a neighbour that is wrong itself
            continue
        keys = detail["loc"][:-1] if detail["loc"][-1:] == ("[key]",) else detail["loc"]  # a key is what is wrong
        found.append(document.error(keys, describe(detail, document, root)))
    return found
