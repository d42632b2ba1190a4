"""Transforms in words, `Scale(800), CenterCrop(224)`: the language of Deep Image Retrieval, parsed, never run."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from pertinent.data._fixed_steps import CenterCrop, Identity, Normalize, Pad, PadSquare, Scale, ToTensor
from pertinent.data._random_steps import (
    ColorJitter,
    RandomBorder,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomScale,
    RandomTilting,
)
from pertinent.data._step import Numbers, Size, Step
from pertinent.errors import InputError, UnknownNameError, suggest

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INPUT_SIZE",
    "Step",
    "ToTensor",
    "completed",
    "parse_transforms",
    "result_size",
    "transform_words",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INPUT_SIZE = 224

_EXAMPLE = "Scale(800), CenterCrop(224)"
_LONGEST_TEXT = 2000
_KINDS: tuple[type[Step], ...] = (Identity, Pad, PadSquare, Scale, CenterCrop, ToTensor, Normalize)
_KINDS += (RandomBorder, RandomScale, RandomCrop, RandomRotation, RandomFlip, RandomTilting, ColorJitter, RandomErasing)
STEPS = {kind.__name__: kind for kind in _KINDS}
# Python's reader would only warn about these, on a channel that threads share: of "8if", and of "\d".
_UNREADABLE = re.compile(r"\\|\d[\d_.]*+(?:[eE][\d_]*+)?[a-df-zA-DF-Z]")
_BOXES = ("CropToBbox", "BBoxToPixelLabel")
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def parse_transforms(
    text: str,
    *,
    mean: Numbers = IMAGENET_MEAN,
    std: Numbers = IMAGENET_STD,
    input_size: int = INPUT_SIZE,
    interpolation: str | None = None,
) -> tuple[Step, ...]:
    """Read words into steps; nothing in them is run.

    A word is `Name(arguments)`, or a bare `Name`. Arguments are numbers, quoted words, tuples, True, False, None, sums,
    products and quotients of numbers, and the names `mean`, `std` and `input_size`.

    Args:
        text: words with commas between them; may be empty.
        mean: what `mean` stands for in the text.
        std: what `std` stands for.
        input_size: what `input_size` stands for, in pixels.
        interpolation: filter of every resizing that names none; None leaves it open, which is bilinear.

    Raises:
        UnknownNameError: no such transform.
        InputError: words that cannot be read, wrong arguments, or steps that cannot follow each other.
    """
    variables = {"mean": mean, "std": std, "input_size": input_size}
    try:
        steps = _Reader(text, variables, interpolation).steps()
    except RecursionError as error:
        raise InputError("transforms: the words are nested too deeply; write them plainly") from error
    _check_order(steps)
    return steps


def transform_words(steps: Sequence[Step]) -> str:
    """The words of steps, as `parse_transforms` reads them: arguments that have their default are left out."""
    return ", ".join(map(str, steps))


def completed(steps: Sequence[Step], mean: Numbers, std: Numbers) -> tuple[Step, ...]:
    """The steps up to the network's input: `ToTensor` and `Normalize` are added unless they name `ToTensor`."""
    if any(isinstance(step, ToTensor) for step in steps):
        return tuple(steps)
    return (*steps, ToTensor(), Normalize(mean, std))


def result_size(steps: Sequence[Step]) -> Size | None:
    """`(width, height)` of every result, or None where it depends on the picture."""
    changing = [step for step in steps if not step.keeps_size]
    return changing[-1].fixed_size if changing else None


def _check_order(steps: Sequence[Step]) -> None:
    tensor = False
    for step in steps:
        if isinstance(step, ToTensor) and tensor:
            raise InputError("transforms: ToTensor is written twice; take one out")
        if isinstance(step, Normalize) and not tensor:
            raise InputError("transforms: Normalize works on a tensor; put ToTensor() before it, or leave both out")
        if tensor and not isinstance(step, Normalize):
            raise InputError(f"transforms: {step} works on a picture; put it before ToTensor()")
        tensor = tensor or isinstance(step, ToTensor)


