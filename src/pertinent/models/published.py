"""The checkpoints that the authors of the four systems published: where, under which licence, with which results."""

from __future__ import annotations

import functools
from pathlib import Path

from pertinent.config import Settings, parse, read_yaml
from pertinent.errors import UnknownNameError

_TABLE = Path(__file__).with_suffix(".yaml")


class Source(Settings):
    """A page of authors who publish checkpoints.

    Attributes:
        title: the system and its papers.
        page: where they publish.
        licence: what they say about use.
        settings: how their results were measured.
        convert: words for `pertinent convert`.
        evaluate: words for `pertinent evaluate`, so that it measures with those settings.
    """

    title: str
    page: str
    licence: str
    settings: str
    convert: str = ""
    evaluate: str = ""


class _Row(Settings):
    source: str
    file: str
    results: dict[str, dict[str, float]]
    convert: str | None = None
    evaluate: str | None = None


class _Table(Settings):
    sources: dict[str, Source]
    models: dict[str, _Row]


class PublishedModel(Settings):
    """A published checkpoint.

    Attributes:
        name: as its authors call it.
        origin: the reader of its file, see `pertinent.models.imports`.
        source: who publishes it.
        file: where the file is.
        results: its authors' figures in percent, by benchmark and metric.
        convert: words for `pertinent convert`.
        evaluate: words for `pertinent evaluate`.
    """

    name: str
    origin: str
    source: Source
    file: str
    results: dict[str, dict[str, float]]
    convert: str
    evaluate: str

    def figures(self) -> str:
        """The results in one line."""
        parts = [
            f"{benchmark} {', '.join(f'{metric} {value:g}' for metric, value in metrics.items())}"
            for benchmark, metrics in self.results.items()
        ]
        return "; ".join(parts)

    def command(self, file: str = "FILE", root: str = "ROOT") -> str:
        """The one line that converts and evaluates it, once the file and the benchmark's pictures are there."""
        benchmark = next(name for name in ("roxford5k", *self.results) if name in self.results)
        convert, evaluate = (f" {words}" if words else "" for words in (self.convert, self.evaluate))
        return (
            f"pertinent convert {file} -o {self.name}{convert} && "
            f"pertinent evaluate {self.name} --data {benchmark}:test --root {root}{evaluate}"
        )

    def summary(self) -> str:
        """All of it, for a list."""
        return (
            f"{self.source.title}. Results: {self.figures()} ({self.source.settings}). "
            f"Licence: {self.source.licence}. File: {self.file}, see {self.source.page}. Then: {self.command()}"
        )


@functools.cache
def published_models() -> dict[str, PublishedModel]:
    """Every published checkpoint, by name."""
    table = parse(_Table, read_yaml(_TABLE), str(_TABLE))
    return {
        name: PublishedModel(
            name=name,
            origin=row.source,
            source=table.sources[row.source],
            file=row.file,
            results=row.results,
            convert=table.sources[row.source].convert if row.convert is None else row.convert,
            evaluate=table.sources[row.source].evaluate if row.evaluate is None else row.evaluate,
        )
        for name, row in table.models.items()
    }


def published_model(name: str) -> PublishedModel:
    """One published checkpoint.

    Raises:
        UnknownNameError: no such name.
    """
    models = published_models()
    if name not in models:
        raise UnknownNameError("published model", name, models)
    return models[name]
