"""What is known of items besides labels: JSON that clients send as text."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pertinent.errors import InputError
from pertinent.index._where import Value
from pertinent.serve.requests import Metadata, Scalar, Word

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_WANTED: TypeAdapter[dict[str, Value | list[Value]]] = TypeAdapter(Metadata, config=_STRICT)
_KNOWN: TypeAdapter[dict[str, Value]] = TypeAdapter(
    Annotated[dict[Annotated[Word, Field(min_length=1)], Scalar], Field(max_length=100)], config=_STRICT
)


def wanted(text: str | None) -> dict[str, Value | list[Value]]:
    """A filter: values, or lists of them, by key; raises InputError."""
    return {} if text is None else _read(_WANTED, text, '{"year": [2020, 2021]}')


def known(text: str | None) -> dict[str, Value]:
    """What is known of an item: values by key; raises InputError."""
    return {} if text is None else _read(_KNOWN, text, '{"year": 2020}')


def _read(kind: TypeAdapter[Any], text: str, example: str) -> Any:
    try:
        return kind.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"metadata: {'.'.join(map(str, first['loc'][:1]))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"metadata: expected a JSON object such as {example}, got {text[:60]!r}") from error
