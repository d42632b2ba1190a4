from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders import Listening
from pertinent.codes import write_codes
from pertinent.engine import overlaps
from pertinent.engine.duplicates import Duplicates, find_duplicates
from pertinent.engine.duplicates_export import (
    write_clean_stores,
    write_drop_list,
    write_duplicates_csv,
    write_duplicates_json,
)
from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.store import EmbeddingStore, StoreLabels

DIM = 12
BASE = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0].astype(np.float32)


def near(direction: int, by: int = 0) -> np.ndarray[Any, Any]:
    """A direction, moved a little: cosine of .995 with itself, and of .99 with another that is moved elsewhere."""
    return BASE[direction] + (0.1 * BASE[-by] if by else 0)


def store(folder: Path, items: Mapping[str, Any], labels: Sequence[str] | None = None, **facts: Any) -> EmbeddingStore:
    names = sorted(set(labels or ()) - {""})
    given = StoreLabels(
        "classes", np.array([names.index(name) if name else -1 for name in labels or ()]), ["kind"], [names]
    )
    vectors = np.stack(list(items.values())).astype(np.float32)
    return EmbeddingStore.write(
        folder, vectors, list(items), labels=given if labels else None, **{"encoder": "same", **facts}
    )


@pytest.fixture
def three(tmp_path: Path) -> dict[str, EmbeddingStore]:
    """Directions 0 and 1 are in several stores, 3 is twice in one, 1 with another label."""
    return {
        "test": store(tmp_path / "test", {"a": near(0), "b": near(1), "c": near(2)}, ["x", "y", "z"]),
        "train": store(
            tmp_path / "train",
            {"d": near(0, 1), "e": near(3), "f": near(3, 2), "g": near(1, 3), "h": near(4)},
            ["x", "w", "w", "q", ""],
        ),
        "val": store(tmp_path / "val", {"i": near(0, 4), "j": near(5), "k": near(4, 1)}, ["x", "v", "v"]),
    }


def ids(found: Duplicates, positions: Sequence[int]) -> str:
    return "".join(found.place(position).id for position in positions)


def test_leaks_across_three_stores(three: dict[str, EmbeddingStore]):
    found = find_duplicates(three, above=0.98)
    assert [ids(found, (pair.first, pair.second)) for pair in found.pairs] == ["bg", "ad", "ai", "hk", "di", "ef"]
    assert [(pair.conflict, pair.leak) for pair in found.pairs] == [(True, True), *[(False, True)] * 4, (False, False)]
    assert [ids(found, group.members) for group in found.groups] == ["bg", "adi", "hk", "ef"]
    shared = {(o.first, o.second): (o.pairs, o.of_first, o.of_second, o.conflicts) for o in found.overlaps}
    assert shared == {
        ("test", "test"): (0, 0, 0, 0),
        ("test", "train"): (2, 2, 2, 1),
        ("test", "val"): (1, 1, 1, 0),
        ("train", "train"): (1, 2, 2, 0),
        ("train", "val"): (2, 2, 2, 0),
        ("val", "val"): (0, 0, 0, 0),
    }
    assert [(leak.first, leak.second) for leak in found.leaks] == [("test", "train"), ("test", "val"), ("train", "val")]
    assert ids(found, found.dropped.tolist()) == "dfgik"
    assert [rows.tolist() for rows in found.dropped_rows] == [[], [0, 2, 3], [0, 2]]
    assert found.n_pairs == 6
    assert found.pairs[0].same_file is None


def test_only_between_stores(three: dict[str, EmbeddingStore]):
    found = find_duplicates(three, above=0.98, between_only=True)
    assert ids(found, [place for group in found.groups for place in group.members]) == "bgadihk"
    assert {overlap.first == overlap.second for overlap in found.overlaps} == {False}


def test_no_pair_is_near(three: dict[str, EmbeddingStore]):
    found = find_duplicates({"test": three["test"]}, above=0.98)
    assert (found.pairs, found.groups, found.leaks, found.dropped.tolist()) == ([], [], [], [])


def test_a_group_hangs_together_by_its_pairs(tmp_path: Path):
    chain = {f"{i}": np.cos(i / 5) * BASE[0] + np.sin(i / 5) * BASE[1] for i in range(5)}
    found = find_duplicates({"s": store(tmp_path / "s", chain)}, above=0.97)
    assert len(found.pairs) == 4
    assert [ids(found, group.members) for group in found.groups] == ["01234"]


