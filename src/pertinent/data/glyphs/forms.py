"""What is pictured in each form of the data set: the shots to take of one split and the labels that go with them.

Every shot holds its own seed, so that no picture changes with the number of pictures taken before or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pertinent.data.glyphs.alphabet import SCRIPTS, Character
from pertinent.data.glyphs.photograph import Board, Custom, Paint, Sign, mix_paint, photograph
from pertinent.data.table import Judgement, LabelKind

Item = TypeVar("Item")

# How strongly each kind of picture is spoilt: from least to most.
_TREE, _TAGS = (0.0, 0.5), (0.1, 0.5)
_VIEWS = {"query": (0.0, 0.15), "easy": (0.2, 0.55), "hard": (0.75, 1.05), "junk": (1.5, 2.0), "other": (0.2, 0.9)}
_PAINTS = 8  # paints shared by all judged signs: so colour alone does not tell them apart
_STREAMS = {name: number for number, name in enumerate(("tree", "tags", "judged", "signs", "paints", "layout"))}


@dataclass(frozen=True)
class Shot:
    """One picture to take: what hangs there, and the seed of all chance in it.

    Attributes:
        faces: a typeface for each character.
        paints: a paint for each character; empty for a fresh one.
        custom: the usual look of fresh paints.
    """

    id: str
    seed: tuple[int, ...]
    characters: tuple[Character, ...]
    faces: tuple[str, ...]
    strength: tuple[float, float]
    paints: tuple[Paint, ...] = ()
    custom: Custom | None = None


@dataclass(frozen=True)
class Plan:
    """The shots of one split and their labels, in the terms of an `ImageTable`."""

    kind: LabelKind
    shots: Sequence[Shot]
    labels: NDArray[np.int64] | NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0,), np.int64))
    level_names: Sequence[str] = ()
    class_names: Sequence[Sequence[str]] = ()
    judgements: Sequence[Judgement] = ()


def take(shot: Shot, size: int) -> NDArray[np.uint8]:
    """Photograph one shot; `(size, size, 3)`."""
    rng = np.random.default_rng(shot.seed)
    first, *others = shot.paints or tuple(mix_paint(rng, shot.custom) for _ in shot.characters)
    # The wall can have the ground colour of one sign only; what else hangs there needs a board.
    paints = [first, *(replace(paint, board="square") if paint.board == "none" else paint for paint in others)]
    places = _places(len(shot.characters), rng)
    signs = [
        Sign(character.code, face, paint, place)
        for character, face, paint, place in zip(shot.characters, shot.faces, paints, places, strict=True)
    ]
    return photograph(signs, size, rng.uniform(*shot.strength), rng)


def plan_tree(split: str, part: Sequence[Character], per_character: int, seed: int) -> Plan:
    """Every character `per_character` times, in turn through its typefaces; labels: character, script.

    Each script has its custom of painting signs, which nearly all keep: a mistake within a script looks like one at a
    glance, and whoever learns characters alone learns not to see it.
    """
    shots, rows = [], []
    customs = _customs()
    for label, character in enumerate(part):
        faces = _shuffled_faces(character, seed)
        for number in range(per_character):
            own = (seed, _STREAMS["tree"], character.code, number)
            name = f"{split}/{character.path}/{number:02d}"
            face = (faces[number % len(faces)],)
            shots.append(Shot(name, own, (character,), face, _TREE, custom=customs[character.script]))
            rows.append((label, list(SCRIPTS).index(character.script)))
    names = [[character.name for character in part], list(SCRIPTS)]
    return Plan("tree", shots, np.array(rows, np.int64), ["character", "script"], names)


def plan_tags(split: str, part: Sequence[Character], per_character: int, seed: int) -> Plan:
    """Walls with one to four signs of different scripts; the scripts are the tags, for they are in every split."""
    scripts = list(SCRIPTS)
    by_script = {script: [character for character in part if character.script == script] for script in scripts}
    shots = []
    labels = np.zeros((len(part) * per_character // 2, len(scripts)), np.bool_)
    for number in range(len(labels)):
        own = (seed, _STREAMS["tags"], _split_number(split), number)
        rng = np.random.default_rng((*own, _STREAMS["layout"]))
        tags = rng.permutation(len(scripts))[: rng.integers(1, 5)].tolist()
        labels[number, tags] = True
        shown = tuple(_pick(by_script[scripts[tag]], rng) for tag in tags)
        faces = tuple(_pick(character.faces, rng) for character in shown)
        shots.append(Shot(f"{split}/wall/{number:05d}", own, shown, faces, _TAGS))
    return Plan("tags", shots, labels, ["script"], [scripts])


def plan_judged(split: str, part: Sequence[Character], per_character: int, seed: int) -> Plan:
    """Views of painted signs: every second character is a query with easy, hard and junk views; the others distract.

    A sign keeps its typeface and paint in all its views. Of the `per_character - 1` views beside the query two fifths
    are easy, two fifths hard and the rest, at least one, junk. The signs of `train` are not judged but labelled, all of
    them, and none of their views is junk.
    """
    mixer = np.random.default_rng((seed, _STREAMS["paints"]))
    paints = [mix_paint(mixer) for _ in range(_PAINTS)]
    if split == "train":
        return _plan_signs(part, per_character, seed, paints)
    good = max(1, 2 * (per_character - 1) // 5)
    junk = per_character - 1 - 2 * good
    views = ["query"] + ["easy"] * good + ["hard"] * good + ["junk"] * junk
    shots: list[Shot] = []
    judgements = []
    for place, character in enumerate(part):
        first = len(shots)
        asked = place % 2 == 0
        rng = np.random.default_rng((seed, _STREAMS["signs"], character.code))
        sign = (_pick(character.faces, rng),), (_pick(paints, rng),)
        for number, view in enumerate(views if asked else ["other"] * per_character):
            own = (seed, _STREAMS["judged"], character.code, number)
            face, paint = sign if asked else ((_pick(character.faces, rng),), (_pick(paints, rng),))
            name = f"{split}/{character.path}/{view}-{number:02d}"
            shots.append(Shot(name, own, (character,), face, _VIEWS[view], paint))
        if asked:
            bounds = (first + np.cumsum([1, good, good, junk])).tolist()
            judgements.append(Judgement(first, *(tuple(range(a, b)) for a, b in pairwise(bounds))))
    return Plan("judged", shots, judgements=judgements)


def _plan_signs(part: Sequence[Character], per_character: int, seed: int, paints: Sequence[Paint]) -> Plan:
    """Every character as one painted sign, its views easy and hard in turn; labels: the sign."""
    shots: list[Shot] = []
    for character in part:
        rng = np.random.default_rng((seed, _STREAMS["signs"], character.code))
        face, paint = (_pick(character.faces, rng),), (_pick(paints, rng),)
        for number in range(per_character):
            view = ("easy", "hard")[number % 2]
            own = (seed, _STREAMS["judged"], character.code, number)
            shots.append(
                Shot(f"train/{character.path}/{view}-{number:02d}", own, (character,), face, _VIEWS[view], paint)
            )
    labels = np.repeat(np.arange(len(part)), per_character)
    return Plan("classes", shots, labels, ["sign"], [[character.path for character in part]])


FORMS: dict[str, Callable[[str, Sequence[Character], int, int], Plan]] = {
    "tree": plan_tree,
    "tags": plan_tags,
    "judged": plan_judged,
}


def _customs() -> dict[str, Custom]:
    boards: tuple[Board, ...] = ("square", "none", "round", "rounded")
    # Hues by the golden ratio: neighbours in the list of scripts look different, and no two are the same.
    return {
        script: Custom(boards[number % len(boards)], (number * 0.618034) % 1.0) for number, script in enumerate(SCRIPTS)
    }


def _places(count: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Centre and extent of each sign: one fills the picture, two share it, three or four have a quarter each."""
    quarters = [(0.25, 0.25), (0.75, 0.75), (0.75, 0.25), (0.25, 0.75)]
    rng.shuffle(quarters)
    if count == 1:
        cell, centres = 1.0, [(0.5, 0.5)]
    elif count == 2:
        cell, centres = 0.55, [(0.27, 0.3), (0.73, 0.7)] if rng.random() < 0.5 else [(0.73, 0.3), (0.27, 0.7)]
    else:
        cell, centres = 0.5, quarters[:count]
    places = []
    for x, y in centres:
        extent = cell * (rng.uniform(0.65, 0.95) if count == 1 else rng.uniform(0.85, 1.0))
        slack = 0.4 * (cell - extent)
        places.append((x + rng.uniform(-slack, slack), y + rng.uniform(-slack, slack), extent))
    return places


def _shuffled_faces(character: Character, seed: int) -> list[str]:
    rng = np.random.default_rng((seed, _STREAMS["signs"], character.code))
    return [character.faces[i] for i in rng.permutation(len(character.faces)).tolist()]


def _pick(items: Sequence[Item], rng: np.random.Generator) -> Item:
    return items[int(rng.integers(len(items)))]


def _split_number(split: str) -> int:
    return ("train", "val", "test").index(split)
