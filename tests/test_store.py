from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.images import ArraySource
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import InputError, StorageError
from pertinent.store import STORE_FILES, EmbeddingStore, StoreLabels

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((5, 3)).astype(np.float32)
IDS = [f"picture {i}" for i in range(5)]
TREE = StoreLabels(
    "tree", np.array([[0, 0], [1, 0], [2, 1], [-1, 1], [0, 0]]), ["kind", "group"], [["a", "b", "c"], ["x", "y"]]
)


def write(folder: Path, **changes: Any) -> EmbeddingStore:
    given = {"vectors": VECTORS, "ids": IDS, "labels": TREE, "encoder": "f00d", **changes}
    return EmbeddingStore.write(folder / "store", given.pop("vectors"), given.pop("ids"), **given)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, places=[f"/photos/{i}.jpg" for i in range(5)], extra={"damaged": ["x.jpg"], "table": "cafe"})
    store = EmbeddingStore.open(str(tmp_path / "store"))
    np.testing.assert_array_equal(store.vectors, VECTORS)
    assert isinstance(store.vectors, np.memmap)
    assert not store.vectors.flags.writeable
    assert (len(store), store.dim, store.encoder) == (5, 3, "f00d")
    assert store.ids == IDS
    assert store.places[3] == "/photos/3.jpg"
    assert store.labels.kind == "tree"
    np.testing.assert_array_equal(store.labels.values, TREE.values)
    assert (store.labels.level_names, store.labels.class_names) == (TREE.level_names, TREE.class_names)
    assert (store.manifest["damaged"], store.manifest["table"]) == (["x.jpg"], "cafe")
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(STORE_FILES)
    store.verify()


def test_vectors_of_any_type_are_kept_as_float32_and_places_default_to_ids(tmp_path: Path) -> None:
    store = write(tmp_path, vectors=np.asfortranarray(VECTORS.astype(np.float64)), labels=None, encoder=None)
    assert store.vectors.dtype == np.float32
    np.testing.assert_array_equal(store.vectors, VECTORS)
    assert store.places == IDS
    assert store.labels == StoreLabels(level_names=[], class_names=[], judgements=[])
    assert store.encoder is None


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (TREE, [["a", "x"], ["", "y"]]),
        (StoreLabels("classes", np.array([1, 0, 1, -1, 0]), ["kind"], [["a", "b"]]), [["b"], [""]]),
        (StoreLabels("tags", np.eye(5, dtype=bool)[:, :2], ["tag"], [["red", "blue"]]), [["red"], []]),
        (StoreLabels(), [[], []]),
        (StoreLabels("judged", judgements=[Judgement(0, (1, 2), (3,), (4,))]), [[], []]),
    ],
    ids=["tree", "classes", "tags", "none", "judged"],
)
def test_labels_of_every_kind(tmp_path: Path, labels: StoreLabels, words: list[list[str]]) -> None:
    found = EmbeddingStore.open(write(tmp_path, labels=labels).folder).labels
    assert found.kind == labels.kind
    assert [found.words(0), found.words(3)] == words
    assert list(found.judgements) == list(labels.judgements)
    if labels.values is not None:
        np.testing.assert_array_equal(found.values, labels.values)
        assert found.values is not None
        assert found.values.dtype == labels.values.dtype


