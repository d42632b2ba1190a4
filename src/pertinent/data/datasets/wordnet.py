"""Pictures of synsets in the tree of WordNet: ImageNet, tieredImageNet (Ren et al., ICLR 2018) and their like."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from pertinent.data.datasets._class_folders import class_folders
from pertinent.data.datasets._lists import read_text
from pertinent.data.datasets._parts import (
    NO_LABEL,
    check_parents,
    require_split,
    root_folder,
    vocabulary,
    write_example_picture,
)
from pertinent.data.images import FolderSource
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["WordNet"]

_SPLITS = ("train", "val", "test")
_SYNSET = re.compile(r"n\d{8}")
_ORIGIN = "it was published with ImageNet, at image-net.org/archive"


class WordNet:
    """Pictures in folders of WordNet synsets, such as ImageNet or tieredImageNet, under the words above them.

    Pictures are `train/n01440764/....JPEG`; the splits are those of `train`, `val` and `test` that are there. The tree
    is a file of lines `parent child`, and a file of lines `synset<tab>words` may name the synsets. A class is called
    by its synset and the first of its words, since several synsets share one.

    Where a synset has several parents, its path goes through the one nearest to the root, of these the lowest; so every
    class has one parent.

    Args:
        root: the folder of the splits and the two files.
        levels: what lies above the synsets, fine to coarse, each a depth, counted from the root (`entity` is 0), or a
            list of synsets, of which the nearest above (or the synset itself) counts, whatever the path. A synset that
            is not as deep is itself its class at that depth; one that is under none of a list is unlabelled at that
            level (-1). The default tells mammals from birds (9) and animals from plants and tools (6).
        tree: the file of the tree.
        words: the file of words.

    Raises:
        DataError: no split, or no tree, is there; a line of a file is wrong; a synset is not in the tree; a class is
            under two of the next level.
        InputError: levels that are not fine to coarse, or no depth and no synsets.
    """

    def __init__(
        self,
        root: Path | str | None,
        *,
        levels: Sequence[int | Sequence[str]] = (9, 6),
        tree: str = "wordnet.is_a.txt",
        words: str = "words.txt",
    ) -> None:
        self.root = root_folder(root, "wordnet")
        _check_levels(levels)
        self.splits: Sequence[str] = [name for name in _SPLITS if (self.root / name).is_dir()]
        if not self.splits:
            raise DataError(f"wordnet: {self.root} has no folder {', '.join(_SPLITS)} of synset folders")
        self._paths = {name: class_folders(self.root, [name], _SYNSET) for name in self.splits}
        parents = _read_tree(self.root / tree)
        synsets = sorted({_synset(path) for paths in self._paths.values() for path in paths})
        lost = [synset for synset in synsets if synset not in parents]
        if lost:
            raise DataError(f"wordnet: {self.root / tree} has no parent of {', '.join(lost[:5])}; {_ORIGIN}")
        word = _read_words(self.root / words)
        listed = [level for level in levels if not isinstance(level, int)]
        unknown = [name for level in listed for name in level if not _is_known(name, parents)]
        if unknown:
            raise DataError(f"wordnet: {self.root / tree} has no synset {', '.join(unknown[:5])}, which levels names")
        chains = [[synset, *_above(synset, levels, parents)] for synset in synsets]
        named = [[f"{name} {word[name]}" if name in word else name for name in chain] for chain in chains]
        self._levels = ["synset", *(_level_name(number, level) for number, level in enumerate(levels, 1))]
        check_parents(named, self._levels, "wordnet")
        self._class_names = [vocabulary(row[level] for row in named) for level in range(len(self._levels))]
        numbers = [{name: number for number, name in enumerate(names)} | {"": NO_LABEL} for names in self._class_names]
        self._labels = {
            synset: [known[name] for known, name in zip(numbers, row, strict=True)]
            for synset, row in zip(synsets, named, strict=True)
        }

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are paths relative to `root`.

        Raises:
            DataError: the split's folder is missing, or has no pictures in synset folders.
        """
        require_split(name, _SPLITS)
        paths = self._paths.get(name, [])
        if not paths:
            raise DataError(f"wordnet: {self.root / name} has no pictures in folders like n01440764")
        labels = np.array([self._labels[_synset(path)] for path in paths], np.int64)
        return ImageTable(paths, FolderSource(self.root, paths), "tree", labels, self._levels, self._class_names)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 4 synsets of animals and 2 of tools in 3 splits, 2 pictures of each."""
        chains = {
            "n02084071": ("dog", ["n02083346", "n01861778", "n01471682", "n00015388"]),
            "n02121620": ("cat", ["n02120997", "n01861778", "n01471682", "n00015388"]),
            "n01503061": ("bird", ["n01471682", "n00015388"]),
            "n02512053": ("fish", ["n01471682", "n00015388"]),
            "n03481172": ("hammer", ["n03489162", "n04451818", "n00021939"]),
            "n04154565": ("screwdriver", ["n03489162", "n04451818", "n00021939"]),
        }
        links: dict[str, None] = {}
        split_of = {"n01503061": "val", "n02121620": "test", "n04154565": "test"}
        for number, (synset, (_, above)) in enumerate(chains.items()):
            path = [synset, *above, "n00001740"]
            links.update(dict.fromkeys(f"{parent} {child}" for child, parent in pairwise(path)))
            for view in range(2):
                write_example_picture(
                    root / split_of.get(synset, "train") / synset / f"{synset}_{view}.png", 2 * number + view
                )
        (root / "wordnet.is_a.txt").write_text("".join(f"{link}\n" for link in links), encoding="utf-8")
        words = [f"{synset}\t{word}, a thing\n" for synset, (word, _) in chains.items()]
        (root / "words.txt").write_text("".join([*words, "n00015388\tanimal, beast\n"]), encoding="utf-8")


def _synset(path: str) -> str:
    return path.split("/")[-2]


def _check_levels(levels: Sequence[int | Sequence[str]]) -> None:
    depths = [level for level in levels if isinstance(level, int)]
    if (
        not levels
        or isinstance(levels, str)
        or any(isinstance(level, bool | str) or level in ([], ()) for level in levels)
    ):
        raise InputError(f"wordnet: levels must be depths or lists of synsets, fine to coarse; got {levels!r}")
    if any(depth < 0 for depth in depths) or depths != sorted(set(depths), reverse=True):
        raise InputError(f"wordnet: levels go from fine to coarse, so depths fall and are at least 0; got {depths}")


def _level_name(number: int, level: int | Sequence[str]) -> str:
    return f"depth {level}" if isinstance(level, int) else f"level {number}"


def _is_known(synset: str, parents: Mapping[str, Sequence[str]]) -> bool:
    return synset in parents or any(synset in above for above in parents.values())


def _read_tree(path: Path) -> dict[str, list[str]]:
    """Parents of each synset that has one."""
    parents: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(read_text(path, "wordnet", _ORIGIN).splitlines(), 1):
        pair = line.split()
        if not pair:
            continue
        if len(pair) != 2 or pair[0] == pair[1]:
            raise DataError(f"wordnet: {path} line {number}: expected 'parent child', got {line!r}")
        parents[pair[1]].append(pair[0])
    return dict(parents)


def _read_words(path: Path) -> dict[str, str]:
    """The first word of each synset; none where there is no such file."""
    if not path.is_file():
        return {}
    lines = (line.partition("\t") for line in read_text(path, "wordnet", _ORIGIN).splitlines())
    return {synset.strip(): words.split(",")[0].strip() for synset, _, words in lines if words.strip()}


def _above(synset: str, levels: Sequence[int | Sequence[str]], parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The class of a synset at each level; empty where it has none."""
    path = _path(synset, parents)
    return [
        path[max(len(path) - 1 - level, 0)] if isinstance(level, int) else _nearest(synset, level, parents)
        for level in levels
    ]


def _path(synset: str, parents: Mapping[str, Sequence[str]]) -> list[str]:
    """A synset, its parent, and so on up to the root."""
    path = [synset]
    while path[-1] in parents:
        above = min(parents[path[-1]], key=lambda parent: (_depth(parent, parents), parent))
        if above in path:
            raise DataError(f"wordnet: the tree has {above} above itself; {_ORIGIN}")
        path.append(above)
    return path


def _depth(synset: str, parents: Mapping[str, Sequence[str]]) -> int:
    """Steps of the shortest way to a root."""
    front, seen, steps = {synset}, {synset}, 0
    while front and all(name in parents for name in front):
        front = {parent for name in front for parent in parents[name]} - seen
        seen |= front
        steps += 1
    return steps


def _nearest(synset: str, wanted: Sequence[str], parents: Mapping[str, Sequence[str]]) -> str:
    """The wanted synset that takes the fewest steps up, of these the first wanted; empty for none."""
    front, seen = {synset}, {synset}
    while front:
        found = [name for name in wanted if name in front]
        if found:
            return found[0]
        front = {parent for name in front for parent in parents.get(name, ())} - seen
        seen |= front
    return ""
