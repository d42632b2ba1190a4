"""Lists and clusters: what a line means, common class numbers, splits, and every refused list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pertinent.data.datasets._parts import write_example_picture
from pertinent.data.datasets.clusters import Clusters
from pertinent.data.datasets.image_list import ImageList
from pertinent.errors import DataError, InputError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dirtorch_splits.json").read_text())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.png", "sub/c.png", "with space.png", "q.png")):
        write_example_picture(tmp_path / name, number)
    return tmp_path


@pytest.fixture(scope="module")
def golden_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of the official splits, in a list."""
    folder = tmp_path_factory.mktemp("golden")
    for key in GOLDEN["keys"]:
        (folder / key).touch()
    lines = [f"{key} {label}\n" for key, label in zip(GOLDEN["keys"], GOLDEN["labels"], strict=True)]
    (folder / "list.txt").write_text("".join(lines))
    return folder


def words(table) -> list[str]:
    return [table.label_words(row)[0] for row in range(len(table))]


def test_lines_of_paths(root: Path) -> None:
    (root / "list.txt").write_text("b.png\n\n  a.png \r\nsub/c.png\n\n")
    table = ImageList(root, file="list.txt").split("all")
    assert (table.kind, table.ids) == ("none", ["b.png", "a.png", "sub/c.png"])
    assert table.read(2).size == (32, 24)


def test_lines_of_paths_and_labels(root: Path) -> None:
    (root / "list.txt").write_text("b.png tower\na.png bridge\nsub/c.png\ttower\n")
    data = ImageList(root, file="list.txt")
    assert list(data.splits) == ["all"]
    table = data.split("all")
    assert (table.kind, table.ids) == ("classes", ["b.png", "a.png", "sub/c.png"])
    assert (table.labels.tolist(), table.class_names[0]) == ([0, 1, 0], ["tower", "bridge"])


def test_json_takes_spaces_and_numbers(root: Path) -> None:
    (root / "list.json").write_text(json.dumps({"with space.png": "a tower", "a.png": 7, "b.png": "a tower"}))
    table = ImageList(root, file="list.json").split("all")
    assert table.ids == ["with space.png", "a.png", "b.png"]
    assert words(table) == ["a tower", "7", "a tower"]
    assert ImageList(root, file="list.json", labels=False).split("all").kind == "none"


def test_whole_lines_are_paths_without_labels(root: Path) -> None:
    (root / "list.txt").write_text("with space.png\na.png\n")
    with pytest.raises(DataError, match=r"line 2: 'a\.png' has 1 word; .*JSON.*labels=false"):
        ImageList(root, file="list.txt")
    assert ImageList(root, file="list.txt", labels=False).split("all").ids == ["with space.png", "a.png"]


def test_queries_share_the_numbers_of_the_gallery(root: Path) -> None:
    (root / "gallery.txt").write_text("b.png tower\na.png bridge\n")
    (root / "queries.txt").write_text("q.png gate\na.png bridge\nsub/c.png tower\n")
    data = ImageList(root, file="gallery.txt", queries="queries.txt")
    assert list(data.splits) == ["gallery", "query"]
    gallery, query = data.split("gallery"), data.split("query")
    assert gallery.class_names == query.class_names == [["tower", "bridge", "gate"]]
    assert (gallery.labels.tolist(), query.labels.tolist()) == ([0, 1], [2, 1, 0])


def test_pictures_may_lie_in_a_folder_or_a_zip(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "list.txt").write_text("c.png\n")
    assert ImageList(root, file="list.txt", images="sub").split("all").ids == ["c.png"]
    with pytest.raises(DataError, match=r"image_list: .* has no folder 'elsewhere' of pictures"):
        ImageList(root, file="list.txt", images="elsewhere").split("all")
    with pytest.raises(DataError, match=r"image_list: 1 of 1 listed pictures are missing"):
        ImageList(root, file="list.txt").split("all")


def test_classes_are_numbered_as_they_appear_in_the_official_code(golden_root: Path) -> None:
    table = ImageList(golden_root, file="list.txt").split("all")
    assert {name: number for number, name in enumerate(table.class_names[0])} == GOLDEN["class_index"]


@pytest.mark.parametrize(
    ("golden", "options"),
    [
        ("balanced_0_7", {"split_by": "balanced", "train_share": 0.7}),
        ("balanced_0_6_0_2", {"split_by": "balanced", "train_share": 0.6, "val_share": 0.2}),
        ("hash_0_5_0_25", {"split_by": "hash", "train_share": 0.5, "val_share": 0.25}),
    ],
)
def test_official_splits(golden: str, options: dict[str, object], golden_root: Path) -> None:
    data = ImageList(golden_root, file="list.txt", **options)
    assert list(data.splits) == list(GOLDEN[golden])
    for part, rows in GOLDEN[golden].items():
        table = data.split(part)
        assert table.ids == [GOLDEN["keys"][row] for row in rows]
        assert table.labels.tolist() == [GOLDEN["class_index"][GOLDEN["labels"][row]] for row in rows]