def test_labels_of_a_table() -> None:
    pictures = ArraySource(np.zeros((2, 2, 2, 3), np.uint8))
    table = ImageTable(["a", "b"], pictures, "classes", np.array([1, 0]), ["kind"], [["x", "y"]])
    labels = StoreLabels.of(table)
    assert (labels.kind, labels.words(0), labels.level_names) == ("classes", ["y"], ["kind"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": IDS[:4]}, r"one vector an id, \(N, D\); got shape \(5, 3\) for 4 ids"),
        ({"vectors": VECTORS[0], "ids": ["a", "b", "c"]}, r"got shape \(3,\)"),
        ({"ids": ["a", "a", "b", "c", "d"]}, "ids of a store must be unique"),
        ({"labels": StoreLabels("classes", np.arange(4))}, "one row for each of the 5 ids"),
        ({"labels": StoreLabels("tree")}, "one row for each of the 5 ids"),
        ({"vectors": np.where(np.arange(5)[:, None] == 3, np.nan, VECTORS)}, "vector of 'picture 3' is not finite"),
        ({"vectors": np.where(np.arange(5)[:, None] == 1, np.inf, VECTORS)}, "vector of 'picture 1' is not finite"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        write(tmp_path, **changes)
    assert not (tmp_path / "store").exists()


def test_writing_replaces_a_store_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    write(tmp_path, vectors=2 * VECTORS)
    np.testing.assert_array_equal(EmbeddingStore.open(tmp_path / "store").vectors, 2 * VECTORS)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageError, match="No space left on device; free space or choose another folder"):
        write(tmp_path, vectors=3 * VECTORS)
    np.testing.assert_array_equal(EmbeddingStore.open(tmp_path / "store").vectors, 2 * VECTORS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_folder_of_other_things_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "holiday.jpg").write_text("precious")
    with pytest.raises(StorageError, match=r"not ours to replace \(holiday\.jpg\)"):
        write(tmp_path)
    assert (tmp_path / "store" / "holiday.jpg").read_text() == "precious"


def test_no_store_is_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is no finished embedding store .*embed into it first"):
        EmbeddingStore.open(tmp_path)


@pytest.mark.parametrize("name", ["vectors.npy", "items.json", "labels.npy", "labels.json"])
def test_a_file_that_is_cut_or_gone_is_found_at_once(tmp_path: Path, name: str) -> None:
    path = write(tmp_path).folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=rf"{name} is damaged: \d+ bytes were written, \d+ are there; embed again"):
        EmbeddingStore.open(tmp_path / "store")
    path.unlink()
    with pytest.raises(StorageError, match=f"{name} is damaged: .* 0 are there"):
        EmbeddingStore.open(tmp_path / "store")


@pytest.mark.parametrize("name", ["vectors.npy", "items.json", "labels.npy", "labels.json"])
def test_a_flipped_bit_is_found_by_verify(tmp_path: Path, name: str) -> None:
    path = write(tmp_path).folder / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match=f"{name} is damaged: its checksum"):
        EmbeddingStore.open(tmp_path / "store").verify()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "damaged or not JSON"),
        ("[]", "has store format None"),
        ('{"format": 99}', "has store format 99, this version reads 1"),
        ('{"format": 1}', "manifest.json is damaged .*embed again"),
        ('{"format": 1, "files": {}, "count": 5, "dim": 3}', "manifest.json is damaged"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, text: str, said: str) -> None:
    (write(tmp_path).folder / "manifest.json").write_text(text)
    with pytest.raises(StorageError, match=said):
        EmbeddingStore.open(tmp_path / "store")


def same_size(path: Path, data: bytes) -> None:
    path.write_bytes(data.ljust(path.stat().st_size)[: path.stat().st_size])


def test_files_of_the_right_size_with_wrong_contents(tmp_path: Path) -> None:
    store = write(tmp_path)
    for name in ("vectors.npy", "labels.npy", "items.json", "labels.json"):
        same_size(store.folder / name, b"{}")
    for attribute, name in (("vectors", "vectors.npy"), ("ids", "items.json"), ("labels", "labels.npy")):
        with pytest.raises(StorageError, match=f"{name} is damaged"):
            getattr(EmbeddingStore.open(store.folder), attribute)
    store = write(tmp_path)
    same_size(store.folder / "labels.json", b"{}")
    with pytest.raises(StorageError, match=r"labels\.json is damaged .*embed again"):
        _ = EmbeddingStore.open(store.folder).labels


def test_a_manifest_that_counts_otherwise(tmp_path: Path) -> None:
    store = write(tmp_path)
    manifest = json.loads((store.folder / "manifest.json").read_text())
    (store.folder / "manifest.json").write_text(json.dumps({**manifest, "count": 4}))
    with pytest.raises(StorageError, match=r"vectors\.npy is damaged: it holds float32 \(5, 3\)"):
        _ = EmbeddingStore.open(store.folder).vectors
    with pytest.raises(StorageError, match="expected 4 ids"):
        _ = EmbeddingStore.open(store.folder).ids


def test_a_store_may_move(tmp_path: Path) -> None:
    shutil.move(write(tmp_path).folder, tmp_path / "elsewhere")
    np.testing.assert_array_equal(EmbeddingStore.open(tmp_path / "elsewhere").vectors, VECTORS)
