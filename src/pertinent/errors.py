"""Every error that Pertinent raises on purpose; each says what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class PertinentError(Exception):
    """Base of all errors raised by Pertinent."""


class InputError(PertinentError, ValueError):
    """A value handed to a function has the wrong shape, type or range."""


class UnknownNameError(PertinentError, KeyError):
    """A name that no registered thing carries; the message suggests the nearest one."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what, self.name, self.known = what, name, sorted(known)
        super().__init__(f"unknown {what} {name!r}{suggest(name, self.known)}")

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        return type(self), (self.what, self.name, self.known)


class ConfigError(PertinentError):
    """A recipe or a setting is wrong; `problems` holds every fault found, one sentence each."""

    def __init__(self, problems: Sequence[str], source: str = "recipe") -> None:
        self.problems, self.source = list(problems), source
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {text}" for text in self.problems)]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str], str]]:
        return type(self), (self.problems, self.source)


class DataError(PertinentError):
    """A data set's files or labels are not what its reader expects."""


class ImageError(DataError):
    """One picture cannot be read; `where` names the file."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(f"{where}: {reason}")

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return type(self), (self.where, self.reason)


class TrainingError(PertinentError):
    """Training cannot go on, for example because the loss is not finite."""


class StorageError(PertinentError):
    """A store, index, checkpoint or encoder on disk is missing, damaged or cannot be written."""


class MissingDependencyError(PertinentError):
    """An optional library is needed and not installed; the message holds the install command."""


def suggest(name: str, known: Sequence[str]) -> str:
    """Return the tail of a message about an unknown name: the near ones, or all when few."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(repr(item) for item in near)}?"
    if not known:
        return "; nothing of that kind is registered"
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"; known: {shown}"
