"""`pertinent list`: registered things and recipes, read without importing torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatch

from rich.table import Table

from pertinent.cli.screen import out
from pertinent.data.datasets import DATASETS
from pertinent.data.samplers import SAMPLERS
from pertinent.engine.trackers import TRACKERS
from pertinent.errors import UnknownNameError
from pertinent.index import INDEXES
from pertinent.losses import LOSSES
from pertinent.metrics import METRICS
from pertinent.models.imports import IMPORTS
from pertinent.registry import Registry
from pertinent.stages import STAGES

REGISTRIES = {
    "losses": LOSSES,
    "metrics": METRICS,
    "datasets": DATASETS,
    "samplers": SAMPLERS,
    "indexes": INDEXES,
    "stages": STAGES,
    "origins": IMPORTS,
    "trackers": TRACKERS,
}


def show_list(what: str, pattern: str) -> None:
    """Print one kind of things; without a word, the kinds.

    Raises:
        UnknownNameError: no such kind.
    """
    makers: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
        **{name: _of(registry) for name, registry in REGISTRIES.items()},
        "protocols": _protocols,
        "recipes": _recipes,
        "backbones": lambda: _backbones(pattern),
        "models": lambda: _models(pattern),
    }
    if not what:
        out.print("pertinent list WHAT, where WHAT is one of: " + ", ".join(makers))
        return
    if what not in makers:
        raise UnknownNameError("list", what, makers)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, summary in makers[what]():
        table.add_row(name, summary)
    out.print(table)


def _of(registry: Registry) -> Callable[[], Iterable[tuple[str, str]]]:
    return lambda: [(entry.name, entry.summary) for entry in registry.entries.values()]


def _protocols() -> Iterable[tuple[str, str]]:
    from pertinent.engine.protocols import PROTOCOLS

    return [(name, protocol.summary) for name, protocol in PROTOCOLS.items()]


def _recipes() -> Iterable[tuple[str, str]]:
    from pertinent.config import read_yaml
    from pertinent.data.datasets import DATASETS
    from pertinent.recipes import RECIPES, recipe_names

    for name in recipe_names():
        values = read_yaml(RECIPES / f"{name}.yaml")
        losses = " + ".join(values["losses"])
        lines = [values.get("description", ""), f"{values['data']['name']}; {losses}; {values['model']['backbone']}"]
        lines += [f"{key}: {values[key]}" for key in ("time", "expected") if key in values]
        wanted = DATASETS.options(values["data"]["name"]).get("root")
        needed = wanted is not None and wanted.default is wanted.empty
        root = f" data.root={values['data'].get('root', 'FOLDER')}" if needed else ""
        lines.append(f"run: pertinent train {name}{root}")
        yield name, "\n".join(lines)


def _backbones(pattern: str) -> Iterable[tuple[str, str]]:
    import timm

    from pertinent.models.classic import NAMES

    return [(name, "") for name in sorted({*timm.list_models(pattern), *(n for n in NAMES if fnmatch(n, pattern))})]


def _models(pattern: str) -> Iterable[tuple[str, str]]:
    from pertinent.models.published import published_models

    return [(name, model.summary()) for name, model in published_models().items() if fnmatch(name, pattern)]
