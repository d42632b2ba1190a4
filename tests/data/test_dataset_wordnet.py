"""WordNet reader: levels by depth and by given synsets, over a graph where a synset may have several parents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import write_pictures
from pertinent.data.datasets import WordNet
from pertinent.data.datasets._parts import write_example_picture
from pertinent.errors import DataError, InputError

DOG, CAT, BIRD, FISH = "n02084071", "n02121620", "n01503061", "n02512053"
HAMMER, DRIVER = "n03481172", "n04154565"
ANIMAL, MAMMAL, THING = "n00015388", "n01861778", "n00021939"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    WordNet.example(tmp_path / "data")
    return tmp_path / "data"


def words(data: WordNet) -> dict[str, list[str]]:
    """What every synset is called and what lies above it."""
    tables = [data.split(name) for name in data.splits]
    return {table.ids[row].split("/")[1]: table.label_words(row) for table in tables for row in range(len(table))}


def test_levels_by_depth(root: Path) -> None:
    data = WordNet(root, levels=[3, 1])
    assert list(data.splits) == ["train", "val", "test"]
    assert words(data) == {
        DOG: [f"{DOG} dog", MAMMAL, f"{ANIMAL} animal"],
        CAT: [f"{CAT} cat", MAMMAL, f"{ANIMAL} animal"],
        BIRD: [f"{BIRD} bird", f"{BIRD} bird", f"{ANIMAL} animal"],
        FISH: [f"{FISH} fish", f"{FISH} fish", f"{ANIMAL} animal"],
        HAMMER: [f"{HAMMER} hammer", "n03489162", THING],
        DRIVER: [f"{DRIVER} screwdriver", "n03489162", THING],
    }
    train = data.split("train")
    assert list(train.level_names) == ["synset", "depth 3", "depth 1"]
    assert train.ids[0] == f"train/{DOG}/{DOG}_0.png"
    # Numbers follow the names: n01503061 bird, n02084071 dog, n02121620 cat, n02512053 fish, n03481172 hammer, ...
    assert train.labels.tolist() == [[1, 1, 0]] * 2 + [[3, 2, 0]] * 2 + [[4, 3, 1]] * 2


def test_a_synset_that_is_not_as_deep_is_its_own_class(root: Path) -> None:
    assert all(row[1:] == [row[0], row[0]] for row in words(WordNet(root)).values())


def test_levels_by_given_synsets(root: Path) -> None:
    data = WordNet(root, levels=[[MAMMAL, "n01471682", "n04451818"], [ANIMAL]])
    named = words(data)
    # The nearest above counts: dogs are mammals before they are vertebrates.
    assert named[DOG][1:] == [MAMMAL, f"{ANIMAL} animal"]
    assert named[FISH][1:] == ["n01471682", f"{ANIMAL} animal"]
    assert named[HAMMER][1:] == ["n04451818", ""]
    assert list(data.split("train").level_names) == ["synset", "level 1", "level 2"]
    assert data.split("train").labels[-1].tolist() == [4, 2, -1]


def test_without_words_synsets_name_themselves(root: Path) -> None:
    (root / "words.txt").unlink()
    assert words(WordNet(root, levels=[1]))[DOG] == [DOG, ANIMAL]


def many(root: Path, links: str) -> Path:
    """A split of two synsets in a small graph."""
    for number, synset in enumerate(("n00000008", "n00000009")):
        write_example_picture(root / "train" / synset / "a.png", number)
    (root / "wordnet.is_a.txt").write_text("".join(f"n0000000{a} n0000000{b}\n" for a, b in links.split()))
    return root


def test_of_several_parents_the_one_nearest_to_the_root(tmp_path: Path) -> None:
    # 8 is under 5 (1 > 2 > 5) and under 4 and 3 (1 > 3, 1 > 4): 3 and 4 are nearer, and 3 is lower.
    data = WordNet(many(tmp_path, "12 25 58 13 14 48 38 49"), levels=[1])
    assert {row[0]: row[1] for row in words(data).values()} == {"n00000008": "n00000003", "n00000009": "n00000004"}
    listed = WordNet(tmp_path, levels=[["n00000002", "n00000001"]])
    # 1 is two steps above both; 2, two steps above 8, comes first in the list.
    assert {row[0]: row[1] for row in words(listed).values()} == {"n00000008": "n00000002", "n00000009": "n00000001"}


def test_a_class_under_two_others_is_refused(tmp_path: Path) -> None:
    root = many(tmp_path, "13 14 35 45 58 39 59")
    with pytest.raises(DataError, match="level 1 'n00000005' is under two classes of level 2"):
        WordNet(root, levels=[["n00000005"], ["n00000009", "n00000004"]])


def test_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has n0000000[13] above itself"):
        WordNet(many(tmp_path, "13 31 38 39"), levels=[1])


@pytest.mark.parametrize("levels", [[], "9", [4, 4], [2, 5], [-1], [True], ["n00015388"], [[]]])
def test_levels_that_cannot_be_are_refused(root: Path, levels: Any) -> None:
    with pytest.raises(InputError, match="wordnet: levels"):
        WordNet(root, levels=levels)


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder train, val, test of synset folders"):
        WordNet(tmp_path)
    with pytest.raises(DataError, match="no synset n99999999, which levels names"):
        WordNet(root, levels=[["n99999999"]])
    with pytest.raises(DataError, match=r"other\.txt is missing; it was published with ImageNet"):
        WordNet(root, tree="other.txt")
    write_example_picture(root / "train" / "n77777777" / "a.png", 0)
    with pytest.raises(DataError, match="has no parent of n77777777"):
        WordNet(root)
    (root / "wordnet.is_a.txt").write_text("n00000001\n")
    with pytest.raises(DataError, match="line 1: expected 'parent child'"):
        WordNet(root)


def test_folders_of_something_else_are_refused(root: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "other", ("train",))
    for file in ("wordnet.is_a.txt", "words.txt"):
        (tmp_path / "other" / file).write_text((root / file).read_text())
    data = WordNet(tmp_path / "other")
    with pytest.raises(DataError, match="train has no pictures in folders like n01440764"):
        data.split("train")
    with pytest.raises(DataError, match="val has no pictures"):
        data.split("val")
