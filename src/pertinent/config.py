"""Settings: YAML text plus `key=value` words into pydantic models, with all problems told at once."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pertinent.errors import ConfigError, suggest


class Settings(BaseModel):
    """Base of all settings: fixed once made, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnyModel = TypeVar("AnyModel", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that also reads 1e-4 as a number, refuses duplicate keys, and keeps on/off/yes/no as words."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if not all(isinstance(key, Hashable) for key in keys):
        raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", node.start_mark)
    repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
    if repeated:
        raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} is given twice", node.start_mark)
    return dict(loader.construct_pairs(node, deep=True))


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node).replace("_", ""))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("!number", _number)
_exponent = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$")
_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [
        *([("!number", _exponent)] if first in "-+0123456789" else []),
        *(item for item in resolvers if item[0] != _BOOLEAN or first in "tTfF"),
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: missing file, broken YAML, a key given twice, or no mapping.
    """
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror or error}"], source=str(path)) from error
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        raise ConfigError([f"is not valid YAML: {error}"], source=str(path)) from error
    if not isinstance(value, dict):
        raise ConfigError([f"must hold `key: value` lines, holds {type(value).__name__}"], source=str(path))
    return value


def apply_words(values: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Set `a.b.c=value` words in nested settings, read as YAML: `null` removes a loss or a choice, `{}` what is inside.

    Raises:
        ConfigError: a word without `=`, a value that is not YAML, or a path that goes through a plain value.
    """
    result = _copy(values)
    problems = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            problems.append(f"{word!r}: expected key=value, for example train.epochs=5")
            continue
        try:
            value = yaml.load(text, Loader=_Loader) if text else ""
        except (yaml.YAMLError, ValueError):
            problems.append(f"{key}: {text!r} is not a value; quote it if it is text")
            continue
        problem = _set(result, key, value)
        problems += [problem] if problem else []
    if problems:
        raise ConfigError(problems, source="command line")
    return result


def parse(model: type[AnyModel], values: Mapping[str, Any], source: str) -> AnyModel:
    """Validate values against a model.

    Raises:
        ConfigError: with one sentence for each problem; unknown keys suggest the near one.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(_sentences(model, values, error), source=source) from error


# An option may take an object too, such as a module; nothing in YAML is one.
_OTHER_TYPES = ConfigDict(arbitrary_types_allowed=True)


def check_value(annotation: Any, value: Any) -> str | None:
    """Say what is wrong with a value read from YAML for something annotated so; None when it fits."""
    try:
        # As JSON: lists fit tuples and texts fit paths, but a text never fits a number.
        adapter = TypeAdapter(annotation, config=_OTHER_TYPES)
        adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        wrong = dict.fromkeys(item["msg"] for item in error.errors() if item["type"] != "needs_python_object")
        return (" or ".join(wrong) or "Only Python code can give this option") + f", got {value!r}"
    return None


def _set(values: dict[str, Any], key: str, value: Any) -> str | None:
    *path, last = key.split(".")
    place = values
    for depth, part in enumerate(path):
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            return f"{key}: {'.'.join(path[: depth + 1])} is a plain value, nothing can be set inside it"
    # What is set joins what is there; {} takes it away.
    if isinstance(place.get(last), dict) and isinstance(value, dict) and value:
        place[last].update(value)
    else:
        place[last] = value
    return None


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(item) if isinstance(item, Mapping) else item for key, item in values.items()}


def _sentences(model: type[BaseModel], values: Mapping[str, Any], error: ValidationError) -> list[str]:
    found: dict[str, list[str]] = {}
    for item in error.errors():
        found.setdefault(_where(values, item), []).append(_message(model, item))
    # Each way in which a choice such as `int | str` fails is an error of pydantic's; to a person it is one.
    return [f"{where}: {' or '.join(messages)}" if where else messages[0] for where, messages in found.items()]


def _where(values: Any, item: Any) -> str:
    """The keys down to a fault, without the words that pydantic adds for the members of a choice."""
    kept = []
    for part in item["loc"]:
        places = values if isinstance(values, Mapping) else range(len(values)) if isinstance(values, list) else ()
        if part in places:
            values = values[part]
            kept.append(str(part))
    if item["type"] == "missing":
        kept.append(str(item["loc"][-1]))
    return ".".join(kept)


def _message(model: type[BaseModel], item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return f"unknown key{suggest(str(item['loc'][-1]), _known_keys(model, item['loc'][:-1]))}"
    if item["type"] == "missing":
        return "is required"
    got = "" if isinstance(item.get("input"), dict | list) else f", got {item.get('input')!r}"
    return f"{item['msg'].removeprefix('Value error, ')}{got}"


def _known_keys(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            if part not in current.model_fields:
                return []
            current = _strip_optional(current.model_fields[part].annotation)
        elif typing.get_origin(current) is dict:
            current = _strip_optional(typing.get_args(current)[1])
    if isinstance(current, type) and issubclass(current, BaseModel):
        return sorted(current.model_fields)
    return []


def _strip_optional(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        choices = [item for item in typing.get_args(annotation) if item is not type(None)]
        models = [item for item in choices if isinstance(item, type) and issubclass(item, BaseModel)]
        return models[0] if models else choices[0]
    return annotation
