"""Stages in words, such as `pca_whiten(p=0.25, dims=512), alpha_qe(k=10)`: parsed by grammar, never run."""

from __future__ import annotations

import ast
from typing import Any

from pertinent.errors import ConfigError

EXAMPLE = "pca_whiten(dims=512), alpha_qe(k=10, alpha=3)"


def parse_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and options of each call in a comma-separated list.

    A call is `name` or `name(option=value, ...)`; a value is a number, true or false as Python writes them, None or a
    quoted word.

    Raises:
        ConfigError: anything else.
    """
    try:
        # The new line ends a comment, which would hide the bracket.
        body = ast.parse(f"[{text}\n]", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply or holds strange characters"
        raise _wrong(f"{text!r} cannot be read: {reason}") from error
    if not isinstance(body, ast.List):
        raise _wrong(f"{text!r} is no list of stages")
    return [_call(node) for node in body.elts]


def call_words(name: str, options: dict[str, Any]) -> str:
    """One call as `parse_calls` reads it."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def _call(node: ast.expr) -> tuple[str, dict[str, Any]]:
    if isinstance(node, ast.Name):
        return node.id, {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise _wrong(f"{ast.unparse(node)!r} is no stage")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise _wrong(f"{ast.unparse(node)}: name every option, as in k=10")
    name, options = node.func.id, {}
    for keyword in node.keywords:
        where = f"{name}.{keyword.arg}"
        if keyword.arg in options:
            raise _wrong(f"{where} is given twice")
        options[str(keyword.arg)] = _value(keyword.value, where)
    return name, options


def _value(node: ast.expr, where: str) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = ()
    if not isinstance(value, int | float | str | None):
        raise _wrong(f"{where}: {ast.unparse(node)} is no plain value; give a number or a quoted word")
    return value


def _wrong(problem: str) -> ConfigError:
    return ConfigError([f"{problem}; write such as: {EXAMPLE}"], "stages")
