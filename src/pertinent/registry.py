"""Registries that find their members by file: one file in a package is one member, and its name is the file's."""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pertinent.errors import ConfigError, UnknownNameError, suggest


@dataclass(frozen=True)
class Entry:
    """A registered thing, known without importing it: its name, its public object and its first sentence."""

    name: str
    object_name: str
    summary: str


class Registry:
    """Members of one package, one a file; each file lists its public object first in `__all__`.

    Listing reads the source only, so it needs neither torch nor an import of the members.
    """

    def __init__(self, what: str, package: str, folder: Path) -> None:
        self.what, self.package, self.folder = what, package, folder

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """All members by name, in alphabetical order."""
        files = sorted(path for path in self.folder.glob("*.py") if not path.stem.startswith("_"))
        return {path.stem: _read_entry(path) for path in files}

    @cached_property
    def objects(self) -> dict[str, str]:
        """File name of every public object, by the object's name."""
        return {entry.object_name: name for name, entry in self.entries.items()}

    def names(self) -> list[str]:
        """Names of all members."""
        return list(self.entries)

    def get(self, name: str) -> Any:
        """Import one member's file and return its public object.

        Raises:
            UnknownNameError: no file of that name; the message suggests the nearest.
        """
        if name not in self.entries:
            raise UnknownNameError(self.what, name, self.entries)
        module = importlib.import_module(f"{self.package}.{name}")
        return getattr(module, self.entries[name].object_name)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Constructor options of one member, by name."""
        parameters = dict(inspect.signature(self.get(name)).parameters)
        return {key: value for key, value in parameters.items() if value.kind != value.VAR_KEYWORD}

    def types(self, name: str) -> dict[str, Any]:
        """Annotation of each constructor option of one member, by name."""
        member = self.get(name)
        return typing.get_type_hints(member.__init__ if inspect.isclass(member) else member)

    def check_options(self, name: str, given: dict[str, Any], where: str) -> list[str]:
        """Return one sentence for every option that the member does not take."""
        known = list(self.options(name))
        return [f"{where}.{key}: unknown option{suggest(key, known)}" for key in given if key not in known]

    def build(self, name: str, **options: Any) -> Any:
        """Construct one member with its options.

        Raises:
            UnknownNameError: unknown member.
            ConfigError: unknown option.
        """
        problems = self.check_options(name, options, name)
        if problems:
            raise ConfigError(problems, source=f"{self.what} {name}")
        return self.get(name)(**options)

    def lazy_attribute(self, object_name: str) -> Any:
        """Serve `from package import Object`; for use in the package's `__getattr__`."""
        if object_name not in self.objects:
            raise AttributeError(f"module {self.package!r} has no attribute {object_name!r}")
        return self.get(self.objects[object_name])


def _read_entry(path: Path) -> Entry:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exported = _exported(tree)
    if not exported:
        raise RuntimeError(f"{path} must list its public object first in __all__")
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == exported[0]), None)
    text = (ast.get_docstring(node) if node else None) or ast.get_docstring(tree) or ""
    return Entry(path.stem, exported[0], text.split("\n\n")[0].replace("\n", " ").strip())


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(item) for item in ast.literal_eval(node.value)]
    return []
