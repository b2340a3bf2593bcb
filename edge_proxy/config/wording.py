"""Turn what pydantic found into one line for the operator: what is wrong, then what would be right.

The examples come from the fields of models.py, the words that were typed from the document. Nothing is checked here.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from edge_proxy.addr import Transport
from edge_proxy.config.document import Document, Entry, KeyPath, Mapping, Scalar, Sequence, quote
from edge_proxy.config.models import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

# Keys that people look for and that are absent on purpose.
_ABSENT_ON_PURPOSE: Final = {
    "emergency": "emergency calls are never refused, limited or shed, and no key changes that",
    "emergency_numbers": "emergency numbers come from the numbering plans, and no key changes them",
}


def describe(error: ErrorDetails, document: Document, root: type[BaseModel] = Settings) -> str:
    """The operator's text for one of pydantic's errors; `root` is what the document is to be."""
    keys: KeyPath = error["loc"]
    context: dict[str, Any] = error.get("ctx", {})
    entry = document.find(keys)
    field = _field_at(keys, root)
    example = _example(field, in_list=bool(keys) and isinstance(keys[-1], int))
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "missing" if entry is not None:
            return f"the key has no value; write one{_such_as(example)}"
        case "missing":
            return f'the key "{keys[-1]}" is missing; write `{keys[-1]}: {example or "..."}`'
        case "extra_forbidden":
            return _unknown_key(keys, root)
        case "string_type" | "path_type":
            return _not_text(entry, example)
        case "string_pattern_mismatch":
            return (
                f"{quote(str(error['input']))} is no identifier; write 1 to 64 letters, digits, dots, hyphens or "
                "underscores, the first one a letter or a digit"
            )
        case "int_type" | "int_from_float":
            return f"{_seen(entry)} is no whole number; write {_range(field)}{_unquoted(entry)}"
        case "float_type":
            return f"{_seen(entry)} is no number; write {_range(field)}{_unquoted(entry)}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"{error['input']} is out of range; write {_range(field)}"
        case "list_type":
            return f"{_seen(entry)} is no list; {_as_list(entry, example)}"
        case "too_short":
            return f"the list is empty; write at least one item{_such_as(example)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{_seen(entry)} is no mapping; write `key: value` pairs: {_known_keys(_model_at(keys, root))}"
        case "literal_error" | "enum":
            return _no_choice(entry, _choices(field))
        case _:
            return f"{_seen(entry)} is not valid ({error['msg']}); see this key in config/edge-proxy.yaml"


def _unknown_key(keys: KeyPath, root: type[BaseModel]) -> str:
    key = str(keys[-1])
    if key in _ABSENT_ON_PURPOSE:
        return f"unknown key; {_ABSENT_ON_PURPOSE[key]}: remove it"
    model = _model_at(keys[:-1], root)
    known = _keys_of(model)
    if close := get_close_matches(key.lower(), known, n=1):
        return f'unknown key; did you mean "{close[0]}"?'
    homes = [path for path, section in _SECTIONS.items() if key in section.model_fields]
    if homes:
        return f"unknown key here; it belongs under {' or '.join(homes)}"
    return f"unknown key; {_known_keys(model)}"


def _known_keys(model: type[BaseModel] | None) -> str:
    return f"known here are {', '.join(_keys_of(model))}" if model else "none is known here"


def _keys_of(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _not_text(entry: Entry | None, example: str) -> str:
    """Why something that must be text is not; above all the words that YAML takes for something else."""
    match entry and entry.node:
        case Scalar(text=text, value=bool()):
            return f"{_seen(entry)} is no text; write it in quotes: {quote(text)}"
        case Scalar(text=text, value=int() | float()):
            return f"{text} without quotes is a number to YAML, and text is meant; write it in quotes: {quote(text)}"
        case _:
            return f"{_seen(entry)} is no text; write one value{_such_as(example)}"


def _seen(entry: Entry | None) -> str:
    match entry and entry.node:
        case Scalar(value=None):
            return "an empty value"
        case Scalar(text=text, value=str()):
            return f"the text {quote(text)}"
        case Scalar(text=text, value=bool() as value):
            return f"the bare word {text} (YAML reads it as {'true' if value else 'false'})"
        case Scalar(text=text):
            return quote(text)[1:-1]
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case _:
            return "the value"


def _unquoted(entry: Entry | None) -> str:
    return ", without quotes" if entry and isinstance(entry.node, Scalar) and isinstance(entry.node.value, str) else ""


def _as_list(entry: Entry | None, example: str) -> str:
    if entry and isinstance(entry.node, Scalar) and isinstance(entry.node.value, str):
        return f"write it in brackets: [{quote(entry.node.text)}]"
    return f"write items in brackets, or one a line after `- `{_such_as(example)}"


def _no_choice(entry: Entry | None, choices: list[str]) -> str:
    offered = " or ".join((", ".join(choices[:-1]), choices[-1])) if len(choices) > 1 else "".join(choices)
    typed = entry.node.text if entry and isinstance(entry.node, Scalar) else ""
    close = get_close_matches(typed.lower(), choices, n=1)
    return f"{_seen(entry)} is not offered; write {offered}" + (f'; did you mean "{close[0]}"?' if close else "")


def _such_as(example: str) -> str:
    return f", such as {example}" if example else ""


def _example(field: FieldInfo | None, in_list: bool) -> str:
    example = str(field.examples[0]) if field and field.examples else ""
    return example.removeprefix("[").removesuffix("]") if in_list else example


def _range(field: FieldInfo | None) -> str:
    """ "1 to 64", from the bounds that the field declares."""
    bounds = {
        name: value
        for item in (field.metadata if field else [])
        for name in ("gt", "ge", "lt", "le")
        if (value := getattr(item, name, None)) is not None
    }
    low = str(bounds["ge"]) if "ge" in bounds else f"more than {bounds['gt']}" if "gt" in bounds else ""
    high = str(bounds.get("le", ""))
    if low and high:
        return f"{low}, and at most {high}" if "gt" in bounds else f"{low} to {high}"
    if low:
        return f"{low} or more"
    return f"{high} or less" if high else ""


def _choices(field: FieldInfo | None) -> list[str]:
    for annotation in _parts(field.annotation if field else None):
        if get_origin(annotation) is Literal:
            return [str(choice) for choice in get_args(annotation)]
    return [transport.value for transport in Transport if transport is not Transport.TLS]


def _field_at(keys: KeyPath, root: type[BaseModel]) -> FieldInfo | None:
    """The field that `keys` names; for an item of a list, the list's field."""
    while keys and isinstance(keys[-1], int):
        keys = keys[:-1]
    model = _model_at(keys[:-1], root)
    return model.model_fields.get(str(keys[-1])) if model and keys else None


def _model_at(keys: KeyPath, root: type[BaseModel]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = root
    is_name = False  # the next key is none of the model's: it names one of several, as those of policy.refusals do
    for key in keys:
        if is_name:
            is_name = False
        elif isinstance(key, str) and model is not None:
            field = model.model_fields.get(key)
            model = _model_in(field.annotation) if field else None
            is_name = model is not None and field is not None and get_origin(field.annotation) is dict
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _parts(annotation: object) -> list[object]:
    """An annotation and everything in its brackets: `list[X] | None` holds X."""
    return [annotation, *(part for argument in get_args(annotation) for part in _parts(argument))]


def _sections(model: type[BaseModel], path: str = "") -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        if (section := _model_in(field.annotation)) is not None:
            here = f"{path}.{name}" if path else name
            found |= {here: section, **_sections(section, here)}
    return found


_SECTIONS: Final = _sections(Settings)