def test_the_first_pairs_are_listed_and_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    many = {"s": store(tmp_path / "s", {f"{i:02d}": near(0, 1 + i % 3) for i in range(60)})}
    whole = find_duplicates(many, above=0.9)
    monkeypatch.setattr(overlaps, "MOST_PAIRS", 7)
    found = find_duplicates(many, above=0.9)
    assert found.n_pairs == whole.n_pairs == len(whole.pairs) == 60 * 59 // 2
    assert found.pairs == whole.pairs[:7]
    assert found.groups == whole.groups


def test_signs_instead_of_vectors(tmp_path: Path):
    x = np.random.default_rng(0).choice([-1.0, 1.0], size=(6, DIM))
    x[4] = 5 * x[1]
    x[5], x[5, :2] = x[2], -x[2, :2]
    given = {"s": store(tmp_path / "s", dict(zip("abcdef", x, strict=True)))}
    found = find_duplicates(given, bits=0)
    assert [ids(found, group.members) for group in found.groups] == ["be"]
    write_codes(given["s"])
    found = find_duplicates({"s": EmbeddingStore.open(tmp_path / "s")}, bits=2)
    assert {ids(found, group.members) for group in found.groups} >= {"be", "cf"}
    assert [pair.score for pair in found.pairs][:2] == pytest.approx([1, 1 - 4 / DIM])


def test_tags_contradict_when_they_are_not_the_same(tmp_path: Path):
    tags = np.array([[1, 1], [1, 1], [1, 0], [0, 0]], bool)
    labels = StoreLabels("tags", tags, [], [["sky", "sea"]])
    vectors = np.stack([near(0)] * 4)
    given = {"s": EmbeddingStore.write(tmp_path / "s", vectors, list("abcd"), labels=labels)}
    found = find_duplicates(given)
    assert {ids(found, (p.first, p.second)) for p in found.pairs if p.conflict} == {"ac", "bc"}


def test_the_same_file_is_told_from_a_near_one_and_the_largest_is_kept(tmp_path: Path):
    for name, side in {"a": 8, "b": 8, "c": 16, "d": 8}.items():
        Image.new("RGB", (side, 8), (0, 0, 9 if name == "d" else 0)).save(tmp_path / f"{name}.png")
    places = [str(tmp_path / f"{name}.png") for name in "abcd"]
    given = {"s": store(tmp_path / "s", {name: near(0) for name in "abcd"}, places=places)}
    found = find_duplicates(given, keep="largest")
    same = {ids(found, (pair.first, pair.second)): pair.same_file for pair in found.pairs}
    assert same == {"ab": True, "ac": False, "ad": False, "bc": False, "bd": False, "cd": False}
    assert ids(found, found.groups[0].members) == "cabd"
    assert ids(found, find_duplicates(given).groups[0].members) == "abcd"
    assert found.same_files == {("s", "s"): 1}
    (tmp_path / "b.png").unlink()
    assert find_duplicates(given).pairs[0].same_file is None
    with pytest.raises(StorageError, match=r"b\.png cannot be measured .*; keep the first instead"):
        find_duplicates(given, keep="largest")


def test_an_earlier_store_keeps_its_picture_even_where_a_later_one_is_larger(tmp_path: Path):
    given = {}
    for name, side in {"a": 8, "b": 16}.items():
        Image.new("RGB", (side, 8)).save(tmp_path / f"{name}.png")
        given[name] = store(tmp_path / name, {name: near(0)}, places=[str(tmp_path / f"{name}.png")])
    found = find_duplicates(given, keep="largest")
    assert ids(found, found.groups[0].members) == "ab"


def test_events(three: dict[str, EmbeddingStore]):
    heard = Listening()
    find_duplicates(three, above=0.98, listener=heard)
    assert heard[-1]["done"] == heard[-1]["total"] == 11 * 10 // 2
    assert heard[-1]["found"] == 6
    assert heard[-1].keys() == {"event", "done", "total", "found", "rate", "eta"}


def test_what_cannot_be_compared(three: dict[str, EmbeddingStore], tmp_path: Path):
    other = store(tmp_path / "other", {"a": near(0)}, encoder="another")
    with pytest.raises(InputError, match=r"test and o were made by different encoders .*; embed both with one"):
        find_duplicates({**three, "o": other})
    unknown = store(tmp_path / "unknown", {"a": near(0)}, encoder=None)
    with pytest.raises(InputError, match=r"different encoders .*unknown, 12 numbers"):
        find_duplicates({**three, "o": unknown})
    with pytest.raises(InputError, match="nothing between; name two or more"):
        find_duplicates({"test": three["test"]}, between_only=True)
    with pytest.raises(InputError, match="a cosine to look for"):
        find_duplicates(three, above=2)
    with pytest.raises(UnknownNameError, match="unknown rule to keep by 'bigest'"):
        find_duplicates(three, keep="bigest")


