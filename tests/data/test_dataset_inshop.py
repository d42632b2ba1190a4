"""In-Shop reader: queries against a gallery, and the list that tells them apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets import InShop
from pertinent.engine.evaluate import evaluate
from pertinent.errors import DataError, InputError
from pertinent.relevance import Relevance

HEADER = "image_name item_id evaluation_status"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    InShop.example(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "Inshop_Clothes"


def test_items_have_one_number_in_all_splits(root: Path) -> None:
    data = InShop(root)
    assert list(data.splits) == ["train", "query", "gallery", "test"]
    train, query, gallery = (data.split(name) for name in ("train", "query", "gallery"))
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert query.labels.tolist() == [4, 5]
    assert gallery.labels.tolist() == [4, 4, 5, 5]
    assert query.class_names == gallery.class_names == train.class_names
    assert query.label_words(1) == ["id_00000006"]
    assert query.ids[0] == "img/WOMEN/Dresses/id_00000005/01_1_front.png"
    assert dict(data.expected) == {"train": 25882, "query": 14218, "gallery": 12612}


def test_the_whole_benchmark_is_judged(root: Path) -> None:
    data = InShop(root)
    test = data.split("test")
    assert (test.kind, len(test), test.probes) == ("judged", 6, 2)
    assert [(record.query, record.ok) for record in test.judgements] == [(4, (0, 1)), (5, (2, 3))]
    assert list(test.ids) == [*data.split("gallery").ids, *data.split("query").ids]
    assert test.read(4).tobytes() == data.split("query").read(0).tobytes()
    # It says the same as the classes of queries and gallery.
    query, gallery = data.split("query"), data.split("gallery")
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    judged = Relevance.judged(test.judgements, "classic", n_items=4, query_positions=np.full(2, -1))
    classes = Relevance.classes(query.labels, gallery.labels)
    first, second = (
        evaluate(vectors[4:], vectors[:4], relevance=relevance, metrics=["ap", "r@1"])
        for relevance in (judged, classes)
    )
    assert first.mean == second.mean
    assert 0 < first.mean["ap"] < 1


def test_items_can_be_held_out(root: Path) -> None:
    data = InShop(root, holdout=0.25)
    assert list(data.splits) == ["train", "val", "trainval", "query", "gallery", "test"]
    assert [len(data.split(name)) for name in ("train", "val", "trainval")] == [6, 2, 8]
    assert dict(data.expected) == {"trainval": 25882, "query": 14218, "gallery": 12612}
    with pytest.raises(InputError, match="0 to below 1"):
        InShop(root, holdout=1.5)


def test_other_places(root: Path, folder: Path, tmp_path: Path) -> None:
    published = InShop(root).split("train").fingerprint()
    assert InShop(folder).split("train").fingerprint() == published
    flat = tmp_path / "flat"
    shutil.copytree(folder / "Img", flat)
    shutil.copy(folder / "Eval" / "list_eval_partition.txt", flat)
    assert InShop(flat).split("train").fingerprint() == published
    zipped = tmp_path / "zipped"
    (zipped / "Img").mkdir(parents=True)
    shutil.copytree(folder / "Eval", zipped / "Eval")
    shutil.make_archive(str(zipped / "Img" / "img"), "zip", folder / "Img", "img")
    assert InShop(zipped).split("train").fingerprint() == published
    assert InShop(zipped).split("query").read(0).tobytes() == InShop(root).split("query").read(0).tobytes()


def test_what_is_missing_is_named(root: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list_eval_partition\.txt is missing.*on request from mmlab"):
        InShop(tmp_path)
    shutil.rmtree(folder / "Img" / "img" / "WOMEN" / "Dresses" / "id_00000006")
    with pytest.raises(DataError, match=r"inshop: 1 of 2 listed pictures.*id_00000006"):
        InShop(root).split("query")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must begin with the number of pictures"),
        (f"{HEADER}\n1\n", "must begin with the number of pictures"),
        ("1\nimage_name item_id\na id_1 train\n", "must begin with the number of pictures"),
        (f"1\n{HEADER}\na id_1 test\n", "line 3: expected 'path item status' with status train, query, gallery"),
        (f"1\n{HEADER}\na id_1\n", "line 3: expected"),
        (f"2\n{HEADER}\na id_1 train\n", "says that it has 2 pictures and lists 1; copy it again"),
        (f"0\n{HEADER}\n", "lists 0"),
        (f"2\n{HEADER}\na id_1 train\n\nb id_1 query\n", "id_1 in train and in query or gallery"),
    ],
)
def test_wrong_lists_are_refused(root: Path, folder: Path, text: str, said: str) -> None:
    (folder / "Eval" / "list_eval_partition.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        InShop(root)