def test_lists_without_labels_are_dealt_by_hash(root: Path) -> None:
    (root / "list.txt").write_text("a.png\nb.png\nq.png\n")
    data = ImageList(root, file="list.txt", split_by="hash", train_share=1.0)
    assert data.split("train").ids == ["a.png", "b.png", "q.png"]
    with pytest.raises(DataError, match="split 'test' has no pictures"):
        data.split("test")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split_by": "hash"}, "needs train_share"),
        ({"train_share": 0.5}, "need split_by"),
        ({"val_share": 0.5}, "need split_by"),
        ({"split_by": "random", "train_share": 0.5}, "'hash' or 'balanced', got 'random'"),
        ({"split_by": "hash", "train_share": 0.5, "queries": "list.txt"}, "not both"),
        ({"split_by": "hash", "train_share": 0.5, "val_share": 0.6}, "at most 1 together"),
        ({"split_by": "balanced", "train_share": 0.5, "labels": False}, "needs labels"),
    ],
)
def test_options_that_cannot_be(root: Path, options: dict[str, object], says: str) -> None:
    (root / "list.txt").write_text("a.png x\nb.png y\n")
    with pytest.raises(InputError, match=says):
        ImageList(root, file="list.txt", **options)


@pytest.mark.parametrize(
    ("name", "text", "options", "says"),
    [
        ("list.txt", "a.png x\nb.png\n", {}, r"list\.txt line 2: 'b\.png' has 1 word;"),
        ("list.txt", "a.png\nb.png x\n", {}, r"list\.txt line 2: 'b\.png x' has 2 words"),
        ("list.txt", "a.png x y\nb.png x y\n", {}, r"line 1: 'a\.png x y' has 3 words.*JSON"),
        ("list.txt", "a.png x\nb.png\n", {"labels": True}, r"line 2: expected 'path label', got 'b\.png'; .*JSON"),
        ("list.txt", "a.png x\nb.png x\na.png y\n", {}, r"line 3 lists 'a\.png' again, as line 1 does"),
        ("list.txt", "\n\n", {}, "lists no pictures"),
        ("list.txt", "http://host/a.png x\n", {}, r"http://host/a\.png is an address"),
        ("list.json", '{"a.png": "x", "b.png": "x", "a.png": "y"}', {}, r"entry 3 lists 'a\.png' again, as entry 1"),
        ("list.json", '{"a.png": null}', {}, "entry 1: a label is a name or a number, got None"),
        ("list.json", '{"a.png": true}', {}, "got True"),
        ("list.json", '["a.png"]', {}, "must hold an object {path: label}, got list"),
        ("list.json", "{", {}, "is not JSON"),
        ("list.json", "{}", {}, "lists no pictures"),
    ],
)
def test_lists_that_are_refused(root: Path, name: str, text: str, options: dict[str, object], says: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(DataError, match=says):
        ImageList(root, file=name, **options)


def test_files_that_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt is missing; file=LIST"):
        ImageList(root, file="none.txt")
    (root / "list.txt").write_bytes(b"\xff\xfe a")
    with pytest.raises(DataError, match="not text in UTF-8"):
        ImageList(root, file="list.txt")
    (root / "list.txt").write_text("a.png x\n")
    (root / "queries.txt").write_text("b.png\n")
    with pytest.raises(DataError, match="one has labels, the other has not"):
        ImageList(root, file="list.txt", queries="queries.txt")
    (root / "list.txt").write_text("../a.png x\n")
    with pytest.raises(DataError, match="leads out of"):
        ImageList(root, file="list.txt").split("all")


def test_clusters_leave_out_null(root: Path) -> None:
    (root / "clusters.json").write_text(json.dumps({"b.png": "y", "a.png": None, "with space.png": 3, "q.png": "y"}))
    data = Clusters(root, file="clusters.json")
    assert list(data.splits) == ["all", "null"]
    table, left_out = data.split("all"), data.split("null")
    assert (table.ids, table.labels.tolist(), words(table)) == (
        ["b.png", "with space.png", "q.png"],
        [0, 1, 0],
        ["y", "3", "y"],
    )
    assert (left_out.kind, left_out.ids) == ("none", ["a.png"])
    (root / "clusters.json").write_text('{"sub/c.png": "y"}')
    assert list(Clusters(root, file="clusters.json").splits) == ["all"]
    assert Clusters(root, file="sub/../clusters.json", images=".").split("all").read(0).size == (32, 24)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a.png": null}', "gives no picture a class"),
        ('{"a.png": 1.5}', "entry 1: a label is a name or a number, got 1.5"),
        ('{"a.png": ["x"]}', "got "),
        ('{"a.png": ""}', "got ''"),
        ('{"a.png": "x", "a.png": null}', "entry 2 lists 'a.png' again"),
        ("[]", "must hold an object"),
    ],
)
def test_clusters_that_are_refused(root: Path, text: str, says: str) -> None:
    (root / "clusters.json").write_text(text)
    with pytest.raises(DataError, match=f"clusters: .*{says}"):
        Clusters(root, file="clusters.json")


def test_missing_clusters_are_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"clusters: .*none\.json is missing; file=LIST"):
        Clusters(root, file="none.json")
    (root / "clusters.json").write_text('{"gone.png": "y"}')
    with pytest.raises(DataError, match=r"clusters: 1 of 1 listed pictures are missing .*gone\.png"):
        Clusters(root, file="clusters.json").split("all")
