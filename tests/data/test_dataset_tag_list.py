"""Lists of zeros and ones: a literal oracle, splits and their other names, every wrong line, extreme labels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pertinent as pt
from pertinent.data.audit import audit
from pertinent.data.datasets._tags import count_tags, deal, hash_order, hold_back, read_flags, read_tagged
from pertinent.data.datasets.tag_list import TagList
from pertinent.data.table import ImageTable
from pertinent.engine.doctor import diagnose
from pertinent.errors import DataError, InputError, UnknownNameError


def write(root: Path, name: str, *lines: str) -> Path:
    path = root / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows(table: ImageTable) -> list[list[int]]:
    return table.labels.astype(int).tolist()


@given(
    st.integers(1, 5).flatmap(
        lambda count: st.lists(
            st.tuples(
                st.text("ab/ .é", min_size=1, max_size=9).map(lambda text: "x" + text.rstrip() + ".jpg"),
                st.lists(st.integers(0, 1), min_size=count, max_size=count),
                st.sampled_from([" ", "\t", "   "]),
                st.sampled_from(["", " ", "\r", "\n  "]),
            ),
            min_size=1,
            max_size=8,
            unique_by=lambda row: row[0],
        )
    ),
    st.booleans(),
)
def test_lines_are_read_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, listed: list[tuple[str, list[int], str, str]], marked: bool
) -> None:
    path = tmp_path_factory.mktemp("list") / "a.txt"
    lines = [separator.join([name, *map(str, flags)]) + end + "\n" for name, flags, separator, end in listed]
    path.write_bytes((b"\xef\xbb\xbf" if marked else b"") + "".join(lines).encode())
    assert count_tags(path, "r", "") == len(listed[0][1])
    tagged = read_tagged(path, "r", len(listed[0][1]), "")
    assert tagged.names == [name for name, *_ in listed]
    assert tagged.flags.dtype == np.bool_
    assert tagged.flags.astype(int).tolist() == [flags for _, flags, *_ in listed]
    only = path.with_name("flags.txt")
    only.write_text("".join(" ".join(map(str, flags)) + "\n" for _, flags, *_ in listed))
    assert read_flags(only, "r", len(listed[0][1]), "").astype(int).tolist() == [flags for _, flags, *_ in listed]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a.png 0 1", "b.png 0"], r"train\.txt line 2: expected 2 zeros and ones, one a tag; got 'b\.png 0'"),
        (["a.png 0 1", "", "b.png 0 1 1"], r"line 3: expected 2 zeros and ones"),
        (["a.png 0 1", "0 1"], r"line 2: expected 2 zeros and ones"),
        (["a.png 0 1", "b.png 01 1"], r"line 2: expected 2 zeros and ones"),
        (["a.png 0 1", "b.png 2 1"], r"line 2: a tag is 1 or 0, there is another word in 'b\.png 2 1'"),
        (["a.png 0 1", "b.png é 1"], r"line 2: a tag is 1 or 0"),
        (["a.png 0 1", "b.png -1 1"], r"line 2: expected 2 zeros and ones"),
        (["a.png 0 1", "a.png 1 1"], r"line 2 lists 'a\.png' again, as line 1 does"),
        (["a.png 5"], r"expected 'path 0 1 0 \.\.\.', got 'a\.png 5'; the reader image_list takes classes"),
        (["0 1 0"], r"expected 'path 0 1 0"),
        ([""], r"train\.txt is empty"),
    ],
)
def test_wrong_lines_are_named(lines: list[str], said: str, tmp_path: Path) -> None:
    write(tmp_path, "train.txt", *lines)
    with pytest.raises(DataError, match=said):
        TagList(tmp_path).split("train")


def test_long_lines_are_shown_in_part(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "a.png" + " 1" * 80, "b.png" + " 1" * 79)
    with pytest.raises(DataError, match=r"expected 80 zeros and ones.*b\.png 1 [1 ]* \.\.\.'$"):
        TagList(tmp_path).split("train")


def test_text_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("caf\xe9.png 0 1\n".encode("latin-1"))
    with pytest.raises(DataError, match="not text in UTF-8"):
        TagList(tmp_path).split("train")


def test_splits_are_the_lists_that_are_there(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    data = TagList(tmp_path)
    assert data.splits == ["train", "test", "database"]
    assert data.split("query").fingerprint() == data.split("test").fingerprint()
    assert data.split("gallery").fingerprint() == data.split("database").fingerprint()
    with pytest.raises(DataError, match=r"val\.txt is missing; the splits here are train, test, database"):
        data.split("val")
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        data.split("trian")
    (tmp_path / "test.txt").rename(tmp_path / "query.txt")
    renamed = TagList(tmp_path)
    assert renamed.splits == ["train", "query", "database"]
    assert renamed.split("test").ids == renamed.split("query").ids == [f"images/{number}.png" for number in range(4, 8)]


def test_lists_of_other_names_and_places(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    (tmp_path / "lists").mkdir()
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").rename(tmp_path / f"lists/{name}_21.txt")
    write(tmp_path, "lists/tags.txt", "sea", "sky", "old town")
    data = TagList(tmp_path, train_file="lists/train_21.txt", val_file="lists/test_21.txt", tags="lists/tags.txt")
    assert data.splits == ["train", "val", "database"]
    table = data.split("train")
    assert table.class_names == [["sea", "sky", "old town"]]
    assert (table.kind, table.labels.dtype, table.labels.shape) == ("tags", np.bool_, (4, 3))
    assert table.label_words(3) == [
        word for word, flag in zip(table.class_names[0], table.labels[3], strict=True) if flag
    ]
    with pytest.raises(DataError, match=r"no\.txt is missing; train_file names it"):
        TagList(tmp_path, train_file="no.txt")
    with pytest.raises(DataError, match=r"tags\.txt is missing; tags=FILE names it"):
        TagList(tmp_path, tags="tags.txt").split("database")
    write(tmp_path, "two.txt", "sea", "sky")
    with pytest.raises(DataError, match=r"database\.txt has 3 tags a line, expected are 2"):
        TagList(tmp_path, tags="two.txt").split("database")
    write(tmp_path, "twice.txt", "sea", "sky", "sea")
    with pytest.raises(DataError, match="lists 'sea' again"):
        TagList(tmp_path, tags="twice.txt").split("database")


def test_no_list_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tag_list: train\.txt or val\.txt or .* is missing in .*SPLIT_file=LIST"):
        TagList(tmp_path)


def test_lists_of_different_widths_are_refused(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    write(tmp_path, "database.txt", "images/0.png 0 1")
    with pytest.raises(DataError, match="expected 3 zeros and ones"):
        TagList(tmp_path).split("database")


def test_pictures_in_a_folder_or_a_zip_file(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    write(tmp_path, "train.txt", "1.png 0 1 0", "2.png 1 1 1")
    there = TagList(tmp_path, images="images").split("train")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for name in ("1.png", "2.png"):
            archive.write(tmp_path / "images" / name, f"inner/{name}")
    zipped = TagList(tmp_path).split("train")
    assert zipped.ids == there.ids == ["1.png", "2.png"]
    assert zipped.read(1).tobytes() == there.read(1).tobytes()
    write(tmp_path, "train.txt", "1.png 0 1 0", "3.jpg 1 1 1")
    with pytest.raises(DataError, match=r"1 of 2 listed pictures are missing .*3\.jpg"):
        TagList(tmp_path, images="images").split("train")
    write(tmp_path, "train.txt", "../1.png 0 1 0")
    with pytest.raises(DataError, match="leads out of"):
        TagList(tmp_path, images="images").split("train")


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    (tmp_path / "images" / "1.png").write_bytes(b"no picture")
    assert len(TagList(tmp_path).split("train")) == 4


def test_held_out_pictures_leave_train(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    whole, data = TagList(tmp_path).split("train"), TagList(tmp_path, held_out=0.25)
    assert data.splits == ["train", "test", "database", "held_out"]
    train, held = data.split("train"), data.split("held_out")
    assert (len(train), len(held)) == (3, 1)
    first = int(hash_order(whole.ids)[0])
    assert held.ids == [whole.ids[first]]
    assert rows(held) == [rows(whole)[first]]
    assert train.ids == [name for name in whole.ids if name not in held.ids]
    assert held.read(0).tobytes() == whole.read(first).tobytes()
    with pytest.raises(InputError, match=r"nothing is held out of train; set held_out to a share"):
        TagList(tmp_path).split("held_out")
    with pytest.raises(DataError, match=r"held_out=0\.01 of 4 pictures leaves one part without any"):
        TagList(tmp_path, held_out=0.01).split("train")
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="held_out is a share of train"):
            TagList(tmp_path, held_out=share)
    (tmp_path / "train.txt").unlink()
    with pytest.raises(InputError, match=r"no list of train .* to hold pictures out of"):
        TagList(tmp_path, held_out=0.5)


def test_holding_back_does_not_depend_on_the_order() -> None:
    names = [f"{number}.jpg" for number in range(100)]
    parts = hold_back(names, 0.1, "r")
    held = {names[row] for row in parts["held_out"].tolist()}
    turned = hold_back(names[::-1], 0.1, "r")
    assert {names[::-1][row] for row in turned["held_out"].tolist()} == held
    assert len(held) == 10
    assert sorted([*parts["train"].tolist(), *parts["held_out"].tolist()]) == list(range(100))
    assert all((np.diff(part) > 0).all() for part in parts.values())


def test_dealing() -> None:
    order = np.array([4, 2, 0, 3, 1, 5])
    apart = deal(order, 1, 2, "r", train_is_found=False)
    assert {name: part.tolist() for name, part in apart.items()} == {
        "train": [2, 0],
        "query": [4],
        "database": [3, 1, 5],
    }
    assert deal(order, 1, 2, "r", train_is_found=True)["database"].tolist() == [2, 0, 3, 1, 5]
    with pytest.raises(DataError, match="6 pictures cannot be dealt to 3 queries, 3 training pictures"):
        deal(order, 3, 3, "r", train_is_found=True)
    with pytest.raises(InputError, match="at least 1, got 0 and 3"):
        deal(order, 0, 3, "r", train_is_found=True)


def test_extreme_labels_are_legal(tmp_path: Path) -> None:
    """Pictures without a tag, with every tag, a tag without pictures, a list where nobody has any."""
    TagList.example(tmp_path)
    names = [f"images/{number}.png" for number in range(4)]
    write(tmp_path, "train.txt", f"{names[0]} 0 0 0", f"{names[1]} 1 0 1", f"{names[2]} 0 0 0", f"{names[3]} 1 0 1")
    write(tmp_path, "test.txt", *(f"{name} 0 0 0" for name in names))
    write(tmp_path, "database.txt", *(f"{name} 1 1 1" for name in names))
    data = TagList(tmp_path)
    train, test, database = (data.split(name) for name in data.splits)
    assert [train.label_words(row) for row in range(4)] == [[], ["tag 1", "tag 3"], [], ["tag 1", "tag 3"]]
    assert audit(train) == ["2 of 4 pictures have no tag; they are relevant to nothing by it"]
    assert audit(test) == ["4 of 4 pictures have no tag; they are relevant to nothing by it"]
    assert audit(database) == []
    found = diagnose("tag_list", tmp_path, pictures=True)
    assert found.healthy
    assert found.splits == {"train": 4, "test": 4, "database": 4}
    (tmp_path / "images" / "3.png").write_bytes(b"x")
    assert any("3.png" in text for text in diagnose("tag_list", tmp_path, pictures=True).problems)


def test_a_database_is_ranked_for_queries_by_shared_tags(tmp_path: Path) -> None:
    TagList.example(tmp_path)
    shown = {"test": ("000", "100", "111", "010"), "database": ("110", "000", "001", "100")}
    for file, flags in shown.items():
        names = (f"images/{number}.png" for number in range(4))
        write(tmp_path, f"{file}.txt", *(f"{path} {' '.join(row)}" for path, row in zip(names, flags, strict=True)))
    data = TagList(tmp_path)
    query, database = data.split("query"), data.split("database")
    # All queries see the database in its own order.
    queries, items = np.ones((4, 1), np.float32), np.array([[4.0], [3.0], [2.0], [1.0]], np.float32)
    relevance = pt.Relevance.tags(torch.from_numpy(query.labels), torch.from_numpy(database.labels))
    report = pt.evaluate(queries, items, relevance=relevance, metrics=["ap@4/hits"], similarity="dot")
    wanted = [0, (1 + 2 / 4) / 2, (1 + 2 / 3 + 3 / 4) / 3, 1]
    assert np.nan_to_num(report.per_query["ap@4/hits"]).tolist() == pytest.approx(wanted)
