"""`Pipeline`: stages of post-processing in order, the same in evaluation, in search and on the server.

The items of a collection go through the whitenings and augmentations once, when it is indexed; a query goes through the
same whitenings, is expanded by what it finds, and the top of what it then finds is ordered anew.

Letters: N vectors, Q queries, G items, K kept, D dim.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError, PertinentError, StorageError
from pertinent.files import new_folder, read_versioned, reserve, write_json, write_tensors
from pertinent.functional.neighbours import Found, blocks, unit_rows
from pertinent.functional.whitening import Rows, Whitening, whiten
from pertinent.relevance import Relevance
from pertinent.stages import STAGES
from pertinent.stages._roles import ROLES, Augmenter, Expander, Reranker, Stage, Whitener
from pertinent.stages._words import call_words, parse_calls

FORMAT = 1
MEMORY_BYTES = 256 * 2**20
"""Larger sets of changed vectors are kept in a temporary file instead of in memory."""

ROWS = 4096

Vectors = NDArray[np.float32]
Search = Callable[[Vectors, int], Found]
"""Finds the k nearest items of each query: from `(Q, D)` and k to scores and positions `(Q, K)`, best first."""


class Pipeline:
    """Stages in order, with what the whitenings among them have learned; without stages it only normalises.

    Args:
        stages: whitenings first, then augmentations, expansions and re-rankings.
        learned: what each whitening has learned, in order; nothing when it is still to be fitted.

    Raises:
        InputError: stages in another order, or another number of whitenings.
    """

    def __init__(self, stages: Sequence[Stage] = (), learned: Sequence[Whitening] = ()) -> None:
        self.stages, self.learned = tuple(stages), tuple(learned)
        roles = [next(place for place, role in enumerate(ROLES) if isinstance(stage, role)) for stage in self.stages]
        if roles != sorted(roles):
            right = [self.stages[place] for place in np.argsort(roles, kind="stable").tolist()]
            raise InputError(f"stages cannot follow each other so; the order that works: {_words(right)}")
        self.whiteners = [stage for stage in self.stages if isinstance(stage, Whitener)]
        self.augmenters = [stage for stage in self.stages if isinstance(stage, Augmenter)]
        self.expanders = [stage for stage in self.stages if isinstance(stage, Expander)]
        self.rerankers = [stage for stage in self.stages if isinstance(stage, Reranker)]
        if self.learned and len(self.learned) != len(self.whiteners):
            raise InputError(f"there are {len(self.whiteners)} whitenings, and {len(self.learned)} were learned")

    @classmethod
    def parse(cls, words: str) -> Pipeline:
        """Stages from words such as "pca_whiten(dims=512), alpha_qe(k=10, alpha=3)"; defaults may be left out.

        Raises:
            ConfigError: words that cannot be read, or an option that a stage does not take.
            UnknownNameError: no such stage.
            InputError: an option out of range, or stages in an order that does not work.
        """
        return cls([STAGES.build(name, **options) for name, options in parse_calls(words)])

    @property
    def words(self) -> str:
        """All stages with all options, as `parse` reads them."""
        return _words(self.stages)

    def __repr__(self) -> str:
        return f"Pipeline.parse({self.words!r})"

    @property
    def fitted(self) -> bool:
        """Whether every whitening has learned."""
        return len(self.learned) == len(self.whiteners)

    @property
    def changes_items(self) -> bool:
        """Whether items become other than themselves at length 1."""
        return bool(self.whiteners or self.augmenters)

    @property
    def depth(self) -> int:
        """How many of the first items the re-rankings look at."""
        return max((stage.top for stage in self.rerankers), default=0)

    def fit(self, vectors: Rows, relevance: Relevance | None = None) -> Pipeline:
        """The same stages, the whitenings among them learned; each from what the ones before it make of the vectors.

        Args:
            vectors: `(N, D)`, may be a memory map; read in blocks.
            relevance: which of them match each other, for `lw_whiten`.

        Raises:
            InputError: vectors or labels that a whitening cannot learn from.
        """
        learned: list[Whitening] = []
        for stage in self.whiteners:
            learned.append(stage.learn(_Whitened(vectors, tuple(learned)) if learned else vectors, relevance))
        return Pipeline(self.stages, learned)

    def items(self, vectors: NDArray[Any]) -> Vectors:
        """The items of a collection as they are compared: whitened, of length 1, augmented.

        Args:
            vectors: `(G, D)`, may be a memory map.

        Returns:
            `(G, K)` float32; `vectors` itself where nothing is changed, a temporary memory map where it is large.

        Raises:
            InputError: the pipeline is not fitted, or to vectors of another length.
        """
        self._check_fitted()
        if not self.changes_items and _is_unit(vectors):
            return vectors
        made = vector_room((len(vectors), self._dim(vectors.shape[1])))
        for rows in blocks(len(vectors), ROWS):
            made[rows] = self._compared(vectors[rows])
        for stage in self.augmenters:
            augmented = vector_room(made.shape)
            stage.augment(made, augmented)
            made = augmented
        return made

    def queries(self, vectors: NDArray[Any], items: NDArray[Any], search: Search) -> Vectors:
        """Queries as they are compared: whitened, of length 1, expanded by what they find.

        Args:
            vectors: `(Q, D)`.
            items: what `items` made.
            search: finds the nearest of those.

        Returns:
            `(Q, K)` float32.

        Raises:
            InputError: the pipeline is not fitted, or to vectors of another length.
        """
        self._check_fitted()
        queries = self._compared(vectors)
        for stage in self.expanders:
            if stage.k:
                queries = stage.expand(queries, items, search(queries, stage.k)[1]).astype(np.float32)
        return queries

    def rank(self, queries: Vectors, items: NDArray[Any], search: Search, k: int) -> Found:
        """The k best items of each query, the first of them ordered anew.

        Scores of re-ranked items are those of the last re-ranking; where the list goes on beyond them, the cosines of
        the rest are lowered by a constant that puts them below.

        Args:
            queries: what `queries` made.
            items: what `items` made.
            search: finds the nearest of those; a position of -1 is none.
            k: how many.

        Returns:
            scores float32 and positions int64, `(Q, K)` each, best first.
        """
        found = search(queries, max(k, self.depth))
        scores, positions = np.array(found[0], np.float32), np.array(found[1], np.int64)
        for stage in self.rerankers:
            for row, query in enumerate(queries):
                top = min(stage.top, int((positions[row] >= 0).sum()))
                if top:
                    _reorder(stage, query, items, (scores[row], positions[row]), top)
        return scores[:, :k], positions[:, :k]

    def save(self, folder: Path | str) -> None:
        """Write `pipeline.json` and `whitening.safetensors` into a folder, in one step.

        Raises:
            StorageError: the folder cannot be written.
        """
        with new_folder(Path(folder)) as temporary:
            write_tensors(
                temporary / "whitening.safetensors",
                {
                    f"{place}.{name}": torch.from_numpy(np.ascontiguousarray(values))
                    for place, whitening in enumerate(self.learned)
                    for name, values in whitening._asdict().items()
                },
            )
            write_json(
                temporary / "pipeline.json", {"format": FORMAT, **self._description, "fingerprint": self.fingerprint}
            )

    @classmethod
    def load(cls, folder: Path | str) -> Pipeline:
        """Read a pipeline that `save` wrote.

        Raises:
            StorageError: missing, damaged, or of another format.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / "pipeline.json").is_file():
            raise StorageError(f"{folder} holds no pipeline (pipeline.json is missing)")
        saved = read_versioned(folder / "pipeline.json", "pipeline", FORMAT)
        try:
            stages = [STAGES.build(stage["name"], **stage["options"]) for stage in saved["stages"]]
            tensors = load_file(folder / "whitening.safetensors")
            learned = [
                Whitening(tensors[f"{place}.mean"].numpy(), tensors[f"{place}.projection"].numpy())
                for place in range(saved["learned"])
            ]
            pipeline = cls(stages, learned)
        except (PertinentError, SafetensorError, KeyError, TypeError, OSError) as error:
            raise StorageError(f"the pipeline in {folder} is damaged ({error}); make it again") from error
        if pipeline.fingerprint != saved.get("fingerprint"):
            raise StorageError(f"the pipeline in {folder} is damaged: it has another fingerprint than it states")
        return pipeline

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over stages, options and what was learned: equal fingerprints process alike."""
        digest = hashlib.sha256(json.dumps(self._description, sort_keys=True).encode())
        for values in (values for whitening in self.learned for values in whitening):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    @property
    def _description(self) -> dict[str, Any]:
        stages = [dict(zip(("name", "options"), _name_and_options(stage), strict=True)) for stage in self.stages]
        return {"stages": stages, "learned": len(self.learned)}

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise InputError(f"{self.words}: its whitening has learned nothing yet; call fit with vectors first")

    def _dim(self, dim: int) -> int:
        return len(self.learned[-1].projection) if self.learned else dim

    def _compared(self, vectors: NDArray[Any]) -> Vectors:
        for whitening in self.learned:
            vectors = whiten(vectors, whitening)
        return unit_rows(vectors).astype(np.float32)


class _Whitened:
    """Vectors seen through whitenings, computed when they are read."""

    def __init__(self, vectors: Rows, learned: tuple[Whitening, ...]) -> None:
        self.vectors, self.learned = vectors, learned
        self.shape = (vectors.shape[0], len(learned[-1].projection))

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        some = self.vectors[rows]
        for whitening in self.learned:
            some = whiten(some, whitening)
        return some


def _reorder(stage: Reranker, query: Vectors, items: NDArray[Any], ranked: Found, top: int) -> None:
    """Order the first `top` places of one list anew, in place; the rest keeps its order below them."""
    scores, positions = ranked
    new = stage.rescore(query, items[positions[:top]])
    order = np.argsort(-new, kind="stable")
    positions[:top], scores[:top] = positions[:top][order], new[order]
    if top < len(scores):
        lowered = scores[top:] - max(np.float32(0), scores[top] - scores[top - 1])
        scores[top:] = np.minimum(lowered, scores[top - 1])  # for the last digit of the first of them


def _is_unit(vectors: NDArray[Any]) -> bool:
    if vectors.dtype != np.float32:
        return False
    for rows in blocks(len(vectors), ROWS):
        lengths = np.einsum("nd,nd->n", vectors[rows], vectors[rows], dtype=np.float64)
        if not ((np.abs(lengths - 1) < 1e-5) | (lengths == 0)).all():
            return False
    return True


def vector_room(shape: tuple[int, int]) -> Vectors:
    """Memory for float32 vectors; that of a temporary file where they are many."""
    size = 4 * shape[0] * shape[1]
    if size <= MEMORY_BYTES:
        return np.empty(shape, np.float32)
    # The name goes at once, the file with the last array that looks into it.
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        reserve(Path(file.name))
        return np.memmap(file, np.float32, "r+", shape=shape)


def _name_and_options(stage: Stage) -> tuple[str, dict[str, Any]]:
    name = STAGES.objects[type(stage).__name__]
    return name, {option: getattr(stage, option) for option in STAGES.options(name)}


def _words(stages: Sequence[Stage]) -> str:
    return ", ".join(call_words(*_name_and_options(stage)) for stage in stages)
