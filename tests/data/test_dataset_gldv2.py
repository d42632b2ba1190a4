"""GLDv2: the tree and the classes, the judged test split, and every refused list."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pertinent.data.datasets.gldv2 import GLDv2
from pertinent.data.table import Judgement
from pertinent.errors import DataError


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    GLDv2.example(tmp_path)
    return tmp_path


def test_with_its_hierarchy_it_is_a_tree(root: Path) -> None:
    data = GLDv2(root)
    assert list(data.splits) == ["train", "train_clean", "index", "query", "test"]
    train, clean, index = (data.split(name) for name in ("train", "train_clean", "index"))
    assert (train.kind, list(train.level_names)) == ("tree", ["landmark", "cluster", "overall_cluster"])
    assert [clean.label_words(row) for row in range(2)] == [["9", "hill", "natural"]] * 2
    assert len(clean) == 2
    assert [train.label_words(row) for row in (0, 3)] == [["5", "bridge", "built"], ["9", "hill", "natural"]]
    assert clean.labels.tolist() == [[0, 1, 1]] * 2
    assert train.labels.tolist() == [[1, 0, 0]] * 2 + [[0, 1, 1]] * 2
    assert [index.label_words(row)[0] for row in range(3)] == ["index/5", "index/5", "index/9"]


def test_without_it_has_classes(root: Path) -> None:
    expected = [["5"], ["5"], ["9"], ["9"], ["11"], ["11"]]
    table = GLDv2(root, hierarchy=False).split("train")
    assert table.kind == "classes"
    assert [table.label_words(row) for row in range(6)] == expected
    assert table.class_names == [["9", "11", "5"]]
    (root / "train_label_to_subcategory_with_clusters.csv").unlink()
    assert GLDv2(root).split("train").fingerprint() == table.fingerprint()
    assert GLDv2(root).split("index").kind == "tree"
    with pytest.raises(DataError, match=r"train_label_.*\.csv is missing, which hierarchy=true needs; .*SupRank"):
        GLDv2(root, hierarchy=True)


def test_classes_of_train_clean_count_from_0(root: Path) -> None:
    """So that proxies are not made for the landmarks that were cleaned away."""
    data = GLDv2(root, hierarchy=False)
    clean = data.split("train_clean")
    assert (clean.ids, clean.labels.tolist()) == (data.split("train").ids[2:5], [0, 0, 1])
    assert clean.class_names == [["9", "11"]]
    (root / "train_clean.csv").unlink()
    assert GLDv2(root, hierarchy=False).split("train").class_names == [["5", "9", "11"]]


def test_test_is_judged_against_the_whole_index(root: Path) -> None:
    table = GLDv2(root).split("test")
    assert (table.kind, len(table), table.probes) == ("judged", 5, 1)
    assert table.judgements == [Judgement(4, ok=(0, 1))]
    assert Path(table.source.where(4)).parts[-5] == "test"
    (root / "index_image_to_landmark.csv").unlink()
    assert list(GLDv2(root).splits) == ["train", "train_clean"]


def test_queries_have_the_landmark_of_their_first_answer(root: Path) -> None:
    data = GLDv2(root)
    query, index = data.split("query"), data.split("index")
    assert (query.kind, query.class_names) == ("tree", index.class_names)
    assert [query.label_words(row) for row in range(len(query))] == [["index/5", "bridge", "built"]]
    assert query.ids == data.split("test").ids[4:]
    assert Path(query.source.where(0)).parts[-5] == "test"
    assert GLDv2(root, hierarchy=False).split("query").class_names == [["index/5", "index/9", "index/11"]]
    change(root / "retrieval_solution_v2.1.csv", f"{index.ids[0]} ", f"{index.ids[2]} {index.ids[0]} ")
    assert GLDv2(root).split("query").label_words(0)[0] == "index/9"


def test_pictures_may_lie_under_images(root: Path) -> None:
    before = GLDv2(root).split("train_clean")
    (root / "images").mkdir()
    (root / "train").rename(root / "images" / "train")
    table = GLDv2(root).split("train_clean")
    name = table.ids[0]
    assert Path(table.source.where(0)) == root / "images" / "train" / name[0] / name[1] / name[2] / f"{name}.jpg"
    assert table.fingerprint() == before.fingerprint()


def test_long_cells_are_read(root: Path) -> None:
    before = GLDv2(root).split("train_clean")
    change(root / "train_clean.csv", f"{before.ids[0]} ", f"{before.ids[0]}{' ' * 200_000}")
    assert GLDv2(root).split("train_clean").fingerprint() == before.fingerprint()


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("train.csv", "landmark_id", "landmark", r"train\.csv has no column landmark_id; it has id, url, landmark"),
        ("train.csv", ",,5\n", ",5\n", r"train\.csv line 2 has 2 cells for 3 columns"),
        ("train.csv", ",,5\n", ",,x\n", "line 2: .* of landmark 'x' is no such picture"),
        ("train_label_to_subcategory_with_clusters.csv", "9,hill", "5,hill", "line 3: landmark 5 is in 'hill'"),
    ],
)
def test_wrong_lines(root: Path, file: str, old: str, new: str, says: str) -> None:
    change(root / file, old, new)
    with pytest.raises(DataError, match=says):
        GLDv2(root).split("train")


def test_wrong_files(root: Path, tmp_path: Path) -> None:
    change(root / "retrieval_solution_v2.1.csv", ",Public", " gone,Public")
    with pytest.raises(DataError, match="line 2: the index has no picture gone"):
        GLDv2(root).split("test")
    (root / "train.csv").write_bytes(b"id,landmark_id\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not a comma-separated file in UTF-8"):
        GLDv2(root).split("train")
    (root / "train.csv").write_text("id,landmark_id\n\n")
    with pytest.raises(DataError, match=r"train\.csv lists no pictures"):
        GLDv2(root).split("train")
    (root / "train.csv").unlink()
    with pytest.raises(DataError, match=r"train\.csv is missing; the splits here are train_clean, index, query, test"):
        GLDv2(root).split("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"train\.csv or .* is missing in .*github\.com/cvdfoundation"):
        GLDv2(tmp_path / "empty")


def test_missing_pictures(root: Path) -> None:
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match=r"gldv2: 1 of 5 listed pictures are missing .*test/.*github\.com"):
        GLDv2(root).split("test")