class _Reader:
    """One text being read; errors show the part of it that is wrong."""

    def __init__(self, text: str, variables: dict[str, Any], interpolation: str | None) -> None:
        self.text, self.variables, self.interpolation = text, variables, interpolation
        # The new line ends a comment, which would hide the bracket.
        self.source = f"[{text}\n]"

    def steps(self) -> tuple[Step, ...]:
        if len(self.text) > _LONGEST_TEXT:
            raise InputError(f"transforms: {len(self.text)} characters are too many, at most {_LONGEST_TEXT} are read")
        if _UNREADABLE.search(self.text):
            raise self._unread("a letter may not follow a number, and a backslash may stand nowhere")
        try:
            body = ast.parse(self.source, mode="eval").body
        except (SyntaxError, ValueError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else "it holds strange characters or is nested deeply"
            raise self._unread(reason) from error
        if not isinstance(body, ast.List):
            raise InputError(f"transforms: {_quoted(self.text)} is no list of transforms; write such as: {_EXAMPLE}")
        return tuple(self._step(node) for node in body.elts)

    def _unread(self, reason: str) -> InputError:
        return InputError(f"transforms: {_quoted(self.text)} cannot be read: {reason}; write such as: {_EXAMPLE}")

    def _shown(self, node: ast.AST) -> str:
        return _quoted(ast.get_source_segment(self.source, node) or "")

    def _step(self, node: ast.expr) -> Step:
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if not isinstance(call.func, ast.Name):
            raise InputError(f"transforms: {self._shown(node)} is no transform; write such as: {_EXAMPLE}")
        name = call.func.id
        if name in _BOXES:
            raise InputError(
                f"transforms: {name} is not needed: a box that a data set gives is cut out when the picture is read; "
                "take it out"
            )
        if name not in STEPS:
            raise UnknownNameError("transform", name, STEPS)
        kind = STEPS[name]
        options = self._arguments(kind, call, self._shown(node))
        if self.interpolation is not None and kind in (Scale, RandomScale):
            options.setdefault("interpolation", self.interpolation)
        try:
            return kind(**options)
        except InputError as error:
            raise InputError(f"{error}, in {self._shown(node)}") from error

    def _arguments(self, kind: type[Step], call: ast.Call, shown: str) -> dict[str, Any]:
        known = [field.name for field in fields(kind)]
        if len(call.args) > len(known):
            takes = f"takes {', '.join(known)} and no more" if known else "takes nothing"
            raise InputError(f"{kind.__name__}: {takes}, in {shown}")
        options = {name: self._value(node) for name, node in zip(known, call.args, strict=False)}
        for keyword in call.keywords:
            if keyword.arg is None:
                raise InputError(f"{kind.__name__}: name every argument, as in size=224, in {shown}")
            if keyword.arg not in known:
                tail = suggest(keyword.arg, known) if known else "; it takes nothing"
                raise InputError(f"{kind.__name__}: unknown argument {keyword.arg!r}{tail}, in {shown}")
            if keyword.arg in options:
                raise InputError(f"{kind.__name__}: {keyword.arg} is given twice, in {shown}")
            options[keyword.arg] = self._value(keyword.value)
        missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in options]
        if missing:
            raise InputError(f"{kind.__name__}: {' and '.join(missing)} must be given, in {shown}")
        return options

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
            return node.value
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self._value(item) for item in node.elts)
        if isinstance(node, ast.Name):
            if node.id not in self.variables:
                raise InputError(
                    f"transforms: unknown name {node.id!r}{suggest(node.id, list(self.variables))}; quote it if it is "
                    "a word"
                )
            return self.variables[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._number(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            try:
                return _ARITHMETIC[type(node.op)](self._number(node.left), self._number(node.right))
            except ArithmeticError as error:
                raise InputError(f"transforms: {self._shown(node)} cannot be computed: {error}") from error
        raise InputError(
            f"transforms: {self._shown(node)} is no plain value; give numbers, quoted words such as 'bicubic', tuples, "
            "True, False or None"
        )

    def _number(self, node: ast.expr) -> int | float:
        value = self._value(node)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"transforms: {self._shown(node)} is no number, so nothing can be computed from it")
        return value


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:97]}...")
