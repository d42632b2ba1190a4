"""Retrieval-SfM: clusters, pairs, the places of pictures, and every refused list."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.datasets.sfm120k import SfM120k
from pertinent.data.table import Judgement
from pertinent.errors import DataError, InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    SfM120k.example(tmp_path)
    return tmp_path


def rewrite(root: Path, name: str, **fields: Any) -> None:
    path = root / ("retrieval-SfM-120k-whiten.pkl" if name == "whiten" else "retrieval-SfM-120k.pkl")
    content = pickle.loads(path.read_bytes())
    (content if name == "whiten" else content[name]).update(fields)
    path.write_bytes(pickle.dumps(content))


def test_clusters_are_classes_numbered_alike(root: Path) -> None:
    data = SfM120k(root)
    train, val = data.split("train"), data.split("val")
    assert (train.labels.tolist(), val.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [2, 2, 3, 3])
    assert train.class_names == val.class_names == [["7", "3", "12", "9"]]
    assert train.label_words(0) == ["7"]
    assert SfM120k.expected == {"train": 91_642, "val": 6_403}


def test_a_picture_lies_where_its_cid_says(root: Path) -> None:
    table = SfM120k(root).split("train")
    assert table.ids[1] == "01" * 16
    assert Path(table.source.where(1)) == root / "ims" / "01" / "01" / "01" / ("01" * 16)
    name = "00112233445566778899aabbccddeeff"
    shutil.copytree(root / "ims" / "01" / "01" / "01", root / "ims" / "ff" / "ee" / "dd")
    (root / "ims" / "ff" / "ee" / "dd" / ("01" * 16)).rename(root / "ims" / "ff" / "ee" / "dd" / name)
    rewrite(root, "train", cids=[name], cluster=np.array([5]))
    table = SfM120k(root).split("train")
    assert (table.ids, table.label_words(0)) == ([name], ["5"])
    assert table.read(0).size == (32, 24)


def test_pairs_for_whitening_are_judgements(root: Path) -> None:
    data = SfM120k(root)
    table = data.split("whiten")
    assert (table.kind, table.probes) == ("judged", 0)
    assert table.judgements == [Judgement(0, easy=(1, 2)), Judgement(2, easy=(0,))]
    assert data.pairs("whiten").tolist() == [[0, 1], [0, 2], [2, 0]]
    assert data.pairs("train").tolist() == [[0, 1], [3, 5]]
    rewrite(root, "whiten", qidxs=np.array([1, 1, 1]), pidxs=[np.int64(0), 0, 2])
    assert SfM120k(root).split("whiten").judgements == [Judgement(1, easy=(0, 2))]


def test_the_small_set_shares_the_pictures_of_the_large(root: Path, tmp_path: Path) -> None:
    around = tmp_path / "train"
    (around / "retrieval-SfM-120k").mkdir(parents=True)
    (around / "retrieval-SfM-30k").mkdir()
    (root / "ims").rename(around / "retrieval-SfM-120k" / "ims")
    (root / "retrieval-SfM-120k-whiten.pkl").rename(around / "retrieval-SfM-30k" / "retrieval-SfM-30k-whiten.pkl")
    data = SfM120k(around, version="30k")
    assert list(data.splits) == ["whiten"]
    assert len(data.split("whiten")) == 3
    with pytest.raises(DataError, match=r"retrieval-SfM-30k\.pkl is missing; .*cmp\.felk"):
        data.split("train")


def test_missing_files(root: Path) -> None:
    with pytest.raises(InputError, match="version must be '120k' or '30k', got 'SfM'"):
        SfM120k(root, version="SfM")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"retrieval-SfM-30k\.pkl is missing in .*cmp\.felk"):
        SfM120k(root, version="30k")
    shutil.rmtree(root / "ims" / "00")
    with pytest.raises(DataError, match=r"sfm120k: 1 of 6 listed pictures are missing .*00/00/00/0000.*cmp\.felk"):
        SfM120k(root).split("train")


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("train", {"cluster": [1]}, "train has 6 cids and 1 clusters"),
        ("whiten", {"qidxs": [0, 1]}, "2 qidxs for 3 pidxs of whiten"),
        ("whiten", {"pidxs": [0, 1, 3]}, "must be positions in its cids"),
        ("whiten", {"pidxs": [0, 1, 0.5]}, "must be positions in its cids"),
        ("whiten", {"more": print}, "builtins.print, which may run code"),
    ],
)
def test_wrong_lists(root: Path, name: str, fields: dict[str, Any], says: str) -> None:
    rewrite(root, name, **fields)
    with pytest.raises(DataError, match=says):
        SfM120k(root).split(name)


def test_other_lists(root: Path) -> None:
    rewrite(root, "train", qidxs=None, pidxs=None)
    (root / "retrieval-SfM-120k-whiten.pkl").write_bytes(pickle.dumps({"cids": [], "qidxs": []}))
    with pytest.raises(DataError, match="no such list: pidxs missing for whiten"):
        SfM120k(root).split("whiten")
    (root / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps({"train": {"cids": [], "cluster": []}}))
    with pytest.raises(DataError, match="has no qidxs and pidxs for train"):
        SfM120k(root).pairs("train")
    (root / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="no such list: cids, cluster missing for val"):
        SfM120k(root).split("val")
