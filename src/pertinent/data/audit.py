"""`audit`: what is doubtful about the pictures and labels of a data set, said before training."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pertinent.data.table import ImageTable
from pertinent.errors import ImageError

CANNOT_READ = "cannot read"


def is_damage(problem: str) -> bool:
    """Tell whether a sentence of `audit` is about a picture that cannot be read."""
    return f": {CANNOT_READ} " in problem


def audit(
    tables: ImageTable | Mapping[str, ImageTable],
    check_pictures: bool = True,
    galleries: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """List the problems of one table, or of several splits together, one sentence each; nothing is changed.

    Looks for pictures without a label, labels that appear once, queries whose label their gallery lacks, classes that
    are in several splits that have no picture in common, pictures that cannot be read and pictures whose pixels are
    exactly the same.

    Args:
        tables: one table, or tables by the name of their split, which then begins each sentence.
        check_pictures: decode every picture; False looks at the labels only.
        galleries: the split in which the pictures of a split search, where that is another.
    """
    splits = {"": tables} if isinstance(tables, ImageTable) else dict(tables)
    problems: list[str] = []
    for name, table in splits.items():
        gallery = splits.get(galleries[name]) if name in galleries else None
        problems += _labels(name, table, alone=gallery is None)
        problems += [] if gallery is None else _lacking(name, table, galleries[name], gallery)
    for (name, table), (other_name, other) in combinations(splits.items(), 2):
        pair = galleries.get(name) == other_name or galleries.get(other_name) == name
        # One that is a part of the other, such as train of trainval, is meant so.
        if not pair and not set(table.ids) < set(other.ids) and not set(other.ids) < set(table.ids):
            problems += _shared_classes(name, table, other_name, other)
            problems += _shared_pictures(name, table, other_name, other)
    problems += _pictures(splits) if check_pictures else []
    return [text.removeprefix(": ") for text in problems]


def _labels(split: str, table: ImageTable, alone: bool) -> Iterator[str]:
    for level, words, counts, unlabelled in _columns(table):
        if unlabelled:
            yield f"{split}: {unlabelled} of {len(table)} pictures have no {level}; they are relevant to nothing by it"
        single = [words[label] for label in np.flatnonzero(counts == 1).tolist()]
        if single and alone:
            found = f"{split}: {len(single)} of {np.count_nonzero(counts)} labels of {level} appear once"
            lonely = (
                "no other picture is relevant by it"
                if table.kind == "tags"
                else f"such a picture has no positive by {level}; "
                "metrics skip it as a query and losses use it as a negative only"
            )
            yield f"{found} ({_shorten(single)}): {lonely}"


def _lacking(split: str, table: ImageTable, other_name: str, other: ImageTable) -> Iterator[str]:
    """Labels of queries that nothing in their gallery has."""
    theirs = {level: _there(words, counts) for level, words, counts, _ in _columns(other)}
    for level, words, counts, _ in _columns(table):
        mine = _there(words, counts)
        if level in theirs and mine - theirs[level]:
            missing = sorted(mine - theirs[level])
            yield (
                f"{split}: {len(missing)} of {len(mine)} labels of {level} are not in {other_name}, in which it "
                f"searches ({_shorten(missing)}): nothing is relevant by them"
            )


def _there(words: Sequence[str], counts: NDArray[np.int64]) -> set[str]:
    return {words[label] for label in np.flatnonzero(counts).tolist()}


def _columns(table: ImageTable) -> Iterator[tuple[str, Sequence[str], NDArray[np.int64], int]]:
    """Of each label column: its name, its classes' names, how many pictures each has, how many have none."""
    if table.kind == "tags":
        yield "tag", table.class_names[0], table.labels.sum(0, dtype=np.int64), int((~table.labels.any(1)).sum())
    if table.kind in ("classes", "tree"):
        labels = table.labels.reshape(len(table), -1).astype(np.int64)
        for column, words in enumerate(table.class_names):
            known = labels[:, column][labels[:, column] >= 0]
            level = table.level_names[column] if table.level_names else f"level {column}"
            yield level, words, np.bincount(known, minlength=len(words)), len(table) - len(known)


def _shared_classes(name: str, table: ImageTable, other_name: str, other: ImageTable) -> Iterator[str]:
    if not {table.kind, other.kind} <= {"classes", "tree"}:
        return
    (level, words, counts, _), (_, other_words, other_counts, _) = next(_columns(table)), next(_columns(other))
    mine = _there(words, counts)
    both = sorted(mine & _there(other_words, other_counts))
    if both:
        yield (
            f"{name} and {other_name} share {len(both)} of {len(mine)} classes of {level} ({_shorten(both)}); "
            "if one trains and the other judges, the figures are for classes seen in training"
        )


def _shared_pictures(name: str, table: ImageTable, other_name: str, other: ImageTable) -> Iterator[str]:
    common = sorted(set(table.ids) & set(other.ids))
    if common:
        yield f"{name} and {other_name} have {len(common)} pictures in common: {_shorten(common)}"


def _pictures(splits: Mapping[str, ImageTable]) -> Iterator[str]:
    alike: dict[str, dict[str, str]] = defaultdict(dict)
    for split, table in splits.items():
        with ThreadPoolExecutor() as pool:
            for index, (digest, problem) in enumerate(pool.map(lambda i, t=table: _pixels(t, i), range(len(table)))):
                if problem:
                    yield f"{split}: {CANNOT_READ} {problem}"
                else:
                    # By one id in several splits it is one picture.
                    name = table.ids[index]
                    alike[digest].setdefault(name, f"{split}:{name}".removeprefix(":"))
    for names in alike.values():
        if len(names) > 1:
            yield f"{len(names)} pictures are exactly the same: {_shorten(list(names.values()))}"


def _pixels(table: ImageTable, index: int) -> tuple[str, str]:
    try:
        image = table.read(index)
    except ImageError as error:
        return "", str(error)
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest(), ""


def _shorten(words: Sequence[str], most: int = 10) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")
