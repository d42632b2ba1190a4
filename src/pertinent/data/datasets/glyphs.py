"""Badly photographed characters of twenty scripts, made on the spot from the fonts that matplotlib installs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from pertinent.data.glyphs.alphabet import alphabet, divide
from pertinent.data.glyphs.cache import cache_folder, fingerprint, load, save
from pertinent.data.glyphs.forms import FORMS, Plan, take
from pertinent.data.glyphs.images import ArrayImages
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import InputError, UnknownNameError, suggest

__all__ = ["Glyphs"]

_RECIPE = 4  # raise it when the same options give other pictures, so that old caches are not read
Form = Literal["tree", "tags", "judged"]


class Glyphs:
    """Badly photographed characters of twenty scripts, made on the spot from the fonts that matplotlib installs.

    The tree is script > character > typeface: pictures of one character differ by typeface, paint, wall, slant, light,
    blur, noise and by what stands before them. Characters of the three splits are disjoint, and all scripts are in
    each. A mistake is severe when a sign of another script is returned. Of characters that look alike, as Latin A and
    Greek Alpha, one is kept. Some scripts exist in few typefaces: N'Ko, Ogham and Tifinagh in two, Hebrew, Canadian
    Syllabics, Hexagrams, Dominoes and Faces in four, against sixteen for Latin.

    Forms:
        `tree`: one sign a picture; labels `(N, 2)`: character (numbered within the split), script.
        `tags`: one to four signs of different scripts a picture; labels `(N, 20)`: the scripts that are there.
        `judged`: views of painted signs, for landmark protocols: half the characters are queries with easy, hard and
            junk views, the others distract. The signs of `train` are labelled, `(N,)`, to learn from.

    Pictures are made when a split is first read (about 1.5 ms each), kept in `root/glyphs` and read from there
    afterwards; a damaged copy is made again. Nothing is downloaded.

    Args:
        root: folder of the rendered pictures; by default the one that the variable PERTINENT_CACHE names, else
            `pertinent` in the user's cache folder.
        form: `tree`, `tags` or `judged`.
        seed: chooses the characters, their split and every picture; 0 or more.
        size: side of the square RGB pictures in pixels, 16 to 256.
        per_character: pictures of each character, at least 2, and 4 when judged. With `tags` a split has half as many
            pictures, for several characters share one.
        characters: the most characters a script may have in all three splits together, at least 4.

    Raises:
        InputError: an option is out of range.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    example_options: ClassVar[Mapping[str, Any]] = {"size": 32, "per_character": 2, "characters": 4}

    def __init__(
        self,
        root: Path | None = None,
        *,
        form: Form = "tree",
        seed: int = 0,
        size: int = 64,
        per_character: int = 16,
        characters: int = 32,
    ) -> None:
        if form not in FORMS:
            raise InputError(f"form {form!r} is not known{suggest(str(form), list(FORMS))}")
        _check_range("seed", seed, 0, 2**63)
        _check_range("size", size, 16, 257)
        _check_range("per_character", per_character, 4 if form == "judged" else 2, 1000)
        _check_range("characters", characters, 4, 1000)
        self.folder = (Path(root) if root is not None else cache_folder()) / "glyphs"
        self.form, self.seed, self.size = form, seed, size
        self.per_character, self.characters = per_character, characters

    def split(self, name: str) -> ImageTable:
        """Read one split, rendering it first if it is not in the cache.

        Raises:
            UnknownNameError: no split of that name.
            StorageError: the cache cannot be written, or matplotlib's fonts are missing.
        """
        if name not in self.splits:
            raise UnknownNameError("split", name, self.splits)
        path = self.folder / f"{self.form}-{fingerprint(self._settings())}" / f"{name}.npy"
        manifest = load(path) or self._make(name, path)
        labels = np.array(manifest["labels"], np.int64)
        return ImageTable(
            manifest["ids"],
            ArrayImages(path, manifest["ids"]),
            manifest["kind"],
            labels.astype(np.bool_) if manifest["kind"] == "tags" else labels,
            manifest["level_names"],
            manifest["class_names"],
            [Judgement(query, *map(tuple, judged)) for query, *judged in manifest["judgements"]],
        )

    @classmethod
    def example(cls, root: Path) -> None:
        """Render a tiny copy of all splits into `root`; `Glyphs(root, **Glyphs.example_options)` reads it."""
        glyphs = cls(root, **cls.example_options)
        for name in cls.splits:
            glyphs.split(name)

    def _settings(self) -> dict[str, Any]:
        """All that the pictures depend on; Pillow and its FreeType draw the characters."""
        import matplotlib
        import PIL
        from PIL import features

        return {
            "recipe": _RECIPE,
            "form": self.form,
            "seed": self.seed,
            "size": self.size,
            "per_character": self.per_character,
            "characters": self.characters,
            "versions": [np.__version__, PIL.__version__, features.version("freetype2"), matplotlib.__version__],
        }

    def _make(self, name: str, path: Path) -> dict[str, Any]:
        part = divide(alphabet(), self.characters, np.random.default_rng(self.seed))[name]
        plan = FORMS[self.form](name, part, self.per_character, self.seed)
        manifest = _manifest(plan)
        shape = (len(plan.shots), self.size, self.size, 3)
        save(path, (take(shot, self.size) for shot in plan.shots), shape, manifest)
        return manifest


def _manifest(plan: Plan) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "ids": [shot.id for shot in plan.shots],
        "labels": plan.labels.astype(int).tolist(),
        "level_names": list(plan.level_names),
        "class_names": [list(names) for names in plan.class_names],
        "judgements": [[item.query, item.easy, item.hard, item.junk] for item in plan.judgements],
    }


def _check_range(option: str, value: int, least: int, below: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < below:
        raise InputError(f"{option} must be a whole number from {least} to {below - 1}, not {value!r}")