# --- files


def test_json_csv_and_list(three: dict[str, EmbeddingStore], tmp_path: Path):
    found = find_duplicates(three, above=0.98)
    write_duplicates_json(found, tmp_path / "d.json")
    saved = json.loads((tmp_path / "d.json").read_text())
    assert [store["count"] for store in saved["stores"]] == [3, 5, 3]
    assert saved["above"] == 0.98
    assert saved["groups"][1]["keep"] == {"store": "test", "id": "a", "path": "a", "labels": ["x"]}
    assert [item["id"] for item in saved["groups"][1]["drop"]] == ["d", "i"]
    assert [pair["group"] for pair in saved["pairs"]] == [0, 1, 1, 2, 1, 3]
    write_duplicates_csv(found, tmp_path / "d.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "d.csv").read_text())))
    assert [(row["id_1"], row["id_2"], row["conflict"], row["group"]) for row in rows][:2] == [
        ("b", "g", "yes", "1"),
        ("a", "d", "no", "2"),
    ]
    assert rows[0]["same_file"] == "unknown"
    write_drop_list(found, tmp_path / "drop.txt")
    assert (tmp_path / "drop.txt").read_text().splitlines() == [
        f"{place}" for place in ("train\td", "train\tf", "train\tg", "val\ti", "val\tk")
    ]
    alone = find_duplicates({"train": three["train"]}, above=0.98)
    write_drop_list(alone, tmp_path / "drop.txt")
    assert (tmp_path / "drop.txt").read_text() == "f\n"


def test_stores_without_what_is_dropped(three: dict[str, EmbeddingStore], tmp_path: Path):
    write_codes(three["train"])
    found = find_duplicates(three, above=0.98)
    written = write_clean_stores(found, tmp_path / "clean")
    assert [item.ids for item in written] == [["a", "b", "c"], ["e", "h"], ["j"]]
    train = EmbeddingStore.open(tmp_path / "clean" / "train")
    train.verify()
    assert [train.labels.words(row) for row in range(2)] == [["w"], [""]]
    assert train.encoder == "same"
    assert np.array_equal(train.vectors, three["train"].vectors[[1, 4]])
    assert len(train.codes) == 2
    assert train.manifest["without"]["dropped"] == 3
    assert find_duplicates({item.folder.name: item for item in written}, above=0.98).pairs == []


def test_stores_that_cannot_be_written(three: dict[str, EmbeddingStore], tmp_path: Path):
    found = find_duplicates(three, above=0.98)
    with pytest.raises(InputError, match="is read here, or would be written twice"):
        write_clean_stores(found, tmp_path)
    (tmp_path / "clean" / "val").mkdir(parents=True)
    (tmp_path / "clean" / "val" / "mine.txt").touch()
    with pytest.raises(StorageError, match=r"not ours to replace \(mine.txt\)"):
        write_clean_stores(found, tmp_path / "clean")
    assert not (tmp_path / "clean" / "test").exists()
    twice = {"a": three["test"], "b": store(tmp_path / "b", {"z": near(0)})}
    with pytest.raises(InputError, match="every picture of b has a copy to keep elsewhere"):
        write_clean_stores(find_duplicates(twice), tmp_path / "other")


@pytest.mark.parametrize(("kind", "want"), [("tags", "sky, sea"), ("tree", "oak < wood")])
def test_tags_are_not_written_as_a_tree(kind: str, want: str, tmp_path: Path):
    if kind == "tags":
        labels = StoreLabels("tags", np.ones((2, 2), bool), [], [["sky", "sea"]])
    else:
        labels = StoreLabels("tree", np.zeros((2, 2), np.int64), ["kind", "group"], [["oak"], ["wood"]])
    store = EmbeddingStore.write(tmp_path / "store", np.ones((2, 3), np.float32), ["a", "b"], labels=labels)
    found = find_duplicates({"store": store}, above=0.9)
    write_duplicates_csv(found, tmp_path / "pairs.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "pairs.csv").read_text()))
    assert (row["labels_1"], found.place(0).label, labels.between.join(found.place(0).words)) == (want, want, want)
